//! Who waits, in turn over runs and first in, first out within a run: a run with a thousand calls does
//! not hold up another one's single call.

use std::collections::{BTreeMap, HashMap};

use crate::id::RunId;

/// A place in the queue: the run, and a number that grows.
pub(super) type Ticket = (RunId, u64);

/// Those who wait.
#[derive(Debug)]
pub(super) struct Queue<T> {
    runs: HashMap<RunId, Line<T>>,
    /// Whose turn comes when.
    turns: BTreeMap<u64, RunId>,
    /// The next number, for tickets and turns alike.
    next: u64,
    waiting: usize,
}

/// Those of one run.
#[derive(Debug)]
struct Line<T> {
    turn: u64,
    waiting: BTreeMap<u64, T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { runs: HashMap::new(), turns: BTreeMap::new(), next: 0, waiting: 0 }
    }
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    pub(super) fn push(&mut self, run: RunId, item: T) -> Ticket {
        let number = self.number();
        let turns = &mut self.turns;
        let line = self.runs.entry(run).or_insert_with(|| {
            turns.insert(number, run);
            Line { turn: number, waiting: BTreeMap::new() }
        });
        line.waiting.insert(number, item);
        self.waiting += 1;
        (run, number)
    }

    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<&T> {
        let (_, run) = self.turns.first_key_value()?;
        self.runs.get(run)?.waiting.first_key_value().map(|(_, item)| item)
    }

    /// Takes the first out; its run goes to the end.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (_, run) = self.turns.first_key_value()?;
        let run = *run;
        let number = *self.runs.get(&run)?.waiting.first_key_value()?.0;
        let item = self.remove((run, number))?;
        let turn = self.number();
        if let Some(line) = self.runs.get_mut(&run) {
            self.turns.remove(&line.turn);
            line.turn = turn;
            self.turns.insert(turn, run);
        }
        Some(item)
    }

    /// Takes one out that waits no more, if it is still there.
    pub(super) fn remove(&mut self, (run, number): Ticket) -> Option<T> {
        let line = self.runs.get_mut(&run)?;
        let item = line.waiting.remove(&number)?;
        self.waiting -= 1;
        if line.waiting.is_empty() {
            self.turns.remove(&line.turn);
            self.runs.remove(&run);
        }
        Some(item)
    }

    /// About how many have their turn before the last one of a run.
    pub(super) fn before_last(&self, run: RunId) -> usize {
        let own = self.runs.get(&run).map_or(0, |line| line.waiting.len());
        self.waiting.min(own * self.runs.len()).saturating_sub(1)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
