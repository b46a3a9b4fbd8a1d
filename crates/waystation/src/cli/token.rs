//! `waystation token`: a signed token by which a caller says who it is.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use waystation_core::error::{Code, Error};
use waystation_engine::id::now_ms;

use super::{Outcome, read_file, terminal};
use crate::auth::principal::Role;
use crate::auth::token;
use crate::config::Config;

/// How long a token may be good for.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

#[derive(Args)]
pub(super) struct NewToken {
    /// Whom it is for.
    subject: String,
    /// What they may do: viewer, runner, editor or admin.
    #[arg(long)]
    role: Role,
    /// A namespace that they may act in; may be given several times. All, if none is given.
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// How long it is good for, as 12h or 30d; a year at the most, for it cannot be taken back.
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    expires_in: Duration,
    /// The private key to sign with, in PEM, where the server has public keys only.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl NewToken {
    pub(super) fn execute(self, config: Config) -> Outcome {
        let Some(tokens) = config.auth.tokens else {
            let error = Error::new(Code::SettingInvalid, "No tokens are taken with these settings");
            let hint =
                "set JWT_SECRET, to what the server has: `openssl rand -base64 48` makes one";
            return Err(error.with_hint(hint).into());
        };
        if self.expires_in.as_secs() == 0 || self.expires_in > LONGEST {
            let text = "--expires-in must be from a second to a year";
            return Err(Error::new(Code::RequestInvalid, text).into());
        }
        let new = token::NewToken {
            subject: self.subject,
            role: self.role,
            namespaces: (!self.namespaces.is_empty()).then_some(self.namespaces),
            now: now_ms() / 1_000,
            seconds: self.expires_in.as_secs(),
        };
        let pem = self.key.as_deref().map(read_file).transpose()?;
        let made = tokens.make(&new, pem.as_deref().map(str::as_bytes))?;
        terminal::print(&made);
        let time = humantime::format_duration(self.expires_in);
        terminal::say(&format!(
            "Good for {time}, for whoever has it. Callers send it as   Authorization: Bearer <token>"
        ));
        Ok(())
    }
}
