//! A node's settings made ready for an attempt: gates checked, templates rendered.

use serde_json::Value;

use crate::error::{Code, Failure};
use crate::limits::INTERRUPTIONS_PER_NODE;
use crate::plan::{Need, Node, NodeIndex, Selection};
use crate::run::Run;
use crate::scope::{NodeScope, Outside, Within};

/// What an attempt begins with.
#[derive(Debug)]
pub enum Prepared {
    /// The node can run.
    Run {
        /// Its settings; may hold secrets.
        config: Value,
        /// Placeholders that were left as they are, in words for the run's log.
        warnings: Vec<String>,
        /// The names of the secrets in `config`; their values must not appear in what the node gives.
        secrets: Vec<String>,
        /// Whether the node's condition holds, if it has one.
        holds: Option<bool>,
    },
    /// A gate is closed.
    Skip {
        /// Why, in words for the user.
        reason: String,
    },
    /// The settings cannot be rendered on this run's values, or crashes have used up the attempt.
    Fail(Failure),
}

/// Prepares an attempt that starts at `now_ms`.
pub fn prepare(
    run: &Run,
    run_id: &str,
    node: NodeIndex,
    attempt: u32,
    now_ms: u64,
    outside: Outside<'_>,
) -> Prepared {
    let plan = &run.program.plan;
    let definition = &plan.nodes[node as usize];
    if run.scheduler.is_worn_out(node) {
        return Prepared::Fail(worn_out());
    }
    if let Some(reason) = definition.selections.iter().find_map(|gate| closed(run, gate)) {
        return Prepared::Skip { reason };
    }
    let scope = NodeScope::new(run, run_id, attempt, now_ms, outside);
    match run.program.templates[node as usize].render(&scope, plan.missing) {
        Ok(mut rendered) => {
            definition.add_literals(&mut rendered.value);
            if let Some(need) = lacking(definition, &rendered.value) {
                return Prepared::Fail(Failure::fatal(need.code, need.message.as_str()));
            }
            let holds = match judge(run, node, &rendered.value, &scope) {
                Ok(holds) => holds,
                Err(failure) => return Prepared::Fail(failure),
            };
            Prepared::Run {
                config: rendered.value,
                warnings: rendered.warnings.iter().map(ToString::to_string).collect(),
                secrets: scope.into_used_secrets(),
                holds,
            }
        }
        Err(problem) => Prepared::Fail(Failure::fatal(Code::ExpressionFailed, problem.to_string())),
    }
}

/// The first needed setting that has no value.
fn lacking<'n>(definition: &'n Node, config: &Value) -> Option<&'n Need> {
    let stays = |source: &Value| source.as_str().is_some_and(|text| text.contains("{{"));
    definition.needs.iter().find(|need| {
        let (source, value) = (definition.config.get(&need.setting), config.get(&need.setting));
        value.is_none_or(Value::is_null) || (value == source && source.is_some_and(stays))
    })
}

/// Evaluates a node's condition on its own settings and the run's names.
fn judge(
    run: &Run,
    node: NodeIndex,
    config: &Value,
    names: &NodeScope<'_>,
) -> Result<Option<bool>, Failure> {
    let Some(condition) = &run.program.conditions[node as usize] else { return Ok(None) };
    let holds = condition.evaluate(&Within { config, names });
    holds.map(Some).map_err(|problem| {
        Failure::fatal(Code::ExpressionFailed, format!("the condition: {problem}"))
    })
}

/// A node that brings the process down must not do so for ever.
fn worn_out() -> Failure {
    let text = format!("the attempt was cut short {INTERRUPTIONS_PER_NODE} times");
    Failure::fatal(Code::Interrupted, text)
}

/// Why a gate is closed, if it is.
fn closed(run: &Run, gate: &Selection) -> Option<String> {
    let Selection { output, member } = gate;
    let Some(value) = run.named_output(output) else {
        return Some(format!("Selection dependency {output} not found"));
    };
    let Some(list) = as_list(value) else {
        return Some(format!("Selection dependency {output} is not a list"));
    };
    let holds = list.iter().any(|item| item.as_str() == Some(member));
    (!holds).then(|| format!("USID {member} not in selection {output}"))
}

/// A list, or a text that parses as one.
fn as_list(value: &Value) -> Option<std::borrow::Cow<'_, [Value]>> {
    match value {
        Value::Array(items) => Some(items.into()),
        Value::String(text) => serde_json::from_str::<Vec<Value>>(text).ok().map(Into::into),
        _ => None,
    }
}
