//! All targets of one server, and what holds them together: numbers that are given once, the storm brake, and what one
//! target tells of another.
//!
//! Here: which target an input is for, the budgets over all of them, and what is kept. Not here: what a target does with an
//! input (`target`), and what a pipeline is told (`advice`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use backstay_model::{
    Action, Brake, Digest, IncidentId, Mode, Mono, Name, Rail, TargetEvent, TargetId, TargetStep, Task,
    Ticket,
};
use serde::{Deserialize, Serialize};

use crate::{
    Agenda, Allowance, Budget, GateMove, GateWish, Rng, SchemaGate,
    migrations::Migrations,
    target::{Target, TargetEffect, TargetInput, TargetSettings, TargetState},
};

/// Tickets of targets begin here. A cohort counts its own from 1, and a journal has both.
const TICKETS_FROM: u64 = 1 << 32;

/// How many changes there may be, apart from what each target allows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowances {
    /// Of all targets.
    pub estate: Allowance,
    /// Of all targets of one failure domain.
    pub domain: Allowance,
}

/// The storm brake: what changes lately, over all targets and by failure domain.
#[derive(Clone, Debug)]
pub struct Brakes {
    allowances: Allowances,
    spent: Spent,
}

/// The changes lately, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    estate: Budget,
    domains: BTreeMap<Name, Budget>,
}

impl Brakes {
    /// Whether one more change is allowed in a domain.
    ///
    /// # Errors
    /// How many there were, and of what.
    pub(crate) fn admit(&self, now: Mono, domain: &Name) -> Result<(), Rail> {
        let over =
            |of: Brake, Allowance { switches, span }: Allowance| Rail::Brake { of, changes: switches, span };
        let Allowances { estate, domain: allowed } = self.allowances;
        self.spent.estate.check(now, estate).map_err(|_| over(Brake::Estate, estate))?;
        let lately = self.spent.domains.get(domain);
        lately.map_or(Ok(()), |lately| lately.check(now, allowed)).map_err(|_| over(Brake::Domain, allowed))
    }

    pub(crate) fn spend(&mut self, now: Mono, domain: &Name) {
        self.spent.estate.spend(now);
        self.spent.domains.entry(domain.clone()).or_default().spend(now);
    }
}

/// What a target works with while it takes an input.
pub(crate) struct Desk<'a> {
    pub(crate) out: &'a mut Vec<TargetEffect>,
    pub(crate) rng: &'a mut Rng,
    pub(crate) brakes: &'a mut Brakes,
    pub(crate) migrations: &'a mut Migrations,
    numbers: &'a mut Numbers,
    /// Who wants what is done now, if a person does.
    pub(crate) by: Option<Name>,
    /// Releases that were confirmed just now.
    pub(crate) confirmed: Vec<Digest>,
    pub(crate) restrained: &'a mut BTreeMap<TargetId, Told>,
    /// Whose executor was asked to hold something, and has not let go of it since.
    pub(crate) held: &'a mut BTreeSet<TargetId>,
    /// How the executor of each open run was set up when it took it.
    pub(crate) setups: &'a mut BTreeMap<Ticket, Digest>,
}

/// What a target was last kept from: the same again, in the same incident, isn't told again.
pub(crate) type Told = (Option<IncidentId>, (Action, Rail));

impl Desk<'_> {
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.numbers.tickets = self.numbers.tickets.saturating_add(1);
        Ticket(TICKETS_FROM.saturating_add(self.numbers.tickets))
    }

    pub(crate) fn incident(&mut self) -> IncidentId {
        self.numbers.incidents = self.numbers.incidents.saturating_add(1);
        IncidentId(self.numbers.incidents)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Numbers {
    tickets: u64,
    incidents: u64,
}

/// What is kept of all targets together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    numbers: Numbers,
    rng: Rng,
    spent: Spent,
}

impl Shared {
    /// As it is before anything happened. `seed` spreads what is tried again.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { numbers: Numbers::default(), rng: Rng::new(seed), spent: Spent::default() }
    }
}

/// All targets of one server.
#[derive(Clone, Debug)]
pub struct Estate {
    numbers: Numbers,
    rng: Rng,
    brakes: Brakes,
    migrations: Migrations,
    targets: BTreeMap<TargetId, Target>,
    agenda: Agenda<TargetId>,
    /// What is known of targets that the configuration doesn't name.
    strangers: BTreeMap<TargetId, TargetState>,
    restrained: BTreeMap<TargetId, Told>,
    held: BTreeSet<TargetId>,
    setups: BTreeMap<Ticket, Digest>,
}

impl Estate {
    /// Goes on from what was kept. Nothing is watched before it is configured.
    #[must_use]
    pub fn restore(
        shared: Shared,
        states: BTreeMap<TargetId, TargetState>,
        migrations: Migrations,
        allowances: Allowances,
    ) -> Self {
        let Shared { numbers, rng, spent } = shared;
        let brakes = Brakes { allowances, spent };
        let (targets, restrained, agenda) = (BTreeMap::new(), BTreeMap::new(), Agenda::default());
        let (held, setups, strangers) = (BTreeSet::new(), BTreeMap::new(), states);
        Self { numbers, rng, brakes, migrations, targets, agenda, strangers, restrained, held, setups }
    }

    /// The same, of which these were held.
    #[must_use]
    pub fn with_held(self, held: BTreeSet<TargetId>) -> Self {
        Self { held, ..self }
    }

    /// The same, of which these runs were taken by executors that were set up like this.
    #[must_use]
    pub fn with_setups(self, setups: BTreeMap<Ticket, Digest>) -> Self {
        Self { setups, ..self }
    }

    /// How the executor of each open run was set up when it took it, by the digest of what it was told. It is kept: set up in another
    /// way it may be about another object, and what it found out so far says nothing of that one. A run that isn't here was taken by
    /// a version that didn't keep it, or by nobody yet.
    #[must_use]
    pub fn setups(&self) -> &BTreeMap<Ticket, Digest> {
        &self.setups
    }

    /// Targets whose executor was asked to hold a release where it stands, and has not let go of it since. It is kept: whoever is
    /// taken out of the configuration meanwhile would stand for ever, and nobody would know.
    #[must_use]
    pub fn held(&self) -> &BTreeSet<TargetId> {
        &self.held
    }

    /// What is kept of all targets together.
    #[must_use]
    pub fn shared(&self) -> Shared {
        Shared { numbers: self.numbers, rng: self.rng.clone(), spent: self.brakes.spent.clone() }
    }

    /// What is kept of migrations.
    #[must_use]
    pub fn migrations(&self) -> &Migrations {
        &self.migrations
    }

    /// The gate of a target that is a data base on its way to another schema.
    #[must_use]
    pub fn gate(&self, id: &TargetId) -> Option<&SchemaGate> {
        self.target(id)?.settings().migration.as_ref()?;
        self.migrations.gate(id)
    }

    /// What is kept of each target, of those that aren't watched any more as well.
    pub fn states(&self) -> impl Iterator<Item = (&TargetId, &TargetState)> {
        self.targets.iter().map(|(id, target)| (id, target.state())).chain(&self.strangers)
    }

    /// A target that is watched.
    #[must_use]
    pub fn target(&self, id: &TargetId) -> Option<&Target> {
        self.targets.get(id)
    }

    /// All that are watched, by name.
    pub fn targets(&self) -> impl Iterator<Item = (&TargetId, &Target)> {
        self.targets.iter()
    }

    /// From now on these are watched, and nobody else. A run of a target that isn't named any more is let go of; what is known
    /// of it is kept for when it comes back. What is held and would never be let go of after this, a person is told of.
    pub fn configure(
        &mut self,
        now: Mono,
        allowances: Allowances,
        mut settings: BTreeMap<TargetId, TargetSettings>,
    ) -> Vec<TargetEffect> {
        self.brakes.allowances = allowances;
        let mut out = Vec::new();
        let note = |target: &TargetId, step| {
            TargetEffect::Note(TargetEvent { target: target.clone(), incident: None, step })
        };
        for (id, target) in core::mem::take(&mut self.targets) {
            match settings.remove(&id) {
                Some(new) => {
                    if new.mode != target.settings().mode {
                        out.push(note(&id, TargetStep::Watched { mode: new.mode }));
                    }
                    let mut target = target;
                    target.set(new);
                    self.targets.insert(id.clone(), target);
                    self.with(&id, &mut out, |target, desk| target.plans(now, desk));
                }
                None => {
                    self.targets.insert(id.clone(), target);
                    self.with(&id, &mut out, |target, desk| target.unwatched(now, desk));
                    out.push(note(&id, TargetStep::Unwatched));
                    self.agenda.set(&id, None);
                    if let Some(target) = self.targets.remove(&id) {
                        self.strangers.insert(id, target.state().clone());
                    }
                }
            }
        }
        for (id, settings) in settings {
            out.push(note(&id, TargetStep::Watched { mode: settings.mode }));
            let state = self.strangers.remove(&id).unwrap_or_default();
            self.targets.insert(id.clone(), Target::new(id.clone(), settings, state));
            self.with(&id, &mut out, |target, desk| {
                target.resume(now, desk);
                target.plans_anew(now, desk);
            });
        }
        self.tells_of_held(&mut out);
        out
    }

    /// Each is told of once: from then on it is a person's.
    fn tells_of_held(&mut self, out: &mut Vec<TargetEffect>) {
        let lets_go = |id: &TargetId| self.targets.get(id).is_some_and(Target::paces_what_is_out);
        let left: Vec<TargetId> = self.held.iter().filter(|id| !lets_go(id)).cloned().collect();
        for target in left {
            self.held.remove(&target);
            let (rail, incident) = (Rail::StillHeld, None);
            let step = TargetStep::Paged { rail: rail.clone() };
            out.push(TargetEffect::Note(TargetEvent { target: target.clone(), incident, step }));
            out.push(TargetEffect::Page { target, incident, rail });
        }
    }

    /// Takes one input for a target. One that isn't watched takes none.
    pub fn step(&mut self, now: Mono, id: &TargetId, input: TargetInput) -> Vec<TargetEffect> {
        let mut out = Vec::new();
        let confirmed = self.with(id, &mut out, |target, desk| target.step(now, input, desk));
        for digest in confirmed {
            let others: Vec<TargetId> = self.targets.keys().filter(|other| *other != id).cloned().collect();
            for other in others {
                let told = TargetInput::FineElsewhere(digest);
                self.with(&other, &mut out, |target, desk| target.step(now, told, desk));
            }
        }
        out
    }

    /// Does what the time asks for.
    pub fn tick(&mut self, now: Mono) -> Vec<TargetEffect> {
        let mut out = Vec::new();
        for id in self.agenda.due(now) {
            self.with(&id, &mut out, |target, desk| target.tick(now, desk));
        }
        out
    }

    /// The next moment at which [`Estate::tick`] would change anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.agenda.first()
    }

    /// How many changes of a domain count now, for tests that compare states.
    #[cfg(test)]
    pub(crate) fn shared_budget(&self, domain: &Name) -> usize {
        self.brakes.spent.domains.get(domain).map_or(0, Budget::len)
    }

    /// What a run would be begun for now, by what is wanted of a target; nothing is changed. `None`: it isn't watched.
    #[must_use]
    pub fn preview(&self, now: Mono, id: &TargetId, wanted: &Action) -> Option<Result<Task, Rail>> {
        self.target(id).map(|target| target.preview(now, wanted, &self.brakes, &self.migrations))
    }

    /// What a run would be for, whether it may begin now or not. `None`: there is no such task, or it isn't watched.
    #[must_use]
    pub fn task(&self, now: Mono, id: &TargetId, wanted: &Action) -> Option<Task> {
        self.target(id)?.task(now, wanted, &self.migrations)
    }

    /// What a step of a migration would be now; nothing is changed. `None`: it isn't watched.
    #[must_use]
    pub fn preview_step(&self, now: Mono, id: &TargetId, wish: GateWish) -> Option<Result<GateMove, Rail>> {
        self.target(id).map(|target| target.may_migrate(now, wish, &self.migrations, &self.brakes))
    }

    /// How many targets are watched, by what is done with what is decided.
    #[must_use]
    pub fn count(&self, mode: Mode) -> usize {
        self.targets.values().filter(|target| target.settings().mode == mode).count()
    }

    fn with(
        &mut self,
        id: &TargetId,
        out: &mut Vec<TargetEffect>,
        does: impl FnOnce(&mut Target, &mut Desk<'_>),
    ) -> Vec<Digest> {
        let Some(target) = self.targets.get_mut(id) else { return Vec::new() };
        let Self { numbers, rng, brakes, migrations, restrained, held, setups, agenda, .. } = self;
        let (by, confirmed) = (None, Vec::new());
        let mut desk =
            Desk { out, rng, brakes, migrations, numbers, by, confirmed, restrained, held, setups };
        does(target, &mut desk);
        agenda.set(id, target.deadline());
        desk.confirmed
    }
}
