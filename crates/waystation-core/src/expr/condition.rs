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
        Expression::parse_as("an expression", source, known)
    }

    fn parse_as(
        what: &str,
        source: &str,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<Expression, Problem> {
        let tree = parse(source, known)?;
        if tree.paths().any(is_secret) {
            let message = format!("{what} cannot look at a secret");
            return Err(Problem::at(0..source.len(), message));
        }
        Ok(Expression { tree })
    }

    /// Its value, which a scope may lend. A name that does not exist is a problem.
    pub fn evaluate<'a>(&'a self, scope: &'a dyn Scope) -> Result<Cow<'a, Value>, Problem> {
        self.evaluate_within(scope, &Budget::new())
    }

    /// Likewise, within what several evaluations may take together.
    pub fn evaluate_within<'a>(
        &'a self,
        scope: &'a dyn Scope,
        budget: &Budget,
    ) -> Result<Cow<'a, Value>, Problem> {
        self.evaluator(scope, budget).run().map_err(|stop| self.explain(scope, stop))
    }

    /// Likewise, where nothing is a result, too: that of a path that leads nowhere.
    pub fn find_within<'a>(
        &'a self,
        scope: &'a dyn Scope,
        budget: &Budget,
    ) -> Result<Option<Cow<'a, Value>>, Problem> {
        match self.evaluator(scope, budget).run() {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Missing(_)) => Ok(None),
            Err(stop) => Err(self.explain(scope, stop)),
        }
    }

    fn evaluator<'a, 'b>(&'a self, scope: &'a dyn Scope, budget: &'b Budget) -> Evaluator<'a, 'b> {
        Evaluator { tree: &self.tree, scope, budget, smart_primitives: false }
    }

    /// An explanation may itself have to look at values, whatever is left.
    fn explain(&self, scope: &dyn Scope, stop: Stop) -> Problem {
        let is_word = self.is_lone_word(&stop);
        let mut problem = explain(&self.evaluator(scope, &Budget::new()), stop);
        if is_word {
            problem.message.push_str("; if a string is meant, put it in quotes");
        }
        problem
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
        let expression = Expression::parse_as("a condition", source, known)?;
        Ok(Condition { expression })
    }

    /// Whether it holds. A name that does not exist and a mismatch of types are problems, never false.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<bool, Problem> {
        self.evaluate_within(scope, &Budget::new())
    }

    /// Likewise, within what several evaluations may take together.
    pub fn evaluate_within(&self, scope: &dyn Scope, budget: &Budget) -> Result<bool, Problem> {
        self.expression.evaluate_within(scope, budget).map(|value| is_truthy(&value))
    }

    /// The static paths that it refers to.
    pub fn paths(&self) -> impl Iterator<Item = &[Key]> {
        self.expression.paths()
    }
}
