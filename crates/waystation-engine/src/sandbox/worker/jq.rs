//! jq: a filter on a value. It cannot see the environment, and has no further inputs.

use jaq_core::data::JustLut;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, load};
use jaq_json::{Val, read};

use super::super::Stop;
use super::super::wire::Work;

/// The native filters that a program may not have: what it would see is not its business.
const WITHHELD: [&str; 1] = ["env"];
/// Problems of an expression that are told.
const PROBLEMS: usize = 3;
/// Letters of a piece of an expression that a problem quotes.
const QUOTED_LETTERS: usize = 40;

/// Gives the one result as JSON, or the list of several.
pub(super) fn run(work: &Work) -> Result<String, Stop> {
    let filter = compile(&work.code)?;
    let input = read::parse_single(work.input.get().as_bytes());
    let input = input.map_err(|error| Stop::exception(format!("the value: {error}")))?;
    let ctx = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([]));
    let mut results = Vec::new();
    let mut bytes = 0;
    for result in filter.id.run((ctx, input)) {
        let result = result.map_err(|thrown| match thrown.get_err() {
            Ok(error) => Stop::exception(error.to_string()),
            Err(_) => Stop::exception("`halt` and `break` cannot leave the expression"),
        })?;
        let json = result.to_string();
        bytes += json.len() + 1;
        if bytes > work.output_bytes {
            return Err(Stop::output());
        }
        results.push(json);
    }
    match <[String; 1]>::try_from(results) {
        Ok([only]) => Ok(only),
        Err(several) => Ok(format!("[{}]", several.join(","))),
    }
}

fn compile(code: &str) -> Result<Filter<JustLut<Val>>, Stop> {
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let natives = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let natives = natives.filter(|(name, ..)| !WITHHELD.contains(name));
    let arena = Arena::default();
    let modules = Loader::new(definitions).load(&arena, File { code, path: () });
    let modules = modules.map_err(|errors| Stop::exception(syntax(code, errors)))?;
    let filter = Compiler::default().with_funs(natives).compile(modules);
    filter.map_err(|errors| {
        let unknown = errors.into_iter().flat_map(|(_, errors)| errors);
        let texts = unknown.map(|(name, kind)| format!("there is no {} {name}", kind.as_str()));
        Stop::exception(texts.take(PROBLEMS).collect::<Vec<_>>().join("; "))
    })
}

/// What is wrong with an expression, in words.
fn syntax(code: &str, errors: load::Errors<&str, ()>) -> String {
    let texts = errors.into_iter().flat_map(|(_, error)| match error {
        load::Error::Io(_) => vec!["modules cannot be included".to_owned()],
        load::Error::Lex(errors) => errors
            .into_iter()
            .map(|(expected, at)| unexpected(code, expected.as_str(), at))
            .collect(),
        load::Error::Parse(errors) => errors
            .into_iter()
            .map(|(expected, at)| unexpected(code, expected.as_str(), at))
            .collect(),
    });
    texts.take(PROBLEMS).collect::<Vec<_>>().join("; ")
}

/// `at` is a piece of the code, up to its end where the code ends too soon.
fn unexpected(code: &str, expected: &str, at: &str) -> String {
    let at = at.trim();
    if at.is_empty() {
        return format!("{expected} expected at the end of {:?}", cut(code));
    }
    format!("{expected} expected at {:?}", cut(at))
}

fn cut(text: &str) -> String {
    text.chars().take(QUOTED_LETTERS).collect()
}
