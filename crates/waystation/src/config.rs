//! What settings mean: read once, checked, with defaults that are safe.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use waystation_core::error::{Code, Error, nearest};
use waystation_engine::driver::Settings as EngineSettings;
use waystation_engine::egress::Policy;
use waystation_engine::event::redis::RedisConfig;
use waystation_engine::event::signature::SigningKey;
use waystation_engine::event::trace::export::TraceSettings;
use waystation_engine::node::email::server::MailSettings;
use waystation_engine::provider::config::Providers;
use waystation_engine::provider::prices::Prices;
use waystation_engine::provider::settings::ModelSettings;
use waystation_engine::sandbox::python::component_directory;

use crate::auth;
use crate::http::{DoorSettings, Proxies};
use crate::origins::Origins;
use crate::settings::table::{FILE_NAME, SETTINGS};

/// No setting means anything beyond it, and sums with it stay in bounds.
const NUMBER_MAX: usize = 1_000_000_000;

/// How often each caller may do what is costly by default, a minute.
const COSTLY_PER_MINUTE: usize = 120;

/// Events of a workflow that Redis keeps by default.
const REDIS_EVENTS: usize = 10_000;

/// Where settings come from.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All settings but those of a single command.
pub struct Config {
    /// Where everything lasts.
    pub data: PathBuf,
    /// Bounds and times of the engine.
    pub engine: EngineSettings,
    /// Where requests may go.
    pub egress: Policy,
    /// The directory whose SQLite files data sources may open.
    pub sqlite_dir: Option<PathBuf>,
    /// Redis, where configured.
    pub redis: Option<RedisConfig>,
    /// About how many events of each workflow are kept in Redis; none are sent where that is not said.
    pub redis_events: Option<u64>,
    /// The key that seals secrets; a file in the data directory where it is not given.
    pub secret_key: Option<String>,
    /// Signs webhooks and verifies those that come in.
    pub webhook_key: Option<SigningKey>,
    /// The engine that block workflows are sent to, instead of running here.
    pub workflow_engine_url: Option<String>,
    /// How others reach this server.
    pub public_url: Option<String>,
    /// Who may call.
    pub auth: auth::Settings,
    /// How they are let in.
    pub doors: DoorSettings,
    /// The largest request body.
    pub body_bytes_max: usize,
    /// The most steps of a definition.
    pub steps_max: usize,
    /// The providers of models.
    pub providers: Providers,
    /// What calls of models cost.
    pub prices: Prices,
    /// Limits, the cache and budgets of calls of models.
    pub models: ModelSettings,
    /// The mail server.
    pub mail: MailSettings,
    /// Where spans of runs are sent, if they are.
    pub traces: Option<TraceSettings>,
    /// Where the Python of user code lies.
    pub python_component: PathBuf,
    /// How long attempts under way may go on when the server goes down.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Reads and checks all settings. A server that only its own machine reaches may reach that
    /// machine and its network too; any other is confined to public addresses by default.
    pub fn read(lookup: Lookup<'_>, data: PathBuf, is_local: bool) -> Result<Config, Error> {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let reach = if is_local { "any-but-metadata" } else { "public-only" };
        let egress = text("WAYSTATION_EGRESS").unwrap_or_else(|| reach.into());
        let allow = text("WAYSTATION_EGRESS_ALLOW").unwrap_or_default();
        let engine = engine(lookup)?;
        let providers = Providers::from_lookup(lookup)?;
        let models = ModelSettings::from_lookup(lookup)?;
        check_limits(&models, &providers)?;
        let sqlite_dir = sqlite_dir(lookup, &data)?;
        let redis = RedisConfig::from_lookup(lookup)?;
        Ok(Config {
            data,
            sqlite_dir,
            engine,
            egress: Policy::parse(&egress, &allow).map_err(|error| setting(&error.to_string()))?,
            redis_events: redis_events(lookup, redis.is_some())?,
            redis,
            secret_key: text("WAYSTATION_SECRET_KEY"),
            webhook_key: text("WAYSTATION_WEBHOOK_SECRET")
                .map(|secret| SigningKey::parse(&secret))
                .transpose()?,
            workflow_engine_url: web_url(lookup, "WORKFLOW_ENGINE_URL")?,
            public_url: web_url(lookup, "WAYSTATION_PUBLIC_URL")?,
            auth: auth::Settings::from_lookup(lookup)?,
            doors: doors(lookup)?,
            body_bytes_max: number(lookup, "WAYSTATION_MAX_BODY_BYTES", 1_024, 8 << 20)?,
            steps_max: number(
                lookup,
                "WAYSTATION_MAX_STEPS",
                1,
                waystation_core::limits::NODES_PER_PLAN,
            )?,
            providers,
            prices: prices(lookup)?,
            models,
            mail: MailSettings::from_lookup(lookup)?,
            traces: TraceSettings::from_lookup(lookup)?,
            python_component: python_component(lookup),
            shutdown_grace: Duration::from_secs(number(
                lookup,
                "WAYSTATION_SHUTDOWN_SECONDS",
                0,
                20,
            )? as u64),
        })
    }
}

/// What the engine may use, where it is not the default.
fn engine(lookup: Lookup<'_>) -> Result<EngineSettings, Error> {
    let defaults = EngineSettings::default();
    Ok(EngineSettings {
        runs_live: number(lookup, "WAYSTATION_MAX_RUNS", 1, defaults.runs_live)?,
        nodes_live: number(lookup, "WAYSTATION_MAX_NODES", 1, defaults.nodes_live)?,
        result_bytes_max: number(
            lookup,
            "WAYSTATION_MAX_RESULT_BYTES",
            1_024,
            defaults.result_bytes_max,
        )?,
        retention: retention(lookup)?,
        ..defaults
    })
}

/// Refuses settings of this program's own that do not exist.
pub fn check_names(names: impl Iterator<Item = String>) -> Result<(), Error> {
    let known = || SETTINGS.iter().map(|setting| setting.name).chain([FILE_NAME]);
    let own = names.filter(|name| name.starts_with("WAYSTATION_"));
    for name in own {
        if known().any(|known| known == name) {
            continue;
        }
        let near = nearest(&name, known());
        let error = setting(&format!("There is no setting {name}"));
        return Err(match near.first() {
            Some(near) => error.with_hint(format!("did you mean {near}?")),
            None => error,
        });
    }
    Ok(())
}

/// Whether only this machine can reach a server that listens there.
pub fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn setting(message: &str) -> Error {
    Error::new(Code::SettingInvalid, message)
}

fn number(lookup: Lookup<'_>, name: &str, least: usize, default: usize) -> Result<usize, Error> {
    let Some(text) = lookup(name).filter(|text| !text.is_empty()) else { return Ok(default) };
    let value = text.parse().ok().filter(|value| (least..=NUMBER_MAX).contains(value));
    value.ok_or_else(|| {
        let range = format!("a whole number from {least} to {NUMBER_MAX}");
        setting(&format!("{name} must be {range}, not {text:?}"))
    })
}

fn retention(lookup: Lookup<'_>) -> Result<Option<Duration>, Error> {
    let days = number(lookup, "WAYSTATION_RETENTION_DAYS", 0, 30)? as u64;
    Ok((days > 0).then(|| Duration::from_secs(days * 24 * 3_600)))
}

/// How callers are let in.
fn doors(lookup: Lookup<'_>) -> Result<DoorSettings, Error> {
    let origins = lookup("WAYSTATION_CORS_ORIGINS").unwrap_or_default();
    let origins = Origins::parse(&origins)
        .map_err(|why| setting(&format!("WAYSTATION_CORS_ORIGINS: {why}")))?;
    let costly = number(lookup, "WAYSTATION_COSTLY_PER_MINUTE", 0, COSTLY_PER_MINUTE)?;
    Ok(DoorSettings {
        origins,
        proxies: Proxies::from_lookup(lookup)?,
        // 0 counts nothing.
        costly_per_minute: u32::try_from(costly).ok().and_then(NonZeroU32::new),
    })
}

/// The length of the streams of events; 0 sends none.
fn redis_events(lookup: Lookup<'_>, has_redis: bool) -> Result<Option<u64>, Error> {
    let name = "WAYSTATION_REDIS_EVENTS";
    let length = number(lookup, name, 0, REDIS_EVENTS)? as u64;
    let is_said = lookup(name).is_some_and(|text| !text.is_empty());
    if is_said && length > 0 && !has_redis {
        return Err(setting(&format!("{name} has no effect without Redis"))
            .with_hint("set REDIS_URL, or REDIS_HOST"));
    }
    Ok((length > 0).then_some(length))
}

/// A limit for a provider that does not exist would have no effect.
fn check_limits(models: &ModelSettings, providers: &Providers) -> Result<(), Error> {
    let known = || providers.setups.keys().map(String::as_str);
    let unknown = models.limits.providers().find(|name| known().all(|known| known != *name));
    let Some(name) = unknown else { return Ok(()) };
    let error = setting(&format!("WAYSTATION_MODEL_LIMITS names no provider with {name}"));
    Err(match nearest(name, known()).first() {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error,
    })
}

fn prices(lookup: Lookup<'_>) -> Result<Prices, Error> {
    let path = lookup("WAYSTATION_MODEL_PRICES").filter(|path| !path.is_empty());
    path.map_or_else(|| Ok(Prices::default()), |path| Prices::read(path.as_ref()))
}

/// A directory that is there, and not that of the engine itself.
fn sqlite_dir(lookup: Lookup<'_>, data: &Path) -> Result<Option<PathBuf>, Error> {
    let Some(text) = lookup("WAYSTATION_SQLITE_DIR").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let wrong = |what: &str| setting(&format!("WAYSTATION_SQLITE_DIR: {text:?} {what}"));
    let directory = Path::new(&text).canonicalize().ok().filter(|path| path.is_dir());
    let directory = directory.ok_or_else(|| wrong("is no directory"))?;
    if data.canonicalize().is_ok_and(|data| directory.starts_with(data)) {
        return Err(wrong("is the data directory, or lies in it"));
    }
    Ok(Some(directory))
}

/// Where `make python` leaves it: in the user's cache, or in the system's for a user without a home.
fn python_component(lookup: Lookup<'_>) -> PathBuf {
    let text = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let all = text("WAYSTATION_PYTHON_COMPONENT").unwrap_or_else(|| {
        let cache = text("HOME").map_or_else(|| "/var/cache".into(), |home| home.join(".cache"));
        cache.join("waystation/python")
    });
    component_directory(&all)
}

fn web_url(lookup: Lookup<'_>, name: &str) -> Result<Option<String>, Error> {
    let Some(url) = lookup(name).filter(|url| !url.is_empty()) else { return Ok(None) };
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(Some(url.trim_end_matches('/').to_owned()));
    }
    Err(setting(&format!("{name} must be an http or https URL, not {url:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let lookup = |name: &str| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Config::read(&lookup, "data".into(), true).map_err(|error| error.message)
    }

    #[test]
    fn defaults_are_safe_and_each_setting_counts() {
        let config = read(&[]).unwrap();
        assert_eq!(config.body_bytes_max, 8 << 20);
        assert_eq!(config.engine.retention, Some(Duration::from_secs(30 * 86_400)));
        let config = read(&[
            ("WAYSTATION_MAX_BODY_BYTES", "2048"),
            ("WAYSTATION_MAX_STEPS", "7"),
            ("WAYSTATION_MAX_RESULT_BYTES", "4096"),
            ("WAYSTATION_MAX_RUNS", "8"),
            ("WAYSTATION_MAX_NODES", "9"),
            ("WAYSTATION_RETENTION_DAYS", "0"),
            ("WAYSTATION_SHUTDOWN_SECONDS", "3"),
            ("WAYSTATION_PUBLIC_URL", "https://flows.example/"),
            ("WAYSTATION_PYTHON_COMPONENT", "/opt/pythons"),
        ])
        .unwrap();
        assert_eq!((config.body_bytes_max, config.steps_max), (2048, 7));
        assert_eq!((config.engine.runs_live, config.engine.nodes_live), (8, 9));
        assert_eq!(config.engine.result_bytes_max, 4096);
        assert_eq!(config.engine.retention, None);
        assert_eq!(config.shutdown_grace, Duration::from_secs(3));
        assert_eq!(config.public_url.as_deref(), Some("https://flows.example"));
        assert_eq!(config.python_component.parent(), Some("/opt/pythons".as_ref()));
        let config = read(&[("SMTP_HOST", "mail.example"), ("SMTP_PORT", "465")]).unwrap();
        let server = config.mail.server.unwrap();
        assert_eq!((server.host.as_str(), server.port), ("mail.example", 465));
    }

    #[test]
    fn wrong_settings_say_what_and_where() {
        for (name, value) in [
            ("WAYSTATION_MAX_RUNS", "many"),
            ("WAYSTATION_MAX_NODES", "18446744073709551615"),
            ("WAYSTATION_RETENTION_DAYS", "1000000001"),
            ("WAYSTATION_MAX_BODY_BYTES", "3"),
            ("WORKFLOW_ENGINE_URL", "ftp://x"),
            ("WAYSTATION_EGRESS", "everything"),
            ("WAYSTATION_EGRESS_ALLOW", "10.0.0.0/99"),
            ("REDIS_URL", "ftp://x"),
            ("WAYSTATION_REDIS_EVENTS", "7"),
            ("WAYSTATION_SQLITE_DIR", "/no/such/directory"),
            ("WAYSTATION_CORS_ORIGINS", "flows.example"),
            ("UPSTASH_REST_URL", "https://x.example"),
            ("SMTP_CA_FILE", "/nowhere.pem"),
        ] {
            let message = read(&[(name, value)]).err().unwrap_or_else(|| panic!("{name} passed"));
            assert!(message.contains(name.trim_end_matches("_REST_URL")), "{name}: {message}");
        }
    }

    #[test]
    fn the_directory_of_sqlite_files_is_not_that_of_the_engine() {
        let root = tempfile::TempDir::new().unwrap();
        let (data, inner) = (root.path().join("data"), root.path().join("data/inner"));
        std::fs::create_dir_all(&inner).unwrap();
        let read = |path: &Path| {
            let lookup = |name: &str| {
                (name == "WAYSTATION_SQLITE_DIR").then(|| path.to_string_lossy().into_owned())
            };
            Config::read(&lookup, data.clone(), true).map(|config| config.sqlite_dir)
        };
        for path in [&data, &inner] {
            assert!(read(path).unwrap_err().message.contains("data directory"));
        }
        // The engine's own files stay closed even there.
        assert_eq!(read(root.path()), Ok(Some(root.path().canonicalize().unwrap())));
    }

    #[test]
    fn a_misspelt_setting_is_refused_with_the_nearest_name() {
        let names = ["PATH", "WAYSTATION_MAX_RUN"].map(String::from).into_iter();
        let error = check_names(names).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean WAYSTATION_MAX_RUNS?"));
        assert_eq!(check_names(SETTINGS.iter().map(|setting| setting.name.into())), Ok(()));
    }

    /// What the table says of a default has to be so, and what is read has to be in the table.
    #[test]
    fn the_table_of_settings_is_complete_and_its_defaults_are_taken() {
        use crate::settings::table::ALIASES;
        let others = ["HOME", "PATH"];
        let lookup = |name: &str| {
            let known = SETTINGS.iter().find(|setting| setting.name == name);
            let is_other =
                others.contains(&name) || ALIASES.iter().any(|(alias, _)| *alias == name);
            assert!(known.is_some() || is_other, "{name} is in no table");
            // These count only together with others.
            let depends = ["JWT_ALGORITHM", "WAYSTATION_JWT_ROLE", "WAYSTATION_REDIS_EVENTS"];
            let default = known.filter(|setting| !depends.contains(&setting.name))?.default;
            (!default.is_empty()).then(|| default.to_owned())
        };
        Config::read(&lookup, "data".into(), true).unwrap();
    }

    #[test]
    fn only_loopback_is_local() {
        for (host, local) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("localhost", true),
            ("0.0.0.0", false),
            ("x", false),
        ] {
            assert_eq!(is_local(host), local, "{host}");
        }
    }
}
