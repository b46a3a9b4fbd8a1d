//! A node's items: so many runs at once, in order, until all have ended or one may stop them.

use std::collections::BTreeSet;

use super::Action;
use crate::entry::{Body, ItemFailure};
use crate::plan::NodeIndex;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    count: u32,
    limit: u32,
    stops: bool,
    /// The item that begins next.
    next: u32,
    under_way: BTreeSet<u32>,
    /// An item has failed, and no other counts any more.
    is_stopped: bool,
}

impl State {
    pub(super) fn new(body: &Body) -> State {
        let items = body.items.value().and_then(|items| items.as_array().map(Vec::len));
        State {
            count: items.and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
            limit: body.limit.max(1),
            stops: body.on_failure == ItemFailure::Stop,
            next: 0,
            under_way: BTreeSet::new(),
            is_stopped: false,
        }
    }

    /// Begins as many items as there is room for, or asks for the end.
    pub(super) fn go_on(&mut self, of: (NodeIndex, u32), actions: &mut Vec<Action>) {
        while !self.is_over() && self.next < self.count && self.has_room() {
            actions.push(start(of, self.next));
            self.under_way.insert(self.next);
            self.next += 1;
        }
        if self.is_over() {
            actions.push(gather(of));
        }
    }

    /// Notes the end of an item; answers whether it was awaited. If it ends the whole, what else is under
    /// way has no meaning any more.
    pub(super) fn ended(
        &mut self,
        (node, item): (NodeIndex, u32),
        failed: bool,
        actions: &mut Vec<Action>,
    ) -> bool {
        if !self.under_way.remove(&item) {
            return false;
        }
        if failed && self.stops {
            self.is_stopped = true;
            if self.has_items_under_way() {
                self.under_way.clear();
                actions.push(Action::Cancel { node });
            }
        }
        true
    }

    pub(super) fn awaits(&self, item: u32) -> bool {
        self.under_way.contains(&item)
    }

    /// What is still to be done after a fold.
    pub(super) fn resume(&self, of: (NodeIndex, u32), actions: &mut Vec<Action>) {
        if self.is_over() {
            actions.push(gather(of));
        } else {
            actions.extend(self.under_way.iter().map(|item| start(of, *item)));
        }
    }

    pub(super) fn has_items_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < self.limit as usize
    }

    fn is_over(&self) -> bool {
        self.is_stopped || (self.next == self.count && self.under_way.is_empty())
    }
}

fn start((node, attempt): (NodeIndex, u32), item: u32) -> Action {
    Action::StartItem { node, attempt, item }
}

fn gather((node, attempt): (NodeIndex, u32)) -> Action {
    Action::Gather { node, attempt }
}
