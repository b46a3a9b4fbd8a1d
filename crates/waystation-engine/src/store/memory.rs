//! A store in memory: simple and obviously right, the second backend that the suite is run on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use waystation_core::entry::Entry;
use waystation_core::error::Code;
use waystation_core::plan::Dialect;
use waystation_core::usage::Usage;

use super::{
    Append, BlockRow, Changed, ChildRow, Claim, Cursor, CursorState, Expected, Finished, Fired,
    NewRun, NewTrigger, Progress, Result, RunFilter, RunRow, Status, Store, TriggerKind,
    TriggerRow, VersionLine, WorkflowChange, WorkflowFilter, WorkflowLine, WorkflowRow, conflict,
    day_of, ended, fenced, spent_by_day,
};
use crate::id::{RunId, WorkflowId, now_ms};

/// A store in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plans: HashMap<Arc<str>, Arc<[u8]>>,
    runs: BTreeMap<RunId, Run>,
    /// Runs that have not ended.
    unfinished: BTreeSet<RunId>,
    cursors: BTreeMap<RunId, Cursor>,
    secrets: BTreeMap<String, Vec<u8>>,
    blocks: BTreeMap<(String, String), BlockRow>,
    progress: Vec<Progress>,
    answers: HashMap<String, (u64, Vec<u8>)>,
    /// By day, namespace and workflow.
    spending: BTreeMap<(u64, String, String), Usage>,
    /// All versions, the present one last, and what each is for.
    workflows: BTreeMap<WorkflowId, Vec<(WorkflowRow, Option<String>)>>,
    triggers: Vec<TriggerRow>,
    claims: HashMap<String, (Claim, RunId)>,
}

#[derive(Debug)]
struct Run {
    row: RunRow,
    wake_at: Option<u64>,
    /// Where it is a part of another: the node and the item.
    place: (u32, u32),
    batches: BTreeMap<u32, Vec<Entry>>,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half changed when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn start(&mut self, id: RunId, new: NewRun) {
        let plan = new.plan.to_string();
        self.plans.entry(new.plan).or_insert(new.plan_json);
        let NewRun { workflow, namespace, name, created, dialect, version, .. } = new;
        let row = RunRow {
            id,
            workflow,
            namespace,
            name,
            plan,
            status: Status::Running,
            created,
            finished: None,
            error: None,
            dialect,
            version,
            parent: new.parent.map(|(parent, ..)| parent),
        };
        let place = new.parent.map_or((0, 0), |(_, node, item)| (node, item));
        self.runs.insert(id, Run { row, wake_at: None, place, batches: BTreeMap::new() });
        if let Some(claim) = new.claim {
            self.claims.insert(claim.key.clone(), (claim, id));
        }
        if let Some(fired) = new.fired {
            self.fire(&fired);
        }
        self.unfinished.insert(id);
        if new.webhook {
            let state = CursorState::Active;
            let cursor =
                Cursor { run: id, next_seq: 0, attempts: 0, next_at: created, state, error: None };
            self.cursors.insert(id, cursor);
        }
    }

    /// Refuses what has begun already.
    fn admit(&self, new: &NewRun) -> Result<()> {
        let taken = |(parent, node, item)| {
            let mut runs = self.runs.values().filter(|run| run.row.parent == Some(parent));
            runs.any(|run| run.place == (node, item))
        };
        let is_claimed = |claim: &Claim| self.claimed(&claim.key, new.created).is_some();
        let may_fire = |fired: &Fired| {
            let mut found = self.triggers.iter().filter(|trigger| is_of(trigger, fired));
            found.any(|row| fired.occurrence.is_none() || row.next_at == fired.occurrence)
        };
        if new.parent.is_some_and(taken)
            || new.claim.as_ref().is_some_and(is_claimed)
            || !new.fired.as_ref().is_none_or(may_fire)
        {
            return Err(conflict("it has begun already"));
        }
        Ok(())
    }

    fn fire(&mut self, fired: &Fired) {
        for row in self.triggers.iter_mut().filter(|row| is_of(row, fired)) {
            row.last_at = Some(fired.at);
            row.fired += 1;
            if fired.occurrence.is_some() {
                row.next_at = fired.next_at;
            }
        }
    }

    fn claimed(&self, key: &str, now: u64) -> Option<(RunId, [u8; 32])> {
        let (claim, run) = self.claims.get(key)?;
        (claim.expires > now).then_some((*run, claim.fingerprint))
    }

    fn change_workflow(&mut self, change: WorkflowChange) -> Changed {
        let WorkflowChange { id, name, status, description, definition, at, .. } = change;
        let present = self.workflows.get(&id).and_then(|all| Some(all.last()?.0.version));
        match (present, change.expected) {
            (Some(_), Expected::Absent) => return Changed::Exists,
            (None, Expected::Any | Expected::Version(_)) => return Changed::Missing,
            (Some(present), Expected::Version(wanted)) if present != wanted => {
                return Changed::Stale { present };
            }
            _ => {}
        }
        let others = || self.triggers.iter().filter(|row| row.workflow != id);
        let mut paths = change.triggers.iter().filter_map(|trigger| trigger.path.clone());
        if let Some(path) = paths.find(|path| others().any(|row| row.path.as_ref() == Some(path))) {
            return Changed::PathTaken { path };
        }
        let version = present.unwrap_or(0) + 1;
        let versions = self.workflows.entry(id).or_default();
        let created = versions.first().map_or(at, |(first, _)| first.created);
        let definition = Arc::new(definition);
        let row = WorkflowRow { id, version, name, status, created, updated: at, definition };
        versions.push((row, description));
        self.replace_triggers(id, change.triggers);
        Changed::Done { version }
    }

    fn replace_triggers(&mut self, workflow: WorkflowId, triggers: Vec<NewTrigger>) {
        let (before, mut all): (Vec<TriggerRow>, Vec<TriggerRow>) =
            self.triggers.drain(..).partition(|row| row.workflow == workflow);
        for trigger in triggers {
            let NewTrigger { id, kind, settings, path, enabled, next_at } = trigger;
            let kept = before.iter().find(|row| row.id == id && row.kind == kind);
            let same = kept.filter(|row| row.settings == settings && row.next_at.is_some());
            let next_at = same.map_or(next_at, |row| row.next_at);
            let (last_at, fired) = kept.map_or((None, 0), |row| (row.last_at, row.fired));
            all.push(TriggerRow {
                workflow,
                id,
                kind,
                settings,
                path,
                enabled,
                next_at,
                last_at,
                fired,
            });
        }
        all.sort_by(|a, b| (a.workflow, &a.id).cmp(&(b.workflow, &b.id)));
        self.triggers = all;
    }

    fn child_row(&self, id: RunId) -> Option<ChildRow> {
        let run = self.runs.get(&id)?;
        let (node, item) = run.place;
        Some(ChildRow { run: id, node, item, status: run.row.status })
    }

    fn children(&self, parent: RunId) -> Vec<ChildRow> {
        let runs = self.runs.values().filter(|run| run.row.parent == Some(parent));
        let mut rows: Vec<_> = runs.filter_map(|run| self.child_row(run.row.id)).collect();
        rows.sort_by_key(|row| (row.node, row.item));
        rows
    }

    fn finish(&mut self, id: RunId, finished: Finished) {
        self.unfinished.remove(&id);
        let parent = self.runs.get(&id).and_then(|run| run.row.parent);
        if let Some(run) = parent.and_then(|parent| self.runs.get_mut(&parent)) {
            run.wake_at = run.wake_at.map(|at| at.min(finished.at));
        }
        if let Some(run) = self.runs.get_mut(&id) {
            run.row.status = finished.status;
            run.row.finished = Some(finished.at);
            run.row.error = finished.error.map(|code| Code::as_str(code).to_owned());
            run.wake_at = None;
        }
    }

    fn append(&mut self, append: Append) -> Result<()> {
        let Append { run: id, batch, first_seq: _, entries, new_run, wake_at, finished } = append;
        match (new_run, self.runs.get(&id)) {
            (Some(new), None) => {
                self.admit(&new)?;
                self.start(id, new);
            }
            (Some(_), Some(_)) => return Err(fenced(id)),
            (None, Some(run)) if run.row.status != Status::Running => return Err(ended(id)),
            (None, Some(run)) if run.batches.contains_key(&batch) => return Err(fenced(id)),
            (None, Some(_)) => {}
            (None, None) => return Err(ended(id)),
        }
        if let Some(run) = self.runs.get_mut(&id) {
            for (day, usage) in spent_by_day(&entries) {
                let place = (day, run.row.namespace.clone(), run.row.workflow.clone());
                self.spending.entry(place).or_default().add(&usage);
            }
            run.batches.insert(batch, entries);
            run.wake_at = wake_at;
        }
        if let Some(finished) = finished {
            self.finish(id, finished);
        }
        Ok(())
    }

    /// Unfinished runs and when they are to be woken.
    fn waiting(&self) -> impl Iterator<Item = (Option<u64>, RunId)> {
        self.unfinished.iter().filter_map(|id| Some((self.runs.get(id)?.wake_at, *id)))
    }

    fn expire(&mut self, before: u64, limit: usize) -> usize {
        let begun = self.runs.range(..RunId::first_at(before));
        let ended = begun.filter(|(_, run)| run.row.finished.is_some_and(|at| at < before));
        let expired: Vec<RunId> = ended.map(|(id, _)| *id).take(limit).collect();
        for id in &expired {
            self.runs.remove(id);
            self.cursors.remove(id);
        }
        if !expired.is_empty() {
            let used: BTreeSet<&str> =
                self.runs.values().map(|run| run.row.plan.as_str()).collect();
            self.plans.retain(|hash, _| used.contains(&**hash));
        }
        self.progress.retain(|progress| progress.received >= before);
        self.answers.retain(|_, (expires, _)| *expires > now_ms());
        self.spending.retain(|(day, ..), _| *day >= day_of(before));
        self.claims.retain(|_, (claim, _)| claim.expires > now_ms());
        expired.len()
    }
}

fn is_of(row: &TriggerRow, fired: &Fired) -> bool {
    row.workflow == fired.workflow && row.id == fired.trigger
}

fn matches(filter: &RunFilter, row: &RunRow) -> bool {
    row.parent.is_none()
        && filter.dialect.is_none_or(|dialect| dialect == row.dialect)
        && filter.workflow.as_ref().is_none_or(|workflow| *workflow == row.workflow)
        && filter.namespace.as_ref().is_none_or(|namespace| *namespace == row.namespace)
        && filter.status.is_none_or(|status| status == row.status)
        && filter.before.is_none_or(|before| row.id < before)
}

#[async_trait]
impl Store for MemoryStore {
    async fn append(&self, append: Append) -> Result<()> {
        self.state().append(append)
    }

    async fn plan(&self, hash: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.state().plans.get(hash).map(|json| json.to_vec()))
    }

    async fn journal(&self, run: RunId, from_seq: u32) -> Result<Vec<Entry>> {
        let state = self.state();
        let batches = state.runs.get(&run).map(|run| run.batches.values().flatten());
        Ok(batches.into_iter().flatten().skip(from_seq as usize).cloned().collect())
    }

    async fn next_batch(&self, run: RunId) -> Result<u32> {
        let state = self.state();
        let last = state.runs.get(&run).and_then(|run| run.batches.last_key_value());
        Ok(last.map_or(0, |(batch, _)| batch + 1))
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>> {
        Ok(self.state().runs.get(&run).map(|run| run.row.clone()))
    }

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>> {
        let state = self.state();
        let rows = state.runs.values().rev().map(|run| &run.row);
        let rows = rows.filter(|row| matches(&filter, row)).skip(filter.offset);
        Ok(rows.take(filter.limit).cloned().collect())
    }

    async fn count_jobs(&self, filter: &RunFilter) -> Result<u64> {
        let (workflow, status) = (filter.workflow.clone(), filter.status);
        let dialect = Some(Dialect::Graph);
        let filter = RunFilter { workflow, status, dialect, ..RunFilter::default() };
        let state = self.state();
        Ok(state.runs.values().filter(|run| matches(&filter, &run.row)).count() as u64)
    }

    async fn children(&self, parent: RunId) -> Result<Vec<ChildRow>> {
        Ok(self.state().children(parent))
    }

    async fn child(&self, parent: RunId, node: u32, item: u32) -> Result<Option<ChildRow>> {
        let children = self.state().children(parent);
        Ok(children.into_iter().find(|row| (row.node, row.item) == (node, item)))
    }

    async fn change_workflow(&self, change: WorkflowChange) -> Result<Changed> {
        Ok(self.state().change_workflow(change))
    }

    async fn workflow(&self, id: &WorkflowId, version: Option<u32>) -> Result<Option<WorkflowRow>> {
        let state = self.state();
        let Some(versions) = state.workflows.get(id) else { return Ok(None) };
        let mut wanted = versions.iter().rev().map(|(row, _)| row);
        Ok(wanted.find(|row| version.is_none_or(|version| row.version == version)).cloned())
    }

    async fn workflows(&self, filter: WorkflowFilter) -> Result<(Vec<WorkflowLine>, u64)> {
        let state = self.state();
        let text = filter.text.map(|text| text.to_lowercase());
        let present = state.workflows.values().filter_map(|versions| versions.last());
        let mut lines: Vec<WorkflowLine> = present
            .filter(|(row, _)| filter.status.as_ref().is_none_or(|status| *status == row.status))
            .filter(|(row, about)| {
                let about = about.as_deref().unwrap_or_default();
                let search = format!("{}\n{about}", row.name).to_lowercase();
                text.as_ref().is_none_or(|text| search.contains(text.as_str()))
            })
            .map(|(row, description)| WorkflowLine {
                id: row.id,
                version: row.version,
                name: row.name.clone(),
                status: row.status.clone(),
                description: description.clone(),
                created: row.created,
                updated: row.updated,
            })
            .collect();
        lines.sort_by_key(|line| (std::cmp::Reverse(line.updated), line.id));
        let total = lines.len() as u64;
        Ok((lines.into_iter().skip(filter.offset).take(filter.limit).collect(), total))
    }

    async fn versions(&self, id: &WorkflowId) -> Result<Vec<VersionLine>> {
        let state = self.state();
        let versions = state.workflows.get(id).map(Vec::as_slice).unwrap_or_default();
        let line = |(row, _): &(WorkflowRow, Option<String>)| VersionLine {
            version: row.version,
            name: row.name.clone(),
            created: row.updated,
        };
        Ok(versions.iter().rev().map(line).collect())
    }

    async fn remove_workflow(&self, id: &WorkflowId) -> Result<bool> {
        let mut state = self.state();
        state.triggers.retain(|row| row.workflow != *id);
        Ok(state.workflows.remove(id).is_some())
    }

    async fn triggers(&self, workflow: Option<&WorkflowId>) -> Result<Vec<TriggerRow>> {
        let state = self.state();
        let rows = state.triggers.iter();
        let is_wanted = |row: &&TriggerRow| workflow.is_none_or(|id| row.workflow == *id);
        Ok(rows.filter(is_wanted).cloned().collect())
    }

    async fn hook(&self, path: &str) -> Result<Option<TriggerRow>> {
        let state = self.state();
        Ok(state.triggers.iter().find(|row| row.path.as_deref() == Some(path)).cloned())
    }

    async fn schedules_due(&self, now: u64, limit: usize) -> Result<Vec<TriggerRow>> {
        let state = self.state();
        let is_due = |row: &&TriggerRow| row.enabled && row.next_at.is_some_and(|at| at <= now);
        let mut rows: Vec<TriggerRow> = state.triggers.iter().filter(is_due).cloned().collect();
        rows.sort_by_key(|row| row.next_at);
        rows.truncate(limit);
        Ok(rows)
    }

    async fn next_schedule(&self) -> Result<Option<u64>> {
        let state = self.state();
        let enabled = state.triggers.iter().filter(|row| row.enabled);
        Ok(enabled
            .filter(|row| row.kind == TriggerKind::Schedule)
            .filter_map(|row| row.next_at)
            .min())
    }

    async fn set_trigger(
        &self,
        workflow: &WorkflowId,
        id: &str,
        enabled: bool,
        next_at: Option<u64>,
    ) -> Result<bool> {
        let mut state = self.state();
        let mut rows = state.triggers.iter_mut();
        let found = rows.find(|row| row.workflow == *workflow && row.id == id);
        Ok(found.map(|row| (row.enabled, row.next_at) = (enabled, next_at)).is_some())
    }

    async fn skip_occurrence(
        &self,
        workflow: &WorkflowId,
        id: &str,
        occurrence: u64,
        next_at: Option<u64>,
    ) -> Result<bool> {
        let mut state = self.state();
        let mut rows = state.triggers.iter_mut();
        let found = rows.find(|row| {
            row.workflow == *workflow && row.id == id && row.next_at == Some(occurrence)
        });
        Ok(found.map(|row| row.next_at = next_at).is_some())
    }

    async fn claimed(&self, key: &str, now: u64) -> Result<Option<(RunId, [u8; 32])>> {
        Ok(self.state().claimed(key, now))
    }

    async fn unfinished(&self) -> Result<Vec<RunId>> {
        let state = self.state();
        let mut awake: Vec<RunId> =
            state.waiting().filter(|(wake_at, _)| wake_at.is_none()).map(|(_, id)| id).collect();
        awake.sort_unstable();
        Ok(awake)
    }

    async fn due(&self, now: u64, limit: usize) -> Result<Vec<RunId>> {
        let state = self.state();
        let asleep = state.waiting().filter_map(|(wake_at, id)| Some((wake_at?, id)));
        let mut due: Vec<(u64, RunId)> = asleep.filter(|(wake_at, _)| *wake_at <= now).collect();
        due.sort_unstable();
        Ok(due.into_iter().take(limit).map(|(_, id)| id).collect())
    }

    async fn next_wake(&self) -> Result<Option<u64>> {
        Ok(self.state().waiting().filter_map(|(wake_at, _)| wake_at).min())
    }

    async fn expire(&self, finished_before: u64, limit: usize) -> Result<usize> {
        Ok(self.state().expire(finished_before, limit))
    }

    async fn cursors_due(&self, now: u64, limit: usize) -> Result<Vec<Cursor>> {
        let state = self.state();
        let due = |cursor: &&Cursor| cursor.state == CursorState::Active && cursor.next_at <= now;
        let mut cursors: Vec<Cursor> = state.cursors.values().filter(due).cloned().collect();
        cursors.sort_by_key(|cursor| (cursor.next_at, cursor.run));
        cursors.truncate(limit);
        Ok(cursors)
    }

    async fn cursor(&self, run: RunId) -> Result<Option<Cursor>> {
        Ok(self.state().cursors.get(&run).cloned())
    }

    async fn put_cursor(&self, cursor: Cursor) -> Result<()> {
        if let Some(present) = self.state().cursors.get_mut(&cursor.run) {
            *present = cursor;
        }
        Ok(())
    }

    async fn cursor_backlog(&self) -> Result<(u64, u64)> {
        let state = self.state();
        let count = |wanted| state.cursors.values().filter(|cursor| cursor.state == wanted).count();
        Ok((count(CursorState::Active) as u64, count(CursorState::Dead) as u64))
    }

    async fn put_secret(&self, name: &str, sealed: Vec<u8>) -> Result<()> {
        self.state().secrets.insert(name.to_owned(), sealed);
        Ok(())
    }

    async fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(self.state().secrets.clone().into_iter().collect())
    }

    async fn remove_secret(&self, name: &str) -> Result<bool> {
        Ok(self.state().secrets.remove(name).is_some())
    }

    async fn put_block(&self, namespace: &str, block: BlockRow, create: bool) -> Result<bool> {
        let mut state = self.state();
        let key = (namespace.to_owned(), block.id.clone());
        let created = state.blocks.get(&key).map(|present| present.created);
        if created.is_some() == create {
            return Ok(false);
        }
        let created = created.unwrap_or(block.created);
        state.blocks.insert(key, BlockRow { created, ..block });
        Ok(true)
    }

    async fn block(&self, namespace: &str, id: &str) -> Result<Option<BlockRow>> {
        Ok(self.state().blocks.get(&(namespace.to_owned(), id.to_owned())).cloned())
    }

    async fn blocks(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<BlockRow>> {
        let state = self.state();
        let here = state.blocks.iter().filter(|((place, _), _)| place == namespace);
        let mut blocks: Vec<&BlockRow> = here.map(|(_, block)| block).collect();
        blocks.sort_by_key(|block| (block.created, &block.id));
        let start = match after {
            Some(after) => blocks.iter().position(|block| block.id == after).map(|last| last + 1),
            None => Some(0),
        };
        let page = blocks.into_iter().skip(start.unwrap_or(usize::MAX)).take(limit);
        Ok(page.cloned().collect())
    }

    async fn remove_block(&self, namespace: &str, id: &str) -> Result<bool> {
        Ok(self.state().blocks.remove(&(namespace.to_owned(), id.to_owned())).is_some())
    }

    async fn put_progress(&self, progress: Progress) -> Result<bool> {
        let mut state = self.state();
        if state.progress.iter().any(|known| known.webhook_id == progress.webhook_id) {
            return Ok(false);
        }
        state.progress.push(progress);
        Ok(true)
    }

    async fn progress(
        &self,
        namespace: &str,
        workflow: &str,
        limit: usize,
    ) -> Result<Vec<Progress>> {
        let state = self.state();
        let of_workflow =
            |progress: &&Progress| progress.namespace == namespace && progress.workflow == workflow;
        let all: Vec<&Progress> = state.progress.iter().filter(of_workflow).collect();
        let newest = all.len().saturating_sub(limit);
        Ok(all.into_iter().skip(newest).cloned().collect())
    }

    async fn cached_answer(&self, key: &str, now: u64) -> Result<Option<Vec<u8>>> {
        let state = self.state();
        let found = state.answers.get(key).filter(|(expires, _)| *expires > now);
        Ok(found.map(|(_, value)| value.clone()))
    }

    async fn put_cached_answer(&self, key: &str, value: Vec<u8>, expires: u64) -> Result<()> {
        self.state().answers.insert(key.to_owned(), (expires, value));
        Ok(())
    }

    async fn spent(&self, namespace: &str, workflow: &str, day: u64) -> Result<Usage> {
        let place = (day, namespace.to_owned(), workflow.to_owned());
        Ok(self.state().spending.get(&place).copied().unwrap_or_default())
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn it_conforms() {
        conformance::run(MemoryStore::default).await;
    }
}
