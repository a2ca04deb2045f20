//! How long something is waited for, and how often it is looked at meanwhile.
//!
//! A plugin has no clock: what counts is the pauses, and a look takes its own time besides. Each look's answer stays in the run's
//! state, so there is a most of them, however long the wait: then the pauses are longer than `poll-ms` says.

use backstay_sdk::{
    executor::{Ctx, Failed},
    settings::Setting,
};

use crate::settings::{POLL, WAIT};

/// The first pause, in ms. Each one after it is twice as long, up to the longest.
const FIRST_PAUSE_MS: u64 = 10;
/// About so many looks fit into a wait, whatever is set.
const LOOKS_MAX: u64 = 128;

/// What is left of a wait.
#[derive(Clone, Debug)]
pub struct Patience {
    left: u64,
    pause: u64,
    longest: u64,
}

impl Patience {
    /// As long as the setting `wait-ms` says.
    #[must_use]
    pub fn new(config: &[Setting]) -> Self {
        Self::of(config, WAIT.count(config).into())
    }

    /// So many ms.
    #[must_use]
    pub fn of(config: &[Setting], ms: u64) -> Self {
        let longest = u64::from(POLL.count(config)).max(ms / LOOKS_MAX);
        Self { left: ms, pause: FIRST_PAUSE_MS, longest }
    }

    /// Waits a while; `false` where the time is over, and nothing was waited for.
    ///
    /// # Errors
    /// That the host doesn't wait.
    pub async fn wait(&mut self, ctx: &Ctx) -> Result<bool, Failed> {
        let Some(ms) = self.next() else { return Ok(false) };
        ctx.pause(ms).await?;
        Ok(true)
    }

    fn next(&mut self) -> Option<u64> {
        let ms = self.pause.min(self.longest).min(self.left);
        (self.left, self.pause) = (self.left - ms, self.pause.saturating_mul(2));
        (ms > 0).then_some(ms)
    }

    /// Begins with short pauses again: something has come about, and the next thing may be quick, too.
    pub fn refresh(&mut self) {
        self.pause = FIRST_PAUSE_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state of a run has room for so many looks, and not for one every two seconds of an hour.
    #[test]
    fn a_long_wait_has_no_more_looks_than_a_run_can_hold() {
        for ms in [1000, 300_000, 3_600_000] {
            let mut patience = Patience::of(&[], ms);
            let pauses: Vec<u64> = core::iter::from_fn(|| patience.next()).collect();
            assert_eq!(pauses.iter().sum::<u64>(), ms);
            assert!(pauses.len() <= 160, "{} looks in {ms} ms", pauses.len());
        }
    }
}
