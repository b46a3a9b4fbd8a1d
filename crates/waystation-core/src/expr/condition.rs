//! Expressions that stand alone, and conditions.

use std::borrow::Cow;

use serde_json::Value;

use super::ast::{Kind, Tree};
use super::budget::Budget;
use super::evaluate::{Evaluator, Stop};
use super::explain::explain;
use super::operators::is_truthy;
use super::parser::parse;
use super::path::{Key, Scope, is_secret};
use super::problem::Problem;

/// A parsed expression.
#[derive(Debug)]
pub struct Expression {
    tree: Tree,
}

impl Expression {
    /// Parses a source; `known` says whether a name with dashes exists.
    pub fn parse(source: &str, known: &dyn Fn(&str) -> bool) -> Result<Expression, Problem> {
        let tree = parse(source, known)?;
        if tree.paths().any(is_secret) {
            return Err(Problem::at(0..source.len(), "a condition cannot look at a secret"));
        }
        Ok(Expression { tree })
    }

    /// Its value, which a scope may lend. A name that does not exist is a problem.
    pub fn evaluate<'a>(&'a self, scope: &'a dyn Scope) -> Result<Cow<'a, Value>, Problem> {
        let budget = Budget::new();
        let evaluator =
            Evaluator { tree: &self.tree, scope, budget: &budget, smart_primitives: false };
        evaluator.run().map_err(|stop| {
            let is_word = self.is_lone_word(&stop);
            let budget = Budget::new();
            let mut problem = explain(&Evaluator { budget: &budget, ..evaluator }, stop);
            if is_word {
                problem.message.push_str("; if a string is meant, put it in quotes");
            }
            problem
        })
    }

    fn is_lone_word(&self, stop: &Stop) -> bool {
        let Stop::Missing(id) = stop else { return false };
        matches!(&self.tree.node(*id).kind, Kind::Path { keys, .. } if keys.len() == 1)
    }

    /// The static paths that it refers to.
    pub fn paths(&self) -> impl Iterator<Item = &[Key]> {
        self.tree.paths()
    }
}

/// An expression that is true or false.
#[derive(Debug)]
pub struct Condition {
    expression: Expression,
}

impl Condition {
    /// Parses a source; `known` says whether a name with dashes exists.
    pub fn parse(source: &str, known: &dyn Fn(&str) -> bool) -> Result<Condition, Problem> {
        Expression::parse(source, known).map(|expression| Condition { expression })
    }

    /// Whether it holds. A name that does not exist and a mismatch of types are problems, never false.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<bool, Problem> {
        self.expression.evaluate(scope).map(|value| is_truthy(&value))
    }

    /// The static paths that it refers to.
    pub fn paths(&self) -> impl Iterator<Item = &[Key]> {
        self.expression.paths()
    }
}
