//! Every setting of every node type, and every field of a workflow's document, has an effect: a table with a
//! row for each, and what its change makes a real server do differently. The effects are in `snapshots`,
//! one file a group of types.
//!
//! - `row`: a setting, the settings before and after its change, and where that can be seen
//! - `schema`: which settings and choices there are, as the server itself and its guide tell
//! - `stage`: a server among services that see what its nodes do, `service` the one that is called
//! - `scene`: the graph around a node, and what happens while it runs
//! - `seen`: what is told of a job, of requests and of letters
//! - `leaves`: values as lists of what is in them, and how two of them differ
//! - `effort`: rows that several groups share
//! - the others: the rows, by groups of types

mod code;
mod data_source;
mod documents;
mod effort;
mod email;
mod flow;
mod leaves;
mod lists;
mod models;
mod requests;
mod row;
mod scene;
mod schema;
mod seen;
mod service;
mod stage;

use std::collections::BTreeSet;

use self::row::Table;
use self::schema::Described;
use self::stage::Stage;
use crate::support::server::Server;

/// All rows, by groups of types.
fn tables() -> Vec<Table> {
    let groups = [
        flow::tables(),
        lists::tables(),
        models::tables(),
        requests::tables(),
        email::tables(),
        data_source::tables(),
        code::tables(),
        documents::tables(),
    ];
    groups.into_iter().flatten().collect()
}

/// Runs a group's rows, and tells what each of them changes.
async fn effects(tables: Vec<Table>) -> String {
    let mut stage = Stage::open().await;
    let mut told = String::new();
    let mut silent = Vec::new();
    for table in tables {
        told += &format!("\n# {}\n\n", table.form);
        for row in &table.rows {
            let before = stage.observe(row, &row.base).await;
            let after = stage.observe(row, &row.changed).await;
            let differences = leaves::differences(&before, &after);
            if differences.is_empty() {
                silent.push(format!("{}: {}: {after:#}", table.form, row.change()));
            }
            told += &format!("{}\n", row.change());
            differences.iter().for_each(|line| told += &format!("    {line}\n"));
        }
    }
    assert!(silent.is_empty(), "without effect: {silent:#?}");
    told
}

/// What the types say of themselves, by the server's own list, and what documents may say.
async fn described() -> Vec<Described> {
    let (status, types) = Server::start().await.get("/api/v1/nodes").await;
    assert_eq!(status, 200);
    let types = types.as_array().unwrap().iter().flat_map(schema::described);
    types.chain(schema::described_of_documents()).collect()
}

#[tokio::test]
async fn every_setting_and_every_choice_has_a_row() {
    let tables = tables();
    let rows = || tables.iter().flat_map(|table| table.rows.iter().map(|row| (&table.form, row)));
    let named: BTreeSet<String> =
        rows().map(|(form, row)| format!("{form}: {}", row.setting)).collect();
    let described = described().await;
    let known: BTreeSet<String> = described.iter().map(Described::name).collect();
    let missing: Vec<_> = known.difference(&named).collect();
    assert!(missing.is_empty(), "settings without a row: {missing:#?}");
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "rows of settings that there are not: {unknown:#?}");
    let shows = |described: &Described, choice: &_| {
        let mut rows = rows().filter(|(form, _)| **form == described.form);
        rows.any(|(_, row)| row.shows(&described.setting, choice))
    };
    let choices =
        described.iter().flat_map(|one| one.choices.iter().map(move |choice| (one, choice)));
    let missing = choices.filter(|(described, choice)| !shows(described, choice));
    let missing: Vec<_> =
        missing.map(|(one, choice)| format!("{}: {choice}", one.name())).collect();
    assert!(missing.is_empty(), "choices without a row: {missing:#?}");
}

#[test]
fn a_row_changes_its_setting_alone() {
    for table in tables() {
        for row in &table.rows {
            let changed = row.changed_settings();
            let is_alone = !changed.is_empty() && changed.iter().all(|one| row.covers(one));
            assert!(is_alone, "{}: {}: changes {changed:?}", table.form, row.setting);
        }
    }
}

#[tokio::test]
async fn where_a_workflow_goes() {
    insta::assert_snapshot!(effects(flow::tables()).await);
}

#[tokio::test]
async fn what_becomes_of_lists() {
    insta::assert_snapshot!(effects(lists::tables()).await);
}

#[tokio::test]
async fn what_models_are_asked() {
    insta::assert_snapshot!(effects(models::tables()).await);
}

#[tokio::test]
async fn what_services_are_asked() {
    insta::assert_snapshot!(effects(requests::tables()).await);
}

#[tokio::test]
async fn what_mail_servers_get() {
    insta::assert_snapshot!(effects(email::tables()).await);
}

#[tokio::test]
async fn what_sources_are_asked() {
    insta::assert_snapshot!(effects(data_source::tables()).await);
}

#[tokio::test]
async fn what_code_does() {
    insta::assert_snapshot!(effects(code::tables()).await);
}

#[tokio::test]
async fn what_documents_say() {
    insta::assert_snapshot!(effects(documents::tables()).await);
}
