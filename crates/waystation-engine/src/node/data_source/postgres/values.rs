//! Values of PostgreSQL from and to JSON.

use std::error::Error;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use chrono::{DateTime, Days, NaiveDate, NaiveTime, SecondsFormat, TimeDelta};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio_postgres::Transaction;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::super::answer::{Answer, decimal, float};
use super::super::failure::unknown_type;
use super::{SOURCE, Trouble};

type Refusal = Box<dyn Error + Sync + Send>;

/// Levels of arrays in arrays that are read.
const DIMENSIONS: usize = 6;
/// Decimal digits in one group of a `numeric`.
const GROUP: usize = 4;

/// A value that a query is given, as text: the server makes it what its place is.
#[derive(Debug)]
pub(super) struct Parameter<'a>(pub(super) &'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Refusal> {
        if self.0.is_null() {
            return Ok(IsNull::Yes);
        }
        let text = match (self.0, kind.kind()) {
            _ if *kind == Type::JSON || *kind == Type::JSONB => self.0.to_string(),
            (Value::Array(items), Kind::Array(_)) => array_text(items),
            (Value::String(text), _) => {
                out.extend_from_slice(text.as_bytes());
                return Ok(IsNull::No);
            }
            (other, _) => other.to_string(),
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// An array as the server reads it: every item in quotes, so that none means anything else.
fn array_text(items: &[Value]) -> String {
    let item = |item: &Value| match item {
        Value::Null => "NULL".to_owned(),
        Value::Array(inner) => array_text(inner),
        Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    };
    format!("{{{}}}", items.iter().map(item).collect::<Vec<_>>().join(","))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A value of any type as it came.
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Raw<'a>, Refusal> {
        Ok(Raw(bytes))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The same value in the form in which it came.
#[derive(Debug)]
struct Again(Vec<u8>);

impl ToSql for Again {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Refusal> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Values of types that this program does not know: the server is asked for them as text.
#[derive(Default)]
pub(super) struct Unread(Vec<Place>);

struct Place {
    row: usize,
    column: usize,
    kind: Type,
    bytes: Again,
}

impl Unread {
    pub(super) fn put(&mut self, row: usize, column: usize, (kind, bytes): (&Type, &[u8])) {
        self.0.push(Place { row, column, kind: kind.clone(), bytes: Again(bytes.to_vec()) });
    }

    /// Has the server turn them into text, and puts that where they belong.
    pub(super) async fn ask(
        self,
        transaction: &Transaction<'_>,
        answer: &mut Answer,
    ) -> Result<(), Trouble> {
        let mut columns: Vec<usize> = self.0.iter().map(|place| place.column).collect();
        columns.sort_unstable();
        columns.dedup();
        for column in columns {
            let places = || self.0.iter().filter(|place| place.column == column);
            let Some(kind) = places().next().map(|place| &place.kind) else { continue };
            let name = answer.columns[column].clone();
            let unknown = || Trouble::from(unknown_type(SOURCE, &name, kind.name()));
            if matches!(kind.kind(), Kind::Pseudo) {
                return Err(unknown());
            }
            let cast = transaction.prepare_typed("SELECT $1::text", std::slice::from_ref(kind));
            let cast = cast.await.map_err(|_| unknown())?;
            // All at once: the client sends one after another without waiting.
            let texts = places().map(|place| async {
                transaction.query_one(&cast, &[&place.bytes]).await?.try_get::<_, String>(0)
            });
            let texts = try_join_all(texts).await.map_err(|_| unknown())?;
            for (place, text) in places().zip(texts) {
                answer.replace(place.row, &name, text.into());
            }
        }
        Ok(())
    }
}

/// A value of a known type.
pub(super) fn json(kind: &Type, bytes: &[u8]) -> Option<Value> {
    match kind.kind() {
        Kind::Domain(inner) => return json(inner, bytes),
        Kind::Enum(_) => return text(bytes),
        Kind::Array(item) => return array(item, bytes),
        _ => (),
    }
    match *kind {
        Type::BOOL => Some(json!(*bytes.first()? != 0)),
        Type::INT2 => Some(json!(i16::from_be_bytes(exactly(bytes)?))),
        Type::INT4 => Some(json!(i32::from_be_bytes(exactly(bytes)?))),
        Type::INT8 => Some(json!(i64::from_be_bytes(exactly(bytes)?))),
        Type::OID => Some(json!(u32::from_be_bytes(exactly(bytes)?))),
        Type::FLOAT4 => {
            // By its shortest text, so that 0.1 stays 0.1.
            let number = f32::from_be_bytes(exactly(bytes)?);
            Some(float(number.to_string().parse().unwrap_or(f64::from(number))))
        }
        Type::FLOAT8 => Some(float(f64::from_be_bytes(exactly(bytes)?))),
        Type::NUMERIC => numeric(bytes).map(|text| decimal(&text)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::XML => {
            text(bytes)
        }
        Type::JSON => serde_json::from_slice(bytes).ok(),
        // The first byte is the version of the form.
        Type::JSONB => serde_json::from_slice(bytes.strip_prefix(&[1])?).ok(),
        Type::UUID => uuid(exactly(bytes)?),
        Type::BYTEA => Some(STANDARD.encode(bytes).into()),
        Type::TIMESTAMPTZ => instant(bytes).map(|time| with_zone(time, "Z")),
        Type::TIMESTAMP => instant(bytes).map(|time| with_zone(time, "")),
        Type::DATE => date(i32::from_be_bytes(exactly(bytes)?)),
        Type::TIME => time(i64::from_be_bytes(exactly(bytes)?)),
        Type::VOID => Some(Value::Null),
        _ => None,
    }
}

fn exactly<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

fn uuid(bytes: [u8; 16]) -> Option<Value> {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text.into())
}

/// Microseconds since 2000. The infinities, and times beyond all calendars, are left to the server.
fn instant(bytes: &[u8]) -> Option<DateTime<chrono::Utc>> {
    let micros = i64::from_be_bytes(exactly(bytes)?);
    let start = NaiveDate::from_ymd_opt(2000, 1, 1)?.and_time(NaiveTime::MIN).and_utc();
    start.checked_add_signed(TimeDelta::microseconds(micros)).filter(|_| micros.abs() < i64::MAX)
}

fn with_zone(time: DateTime<chrono::Utc>, zone: &str) -> Value {
    let text = time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    format!("{}{zone}", text.trim_end_matches('Z')).into()
}

/// Days since 2000.
fn date(days: i32) -> Option<Value> {
    let start = NaiveDate::from_ymd_opt(2000, 1, 1)?;
    let distance = Days::new(u64::from(days.unsigned_abs()));
    let date = match days {
        i32::MIN | i32::MAX => None,
        0.. => start.checked_add_days(distance),
        _ => start.checked_sub_days(distance),
    }?;
    Some(date.to_string().into())
}

fn time(micros: i64) -> Option<Value> {
    let seconds = u32::try_from(micros / 1_000_000).ok()?;
    let nanos = u32::try_from(micros % 1_000_000).ok()? * 1_000;
    // The end of the day, 24:00:00, is left to the server.
    NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)
        .map(|time| time.to_string().into())
}

/// A decimal number: groups of four digits to the base 10,000, the first of a given weight.
fn numeric(bytes: &[u8]) -> Option<String> {
    let (head, rest) = bytes.split_at_checked(8)?;
    let word = |at: usize| i16::from_be_bytes([head[at], head[at + 1]]);
    let (weight, sign, scale) = (i32::from(word(2)), word(4) as u16, word(6) as u16 as usize);
    match sign {
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => (),
    }
    let group = |at: i32| {
        let at = usize::try_from(weight - at).ok()? * 2;
        Some(i16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]))
    };
    let mut whole = String::new();
    for at in (0..=weight).rev() {
        write!(whole, "{:0GROUP$}", group(at).unwrap_or(0)).ok()?;
    }
    let whole = whole.trim_start_matches('0');
    let mut fraction = String::new();
    for at in 1..=scale.div_ceil(GROUP) as i32 {
        write!(fraction, "{:0GROUP$}", group(-at).unwrap_or(0)).ok()?;
    }
    fraction.truncate(scale);
    let sign = if sign == 0x4000 { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// Dimensions, a flag, the items' type; then size and lower bound of each dimension; then the items,
/// each with its length.
fn array(item: &Type, bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let dimensions = usize::try_from(word(&mut rest)?).ok().filter(|count| *count <= DIMENSIONS)?;
    let _ = (word(&mut rest)?, word(&mut rest)?);
    let mut sizes = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        sizes.push(usize::try_from(word(&mut rest)?).ok()?);
        let _ = word(&mut rest)?;
    }
    // Every item has a length of four bytes, so that there cannot be more of them than this.
    let count = sizes.iter().try_fold(1_usize, |count, size| count.checked_mul(*size))?;
    match sizes.as_slice() {
        [] => Some(json!([])),
        _ if count == 0 => Some(json!([])),
        sizes if count <= rest.len() / size_of::<i32>() => items(item, sizes, &mut rest),
        _ => None,
    }
}

fn items(item: &Type, sizes: &[usize], rest: &mut &[u8]) -> Option<Value> {
    let Some((size, inner)) = sizes.split_first() else { return one(item, rest) };
    let mut list = Vec::new();
    for _ in 0..*size {
        list.push(items(item, inner, rest)?);
    }
    Some(Value::Array(list))
}

fn one(item: &Type, rest: &mut &[u8]) -> Option<Value> {
    // A negative length stands for NULL.
    let Ok(length) = usize::try_from(word(rest)?) else { return Some(Value::Null) };
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    json(item, bytes)
}

fn word(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, after) = rest.split_at_checked(4)?;
    *rest = after;
    exactly(bytes).map(i32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn array_of(sizes: &[i32], items: &[u8]) -> Vec<u8> {
        let dimensions = i32::try_from(sizes.len()).expect("few");
        let mut bytes = [dimensions, 0, 23].map(i32::to_be_bytes).concat();
        for size in sizes {
            bytes.extend([*size, 1].map(i32::to_be_bytes).concat());
        }
        bytes.extend_from_slice(items);
        bytes
    }

    #[test]
    fn no_array_has_more_items_than_came() {
        for sizes in [&[i32::MAX][..], &[i32::MAX, i32::MAX], &[2], &[-1], &[1; 7]] {
            assert_eq!(json(&Type::INT4_ARRAY, &array_of(sizes, &[0, 0, 0, 4])), None, "{sizes:?}");
        }
        assert_eq!(json(&Type::INT4_ARRAY, &array_of(&[i32::MAX, 0], &[])), Some(json!([])));
        let one = array_of(&[1, 1], &[0, 0, 0, 4, 0, 0, 0, 9]);
        assert_eq!(json(&Type::INT4_ARRAY, &one), Some(json!([[9]])));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for kind in [Type::NUMERIC, Type::INT4_ARRAY, Type::NUMERIC_ARRAY, Type::JSONB, Type::UUID,
                Type::TIMESTAMPTZ, Type::TIMESTAMP, Type::DATE, Type::TIME, Type::BOOL, Type::TEXT]
            {
                json(&kind, &bytes);
            }
        }
    }
}
