//! Links by which somebody ends the wait of a run: what they mean is sealed in them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use waystation_engine::id::RunId;
use waystation_engine::secret::Vault;

/// What a link is for.
#[derive(Debug, PartialEq)]
pub struct Ticket {
    /// The run.
    pub run: RunId,
    /// The node that waits.
    pub node: String,
    /// Which wait of it.
    pub attempt: u32,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    r: String,
    n: String,
    a: u32,
}

/// What stands in a link after `/decide/`. Without randomness it is empty, and opens nothing.
pub fn seal(vault: &Vault, ticket: &Ticket) -> String {
    let sealed = Sealed { r: ticket.run.to_string(), n: ticket.node.clone(), a: ticket.attempt };
    let text = serde_json::to_string(&sealed).unwrap_or_default();
    vault.seal_ticket(&text).map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default()
}

/// What a link is for, if this installation made it.
pub fn open(vault: &Vault, text: &str) -> Option<Ticket> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let Sealed { r, n, a } = serde_json::from_str(&vault.open_ticket(&bytes)?).ok()?;
    Some(Ticket { run: r.parse().ok()?, node: n, attempt: a })
}
