//! Why a person's or a build's wish is not carried out.

use alloc::boxed::Box;
use core::fmt;

use backstay_model::{Breaker, Cause, Digest, Mono, Release, RolloutId, Selector};

use super::{
    Cohort, Wish,
    helm::{Phase, Rollout},
    plan::PlanError,
};

/// The most policies of a rollout.
const POLICIES_MAX: usize = 8;
/// The most labels of a selector.
const LABELS_MAX: usize = 16;

/// Why a rollout is not begun. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// "the plan of rollout r-1 can't be followed"
    Plan {
        /// Which.
        rollout: RolloutId,
        /// What is wrong with it.
        source: PlanError,
    },
    /// "rollout r-1 names 9 policies, at most 8 are allowed"
    Policies {
        /// Which.
        rollout: RolloutId,
        /// How many.
        count: usize,
    },
    /// "rollout r-1 asks for 40 labels, at most 16 are allowed"
    Labels {
        /// Which.
        rollout: RolloutId,
        /// How many.
        count: usize,
    },
    /// "rollout r-1 leads back to the release that it leads to"
    NoWayHome {
        /// Which.
        rollout: RolloutId,
    },
    /// "release 2.0.0 (24bbaccc) may not be left for 1.3.0 (dab36c54)"
    NotAllowed {
        /// What would be left.
        release: Box<Release>,
        /// What it would be left for.
        back: Box<Release>,
    },
    /// "rollout r-1 was begun before"
    Used {
        /// Which.
        rollout: RolloutId,
    },
    /// "rollout r-1 is under way"
    UnderWay {
        /// Which.
        rollout: RolloutId,
    },
    /// "the cohort is frozen"
    Frozen {
        /// Why.
        why: Cause,
    },
    /// "the promotion breaker is open for 2700 s"
    BreakerOpen {
        /// For so much longer.
        left: backstay_model::Millis,
    },
    /// "the cohort was turned away from release 3f2a91bc"
    Quarantined {
        /// Which.
        release: Digest,
    },
}

impl StartError {
    /// The rail that refused, where it was one.
    #[must_use]
    pub fn rail(&self) -> Option<Cause> {
        match self {
            Self::Plan { .. } | Self::Policies { .. } | Self::Labels { .. } | Self::Used { .. } => None,
            Self::NoWayHome { .. } | Self::NotAllowed { .. } => Some(Cause::NoWayHome),
            Self::UnderWay { .. } => Some(Cause::Locked),
            Self::Frozen { why } => Some(why.clone()),
            Self::BreakerOpen { left } => Some(Cause::BreakerOpen { left: *left }),
            Self::Quarantined { .. } => Some(Cause::IsCondemned),
        }
    }

    /// What to do.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            Self::Plan { source, .. } => source.help(),
            Self::Policies { .. } | Self::Labels { .. } => None,
            Self::NoWayHome { .. } => Some("name the release that runs now as the way back, or none"),
            Self::NotAllowed { .. } => Some("name a release that its statement has as a way home"),
            Self::Used { .. } => Some("give the rollout a new name"),
            Self::UnderWay { .. } => Some("wait for it, or abort it"),
            Self::Frozen { .. } => Some("look at why; then resume the rollout, or thaw the cohort"),
            Self::BreakerOpen { .. } => Some("wait, or close the breaker by hand"),
            Self::Quarantined { .. } => Some("build a new release, or lift the quarantine by hand"),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan { rollout, .. } => write!(f, "the plan of rollout {rollout} can't be followed"),
            Self::Policies { rollout, count } => {
                write!(f, "rollout {rollout} names {count} policies, at most {POLICIES_MAX} are allowed")
            }
            Self::Labels { rollout, count } => {
                write!(f, "rollout {rollout} asks for {count} labels, at most {LABELS_MAX} are allowed")
            }
            Self::NoWayHome { rollout } => {
                write!(f, "rollout {rollout} leads back to the release that it leads to")
            }
            Self::NotAllowed { release, back } => write!(f, "release {release} may not be left for {back}"),
            Self::Used { rollout } => write!(f, "rollout {rollout} was begun before"),
            Self::UnderWay { rollout } => write!(f, "rollout {rollout} is under way"),
            Self::Frozen { why } => write!(f, "the cohort is frozen: {why}"),
            Self::BreakerOpen { left } => write!(f, "the promotion breaker is open for {left}"),
            Self::Quarantined { release } => {
                write!(f, "the cohort was turned away from release {}", release.short())
            }
        }
    }
}

impl core::error::Error for StartError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Plan { source, .. } => Some(source),
            Self::Policies { .. }
            | Self::Labels { .. }
            | Self::NoWayHome { .. }
            | Self::NotAllowed { .. }
            | Self::Used { .. }
            | Self::UnderWay { .. }
            | Self::Frozen { .. }
            | Self::BreakerOpen { .. }
            | Self::Quarantined { .. } => None,
        }
    }
}

/// Whether a start would begin something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Startable {
    /// It would.
    New,
    /// It began already: starting it twice is starting it once.
    Already,
}

/// Why a wish is not carried out. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishError {
    /// There is no rollout to do that with.
    NoRollout,
    /// It can be done only while a wave is open.
    NotForward,
    /// It can be done only while a rollout is held.
    NotHeld,
    /// Nothing is frozen.
    NotFrozen,
    /// The cohort is on its way home, and that rollout never goes forward again.
    GoesHome,
    /// The rollout has been ended.
    Ended,
    /// Nothing may go forward while the breaker is open.
    BreakerOpen,
    /// The breaker is closed.
    BreakerClosed,
    /// The release is not quarantined here.
    NotQuarantined,
}

impl fmt::Display for WishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRollout => "there is no rollout",
            Self::NotForward => "no wave is open",
            Self::NotHeld => "no rollout is held",
            Self::NotFrozen => "nothing is frozen",
            Self::GoesHome => "the cohort was turned round, and this rollout never goes forward again",
            Self::Ended => "the rollout has been ended",
            Self::BreakerOpen => "the promotion breaker is open",
            Self::BreakerClosed => "the promotion breaker is closed",
            Self::NotQuarantined => "the release is not quarantined in this cohort",
        })
    }
}

impl core::error::Error for WishError {}

impl WishError {
    /// What to do.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            Self::NotForward => Some("abort stops the devices that are still to come"),
            Self::GoesHome => Some("thaw the cohort and start a new rollout"),
            Self::BreakerOpen => Some("wait, or close the breaker by hand"),
            Self::NoRollout
            | Self::NotHeld
            | Self::NotFrozen
            | Self::Ended
            | Self::BreakerClosed
            | Self::NotQuarantined => None,
        }
    }
}

impl Cohort {
    /// Whether `rollout` may begin at `now`. [`super::CohortInput::Start`] asks the same and begins it.
    ///
    /// # Errors
    /// Why it may not.
    pub fn may_start(&self, now: Mono, rollout: &Rollout) -> Result<Startable, StartError> {
        let id = || rollout.rollout.clone();
        match &self.helm.phase {
            Phase::Forward(_) | Phase::Held(_) | Phase::Arrived(_)
                if self.helm.phase.course().is_some_and(|course| course.plan == *rollout) =>
            {
                return Ok(Startable::Already);
            }
            Phase::Forward(_) => {
                let under_way =
                    self.helm.phase.course().map_or_else(id, |course| course.plan.rollout.clone());
                return Err(StartError::UnderWay { rollout: under_way });
            }
            Phase::Idle | Phase::Held(_) | Phase::Arrived(_) | Phase::Ended(_) | Phase::Home(_) => {}
        }
        rollout.plan.check().map_err(|source| StartError::Plan { rollout: id(), source })?;
        let count = rollout.policies.len();
        if count > POLICIES_MAX {
            return Err(StartError::Policies { rollout: id(), count });
        }
        if let Selector::Labelled(labels) = &rollout.selector
            && labels.len() > LABELS_MAX
        {
            return Err(StartError::Labels { rollout: id(), count: labels.len() });
        }
        if rollout.back.as_ref().is_some_and(|back| back.digest == rollout.release.digest) {
            return Err(StartError::NoWayHome { rollout: id() });
        }
        if self.helm.begun.contains(&rollout.rollout) {
            return Err(StartError::Used { rollout: id() });
        }
        if let Some(why) = self.helm.phase.frozen() {
            return Err(StartError::Frozen { why: why.clone() });
        }
        if let Breaker::Open { left } = self.helm.breaker.at(now) {
            return Err(StartError::BreakerOpen { left });
        }
        if self.helm.quarantined.contains(&rollout.release.digest) {
            return Err(StartError::Quarantined { release: rollout.release.digest });
        }
        Ok(Startable::New)
    }

    /// Whether a wish can be carried out at `now`. [`super::CohortInput::Operator`] asks the same and does it.
    ///
    /// # Errors
    /// Why it can't.
    pub fn may(&self, now: Mono, wish: &Wish) -> Result<(), WishError> {
        let is_open = matches!(self.helm.breaker.at(now), Breaker::Open { .. });
        match (wish, &self.helm.phase) {
            (Wish::Lift(release), _) if self.helm.quarantined.contains(release) => Ok(()),
            (Wish::Lift(_), _) => Err(WishError::NotQuarantined),
            (Wish::CloseBreaker, _) if self.helm.breaker.at(now) == Breaker::Closed => {
                Err(WishError::BreakerClosed)
            }
            (Wish::CloseBreaker, _) => Ok(()),
            (Wish::Thaw, Phase::Home(home)) => {
                if home.freeze.is_some() {
                    Ok(())
                } else {
                    Err(WishError::NotFrozen)
                }
            }
            (Wish::Resume | Wish::Thaw, Phase::Held(_)) => {
                if is_open {
                    Err(WishError::BreakerOpen)
                } else {
                    Ok(())
                }
            }
            (Wish::Pause | Wish::Resume | Wish::Abort, Phase::Home(_)) => Err(WishError::GoesHome),
            (Wish::Pause | Wish::Resume | Wish::Abort | Wish::Rollback, Phase::Idle) => {
                Err(WishError::NoRollout)
            }
            (Wish::Pause | Wish::Abort, Phase::Forward(_) | Phase::Held(_)) => Ok(()),
            (Wish::Abort, Phase::Arrived(_)) => Ok(()),
            (Wish::Abort, Phase::Ended(_)) => Err(WishError::Ended),
            (Wish::Pause, Phase::Arrived(_) | Phase::Ended(_)) => Err(WishError::NotForward),
            (Wish::Resume, Phase::Forward(_) | Phase::Arrived(_) | Phase::Ended(_)) => {
                Err(WishError::NotHeld)
            }
            (Wish::Thaw, Phase::Idle | Phase::Forward(_) | Phase::Arrived(_) | Phase::Ended(_)) => {
                Err(WishError::NotFrozen)
            }
            // Home for those who are home already is the same message, so it is no mistake.
            (
                Wish::Rollback,
                Phase::Forward(_) | Phase::Held(_) | Phase::Arrived(_) | Phase::Ended(_) | Phase::Home(_),
            ) => Ok(()),
        }
    }
}
