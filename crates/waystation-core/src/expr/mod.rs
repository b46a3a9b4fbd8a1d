//! Templates and conditions: parsed once, evaluated on borrowed JSON within fixed bounds.
//!
//! # The language
//! - Values: `'text'`, `"text"`, numbers, `true`/`True`, `false`/`False`, `null`/`None`, `[a, b]`,
//!   `{"key": a}`, and paths: `input.items[0].name`, `items.0`, `items[-1]`, `r["my key"]`, `r[name]`.
//! - Operators, from the loosest: `a if c else b`, `or` `||`, `and` `&&`, `not`, comparisons, `??`,
//!   `+ -`, `* / %`, `-x !x`, `x | filter(…)`. Comparisons do not chain.
//! - Comparisons: `== != < <= > >=` (also `===`, `!==`), `contains`, `starts_with`, `ends_with`,
//!   `matches` (a regular expression found anywhere in the text), `in`, each of these words also after
//!   `not`, and `is [not] defined`, `null`, `empty`, `string`, `number`, `boolean`, `list`, `object`.
//! - A number and a numeric text compare as numbers. Any other text is unequal to a number, and
//!   ordering the two is an error. Two texts always compare as text.
//! - Null, `false`, 0, the empty text, the text `false` in any case, `[]` and `{}` count as false.
//!   `and` and `or` give the operand that decided.
//! - `%` never gives a negative result. Integers stay integers where the result is one.
//! - In a condition, `{{ … }}` is one complete sub-expression, also inside a quoted text; what it holds
//!   is never read as source.
//! - Missing are: an unknown name, an index out of range, and a step below anything that has no fields.
//!   `x | default(y)` and `x ?? y` stand in for what is missing or null.
//!
//! # Dashes
//! A dash that touches a word on both sides may be part of a name. Inside `{{ }}` it is, unless the
//! path begins with a name that is known: then the longest known name wins, and what follows is a
//! minus. Outside `{{ }}` it is only if the joined name is known. Spaces always make a minus, and
//! `["my-key"]` is always a name.
//!
//! # Bounds
//! Length, nodes and nesting are bounded at parse time; bytes copied and bytes looked at are bounded
//! in evaluation, and so is the nesting of results. Messages never hold a value, which may be secret.

mod ast;
mod budget;
mod condition;
mod evaluate;
mod explain;
mod functions;
mod lexer;
mod operand;
mod operators;
mod parser;
mod path;
mod pattern;
mod problem;
mod template;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use condition::{Condition, Expression};
pub use operators::{are_equal, compare_numbers, kind, mean, sum};
pub use path::{Found, Key, Scope, child};
pub use problem::Problem;
pub use template::{Rendered, Template};
