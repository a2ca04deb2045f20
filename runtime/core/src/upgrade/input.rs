//! What goes into an upgrade of plugins, and what comes out.

use alloc::{boxed::Box, string::String, vec::Vec};

use backstay_model::{
    BootId, Digest, Event, HandoverStep, PluginId, PluginRole, Refused, Release, Ticket, Transience, Word,
};

use super::seat::Bundle;
use crate::{Identity, Steered};

/// What comes in.
#[derive(Clone, Debug, PartialEq)]
pub enum UpgradeInput {
    /// The instance is up. Comes first, once.
    Up {
        /// Which boot of the machine.
        boot: BootId,
        /// What the configuration has, job by job.
        configured: Vec<Configured>,
        /// Whether the device was told to start nothing.
        held: bool,
    },
    /// A bundle of [`crate::Upgrade::wanted`] could not be loaded: it has to be had anew.
    Lost(Digest),
    /// The device was enrolled, or its labels changed.
    Enrolled(Identity),
    /// A verified steering message of the channel for plugins.
    Steered(Box<Steered>),
    /// What came of [`UpgradeEffect::Fetch`].
    Fetched {
        /// The question.
        ticket: Ticket,
        /// What came.
        fetched: Fetched,
    },
    /// A candidate came a step nearer to taking over, or was sent back.
    Handover {
        /// Of its grant.
        grant: Digest,
        /// Which step.
        step: HandoverStep,
        /// Whether there is more to come before it has the job for good.
        goes_on: bool,
    },
    /// A plugin failed too often, or was revoked: it is not asked any more.
    Quarantined {
        /// Of its grant.
        grant: Digest,
        /// Why.
        why: String,
    },
    /// Nobody has the job any more that the bundle on trial is to take over: it can't be compared.
    Alone,
    /// Another keyring, or another revocation, is heeded.
    TrustChanged {
        /// The director's keys by now, by their digests.
        directors: Vec<Digest>,
    },
    /// A signed word for this device.
    Told(Word),
    /// The time of [`crate::Upgrade::deadline`] has come.
    Tick,
}

/// What came of fetching a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is here, and may run.
    Ready {
        /// The plugin in it.
        plugin: PluginId,
        /// What it is asked for.
        role: PluginRole,
        /// Of its grant.
        grant: Digest,
        /// Whether it can be compared: somebody has the job, and may be asked.
        rival: bool,
    },
    /// It is here, may run, and does not: it refuses the settings, or fails at once.
    Unfit {
        /// Of its grant, where it is known.
        grant: Option<Digest>,
        /// Why. At most 256 bytes.
        why: String,
    },
    /// It could not be had, or may not run here.
    Not {
        /// Whether asking again can help.
        transience: Transience,
        /// Why. At most 256 bytes.
        why: String,
    },
    /// Nobody waited for it any more, so it was not looked into.
    CalledOff,
}

/// What is wanted done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeEffect {
    /// Write it down; durable, with the state after the step, before anything that follows.
    Record(Event),
    /// Something came in that changed nothing: to be counted with all else that is refused.
    Refuse(Refused),
    /// Fetch this bundle, see whether it may run and does, and say so. Nothing of it is asked yet.
    Fetch {
        /// Ties the answer to it.
        ticket: Ticket,
        /// Version, digest and length of the bundle.
        bundle: Release,
    },
    /// Ask the policy that was fetched beside the one that has the job.
    Try(Bundle),
    /// Ask the plugin first from now on. Those that are there stay behind it.
    Promote(Bundle),
    /// Do not ask the plugin any more.
    Dismiss(Bundle),
    /// Tell the server, if anybody listens: [`crate::Upgrade::report_at`].
    Report,
}

/// What a configuration has for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The job.
    pub role: PluginRole,
    /// The digest of the bundle that it names, where that could be read.
    pub named: Option<Digest>,
    /// The first of its bundles that can be used.
    pub usable: Option<Bundle>,
}

/// The bundles beside those of the configuration that are to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that have a job or had it before, newest first.
    pub trusted: Vec<(PluginRole, Bundle)>,
    /// The one that is to take over.
    pub on_trial: Option<Bundle>,
    /// The one that is on its way here.
    pub fetched: Option<Digest>,
}
