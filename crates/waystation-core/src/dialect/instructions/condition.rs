//! The condition of an instruction: what is judged, and where the chain goes on.

use serde_json::Value;

use super::fields::{Fields, as_whole};
use super::template::text;
use crate::expr;

/// A condition.
#[derive(Debug)]
pub(super) struct Condition {
    /// The ordinal of the step whose result is judged; the instruction's own where none is said.
    pub(super) after: Option<u64>,
    pub(super) judgement: Judgement,
    pub(super) if_true: Vec<u32>,
    pub(super) if_false: Vec<u32>,
}

/// Who decides.
#[derive(Debug)]
pub(super) enum Judgement {
    /// A model, told this template.
    Model(String),
    /// The language of conditions.
    Expression(String),
}

/// Reads the condition of instruction `index` of `count`.
pub(super) fn read(fields: &mut Fields<'_>, index: usize, count: usize) -> Option<Condition> {
    let inner = fields.object("condition")?;
    let mut inner = fields.inside("condition", inner);
    let after = inner.whole("evaluateAfterStep", 1, u64::from(u32::MAX));
    if let Some(step) = after.filter(|step| *step > count as u64) {
        inner.warning(&beyond("condition.evaluateAfterStep", step, count));
    }
    let is_deterministic = inner.choice("mode", &[("llm", false), ("deterministic", true)]);
    let expression = inner.required_text("expression");
    let judgement =
        expression.and_then(|source| judgement(source, is_deterministic == Some(true), &mut inner));
    let [if_true, if_false] =
        ["ifTrue", "ifFalse"].map(|branch| targets(branch, index, count, &mut inner));
    inner.finish();
    Some(Condition { after, judgement: judgement?, if_true, if_false })
}

/// What to say of a step that can never run, since no instruction runs twice.
pub(super) fn beyond(field: &str, step: u64, count: usize) -> String {
    format!("Field {field} names step {step}, but the last one can be step {count}")
}

fn judgement(source: String, is_deterministic: bool, fields: &mut Fields<'_>) -> Option<Judgement> {
    if !is_deterministic {
        return Some(Judgement::Model(text("expression", source, fields)));
    }
    match expr::Condition::parse(&source, &|name| fields.knows(name)) {
        Ok(_) => Some(Judgement::Expression(source)),
        Err(problem) => {
            let name = fields.name_of("expression");
            fields.problem(&format!("Field {name}: {problem}"))
        }
    }
}

/// The indices of one branch.
fn targets(branch: &'static str, index: usize, count: usize, fields: &mut Fields<'_>) -> Vec<u32> {
    let mut targets = Vec::new();
    for target in fields.list(branch).unwrap_or_default() {
        let place = as_whole(&target).filter(|place| *place < count as u64);
        match place.and_then(|place| u32::try_from(place).ok()) {
            Some(place) => targets.push(place),
            None if target.is_number() => out_of_bounds(index, branch, &target, fields),
            None => {
                fields.must::<()>(branch, "an array of whole numbers");
                break;
            }
        }
    }
    targets
}

/// These words are the format's own.
fn out_of_bounds(index: usize, branch: &str, target: &Value, fields: &mut Fields<'_>) {
    let text = format!("Conditional instruction {index}: {branch} index {target} is out of bounds");
    fields.findings.errors.push(text);
}
