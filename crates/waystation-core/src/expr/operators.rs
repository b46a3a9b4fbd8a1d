//! What the operators do with two values.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::ast::Operator;
use super::budget::Budget;
use super::pattern::Pattern;

/// Applies an operator that needs both operands.
pub(super) fn apply(
    operator: Operator,
    left: &Value,
    right: &Value,
    budget: &Budget,
) -> Result<Value, String> {
    budget.glance(left)?;
    budget.glance(right)?;
    let order = |holds: fn(Ordering) -> bool| compare(operator, left, right).map(holds);
    let truth = match operator {
        Operator::Equal => equal(left, right, budget),
        Operator::Unequal => equal(left, right, budget).map(|equal| !equal),
        Operator::Less => order(Ordering::is_lt),
        Operator::LessOrEqual => order(Ordering::is_le),
        Operator::Greater => order(Ordering::is_gt),
        Operator::GreaterOrEqual => order(Ordering::is_ge),
        Operator::Contains => contains(left, right, budget),
        Operator::In => contains(right, left, budget),
        Operator::StartsWith => {
            texts(operator, left, right).map(|(text, start)| text.starts_with(start))
        }
        Operator::EndsWith => texts(operator, left, right).map(|(text, end)| text.ends_with(end)),
        Operator::Matches => {
            let (text, pattern) = texts(operator, left, right)?;
            Pattern::dynamic(pattern, budget)?.is_found(text, budget)
        }
        _ => return arithmetic(operator, left, right, budget),
    };
    truth.map(Value::Bool)
}

/// What a value is, for messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Whether a value counts as true; the module's documentation lists what does not.
pub(super) fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty() && !text.eq_ignore_ascii_case("false"),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Reads a number as JSON and most people write it; never infinite.
pub(super) fn parse_number(text: &str) -> Option<Number> {
    let text = text.trim();
    let numeric = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if text.len() > 400 || !text.bytes().all(numeric) {
        return None;
    }
    let integer = text.parse().map(Number::from_i128).ok().flatten();
    integer.or_else(|| Number::from_f64(text.parse().ok()?))
}

/// The number with the other sign.
pub(super) fn negate(value: &Value) -> Result<Value, String> {
    match value {
        Value::Number(number) => calculate(Operator::Subtract, &Number::from(0), number),
        _ => Err(format!("`-` needs a number and got {}", kind(value))),
    }
}

/// Whether `==` holds between two values.
pub fn are_equal(left: &Value, right: &Value) -> Result<bool, String> {
    equal(left, right, &Budget::new())
}

fn equal(left: &Value, right: &Value, budget: &Budget) -> Result<bool, String> {
    if left.is_array() || left.is_object() {
        budget.examine(left)?;
    }
    Ok(match (left, right) {
        (Value::Number(number), Value::String(text))
        | (Value::String(text), Value::Number(number)) => {
            parse_number(text).is_some_and(|text| compare_numbers(&text, number).is_eq())
        }
        _ => same(left, right),
    })
}

/// Equal in kind and content. The caller has made sure that one of the two is not too deep.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right).is_eq(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let matches = |(key, field)| right.get(key).is_some_and(|other| same(field, other));
            left.len() == right.len() && left.iter().all(matches)
        }
        _ => left == right,
    }
}

fn compare(operator: Operator, left: &Value, right: &Value) -> Result<Ordering, String> {
    let refuse = || {
        let (left, right) = (kind(left), kind(right));
        format!("`{}` cannot order {left} and {right}", operator.symbol())
    };
    let numeric = |text: &str| {
        let symbol = operator.symbol();
        parse_number(text).ok_or_else(|| {
            format!("`{symbol}` cannot order a number and a string that is not numeric")
        })
    };
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => Ok(compare_numbers(left, right)),
        (Value::Number(left), Value::String(right)) => Ok(compare_numbers(left, &numeric(right)?)),
        (Value::String(left), Value::Number(right)) => Ok(compare_numbers(&numeric(left)?, right)),
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        _ => Err(refuse()),
    }
}

/// Orders two numbers, in any ways of writing them.
pub fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(left), None) => compare_integer(left, float(right)),
        (None, Some(right)) => compare_integer(right, float(left)).reverse(),
        (None, None) => float(left).partial_cmp(&float(right)).unwrap_or(Ordering::Equal),
    }
}

/// Exact where turning the integer into a float would round it. A float beyond the range of `i128`
/// becomes the nearest end of it, which no JSON integer reaches.
fn compare_integer(integer: i128, float: f64) -> Ordering {
    let whole = float.trunc();
    let fraction = whole.partial_cmp(&float).unwrap_or(Ordering::Equal);
    integer.cmp(&(whole as i128)).then(fraction)
}

/// A number as a float.
pub(super) fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or_default()
}

fn contains(whole: &Value, part: &Value, budget: &Budget) -> Result<bool, String> {
    match whole {
        Value::String(text) => match part {
            Value::String(part) => Ok(text.contains(&**part)),
            Value::Number(_) | Value::Bool(_) => Ok(text.contains(&*budget.text(part)?)),
            _ => Err(format!("a string cannot contain {}", kind(part))),
        },
        Value::Array(items) => {
            for item in items {
                budget.glance(item)?;
                if equal(part, item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Object(fields) => match part {
            Value::String(key) => Ok(fields.contains_key(key)),
            _ => Err(format!("the keys of an object are strings, never {}", kind(part))),
        },
        _ => Err(format!("{} cannot contain anything", kind(whole))),
    }
}

fn texts<'v>(
    operator: Operator,
    left: &'v Value,
    right: &'v Value,
) -> Result<(&'v str, &'v str), String> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok((left, right)),
        _ => {
            let (symbol, left, right) = (operator.symbol(), kind(left), kind(right));
            Err(format!("`{symbol}` needs two strings and got {left} and {right}"))
        }
    }
}

fn arithmetic(
    operator: Operator,
    left: &Value,
    right: &Value,
    budget: &Budget,
) -> Result<Value, String> {
    match (operator, left, right) {
        (_, Value::Number(left), Value::Number(right)) => calculate(operator, left, right),
        (Operator::Add, Value::String(left), Value::String(right)) => {
            budget.produce(left.len().saturating_add(right.len()))?;
            Ok(Value::String([&**left, right].concat()))
        }
        _ => {
            let (symbol, left, right) = (operator.symbol(), kind(left), kind(right));
            let advice =
                if operator == Operator::Add { "`string` or `number`" } else { "`number`" };
            Err(format!("`{symbol}` cannot take {left} and {right}; convert with {advice}"))
        }
    }
}

/// Calculates with two numbers: exactly if both are integers and so is the result.
pub(super) fn calculate(
    operator: Operator,
    left: &Number,
    right: &Number,
) -> Result<Value, String> {
    let divides = matches!(operator, Operator::Divide | Operator::Remainder);
    if divides && float(right) == 0.0 {
        return Err("nothing can be divided by zero".to_owned());
    }
    if let (Some(left), Some(right)) = (left.as_i128(), right.as_i128())
        && let Some(result) = integer(operator, left, right)
    {
        let fits = i64::try_from(result).is_ok() || u64::try_from(result).is_ok();
        let number = Number::from_i128(result).filter(|_| fits).map(Value::Number);
        return number.ok_or_else(|| "the result is out of the range of integers".to_owned());
    }
    let (left, right) = (float(left), float(right));
    let result = match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        _ => left.rem_euclid(right),
    };
    let number = Number::from_f64(result).map(Value::Number);
    number.ok_or_else(|| "the result is out of the range of numbers".to_owned())
}

fn integer(operator: Operator, left: i128, right: i128) -> Option<i128> {
    match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide => (left % right == 0).then(|| left / right),
        _ => left.checked_rem_euclid(right),
    }
}

/// Adds up numbers.
pub fn sum<'v>(numbers: impl Iterator<Item = &'v Number>) -> Result<Value, String> {
    let mut total = Number::from(0);
    for number in numbers {
        if let Value::Number(next) = calculate(Operator::Add, &total, number)? {
            total = next;
        }
    }
    Ok(Value::Number(total))
}

/// The arithmetic mean of at least one number.
pub fn mean(numbers: &[Number]) -> Result<Value, String> {
    match sum(numbers.iter())? {
        Value::Number(total) => calculate(Operator::Divide, &total, &Number::from(numbers.len())),
        total => Ok(total),
    }
}
