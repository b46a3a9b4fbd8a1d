//! Settings to providers, and where keys come from.

use super::*;
use crate::secret::Sealer;
use crate::store::memory::MemoryStore;

fn read(pairs: &[(&str, &str)]) -> Result<Providers, Error> {
    Providers::from_lookup(&|name| {
        pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

fn lines(providers: &Providers) -> String {
    let line = |setup: &Setup| {
        let model = setup.default_model.unwrap_or("-");
        let keys = setup.key_names.join(" or ");
        let Setup { name, label, format, base_url, needs_key, .. } = setup;
        format!("{name}: {label}, {format:?}, {base_url:?}, key {keys:?} ({needs_key}), {model}")
    };
    providers.setups.values().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_settings_there_are_the_usual_providers() {
    insta::assert_snapshot!(lines(&read(&[]).expect("providers")), @r#"
    anthropic: Anthropic, Messages, "https://api.anthropic.com", key "ANTHROPIC_API_KEY" (true), claude-haiku-4-5
    echo: Echo, Echo, "", key "" (false), echo
    gemini: Gemini, Chat, "https://generativelanguage.googleapis.com/v1beta/openai", key "GEMINI_API_KEY or GOOGLE_API_KEY" (true), -
    ollama: Ollama, Chat, "http://127.0.0.1:11434/v1", key "" (false), -
    openai: OpenAI, Chat, "https://api.openai.com/v1", key "OPENAI_API_KEY" (true), gpt-5-nano
    openrouter: OpenRouter, Chat, "https://openrouter.ai/api/v1", key "OPENROUTER_API_KEY" (true), -
    "#);
}

#[test]
fn settings_add_and_move_providers() {
    let providers = read(&[
        ("OPENAI_BASE_URL", "https://proxy.example/openai/"),
        ("OLLAMA_BASE_URL", " http://gpu.example:11434/v1 "),
        ("MODEL_SERVICE_URL", "http://gateway.example"),
        ("ANTHROPIC_BASE_URL", ""),
        (
            "WAYSTATION_PROVIDERS",
            "groq=https://api.groq.com/openai/v1, my-own=http://127.0.0.1:8000/v1,",
        ),
    ]);
    insta::assert_snapshot!(lines(&providers.expect("providers")), @r#"
    anthropic: Anthropic, Messages, "https://api.anthropic.com", key "ANTHROPIC_API_KEY" (true), claude-haiku-4-5
    echo: Echo, Echo, "", key "" (false), echo
    gateway: Gateway, Gateway, "http://gateway.example", key "" (false), -
    gemini: Gemini, Chat, "https://generativelanguage.googleapis.com/v1beta/openai", key "GEMINI_API_KEY or GOOGLE_API_KEY" (true), -
    groq: groq, Chat, "https://api.groq.com/openai/v1", key "GROQ_API_KEY" (false), -
    my-own: my-own, Chat, "http://127.0.0.1:8000/v1", key "MY_OWN_API_KEY" (false), -
    ollama: Ollama, Chat, "http://gpu.example:11434/v1", key "" (false), -
    openai: OpenAI, Chat, "https://proxy.example/openai", key "OPENAI_API_KEY" (true), gpt-5-nano
    openrouter: OpenRouter, Chat, "https://openrouter.ai/api/v1", key "OPENROUTER_API_KEY" (true), -
    "#);
}

#[test]
fn wrong_settings_say_which_and_no_more() {
    for (name, value, expected) in [
        ("OPENAI_BASE_URL", "api.openai.com", "OPENAI_BASE_URL needs an http or https address"),
        ("MODEL_SERVICE_URL", "ftp://x", "MODEL_SERVICE_URL needs an http or https address"),
        ("WAYSTATION_PROVIDERS", "groq", "WAYSTATION_PROVIDERS has an item without ="),
        ("WAYSTATION_PROVIDERS", "g=secret", "WAYSTATION_PROVIDERS needs an http or https address"),
        ("WAYSTATION_PROVIDERS", "G Q=http://x", "WAYSTATION_PROVIDERS has the name \"G Q\""),
        ("WAYSTATION_PROVIDERS", "openai=http://x", "WAYSTATION_PROVIDERS names openai again"),
        ("WAYSTATION_PROVIDERS", "a=http://x,a=http://y", "WAYSTATION_PROVIDERS names a again"),
    ] {
        let error = read(&[(name, value)]).expect_err(value);
        assert_eq!((error.code, error.message.as_str()), (Code::SettingInvalid, expected));
    }
}

#[tokio::test]
async fn keys_come_from_the_vault_first_and_are_looked_up_each_time() {
    let sealer = Sealer::from_key_text(&"7".repeat(64)).expect("a sealer");
    let vault = Vault::new(sealer, Arc::new(MemoryStore::default()));
    let environment = [
        ("OPENAI_API_KEY", "from-environment"),
        ("GOOGLE_API_KEY", "second-name"),
        ("GROQ_API_KEY", "q"),
        ("WAYSTATION_PROVIDERS", "groq=http://x.example"),
    ];
    let providers = read(&environment).expect("providers");
    let key = |name: &str, vault: Option<&Vault>| {
        let key = providers.setups[name].key(vault)?;
        Ok::<_, Failure>(key.map(|key| key.expose().to_owned()))
    };
    assert_eq!(key("openai", None), Ok(Some("from-environment".into())));
    assert_eq!(key("openai", Some(&vault)), Ok(Some("from-environment".into())));
    vault.set("OPENAI_API_KEY", "from-vault").await.expect("room");
    assert_eq!(key("openai", Some(&vault)), Ok(Some("from-vault".into())));
    assert_eq!(key("gemini", Some(&vault)), Ok(Some("second-name".into())));
    assert_eq!(key("groq", Some(&vault)), Ok(Some("q".into())));
    for name in ["ollama", "echo"] {
        assert_eq!(key(name, Some(&vault)), Ok(None));
    }
    let failure = key("anthropic", Some(&vault)).expect_err("no key");
    let expected = Failure::fatal(Code::ModelKeyMissing, "Missing ANTHROPIC_API_KEY");
    assert_eq!(failure, expected);
}

#[test]
fn debug_shows_no_key() {
    let providers = read(&[("OPENAI_API_KEY", "hunter22")]).expect("providers");
    assert!(!format!("{providers:?}").contains("hunter22"));
}

#[test]
fn a_request_may_name_an_address_but_no_key_of_the_server() {
    let setup = Setup::at_url("https://user:pass@x.example:8443/v1").expect("a provider");
    assert_eq!((setup.label.as_str(), setup.is_trusted), ("x.example:8443", false));
    assert!(setup.key(None).expect("none is needed").is_none());
    for url in ["ftp://x.example", "x.example", "http://", ""] {
        assert_eq!(Setup::at_url(url).expect_err(url).code, Code::ProviderUnknown);
    }
}
