//! Tokens: random texts by which a caller shows that it may do something.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

const BYTES: usize = 32;

/// A new token. Without randomness it is empty, and fits nothing.
pub fn new_token() -> String {
    let mut bytes = [0; BYTES];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => URL_SAFE_NO_PAD.encode(bytes),
        Err(_) => String::new(),
    }
}

/// Whether a text is the token. The time it takes tells nothing: what is compared are digests.
pub fn is_token(shown: &[u8], token: &str) -> bool {
    let equal = digest(&SHA256, shown).as_ref() == digest(&SHA256, token.as_bytes()).as_ref();
    equal && !token.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_the_token() {
        let (token, other) = (new_token(), new_token());
        assert!(token.len() >= BYTES && token != other);
        assert!(is_token(token.as_bytes(), &token));
        for shown in ["", &token[1..], &other] {
            assert!(!is_token(shown.as_bytes(), &token), "{shown}");
        }
        assert!(!is_token(b"", ""));
    }
}
