//! Values that must not be seen: sealed at rest, handed out for one attempt, redacted on every way out.
//!
//! - [`seal`]: encryption with a key that lives outside the store
//! - [`vault`]: the named secrets of an installation
//! - [`redact`]: takes a secret's value out of what leaves the process

pub mod redact;
pub mod seal;
mod token;
pub mod vault;

use std::fmt;
use std::sync::Arc;

pub use redact::Redactor;
pub use seal::Sealer;
pub use token::{is_token, new_token};
pub use vault::{Vault, check_name};

/// A value that cannot be printed, compared or serialized by mistake. Clones share the one copy.
#[derive(Clone)]
pub struct Secret(Arc<Plain>);

struct Plain(String);

impl Secret {
    /// Takes a value into custody.
    pub fn new(value: String) -> Secret {
        Secret(Arc::new(Plain(value)))
    }

    /// The value itself. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Drop for Plain {
    /// Leaves no readable copy in freed memory; `black_box` keeps the write from being optimised away.
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new("hunter22".into());
        assert_eq!(
            format!("{:?} {:#?}", secret, Some(&secret)),
            "[secret] Some(\n    [secret],\n)"
        );
        assert_eq!(secret.expose(), "hunter22");
    }
}
