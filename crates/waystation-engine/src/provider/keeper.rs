//! Keeps a provider's key out of what comes back from it: some services quote it.

use waystation_core::error::Failure;

use crate::secret::{Redactor, Secret};

type Tell<'a> = Option<&'a (dyn Fn(&str) + Send + Sync)>;

/// Knows the key of one call.
pub(super) struct Keeper {
    redactor: Redactor,
    key: String,
}

impl Keeper {
    pub(super) fn new(key: Option<&Secret>) -> Keeper {
        let text = key.map_or("", |key| key.expose().trim());
        Keeper { redactor: Redactor::new(key), key: text.to_owned() }
    }

    pub(super) fn clean(&self, text: &str) -> String {
        self.redactor.redact_text(text).into_owned()
    }

    pub(super) fn clean_failure(&self, failure: Failure) -> Failure {
        Failure { message: self.clean(&failure.message), ..failure }
    }

    /// Where the end of a text may be the beginning of the key.
    fn doubt(&self, text: &str) -> usize {
        let longest = self.key.len().saturating_sub(1).min(text.len());
        let lengths = (1..=longest).rev();
        let mut fits = lengths.filter(|length| self.key.is_char_boundary(*length));
        let held = fits.find(|length| text.ends_with(&self.key[..*length]));
        text.len() - held.unwrap_or(0)
    }
}

/// Tells pieces on. What may be the beginning of the key waits for the next piece.
pub(super) struct Teller<'a> {
    tell: Tell<'a>,
    keeper: &'a Keeper,
    held: String,
}

impl<'a> Teller<'a> {
    pub(super) fn new(tell: Tell<'a>, keeper: &'a Keeper) -> Teller<'a> {
        Teller { tell, keeper, held: String::new() }
    }

    pub(super) fn tell(&mut self, piece: &str) {
        let Some(tell) = self.tell else { return };
        self.held.push_str(piece);
        let clean = self.keeper.clean(&self.held);
        let sure = self.keeper.doubt(&clean);
        if sure > 0 {
            tell(&clean[..sure]);
        }
        self.held = clean[sure..].to_owned();
    }

    pub(super) fn finish(self) {
        if let Some(tell) = self.tell.filter(|_| !self.held.is_empty()) {
            tell(&self.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::testing::KEY;
    use super::*;

    #[test]
    fn a_key_in_pieces_is_not_told() {
        let secret = Secret::new(format!("{KEY}\n"));
        let keeper = Keeper::new(Some(&secret));
        let told = Mutex::new(String::new());
        let tell = |piece: &str| told.lock().expect("no panic").push_str(piece);
        let mut teller = Teller::new(Some(&tell), &keeper);
        let text = format!("sk is not {KEY}, sk-te");
        for letter in text.chars() {
            teller.tell(&letter.to_string());
        }
        assert_eq!(*told.lock().expect("no panic"), "sk is not [redacted], ");
        teller.finish();
        assert_eq!(*told.lock().expect("no panic"), "sk is not [redacted], sk-te");
    }
}
