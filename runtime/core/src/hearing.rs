//! Which steering message counts, and whom it means: of the product and of the plugins alike.
//!
//! Signatures were checked before anything comes here. Generations only grow, and a device works out from its own name
//! whether it is meant. Not here: what follows (`device`, `upgrade`).

use alloc::{format, string::String};

use backstay_model::{CohortId, Generation, Reach, Steer};

use crate::Identity;

/// How a message that counts stands to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is new.
    New,
    /// It is the same: a reconnect delivers it again, or the server signed it afresh. That is no replay.
    Again,
}

/// Whether a message counts in `cohort`, where nothing below `least` does, after the one that is `known`.
///
/// # Errors
/// Why it doesn't.
pub(crate) fn heed(
    steer: &Steer,
    cohort: &CohortId,
    least: Generation,
    known: Option<&Steer>,
) -> Result<Heard, String> {
    if steer.cohort != *cohort {
        return Err(format!("this device belongs to {cohort}"));
    }
    let newest = known.map_or(least, |known| known.generation.max(least));
    let generation = steer.generation.0;
    if steer.generation < newest {
        return Err(format!("generation {generation} is older than {}", newest.0));
    }
    match known.filter(|known| known.generation == steer.generation) {
        None => Ok(Heard::New),
        Some(known) if known == steer => Ok(Heard::Again),
        Some(_) => Err(format!("another message already came as generation {generation}")),
    }
}

/// Whether a message means this device, and reaches it.
pub(crate) fn reaches(steer: &Steer, identity: &Identity) -> bool {
    steer.selector.means(&identity.labels) && Reach::to_hold(&steer.rollout, &identity.device) <= steer.reach
}
