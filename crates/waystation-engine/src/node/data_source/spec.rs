//! What definitions may say of a `data-source`, checked when they are saved, and its documentation.

use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};

use super::settings::{Settings, SourceType};
use super::{mongodb, redis, statement};
use crate::node::spec::{Category, Effort, Spec, schema_of};

/// The settings that only an API has, and those that only databases have.
const API: [&str; 6] = ["endpoint", "method", "headers", "params", "body", "auth"];
const DATABASE: [&str; 3] = ["connection", "query", "parameters"];

/// What definitions know about it.
pub fn spec() -> Spec {
    Spec {
        name: "data-source",
        title: "Data source",
        description: include_str!("description.md"),
        category: Category::Data,
        schema: schema_of::<Settings>,
        example: || {
            json!({
                "source_type": "postgres",
                "connection": "{{secrets.ORDERS_DB}}",
                "query": "SELECT id, total FROM orders WHERE customer = $1 ORDER BY id",
                "parameters": ["{{input.customer}}"],
            })
        },
        effort: Some(Effort { timeout_ms: 30_000, retries: 2 }),
        lower,
    }
}

fn lower(mut config: Map<String, Value>) -> Result<Lowered, Problems> {
    let source = config.get("source_type").cloned().unwrap_or_default();
    let Ok(source) = serde_json::from_value::<SourceType>(source) else {
        return Err(vec!["source_type: must be the name of a source, and no template".to_owned()]);
    };
    let mut problems = Problems::new();
    check_settings(source, &config, &mut problems);
    if is_template(config.get("write")) {
        problems.push("write: must be true or false, and no template".to_owned());
    }
    if let Some(Value::String(connection)) = config.get("connection") {
        check_connection(source, connection, &mut problems);
    }
    let writes = config.get("write").is_some_and(|write| *write == Value::Bool(true));
    if let Some(query) = config.get_mut("query") {
        let values = check_query((source, writes), query, &mut problems);
        if !values.is_empty() {
            config.insert("query_values".to_owned(), Value::Array(values));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut lowered = Lowered::new("data-source", Value::Object(config));
    if source != SourceType::Redis {
        lowered.literal.push("query".to_owned());
    }
    Ok(lowered)
}

/// Whether each setting belongs to the source, and none is missing.
fn check_settings(source: SourceType, config: &Map<String, Value>, problems: &mut Problems) {
    let is_given = |name: &&&str| config.get(**name).is_some_and(|value| !value.is_null());
    let (needed, foreign): (&[&str], &[&str]) = match source {
        SourceType::Api => (&["endpoint"], &DATABASE),
        _ => (&["connection", "query"], &API),
    };
    let title = source.title();
    for name in needed.iter().filter(|name| !is_given(name)) {
        problems.push(format!("{name}: is needed for {title}"));
    }
    for name in foreign.iter().filter(is_given) {
        problems.push(format!("{name}: means nothing for {title}"));
    }
    if is_given(&&"parameters") && !source.has_sql() && source != SourceType::Api {
        problems.push(format!("parameters: {title} takes its values in the query itself"));
    }
}

/// A password must not stand in a definition, which many can read.
fn check_connection(source: SourceType, connection: &str, problems: &mut Problems) {
    if has_plain_password(connection) {
        problems.push(
            "connection: holds a password; keep the whole string as a secret (`waystation secret set \
             NAME`) and write {{secrets.NAME}}"
                .to_owned(),
        );
    }
    let scheme = connection.split_once("://").map(|(scheme, _)| scheme.trim());
    let is_known = scheme.is_none_or(|scheme| {
        scheme.contains("{{") || source.schemes().contains(&scheme.to_ascii_lowercase().as_str())
    });
    let is_srv = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("mongodb+srv"));
    if source == SourceType::Mongodb && is_srv {
        problems.push(format!("connection: the address of MongoDB {}", mongodb::NO_SRV));
    } else if !is_known {
        problems.push(format!("connection: an address of {} is {}", source.title(), source.form()));
    }
}

/// Whether a password is written out: as a part of the address, or as one of its options.
fn has_plain_password(connection: &str) -> bool {
    let Some((_, rest)) = connection.split_once("://") else { return false };
    // Templates may hold any character; what stands outside of them is what counts.
    let rest = without_templates(rest);
    let credentials = rest.rsplit_once('@').map(|(credentials, _)| credentials);
    let password = credentials.and_then(|text| text.split_once(':')).map(|(_, password)| password);
    let options = rest.split(['?', '&']).skip(1);
    let mut named = options.filter_map(|option| option.split_once('=')).filter(|(name, _)| {
        let name = name.to_ascii_lowercase();
        ["password", "passwd", "pwd", "pass"].contains(&name.as_str())
    });
    password.is_some_and(|password| !password.is_empty())
        || named.any(|(_, value)| !value.is_empty())
}

/// The text with nothing in the place of its templates.
fn without_templates(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        plain.push_str(before);
        rest = after.split_once("}}").map_or("", |(_, after)| after);
    }
    plain + rest
}

/// Whether the query has the form that the source takes; gives the templates that are taken out of it.
fn check_query(
    (source, writes): (SourceType, bool),
    query: &mut Value,
    problems: &mut Problems,
) -> Vec<Value> {
    match source {
        SourceType::Mongodb => return mongodb::take_templates(query, problems),
        SourceType::Redis => problems.extend(redis::check_command(query)),
        SourceType::Api => (),
        _ if !query.is_string() => problems.push("query: must be a text in SQL".to_owned()),
        _ if is_template(Some(query)) => problems.push(
            "query: no template is filled in in SQL; put a placeholder ($1, ? or :name) in its place \
             and the value into `parameters`"
                .to_owned(),
        ),
        _ if !writes => {
            let problem = query.as_str().and_then(|sql| statement::problem(source, sql));
            problems.extend(problem.map(|problem| format!("query: {problem}")));
        }
        _ => (),
    }
    Vec::new()
}

fn is_template(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| text.contains("{{"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::catalog::Catalog;
    use waystation_core::dialect::graph::types::NodeTypes;

    fn save(config: Value) -> Result<Lowered, Problems> {
        let mut catalog = Catalog::default();
        catalog.add(spec());
        let Value::Object(config) = config else { panic!("an object") };
        catalog.lower("data-source", &config).expect("a known type")
    }

    #[test]
    fn the_example_and_the_short_form_of_an_api_are_taken() {
        let lowered = save((spec().example)()).expect("the example");
        assert_eq!(lowered.literal, ["query"]);
        assert_eq!((lowered.timeout_ms, lowered.retry.attempts), (30_000, 3));
        let api = json!({ "source_type": "api", "endpoint": "https://api.example.com/data" });
        assert!(save(api).is_ok());
    }

    #[test]
    fn the_schema_shows_what_people_may_set() {
        insta::assert_json_snapshot!((spec().schema)());
    }

    #[test]
    fn what_the_node_gives_itself_cannot_be_given() {
        let problems = save(json!({
            "source_type": "mongodb", "connection": "mongodb://h/d", "query": { "collection": "c" },
            "query_values": [{ "$ne": null }],
        }));
        let problems = problems.expect_err("a problem").join("\n");
        assert!(problems.contains("query_values"), "{problems}");
    }

    #[test]
    fn what_is_no_question_needs_leave() {
        let asked = |query: &str, write: bool| {
            let asked = json!({ "source_type": "postgres", "connection": "{{secrets.DB}}" });
            let Value::Object(mut asked) = asked else { panic!("an object") };
            asked.extend([("query".to_owned(), query.into()), ("write".to_owned(), write.into())]);
            save(Value::Object(asked))
        };
        let copy = "COPY (SELECT 1) TO PROGRAM 'id'";
        let problems = asked(copy, false).expect_err("a problem").join("\n");
        insta::assert_snapshot!(problems, @"query: a query that begins with none of SELECT, WITH, VALUES, TABLE, SHOW, EXPLAIN needs `write: true`");
        assert!(asked(copy, true).is_ok());
        assert!(asked("(SELECT 1)", false).is_ok());
    }

    #[test]
    fn hosts_of_mongodb_are_listed() {
        let asked = json!({
            "source_type": "mongodb", "query": { "collection": "c" },
            "connection": "mongodb+srv://cluster.example/d",
        });
        let problems = save(asked).expect_err("a problem").join("\n");
        insta::assert_snapshot!(problems, @"connection: the address of MongoDB cannot begin with mongodb+srv://; list the hosts, as in mongodb://user:password@host-1:27017,host-2:27017/database?tls=true&replicaSet=name");
    }

    #[test]
    fn a_password_must_be_a_secret() {
        for (connection, is_taken) in [
            ("postgres://user:hunter2@db/x", false),
            ("postgres://user:{{secrets.PW}}x@db/x", false),
            ("postgres://user@db/x?password=hunter2", false),
            ("{{secrets.DB}}", true),
            ("postgres://user:{{secrets.PW}}@db/x", true),
            ("postgres://user@{{input.host}}:5432/x", true),
            ("postgres://db:5432/x", true),
            ("mysql://db/x", false),
        ] {
            let config = json!({
                "source_type": "postgres", "connection": connection, "query": "SELECT 1",
            });
            let saved = save(config);
            assert_eq!(saved.is_ok(), is_taken, "{connection}: {saved:?}");
            let text = format!("{saved:?}");
            assert!(is_taken || !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn all_problems_are_told_each_with_its_setting() {
        let problems = |config: Value| save(config).expect_err("problems").join("\n");
        insta::assert_snapshot!(problems(json!({ "source_type": "{{input.kind}}" })), @"source_type: must be the name of a source, and no template");
        insta::assert_snapshot!(problems(json!({
            "source_type": "postgres", "endpoint": "x", "write": "{{input.write}}",
            "query": "SELECT * FROM t WHERE name = '{{input.name}}'",
        })), @"
        connection: is needed for PostgreSQL
        endpoint: means nothing for PostgreSQL
        write: must be true or false, and no template
        query: no template is filled in in SQL; put a placeholder ($1, ? or :name) in its place and the value into `parameters`
        ");
        insta::assert_snapshot!(problems(json!({ "source_type": "api", "query": "SELECT 1" })), @"
        endpoint: is needed for the API
        query: means nothing for the API
        ");
        insta::assert_snapshot!(problems(json!({
            "source_type": "redis", "connection": "redis://h", "query": ["GET", "k"],
            "parameters": [1], "limit": 10_001,
        })), @"limit: 10001 is greater than the maximum of 10000");
        insta::assert_snapshot!(problems(json!({
            "source_type": "redis", "connection": "redis://h", "query": ["{{input.command}}"],
            "parameters": [1],
        })), @"
        parameters: Redis takes its values in the query itself
        query: the name of the command must be no template
        ");
    }
}
