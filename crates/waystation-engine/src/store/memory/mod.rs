//! A store in memory: simple and obviously right, the second backend that the suite is run on.

mod workflows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use waystation_core::entry::Entry;
use waystation_core::error::Code;
use waystation_core::plan::Dialect;
use waystation_core::usage::Usage;

use self::workflows::Workflows;
use super::{
    Append, BlockRow, ChildPlace, ChildRow, Claim, Cursor, CursorState, FeedRow, FeedStore,
    Finished, KeyRow, KeyStore, NewRun, NodeTally, Progress, Result, RunFilter, RunRow, RunStore,
    RunTally, Sleep, Status, Store, Tallies, TallyFilter, TallyStore, WORKFLOWS, day_of, ended,
    fenced, key_taken, place_taken, spent_by_day,
};
use crate::id::{RunId, now_ms};

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
    keys: BTreeMap<String, KeyRow>,
    blocks: BTreeMap<(String, String), BlockRow>,
    progress: Vec<Progress>,
    answers: HashMap<String, (u64, Vec<u8>)>,
    /// By day, namespace and workflow.
    spending: BTreeMap<(u64, String, String), Usage>,
    claims: HashMap<String, (Claim, RunId)>,
    workflows: Workflows,
    /// What has happened, by workflow and moment.
    feed: Vec<(FeedRow, String, u64)>,
    feed_end: u64,
    marks: HashMap<String, u64>,
    /// By day and workflow.
    runs_by_day: BTreeMap<(u64, String), RunTally>,
    /// By day, workflow and kind of node.
    nodes_by_day: BTreeMap<(u64, String, String), NodeTally>,
}

#[derive(Debug)]
struct Run {
    row: RunRow,
    place: Option<ChildPlace>,
    wake_at: Option<u64>,
    batches: BTreeMap<u32, Vec<Entry>>,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half changed when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Refuses a run whose place, key or trigger another one has.
    fn check(&self, new: &NewRun) -> Result<()> {
        if let Some(place) = new.parent
            && self.runs.values().any(|run| run.place == Some(place))
        {
            return Err(place_taken(place));
        }
        if let Some(claim) = &new.claim
            && self.claims.get(&claim.key).is_some_and(|(held, _)| held.expires > new.created)
        {
            return Err(key_taken());
        }
        new.fired.as_ref().map_or(Ok(()), |fired| self.workflows.check(fired))
    }

    fn start(&mut self, id: RunId, new: NewRun) {
        let plan = new.plan.to_string();
        self.plans.entry(new.plan).or_insert(new.plan_json);
        if let Some(claim) = new.claim {
            self.claims.insert(claim.key.clone(), (claim, id));
        }
        if let Some(fired) = &new.fired {
            self.workflows.fire(fired, new.created);
        }
        let row = RunRow {
            id,
            workflow: new.workflow,
            namespace: new.namespace,
            name: new.name,
            plan,
            status: Status::Running,
            created: new.created,
            finished: None,
            error: None,
            dialect: new.dialect,
            version: new.version,
            parent: new.parent.map(|place| place.parent),
        };
        if let Some(tally) = self.tally(new.created, &row) {
            tally.started += 1;
        }
        self.runs
            .insert(id, Run { row, place: new.parent, wake_at: None, batches: BTreeMap::new() });
        self.unfinished.insert(id);
        if new.webhook {
            let (state, next_at) = (CursorState::Active, new.created);
            let cursor = Cursor { run: id, next_seq: 0, attempts: 0, next_at, state, error: None };
            self.cursors.insert(id, cursor);
        }
    }

    /// The sums of a moment's day that a run belongs to.
    fn tally(&mut self, at: u64, row: &RunRow) -> Option<&mut RunTally> {
        let is_stored = row.dialect == Dialect::Graph && row.namespace == WORKFLOWS;
        let is_counted = is_stored && row.parent.is_none();
        let place = (day_of(at), row.workflow.clone());
        is_counted.then(|| self.runs_by_day.entry(place).or_default())
    }

    fn finish(&mut self, id: RunId, finished: &Finished) {
        self.unfinished.remove(&id);
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.row.status = finished.status;
        run.row.finished = Some(finished.at);
        run.row.error = finished.error.map(|code| Code::as_str(code).to_owned());
        run.wake_at = None;
        let row = run.row.clone();
        if finished.has_parts {
            let parts = self.runs.values_mut().filter(|run| run.row.parent == Some(id));
            for part in parts.filter(|part| part.row.finished.is_none()) {
                part.wake_at = Some(finished.at);
            }
        }
        if let Some(wake_at) =
            row.parent.and_then(|parent| self.runs.get_mut(&parent)?.wake_at.as_mut())
        {
            *wake_at = finished.at.min(*wake_at);
        }
        let Some(tally) = self.tally(finished.at, &row) else { return };
        tally.end(finished.status, finished.at.saturating_sub(row.created));
        for tally in &finished.nodes {
            let place = (day_of(finished.at), row.workflow.clone(), tally.kind.clone());
            self.nodes_by_day.entry(place).or_default().add(tally);
        }
    }

    fn append(&mut self, append: Append) -> Result<()> {
        let Append { run: id, batch, first_seq, entries, new_run, wake_at, finished } = append;
        match (new_run, self.runs.get(&id)) {
            (Some(new), None) => {
                self.check(&new)?;
                self.start(id, new);
            }
            (Some(_), Some(_)) => return Err(fenced(id)),
            (None, Some(run)) if run.row.status != Status::Running => return Err(ended(id)),
            (None, Some(run)) if run.batches.contains_key(&batch) => return Err(fenced(id)),
            (None, Some(_)) => {}
            (None, None) => return Err(ended(id)),
        }
        if let Some(run) = self.runs.get_mut(&id) {
            if run.row.dialect == Dialect::Graph && run.place.is_none() {
                self.feed_end += 1;
                let at = entries.last().map_or(0, |last| last.at);
                let plan = (first_seq == 0).then(|| run.row.plan.clone());
                let entries = entries.clone();
                let row = FeedRow { id: self.feed_end, run: id, plan, first_seq, entries };
                self.feed.push((row, run.row.workflow.clone(), at));
            }
            for (day, usage) in spent_by_day(&entries) {
                let place = (day, run.row.namespace.clone(), run.row.workflow.clone());
                self.spending.entry(place).or_default().add(&usage);
            }
            run.batches.insert(batch, entries);
            run.wake_at = wake_at;
        }
        if let Some(finished) = finished {
            self.finish(id, &finished);
        }
        Ok(())
    }

    fn sleep(&mut self, sleep: &Sleep) -> bool {
        let is_awaited = |child: &RunId| self.unfinished.contains(child);
        let is_undisturbed = sleep.awaits.iter().all(is_awaited);
        let unfinished = self.unfinished.contains(&sleep.run) && is_undisturbed;
        let Some(run) = self.runs.get_mut(&sleep.run).filter(|_| unfinished) else { return false };
        let next = run.batches.last_key_value().map_or(0, |(batch, _)| batch + 1);
        if next == sleep.batch {
            run.wake_at = Some(sleep.wake_at);
        }
        next == sleep.batch
    }

    /// Unfinished runs and when they are to be woken.
    fn waiting(&self) -> impl Iterator<Item = (Option<u64>, RunId)> {
        self.unfinished.iter().filter_map(|id| Some((self.runs.get(id)?.wake_at, *id)))
    }

    fn expire(&mut self, before: u64, limit: usize) -> usize {
        let begun = self.runs.range(..RunId::first_at(before));
        let needed = |run: &&Run| run.row.parent.is_some_and(|run| self.unfinished.contains(&run));
        let ended =
            begun.filter(|(_, run)| run.row.finished.is_some_and(|at| at < before) && !needed(run));
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
        self.feed.retain(|(_, _, at)| *at >= before);
        self.progress.retain(|progress| progress.received >= before);
        self.answers.retain(|_, (expires, _)| *expires > now_ms());
        self.claims.retain(|_, (claim, _)| claim.expires > now_ms());
        let day = day_of(before);
        self.spending.retain(|(known, ..), _| *known >= day);
        self.runs_by_day.retain(|(known, _), _| *known >= day);
        self.nodes_by_day.retain(|(known, ..), _| *known >= day);
        expired.len()
    }
}

fn matches(filter: &RunFilter, row: &RunRow) -> bool {
    filter.workflow.as_ref().is_none_or(|workflow| *workflow == row.workflow)
        && filter.namespace.as_ref().is_none_or(|namespace| *namespace == row.namespace)
        && filter.status.is_none_or(|status| status == row.status)
        && filter.dialect.is_none_or(|dialect| dialect == row.dialect)
        && filter.parent == row.parent
}

fn child_row(run: &Run) -> Option<ChildRow> {
    let ChildPlace { node, item, .. } = run.place?;
    Some(ChildRow { run: run.row.id, node, item, status: run.row.status })
}

#[async_trait]
impl RunStore for MemoryStore {
    async fn append(&self, append: Append) -> Result<()> {
        self.state().append(append)
    }

    async fn sleep(&self, sleep: Sleep) -> Result<bool> {
        Ok(self.state().sleep(&sleep))
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
        let end = filter.before.unwrap_or(RunId(i64::MAX));
        let rows = state.runs.range(..end).rev().map(|(_, run)| &run.row);
        let matching = rows.filter(|row| matches(&filter, row)).skip(filter.offset);
        Ok(matching.take(filter.limit).cloned().collect())
    }

    async fn count_runs(&self, filter: &RunFilter) -> Result<u64> {
        let state = self.state();
        Ok(state.runs.values().filter(|run| matches(filter, &run.row)).count() as u64)
    }

    async fn children(&self, parent: RunId) -> Result<Vec<ChildRow>> {
        let state = self.state();
        let children = state.runs.values().filter(|run| run.row.parent == Some(parent));
        let mut rows: Vec<ChildRow> = children.filter_map(child_row).collect();
        rows.sort_by_key(|child| (child.node, child.item));
        Ok(rows)
    }

    async fn child(&self, place: ChildPlace) -> Result<Option<ChildRow>> {
        let state = self.state();
        Ok(state.runs.values().find(|run| run.place == Some(place)).and_then(child_row))
    }

    async fn claimed(&self, key: &str, now: u64) -> Result<Option<(RunId, [u8; 32])>> {
        let state = self.state();
        let held = state.claims.get(key).filter(|(claim, _)| claim.expires > now);
        Ok(held.map(|(claim, run)| (*run, claim.fingerprint)))
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
}

#[async_trait]
impl FeedStore for MemoryStore {
    async fn feed(&self, after: u64, workflow: Option<&str>, limit: usize) -> Result<Vec<FeedRow>> {
        let state = self.state();
        let rows = state.feed.iter().filter(|(row, of, _)| {
            row.id > after && workflow.is_none_or(|workflow| workflow == of)
        });
        Ok(rows.map(|(row, _, _)| row.clone()).take(limit).collect())
    }

    async fn feed_end(&self) -> Result<u64> {
        Ok(self.state().feed_end)
    }

    async fn mark(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.state().marks.get(name).copied())
    }

    async fn put_mark(&self, name: &str, value: u64) -> Result<()> {
        self.state().marks.insert(name.to_owned(), value);
        Ok(())
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn put_key(&self, key: KeyRow) -> Result<bool> {
        let mut state = self.state();
        let is_free = !state.keys.contains_key(&key.id);
        if is_free {
            state.keys.insert(key.id.clone(), key);
        }
        Ok(is_free)
    }

    async fn keys(&self) -> Result<Vec<KeyRow>> {
        let mut keys: Vec<KeyRow> = self.state().keys.values().cloned().collect();
        keys.sort_by_key(|key| key.created);
        Ok(keys)
    }

    async fn revoke_key(&self, id: &str, at: u64) -> Result<bool> {
        let mut state = self.state();
        let Some(key) = state.keys.get_mut(id).filter(|key| key.revoked.is_none()) else {
            return Ok(false);
        };
        key.revoked = Some(at);
        Ok(true)
    }
}

#[async_trait]
impl TallyStore for MemoryStore {
    async fn tallies(&self, filter: TallyFilter) -> Result<Tallies> {
        let state = self.state();
        let TallyFilter { from_day, to_day, workflow } = filter;
        let is_wanted = |day: u64, of: &String| {
            (from_day..=to_day).contains(&day) && workflow.as_ref().is_none_or(|one| one == of)
        };
        let runs = state.runs_by_day.iter().filter(|((day, of), _)| is_wanted(*day, of));
        let runs = runs.map(|(place, tally)| (place.clone(), tally.clone()));
        let nodes = state.nodes_by_day.iter().filter(|((day, of, _), _)| is_wanted(*day, of));
        let nodes =
            nodes.map(|((.., kind), tally)| NodeTally { kind: kind.clone(), ..tally.clone() });
        let mut spent = Usage::default();
        let spending = state.spending.iter();
        spending
            .filter(|((day, namespace, of), _)| namespace == WORKFLOWS && is_wanted(*day, of))
            .for_each(|(_, usage)| spent.add(usage));
        Ok(Tallies::gather(runs, nodes, spent))
    }
}

#[async_trait]
impl Store for MemoryStore {
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
        let is_it = |known: &Progress| {
            known.webhook_id == progress.webhook_id && known.namespace == progress.namespace
        };
        if state.progress.iter().any(is_it) {
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
