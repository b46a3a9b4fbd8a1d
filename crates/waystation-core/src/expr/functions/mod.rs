//! The functions, which are also the filters: `f(x, y)` is `x | f(y)`. All are pure and bounded.

mod list;
mod number;
mod text;

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::budget::Budget;
use super::operators::kind;

/// Computes a value out of arguments, the number of which has been checked.
pub(super) type Apply = fn(&[Cow<'_, Value>], &Budget) -> Result<Value, String>;

/// One function.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// The fewest arguments, with the value before `|`.
    pub(super) least: usize,
    /// The most arguments.
    pub(super) most: usize,
    pub(super) body: Body,
}

/// How a function comes to its result.
pub(super) enum Body {
    /// It computes it.
    Apply(Apply),
    /// It is another spelling of `??`.
    Default,
    /// It is another spelling of an index.
    At(i64),
}

const fn function(name: &'static str, least: usize, most: usize, apply: Apply) -> Function {
    Function { name, least, most, body: Body::Apply(apply) }
}

static FUNCTIONS: &[Function] = &[
    // The fallback, where a value is missing or null.
    Function { name: "default", least: 2, most: 2, body: Body::Default },
    // The items at either end of a list; missing if it is empty.
    Function { name: "first", least: 1, most: 1, body: Body::At(0) },
    Function { name: "last", least: 1, most: 1, body: Body::At(-1) },
    // Lists and objects.
    function("length", 1, 1, list::length),
    function("keys", 1, 1, list::keys),
    function("values", 1, 1, list::values),
    function("slice", 2, 3, list::slice),
    function("reverse", 1, 1, list::reverse),
    function("sort", 1, 1, list::sort),
    function("unique", 1, 1, list::unique),
    function("join", 1, 2, list::join),
    // Numbers.
    function("number", 1, 1, number::number),
    function("round", 1, 2, number::round),
    function("abs", 1, 1, number::abs),
    function("min", 1, 64, number::min),
    function("max", 1, 64, number::max),
    function("sum", 1, 1, number::sum),
    // Texts.
    function("string", 1, 1, text::string),
    function("json", 1, 1, text::json),
    function("fromjson", 1, 1, text::fromjson),
    function("upper", 1, 1, text::upper),
    function("lower", 1, 1, text::lower),
    function("trim", 1, 1, text::trim),
    function("split", 1, 2, text::split),
    function("replace", 3, 3, text::replace),
    function("urlencode", 1, 1, text::urlencode),
];

/// The function of that name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

fn as_text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("it needs a string and got {}", kind(value)))
}

fn as_list(value: &Value) -> Result<&[Value], String> {
    let list = value.as_array().map(Vec::as_slice);
    list.ok_or_else(|| format!("it needs a list and got {}", kind(value)))
}

fn as_object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("it needs an object and got {}", kind(value)))
}

fn as_integer(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| format!("it needs an integer and got {}", kind(value)))
}
