//! How large a schema may be, and how much work checking a value by it. What is within these bounds
//! ends soon and does not exhaust the stack.

use serde_json::Value;

/// Bytes of a schema.
const SCHEMA_BYTES: usize = 64 << 10;
/// Nesting of a schema.
const SCHEMA_DEPTH: usize = 64;
/// Regular expressions in a schema, and bytes that each may take once compiled.
const PATTERNS: usize = 100;
pub(super) const PATTERN_BYTES: usize = 256 << 10;
/// Parts of a schema, each counted as often as references lead to it.
const PARTS: usize = 10_000;
/// References that lead from one to the next.
const REFERENCES: usize = 64;
/// Meetings of a part of the schema with a part of the value, and how many may lead to one another.
const STEPS: usize = 8 << 20;
const STEPS_DEPTH: usize = 3_000;

/// Keywords that make the meaning of a reference depend on where it is met.
const UNSUPPORTED: [&str; 4] = ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor"];

/// Keywords whose schemas are for the parts of the value.
const FOR_CHILDREN: [&str; 8] = [
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
];

/// Says which bound a schema breaks, if any.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    if !schema.is_object() {
        return Err("a JSON Schema is an object".to_owned());
    }
    check_depth(schema, SCHEMA_DEPTH)?;
    if schema.to_string().len() > SCHEMA_BYTES {
        return Err(format!("it is longer than {SCHEMA_BYTES} bytes"));
    }
    Survey { root: schema, patterns: 0, parts: 0, followed: Vec::new() }.visit(schema)
}

/// Whether a value can be checked by a schema within the bounds.
pub(super) fn are_kept(schema: &Value, value: &Value) -> bool {
    Rehearsal { root: schema, steps: 0 }.visit(schema, value, 0)
}

fn check_depth(value: &Value, left: usize) -> Result<(), String> {
    if left == 0 {
        return Err(format!("it is nested deeper than {SCHEMA_DEPTH}"));
    }
    children(value).try_for_each(|child| check_depth(child, left - 1))
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Object(fields) => Box::new(fields.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => Box::new(std::iter::empty()),
    }
}

/// A walk through a schema along its references, which finds out how much checking by it may take.
struct Survey<'a> {
    root: &'a Value,
    patterns: usize,
    parts: usize,
    /// The references that led here; one that leads back to itself is not followed again.
    followed: Vec<&'a str>,
}

impl<'a> Survey<'a> {
    fn visit(&mut self, part: &'a Value) -> Result<(), String> {
        self.parts += 1;
        if self.parts > PARTS {
            return Err(format!("with its references followed it has more than {PARTS} parts"));
        }
        let Value::Object(fields) = part else {
            return children(part).try_for_each(|child| self.visit(child));
        };
        for (name, child) in fields {
            self.count_patterns(name, child)?;
            match child {
                Value::String(text) if name == "$ref" => self.follow(text)?,
                Value::String(_) if UNSUPPORTED.contains(&name.as_str()) => {
                    return Err(format!("{name} is not supported"));
                }
                Value::String(_) if name == "$id" && !std::ptr::eq(part, self.root) => {
                    return Err("$id is supported at the top only".to_owned());
                }
                // Definitions count where references lead to them.
                Value::Object(_) if matches!(name.as_str(), "$defs" | "definitions") => {}
                _ => self.visit(child)?,
            }
        }
        Ok(())
    }

    fn follow(&mut self, reference: &'a str) -> Result<(), String> {
        let pointer =
            reference.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(pointer) = pointer else {
            return Err(format!("$ref may only point into the schema itself (#/...): {reference}"));
        };
        if self.followed.contains(&reference) {
            return Ok(());
        }
        let Some(target) = self.root.pointer(pointer) else {
            return Err(format!("$ref points to nothing: {reference}"));
        };
        if self.followed.len() == REFERENCES {
            return Err(format!("its references go through more than {REFERENCES} others"));
        }
        self.followed.push(reference);
        let visited = self.visit(target);
        self.followed.pop();
        visited
    }

    fn count_patterns(&mut self, name: &str, value: &Value) -> Result<(), String> {
        self.patterns += match value {
            Value::String(_) if name == "pattern" => 1,
            Value::Object(patterns) if name == "patternProperties" => patterns.len(),
            _ => 0,
        };
        match self.patterns > PATTERNS {
            true => Err(format!("it has more than {PATTERNS} regular expressions")),
            false => Ok(()),
        }
    }
}

/// A walk through a schema and a value together, at least as long as checking takes: every part of the
/// schema counts that could apply.
struct Rehearsal<'a> {
    root: &'a Value,
    steps: usize,
}

impl Rehearsal<'_> {
    /// Whether it comes to an end in time.
    fn visit(&mut self, schema: &Value, value: &Value, depth: usize) -> bool {
        let depth = depth + 1;
        match schema {
            Value::Object(fields) => {
                self.steps += 1;
                let may_go_on = self.steps < STEPS && depth < STEPS_DEPTH;
                may_go_on
                    && fields.iter().all(|(name, part)| self.keyword(name, part, value, depth))
            }
            Value::Array(parts) => parts.iter().all(|part| self.visit(part, value, depth)),
            _ => true,
        }
    }

    fn keyword(&mut self, name: &str, part: &Value, value: &Value, depth: usize) -> bool {
        match (name, part) {
            ("$defs" | "definitions" | "enum" | "const" | "default" | "examples", _) => true,
            ("$ref", Value::String(reference)) => {
                let target = reference.strip_prefix('#').and_then(|rest| self.root.pointer(rest));
                target.is_none_or(|target| self.visit(target, value, depth))
            }
            ("properties", Value::Object(parts)) => parts.iter().all(|(name, part)| {
                value.get(name).is_none_or(|child| self.visit(part, child, depth))
            }),
            (name, _) if FOR_CHILDREN.contains(&name) => {
                children(value).all(|child| self.visit(part, child, depth))
            }
            _ => self.visit(part, value, depth),
        }
    }
}
