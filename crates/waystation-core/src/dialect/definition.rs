//! What the definitions of all formats have in common: how findings gather, what addresses and headers
//! may be.

use serde_json::Value;

/// The methods by which steps call services.
pub(super) const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Where problems and warnings gather while a document is read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Whether a URL names this server by its path alone, or another one by http or https.
pub(super) fn is_web_address(url: &str) -> bool {
    // Two slashes of either kind would begin another host.
    let is_path = url.starts_with('/') && !url[1..].starts_with(['/', '\\']);
    if url.contains("://") { is_absolute_address(url) } else { is_path }
}

/// Whether a URL names a server by http or https.
pub(super) fn is_absolute_address(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let begins_a_host = |letter: char| !"/\\?#".contains(letter) && !letter.is_whitespace();
    let is_web = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    is_web && rest.starts_with(begins_a_host)
}

/// The name of the secret that a text stands for, if it is a placeholder for one and nothing else.
pub fn secret_name(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let name = inside.trim().strip_prefix("secrets.")?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    (!name.is_empty() && name.chars().all(is_plain)).then_some(name)
}

/// A token of RFC 9110.
pub(super) fn is_header_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(inside)
}

/// What is wrong with headers, in words.
pub(super) fn header_problems(headers: &serde_json::Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, value) in headers {
        if !(value.is_string() || value.is_number() || value.is_boolean()) {
            problems.push(format!("Header {name} must be a string"));
        }
        if !is_header_name(name) {
            problems.push(format!("Invalid header name: {name:?}"));
        }
        let text = value.as_str().filter(|text| !text.contains("{{")).unwrap_or_default();
        if text.contains(|letter: char| letter.is_ascii_control() && letter != '\t') {
            problems.push(format!("Invalid header value: {name} has control characters"));
        }
    }
    problems
}

/// Whether a value is nested deeper than so many levels.
pub(super) fn is_deeper(value: &Value, levels: usize) -> bool {
    let below = |value: &Value| is_deeper(value, levels - 1);
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => true,
        Value::Array(items) => items.iter().any(below),
        Value::Object(fields) => fields.values().any(below),
        _ => false,
    }
}
