//! There is nothing left to try for now: a device that is stranded goes on trying, slowly, and is afloat again when it is
//! cured, gets home, or is brought another release.
//!
//! That is another thing than *frozen*, where a person has to look and nothing moves until one has. Not here: the tries
//! themselves (`judging`, `homing`), which are the same as ever.

use backstay_model::{Cause, Event, Health, Mono};
use serde::{Deserialize, Serialize};

use super::{Device, Effect, Effects};

/// There is nothing left to try for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stranded {
    cause: Cause,
    /// When all of it is tried again.
    again: Mono,
    /// Good windows since.
    good: u32,
}

impl Device {
    /// Everything was tried, and is tried again later. Said at the end of each round.
    pub(super) fn strand(&mut self, now: Mono, cause: Cause, out: &mut Effects) -> Mono {
        let slowly = self.settings.retry_backoff.cap;
        // Between one and two of the longest waits, and not all of a fleet at once.
        let again = now.after(slowly).after(self.state.rng.span(slowly));
        let again = again.max(self.state.budget.free_at(now, self.settings.allowance).unwrap_or(again));
        out.push(Effect::Record(Event::Stranded { cause: cause.clone(), again }));
        self.state.stranded = Some(Stranded { cause, again, good: 0 });
        again
    }

    /// Whether nothing is to be tried yet.
    pub(super) fn rests(&self, now: Mono) -> bool {
        self.state.stranded.as_ref().is_some_and(|stranded| now < stranded.again)
    }

    /// It is stranded no more.
    pub(super) fn refloat(&mut self, out: &mut Effects) {
        if let Some(Stranded { cause, .. }) = self.state.stranded.take() {
            out.push(Effect::Record(Event::Thawed { cause }));
        }
    }

    /// Counts a window: what holds for a while is cured, unless it is to be left all the same.
    pub(super) fn count_stranded(&mut self, out: &mut Effects) {
        let good = self.health() == Health::Good && self.steered_home().is_none();
        let Some(stranded) = &mut self.state.stranded else { return };
        stranded.good = if good { stranded.good.saturating_add(1) } else { 0 };
        if stranded.good >= self.settings.cured_after {
            self.refloat(out);
        }
    }
}
