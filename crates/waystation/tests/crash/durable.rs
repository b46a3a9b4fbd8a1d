//! What a data directory holds while no server runs: every run's journal, read again after each kill.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use waystation_core::entry::{Entry, Fact};
use waystation_core::program::Program;
use waystation_core::run::Run;
use waystation_engine::id::RunId;
use waystation_engine::store::sqlite::SqliteStore;
use waystation_engine::store::{RunFilter, RunStore, Status};

/// Runs listed in one go.
const PAGE: usize = 100;

/// One run as it is stored.
pub(crate) struct Journal {
    pub(crate) entries: Vec<Entry>,
    pub(crate) status: Status,
    pub(crate) program: Arc<Program>,
}

/// All runs of a data directory, as far as they are known.
#[derive(Default)]
pub(crate) struct Durable {
    pub(crate) runs: BTreeMap<RunId, Journal>,
    unfinished: BTreeSet<RunId>,
    programs: HashMap<String, Arc<Program>>,
    /// What must not happen to a journal.
    pub(crate) violations: Vec<String>,
}

impl Durable {
    /// Reads what has changed since the last time; gives the runs that were read.
    pub(crate) async fn read(&mut self, data: &Path) -> Vec<RunId> {
        let store = SqliteStore::open_read_only(data).expect("the store");
        let mut changed: BTreeSet<RunId> = std::mem::take(&mut self.unfinished);
        changed.extend(self.new_runs(&store).await);
        for run in &changed {
            self.read_run(&store, *run).await;
        }
        changed.into_iter().collect()
    }

    async fn new_runs(&self, store: &SqliteStore) -> Vec<RunId> {
        let newest = self.runs.keys().next_back().copied();
        let mut found: Vec<RunId> = Vec::new();
        loop {
            let before = found.last().copied();
            let page = RunFilter { before, limit: PAGE, ..RunFilter::default() };
            let rows = store.runs(page).await.expect("runs");
            let full = rows.len() == PAGE;
            let seen = found.len();
            found.extend(rows.iter().map(|row| row.id).take_while(|id| Some(*id) > newest));
            if !full || found.len() < seen + PAGE {
                return found;
            }
        }
    }

    async fn read_run(&mut self, store: &SqliteStore, run: RunId) {
        let Some(row) = store.run(run).await.expect("a run") else {
            return self.violations.push(format!("run {run} is gone"));
        };
        let entries = store.journal(run, 0).await.expect("a journal");
        let program = self.program(store, &row.plan).await;
        if row.status == Status::Running {
            self.unfinished.insert(run);
        }
        let journal = Journal { entries, status: row.status, program };
        self.violations.extend(journal.faults().map(|fault| format!("run {run}: {fault}")));
        if let Some(before) = self.runs.insert(run, journal)
            && !self.runs[&run].entries.starts_with(&before.entries)
        {
            self.violations.push(format!("run {run}: the journal has lost entries"));
        }
    }

    async fn program(&mut self, store: &SqliteStore, plan: &str) -> Arc<Program> {
        if let Some(known) = self.programs.get(plan) {
            return Arc::clone(known);
        }
        let json = store.plan(plan).await.expect("the store").expect("the plan");
        let program = Program::load(serde_json::from_slice(&json).expect("a plan"), plan);
        let program = Arc::new(program.expect("a valid plan"));
        self.programs.insert(plan.to_owned(), Arc::clone(&program));
        program
    }

    /// The journal of a run, by the text of its id.
    pub(crate) fn journal(&self, run: &str) -> Option<&Journal> {
        self.runs.get(&run.parse().ok()?)
    }
}

impl Journal {
    /// The steps whose results are recorded, once for each record.
    pub(crate) fn recorded(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match &entry.fact {
            Fact::NodeCompleted { node, .. } => Some(self.step(*node)),
            _ => None,
        })
    }

    /// How often an attempt at a step was recorded as begun.
    pub(crate) fn begun(&self, step: &str) -> usize {
        let begins = |entry: &&Entry| match &entry.fact {
            Fact::NodeStarted { node, .. } => self.step(*node) == step,
            _ => false,
        };
        self.entries.iter().filter(begins).count()
    }

    /// The state that the journal amounts to.
    pub(crate) fn run(&self) -> Run {
        Run::replay(Arc::clone(&self.program), &self.entries)
    }

    fn step(&self, node: u32) -> &str {
        &self.program.plan.nodes[node as usize].id
    }

    /// What no journal may look like, whatever was killed when.
    fn faults(&self) -> impl Iterator<Item = String> {
        let mut seen = BTreeSet::new();
        let twice = self.recorded().filter(move |step| !seen.insert(*step));
        let twice = twice.map(|step| format!("the result of {step} is recorded twice"));
        let is_start = |entry: &Entry| matches!(entry.fact, Fact::RunStarted(_));
        let is_end = |entry: &Entry| matches!(entry.fact, Fact::RunFinished { .. });
        let starts = self.entries.iter().filter(|entry| is_start(entry)).count();
        let started = self.entries.first().is_some_and(is_start) && starts == 1;
        let ends = self.entries.iter().filter(|entry| is_end(entry)).count();
        let ended = self.entries.last().is_some_and(is_end) && ends == 1;
        let agrees = if self.status == Status::Running { ends == 0 } else { ended };
        let shape = (!started || !agrees)
            .then(|| format!("{starts} starts, {ends} ends, but {}", self.status.as_str()));
        twice.chain(shape)
    }
}
