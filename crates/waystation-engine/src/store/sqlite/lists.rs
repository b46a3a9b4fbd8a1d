//! Lists of runs, each by an index that holds little else than what is asked for.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params_from_iter};
use waystation_core::plan::Dialect;

use super::runs::{Table, dialect_number, number, run_row};
use super::{integer, unsigned};
use crate::store::{Result, RunFilter, RunRow, Status};

/// Runs, newest first.
pub(super) fn runs(connection: &Connection, filter: &RunFilter) -> Result<Vec<RunRow>> {
    let List { sql, values } = List::page(filter);
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map(params_from_iter(values), run_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many runs a filter matches. Those without a parent are counted already.
pub(super) fn count(connection: &Connection, filter: &RunFilter) -> Result<u64> {
    let source = match filter.parent {
        Some(_) => "count(*) FROM child_runs",
        None => "ifnull(sum(runs), 0) FROM run_counts",
    };
    let (condition, values) = plain_conditions(filter).joined();
    let sql = format!("SELECT {source} WHERE {condition}");
    let mut select = connection.prepare_cached(&sql)?;
    Ok(select.query_row(params_from_iter(values), |row| row.get(0).map(unsigned))?)
}

/// A query and its values.
struct List {
    sql: String,
    values: Vec<Sql>,
}

impl List {
    fn page(filter: &RunFilter) -> List {
        let (table, mut conditions) = match filter.parent {
            Some(_) => (Table::Children, plain_conditions(filter)),
            None => (Table::Runs, conditions(filter)),
        };
        conditions.add("id < ?", filter.before.map(|before| Sql::Integer(before.0)));
        let (condition, mut values) = conditions.joined();
        let page = [filter.limit, filter.offset].map(|count| Sql::Integer(integer(count as u64)));
        values.extend(page);
        let sql = table.select(&format!("{condition} ORDER BY id DESC LIMIT ? OFFSET ?"));
        List { sql, values }
    }
}

#[derive(Default)]
struct Conditions {
    parts: Vec<&'static str>,
    values: Vec<Sql>,
}

impl Conditions {
    /// Adds a condition on a value, if there is one.
    fn add(&mut self, part: &'static str, value: Option<Sql>) {
        if let Some(value) = value {
            self.parts.push(part);
            self.values.push(value);
        }
    }

    fn joined(mut self) -> (String, Vec<Sql>) {
        self.parts.push("true");
        (self.parts.join(" AND "), self.values)
    }
}

/// A filter of runs without a parent in SQL. A plus sign hides a condition from an index that would not
/// help: a namespace alone would have to be sorted, and most runs are completed. The words of a partial
/// index tell the planner that it holds all such runs.
fn conditions(filter: &RunFilter) -> Conditions {
    let RunFilter { workflow, namespace, status, dialect, .. } = filter;
    let is_graph = *dialect == Some(Dialect::Graph);
    let is_rare = !matches!(status, None | Some(Status::Completed));
    let by_workflow = workflow.is_some() && namespace.is_some() && !(is_graph && is_rare);
    let in_namespace = if by_workflow { "namespace = ?" } else { "+namespace = ?" };
    let in_dialect = match dialect {
        Some(Dialect::Graph) if !by_workflow => "dialect = 2 AND +dialect = ?",
        _ => "+dialect = ?",
    };
    let in_state = match status {
        Some(_) if is_graph && is_rare => "status IN (0, 2, 3) AND status = ?",
        Some(Status::Running) => "finished IS NULL AND +status = ?",
        Some(Status::Completed) | None => "+status = ?",
        Some(Status::Failed | Status::Cancelled) => "status IN (2, 3) AND status = ?",
    };
    let text = |text: &Option<String>| text.clone().map(Sql::Text);
    let mut all = Conditions::default();
    all.add(in_namespace, text(namespace));
    all.add("workflow = ?", text(workflow));
    all.add(in_dialect, dialect.map(|dialect| Sql::Integer(dialect_number(dialect))));
    all.add(in_state, status.map(|status| Sql::Integer(number(status))));
    all
}

/// A filter as it stands: of one run's children, which are few enough to look at each, and of counts.
fn plain_conditions(filter: &RunFilter) -> Conditions {
    let RunFilter { workflow, namespace, status, dialect, parent, .. } = filter;
    let text = |text: &Option<String>| text.clone().map(Sql::Text);
    let mut all = Conditions::default();
    all.add("parent = ?", parent.map(|parent| Sql::Integer(parent.0)));
    all.add("namespace = ?", text(namespace));
    all.add("workflow = ?", text(workflow));
    all.add("dialect = ?", dialect.map(|dialect| Sql::Integer(dialect_number(dialect))));
    all.add("status = ?", status.map(|status| Sql::Integer(number(status))));
    all
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;
    use crate::id::RunId;

    #[test]
    fn every_list_of_runs_goes_by_an_index() {
        let (_dir, connection) = schema::fresh();
        let namespace = Some("n".to_owned());
        let workflow = Some("w".to_owned());
        let status = Some(Status::Failed);
        let completed = Some(Status::Completed);
        let before = Some(RunId(9));
        let dialect = Some(Dialect::Graph);
        let pipeline = Some(Dialect::Pipeline);
        let all = RunFilter::default;
        let graph = || RunFilter { dialect, ..all() };
        let of_workflow = |filter: RunFilter| RunFilter {
            namespace: namespace.clone(),
            workflow: workflow.clone(),
            ..filter
        };
        for (filter, expected) in [
            (all(), "SCAN runs;"),
            (RunFilter { before, ..all() }, "USING INTEGER PRIMARY KEY (rowid<?)"),
            (RunFilter { dialect: pipeline, ..all() }, "SCAN runs;"),
            (RunFilter { status: completed, ..all() }, "SCAN runs;"),
            (RunFilter { status, ..all() }, "INDEX runs_troubled (status=?)"),
            (RunFilter { status, before, ..all() }, "runs_troubled (status=? AND id<?)"),
            (
                RunFilter { namespace: namespace.clone(), before, ..all() },
                "USING INTEGER PRIMARY KEY (rowid<?)",
            ),
            (
                of_workflow(RunFilter { status: completed, before, ..all() }),
                "INDEX runs_workflow (namespace=? AND workflow=? AND id<?)",
            ),
            (graph(), "INDEX runs_graph"),
            (RunFilter { before, ..graph() }, "INDEX runs_graph (id<?)"),
            (RunFilter { status: completed, ..graph() }, "INDEX runs_graph"),
            (RunFilter { status, ..graph() }, "INDEX runs_graph_status (status=?)"),
            (RunFilter { status, before, ..graph() }, "runs_graph_status (status=? AND id<?)"),
            (
                RunFilter { status: Some(Status::Running), ..graph() },
                "INDEX runs_graph_status (status=?)",
            ),
            (of_workflow(graph()), "INDEX runs_workflow (namespace=? AND workflow=?)"),
            (
                of_workflow(RunFilter { status: completed, ..graph() }),
                "INDEX runs_workflow (namespace=? AND workflow=?)",
            ),
            (
                of_workflow(RunFilter { status, before, ..graph() }),
                "INDEX runs_graph_workflow (workflow=? AND status=? AND id<?)",
            ),
        ] {
            let sql = List::page(&filter).sql;
            let plan = schema::query_plan(&connection, &sql);
            assert!(plan.contains(expected), "{sql}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        }
        let children = List::page(&RunFilter { parent: before, ..all() }).sql;
        let plan = schema::query_plan(&connection, &children);
        assert!(plan.contains("SEARCH child_runs USING INDEX"), "{plan}");
    }
}
