//! Values of MongoDB as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bson::spec::BinarySubtype;
use bson::{Bson, Document, RawBsonRef, RawDocument};
use serde_json::{Map, Value, json};

use super::super::answer::{decimal, float};

/// Whether a document has no more levels than this. It is asked before the document is read, for a
/// server may send more of them than there is stack for.
pub(super) fn is_within(document: &RawDocument, levels: usize) -> bool {
    // What is broken is found when it is read.
    levels > 0 && document.iter().flatten().all(|(_, value)| fits(value, levels - 1))
}

fn fits(value: RawBsonRef<'_>, levels: usize) -> bool {
    match value {
        RawBsonRef::Document(inner) => is_within(inner, levels),
        RawBsonRef::Array(items) => {
            levels > 0 && items.into_iter().flatten().all(|item| fits(item, levels - 1))
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => is_within(code.scope, levels),
        _ => true,
    }
}

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

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc, rawdoc};

    use super::*;

    #[test]
    fn values_become_what_json_has() {
        let document = doc! {
            "id": bson::oid::ObjectId::from_bytes([7; 12]), "time": bson::DateTime::from_millis(1_500),
            "price": "19.90".parse::<bson::Decimal128>().expect("a number"), "bytes": Bson::Binary(bson::Binary {
                subtype: BinarySubtype::Generic, bytes: vec![0, 255],
            }),
            "uuid": bson::Uuid::from_bytes([1; 16]), "big": i64::MAX, "nan": f64::NAN, "none": Bson::Null,
            "pattern": Bson::RegularExpression(bson::Regex {
                pattern: "a".try_into().expect("a text"), options: "i".try_into().expect("a text"),
            }),
        };
        insta::assert_json_snapshot!(row(document));
    }

    #[test]
    fn a_document_deeper_than_the_stack_is_not_read() {
        let mut deep = RawDocumentBuf::new();
        for _ in 0..1_000 {
            deep = rawdoc! { "a": deep };
        }
        assert!(!is_within(&deep, 100));
        assert!(is_within(&rawdoc! { "a": [{ "b": 1 }] }, 3));
        assert!(!is_within(&rawdoc! { "a": [{ "b": 1 }] }, 2));
    }
}
