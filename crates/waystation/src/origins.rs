//! Origins: which web pages may use the API.

use axum::http::HeaderValue;

/// The pages of other origins that may read the replies of the open routes. Where the operator has
/// named them they may also write to a server that otherwise answers only its own machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Nothing is said: all pages may read, and only the network decides who reaches the server.
    #[default]
    Unsaid,
    /// All, by the operator's word.
    All,
    /// These.
    Listed(Vec<String>),
}

impl Origins {
    /// Reads a list: origins by comma, or `*` alone.
    pub fn parse(text: &str) -> Result<Origins, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let parts: Vec<&str> = parts.collect();
        match parts[..] {
            [] => Ok(Origins::Unsaid),
            ["*"] => Ok(Origins::All),
            _ => parts.into_iter().map(origin).collect::<Result<_, _>>().map(Origins::Listed),
        }
    }

    /// What a page of this origin is told; nothing to one that is not listed.
    pub fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Origins::Unsaid | Origins::All => Some(HeaderValue::from_static("*")),
            Origins::Listed(_) => origin.filter(|origin| self.is_named(origin)).cloned(),
        }
    }

    /// Whether the operator has let this origin in.
    pub fn is_named(&self, origin: &HeaderValue) -> bool {
        match self {
            Origins::Unsaid => false,
            Origins::All => true,
            Origins::Listed(origins) => origins.iter().any(|known| origin == known.as_str()),
        }
    }

    /// Whether the operator has said anything.
    pub fn is_said(&self) -> bool {
        *self != Origins::Unsaid
    }

    /// Whether what is told depends on who asks, so that caches must keep the replies apart.
    pub fn varies(&self) -> bool {
        matches!(self, Origins::Listed(_))
    }
}

/// An origin as browsers write it: scheme, host and port in small letters, and nothing behind.
fn origin(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://").unwrap_or_default();
    let odd = |letter: char| "/?#@*\\".contains(letter) || !letter.is_ascii_graphic();
    if scheme.is_empty() || authority.is_empty() || authority.contains(odd) {
        return Err(format!("{text:?} is no origin such as https://flows.example, and no lone *"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_lets_in_whom_it_names() {
        for (setting, asking, told, named) in [
            ("", "https://a.example", Some("*"), false),
            (" * ", "https://a.example", Some("*"), true),
            ("https://a.example", "https://a.example", Some("https://a.example"), true),
            (
                "http://b:1, HTTPS://A.example/,",
                "https://a.example",
                Some("https://a.example"),
                true,
            ),
            ("https://a.example", "https://a.example.evil", None, false),
            ("https://a.example", "http://a.example", None, false),
            ("https://a.example", "null", None, false),
        ] {
            let origins = Origins::parse(setting).unwrap();
            let asking = HeaderValue::from_static(asking);
            let allowed = origins.allowed(Some(&asking));
            let allowed = allowed.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!((allowed, origins.is_named(&asking)), (told, named), "{setting} {asking:?}");
        }
        let listed = Origins::parse("https://a.example").unwrap();
        assert_eq!(listed.allowed(None), None);
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for setting in
            ["a.example", "https://", "https://a/b", "https://*.example", "*,https://a", "null"]
        {
            assert!(Origins::parse(setting).unwrap_err().contains("is no origin"), "{setting}");
        }
    }
}
