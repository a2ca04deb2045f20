//! What is under way on one connection: sent with a number, and not yet answered.
//!
//! Not here: what was under way on an earlier connection. That is forgotten, and the caller sends it again.

use std::{collections::VecDeque, time::Instant};

use crate::handle::Token;

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// A publish.
    Publish { token: Token },
    /// A subscription to these filters, by their place in the settings.
    Subscribe { filters: Vec<usize> },
}

#[derive(Debug)]
struct Carried {
    number: u16,
    at: Instant,
    load: Load,
}

#[derive(Debug)]
pub(crate) struct Flight {
    /// In the order in which they were sent.
    carried: VecDeque<Carried>,
    /// The number that was given last; 0 if none was.
    last: u16,
    publishes_max: usize,
}

impl Flight {
    pub(crate) fn new(publishes_max: u16) -> Self {
        Self { carried: VecDeque::new(), last: 0, publishes_max: publishes_max.into() }
    }

    /// Whether one more publish may be under way.
    pub(crate) fn has_room(&self) -> bool {
        // What is subscribed counts as well: it is at most a few packets, and has its turn before.
        self.carried.len() < self.publishes_max
    }

    /// The number of a packet that is sent now: 1 to 65535, and none that is under way.
    pub(crate) fn send(&mut self, load: Load, at: Instant) -> u16 {
        let mut number = self.last;
        loop {
            number = number.checked_add(1).unwrap_or(1);
            if self.carried.iter().all(|carried| carried.number != number) {
                break;
            }
        }
        self.last = number;
        self.carried.push_back(Carried { number, at, load });
        number
    }

    /// The broker answered packet `number`. `None`: nobody had asked.
    pub(crate) fn answered(&mut self, number: u16) -> Option<Load> {
        let place = self.carried.iter().position(|c| c.number == number)?;
        self.carried.remove(place).map(|carried| carried.load)
    }

    /// Since when the oldest waits.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.carried.front().map(|c| c.at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.carried.is_empty()
    }

    /// Nothing was read for a while, by our own fault: no answer counts as late before it is so from `now` on.
    pub(crate) fn excuse(&mut self, now: Instant) {
        for carried in &mut self.carried {
            carried.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(token: u64) -> Load {
        Load::Publish { token: Token(token) }
    }

    #[test]
    fn answers_find_what_they_answer_in_any_order() {
        let mut flight = Flight::new(3);
        let now = Instant::now();
        for token in 1..=3 {
            assert!(flight.has_room());
            assert_eq!(u64::from(flight.send(publish(token), now)), token);
        }
        assert!(!flight.has_room());
        assert_eq!(flight.answered(2), Some(publish(2)));
        assert_eq!(flight.answered(2), None, "a second answer answers nothing");
        assert_eq!(flight.answered(1), Some(publish(1)));
        assert!(flight.has_room());
        assert_eq!(flight.answered(3), Some(publish(3)));
        assert!(flight.is_empty());
    }

    /// One publish is never answered while all others are. Its number must not come round.
    #[test]
    fn a_number_that_is_still_out_is_not_used_again() {
        let mut flight = Flight::new(8);
        let now = Instant::now();
        assert_eq!(flight.send(publish(0), now), 1);
        let mut numbers = Vec::new();
        for token in 1..=u64::from(u16::MAX) {
            let number = flight.send(publish(token), now);
            assert_eq!(flight.answered(number), Some(publish(token)));
            numbers.push(number);
        }
        assert_eq!((numbers.first(), numbers.iter().min()), (Some(&2), Some(&2)));
        assert_eq!(numbers.last(), Some(&2), "after 65535 comes the first that is free");
        assert_eq!(flight.answered(1), Some(publish(0)));
    }
}
