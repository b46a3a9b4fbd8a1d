//! Equal questions under way at once: one is asked, all get its answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Questions under way, by what makes them equal.
pub(super) struct Flights<T> {
    under_way: Mutex<HashMap<String, watch::Receiver<Option<T>>>>,
}

/// What to do about a question that was joined.
pub(super) enum Joined<'a, T: Clone> {
    /// Answer it, for all who ask the same meanwhile.
    Leader(Leader<'a, T>),
    /// Wait for the answer.
    Follower(Follower<T>),
}

/// Has a question to answer. Dropping it without an answer leaves the question to one of those who wait.
pub(super) struct Leader<'a, T: Clone> {
    flights: &'a Flights<T>,
    key: String,
    answer: watch::Sender<Option<T>>,
}

/// Waits for the answer to a question.
pub(super) struct Follower<T>(watch::Receiver<Option<T>>);

impl<T> Default for Flights<T> {
    fn default() -> Flights<T> {
        Flights { under_way: Mutex::default() }
    }
}

impl<T: Clone> Flights<T> {
    /// Joins those who ask it, as their leader where nobody is.
    pub(super) fn join(&self, key: &str) -> Joined<'_, T> {
        match self.under_way().entry(key.to_owned()) {
            Entry::Occupied(flight) => Joined::Follower(Follower(flight.get().clone())),
            Entry::Vacant(place) => {
                let (answer, receiver) = watch::channel(None);
                place.insert(receiver);
                Joined::Leader(Leader { flights: self, key: key.to_owned(), answer })
            }
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<T>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Leader<'_, T> {
    /// Answers all who wait.
    pub(super) fn share(self, answer: T) {
        self.answer.send_replace(Some(answer));
    }
}

impl<T: Clone> Drop for Leader<'_, T> {
    fn drop(&mut self) {
        // Before the sender goes: who learns that the leader has left can lead.
        self.flights.under_way().remove(&self.key);
    }
}

impl<T: Clone> Follower<T> {
    /// The answer; none if the leader has left, and somebody else has to lead.
    pub(super) async fn answer(mut self) -> Option<T> {
        let shared = self.0.wait_for(Option::is_some).await.ok()?;
        shared.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader(flights: &Flights<u32>) -> Leader<'_, u32> {
        match flights.join("k") {
            Joined::Leader(leader) => leader,
            Joined::Follower(_) => panic!("somebody leads already"),
        }
    }

    fn follower(flights: &Flights<u32>) -> Follower<u32> {
        match flights.join("k") {
            Joined::Leader(_) => panic!("nobody leads"),
            Joined::Follower(follower) => follower,
        }
    }

    #[tokio::test]
    async fn all_get_the_answer_of_one() {
        let flights = Flights::default();
        let first = leader(&flights);
        let waiting = [follower(&flights), follower(&flights)];
        assert!(matches!(flights.join("other"), Joined::Leader(_)));
        first.share(7);
        let answers = futures_util::future::join_all(waiting.map(Follower::answer)).await;
        assert_eq!(answers, [Some(7), Some(7)]);
        drop(leader(&flights));
        assert!(flights.under_way().is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn one_who_leaves_hands_over() {
        let flights = Flights::default();
        let first = leader(&flights);
        let waiting = follower(&flights);
        drop(first);
        assert_eq!(waiting.answer().await, None);
        let second = leader(&flights);
        let waiting = follower(&flights);
        second.share(8);
        assert_eq!(waiting.answer().await, Some(8));
    }
}
