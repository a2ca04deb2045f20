//! Where a rollout leads back to.
//!
//! A rollout knows where home is: what a person named, or else what the cohort was brought to last. Either only where
//! the release keys allow the way. Not here: what they allow (a release's statement says it, checked before it comes
//! here), and whether a device goes there: each looks for itself, and has its own last known good release besides.

use alloc::boxed::Box;

use backstay_model::{Digest, Release, RolloutId, WayHome};

use super::{Cohort, refusal::StartError};

/// What is known of a release that a rollout is to lead to.
#[derive(Clone, Copy, Debug)]
pub struct Leading<'a> {
    /// The rollout.
    pub rollout: &'a RolloutId,
    /// Where to.
    pub release: &'a Release,
    /// Where it may be left for, as its statement says.
    pub way: &'a WayHome,
}

impl Cohort {
    /// Where a rollout leads back to. `named`: what a person wants. Where nobody named anything, it is what the cohort
    /// was brought to last, if `is_here` says that it can be handed out; `None` leaves each device to its own last
    /// known good release.
    ///
    /// # Errors
    /// If what was named may not be gone back to: nobody wants to find that out when home is needed.
    pub fn way_back(
        &self,
        leading: Leading<'_>,
        named: Option<&Release>,
        is_here: impl Fn(&Digest) -> bool,
    ) -> Result<Option<Release>, StartError> {
        let Leading { rollout, release, way } = leading;
        let was_left = |back: &Release| self.helm.quarantined.contains(&back.digest);
        let Some(named) = named else {
            // Begun twice it is the same rollout, wherever the cohort was brought to meanwhile.
            let same = self.helm.phase.course().filter(|course| course.plan.rollout == *rollout);
            if let Some(same) = same {
                return Ok(same.plan.back.clone());
            }
            let fits = |back: &&Release| {
                back.digest != release.digest
                    && way.allows(&back.digest)
                    && !was_left(back)
                    && is_here(&back.digest)
            };
            return Ok(self.helm.settled.as_ref().filter(fits).cloned());
        };
        if named.digest == release.digest {
            return Err(StartError::NoWayHome { rollout: rollout.clone() });
        }
        if !way.allows(&named.digest) {
            return Err(StartError::NotAllowed {
                release: Box::new(release.clone()),
                back: Box::new(named.clone()),
            });
        }
        if was_left(named) {
            return Err(StartError::Quarantined { release: named.digest });
        }
        Ok(Some(named.clone()))
    }
}
