//! Who calls a service: by a password, a token or a key. What it is made of is never told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use waystation_core::error::Failure;

use super::request::{header_value, invalid};
use crate::egress::Request;

/// The header of a key where none is named.
const KEY_HEADER: &str = "X-API-Key";

/// Who calls.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::node) enum Auth {
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password, as in `{{secrets.PASSWORD}}`.
        #[serde(default)]
        password: String,
    },
    /// A token, in the header `Authorization`.
    Bearer {
        /// The token, as in `{{secrets.TOKEN}}`.
        token: String,
    },
    /// A key, in a header or in the query.
    ApiKey {
        /// The header's name; `X-API-Key` where neither `header` nor `query` is given.
        header: Option<String>,
        /// The name in the query.
        query: Option<String>,
        /// The key, as in `{{secrets.KEY}}`.
        key: Option<String>,
        /// The same as `key`.
        value: Option<String>,
    },
}

impl Auth {
    /// The setting. What is wrong with it is not quoted.
    pub(super) fn read(value: Value) -> Result<Auth, Failure> {
        let wrong = |_| {
            invalid(
                "HTTP settings: auth must be {type: basic, username, password}, {type: bearer, \
                 token} or {type: api_key, header or query, key}"
                    .to_owned(),
            )
        };
        let auth: Auth = serde_json::from_value(value).map_err(wrong)?;
        auth.check()?;
        Ok(auth)
    }

    fn check(&self) -> Result<(), Failure> {
        let problem = match self {
            Auth::Basic { username, .. } if username.contains(':') => {
                "auth.username must not have a colon"
            }
            Auth::ApiKey { header: Some(_), query: Some(_), .. } => {
                "auth has either a header or a query"
            }
            Auth::ApiKey { key: None, value: None, .. }
            | Auth::ApiKey { key: Some(_), value: Some(_), .. } => {
                "auth of type api_key needs a key"
            }
            _ => return Ok(()),
        };
        Err(invalid(format!("HTTP settings: {problem}")))
    }

    /// Puts it into a request.
    pub(super) fn sign(&self, request: &mut Request) -> Result<(), Failure> {
        let (name, text) = match self {
            Auth::Basic { username, password } => {
                let text = STANDARD.encode(format!("{username}:{password}"));
                (AUTHORIZATION, format!("Basic {text}"))
            }
            Auth::Bearer { token } => (AUTHORIZATION, format!("Bearer {}", token.trim())),
            Auth::ApiKey { query: Some(name), .. } => {
                request.params.push((name.clone(), self.key().to_owned()));
                return Ok(());
            }
            Auth::ApiKey { header, .. } => {
                let name = header.as_deref().unwrap_or(KEY_HEADER).trim();
                let parsed = HeaderName::from_bytes(name.as_bytes());
                let wrong = |_| invalid(format!("Invalid header name: {name:?}"));
                (parsed.map_err(wrong)?, self.key().to_owned())
            }
        };
        let mut value: HeaderValue = header_value(name.as_str(), text.trim())?;
        value.set_sensitive(true);
        request.headers.insert(name, value);
        Ok(())
    }

    /// Takes a key out of the address that answered.
    pub(super) fn forget(&self, url: &mut Url) {
        let Auth::ApiKey { query: Some(secret), .. } = self else { return };
        let is_secret = |name: &str, value: &str| name == secret && value == self.key();
        let pairs =
            || url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned()));
        if !pairs().any(|(name, value)| is_secret(&name, &value)) {
            return;
        }
        let kept: Vec<_> = pairs().filter(|(name, value)| !is_secret(name, value)).collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
    }

    fn key(&self) -> &str {
        match self {
            Auth::ApiKey { key, value, .. } => {
                key.as_ref().or(value.as_ref()).map_or("", |key| key)
            }
            Auth::Basic { .. } | Auth::Bearer { .. } => "",
        }
    }
}
