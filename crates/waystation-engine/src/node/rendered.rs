//! Settings as a node reads them when it runs: with its templates filled in.
//!
//! A template that stands among other letters, or whose value came as a text, gives a text. So a text
//! that is a number counts as one where a number is wanted, as it does in conditions, and so do `true`
//! and `false`. What a definition itself says is checked against the type's schema when it is saved, so
//! that such a text can only come from a template.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::{Error, Number, Value};

/// Reads settings whose templates are filled in.
pub(super) fn from_rendered<T: DeserializeOwned>(config: Value) -> Result<T, Error> {
    T::deserialize(Rendered(config))
}

struct Rendered(Value);

impl Rendered {
    /// The number that a text is, or the value as it is.
    fn number(self) -> Value {
        match &self.0 {
            Value::String(text) => text.trim().parse::<Number>().map_or(self.0, Value::Number),
            _ => self.0,
        }
    }

    fn truth(self) -> Value {
        match self.0.as_str().map(str::trim) {
            Some("true") => Value::Bool(true),
            Some("false") => Value::Bool(false),
            _ => self.0,
        }
    }
}

impl IntoDeserializer<'_, Error> for Rendered {
    type Deserializer = Rendered;

    fn into_deserializer(self) -> Rendered {
        self
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.number().$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Rendered {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Rendered));
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name, Rendered(value)));
                let mut fields = MapDeserializer::new(fields);
                let read = visitor.visit_map(&mut fields)?;
                fields.end().map(|()| read)
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.truth().deserialize_bool(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        seconds: f64,
        times: Option<u32>,
        is_wanted: bool,
        text: String,
        any: Value,
        below: Option<Box<Sample>>,
        list: Vec<i64>,
    }

    fn read(config: Value) -> Result<Sample, String> {
        from_rendered(config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_text_that_is_a_number_counts_as_one_where_one_is_wanted() {
        let given = json!({
            "seconds": " 0.2", "times": "3", "is_wanted": "true", "text": "5", "any": ["5"],
            "below": { "seconds": "-1e3", "times": null }, "list": ["1", 2],
        });
        let below = Sample { seconds: -1e3, ..Sample::default() };
        let expected = Sample {
            seconds: 0.2,
            times: Some(3),
            is_wanted: true,
            text: "5".to_owned(),
            any: json!(["5"]),
            below: Some(Box::new(below)),
            list: vec![1, 2],
        };
        assert_eq!(read(given), Ok(expected));
    }

    #[test]
    fn what_is_none_is_refused_in_the_usual_words() {
        for (config, expected) in [
            (json!({ "seconds": "soon" }), "invalid type: string \"soon\", expected f64"),
            (json!({ "seconds": "" }), "invalid type: string \"\", expected f64"),
            (json!({ "seconds": "NaN" }), "invalid type: string \"NaN\", expected f64"),
            (json!({ "times": "-1" }), "invalid value: integer `-1`, expected u32"),
            (json!({ "times": "1.5" }), "invalid type: floating point `1.5`, expected u32"),
            (json!({ "is_wanted": "yes" }), "invalid type: string \"yes\", expected a boolean"),
            (json!({ "text": 5 }), "invalid type: integer `5`, expected a string"),
        ] {
            assert_eq!(read(config), Err(expected.to_owned()));
        }
        assert!(read(json!({ "nosuch": 1 })).unwrap_err().contains("unknown field `nosuch`"));
    }

    proptest! {
        #[test]
        fn other_values_are_read_as_they_are(text in any::<String>(), number in any::<i64>()) {
            let value = json!({ "a": [text, number, null, { "b": number as f64 }], "c": true });
            prop_assert_eq!(from_rendered::<Value>(value.clone()).unwrap(), value);
        }
    }
}
