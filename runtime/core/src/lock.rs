//! One run at a time on one target, told apart by a number that only grows.
//!
//! Here: who may begin, for how long, and whose word is too late. Not here: the target itself, which compares
//! the number again with the largest that it has seen (a holder that slept past its time believes that it still
//! holds), and healing on a device by itself, which needs no lock.

use core::fmt;

use backstay_model::{Fence, Millis, Mono, Ticket};
use serde::{Deserialize, Serialize};

/// The lock on one target. It survives a restart with its holder: a restart never grants it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lock {
    /// Nobody holds it.
    Free {
        /// The number of who held it last; 0 if nobody ever did.
        last: Fence,
    },
    /// A run holds it.
    Held {
        /// The run's number.
        fence: Fence,
        /// Which run.
        ticket: Ticket,
        /// Until then; afterwards it counts as dead, and the next one gets a larger number.
        until: Mono,
    },
}

/// Another run holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Which.
    pub ticket: Ticket,
    /// For so much longer, unless it is renewed.
    pub left: Millis,
}

impl Locked {
    /// What to do.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        Some("wait for that run to end, or abort it")
    }
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} holds the target for {}", self.ticket, self.left)
    }
}

impl core::error::Error for Locked {}

/// The number is not the holder's: its time was over, or it gave the lock back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The number that came.
    pub fence: Fence,
    /// The newest that was granted.
    pub newest: Fence,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fencing number {} does not hold the target; the newest is {}", self.fence.0, self.newest.0)
    }
}

impl core::error::Error for Stale {}

impl Default for Lock {
    fn default() -> Self {
        Self::Free { last: Fence(0) }
    }
}

impl Lock {
    /// Takes the lock for `span`. The run that holds it already gets its own number again: asking twice is
    /// asking once.
    ///
    /// # Errors
    /// Another run holds it, and its time isn't over.
    pub fn take(&mut self, now: Mono, ticket: Ticket, span: Millis) -> Result<Fence, Locked> {
        if let Self::Held { fence, ticket: holder, until } = *self
            && now < until
        {
            if holder == ticket {
                return Ok(fence);
            }
            return Err(Locked { ticket: holder, left: until.since(now) });
        }
        let fence = Fence(self.newest().0.saturating_add(1));
        *self = Self::Held { fence, ticket, until: now.after(span) };
        Ok(fence)
    }

    /// Keeps the lock for `span` from `now` on.
    ///
    /// # Errors
    /// `fence` does not hold it, or its time was over: what was to be done next must not be done.
    pub fn renew(&mut self, now: Mono, fence: Fence, span: Millis) -> Result<(), Stale> {
        match self {
            Self::Held { fence: holder, until, .. } if *holder == fence && now < *until => {
                *until = now.after(span);
                Ok(())
            }
            Self::Held { .. } | Self::Free { .. } => Err(self.stale(fence)),
        }
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// `fence` does not hold it. Nothing changes.
    pub fn release(&mut self, fence: Fence) -> Result<(), Stale> {
        match *self {
            Self::Held { fence: holder, .. } if holder == fence => {
                *self = Self::Free { last: fence };
                Ok(())
            }
            Self::Held { .. } | Self::Free { .. } => Err(self.stale(fence)),
        }
    }

    /// Whether a step that carries `fence` may be done at `now`.
    #[must_use]
    pub fn admits(&self, now: Mono, fence: Fence) -> bool {
        matches!(*self, Self::Held { fence: holder, until, .. } if holder == fence && now < until)
    }

    /// The largest number that was granted.
    #[must_use]
    pub fn newest(&self) -> Fence {
        match *self {
            Self::Free { last } => last,
            Self::Held { fence, .. } => fence,
        }
    }

    /// Takes note of a number that was seen elsewhere, at the target or in a journal, after the own state was
    /// lost. Whoever holds the lock with a lower one has lost it.
    pub fn seen(&mut self, fence: Fence) {
        if fence > self.newest() {
            *self = Self::Free { last: fence };
        }
    }

    fn stale(&self, fence: Fence) -> Stale {
        Stale { fence, newest: self.newest() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Millis = Millis(1000);

    #[test]
    fn one_run_at_a_time_and_each_with_a_larger_number() {
        let mut lock = Lock::default();
        let first = lock.take(Mono(0), Ticket(1), SPAN).unwrap();
        assert_eq!(lock.take(Mono(10), Ticket(1), SPAN), Ok(first), "asking twice is asking once");
        let refused = lock.take(Mono(10), Ticket(2), SPAN).unwrap_err();
        assert_eq!(refused, Locked { ticket: Ticket(1), left: Millis(990) });
        lock.release(first).unwrap();
        let second = lock.take(Mono(20), Ticket(2), SPAN).unwrap();
        assert!(second > first);
        assert_eq!(lock.release(first), Err(Stale { fence: first, newest: second }));
        assert!(lock.admits(Mono(30), second) && !lock.admits(Mono(30), first));
    }

    #[test]
    fn a_dead_holder_loses_the_lock_and_comes_too_late() {
        let mut lock = Lock::default();
        let dead = lock.take(Mono(0), Ticket(1), SPAN).unwrap();
        assert!(!lock.admits(Mono(1000), dead));
        assert!(lock.renew(Mono(1000), dead, SPAN).is_err());
        let next = lock.take(Mono(1000), Ticket(2), SPAN).unwrap();
        assert!(next > dead && lock.renew(Mono(1001), dead, SPAN).is_err());
    }

    #[test]
    fn a_renewed_lock_is_kept() {
        let mut lock = Lock::default();
        let fence = lock.take(Mono(0), Ticket(1), SPAN).unwrap();
        lock.renew(Mono(900), fence, SPAN).unwrap();
        assert!(lock.admits(Mono(1899), fence) && lock.take(Mono(1899), Ticket(2), SPAN).is_err());
    }

    #[test]
    fn after_a_lost_state_numbers_go_on_from_the_largest_that_was_seen() {
        let mut lock = Lock::default();
        lock.seen(Fence(41));
        assert_eq!(lock.take(Mono(0), Ticket(1), SPAN), Ok(Fence(42)));
    }
}
