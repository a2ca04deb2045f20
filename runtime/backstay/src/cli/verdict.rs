//! What a cohort's rollout comes to: one word, and the number that `rollout status` and `rollout watch` end with.
//!
//! Not here: the decision. It was made by the server, and this only reads it.

use backstay_api::CohortView;
use backstay_model::Direction;

use crate::Exit;

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The cohort was never steered.
    Nothing,
    /// On its way.
    Underway,
    /// The last wave is reached, and stayed good for as long as the plan asks for: another rollout may start.
    Complete,
    /// Nobody starts anything; it can go on.
    Held,
    /// A person ended it where it was.
    Ended,
    /// Turned round; so many are still on the release.
    Home {
        /// Devices still on the release.
        left: u32,
    },
    /// Nothing moves until a person says more.
    Frozen,
}

impl Verdict {
    pub(crate) fn of(view: &CohortView) -> Self {
        let phase = |begins: &[&str]| begins.iter().any(|begins| view.phase.starts_with(begins));
        match view.direction {
            _ if view.rollout.is_none() => Self::Nothing,
            None => Self::Nothing,
            Some(Direction::Home) => Self::Home { left: view.confirmed.saturating_add(view.on_trial) },
            Some(Direction::Hold) if phase(&["ended", "aborted"]) => Self::Ended,
            Some(_) if view.frozen => Self::Frozen,
            Some(Direction::Hold) => Self::Held,
            Some(Direction::Forward) if phase(&["complete"]) => Self::Complete,
            Some(Direction::Forward) => Self::Underway,
        }
    }

    /// Whether a person who watches has seen all of it.
    pub(crate) const fn is_final(self) -> bool {
        match self {
            Self::Nothing | Self::Complete | Self::Ended | Self::Home { left: 0 } | Self::Frozen => true,
            Self::Underway | Self::Held | Self::Home { .. } => false,
        }
    }

    pub(crate) const fn exit(self) -> Exit {
        match self {
            Self::Underway | Self::Complete => Exit::Done,
            Self::Held => Exit::Slow,
            Self::Home { .. } => Exit::RollBack,
            Self::Frozen => Exit::Freeze,
            Self::Nothing | Self::Ended => Exit::NothingToDo,
        }
    }

    /// As a word, for people and for JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Underway => "proceed",
            Self::Complete => "complete",
            Self::Held => "held",
            Self::Ended => "ended",
            Self::Home { .. } => "roll-back",
            Self::Frozen => "freeze",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use backstay_model::{Channel, CohortId, Digest, Release, RolloutId, Version};

    use super::*;

    /// A cohort of 24 whose second wave is open.
    pub(crate) fn underway() -> CohortView {
        CohortView {
            cohort: CohortId::parse("canary").unwrap(),
            channel: Channel::Product,
            rollout: Some(RolloutId::parse("r-7").unwrap()),
            release: Some(Release {
                version: Version::parse("2.0.0").unwrap(),
                digest: Digest([0xab; 32]),
                length: 4096,
                security_epoch: 0,
            }),
            back: None,
            direction: Some(Direction::Forward),
            phase: "wave 2 of 4".into(),
            generation: 9,
            frozen: false,
            devices: 24,
            reached: 12,
            confirmed: 8,
            on_trial: 3,
            failed: 1,
            excluded: 0,
            breaker_ms: None,
        }
    }

    #[test]
    fn a_verdict_has_its_number() {
        let told = |change: fn(&mut CohortView)| {
            let mut view = underway();
            change(&mut view);
            let verdict = Verdict::of(&view);
            (verdict.word(), verdict.exit().code(), verdict.is_final())
        };
        assert_eq!(told(|_| ()), ("proceed", 0, false));
        assert_eq!(told(|view| view.rollout = None), ("nothing", 32, true));
        assert_eq!(told(|view| view.direction = Some(Direction::Hold)), ("held", 20, false));
        assert_eq!(told(|view| view.frozen = true), ("freeze", 23, true));
        assert_eq!(told(|view| view.direction = Some(Direction::Home)), ("roll-back", 22, false));
        let home = |view: &mut CohortView| {
            (view.direction, view.frozen, view.confirmed, view.on_trial) =
                (Some(Direction::Home), true, 0, 0);
        };
        assert_eq!(told(home), ("roll-back", 22, true));
        let all = |view: &mut CohortView| {
            (view.reached, view.confirmed, view.on_trial, view.excluded) = (24, 21, 0, 2);
        };
        assert_eq!(told(all), ("proceed", 0, false), "the last wave is watched for a while");
        assert_eq!(told(|view| view.phase = "complete".into()), ("complete", 0, true));
    }
}
