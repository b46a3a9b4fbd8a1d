//! The users' texts as templates. A text that is none, such as one about templates, stays as it is.

use serde_json::Value;

use super::fields::Fields;
use crate::expr::Template;
use crate::limits::DEFINITION_DEPTH;

/// A text that stands for itself, whatever it holds.
pub(super) fn literal(text: &str) -> String {
    text.replace("{{", r#"{{ "{{" }}"#)
}

/// A value all of whose strings stand for themselves.
pub(super) fn literal_value(value: Value) -> Value {
    map_texts(value, &mut |text| literal(&text))
}

/// A value whose strings may be templates.
pub(super) fn value(name: &str, value: Value, fields: &mut Fields<'_>) -> Value {
    map_texts(value, &mut |text| compilable(name, text, fields))
}

/// A template that always gives a text, also where it is one placeholder and the value is none.
pub(super) fn text(name: &str, source: String, fields: &mut Fields<'_>) -> String {
    let source = compilable(name, source, fields);
    match source.starts_with("{{") && source.ends_with("}}") {
        true => format!(r#"{{{{ "" }}}}{source}"#),
        false => source,
    }
}

/// The text itself where it is a template, else one that gives it literally; the author is told.
fn compilable(name: &str, source: String, fields: &mut Fields<'_>) -> String {
    if !source.contains("{{") {
        return source;
    }
    let known = |name: &str| fields.knows(name);
    let Err(problems) = Template::compile(&source.as_str().into(), &known) else {
        return source;
    };
    let literal = literal(&source);
    let is_too_long = Template::compile(&literal.as_str().into(), &known).is_err();
    let name = fields.name_of(name);
    if is_too_long {
        let text = format!("Field {name} has more `{{{{` than a text may have");
        fields.problem::<()>(&text);
        return String::new();
    }
    let problem = problems.first().map(ToString::to_string).unwrap_or_default();
    fields.warning(&format!("Field {name} is no template and stays as it is: {problem}"));
    literal
}

/// Nesting that a definition's values may have, so that plans, which nest them deeper, stay readable.
pub(super) const DEPTH: usize = DEFINITION_DEPTH - 10;

fn map_texts(value: Value, change: &mut impl FnMut(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(items) => items.into_iter().map(|item| map_texts(item, change)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            Value::Object(fields.map(|(name, field)| (name, map_texts(field, change))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::definition::secret_name;
    use super::*;
    use crate::plan::Missing;
    use proptest::prelude::*;

    fn rendered(template: &str) -> Value {
        let template = Template::compile(&template.into(), &|_| false).unwrap();
        template.render(&Value::Null, Missing::Fail).unwrap().value
    }

    proptest! {
        #[test]
        fn a_literal_gives_the_text_itself(text in r#"[{}"' a\\]{0,12}|\PC{0,12}"#) {
            prop_assert_eq!(rendered(&literal(&text)), text);
        }
    }

    #[test]
    fn only_the_bare_name_of_a_secret_names_one() {
        for right in ["{{secrets.KEY}}", " {{ secrets.my-key.2 }} "] {
            assert!(secret_name(right).is_some(), "{right}");
        }
        let wrong = [
            "sk-123",
            "{{secrets.A}}{{secrets.B}}",
            "x{{secrets.A}}",
            "{{secrets.}}",
            "{{secrets}}",
            "{{ secrets.A ?? \"sk-1\" }}",
            "{{context}}",
            "",
        ];
        for wrong in wrong {
            assert_eq!(secret_name(wrong), None, "{wrong}");
        }
    }
}
