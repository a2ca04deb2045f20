//! How a device decides, as its configuration says it.

use alloc::vec::Vec;

use backstay_model::{Hardware, Millis};

use crate::{Allowance, Backoff, Rung, Watched};

/// How a device decides. From its configuration; a new one takes effect with the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSettings {
    /// What kind of machine this is.
    pub hardware: Hardware,
    /// The probes and what they count for. At most 32.
    pub watched: Vec<Watched>,
    /// How long a window is open.
    pub window: Millis,
    /// How long what runs may take to come up after a start. Until then a failed probe says nothing: nobody can
    /// answer yet.
    pub startup: Millis,
    /// How long a release has to be healthy before it is confirmed.
    pub trial: Millis,
    /// How long a trial may last in all; at least `trial` and a window more.
    pub trial_limit: Millis,
    /// How long a run may take. Then it is ended where it stands, the slots are looked at, and what follows begins.
    pub run_limit: Millis,
    /// How to mend what runs, first things first.
    pub ladder: Vec<Rung>,
    /// Between two tries of the ladder.
    pub heal_backoff: Backoff,
    /// Good windows in a row after which what was healed counts as cured.
    pub cured_after: u32,
    /// Between two tries of what failed for a passing reason. Where nothing is left to try, the device starts over no
    /// sooner than after its `cap`.
    pub retry_backoff: Backoff,
    /// How often such a thing is tried for one rollout, or one way home.
    pub retries: u32,
    /// How many switches of release in which span.
    pub allowance: Allowance,
    /// Over how long to spread before a confirmed release is left by the device's own decision.
    pub leave_jitter: Millis,
    /// How long a release has to have been confirmed, and do well, until steering sends it home only with a second
    /// signature by operators. `None`: one signature is always enough.
    pub second_after: Option<Millis>,
}
