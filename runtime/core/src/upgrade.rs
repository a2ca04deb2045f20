//! How a device follows steering of its plugins: to another bundle, on trial there, and back.
//!
//! Here: who is meant, what is fetched, when a bundle has the job, and when it is left. In `upgrade/seat`: which bundles a
//! device has for one job. Not here: when one policy may take over from another (`succession`), what may run here at all
//! (`trust`), and whom the server reaches when (`cohort`, which leads bundles as it leads releases).
//!
//! ```text
//!   Idle -- forward, meant, within reach --> Fetching -- here, may run --> Trial -- took over, soaked --> Confirmed (Idle)
//!   Fetching -- can't be had --> sits the rollout out     Trial -- refused, failed --> Condemned (Idle), the one before
//!   Trial, Confirmed -- home --> Left (Idle), the one before; that rollout never goes forward again
//! ```
//!
//! Home from a bundle is the one that had the job before: it is still there, and was accepted here. Where nothing could be
//! compared (an executor; a device without a policy), the bundle has the job as soon as it is here, and what it does
//! badly counts against it like against any plugin.

mod seat;
#[cfg(test)]
mod stories;

use alloc::{format, string::String, vec::Vec};

use backstay_model::{
    BootId, Cause, Compared, Digest, Direction, Event, Excluded, Generation, HandoverStep, Mono, PluginId,
    PluginReport, PluginRole, PluginUpgrade, Reach, Refused, Release, RolloutId, Standing, Steer, Ticket,
    Transience, UpgradeStep, Word,
};
use serde::{Deserialize, Serialize};

pub use self::seat::Bundle;
use self::seat::Seats;
use crate::{Backoff, Freshness, Identity, Rng, Steered, device::Wait, succession};

/// The most bundles that are remembered as condemned, and rollouts as turned round.
const REMEMBERED_MAX: usize = 32;

/// What comes in.
#[derive(Clone, Debug, PartialEq)]
pub enum UpgradeInput {
    /// The instance is up. Comes first, once.
    Up {
        /// Which boot of the machine.
        boot: BootId,
        /// The bundles of the configuration, by job; those that could be loaded.
        configured: Vec<(PluginRole, Bundle)>,
    },
    /// A bundle of [`Upgrade::wanted`] could not be loaded: it has to be had anew.
    Lost(Digest),
    /// The device was enrolled, or its labels changed.
    Enrolled(Identity),
    /// A verified steering message of the channel for plugins.
    Steered(Steered),
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
    /// A signed word for this device.
    Told(Word),
    /// The time of [`Upgrade::deadline`] has come.
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
    },
    /// It is here, may run, and does not: it refuses the settings, or fails at once.
    Unfit {
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
    /// Tell the server, if anybody listens: [`Upgrade::report_at`].
    Report,
}

type Effects = Vec<UpgradeEffect>;

/// Where an upgrade stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Nothing is under way.
    #[default]
    Idle,
    /// A bundle is on its way here.
    Fetching { ticket: Ticket, rollout: RolloutId, bundle: Release },
    /// A policy is asked beside the one that has the job, or decides and may still be sent back.
    Trial { role: PluginRole, bundle: Bundle },
}

/// A rollout that did not work out here, and when it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Setback {
    rollout: RolloutId,
    attempts: u32,
    wait: Wait,
}

/// A bundle that is not taken again by itself, and its grant where it came so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Condemned {
    bundle: Digest,
    grant: Option<Digest>,
}

/// How a device follows steering of its plugins. All of it is kept from one start to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    boot: BootId,
    identity: Option<Identity>,
    seats: Seats,
    steering: Option<Steer>,
    freshness: Freshness,
    least: Generation,
    phase: Phase,
    condemned: Vec<Condemned>,
    turned: Vec<RolloutId>,
    setback: Option<Setback>,
    held: bool,
    ticket: Ticket,
    reports: u64,
    rng: Rng,
}

/// How often a bundle that can't be had is tried in a rollout, and how far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// The most tries.
    pub attempts: u32,
    /// Between two.
    pub backoff: Backoff,
}

/// The bundles beside those of the configuration that are to be there at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that have a job or had it before, newest first.
    pub trusted: Vec<(PluginRole, Bundle)>,
    /// The one that is to take over.
    pub on_trial: Option<Bundle>,
}

impl Upgrade {
    /// Of a device that was never steered. `seed` is for the spreading of tries.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            boot: BootId::default(),
            identity: None,
            seats: Seats::default(),
            steering: None,
            freshness: Freshness::Expired,
            least: Generation(0),
            phase: Phase::Idle,
            condemned: Vec::new(),
            turned: Vec::new(),
            setback: None,
            held: false,
            ticket: Ticket(0),
            reports: 0,
            rng: Rng::new(seed),
        }
    }

    /// Steering of a lower generation is of the past, also where nothing else is remembered.
    pub fn remember(&mut self, generation: Generation) {
        self.least = self.least.max(generation);
    }

    /// The highest generation that was accepted.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.steering.as_ref().map_or(self.least, |steer| steer.generation.max(self.least))
    }

    /// What is to be loaded at the start, after [`UpgradeInput::Up`].
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let on_trial = match &self.phase {
            Phase::Trial { bundle, .. } => Some(bundle.clone()),
            Phase::Idle | Phase::Fetching { .. } => None,
        };
        Wanted { trusted: self.seats.taken(), on_trial }
    }

    /// The grant of a bundle that was condemned, if it came so far.
    #[must_use]
    pub fn grant_of(&self, bundle: &Digest) -> Option<Digest> {
        self.condemned.iter().find(|condemned| condemned.bundle == *bundle)?.grant
    }

    /// When [`UpgradeInput::Tick`] would change anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        match self.setback.as_ref()?.wait {
            Wait::Until(until) => Some(until),
            Wait::Over | Wait::ForGood => None,
        }
    }

    /// What the device says of its plugins, once it is enrolled and has one. `handover`: how far a candidate is.
    pub fn report_at(
        &mut self,
        now: Mono,
        journal: u64,
        handover: Option<succession::Standing>,
    ) -> Option<PluginReport> {
        let cohort = self.identity.as_ref()?.cohort.clone();
        let trusted = self.seats.trusted(self.role()).map(|bundle| bundle.release.clone());
        let (runs, standing) = match &self.phase {
            Phase::Trial { bundle, .. } => (Some(bundle.release.clone()), Standing::OnTrial),
            Phase::Fetching { .. } => (trusted.clone(), Standing::Installing),
            Phase::Idle if self.sits_out() => (trusted.clone(), Standing::Excluded),
            Phase::Idle => (trusted.clone(), Standing::Settled),
        };
        let (runs, trusted) = (runs?, trusted?);
        self.reports = self.reports.saturating_add(1);
        Some(PluginReport {
            sequence: self.reports,
            at: now,
            boot: self.boot,
            cohort,
            steered: self.steering.as_ref().map(|steer| (steer.rollout.clone(), steer.generation)),
            runs,
            trusted,
            standing,
            condemned: self.condemned.iter().map(|condemned| condemned.bundle).collect(),
            compared: handover.map(|handover| Compared {
                deciding: handover.deciding,
                windows: handover.windows,
                differed: handover.differed,
            }),
            journal,
        })
    }

    /// Takes one input at `now`, changes state, and says what is to be done, in order.
    pub fn step(&mut self, now: Mono, retries: &Retries, input: UpgradeInput) -> Vec<UpgradeEffect> {
        let mut out = Vec::new();
        match input {
            UpgradeInput::Up { boot, configured } => self.up(now, boot, configured, &mut out),
            UpgradeInput::Lost(bundle) => self.lost(&bundle),
            UpgradeInput::Enrolled(identity) => self.enrolled(identity, &mut out),
            UpgradeInput::Steered(steered) => self.steered(steered, &mut out),
            UpgradeInput::Fetched { ticket, fetched } => {
                self.fetched(now, retries, ticket, fetched, &mut out)
            }
            UpgradeInput::Handover { grant, step, goes_on } => self.moved(&grant, step, goes_on, &mut out),
            UpgradeInput::Quarantined { grant, why } => self.failed(&grant, &why, &mut out),
            UpgradeInput::Told(word) => self.told(word, &mut out),
            UpgradeInput::Tick => {}
        }
        if let Some(setback) = &mut self.setback
            && let Wait::Until(until) = setback.wait
            && until <= now
        {
            setback.wait = Wait::Over;
        }
        self.consider(&mut out);
        out
    }

    /// The job that is spoken of: that of the bundle which steering is about, where it has one.
    fn role(&self) -> PluginRole {
        let steered = self.steering.as_ref().and_then(|steer| self.seats.role_of(&steer.release.digest));
        match &self.phase {
            Phase::Trial { role, .. } => *role,
            Phase::Idle | Phase::Fetching { .. } => steered.unwrap_or(PluginRole::Policy),
        }
    }

    fn up(&mut self, now: Mono, boot: BootId, configured: Vec<(PluginRole, Bundle)>, out: &mut Effects) {
        self.boot = boot;
        // Reports are not recorded one by one: each start counts on from a number that none before it can have reached.
        let starts = (self.reports >> 32).saturating_add(1).max(now.0 / 1000);
        self.reports = starts << 32;
        for (left, to) in self.seats.configure(configured) {
            out.push(record(left, UpgradeStep::Left { to: Some(to), cause: Cause::Reconfigured }));
        }
        // What was on its way when the instance ended is asked for anew.
        if matches!(self.phase, Phase::Fetching { .. }) {
            self.phase = Phase::Idle;
        }
    }

    fn lost(&mut self, lost: &Digest) {
        self.seats.remove(lost);
        if matches!(&self.phase, Phase::Trial { bundle, .. } if bundle.release.digest == *lost) {
            self.phase = Phase::Idle;
        }
    }

    fn enrolled(&mut self, identity: Identity, out: &mut Effects) {
        let moved = self.identity.as_ref().is_some_and(|known| known.cohort != identity.cohort);
        if moved {
            self.steering = None;
        }
        self.identity = Some(identity);
        out.push(UpgradeEffect::Report);
    }

    fn steered(&mut self, Steered { steer, freshness, .. }: Steered, out: &mut Effects) {
        let Some(identity) = &self.identity else { return };
        let refuse = |why| {
            let what = format!("steering of plugins of {}", steer.cohort);
            UpgradeEffect::Refuse(Refused { what, why, count: 1 })
        };
        if steer.cohort != identity.cohort {
            return out.push(refuse(format!("this device belongs to {}", identity.cohort)));
        }
        let (generation, newest) = (steer.generation, self.generation());
        if generation < newest {
            return out.push(refuse(format!("generation {} is older than {}", generation.0, newest.0)));
        }
        if let Some(known) = self.steering.as_ref().filter(|known| known.generation == generation) {
            if *known == steer {
                // A reconnect delivers it again, or the server signed it afresh: that is no replay.
                self.freshness = freshness;
            } else {
                out.push(refuse(format!("another message already came as generation {}", generation.0)));
            }
            return;
        }
        let (rollout, direction, reach) = (steer.rollout.clone(), steer.direction, steer.reach);
        let step = UpgradeStep::Steered { rollout, generation, direction, reach };
        out.push(record(steer.release.clone(), step));
        if self.setback.as_ref().is_some_and(|setback| setback.rollout != steer.rollout) {
            self.setback = None;
        }
        if direction == Direction::Home {
            self.turn(&steer, out);
        }
        self.steering = Some(steer);
        self.freshness = freshness;
        out.push(UpgradeEffect::Report);
    }

    /// Leaves what nobody wants any more, and never follows that rollout forward again.
    fn turn(&mut self, steer: &Steer, out: &mut Effects) {
        self.turned.retain(|turned| *turned != steer.rollout);
        self.turned.insert(0, steer.rollout.clone());
        self.turned.truncate(REMEMBERED_MAX);
        let cause = Cause::Steering { rollout: steer.rollout.clone(), generation: steer.generation };
        self.leave(&steer.release.digest, cause, out);
    }

    /// Has the one before do the job of a bundle, wherever on its way that is.
    fn leave(&mut self, bundle: &Digest, cause: Cause, out: &mut Effects) {
        let on_trial = match core::mem::take(&mut self.phase) {
            Phase::Trial { role, bundle: tried } if tried.release.digest == *bundle => Some((role, tried)),
            // What is on its way is not waited for any more.
            Phase::Fetching { bundle: wanted, .. } if wanted.digest == *bundle => None,
            phase => {
                self.phase = phase;
                None
            }
        };
        let Some((role, left)) = on_trial.or_else(|| self.seats.remove(bundle)) else { return };
        let to = self.seats.trusted(role).map(|to| to.release.clone());
        out.push(record(left.release.clone(), UpgradeStep::Left { to, cause }));
        out.push(UpgradeEffect::Dismiss(left));
        out.push(UpgradeEffect::Report);
    }

    fn condemn(&mut self, bundle: &Release, grant: Option<Digest>, why: &str, out: &mut Effects) {
        self.condemned.retain(|condemned| condemned.bundle != bundle.digest);
        self.condemned.insert(0, Condemned { bundle: bundle.digest, grant });
        self.condemned.truncate(REMEMBERED_MAX);
        out.push(record(bundle.clone(), UpgradeStep::Condemned { why: why.into() }));
    }

    /// Begins what steering asks for, where nothing keeps this device from it.
    fn consider(&mut self, out: &mut Effects) {
        let Some(steer) = self.steering.clone().filter(|steer| self.is_wanted(steer)) else { return };
        match &self.phase {
            Phase::Fetching { bundle, .. } if *bundle == steer.release => return,
            Phase::Trial { bundle, .. } if bundle.release.digest == steer.release.digest => return,
            // Two at once have nobody to be compared with: the newer wish counts.
            Phase::Trial { bundle, .. } => {
                let tried = bundle.release.digest;
                let (rollout, generation) = (steer.rollout.clone(), steer.generation);
                self.leave(&tried, Cause::Steering { rollout, generation }, out);
            }
            Phase::Idle | Phase::Fetching { .. } => {}
        }
        self.ticket = Ticket(self.ticket.0.saturating_add(1));
        let (ticket, rollout, bundle) = (self.ticket, steer.rollout, steer.release);
        out.push(UpgradeEffect::Fetch { ticket, bundle: bundle.clone() });
        out.push(UpgradeEffect::Report);
        self.phase = Phase::Fetching { ticket, rollout, bundle };
    }

    fn is_wanted(&self, steer: &Steer) -> bool {
        let Some(identity) = &self.identity else { return false };
        let bundle = &steer.release.digest;
        steer.direction == Direction::Forward
            && self.freshness == Freshness::Fresh
            && steer.selector.means(&identity.labels)
            && Reach::to_hold(&steer.rollout, &identity.device) <= steer.reach
            && !steer.frozen
            && !self.held
            && !self.sits_out()
            && !self.turned.contains(&steer.rollout)
            && !self.condemned.iter().any(|condemned| condemned.bundle == *bundle)
            && !self.seats.has_job(bundle)
    }

    fn sits_out(&self) -> bool {
        let steered = self.steering.as_ref().map(|steer| &steer.rollout);
        self.setback
            .as_ref()
            .is_some_and(|setback| Some(&setback.rollout) == steered && setback.wait != Wait::Over)
    }

    fn fetched(&mut self, now: Mono, retries: &Retries, ticket: Ticket, fetched: Fetched, out: &mut Effects) {
        let (rollout, release) = match &self.phase {
            Phase::Fetching { ticket: open, rollout, bundle } if *open == ticket => {
                (rollout.clone(), bundle.clone())
            }
            Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. } => return,
        };
        self.phase = Phase::Idle;
        match fetched {
            // A hold or a turn came while it was on its way.
            Fetched::Ready { .. } | Fetched::Unfit { .. } if !self.is_still_wanted(&release) => {}
            Fetched::Ready { plugin, role, grant } => {
                self.try_out(plugin, role, Bundle { release, grant }, out)
            }
            Fetched::Unfit { why } => self.condemn(&release, None, &why, out),
            Fetched::Not { transience, why } => {
                self.set_back(now, retries, rollout, transience, Cause::NotVetted { why }, out);
            }
        }
        out.push(UpgradeEffect::Report);
    }

    fn is_still_wanted(&self, bundle: &Release) -> bool {
        self.steering.as_ref().is_some_and(|steer| steer.release == *bundle && self.is_wanted(steer))
    }

    fn try_out(&mut self, plugin: PluginId, role: PluginRole, bundle: Bundle, out: &mut Effects) {
        let back = self.seats.trusted(role).map(|back| back.release.clone());
        let can_be_compared = role == PluginRole::Policy && back.is_some();
        let step = UpgradeStep::TrialBegan { plugin, role, grant: bundle.grant, back };
        out.push(record(bundle.release.clone(), step));
        if can_be_compared {
            out.push(UpgradeEffect::Try(bundle.clone()));
            self.phase = Phase::Trial { role, bundle };
        } else {
            self.confirm(role, bundle, out);
        }
    }

    fn confirm(&mut self, role: PluginRole, bundle: Bundle, out: &mut Effects) {
        out.push(record(bundle.release.clone(), UpgradeStep::Confirmed));
        out.push(UpgradeEffect::Promote(bundle.clone()));
        out.extend(self.seats.take(role, bundle).map(UpgradeEffect::Dismiss));
        out.push(UpgradeEffect::Report);
    }

    fn moved(&mut self, grant: &Digest, step: HandoverStep, goes_on: bool, out: &mut Effects) {
        let (role, bundle) = match &self.phase {
            Phase::Trial { role, bundle } if bundle.grant == *grant => (*role, bundle.clone()),
            Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. } => return,
        };
        match step {
            HandoverStep::Refused { why, .. } => self.failed(grant, &why, out),
            HandoverStep::Settles { .. } | HandoverStep::TakesOver { .. } if !goes_on => {
                self.phase = Phase::Idle;
                self.confirm(role, bundle, out);
            }
            HandoverStep::Shadows { .. }
            | HandoverStep::Differs { .. }
            | HandoverStep::TakesOver { .. }
            | HandoverStep::Settles { .. } => out.push(UpgradeEffect::Report),
        }
    }

    /// A bundle that came by steering fails, on trial or later: it is condemned first, and then left.
    fn failed(&mut self, grant: &Digest, why: &str, out: &mut Effects) {
        let on_trial = match &self.phase {
            Phase::Trial { bundle, .. } if bundle.grant == *grant => Some(bundle.clone()),
            Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. } => None,
        };
        let Some(Bundle { release, grant }) = on_trial.or_else(|| self.seats.of_grant(grant)) else { return };
        self.condemn(&release, Some(grant), why, out);
        self.leave(&release.digest, Cause::IsCondemned, out);
    }

    fn told(&mut self, word: Word, out: &mut Effects) {
        match word {
            Word::Hold => self.held = true,
            Word::Thaw => {
                self.held = false;
                self.setback = None;
            }
            Word::Lift(digest) => {
                self.condemned.retain(|condemned| {
                    condemned.bundle != digest && condemned.grant.is_none_or(|grant| grant != digest)
                });
            }
        }
        out.push(UpgradeEffect::Report);
    }

    fn set_back(
        &mut self,
        now: Mono,
        retries: &Retries,
        rollout: RolloutId,
        transience: Transience,
        cause: Cause,
        out: &mut Effects,
    ) {
        let before = self.setback.as_ref().filter(|setback| setback.rollout == rollout);
        let attempts = before.map_or(0, |setback| setback.attempts).saturating_add(1);
        let until = match transience {
            Transience::Transient if attempts < retries.attempts => {
                Some(now.after(retries.backoff.wait(attempts, &mut self.rng)))
            }
            Transience::Transient | Transience::Permanent => None,
        };
        let excluded = Excluded { rollout: rollout.clone(), until, attempts, cause };
        out.push(UpgradeEffect::Record(Event::Excluded(excluded)));
        self.setback = Some(Setback { rollout, attempts, wait: until.map_or(Wait::ForGood, Wait::Until) });
    }
}

fn record(bundle: Release, step: UpgradeStep) -> UpgradeEffect {
    UpgradeEffect::Record(Event::Upgrade(PluginUpgrade { bundle, step }))
}
