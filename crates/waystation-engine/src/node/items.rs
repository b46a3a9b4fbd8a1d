//! The items that a node looks at one by one: what names mean for each, what all of them may take
//! together, and how a failure says which item it was.

use std::borrow::Cow;
use std::fmt::Display;

use serde_json::{Map, Value};
use waystation_core::error::{Code, Failure};
use waystation_core::expr::{Budget, Condition, Expression, Key, Problem, Scope, Template, kind};
use waystation_core::extract::bytes_about;
use waystation_core::item::ItemScope;
use waystation_core::limits::{EXPRESSION_OUTPUT_BYTES, EXPRESSION_WORK_BYTES};
use waystation_core::plan::Missing;

/// Items that are asked whether a name with dashes is one of their fields.
const ITEMS_ASKED: usize = 100;

/// What a node works on, item by item; a single value counts as one item.
pub(super) struct Items<'a> {
    /// The items.
    pub(super) list: &'a [Value],
    is_single: bool,
    /// One value is looked at as a whole, and is no item of anything.
    is_whole: bool,
    names: &'a dyn Scope,
    budget: Budget,
}

/// A setting that is evaluated for each item.
pub(super) struct Rule<T> {
    setting: String,
    parsed: T,
}

impl<'a> Items<'a> {
    /// The items of a list, or a single value.
    pub(super) fn new(subject: &'a Value, names: &'a dyn Scope) -> Items<'a> {
        let (list, is_single) = match subject {
            Value::Array(items) => (items.as_slice(), false),
            single => (std::slice::from_ref(single), true),
        };
        Items { list, is_single, is_whole: false, names, budget: Budget::new() }
    }

    /// A value as a whole, or nothing but the run's names.
    pub(super) fn whole(subject: Option<&'a Value>, names: &'a dyn Scope) -> Items<'a> {
        let list = subject.map(std::slice::from_ref).unwrap_or_default();
        Items { list, is_single: true, is_whole: true, names, budget: Budget::new() }
    }

    /// The items, for what makes no sense for a single value.
    pub(super) fn as_list(&self, what: &str) -> Result<&'a [Value], Failure> {
        if !self.is_single {
            return Ok(self.list);
        }
        let text =
            format!("{what} needs a list and got {}", self.list.first().map_or("nothing", kind));
        let hint = "say in `items` where the list is, as in \"{{outputs.fetch.rows}}\"".to_owned();
        Err(Failure { hint: Some(hint), ..Failure::fatal(Code::ValueInvalid, text) })
    }

    /// Results, one an item, in the form that the items have: a list or a single value.
    pub(super) fn in_their_form(&self, mut results: Vec<Value>) -> Value {
        match self.is_single {
            true => results.pop().unwrap_or_default(),
            false => Value::Array(results),
        }
    }

    /// A condition, made ready.
    pub(super) fn condition(
        &self,
        setting: &str,
        source: &str,
    ) -> Result<Rule<Condition>, Failure> {
        self.rule(setting, Condition::parse(source, &|name| self.knows(name)))
    }

    /// An expression, made ready.
    pub(super) fn expression(
        &self,
        setting: &str,
        source: &str,
    ) -> Result<Rule<Expression>, Failure> {
        self.rule(setting, Expression::parse(source, &|name| self.knows(name)))
    }

    /// A template, made ready.
    pub(super) fn template(&self, setting: &str, value: &Value) -> Result<Rule<Template>, Failure> {
        let template = Template::compile(value, &|name| self.knows(name));
        self.rule(setting, template.map_err(|mut problems| problems.remove(0)))
    }

    fn rule<T>(&self, setting: &str, parsed: Result<T, Problem>) -> Result<Rule<T>, Failure> {
        let setting = setting.to_owned();
        let told =
            |problem| Failure::fatal(Code::ExpressionFailed, format!("{setting}: {problem}"));
        let parsed = parsed.map_err(told)?;
        Ok(Rule { setting, parsed })
    }

    fn knows(&self, name: &str) -> bool {
        let mut asked = self.list.iter().take(ITEMS_ASKED);
        asked.any(|item| item.get(name).is_some()) || self.names.knows(name)
    }

    fn scope(&self, index: usize) -> ItemScope<'_> {
        let yields = self.is_whole;
        ItemScope { item: self.list.get(index), index, run: self.names, yields }
    }

    /// Whether a condition holds for an item.
    pub(super) fn holds(&self, rule: &Rule<Condition>, index: usize) -> Result<bool, Failure> {
        let holds = rule.parsed.evaluate_within(&self.scope(index), &self.budget);
        holds.map_err(|problem| self.failure(&rule.setting, index, problem))
    }

    /// What an expression gives for an item.
    pub(super) fn value(&self, rule: &Rule<Expression>, index: usize) -> Result<Value, Failure> {
        let scope = self.scope(index);
        let value = rule.parsed.evaluate_within(&scope, &self.budget);
        let value = value.map_err(|problem| self.failure(&rule.setting, index, problem))?;
        self.copy(&rule.setting, index, value)
    }

    /// What a template becomes for an item; `size` is what the template itself takes.
    pub(super) fn render(
        &self,
        rule: &Rule<Template>,
        size: usize,
        index: usize,
    ) -> Result<Value, Failure> {
        self.produce(&rule.setting, index, size)?;
        let scope = self.scope(index);
        let rendered = rule.parsed.render_within(&scope, Missing::Fail, &self.budget);
        let rendered = rendered.map_err(|problem| self.failure(&rule.setting, index, problem))?;
        Ok(rendered.value)
    }

    /// What an expression gives for every item, and nothing for those that it leads nowhere in, or to
    /// null. If it leads nowhere in all of them, it is a mistake rather than a gap in the data.
    pub(super) fn keys(&self, rule: &Rule<Expression>) -> Result<Vec<Option<Value>>, Failure> {
        let mut keys = Vec::with_capacity(self.list.len());
        let mut is_anywhere = self.list.is_empty();
        for index in 0..self.list.len() {
            let scope = self.scope(index);
            let found = rule.parsed.find_within(&scope, &self.budget);
            let found = found.map_err(|problem| self.failure(&rule.setting, index, problem))?;
            is_anywhere |= found.is_some();
            let found = found.filter(|value| !value.is_null());
            keys.push(found.map(|value| self.copy(&rule.setting, index, value)).transpose()?);
        }
        if !is_anywhere {
            self.value(rule, 0)?;
        }
        Ok(keys)
    }

    /// Pays for what is about to be made for an item.
    pub(super) fn produce(&self, setting: &str, index: usize, bytes: usize) -> Result<(), Failure> {
        self.budget.produce(bytes).map_err(|refusal| self.failure(setting, index, refusal))
    }

    /// Pays for looking at parts of an item.
    pub(super) fn look(&self, setting: &str, index: usize, parts: usize) -> Result<(), Failure> {
        self.budget.work_on_parts(parts).map_err(|refusal| self.failure(setting, index, refusal))
    }

    /// A copy that counts as produced.
    pub(super) fn copy(
        &self,
        setting: &str,
        index: usize,
        value: Cow<'_, Value>,
    ) -> Result<Value, Failure> {
        self.budget.copy(value, 0).map_err(|refusal| self.failure(setting, index, refusal))
    }

    /// The fields of an item, where only an object makes sense.
    pub(super) fn fields(
        &self,
        what: &str,
        index: usize,
    ) -> Result<&'a Map<String, Value>, Failure> {
        match &self.list[index] {
            Value::Object(fields) => Ok(fields),
            other => {
                let text =
                    format!("{what}: {}it is {} and has no fields", self.place(index), kind(other));
                Err(Failure::fatal(Code::ValueInvalid, text))
            }
        }
    }

    /// A failure over an item.
    pub(super) fn failure(&self, setting: &str, index: usize, problem: impl Display) -> Failure {
        let text = format!("{setting}: {}{problem}", self.place(index));
        if !self.budget.is_used_up() {
            return Failure::fatal(Code::ExpressionFailed, text);
        }
        let (work, output) = (EXPRESSION_WORK_BYTES >> 20, EXPRESSION_OUTPUT_BYTES >> 20);
        let text = format!(
            "{text}; for all its items together, a node may look at {work} MiB and produce {output} MiB"
        );
        let hint = "give it fewer or smaller items, or a simpler expression".to_owned();
        Failure { hint: Some(hint), ..Failure::fatal(Code::LimitExceeded, text) }
    }

    /// Which item it is, in words.
    pub(super) fn place(&self, index: usize) -> String {
        if self.is_single { String::new() } else { format!("item {index}: ") }
    }
}

/// What a template itself takes each time that it is rendered.
pub(super) fn template_size(template: &Value) -> usize {
    bytes_about(template)
}

/// What is wrong with a condition as a setting, whatever names there will be.
pub(super) fn condition_problem(setting: &str, source: &str) -> Option<String> {
    let problem = whatever_names(|known| Condition::parse(source, known))?;
    Some(format!("{setting}: {problem}"))
}

/// Likewise for an expression.
pub(super) fn expression_problem(setting: &str, source: &str) -> Option<String> {
    let problem = whatever_names(|known| Expression::parse(source, known))?;
    Some(format!("{setting}: {problem}"))
}

/// Likewise for a template, in which secrets have no value.
pub(super) fn template_problems(setting: &str, value: &Value) -> Vec<String> {
    let within = Value::Object(Map::from_iter([(setting.to_owned(), value.clone())]));
    let problems = whatever_names(|known| Template::compile(&within, known));
    let told =
        |Problem { key, start, end, message }| format!("{key}: {message} (bytes {start}..{end})");
    if let Some(problems) = problems {
        return problems.into_iter().map(told).collect();
    }
    let is_secret =
        |path: &[Key]| matches!(path.first(), Some(Key::Name(name)) if &**name == "secrets");
    let template = Template::compile(&within, &|_| true);
    match template.is_ok_and(|template| template.paths().any(is_secret)) {
        true => vec![format!("{setting}: a secret cannot be a part of a node's result")],
        false => Vec::new(),
    }
}

/// What is wrong with a source. Which names there are decides what dashes mean, and is not known yet: a
/// source is wrong only if it is so either way.
fn whatever_names<T, E>(parse: impl Fn(&dyn Fn(&str) -> bool) -> Result<T, E>) -> Option<E> {
    let problem = parse(&|_| false).err()?;
    parse(&|_| true).is_err().then_some(problem)
}
