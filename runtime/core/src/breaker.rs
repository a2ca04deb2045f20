//! The promotion breaker: after a roll-back nothing is promoted for a while, and then only a little.
//!
//! Here: when it opens, when it lets a small stage through, when it closes. Not here: what a promotion is, and
//! writing it down (whoever owns the breaker records an opening before it takes effect).
//!
//! ```text
//!   Closed -- a roll-back --> Open -- its span is over --> HalfOpen
//!   HalfOpen -- the small stage was good --> Closed
//!   HalfOpen -- a roll-back --> Open
//! ```
//!
//! Only a good stage or a person closes it; time alone and a restart never do.

use backstay_model::{self as model, Mono};
use serde::{Deserialize, Serialize};

/// Whether anything may be promoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Breaker {
    /// As much as the plan says.
    #[default]
    Closed,
    /// Nothing.
    Open {
        /// Until then.
        until: Mono,
    },
    /// One stage of the smallest size.
    HalfOpen,
}

impl Breaker {
    /// Opens it for `span` from `now` on, and says until when. One that is open for longer already stays so.
    pub fn trip(&mut self, now: Mono, span: model::Millis) -> Mono {
        let until = match *self {
            Self::Open { until } => until.max(now.after(span)),
            Self::Closed | Self::HalfOpen => now.after(span),
        };
        *self = Self::Open { until };
        until
    }

    /// Closes it: a small stage was good, or a person said so.
    pub fn close(&mut self) {
        *self = Self::Closed;
    }

    /// Takes note of the time.
    pub fn wake(&mut self, now: Mono) {
        if let Self::Open { until } = *self
            && until <= now
        {
            *self = Self::HalfOpen;
        }
    }

    /// What it is at `now`, as a policy sees it.
    #[must_use]
    pub fn at(&self, now: Mono) -> model::Breaker {
        match *self {
            Self::Closed => model::Breaker::Closed,
            Self::Open { until } if now < until => model::Breaker::Open { left: until.since(now) },
            Self::Open { .. } | Self::HalfOpen => model::Breaker::HalfOpen,
        }
    }

    /// When [`Breaker::wake`] would change it.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        match *self {
            Self::Open { until } => Some(until),
            Self::Closed | Self::HalfOpen => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::Millis;

    use super::*;

    const SPAN: Millis = Millis::from_secs(2700);

    #[test]
    fn time_alone_never_closes_it() {
        let mut breaker = Breaker::default();
        let until = breaker.trip(Mono(5), SPAN);
        assert_eq!(breaker.at(Mono(5)), model::Breaker::Open { left: SPAN });
        breaker.wake(Mono(until.0 - 1));
        assert_eq!(breaker, Breaker::Open { until });
        breaker.wake(until);
        breaker.wake(Mono(u64::MAX));
        assert_eq!(breaker, Breaker::HalfOpen);
        assert_eq!(breaker.deadline(), None);
        breaker.close();
        assert_eq!(breaker, Breaker::Closed);
    }

    #[test]
    fn it_is_half_open_from_its_moment_on_even_if_nobody_woke_it() {
        let mut breaker = Breaker::default();
        let until = breaker.trip(Mono(0), SPAN);
        assert_eq!(breaker.at(until), model::Breaker::HalfOpen);
    }

    #[test]
    fn a_second_trip_never_shortens_the_first() {
        let mut breaker = Breaker::default();
        let until = breaker.trip(Mono(0), SPAN);
        assert_eq!(breaker.trip(Mono(1), Millis(1)), until);
        assert_eq!(breaker.trip(until, SPAN), until.after(SPAN));
    }
}
