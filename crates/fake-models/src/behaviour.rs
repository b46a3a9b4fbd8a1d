//! What a model of this name does.

/// What a model does, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Plain,
    Raw,
    Empty,
    Length,
    Filtered,
    Slow,
    Choppy,
    Huge,
    Endless,
    Cut,
    Truncated,
    NotJson,
    Html,
    Midway,
    RateLimited { retry_after: Option<u64> },
    Overloaded,
    FailsOnce,
    Unknown,
}

impl Behaviour {
    /// Of a model's name, which may have its maker before a slash.
    pub(crate) fn of(model: &str) -> Behaviour {
        let name = model.rsplit('/').next().unwrap_or_default();
        match name.strip_prefix("fake-") {
            None => Behaviour::Plain,
            Some("json") => Behaviour::Raw,
            Some("empty") => Behaviour::Empty,
            Some("length") => Behaviour::Length,
            Some("filtered") => Behaviour::Filtered,
            Some("slow") => Behaviour::Slow,
            Some("choppy") => Behaviour::Choppy,
            Some("huge") => Behaviour::Huge,
            Some("endless") => Behaviour::Endless,
            Some("cut") => Behaviour::Cut,
            Some("truncated") => Behaviour::Truncated,
            Some("not-json") => Behaviour::NotJson,
            Some("html") => Behaviour::Html,
            Some("midway") => Behaviour::Midway,
            Some("429") => Behaviour::RateLimited { retry_after: None },
            Some("429-after") => Behaviour::RateLimited { retry_after: Some(1) },
            Some("529") => Behaviour::Overloaded,
            Some("500-once") => Behaviour::FailsOnce,
            Some(_) => Behaviour::Unknown,
        }
    }
}
