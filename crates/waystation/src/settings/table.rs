//! Every setting there is: its variable, its key in the file, and what it is without either.

/// What a value of the file has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A text that nobody may see.
    Secret,
    /// A whole number.
    Whole,
    /// A number.
    Decimal,
    /// `true` or `false`.
    Switch,
    /// A list of texts.
    List,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its variable.
    pub name: &'static str,
    /// Its table and name in the file, with a dot between.
    pub key: &'static str,
    /// What its value in the file is.
    pub kind: Kind,
    /// What holds where nothing is set; empty where nothing holds.
    pub default: &'static str,
}

const fn of(name: &'static str, key: &'static str, kind: Kind, default: &'static str) -> Setting {
    Setting { name, key, kind, default }
}

/// All settings, in the order in which they are shown. Those of a table stand together.
pub const SETTINGS: &[Setting] = &[
    of("HOST", "server.host", Kind::Text, "127.0.0.1"),
    of("PORT", "server.port", Kind::Whole, "8080"),
    of("WAYSTATION_OPEN", "server.open", Kind::Switch, "false"),
    of("WAYSTATION_PUBLIC_URL", "server.public_url", Kind::Text, ""),
    of("WAYSTATION_OPEN_APIS", "server.open_apis", Kind::List, ""),
    of("WAYSTATION_CORS_ORIGINS", "server.cors_origins", Kind::List, ""),
    of("WAYSTATION_TRUSTED_PROXIES", "server.trusted_proxies", Kind::List, ""),
    of("WAYSTATION_COSTLY_PER_MINUTE", "server.costly_per_minute", Kind::Whole, "120"),
    of("WAYSTATION_MAX_BODY_BYTES", "server.max_body_bytes", Kind::Whole, "8388608"),
    of("WAYSTATION_SHUTDOWN_SECONDS", "server.shutdown_seconds", Kind::Whole, "20"),
    of("JWT_SECRET", "auth.jwt_secret", Kind::Secret, ""),
    of("JWT_ALGORITHM", "auth.jwt_algorithm", Kind::Text, "HS256"),
    of("WAYSTATION_JWT_KEYS", "auth.jwt_keys", Kind::Text, ""),
    of("WAYSTATION_JWT_AUDIENCE", "auth.jwt_audience", Kind::List, ""),
    of("WAYSTATION_JWT_ISSUER", "auth.jwt_issuer", Kind::List, ""),
    of("WAYSTATION_JWT_ROLE", "auth.jwt_role", Kind::Text, "editor"),
    of("WAYSTATION_DATA", "store.data", Kind::Text, ".waystation"),
    of("WAYSTATION_RETENTION_DAYS", "store.retention_days", Kind::Whole, "30"),
    of("WAYSTATION_SECRET_KEY", "store.secret_key", Kind::Secret, ""),
    of("WAYSTATION_MAX_RUNS", "limits.runs", Kind::Whole, "20000"),
    of("WAYSTATION_MAX_NODES", "limits.nodes", Kind::Whole, "1024"),
    of("WAYSTATION_MAX_STEPS", "limits.steps", Kind::Whole, "4096"),
    of("WAYSTATION_MAX_RESULT_BYTES", "limits.result_bytes", Kind::Whole, "268435456"),
    of("WAYSTATION_EGRESS", "egress.reach", Kind::Text, ""),
    of("WAYSTATION_EGRESS_ALLOW", "egress.allow", Kind::List, ""),
    of("WAYSTATION_SQLITE_DIR", "nodes.sqlite_dir", Kind::Text, ""),
    of("WAYSTATION_PYTHON_COMPONENT", "nodes.python_component", Kind::Text, ""),
    of("WAYSTATION_WEBHOOK_SECRET", "webhooks.secret", Kind::Secret, ""),
    of("WORKFLOW_ENGINE_URL", "blocks.workflow_engine_url", Kind::Text, ""),
    of("OPENAI_API_KEY", "models.openai_api_key", Kind::Secret, ""),
    of("ANTHROPIC_API_KEY", "models.anthropic_api_key", Kind::Secret, ""),
    of("OPENROUTER_API_KEY", "models.openrouter_api_key", Kind::Secret, ""),
    of("GEMINI_API_KEY", "models.gemini_api_key", Kind::Secret, ""),
    of("GOOGLE_API_KEY", "models.google_api_key", Kind::Secret, ""),
    of("OPENAI_BASE_URL", "models.openai_base_url", Kind::Text, ""),
    of("ANTHROPIC_BASE_URL", "models.anthropic_base_url", Kind::Text, ""),
    of("OPENROUTER_BASE_URL", "models.openrouter_base_url", Kind::Text, ""),
    of("GEMINI_BASE_URL", "models.gemini_base_url", Kind::Text, ""),
    of("OLLAMA_BASE_URL", "models.ollama_base_url", Kind::Text, ""),
    of("MODEL_SERVICE_URL", "models.gateway_url", Kind::Text, ""),
    of("WAYSTATION_PROVIDERS", "models.providers", Kind::List, ""),
    of("WAYSTATION_MODEL_LIMITS", "models.limits", Kind::Text, ""),
    of("WAYSTATION_MODEL_PRICES", "models.prices", Kind::Text, ""),
    of("WAYSTATION_LLM_CACHE_SECONDS", "models.cache_seconds", Kind::Whole, "3600"),
    of("WAYSTATION_RUN_TOKENS", "models.run_tokens", Kind::Whole, ""),
    of("WAYSTATION_RUN_USD", "models.run_usd", Kind::Decimal, ""),
    of("WAYSTATION_WORKFLOW_TOKENS", "models.workflow_tokens", Kind::Whole, ""),
    of("WAYSTATION_WORKFLOW_USD", "models.workflow_usd", Kind::Decimal, ""),
    of("SMTP_HOST", "smtp.host", Kind::Text, ""),
    of("SMTP_PORT", "smtp.port", Kind::Whole, ""),
    of("SMTP_SECURITY", "smtp.security", Kind::Text, ""),
    of("SMTP_USERNAME", "smtp.username", Kind::Text, ""),
    of("SMTP_PASSWORD", "smtp.password", Kind::Secret, ""),
    of("SMTP_FROM", "smtp.from", Kind::Text, ""),
    of("SMTP_CA_FILE", "smtp.ca_file", Kind::Text, ""),
    of("REDIS_URL", "redis.url", Kind::Secret, ""),
    of("REDIS_HOST", "redis.host", Kind::Text, ""),
    of("REDIS_PORT", "redis.port", Kind::Whole, ""),
    of("REDIS_PASSWORD", "redis.password", Kind::Secret, ""),
    of("UPSTASH_REST_URL", "redis.upstash_rest_url", Kind::Text, ""),
    of("UPSTASH_REST_TOKEN", "redis.upstash_rest_token", Kind::Secret, ""),
    of("WAYSTATION_REDIS_EVENTS", "redis.events", Kind::Whole, "10000"),
    of("OTEL_EXPORTER_OTLP_ENDPOINT", "traces.endpoint", Kind::Text, ""),
    of("OTEL_EXPORTER_OTLP_HEADERS", "traces.headers", Kind::Secret, ""),
    of("OTEL_SERVICE_NAME", "traces.service_name", Kind::Text, "waystation"),
    of("LOG_LEVEL", "log.level", Kind::Text, "warn"),
    of("LOG_FORMAT", "log.format", Kind::Text, "pretty"),
];

/// Other variables for the same: what is set by one of them is set.
pub const ALIASES: &[(&str, &str)] = &[("SMTP_USER", "SMTP_USERNAME"), ("EMAIL_FROM", "SMTP_FROM")];

/// Says where the file is, and so cannot stand in it.
pub const FILE_NAME: &str = "WAYSTATION_CONFIG";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_keys_are_given_once_and_tables_stand_together() {
        let names: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        let keys: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
        assert_eq!((names.len(), keys.len()), (SETTINGS.len(), SETTINGS.len()));
        let mut tables: Vec<&str> =
            SETTINGS.iter().map(|setting| setting.key.split_once('.').unwrap().0).collect();
        tables.dedup();
        let distinct: BTreeSet<&str> = tables.iter().copied().collect();
        assert_eq!(tables.len(), distinct.len(), "{tables:?}");
        for (alias, name) in ALIASES {
            assert!(names.contains(name) && !names.contains(alias));
        }
    }
}
