//! The providers that an operator has set up: addresses, labels and keys, from the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use url::Url;
use waystation_core::error::{Code, Error, Failure};

use super::Provider;
use super::chat::Chat;
use super::echo::{self, Echo};
use super::gateway::Gateway;
use super::messages::Messages;
use crate::egress::HttpClient;
use crate::secret::{Secret, Vault};

/// A format that providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenAI's chat completions.
    Chat,
    /// Anthropic's messages.
    Messages,
    /// A service of the operator's own.
    Gateway,
    /// The built-in model; it has no address.
    Echo,
}

/// A provider as it is set up.
#[derive(Clone)]
pub struct Setup {
    /// What requests call it.
    pub name: String,
    /// What messages call it.
    pub label: String,
    /// The format that it speaks.
    pub format: Format,
    /// Where; empty for the built-in model.
    pub base_url: String,
    /// The names of its key, in the order in which they are looked up.
    pub key_names: Vec<String>,
    /// Whether it is of no use without a key.
    pub needs_key: bool,
    /// The model where a request names none.
    pub default_model: Option<&'static str>,
    /// Whether the operator named the address, and not a request.
    pub is_trusted: bool,
    /// The key in the environment, and its name there.
    key: Option<(String, Secret)>,
}

/// Shows neither the key nor the address, which may hold one.
impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All providers, by name.
#[derive(Clone, Debug)]
pub struct Providers {
    /// What is known of each.
    pub setups: BTreeMap<String, Setup>,
}

/// One that is always there, with an address of its own.
struct BuiltIn {
    name: &'static str,
    label: &'static str,
    format: Format,
    /// The setting of its address, and the address where it is not set.
    base_url: (&'static str, &'static str),
    key_names: &'static [&'static str],
    default_model: Option<&'static str>,
}

const BUILT_IN: [BuiltIn; 5] = [
    BuiltIn {
        name: "openai",
        label: "OpenAI",
        format: Format::Chat,
        base_url: ("OPENAI_BASE_URL", "https://api.openai.com/v1"),
        key_names: &["OPENAI_API_KEY"],
        default_model: Some("gpt-5-nano"),
    },
    BuiltIn {
        name: "anthropic",
        label: "Anthropic",
        format: Format::Messages,
        base_url: ("ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
        key_names: &["ANTHROPIC_API_KEY"],
        default_model: Some("claude-haiku-4-5"),
    },
    BuiltIn {
        name: "openrouter",
        label: "OpenRouter",
        format: Format::Chat,
        base_url: ("OPENROUTER_BASE_URL", "https://openrouter.ai/api/v1"),
        key_names: &["OPENROUTER_API_KEY"],
        default_model: None,
    },
    BuiltIn {
        name: "gemini",
        label: "Gemini",
        format: Format::Chat,
        base_url: ("GEMINI_BASE_URL", "https://generativelanguage.googleapis.com/v1beta/openai"),
        key_names: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        default_model: None,
    },
    BuiltIn {
        name: "ollama",
        label: "Ollama",
        format: Format::Chat,
        base_url: ("OLLAMA_BASE_URL", "http://127.0.0.1:11434"),
        key_names: &[],
        default_model: None,
    },
];

const GATEWAY: &str = "gateway";
const ECHO: &str = "echo";

impl Providers {
    /// Reads all settings of providers; empty ones count as absent. Keys stay in the setups.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Providers, Error> {
        let lookup = |name: &str| {
            lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let mut list = vec![echo()];
        for built_in in &BUILT_IN {
            list.push(built_in.setup(&lookup)?);
        }
        if let Some(url) = lookup("MODEL_SERVICE_URL") {
            let url = web_url("MODEL_SERVICE_URL", &url)?;
            list.push(Setup { format: Format::Gateway, ..further(GATEWAY, "Gateway", url) });
        }
        let mut setups: BTreeMap<_, _> =
            list.into_iter().map(|setup| (setup.name.clone(), setup)).collect();
        for item in lookup("WAYSTATION_PROVIDERS").iter().flat_map(|text| text.split(',')) {
            if item.trim().is_empty() {
                continue;
            }
            let setup = custom(item.trim(), &lookup)?;
            if let Some(taken) = setups.insert(setup.name.clone(), setup) {
                return Err(custom_error(&format!("names {} again", taken.name)));
            }
        }
        Ok(Providers { setups })
    }
}

impl Setup {
    /// Whether the settings have a key for it.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// A provider that a request names by its address. It speaks chat completions, is reached under
    /// the egress policy, and knows no key but the request's own.
    pub fn at_url(url: &str) -> Result<Setup, Failure> {
        let parsed = Url::parse(url)
            .ok()
            .filter(|parsed| matches!(parsed.scheme(), "http" | "https") && parsed.has_host());
        let label = parsed.map(|parsed| parsed.authority().rsplit('@').next().map(str::to_owned));
        let label = label.flatten().ok_or_else(|| {
            let text = "The provider's address is no http or https URL";
            Failure::fatal(Code::ProviderUnknown, text)
        })?;
        Ok(Setup { is_trusted: false, ..further(url, &label, url.to_owned()) })
    }

    /// The key as of now: from the vault, else from the environment as it was at the start.
    pub fn key(&self, vault: Option<&Vault>) -> Result<Option<Secret>, Failure> {
        for name in &self.key_names {
            match vault.map(|vault| vault.get(name)) {
                Some(Ok(key)) => return Ok(Some(key)),
                Some(Err(error)) if error.code != Code::SecretUnknown => return Err(error.into()),
                Some(Err(_)) | None => {}
            }
        }
        match (&self.key, self.key_names.first()) {
            (None, Some(name)) if self.needs_key => {
                Err(Failure::fatal(Code::ModelKeyMissing, format!("Missing {name}")))
            }
            (key, _) => Ok(key.as_ref().map(|(_, key)| key.clone())),
        }
    }

    /// Under which name the environment has the key, if it does.
    pub fn environment_key(&self) -> Option<&str> {
        self.key.as_ref().map(|(name, _)| name.as_str())
    }

    /// The provider itself. Addresses that the operator names are reached by the trusted client,
    /// all others by the confined one.
    pub fn connect(
        &self,
        trusted: &Arc<HttpClient>,
        confined: &Arc<HttpClient>,
    ) -> Arc<dyn Provider> {
        let client = Arc::clone(if self.is_trusted { trusted } else { confined });
        let (label, base_url) = (self.label.as_str(), self.base_url.as_str());
        match self.format {
            Format::Chat => Arc::new(Chat::new(client, label, base_url, self.name == "openai")),
            Format::Messages => Arc::new(Messages::new(client, label, base_url)),
            Format::Gateway => Arc::new(Gateway::new(client, label, base_url)),
            Format::Echo => Arc::new(Echo),
        }
    }
}

impl BuiltIn {
    fn setup(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Setup, Error> {
        let (setting, default) = self.base_url;
        let base_url = lookup(setting).map(|url| web_url(setting, &url)).transpose()?;
        let mut base_url = base_url.unwrap_or_else(|| default.to_owned());
        // Its other API lives at the address itself.
        if self.name == "ollama" && !base_url.ends_with("/v1") {
            base_url.push_str("/v1");
        }
        Ok(Setup {
            format: self.format,
            key_names: self.key_names.iter().map(|name| (*name).to_owned()).collect(),
            needs_key: !self.key_names.is_empty(),
            default_model: self.default_model,
            key: self.key_names.iter().find_map(|name| key(name, lookup)),
            ..further(self.name, self.label, base_url)
        })
    }
}

fn echo() -> Setup {
    let default_model = Some(echo::MODEL);
    Setup { format: Format::Echo, default_model, ..further(ECHO, "Echo", String::new()) }
}

/// A provider without a key that speaks chat completions.
fn further(name: &str, label: &str, base_url: String) -> Setup {
    Setup {
        name: name.to_owned(),
        label: label.to_owned(),
        format: Format::Chat,
        base_url,
        key_names: Vec::new(),
        needs_key: false,
        default_model: None,
        is_trusted: true,
        key: None,
    }
}

fn key(name: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Option<(String, Secret)> {
    Some((name.to_owned(), Secret::new(lookup(name)?)))
}

/// An item of the list of further providers: `name=address`.
fn custom(item: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Setup, Error> {
    let (name, url) = item.split_once('=').ok_or_else(|| custom_error("has an item without ="))?;
    let (name, url) = (name.trim(), web_url("WAYSTATION_PROVIDERS", url.trim())?);
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.starts_with(|letter: char| letter.is_ascii_lowercase()) || !name.bytes().all(is_letter)
    {
        return Err(custom_error(&format!("has the name {name:?}")));
    }
    let key_name = format!("{}_API_KEY", name.to_ascii_uppercase().replace('-', "_"));
    let key = key(&key_name, lookup);
    Ok(Setup { key_names: vec![key_name], key, ..further(name, name, url) })
}

fn custom_error(problem: &str) -> Error {
    Error::new(Code::SettingInvalid, format!("WAYSTATION_PROVIDERS {problem}")).with_hint(
        "name=address, separated by commas: groq=https://api.groq.com/openai/v1; names are of \
         lower-case letters, digits and -, and none is there twice",
    )
}

/// The address itself stays unsaid: it may hold a key.
fn web_url(setting: &str, text: &str) -> Result<String, Error> {
    let parsed = Url::parse(text).ok();
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    match parsed.filter(is_web) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => {
            let message = format!("{setting} needs an http or https address");
            Err(Error::new(Code::SettingInvalid, message))
        }
    }
}

#[cfg(test)]
mod tests;
