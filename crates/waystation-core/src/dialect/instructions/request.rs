//! The body of `POST /` and `POST /batch`.

use serde_json::{Map, Value, json};

use super::super::definition::{Findings, is_deeper};
use super::fields::{Fields, as_whole};
use super::template::DEPTH;
use crate::limits::{BUDGET_USD, FINDINGS, INSTANCES_PER_BATCH, NAME_BYTES};
use crate::plan::Budget;

/// The fields that decide the plan; what else a body has belongs to the instance.
const DEFINING: [&str; 8] = [
    "provider",
    "model",
    "temperature",
    "max_tokens",
    "cache",
    "stream",
    "api_key",
    "instructions",
];

/// One request to run an instruction chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What the chain works on, as it came: a text, or any other JSON that JavaScript calls truthy.
    /// Null where it is missing, which compiling refuses.
    pub context: Value,
    /// The caller's name for the workflow.
    pub workflow_id: String,
    /// The namespace of the workflow.
    pub namespace: String,
    /// A name for people.
    pub workflow_name: Option<String>,
    /// What the run may spend.
    pub budget: Budget,
    /// How many instances are asked for, as it came.
    count: Value,
    /// The instructions and what is said of the model, as they came.
    pub(super) definition: Map<String, Value>,
    /// What is wrong so far; compiling tells it before what else it finds.
    pub(super) errors: Vec<String>,
    /// What has no effect, in words.
    pub(super) warnings: Vec<String>,
}

impl Request {
    /// Takes a body apart without reading its instructions. The error is for one that is no JSON
    /// object; what else is wrong is told by [`super::compile()`], together with all other problems.
    pub fn parse(body: &str) -> Result<Request, Vec<String>> {
        let fields = match serde_json::from_str(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(vec!["The body must be a JSON object".into()]),
            Err(error) => return Err(vec![format!("The body is not valid JSON: {error}")]),
        };
        let mut findings = Findings::default();
        let request = read(Fields::new(fields, String::new(), 0, &mut findings));
        let Findings { mut errors, mut warnings } = findings;
        errors.truncate(FINDINGS);
        warnings.truncate(FINDINGS);
        Ok(Request { errors, warnings, ..request })
    }

    /// How many instances a batch asks for.
    pub fn count(&self) -> Result<usize, String> {
        let count = as_whole(&self.count).and_then(|count| usize::try_from(count).ok());
        let problem = || format!("Count must be between 1 and {INSTANCES_PER_BATCH}");
        count.filter(|count| (1..=INSTANCES_PER_BATCH).contains(count)).ok_or_else(problem)
    }

    /// Everything that decides the plan, as text: equal for requests whose plans are equal.
    pub fn source(&self) -> String {
        json!([self.definition, self.budget, self.errors, self.warnings]).to_string()
    }

    /// The run's input.
    pub fn input(&self) -> Value {
        json!({ "context": self.context })
    }
}

fn read(mut fields: Fields<'_>) -> Request {
    let context = fields.take("context").filter(is_truthy).or_else(|| fields.missing("context"));
    let mut definition = Map::new();
    for name in DEFINING {
        definition.extend(fields.take(name).map(|value| (name.to_owned(), value)));
    }
    instructions(&mut definition, &mut fields);
    if context.as_ref().is_some_and(|context| is_deeper(context, DEPTH)) {
        fields.must::<()>("context", &format!("nested {DEPTH} levels deep at most"));
    }
    let request = Request {
        context: context.unwrap_or_default(),
        workflow_id: fields.name("workflow_id", NAME_BYTES).unwrap_or("instructions".into()),
        namespace: fields.name("namespace", NAME_BYTES).unwrap_or("default".into()),
        workflow_name: fields.name("workflow_name", NAME_BYTES),
        budget: budget(&mut fields),
        count: fields.take("count").unwrap_or_default(),
        definition,
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    fields.pass_over("description");
    fields.finish();
    request
}

/// As JavaScript sees it: an empty text, zero and false are nothing.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// The list of instructions, or the two of the older form.
fn instructions(definition: &mut Map<String, Value>, fields: &mut Fields<'_>) {
    let older = ["firstInstruction", "secondInstruction"].map(|name| fields.take(name));
    let is_empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    if definition.get("instructions").is_some_and(|list| !is_empty(list)) {
        for (name, value) in ["firstInstruction", "secondInstruction"].into_iter().zip(&older) {
            if value.is_some() {
                fields.warning(&format!("Field {name} has no effect beside instructions"));
            }
        }
        return;
    }
    match older.map(|value| value.filter(is_truthy)) {
        [Some(first), Some(second)] => {
            definition.insert("instructions".into(), json!([first, second]));
        }
        _ => {
            let text = "Missing required fields: either 'instructions' array or \
                'firstInstruction' and 'secondInstruction'";
            fields.problem::<()>(text);
        }
    }
}

fn budget(fields: &mut Fields<'_>) -> Budget {
    let Some(inner) = fields.object("budget") else { return Budget::default() };
    let mut inner = fields.inside("budget", inner);
    let tokens = inner.whole("tokens", 1, 1 << 53);
    let usd = inner.number("cost_usd", BUDGET_USD);
    inner.finish();
    Budget { tokens, nano_usd: usd.map(|usd| (usd * 1e9).round() as u64) }
}
