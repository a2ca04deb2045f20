//! How a device follows steering of its plugins: to another bundle, on trial there, and back.
//!
//! Here: who is meant, what is fetched, when a bundle has the job, and when it is left. In `upgrade/`: what goes in and comes out
//! (`input`), and which bundles a device has for one job (`seat`). Not here: when one policy may take over from another (`succession`), what may run here at all
//! (`trust`), and whom the server reaches when (`cohort`, which leads bundles as it leads releases).
//!
//! ```text
//!   Idle -- forward, meant, within reach --> Fetching -- here, may run --> Trial -- took over, soaked --> Confirmed (Idle)
//!   Fetching -- can't be had --> sits the rollout out     Trial -- refused, failed --> Condemned (Idle), the one before
//!   Trial, Confirmed -- home --> Left (Idle), the one before; that rollout never goes forward again
//! ```
//!
//! Home from a bundle is the one that had the job before: it is still there, and was accepted here. That is one step; further
//! back leads only what operators grant anew. Where nothing can be compared (an executor; a device without a policy that
//! may be asked), the bundle has the job as soon as it is here, and what it does badly counts against it like against any
//! plugin.

mod input;
mod seat;
#[cfg(test)]
mod stories;

use alloc::{format, vec::Vec};

use backstay_model::{
    BootId, Cause, Compared, Digest, Direction, Event, Excluded, Generation, HandoverStep, Millis, Mono,
    PluginId, PluginReport, PluginRole, PluginUpgrade, Reach, Refused, Release, RolloutId, Standing, Steer,
    Ticket, Transience, UpgradeStep, Word,
};
use serde::{Deserialize, Serialize};

use self::seat::Seats;
pub use self::{
    input::{Configured, Fetched, Retries, UpgradeEffect, UpgradeInput, Wanted},
    seat::Bundle,
};
use crate::{Allowance, Budget, Freshness, Identity, Rng, Steered, device::Wait, succession};

/// The most bundles that are remembered as condemned, and rollouts as turned round.
const REMEMBERED_MAX: usize = 32;
/// How many bundles a device fetches a day: one an hour, retries among them. Whoever steers without end wears out nobody's
/// flash.
const ALLOWANCE: Allowance = Allowance { switches: 24, span: Millis::from_secs(86_400) };

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
    budget: Budget,
    ticket: Ticket,
    reports: u64,
    rng: Rng,
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
            budget: Budget::default(),
            ticket: Ticket(0),
            reports: 0,
            rng: Rng::new(seed),
        }
    }

    /// Steering of a lower generation is of the past, also where nothing else is remembered.
    pub fn remember(&mut self, generation: Generation) {
        self.least = self.least.max(generation);
        // What was left behind long ago is not followed; what took its place comes again with the next connection.
        self.steering.take_if(|steer| steer.generation < generation);
    }

    /// The highest generation that was accepted.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.steering.as_ref().map_or(self.least, |steer| steer.generation.max(self.least))
    }

    /// What is to be there: at the start, after [`UpgradeInput::Up`], it is to be loaded; later the rest may go.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let (on_trial, fetched) = match &self.phase {
            Phase::Trial { bundle, .. } => (Some(bundle.clone()), None),
            Phase::Fetching { bundle, .. } => (None, Some(bundle.digest)),
            Phase::Idle => (None, None),
        };
        Wanted { trusted: self.seats.taken(), on_trial, fetched }
    }

    /// Whether a bundle is on trial.
    #[must_use]
    pub fn is_trying(&self) -> bool {
        matches!(self.phase, Phase::Trial { .. })
    }

    /// Whether what comes of a question is still waited for: else a bundle isn't even looked into.
    #[must_use]
    pub fn awaits(&self, question: Ticket) -> bool {
        match &self.phase {
            Phase::Fetching { ticket, bundle, .. } => *ticket == question && self.is_still_wanted(bundle),
            Phase::Idle | Phase::Trial { .. } => false,
        }
    }

    /// The grant of a bundle that was condemned, if it came so far.
    #[must_use]
    pub fn grant_of(&self, bundle: &Digest) -> Option<Digest> {
        self.condemned.iter().find(|condemned| condemned.bundle == *bundle)?.grant
    }

    /// When [`UpgradeInput::Tick`] would change anything.
    #[must_use]
    pub fn deadline(&self, now: Mono) -> Option<Mono> {
        let wanted = self.steering.as_ref().is_some_and(|steer| self.is_wanted(steer));
        let waits = self.budget.free_at(now, ALLOWANCE).filter(|_| wanted && self.phase == Phase::Idle);
        match self.setback.as_ref().map(|setback| setback.wait) {
            Some(Wait::Until(until)) => Some(until),
            Some(Wait::Over | Wait::ForGood) | None => waits,
        }
    }

    /// What the device says of its plugins, once it is enrolled. `handover`: how far a candidate is.
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
            UpgradeInput::Up { boot, configured, held } => {
                self.held = held;
                self.up(now, boot, configured, &mut out);
            }
            UpgradeInput::Lost(bundle) => self.leave(&bundle, Cause::Lost, &mut out),
            UpgradeInput::Enrolled(identity) => self.enrolled(identity, &mut out),
            UpgradeInput::Steered(steered) => self.steered(steered, &mut out),
            UpgradeInput::Fetched { ticket, fetched } => {
                self.fetched(now, retries, ticket, fetched, &mut out)
            }
            UpgradeInput::Handover { grant, step, goes_on } => self.moved(&grant, step, goes_on, &mut out),
            UpgradeInput::Quarantined { grant, why } => self.failed(&grant, &why, &mut out),
            UpgradeInput::Alone => self.alone(&mut out),
            // What wasn't to be trusted may be now.
            UpgradeInput::TrustChanged => self.setback = None,
            UpgradeInput::Told(word) => self.told(word, &mut out),
            UpgradeInput::Tick => {}
        }
        if let Some(setback) = &mut self.setback
            && let Wait::Until(until) = setback.wait
            && until <= now
        {
            setback.wait = Wait::Over;
        }
        self.consider(now, &mut out);
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

    fn up(&mut self, now: Mono, boot: BootId, configured: Vec<Configured>, out: &mut Effects) {
        self.boot = boot;
        // Reports are not recorded one by one: each start counts on from a number that none before it can have reached.
        let starts = (self.reports >> 32).saturating_add(1).max(now.0 / 1000);
        self.reports = starts << 32;
        let is_named = |digest: &Digest| configured.iter().any(|of| of.named.as_ref() == Some(digest));
        match &self.phase {
            // What was on its way when the instance ended is asked for anew.
            Phase::Fetching { .. } => self.phase = Phase::Idle,
            // What is on trial and has the job by now has nobody to take over from.
            Phase::Trial { bundle, .. } if is_named(&bundle.release.digest) => self.phase = Phase::Idle,
            Phase::Idle | Phase::Trial { .. } => {}
        }
        for (left, to) in self.seats.configure(configured) {
            // Somebody wants another one than steering does, and has said so later.
            let rollout = self.steering.as_ref().filter(|steer| steer.release.digest == left.digest);
            if let Some(rollout) = rollout.map(|steer| steer.rollout.clone()) {
                self.turn_from(rollout);
            }
            out.push(record(left, UpgradeStep::Left { to, cause: Cause::Reconfigured }));
        }
    }

    fn enrolled(&mut self, identity: Identity, out: &mut Effects) {
        let moved = self.identity.as_ref().is_some_and(|known| known.cohort != identity.cohort);
        if moved {
            // Generations are counted by cohort, so what one cohort was told says nothing in another.
            self.steering = None;
            self.least = Generation(0);
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
        self.turn_from(steer.rollout.clone());
        let bundle = &steer.release.digest;
        let cause = Cause::Steering { rollout: steer.rollout.clone(), generation: steer.generation };
        let is_tried =
            matches!(&self.phase, Phase::Trial { bundle: tried, .. } if tried.release.digest == *bundle);
        match self.seats.step_back(bundle) {
            _ if is_tried => self.leave(bundle, cause, out),
            Some(Ok(())) => self.leave(bundle, cause, out),
            // It is on its way here, or nowhere.
            None => self.call_off(bundle),
            // One step leads back, to what was granted and had the job: whoever steers leaves nobody without.
            Some(Err(why)) => {
                let what = format!("plugin {} is called home", steer.release);
                out.push(UpgradeEffect::Refuse(Refused { what, why: why.into(), count: 1 }));
            }
        }
    }

    fn turn_from(&mut self, rollout: RolloutId) {
        self.turned.retain(|turned| *turned != rollout);
        self.turned.insert(0, rollout);
        self.turned.truncate(REMEMBERED_MAX);
    }

    /// What is on its way is not waited for any more.
    fn call_off(&mut self, bundle: &Digest) {
        if matches!(&self.phase, Phase::Fetching { bundle: wanted, .. } if wanted.digest == *bundle) {
            self.phase = Phase::Idle;
        }
    }

    /// Has the one before do the job of a bundle, wherever on its way that is.
    fn leave(&mut self, bundle: &Digest, cause: Cause, out: &mut Effects) {
        self.call_off(bundle);
        let on_trial = match core::mem::take(&mut self.phase) {
            Phase::Trial { role, bundle: tried } if tried.release.digest == *bundle => Some((role, tried)),
            phase => {
                self.phase = phase;
                None
            }
        };
        let Some((role, left)) = on_trial.or_else(|| self.seats.remove(bundle)) else { return };
        let to = self.seats.trusted(role).map(|to| to.release.clone());
        out.push(record(left.release.clone(), UpgradeStep::Left { to, cause }));
        // What the configuration has is asked by that, too.
        if !self.seats.is_configured(&left.grant) {
            out.push(UpgradeEffect::Dismiss(left));
        }
        out.push(UpgradeEffect::Report);
    }

    fn condemn(&mut self, bundle: &Release, grant: Option<Digest>, why: &str, out: &mut Effects) {
        self.condemned.retain(|condemned| condemned.bundle != bundle.digest);
        self.condemned.insert(0, Condemned { bundle: bundle.digest, grant });
        self.condemned.truncate(REMEMBERED_MAX);
        out.push(record(bundle.clone(), UpgradeStep::Condemned { why: why.into() }));
    }

    /// Begins what steering asks for, where nothing keeps this device from it.
    fn consider(&mut self, now: Mono, out: &mut Effects) {
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
        if self.budget.check(now, ALLOWANCE).is_err() {
            // It is fetched when the oldest one is past.
            self.phase = Phase::Idle;
            return;
        }
        self.budget.spend(now);
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
            || self.gave_up_forward()
    }

    /// Steering asks for what the configuration was changed away from.
    fn gave_up_forward(&self) -> bool {
        let forward = self.steering.as_ref().filter(|steer| steer.direction == Direction::Forward);
        forward.is_some_and(|steer| self.turned.contains(&steer.rollout))
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
            Fetched::CalledOff => {}
            Fetched::Ready { .. } | Fetched::Unfit { .. } if !self.is_still_wanted(&release) => {}
            Fetched::Ready { plugin, role, grant, rival } => {
                self.try_out(plugin, role, Bundle { release, grant }, rival, out);
            }
            Fetched::Unfit { grant, why } => self.condemn(&release, grant, &why, out),
            Fetched::Not { transience, why } => {
                self.set_back(now, retries, rollout, transience, Cause::NotVetted { why }, out);
            }
        }
        out.push(UpgradeEffect::Report);
    }

    fn is_still_wanted(&self, bundle: &Release) -> bool {
        self.steering.as_ref().is_some_and(|steer| steer.release == *bundle && self.is_wanted(steer))
    }

    fn try_out(
        &mut self,
        plugin: PluginId,
        role: PluginRole,
        bundle: Bundle,
        rival: bool,
        out: &mut Effects,
    ) {
        let back = self.seats.trusted(role).map(|back| back.release.clone());
        let step = UpgradeStep::TrialBegan { plugin, role, grant: bundle.grant, back };
        out.push(record(bundle.release.clone(), step));
        if rival {
            out.push(UpgradeEffect::Try(bundle.clone()));
            self.phase = Phase::Trial { role, bundle };
        } else {
            self.confirm(role, bundle, out);
        }
    }

    /// To hold for ever is no better than one that could not be compared.
    fn alone(&mut self, out: &mut Effects) {
        match core::mem::take(&mut self.phase) {
            Phase::Trial { role, bundle } => self.confirm(role, bundle, out),
            phase @ (Phase::Idle | Phase::Fetching { .. }) => self.phase = phase,
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
