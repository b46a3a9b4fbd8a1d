//! The parsed form: a flat list of nodes, so that neither dropping nor walking it can exhaust a stack.

use std::ops::Range;

use serde_json::Value;

use super::functions::Apply;
use super::path::{Key, is_secret};
use super::pattern::Pattern;

/// The position of a node in its tree.
pub(super) type Id = u32;

/// A parsed expression. Every node comes after those that it is made of.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
}

impl Tree {
    /// One node.
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// Where it makes something of a secret. What a secret is turned into could not be recognised and
    /// kept out of results, so a secret is used as it is.
    pub(super) fn secret_at_work(&self) -> Option<Range<usize>> {
        let is_secret = |node: &&Node| match &node.kind {
            Kind::Path { keys, .. } => is_secret(keys),
            _ => false,
        };
        let secret = self.nodes.iter().find(is_secret)?;
        (self.nodes.len() > 1).then(|| secret.place())
    }

    /// The static paths that occur in it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &[Key]> {
        self.nodes.iter().filter_map(|node| match &node.kind {
            Kind::Path { keys, .. } => Some(&**keys),
            _ => None,
        })
    }
}

/// A node and the part of the source that it was read from.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    start: u32,
    end: u32,
}

impl Node {
    /// A node that was read from a part of the source.
    pub(super) fn new(kind: Kind, place: Range<usize>) -> Node {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Node { kind, start: narrow(place.start), end: narrow(place.end) }
    }

    /// The part of the source that it was read from.
    pub(super) fn place(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What a node does.
#[derive(Debug)]
pub(super) enum Kind {
    Literal(Box<Value>),
    /// A static path, and where each of its keys ends in the source.
    Path {
        keys: Box<[Key]>,
        ends: Box<[u32]>,
    },
    Field(Id, Key),
    Index(Id, Id),
    Not(Id),
    Negate(Id),
    Binary(Operator, Id, Id),
    Matches(Id, Box<Pattern>),
    Test {
        subject: Id,
        test: Test,
        negated: bool,
    },
    Choose {
        condition: Id,
        then: Id,
        otherwise: Id,
    },
    Call(&'static str, Apply, Box<[Id]>),
    List(Box<[Id]>),
    Object(Box<[(Box<str>, Id)]>),
    Text(Box<[Id]>),
}

/// What stands between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    In,
    Coalesce,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// The operator that a symbol or word spells.
    pub(super) fn spelled(text: &str) -> Option<Operator> {
        Some(match text {
            "||" | "or" | "OR" => Operator::Or,
            "&&" | "and" | "AND" => Operator::And,
            "==" | "===" => Operator::Equal,
            "!=" | "!==" => Operator::Unequal,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            "contains" => Operator::Contains,
            "starts_with" | "startswith" | "startsWith" => Operator::StartsWith,
            "ends_with" | "endswith" | "endsWith" => Operator::EndsWith,
            "matches" => Operator::Matches,
            "in" => Operator::In,
            "??" => Operator::Coalesce,
            "+" => Operator::Add,
            "-" => Operator::Subtract,
            "*" => Operator::Multiply,
            "/" => Operator::Divide,
            "%" => Operator::Remainder,
            _ => return None,
        })
    }

    /// The usual spelling, for messages.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Operator::Or => "or",
            Operator::And => "and",
            Operator::Equal => "==",
            Operator::Unequal => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Contains => "contains",
            Operator::StartsWith => "starts_with",
            Operator::EndsWith => "ends_with",
            Operator::Matches => "matches",
            Operator::In => "in",
            Operator::Coalesce => "??",
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
        }
    }

    /// How tightly it binds.
    pub(super) fn power(self) -> u8 {
        match self {
            Operator::Or => power::OR,
            Operator::And => power::AND,
            Operator::Coalesce => power::COALESCE,
            Operator::Add | Operator::Subtract => power::SUM,
            Operator::Multiply | Operator::Divide | Operator::Remainder => power::PRODUCT,
            _ => power::COMPARISON,
        }
    }

    /// Whether it may follow `not`, as in `not in`.
    pub(super) fn is_word(self) -> bool {
        self.power() == power::COMPARISON && self.symbol().starts_with(char::is_alphabetic)
    }
}

/// How tightly operators bind, from the loosest.
pub(super) mod power {
    pub(in super::super) const CHOICE: u8 = 0;
    pub(in super::super) const OR: u8 = 1;
    pub(in super::super) const AND: u8 = 2;
    pub(in super::super) const NOT: u8 = 3;
    pub(in super::super) const COMPARISON: u8 = 4;
    pub(in super::super) const COALESCE: u8 = 5;
    pub(in super::super) const SUM: u8 = 6;
    pub(in super::super) const PRODUCT: u8 = 7;
}

/// What follows `is`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Defined,
    Null,
    Empty,
    String,
    Number,
    Boolean,
    List,
    Object,
}

impl Test {
    /// The words of all tests.
    pub(super) const NAMES: &'static [(&'static str, Test)] = &[
        ("defined", Test::Defined),
        ("null", Test::Null),
        ("none", Test::Null),
        ("None", Test::Null),
        ("empty", Test::Empty),
        ("string", Test::String),
        ("number", Test::Number),
        ("boolean", Test::Boolean),
        ("list", Test::List),
        ("object", Test::Object),
    ];

    /// Whether a value that exists passes it.
    pub(super) fn holds(self, value: &Value) -> bool {
        match self {
            Test::Defined => true,
            Test::Null => value.is_null(),
            Test::Empty => match value {
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                _ => value.is_null(),
            },
            Test::String => value.is_string(),
            Test::Number => value.is_number(),
            Test::Boolean => value.is_boolean(),
            Test::List => value.is_array(),
            Test::Object => value.is_object(),
        }
    }
}
