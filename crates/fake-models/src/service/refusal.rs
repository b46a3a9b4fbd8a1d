//! Errors of the services, before they are put in a service's words.

use super::Service;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    Authentication,
    NotFound,
    RateLimit,
    Internal,
    Overloaded,
}

/// An error.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// The parameter at fault, where the service names it.
    pub(crate) param: Option<&'static str>,
    /// The service's own code, where it has one.
    pub(crate) code: Option<&'static str>,
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    fn new(kind: Kind, message: impl Into<String>) -> Refusal {
        Refusal { kind, message: message.into(), param: None, code: None, retry_after: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(Kind::Invalid, message)
    }

    /// A parameter that cannot be accepted.
    pub(crate) fn parameter(
        param: &'static str,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Refusal {
        Refusal { param: Some(param), code, ..Refusal::invalid(message) }
    }

    pub(crate) fn no_key(service: Service) -> Refusal {
        let message = match service {
            Service::Anthropic => "x-api-key header is required",
            _ => {
                "You didn't provide an API key. It belongs into an Authorization header using Bearer auth."
            }
        };
        Refusal::new(Kind::Authentication, message)
    }

    /// The key is quoted, so that tests can see whether anybody keeps it.
    pub(crate) fn wrong_key(service: Service, key: &str) -> Refusal {
        let message = match service {
            Service::Anthropic => format!("invalid x-api-key: {key}"),
            _ => format!("Incorrect API key provided: {key}."),
        };
        let code = Some("invalid_api_key");
        Refusal { code, ..Refusal::new(Kind::Authentication, message) }
    }

    pub(crate) fn unknown_model(service: Service, model: &str) -> Refusal {
        let message = match service {
            Service::Anthropic => format!("model: {model}"),
            _ => format!("The model `{model}` does not exist or you do not have access to it."),
        };
        let code = Some("model_not_found");
        Refusal { code, ..Refusal::new(Kind::NotFound, message) }
    }

    pub(crate) fn rate_limit(retry_after: Option<u64>) -> Refusal {
        let message = "Rate limit reached on requests per minute. Please try again later.";
        let code = Some("rate_limit_exceeded");
        Refusal { code, retry_after, ..Refusal::new(Kind::RateLimit, message) }
    }

    pub(crate) fn overloaded() -> Refusal {
        Refusal::new(Kind::Overloaded, "Overloaded")
    }

    pub(crate) fn internal() -> Refusal {
        Refusal::new(Kind::Internal, "The server had an error while processing your request.")
    }

    pub(crate) fn status(&self) -> u16 {
        match self.kind {
            Kind::Invalid => 400,
            Kind::Authentication => 401,
            Kind::NotFound => 404,
            Kind::RateLimit => 429,
            Kind::Internal => 500,
            Kind::Overloaded => 529,
        }
    }
}
