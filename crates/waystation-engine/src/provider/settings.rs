//! What an operator sets about calls of models in general: limits, the cache, budgets.

use std::time::Duration;

use waystation_core::error::{Code, Error};
use waystation_core::plan::Budget;

use super::limiter::limits::ModelLimits;

const CACHE_SECONDS: u64 = 3_600;
/// No number means anything beyond it.
const MOST: u64 = 1_000_000_000_000_000;

/// The settings.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// How long answers are kept for equal questions; `None` keeps none.
    pub cache: Option<Duration>,
    /// Bounds of each provider.
    pub limits: ModelLimits,
    /// What each run may use at the most, whatever its plan says.
    pub run_budget: Budget,
    /// What the runs of a workflow may use together on one UTC day.
    pub workflow_budget: Budget,
}

impl Default for ModelSettings {
    fn default() -> ModelSettings {
        ModelSettings {
            cache: Some(Duration::from_secs(CACHE_SECONDS)),
            limits: ModelLimits::default(),
            run_budget: Budget::default(),
            workflow_budget: Budget::default(),
        }
    }
}

impl ModelSettings {
    /// The environment's names for them.
    pub const NAMES: &[&str] = &[
        "WAYSTATION_LLM_CACHE_SECONDS",
        "WAYSTATION_MODEL_LIMITS",
        "WAYSTATION_RUN_TOKENS",
        "WAYSTATION_RUN_USD",
        "WAYSTATION_WORKFLOW_TOKENS",
        "WAYSTATION_WORKFLOW_USD",
    ];

    /// Reads and checks them.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<ModelSettings, Error> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let limits = lookup("WAYSTATION_MODEL_LIMITS").unwrap_or_default();
        let seconds = whole(&lookup, "WAYSTATION_LLM_CACHE_SECONDS")?.unwrap_or(CACHE_SECONDS);
        let budget = |tokens, usd| {
            Ok::<_, Error>(Budget {
                tokens: whole(&lookup, tokens)?,
                nano_usd: money(&lookup, usd)?,
            })
        };
        Ok(ModelSettings {
            cache: (seconds > 0).then(|| Duration::from_secs(seconds)),
            limits: ModelLimits::parse(&limits)?,
            run_budget: budget("WAYSTATION_RUN_TOKENS", "WAYSTATION_RUN_USD")?,
            workflow_budget: budget("WAYSTATION_WORKFLOW_TOKENS", "WAYSTATION_WORKFLOW_USD")?,
        })
    }
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

fn whole(lookup: Lookup<'_>, name: &str) -> Result<Option<u64>, Error> {
    let Some(text) = lookup(name) else { return Ok(None) };
    let number = text.trim().parse().ok().filter(|number| *number <= MOST);
    number.map(Some).ok_or_else(|| invalid(name, &text, "a whole number"))
}

/// US dollars in billionths.
fn money(lookup: Lookup<'_>, name: &str) -> Result<Option<u64>, Error> {
    let Some(text) = lookup(name) else { return Ok(None) };
    let dollars: Option<f64> = text.trim().parse().ok();
    let dollars = dollars.filter(|dollars| (0.0..=1e9).contains(dollars));
    let nano = dollars.map(|dollars| (dollars * 1e9).round() as u64);
    nano.map(Some).ok_or_else(|| invalid(name, &text, "an amount of US dollars such as 0.50"))
}

fn invalid(name: &str, text: &str, expected: &str) -> Error {
    let text = format!("{name} must be {expected}, not {:?}", text.trim());
    Error::new(Code::SettingInvalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<ModelSettings, Error> {
        let find = |name: &str| settings.iter().find(|(known, _)| *known == name);
        ModelSettings::from_lookup(&|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn settings_are_read_under_the_names_that_are_told() {
        let values = ["60", "openai concurrency=2", "1000", "0.25", "9", "3"];
        let all: Vec<_> = ModelSettings::NAMES.iter().copied().zip(values).collect();
        let settings = read(&all).unwrap();
        assert_eq!(settings.cache, Some(Duration::from_secs(60)));
        assert_eq!(settings.limits.of("openai").concurrency, 2);
        let run = Budget { tokens: Some(1_000), nano_usd: Some(250_000_000) };
        let workflow = Budget { tokens: Some(9), nano_usd: Some(3_000_000_000) };
        assert_eq!((settings.run_budget, settings.workflow_budget), (run, workflow));
        assert_eq!(read(&[("WAYSTATION_LLM_CACHE_SECONDS", "0")]).unwrap().cache, None);
        let defaults = read(&[("WAYSTATION_RUN_USD", " ")]).unwrap();
        assert_eq!(defaults.cache, Some(Duration::from_secs(3_600)));
        assert!(defaults.run_budget.is_unlimited());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (name, value, expected) in [
            ("WAYSTATION_LLM_CACHE_SECONDS", "1h", "a whole number, not \"1h\""),
            ("WAYSTATION_RUN_TOKENS", "-1", "a whole number, not \"-1\""),
            ("WAYSTATION_RUN_USD", "NaN", "an amount of US dollars such as 0.50, not \"NaN\""),
            ("WAYSTATION_WORKFLOW_USD", "$5", "an amount of US dollars such as 0.50, not \"$5\""),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert_eq!(error.message, format!("{name} must be {expected}"));
        }
    }
}
