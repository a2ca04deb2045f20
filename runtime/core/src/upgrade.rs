//! How a device follows steering of its plugins: to another bundle, on trial there, and back.
//!
//! Here: who is meant, what is fetched, when a bundle has the job, and when it is left. In `upgrade/`: what goes in and comes
//! out (`input`), which bundles a device has for one job (`seat`), what steering leads to (`steering`), and a bundle on its way to
//! a job or away from it (`trial`). Not here: when one policy may take over from another (`succession`), what may run here at all
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
mod steering;
#[cfg(test)]
mod stories;
mod trial;

use alloc::{format, vec::Vec};

use backstay_model::{
    BootId, Cause, Compared, Digest, Event, Generation, Millis, Mono, PluginReport, PluginRole,
    PluginUpgrade, Refused, Release, RolloutId, Standing, Steer, Ticket, UpgradeStep, Word,
};
use serde::{Deserialize, Serialize};

use self::seat::Seats;
pub use self::{
    input::{Configured, Fetched, UpgradeEffect, UpgradeInput, Wanted},
    seat::Bundle,
};
use crate::{
    Allowance, Budget, Freshness, Heights, Identity, Rng,
    setback::{Retries, Setback},
    succession,
};

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
    /// Who has said how far `least` and the steering are. Kept beside, since older agents read the rest.
    #[serde(skip)]
    heights: Heights,
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
            heights: Heights::default(),
        }
    }

    /// Steering of a lower generation is of the past, also where nothing else is remembered.
    pub fn remember(&mut self, generation: Generation) {
        self.least = self.least.max(generation);
        // What was left behind long ago is not followed; what took its place comes again with the next connection.
        self.steering.take_if(|steer| steer.generation < generation);
    }

    /// How far was heard from whom. Keep it with the rest.
    #[must_use]
    pub fn heights(&self) -> &Heights {
        &self.heights
    }

    /// The same, with the heights that were kept with it.
    #[must_use]
    pub fn with_heights(self, heights: Heights) -> Self {
        Self { heights, ..self }
    }

    /// These are the keys that may steer by now. What another one has said binds nobody any more. Only refusals come of it.
    pub fn trust(&mut self, directors: &[Digest]) -> Vec<UpgradeEffect> {
        let known = self.generation().0;
        let newest = self.heights.trust(known, directors);
        if newest != known {
            self.least = Generation(newest);
        }
        self.steering.take_if(|steer| steer.generation.0 > newest);
        let why = format!(
            "generation {known} was signed with a key that is not trusted any more: it does not count"
        );
        let refused = Refused { what: "steering of plugins".into(), why, count: 1 };
        (newest < known).then_some(UpgradeEffect::Refuse(refused)).into_iter().collect()
    }

    /// The highest generation that was accepted.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.steering.as_ref().map_or(self.least, |steer| steer.generation.max(self.least))
    }

    /// The numbers of reports of so many starts are of the past.
    pub fn remember_starts(&mut self, starts: u32) {
        self.reports = self.reports.max(u64::from(starts) << 32);
    }

    /// How often it has started, as its reports are counted by it.
    #[must_use]
    pub fn starts(&self) -> u32 {
        u32::try_from(self.reports >> 32).unwrap_or(u32::MAX)
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
        let steer = self.steering.as_ref()?;
        let waits_for = |_: &Mono| self.phase == Phase::Idle && self.is_wanted(steer);
        let free = self.budget.free_at(now, ALLOWANCE).filter(waits_for);
        // Of another rollout it says nothing here.
        let setback = self.setback.as_ref().filter(|setback| setback.keeps_from(&steer.rollout));
        setback.and_then(Setback::until).or(free)
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
            UpgradeInput::Steered(steered) => self.steered(*steered, &mut out),
            UpgradeInput::Fetched { ticket, fetched } => {
                self.fetched(now, retries, ticket, fetched, &mut out)
            }
            UpgradeInput::Handover { grant, step, goes_on } => self.moved(&grant, step, goes_on, &mut out),
            UpgradeInput::Quarantined { grant, why } => self.failed(&grant, &why, &mut out),
            UpgradeInput::Alone => self.alone(&mut out),
            // What wasn't to be trusted may be now.
            UpgradeInput::TrustChanged { directors } => {
                self.setback = None;
                out.append(&mut self.trust(&directors));
            }
            UpgradeInput::Told(word) => self.told(word, &mut out),
            UpgradeInput::Tick => {}
        }
        if let Some(setback) = &mut self.setback {
            setback.wake(now);
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
            self.heights = Heights::default();
        }
        self.identity = Some(identity);
        out.push(UpgradeEffect::Report);
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
}

fn record(bundle: Release, step: UpgradeStep) -> UpgradeEffect {
    UpgradeEffect::Record(Event::Upgrade(PluginUpgrade { bundle, step }))
}
