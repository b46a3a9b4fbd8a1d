//! The settings of a `transformer`, and what can be wrong with them before a run.

use std::collections::{BTreeMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use waystation_core::dialect::graph::types::Problems;

use crate::node::items::{expression_problem, template_problems};
use crate::node::spec::in_order;

/// How to make a new value.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "transform_type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Transform {
    /// Makes something new of each item; without `fields` and `expression`, gives what it got.
    Map {
        /// The new item's fields: any JSON values, in whose texts templates see the item, as in
        /// `"{{first}} {{last}}"`. A text without `{{ }}` stays as it is.
        fields: Option<Map<String, Value>>,
        /// The new item, as an expression, such as `price * 2`. Instead of `fields`.
        expression: Option<String>,
        /// The list, or a single value, usually a template; else what leads here.
        items: Option<Value>,
    },
    /// Keeps some fields of each item.
    Pick {
        /// Names of fields, in the order of the result, or paths such as `address.city`, which keep their
        /// nesting. One that an item does not have is left out.
        #[schemars(length(min = 1))]
        fields: Vec<String>,
        /// The list, or a single value, usually a template; else what leads here.
        items: Option<Value>,
    },
    /// Gives fields of each item other names.
    Rename {
        /// The new name of each field, by its old name. A field that an item does not have is left out;
        /// one that stands in the way of a new name gives way to it.
        #[serde(deserialize_with = "in_order")]
        #[schemars(with = "BTreeMap<String, String>", extend("minProperties" = 1))]
        fields: Vec<(String, String)>,
        /// The list, or a single value, usually a template; else what leads here.
        items: Option<Value>,
    },
    /// Puts the items of lists within the list in the place of those lists.
    Flatten {
        /// How many levels of lists are opened.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 100))]
        depth: u32,
        /// The list, usually a template; else what leads here.
        items: Option<Value>,
    },
    /// Sorts the items into lists by what they have in common.
    Group {
        /// What they have in common: a field, a path or any expression on an item.
        by: String,
        /// The list, usually a template; else what leads here.
        items: Option<Value>,
    },
    /// Puts the items in order.
    Sort {
        /// What decides: a field, a path or any expression on an item. Without it, the items themselves.
        #[serde(default = "item")]
        by: String,
        /// Which comes first.
        #[serde(default)]
        order: Order,
        /// The list, usually a template; else what leads here.
        items: Option<Value>,
    },
    /// Computes figures of all items, or of each group of them.
    Aggregate {
        /// The figures, by the names that they get.
        #[serde(deserialize_with = "in_order")]
        #[schemars(with = "BTreeMap<String, Aggregation>", extend("minProperties" = 1))]
        fields: Vec<(String, Aggregation)>,
        /// What makes a group: a field, a path or any expression on an item. Without it, all items are one
        /// group.
        by: Option<String>,
        /// The list, usually a template; else what leads here.
        items: Option<Value>,
    },
    /// Makes one value of all that the node got.
    Template {
        /// Any JSON value, in whose texts templates see what the node got as `value`, its fields, and the
        /// run's names.
        template: Value,
        /// What the node got, usually a template; else what leads here. Where several nodes lead here,
        /// there are only the run's names.
        items: Option<Value>,
    },
    /// Runs a program in the language jq.
    Jq {
        /// The program, as it stands: `{{ }}` has no meaning in it.
        #[schemars(length(min = 1))]
        expression: String,
        /// What it works on, usually a template; else what leads here.
        items: Option<Value>,
    },
}

/// Which of two items comes first.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// The smaller one.
    #[default]
    Asc,
    /// The greater one.
    Desc,
}

/// One figure.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Aggregation {
    /// How it is computed.
    pub(super) op: Op,
    /// What it is computed of: a field, a path or any expression on an item. Without it, the items
    /// themselves.
    pub(super) of: Option<String>,
    /// What stands between two texts, with `op: join` alone; a comma and a space where nothing is said.
    pub(super) separator: Option<String>,
}

/// How a figure is computed. Values that are missing or null do not take part.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Op {
    /// How many there are.
    Count,
    /// Their sum; 0 of none.
    Sum,
    /// Their mean; null of none.
    Avg,
    /// The smallest number, or the first text in order; null of none.
    Min,
    /// The greatest number, or the last text in order; null of none.
    Max,
    /// The first one; null of none.
    First,
    /// The last one; null of none.
    Last,
    /// All of them.
    List,
    /// Each one once.
    Unique,
    /// One text of all of them.
    Join,
}

impl Op {
    /// The word that settings have.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Op::Count => "count",
            Op::Sum => "sum",
            Op::Avg => "avg",
            Op::Min => "min",
            Op::Max => "max",
            Op::First => "first",
            Op::Last => "last",
            Op::List => "list",
            Op::Unique => "unique",
            Op::Join => "join",
        }
    }
}

fn one() -> u32 {
    1
}

fn item() -> String {
    "item".to_owned()
}

impl Transform {
    /// What is wrong, as far as it can be known before a run.
    pub(super) fn problems(&self) -> Problems {
        match self {
            Transform::Map { fields: Some(_), expression: Some(_), .. } => {
                vec!["expression: give either `fields` or `expression`".to_owned()]
            }
            Transform::Map { fields: Some(fields), .. } => {
                template_problems("fields", &Value::Object(fields.clone()))
            }
            Transform::Map { expression: Some(expression), .. } => {
                expression_problem("expression", expression).into_iter().collect()
            }
            Transform::Group { by, .. } | Transform::Sort { by, .. } => {
                expression_problem("by", by).into_iter().collect()
            }
            Transform::Rename { fields, .. } => same_names(fields),
            Transform::Aggregate { fields, by, .. } => aggregate_problems(fields, by.as_deref()),
            Transform::Template { template, .. } => template_problems("template", template),
            Transform::Map { .. }
            | Transform::Pick { .. }
            | Transform::Flatten { .. }
            | Transform::Jq { .. } => Problems::new(),
        }
    }

    /// Whether it says what to work on.
    pub(super) fn has_items(&self) -> bool {
        match self {
            Transform::Map { items, .. }
            | Transform::Pick { items, .. }
            | Transform::Rename { items, .. }
            | Transform::Flatten { items, .. }
            | Transform::Group { items, .. }
            | Transform::Sort { items, .. }
            | Transform::Aggregate { items, .. }
            | Transform::Template { items, .. }
            | Transform::Jq { items, .. } => items.is_some(),
        }
    }
}

fn same_names(fields: &[(String, String)]) -> Problems {
    let mut seen = HashSet::new();
    let twice = fields.iter().filter(|(_, new)| !seen.insert(new));
    twice
        .map(|(old, new)| format!("fields.{old}: another field is to be called `{new}`, too"))
        .collect()
}

fn aggregate_problems(fields: &[(String, Aggregation)], by: Option<&str>) -> Problems {
    let mut problems = Problems::new();
    problems.extend(by.and_then(|by| expression_problem("by", by)));
    for (name, Aggregation { op, of, separator }) in fields {
        if separator.is_some() && *op != Op::Join {
            let op = op.as_str();
            problems.push(format!("fields.{name}.separator: `{op}` has no use for it"));
        }
        if name == "key" && by.is_some() {
            problems.push("fields.key: `key` is what the group has in common".to_owned());
        }
        let of = of.as_deref();
        problems.extend(of.and_then(|of| expression_problem(&format!("fields.{name}.of"), of)));
    }
    problems
}
