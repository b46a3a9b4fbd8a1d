//! Values of MongoDB as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bson::spec::BinarySubtype;
use bson::{Bson, Document};
use serde_json::{Map, Value, json};

use super::super::answer::{decimal, float};

/// A document as an object.
pub(super) fn row(document: Document) -> Value {
    let fields = document.into_iter().map(|(name, value)| (name, json(value)));
    Value::Object(fields.collect::<Map<String, Value>>())
}

/// A value; one that JSON has nothing like is written as MongoDB writes it in JSON.
fn json(value: Bson) -> Value {
    match value {
        Bson::Document(document) => row(document),
        Bson::Array(items) => Value::Array(items.into_iter().map(json).collect()),
        Bson::String(text) | Bson::Symbol(text) => text.into(),
        Bson::Boolean(truth) => json!(truth),
        Bson::Int32(whole) => json!(whole),
        Bson::Int64(whole) => json!(whole),
        Bson::Double(number) => float(number),
        Bson::Null | Bson::Undefined => Value::Null,
        Bson::ObjectId(id) => id.to_hex().into(),
        Bson::Decimal128(number) => decimal(&number.to_string()),
        Bson::DateTime(time) => match time.try_to_rfc3339_string() {
            Ok(text) => text.into(),
            Err(_) => Bson::DateTime(time).into_relaxed_extjson(),
        },
        Bson::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
            let uuid = <[u8; 16]>::try_from(binary.bytes.as_slice()).map(bson::Uuid::from_bytes);
            uuid.map_or_else(
                |_| STANDARD.encode(&binary.bytes).into(),
                |uuid| uuid.to_string().into(),
            )
        }
        Bson::Binary(binary) => STANDARD.encode(&binary.bytes).into(),
        other => other.into_relaxed_extjson(),
    }
}
