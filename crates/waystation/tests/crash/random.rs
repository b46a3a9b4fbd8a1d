//! Chance that can be replayed: a number follows from a seed and the names of what it decides.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A source of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { seed, drawn: 0 }
    }

    /// A source of its own for something with a name, whatever else is drawn.
    pub(crate) fn of(&self, name: impl Hash) -> Random {
        Random::new(hash((self.seed, name)))
    }

    /// A number below a bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        hash((self.seed, self.drawn)) % bound
    }

    /// Whether something happens that does so in this many cases of a hundred.
    pub(crate) fn percent(&mut self, cases: u64) -> bool {
        self.below(100) < cases
    }
}

/// A seed that no earlier test had.
pub(crate) fn fresh_seed() -> u64 {
    hash(std::time::SystemTime::now()) % 1_000_000
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
