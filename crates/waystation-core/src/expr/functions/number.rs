//! Functions of numbers.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::super::budget::Budget;
use super::super::operators::{self, compare_numbers, float, kind, parse_number};
use super::{as_integer, as_list};

/// A number as it is, and a numeric text as the number that it spells.
pub(super) fn number(arguments: &[Cow<'_, Value>], _: &Budget) -> Result<Value, String> {
    match &*arguments[0] {
        Value::Number(number) => Ok(number.clone().into()),
        Value::String(text) => {
            let number = parse_number(text).map(Value::Number);
            number.ok_or_else(|| "the string is not numeric".to_owned())
        }
        value => Err(format!("{} cannot become a number", kind(value))),
    }
}

/// Rounded to an integer, or to some decimals.
pub(super) fn round(arguments: &[Cow<'_, Value>], _: &Budget) -> Result<Value, String> {
    let number = as_number(&arguments[0])?;
    let digits = arguments.get(1).map_or(Ok(0), |digits| as_integer(digits))?;
    if !(0..=15).contains(&digits) {
        return Err("it keeps 0 to 15 decimals".to_owned());
    }
    if number.is_i64() || number.is_u64() {
        return Ok(number.clone().into());
    }
    let value = float(number);
    if digits == 0 {
        let whole = Number::from_i128(value.round() as i128).filter(|whole| whole.is_i64());
        return Ok(whole.map_or_else(|| value.round().into(), Value::Number));
    }
    let scale = 10_f64.powi(i32::try_from(digits).unwrap_or_default());
    let rounded = (value * scale).round() / scale;
    Ok(if rounded.is_finite() { rounded } else { value }.into())
}

/// Without its sign.
pub(super) fn abs(arguments: &[Cow<'_, Value>], _: &Budget) -> Result<Value, String> {
    let number = as_number(&arguments[0])?;
    let negative = compare_numbers(number, &Number::from(0)).is_lt();
    if negative { operators::negate(&arguments[0]) } else { Ok(number.clone().into()) }
}

/// The least of a list's numbers, or of the arguments.
pub(super) fn min(arguments: &[Cow<'_, Value>], _: &Budget) -> Result<Value, String> {
    choose(arguments, Ordering::Less)
}

/// The greatest of a list's numbers, or of the arguments.
pub(super) fn max(arguments: &[Cow<'_, Value>], _: &Budget) -> Result<Value, String> {
    choose(arguments, Ordering::Greater)
}

fn choose(arguments: &[Cow<'_, Value>], wanted: Ordering) -> Result<Value, String> {
    let numbers: Vec<&Number> = match arguments {
        [list] if list.is_array() => {
            as_list(list)?.iter().map(as_number).collect::<Result<_, _>>()?
        }
        _ => arguments.iter().map(|value| as_number(value)).collect::<Result<_, _>>()?,
    };
    let better = |best, next| if compare_numbers(next, best) == wanted { next } else { best };
    let best = numbers.into_iter().reduce(better);
    best.map(|number| number.clone().into()).ok_or_else(|| "the list is empty".to_owned())
}

/// The sum of a list's numbers.
pub(super) fn sum(arguments: &[Cow<'_, Value>], _: &Budget) -> Result<Value, String> {
    let numbers = as_list(&arguments[0])?.iter().map(as_number);
    operators::sum(numbers.collect::<Result<Vec<_>, _>>()?.into_iter())
}

fn as_number(value: &Value) -> Result<&Number, String> {
    match value {
        Value::Number(number) => Ok(number),
        _ => Err(format!("it needs numbers and got {}; convert with `number`", kind(value))),
    }
}
