//! What the outside answers: fixed by the seed, the node and the attempt, whatever the order.

use super::random::Random;
use crate::error::{Code, Failure};
use crate::plan::{NodeIndex, Plan};

pub(super) struct World {
    pub(super) seed: u64,
    /// How many attempts in a hundred fail.
    failing: u64,
    /// How many effects in a hundred bring the process down.
    deadly: u64,
    /// When somebody asks for the run's end.
    pub(super) cancel_at: Option<u64>,
}

/// How a node comes out once all its attempts are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Last {
    Completed(Option<&'static str>),
    Failed,
}

impl World {
    pub(super) fn random(seed: u64, random: &mut Random) -> World {
        let failing = random.pick(&[0, 5, 10, 20, 35]);
        let cancel_at = random.percent(15).then(|| random.below(3_000));
        World { seed, failing, deadly: 0, cancel_at }
    }

    /// The same world, in which effects may crash the process.
    pub(super) fn deadly(&self) -> World {
        World { deadly: 8, ..*self }
    }

    pub(super) fn attempt(
        &self,
        node: NodeIndex,
        attempt: u32,
    ) -> Result<Option<&'static str>, Failure> {
        let mut random = Random::of(self.seed, [1, node.into(), attempt.into()]);
        if !random.percent(self.failing) {
            return Ok(random.pick(&[
                None,
                Some("true"),
                Some("true"),
                Some("true"),
                Some("false"),
            ]));
        }
        if random.percent(75) {
            let after_ms = random.percent(30).then(|| random.below(1_000));
            return Err(Failure::retryable(Code::Transport, "it does not answer", after_ms));
        }
        Err(Failure::fatal(Code::HttpStatus, "it refuses"))
    }

    /// How often the beginning of an effect brings the process down before it goes well.
    pub(super) fn crashes(&self, node: NodeIndex, attempt: u32) -> usize {
        let mut random = Random::of(self.seed, [2, node.into(), attempt.into()]);
        match random.percent(self.deadly) {
            true => random.pick(&[1, 3, 12, usize::MAX]),
            false => 0,
        }
    }

    pub(super) fn last(&self, plan: &Plan, node: NodeIndex) -> Last {
        let attempts = plan.nodes[node as usize].retry.attempts;
        for attempt in 1..=attempts {
            match self.attempt(node, attempt) {
                Ok(port) => return Last::Completed(port),
                Err(failure) if failure.class == crate::error::Class::Fatal => break,
                Err(_) => {}
            }
        }
        Last::Failed
    }
}
