//! Figures of all items, or of each group of them: `aggregate`.

use std::collections::HashSet;

use serde_json::{Map, Number, Value};
use waystation_core::error::Failure;
use waystation_core::expr::{kind, mean, sum};

use super::arrange::{Group, check_comparable, compare, groups, unfit};
use super::settings::{Aggregation, Op};
use crate::node::items::Items;

/// What a figure counts for beside its name, in bytes.
const FIGURE_BYTES: usize = 32;
/// What stands between the texts of `join` where nothing is said.
const SEPARATOR: &str = ", ";

/// An object of figures, or a list of such objects, one a group.
pub(super) fn aggregate(
    items: &Items<'_>,
    fields: &[(String, Aggregation)],
    by: Option<&str>,
) -> Result<Value, Failure> {
    let list = items.as_list("aggregate")?;
    let figures: Result<Vec<Figure<'_>>, Failure> =
        fields.iter().map(|(name, field)| Figure::new(items, name, field)).collect();
    let figures = figures?;
    let row = |members: &[usize], mut row: Map<String, Value>| {
        for figure in &figures {
            row.insert(figure.name.to_owned(), figure.of(items, members)?);
        }
        Ok(Value::Object(row))
    };
    let Some(by) = by else {
        let all: Vec<usize> = (0..list.len()).collect();
        return row(&all, Map::new());
    };
    let rows = groups(items, by)?
        .into_iter()
        .map(|Group { key, members }| row(&members, Map::from_iter([("key".to_owned(), key)])));
    rows.collect()
}

/// One figure, with what it is computed of for every item; for `count` of items there is no need to look.
struct Figure<'a> {
    name: &'a str,
    setting: String,
    op: Op,
    separator: &'a str,
    values: Option<Vec<Option<Value>>>,
}

/// Values that take part, each with the place of its item.
type Present<'v> = Vec<(usize, &'v Value)>;

impl<'a> Figure<'a> {
    fn new(
        items: &Items<'_>,
        name: &'a str,
        field: &'a Aggregation,
    ) -> Result<Figure<'a>, Failure> {
        let setting = format!("fields.{name}");
        let values = match (field.op, field.of.as_deref()) {
            (Op::Count, None) => None,
            (_, of) => {
                let rule = items.expression(&setting, of.unwrap_or("item"))?;
                Some(items.keys(&rule)?)
            }
        };
        let separator = field.separator.as_deref().unwrap_or(SEPARATOR);
        Ok(Figure { name, setting, op: field.op, separator, values })
    }

    fn of(&self, items: &Items<'_>, members: &[usize]) -> Result<Value, Failure> {
        let first = members.first().copied().unwrap_or_default();
        items.produce(&self.setting, first, self.name.len() + FIGURE_BYTES)?;
        let Some(values) = &self.values else { return Ok(members.len().into()) };
        let present = members.iter().filter_map(|index| Some((*index, values[*index].as_ref()?)));
        let present: Present<'_> = present.collect();
        let all = || present.iter().map(|(_, value)| *value);
        Ok(match self.op {
            Op::Count => present.len().into(),
            Op::Sum | Op::Avg => self.number(items, &present)?,
            Op::Min | Op::Max => self.extreme(items, &present)?,
            Op::First => all().next().cloned().unwrap_or_default(),
            Op::Last => all().next_back().cloned().unwrap_or_default(),
            Op::List => all().cloned().collect(),
            Op::Unique => unique(all()),
            Op::Join => {
                items.produce(&self.setting, first, self.separator.len() * present.len())?;
                join(all(), self.separator)
            }
        })
    }

    fn number(&self, items: &Items<'_>, present: &Present<'_>) -> Result<Value, Failure> {
        let number = |(index, value): &(usize, &'_ Value)| match value {
            Value::Number(number) => Ok(number.clone()),
            other => {
                let problem =
                    format!("`{}` needs numbers and got {}", self.op.as_str(), kind(other));
                Err(unfit(&self.setting, items, *index, &problem))
            }
        };
        let numbers: Result<Vec<Number>, Failure> = present.iter().map(number).collect();
        let numbers = numbers?;
        let result = match self.op {
            Op::Avg if numbers.is_empty() => Ok(Value::Null),
            Op::Avg => mean(&numbers),
            _ => sum(numbers.iter()),
        };
        let index = present.first().map_or(0, |(index, _)| *index);
        result.map_err(|problem| items.failure(&self.setting, index, problem))
    }

    fn extreme(&self, items: &Items<'_>, present: &Present<'_>) -> Result<Value, Failure> {
        check_comparable(&self.setting, items, present.iter().copied())?;
        let values = present.iter().map(|(_, value)| *value);
        let extreme = match self.op {
            Op::Max => values.max_by(|left, right| compare(left, right)),
            _ => values.min_by(|left, right| compare(left, right)),
        };
        Ok(extreme.cloned().unwrap_or_default())
    }
}

/// Each value once, where it first occurs; values are the same if their JSON is.
fn unique<'v>(values: impl Iterator<Item = &'v Value>) -> Value {
    let mut seen = HashSet::new();
    values.filter(|value| seen.insert(value.to_string())).cloned().collect()
}

/// One text: texts as they are, all else as compact JSON.
fn join<'v>(values: impl Iterator<Item = &'v Value>, separator: &str) -> Value {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    values.map(text).collect::<Vec<_>>().join(separator).into()
}
