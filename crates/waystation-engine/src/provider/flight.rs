//! Equal questions under way at once: one is asked, all get its answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Questions under way, by what makes them equal.
pub(super) struct Flights<T> {
    under_way: Mutex<HashMap<String, watch::Receiver<Option<T>>>>,
}

/// What to do about a question.
pub(super) enum Seat<'a, T: Clone> {
    /// Answer it, for all who ask the same meanwhile.
    Pilot(Pilot<'a, T>),
    /// Wait for the answer.
    Passenger(Passenger<T>),
}

/// Has a question to answer. Dropping it without an answer leaves the question to one of those who wait.
pub(super) struct Pilot<'a, T: Clone> {
    flights: &'a Flights<T>,
    key: String,
    answer: watch::Sender<Option<T>>,
}

/// Waits for the answer to a question.
pub(super) struct Passenger<T>(watch::Receiver<Option<T>>);

impl<T> Default for Flights<T> {
    fn default() -> Flights<T> {
        Flights { under_way: Mutex::default() }
    }
}

impl<T: Clone> Flights<T> {
    /// Takes a seat: the pilot's where nobody has it.
    pub(super) fn board(&self, key: &str) -> Seat<'_, T> {
        match self.under_way().entry(key.to_owned()) {
            Entry::Occupied(flight) => Seat::Passenger(Passenger(flight.get().clone())),
            Entry::Vacant(place) => {
                let (answer, receiver) = watch::channel(None);
                place.insert(receiver);
                Seat::Pilot(Pilot { flights: self, key: key.to_owned(), answer })
            }
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<T>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Pilot<'_, T> {
    /// Answers all who wait.
    pub(super) fn land(self, answer: T) {
        self.answer.send_replace(Some(answer));
    }
}

impl<T: Clone> Drop for Pilot<'_, T> {
    fn drop(&mut self) {
        // Before the sender goes: who learns that the pilot has left finds the seat free.
        self.flights.under_way().remove(&self.key);
    }
}

impl<T: Clone> Passenger<T> {
    /// The answer; none if the pilot has left, and somebody else has to take the seat.
    pub(super) async fn answer(mut self) -> Option<T> {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pilot(flights: &Flights<u32>) -> Pilot<'_, u32> {
        match flights.board("k") {
            Seat::Pilot(pilot) => pilot,
            Seat::Passenger(_) => panic!("the seat is taken"),
        }
    }

    fn passenger(flights: &Flights<u32>) -> Passenger<u32> {
        match flights.board("k") {
            Seat::Pilot(_) => panic!("the seat is free"),
            Seat::Passenger(passenger) => passenger,
        }
    }

    #[tokio::test]
    async fn all_get_the_answer_of_one() {
        let flights = Flights::default();
        let first = pilot(&flights);
        let waiting = [passenger(&flights), passenger(&flights)];
        assert!(matches!(flights.board("other"), Seat::Pilot(_)));
        first.land(7);
        let answers = futures_util::future::join_all(waiting.map(Passenger::answer)).await;
        assert_eq!(answers, [Some(7), Some(7)]);
        drop(pilot(&flights));
        assert!(flights.under_way().is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn one_who_leaves_hands_over() {
        let flights = Flights::default();
        let first = pilot(&flights);
        let waiting = passenger(&flights);
        drop(first);
        assert_eq!(waiting.answer().await, None);
        let second = pilot(&flights);
        let waiting = passenger(&flights);
        second.land(8);
        assert_eq!(waiting.answer().await, Some(8));
    }
}
