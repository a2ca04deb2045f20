//! What happened, told once. Log line, counter and evidence all come from these values.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    Action, BootId, Came, CohortId, Decision, DeviceId, Digest, Direction, Equipped, Facts, Fence,
    Generation, Handover, Memo, Millis, Mono, Name, Order, Outcome, Permille, PluginId, PluginUpgrade, Reach,
    Release, ResetCause, RolloutId, Ticket, Word,
};

/// Something that an instance saw, decided, or is about to do. New kinds are added at the end: the position
/// of a kind is its number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The instance is up.
    Started {
        /// Which boot.
        boot: BootId,
        /// What runs.
        booted: Release,
        /// What a restart would bring back.
        confirmed: Release,
    },
    /// A steering message was accepted.
    Steered {
        /// Which rollout.
        rollout: RolloutId,
        /// Which version of it.
        generation: Generation,
        /// Where to.
        direction: Direction,
        /// The release it is about.
        release: Release,
        /// How far.
        reach: Reach,
    },
    /// Something came in and changed nothing.
    Refused(Refused),
    /// A policy was asked.
    Asked {
        /// Ties the answer to it.
        ticket: Ticket,
        /// What it was shown.
        facts: Facts,
    },
    /// A policy answered.
    Decided {
        /// The question.
        ticket: Ticket,
        /// The answer.
        decision: Decision,
    },
    /// A policy did not answer: it trapped, ran out of time, or there is none.
    Unanswered {
        /// The question.
        ticket: Ticket,
        /// Why not. At most 256 bytes.
        why: String,
    },
    /// A rail kept a decision from being carried out.
    Restrained {
        /// What was wanted.
        wanted: Action,
        /// Which rail, and its numbers.
        rail: Cause,
    },
    /// A run is about to begin.
    Ordered {
        /// What for.
        order: Order,
        /// Why.
        cause: Cause,
    },
    /// A run ended.
    Ended {
        /// Which.
        ticket: Ticket,
        /// Its lock.
        fence: Fence,
        /// How.
        outcome: Outcome,
    },
    /// A release is on trial.
    TrialBegan {
        /// Which.
        release: Release,
        /// Where it goes if it fails.
        back: Release,
        /// How long it has to be healthy.
        needs: Millis,
    },
    /// A release passed its trial: this is the only event that may be read as "updated".
    Confirmed {
        /// Which.
        release: Release,
        /// In which boot.
        boot: BootId,
    },
    /// A release will not be run again by itself. Durable before the way home starts.
    Condemned {
        /// Which.
        release: Release,
        /// Why.
        cause: Cause,
    },
    /// The device is back on a release that it trusts.
    CameHome {
        /// Where it was.
        from: Release,
        /// Where it is.
        to: Release,
        /// From the decision to now.
        took: Millis,
        /// Who decided, and why.
        cause: Cause,
    },
    /// Nothing moves until somebody says more.
    Froze {
        /// Why.
        cause: Cause,
    },
    /// A freeze was lifted.
    Thawed {
        /// Why.
        cause: Cause,
    },
    /// A device sits a rollout out.
    Excluded(Excluded),
    /// A rung of the heal ladder did not help, the next try waits.
    Waits {
        /// Tries so far.
        attempts: u32,
        /// Until when.
        until: Mono,
    },
    /// Healthy again after healing.
    Cured {
        /// Tries that it took.
        attempts: u32,
    },
    /// A cohort's next wave is open.
    WaveOpened {
        /// Which rollout.
        rollout: RolloutId,
        /// Counted from 0.
        wave: u32,
        /// How much of the cohort.
        share: Permille,
        /// As steering says it.
        reach: Reach,
    },
    /// A cohort was turned round.
    Turned {
        /// Which.
        cohort: CohortId,
        /// Away from this rollout.
        rollout: RolloutId,
        /// Devices on the release when it was decided.
        on_release: u32,
        /// Why.
        cause: Cause,
    },
    /// A rollout reached everybody that it was meant for.
    Completed {
        /// Which.
        rollout: RolloutId,
        /// Devices that confirmed the release.
        confirmed: u32,
        /// Devices that sat it out.
        excluded: u32,
    },
    /// The promotion breaker opened.
    BreakerOpened {
        /// Until when.
        until: Mono,
    },
    /// The promotion breaker closed.
    BreakerClosed,
    /// A device was enrolled.
    Enrolled {
        /// Which.
        device: DeviceId,
        /// Where.
        cohort: CohortId,
        /// The digest of its public key.
        key: Digest,
    },
    /// An effect of a run is about to be done.
    EffectBegan {
        /// Which run.
        ticket: Ticket,
        /// Which of its effects, from 0.
        ordinal: u32,
        /// A summary for people: "slot stage 3f2a…". At most 256 bytes.
        what: String,
        /// Whether it can change anything.
        changes: bool,
    },
    /// How it ended.
    EffectEnded {
        /// Which run.
        ticket: Ticket,
        /// Which of its effects.
        ordinal: u32,
        /// The outcome as the plugin is given it, in the host's encoding. At most 4 KiB, or 32 KiB of fields of
        /// an endpoint's answer, and a few bytes.
        outcome: Vec<u8>,
    },
    /// A store could not do its work; the instance goes on.
    Degraded {
        /// What: "journal is on a read-only file system". At most 256 bytes.
        what: String,
    },
    /// A person did something by hand.
    Override {
        /// Who, as the token names them.
        who: Name,
        /// What. At most 256 bytes.
        what: String,
    },
    /// Records of the journal were lost; this says which.
    Gap {
        /// The last that is known to be good.
        after: u64,
        /// What was found. At most 256 bytes.
        why: String,
    },
    /// A signed word for this device was taken.
    Told {
        /// Its message.
        sequence: u64,
        /// What it says.
        word: Word,
    },
    /// A plugin failed too often and is no longer asked.
    Quarantined {
        /// Which.
        plugin: PluginId,
        /// Of its grant.
        grant: Digest,
        /// Failures in the span that counts.
        strikes: u32,
        /// The last of them. At most 256 bytes.
        why: String,
    },
    /// A plugin is ready to be called, configured like this. Said at each start, before the first call.
    Equipped(Equipped),
    /// The call that an answer to a question came from, with all that it takes to make it again.
    Consulted {
        /// The question.
        ticket: Ticket,
        /// Of the grant under which the policy ran.
        grant: Digest,
        /// What the policy remembered when it was asked.
        prior: Memo,
        /// What came of the call.
        came: Came,
    },
    /// An executor was called for a run. What it asks for is told by itself, after this.
    Stepped {
        /// Which run.
        ticket: Ticket,
        /// Of the grant under which the executor ran.
        grant: Digest,
        /// What came of the call.
        came: Came,
    },
    /// An executor took a run. It alone goes on with it, also after a restart.
    RunTaken {
        /// Which run.
        ticket: Ticket,
        /// Of the executor's grant.
        grant: Digest,
    },
    /// Everything was tried, and is tried again later. Nobody has to look, unlike with [`Event::Froze`].
    Stranded {
        /// Why.
        cause: Cause,
        /// When it begins anew.
        again: Mono,
    },
    /// A plugin came a step nearer to taking over from another, or was sent back.
    Handover(Handover),
    /// The process ended in the middle of a call of a plugin. Told after the restart; counts as a strike.
    BroughtDown {
        /// Which.
        plugin: PluginId,
        /// Of its grant.
        grant: Digest,
    },
    /// Another keyring or another revocation is heeded from now on.
    Trusts {
        /// The keyring's number.
        number: u64,
        /// The keyring's digest.
        keyring: Digest,
        /// The sequence of the revocation, if one is heeded.
        revocation: Option<u64>,
    },
    /// A device was steered to another plugin, or away from one.
    Upgrade(PluginUpgrade),
    /// Something happened to a target of the server. Devices have none, so they carry it as bytes that they can't read.
    /// It is a [`TargetEvent`](crate::TargetEvent) in the server's own form, at most 4 KiB.
    Target(Vec<u8>),
    /// The machine has started anew since this instance was last up.
    Reset {
        /// Which boot is on.
        boot: BootId,
        /// Why.
        cause: ResetCause,
        /// The starts that the release on trial has left, after what was given back; `None`: none is on trial.
        tries_left: Option<u8>,
    },
    /// The configuration of a release that was confirmed and is well was kept: what a restoration brings back.
    Captured {
        /// Which release.
        release: Release,
        /// So many files are restored.
        files: u32,
        /// Files that are left alone, and why. At most 256 bytes.
        left: String,
    },
}

impl Event {
    /// Whether it tells what came of this question to a policy.
    #[must_use]
    pub fn answers(&self, asked: Ticket) -> bool {
        matches!(self, Self::Decided { ticket, .. } | Self::Unanswered { ticket, .. } if *ticket == asked)
    }
}

/// Why something was done or was kept from being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// This instance's own policy said so.
    Policy {
        /// Its answer.
        decision: Decision,
    },
    /// The server steered.
    Steering {
        /// Which rollout.
        rollout: RolloutId,
        /// Which version of it.
        generation: Generation,
    },
    /// The trial ended without enough health.
    TrialFailed {
        /// How long it lasted.
        after: Millis,
    },
    /// The boot fell back before we ran: the release did not come up.
    FellBack,
    /// The heal ladder came to its end.
    LadderSpent {
        /// Tries.
        attempts: u32,
    },
    /// Nothing is known, and nothing is done on nothing.
    NoData,
    /// The policy did not answer.
    NoPolicy,
    /// The most switches in a span were reached.
    BudgetSpent {
        /// Switches in the span.
        switches: u32,
        /// The span.
        span: Millis,
    },
    /// The promotion breaker is open.
    BreakerOpen {
        /// For this much longer.
        left: Millis,
    },
    /// The release failed here before.
    IsCondemned,
    /// There is nowhere to go back to.
    NoWayHome,
    /// The security epoch would go down.
    EpochDown {
        /// The lowest that is allowed.
        floor: u32,
    },
    /// Another run holds the target.
    Locked,
    /// A run did not do what it was asked.
    RunFailed {
        /// Why.
        outcome: Outcome,
    },
    /// A person said so.
    Operator {
        /// Who.
        who: Name,
    },
    /// Too many of the cohort failed.
    CohortFailed {
        /// Failed devices.
        failed: u32,
        /// Of this many that tried.
        tried: u32,
    },
    /// Failure of something that this depends on.
    Dependency {
        /// Of this probe.
        probe: Name,
    },
    /// The release keys don't vouch for it, or not for this machine, or nobody could be asked.
    NotVetted {
        /// What was found. At most 256 bytes.
        why: String,
    },
    /// The configuration names another one.
    Reconfigured,
    /// What was kept of it can't be used any more.
    Lost,
}

/// Something that came in, was not believed or not understood, and changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What: the topic, or the file. At most 256 bytes.
    pub what: String,
    /// Why. At most 256 bytes.
    pub why: String,
    /// How many like it since the last such record; repeats are counted and not each written down.
    pub count: u32,
}

/// A device sits a rollout out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// Which rollout.
    pub rollout: RolloutId,
    /// Until when on its own clock; `None` is for good.
    pub until: Option<Mono>,
    /// Tries so far.
    pub attempts: u32,
    /// Why.
    pub cause: Cause,
}
