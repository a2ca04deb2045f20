//! All that a device remembers, and the form in which it is kept.
//!
//! The state is kept in two pieces. [`DeviceState`] itself has the fields of the first version and no others, because an
//! older agent on the other slot reads it; what came later is its [`StateTail`], which is kept behind everything that the
//! first version has. A state without a tail is one of that version. Not here: the bytes (whoever keeps them).

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use backstay_model::{
    Action, BootId, Digest, Facts, Fence, Generation, Mono, Release, RolloutId, SlotStatus, Ticket, WayHome,
};
use serde::{Deserialize, Serialize};

use super::{
    input::Identity,
    phase::{Phase, Seeking},
    run::{Run, RunTail},
    second::Tenure,
    steering::Steering,
    stranded::Stranded,
};
use crate::{Budget, Heights, Ladder, Rng, Windows, setback::Setback};

/// The most digests that a device remembers having condemned, and rollouts that it was turned away from.
pub(super) const REMEMBERED_MAX: usize = 32;

/// What runs, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) release: Release,
    pub(super) way: WayHome,
}

/// A question to the policy that is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) ticket: Ticket,
    pub(super) facts: Facts,
}

/// What a policy said, or didn't, where nothing followed from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Idle {
    Answered(Action),
    Unanswered,
}

/// All that a device remembers. It goes into the journal with each record, and comes back from there.
///
/// What serde makes of it is the form of the first version; what that can't hold is in [`DeviceState::tail`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceState {
    pub(super) identity: Option<Identity>,
    pub(super) boot: BootId,
    pub(super) on: Running,
    pub(super) confirmed: Release,
    pub(super) other: Option<Release>,
    #[serde(serialize_with = "Phase::first_form")]
    pub(super) phase: Phase,
    /// When what runs was last started.
    pub(super) started: Mono,
    pub(super) windows: Windows,
    pub(super) asked: Option<Asked>,
    pub(super) idle: Option<Idle>,
    pub(super) ladder: Ladder,
    pub(super) budget: Budget,
    pub(super) steering: Option<Steering>,
    pub(super) least: Generation,
    pub(super) turned: Vec<RolloutId>,
    pub(super) ways: BTreeMap<Digest, WayHome>,
    pub(super) condemned: Vec<Digest>,
    pub(super) floor: u32,
    pub(super) setback: Option<Setback>,
    pub(super) told: u64,
    pub(super) held: bool,
    pub(super) refused: BTreeMap<String, u32>,
    /// In the first version's form its order alone.
    #[serde(serialize_with = "Run::first_form", deserialize_with = "Run::of_first_form")]
    pub(super) run: Option<Run>,
    pub(super) ticket: Ticket,
    pub(super) fence: Fence,
    pub(super) reports: u64,
    pub(super) rng: Rng,
    /// The release that passed its trial here before the one that is confirmed now.
    #[serde(skip)]
    pub(super) last_known_good: Option<Release>,
    /// There is nothing left to try for now.
    #[serde(skip)]
    pub(super) stranded: Option<Stranded>,
    /// Where the fleet is steered back to, as the release keys signed it: it is on its way in.
    #[serde(skip)]
    pub(super) sought: Option<Running>,
    /// How long what is confirmed has been so, and what was said about leaving it.
    #[serde(skip)]
    pub(super) tenure: Tenure,
    /// Who has said how far `least`, `told` and the steering are.
    #[serde(skip)]
    pub(super) heights: DeviceHeights,
}

/// How far was heard from whom. Kept beside the state and its tail, both of which older agents read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceHeights {
    /// Generations of steering.
    pub(super) steering: Heights,
    /// Sequences of words for this device alone.
    pub(super) words: Heights,
}

/// What a device remembers beyond what the first version of its state holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTail {
    run: Option<RunTail>,
    seeking: Option<Seeking>,
    stranded: Option<Stranded>,
    last_known_good: Option<Release>,
    sought: Option<Running>,
    tenure: Tenure,
}

impl DeviceState {
    /// Of a device that remembers nothing, up at `now`.
    pub(super) fn new(now: Mono, slots: &SlotStatus, seed: u64) -> Self {
        Self {
            identity: None,
            boot: BootId::default(),
            floor: slots.confirmed.security_epoch,
            on: Running { release: slots.booted.clone(), way: WayHome::default() },
            confirmed: slots.confirmed.clone(),
            other: slots.other.clone(),
            phase: Phase::Settled,
            started: now,
            windows: Windows::new(now),
            asked: None,
            idle: None,
            ladder: Ladder::default(),
            budget: Budget::default(),
            steering: None,
            least: Generation(0),
            turned: Vec::new(),
            ways: BTreeMap::new(),
            condemned: Vec::new(),
            setback: None,
            told: 0,
            held: false,
            refused: BTreeMap::new(),
            run: None,
            ticket: Ticket(0),
            fence: Fence(0),
            reports: 0,
            rng: Rng::new(seed),
            last_known_good: None,
            stranded: None,
            sought: None,
            tenure: Tenure::default(),
            heights: DeviceHeights::default(),
        }
    }

    /// Whether the device was told to start nothing.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// The grant of the executor that took the open run: nobody else goes on with it, so it is wanted for as long.
    #[must_use]
    pub fn run_taken_by(&self) -> Option<Digest> {
        self.run.as_ref().and_then(Run::taken_by)
    }

    /// What the first version's form of this state leaves out. Keep it with the state.
    #[must_use]
    pub fn tail(&self) -> StateTail {
        StateTail {
            run: self.run.as_ref().map(Run::tail),
            seeking: match &self.phase {
                Phase::Seeking(seeking) => Some(seeking.clone()),
                Phase::Settled
                | Phase::Vetting(_)
                | Phase::Installing(_)
                | Phase::Trial(_)
                | Phase::Confirming(_)
                | Phase::Healing(_)
                | Phase::Leaving(_)
                | Phase::Homing(_)
                | Phase::Frozen(_) => None,
            },
            stranded: self.stranded.clone(),
            last_known_good: self.last_known_good.clone(),
            sought: self.sought.clone(),
            tenure: self.tenure.clone(),
        }
    }

    /// This state, as it was read, with the tail that was kept with it.
    #[must_use]
    pub fn with_tail(mut self, tail: StateTail) -> Self {
        let StateTail { run, seeking, stranded, last_known_good, sought, tenure } = tail;
        if let (Some(open), Some(run)) = (&mut self.run, run) {
            open.take_tail(run);
        }
        if let Some(seeking) = seeking {
            self.phase = Phase::Seeking(seeking);
        }
        Self { stranded, last_known_good, sought, tenure, ..self }
    }

    /// How far was heard from whom. Keep it with the state.
    #[must_use]
    pub fn heights(&self) -> &DeviceHeights {
        &self.heights
    }

    /// This state, with the heights that were kept with it.
    #[must_use]
    pub fn with_heights(self, heights: DeviceHeights) -> Self {
        Self { heights, ..self }
    }

    pub(super) fn condemn(&mut self, digest: Digest) {
        self.condemned.retain(|condemned| *condemned != digest);
        self.condemned.insert(0, digest);
        self.condemned.truncate(REMEMBERED_MAX);
    }
}
