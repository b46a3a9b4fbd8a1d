//! Values of MySQL from and to JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mysql_async::consts::ColumnType;
use mysql_async::{Column, Value as Sql};
use serde_json::{Value, json};

use super::super::answer::{decimal, float};

/// The character set of what is no text.
const BINARY: u16 = 63;

/// A value that a query is given.
pub(super) fn bound(value: &Value) -> Sql {
    match value {
        Value::Null => Sql::NULL,
        Value::Bool(value) => Sql::from(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => Sql::Int(whole),
            (_, Some(whole), _) => Sql::UInt(whole),
            (_, _, Some(float)) => Sql::Double(float),
            _ => Sql::from(number.to_string()),
        },
        Value::String(text) => Sql::from(text.as_str()),
        other => Sql::from(other.to_string()),
    }
}

/// A value that a query gives.
pub(super) fn json(value: Sql, column: &Column) -> Value {
    match value {
        Sql::NULL => Value::Null,
        Sql::Int(whole) => json!(whole),
        Sql::UInt(whole) => json!(whole),
        // By its shortest text, so that 0.1 stays 0.1.
        Sql::Float(number) => float(number.to_string().parse().unwrap_or(f64::from(number))),
        Sql::Double(number) => float(number),
        Sql::Date(year, month, day, hour, minute, second, micros) => {
            let day = format!("{year:04}-{month:02}-{day:02}");
            let time = || format!("{hour:02}:{minute:02}:{second:02}{}", fraction(micros));
            match column.column_type() {
                ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => day.into(),
                // The session's zone is UTC.
                ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => {
                    format!("{day}T{}Z", time()).into()
                }
                _ => format!("{day}T{}", time()).into(),
            }
        }
        Sql::Time(is_negative, days, hours, minutes, seconds, micros) => {
            let sign = if is_negative { "-" } else { "" };
            let hours = days * 24 + u32::from(hours);
            format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", fraction(micros)).into()
        }
        Sql::Bytes(bytes) => content(&bytes, column),
    }
}

fn fraction(micros: u32) -> String {
    if micros == 0 { String::new() } else { format!(".{micros:06}") }
}

/// What travels as bytes: text of some kind, or bytes indeed.
fn content(bytes: &[u8], column: &Column) -> Value {
    let text = std::str::from_utf8(bytes);
    match (column.column_type(), text) {
        (ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL, Ok(text)) => {
            decimal(text)
        }
        (ColumnType::MYSQL_TYPE_JSON, Ok(text)) => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        (ColumnType::MYSQL_TYPE_BIT, _) if bytes.len() <= size_of::<u64>() => {
            json!(bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)))
        }
        (_, Ok(text)) if column.character_set() != BINARY => text.into(),
        _ => STANDARD.encode(bytes).into(),
    }
}
