//! A target that is a data base, step by step through its migration; and a service whose releases share the data of one.
//!
//! ```text
//!   a person orders a step -> the rails, the gate -> a run of the playbook with the step's name
//!     done -> the phase is the next one
//!     failed -> in doubt; a look settles it; a good window has it go on, unless it failed for good: then a person is told
//! ```
//!
//! Not here: what may follow what (`schema_gate`), and what a step does (an executor).

use alloc::{format, string::ToString};

use backstay_model::{
    Millis, Mono, Name, Outcome, Rail, Reason, Release, TargetId, TargetStep, Task, Ticket, Transience,
};

use super::{Hold, Out, SharedData, Target, TargetEffect, running::Purpose};
use crate::{
    Brakes, GateMove, GateWish, Ordered, Phase, SchemaGate, SchemaLook, Sight, Step, StepEnd,
    estate::Desk,
    migrations::{Migrations, told},
};

/// The playbook by which an executor is asked what it sees. It changes nothing, whatever the executor.
pub const LOOK: &str = "look";
/// A run of a step that worked for so long got on with it, however it ended.
const WORKED: Millis = Millis::from_secs(30);
/// Runs in a row that didn't, after which a person is told and nothing more is tried.
const TRIES_MAX: u32 = 5;
/// After so long nothing of a run that has ended is at work any more.
const AT_REST: Millis = Millis::from_secs(60);

impl Target {
    /// The data base whose data this target's releases share.
    pub(super) fn shares(&self) -> Option<&TargetId> {
        match &self.settings.schema {
            Some(SharedData::Of(data)) => Some(data),
            Some(SharedData::Version(_)) | None => None,
        }
    }

    /// It is watched from now on, or again: what was seen before says nothing of now.
    pub(crate) fn plans_anew(&mut self, now: Mono, desk: &mut Desk<'_>) {
        if let Some(migrating) = desk.migrations.get_mut(&self.id) {
            migrating.gate.forgets_looks();
        }
        self.plans(now, desk);
    }

    /// From now on its migration is the one that is set.
    pub(crate) fn plans(&mut self, now: Mono, desk: &mut Desk<'_>) {
        if let Some(migration) = self.settings.migration.clone()
            && !desk.migrations.plan(&self.id, &migration)
        {
            let what =
                "another plan was read, and the one that is under way goes on: it doesn't change on the way";
            self.tell(what, desk);
        }
        // A step whose run nobody knows of any more.
        let run = self.state.work.ticket();
        if let Some(migrating) = desk.migrations.get_mut(&self.id)
            && let Some(ticket) = migrating.gate.ticket().filter(|ticket| run != Some(*ticket))
            && !migrating.gate.is_in_doubt()
        {
            migrating.gate.ended(ticket, StepEnd::InDoubt);
            migrating.doubted = Some(now);
        }
        // Without a migration nothing waits for a look, and hundreds of targets are configured at once.
        if self.settings.migration.is_some() {
            self.looks(desk);
        }
    }

    /// Its executor is asked what it sees, if it is one that looks: something has just happened to it.
    pub(super) fn looks(&self, desk: &mut Desk<'_>) {
        if self.settings.looks {
            desk.out.push(TargetEffect::Look { target: self.id.clone() });
        }
    }

    /// What a person ordered of its migration isn't wanted any more.
    pub(super) fn unwants(&self, desk: &mut Desk<'_>) {
        if let Some(migrating) = desk.migrations.get_mut(&self.id) {
            migrating.wanted = None;
        }
    }

    /// Its gate, as long as a migration is configured for it.
    fn gate<'a>(&self, migrations: &'a Migrations) -> Option<&'a SchemaGate> {
        self.settings.migration.as_ref()?;
        migrations.gate(&self.id)
    }

    /// Whether a step may be ordered now, and what it is.
    ///
    /// # Errors
    /// What keeps it.
    pub(crate) fn may_migrate(
        &self,
        now: Mono,
        wish: GateWish,
        migrations: &Migrations,
        brakes: &Brakes,
    ) -> Result<GateMove, Rail> {
        let gate = self.gate(migrations).ok_or(Rail::NoPlaybook)?;
        let granted = gate.preview(now, wish).map_err(|refusal| told(&refusal))?;
        self.may_run(now)?;
        match (&self.state.hold, wish) {
            // The way back is open whatever it looks like, as long as no person said stop.
            (Hold::Free, _) | (Hold::Held { .. }, GateWish::Back) => {}
            (Hold::Held { rail, .. } | Hold::Frozen { rail, .. }, _) => return Err(rail.clone()),
        }
        brakes.admit(now, &self.settings.domain)?;
        Ok(granted)
    }

    /// A person orders a step. Whatever was wanted before isn't any more.
    pub(super) fn migrate(&mut self, now: Mono, wish: GateWish, desk: &mut Desk<'_>) {
        self.unwants(desk);
        match self.may_migrate(now, wish, desk.migrations, desk.brakes) {
            Ok(GateMove::Run(_)) => desk.brakes.spend(now, &self.settings.domain),
            Ok(GateMove::Stands(_)) => {}
            Err(rail) => return self.tell(&format!("is kept where it is: {rail}"), desk),
        }
        self.steps(now, wish, 0, desk);
    }

    /// A window was good: what was ordered and cut short goes on.
    pub(super) fn goes_on_migrating(&mut self, now: Mono, desk: &mut Desk<'_>) {
        let wanted = desk.migrations.get(&self.id).and_then(|migrating| migrating.wanted.clone());
        let Some(Ordered { wish, step, who, tries }) = wanted else { return };
        desk.by = Some(who);
        match self.may_migrate(now, wish, desk.migrations, desk.brakes) {
            // The brakes let it through when it was ordered.
            Ok(GateMove::Run(next)) if next == step => self.steps(now, wish, tries, desk),
            Ok(GateMove::Run(_) | GateMove::Stands(_)) => {
                self.unwants(desk);
                self.tell(&format!("{} isn't what comes next any more", step.playbook()), desk);
            }
            Err(_) => {}
        }
    }

    /// Does what is wanted.
    fn steps(&mut self, now: Mono, wish: GateWish, tries: u32, desk: &mut Desk<'_>) {
        let (ticket, who) = (desk.ticket(), desk.by.clone());
        let Some(migrating) = desk.migrations.get_mut(&self.id) else { return };
        match migrating.gate.wish(now, ticket, wish) {
            Ok(GateMove::Run(step)) => {
                // A contract is ordered each time anew: nothing leads back, and much may be seen meanwhile.
                let who = who.filter(|_| step != Step::Contract);
                migrating.wanted = who.map(|who| Ordered { wish, step, who, tries });
                let task = Task::Heal { playbook: playbook(step) };
                self.begin_as(now, ticket, task, Purpose::Step { step, begun: now }, 1, desk);
                if self.state.work.ticket() != Some(ticket)
                    && let Some(migrating) = desk.migrations.get_mut(&self.id)
                {
                    migrating.gate.ended(ticket, StepEnd::Failed);
                    migrating.wanted = None;
                }
            }
            Ok(GateMove::Stands(phase)) => self.tell(&format!("is {phase}"), desk),
            Err(refusal) => self.tell(&format!("is kept where it is: {}", told(&refusal)), desk),
        }
    }

    /// The run of a step ended.
    pub(super) fn stepped(
        &mut self,
        now: Mono,
        (ticket, step, begun): (Ticket, Step, Mono),
        outcome: Outcome,
        desk: &mut Desk<'_>,
    ) {
        let Some(migrating) = desk.migrations.get_mut(&self.id) else { return };
        let end = if outcome == Outcome::Done { StepEnd::Done } else { StepEnd::InDoubt };
        migrating.gate.ended(ticket, end);
        let phase = migrating.gate.phase();
        match outcome {
            Outcome::Done => {
                migrating.last = Some((step, true));
                // Old code wrote past it meanwhile: what was ordered isn't reached.
                let again = step == Step::Backfill && phase == Phase::DualWrite;
                migrating.wanted.take_if(|_| !again);
                let again = if again { ", and has to be done again" } else { "" };
                self.tell(&format!("{} is done{again}: is {phase}", step.playbook()), desk);
            }
            failed @ Outcome::Failed { .. } => {
                migrating.doubted = Some(now);
                self.step_failed(now, (ticket, begun), failed, desk);
            }
        }
        self.looks(desk);
    }

    fn step_failed(
        &mut self,
        now: Mono,
        (ticket, begun): (Ticket, Mono),
        failed: Outcome,
        desk: &mut Desk<'_>,
    ) {
        self.note(TargetStep::RunFailed { ticket, outcome: failed.clone(), again: None }, desk);
        let worked = (WORKED..self.settings.run_limit).contains(&now.since(begun));
        let for_good = matches!(failed, Outcome::Failed { transience: Transience::Permanent, .. });
        let migrating = desk.migrations.get_mut(&self.id);
        let wanted = migrating.and_then(|migrating| {
            let wanted = migrating.wanted.as_mut()?;
            wanted.tries = if worked { 0 } else { wanted.tries.saturating_add(1) };
            Some(wanted.tries)
        });
        // Without anything wanted it is a contract, or a person changed their mind.
        if for_good || wanted.is_none_or(|tries| tries >= TRIES_MAX) {
            self.unwants(desk);
            self.page(Rail::RunFailed { outcome: failed }, desk);
        }
    }

    /// Its executor looked.
    pub(super) fn looked(&mut self, now: Mono, look: &SchemaLook, desk: &mut Desk<'_>) {
        let Some(migrating) = desk.migrations.get_mut(&self.id) else { return };
        let (known, before) = (migrating.gate.is_seen(), migrating.gate.phase());
        let at_rest = migrating.doubted.is_none_or(|at| now.since(at) >= AT_REST);
        let Sight { settled, found } = migrating.gate.sees(look, at_rest);
        let after = migrating.gate.phase();
        if found.is_some() {
            migrating.wanted = None;
        }
        if let Some((step, done)) = settled {
            migrating.last = Some((step, done));
            if done {
                migrating.wanted = None;
            }
            let how = if done { "was done" } else { "was not done" };
            self.tell(&format!("{} {how}: is {after}", step.playbook()), desk);
            return;
        }
        match found {
            Some(phase) if known => {
                let why =
                    format!("somebody changed the schema past the gate: it was {before}, and is {phase}");
                let way_out = format!("look who did, then backstay thaw {}", self.id);
                self.freeze(now, Rail::Migration { why, way_out }, desk);
            }
            Some(phase) => self.tell(&format!("is {phase}, as was seen"), desk),
            None if before != after => self.tell(&format!("was {before}, is {after}"), desk),
            None => {}
        }
    }

    /// A pipeline let a release out on shared data. It is out already: if it can't live with the data, a person is told.
    pub(super) fn is_out_on_shared_data(&mut self, now: Mono, out: &Out, desk: &mut Desk<'_>) {
        let Some(data) = self.shares().cloned() else { return };
        let version = &out.release.version;
        let refused = desk.migrations.refusal(&data, version, out.schema.as_ref());
        // Before the first look nobody knows, and that is no reason to wake a person.
        let is_seen = desk.migrations.gate(&data).is_some_and(SchemaGate::is_seen);
        if let Some(migrating) = desk.migrations.get_mut(&data) {
            migrating.gate.found_deployed(out.schema.as_ref());
            desk.out.push(TargetEffect::Look { target: data });
        }
        if let Some(rail) = refused.filter(|_| is_seen) {
            self.hold(now, rail.clone(), desk);
            self.page(rail, desk);
        }
    }

    /// A release is about to be brought back by a run of ours.
    pub(super) fn brings_in(&self, run: Ticket, release: &Release, desk: &mut Desk<'_>) -> Result<(), Rail> {
        let Some(data) = self.shares() else { return Ok(()) };
        let good = self.state.good.iter().find(|good| good.release.digest == release.digest);
        let range = good.and_then(|good| good.schema);
        desk.migrations.deploys(run, data, &release.version, range.as_ref())
    }

    /// That run has ended. Which data it was about it says itself: the configuration may be another by now.
    pub(super) fn brought_in(&self, run: Ticket, desk: &mut Desk<'_>) {
        for data in desk.migrations.deployed(run) {
            desk.out.push(TargetEffect::Look { target: data });
        }
    }

    fn tell(&self, what: &str, desk: &mut Desk<'_>) {
        let what = Reason::new(what.to_string()).0;
        self.note(TargetStep::Migration { what }, desk);
    }
}

/// The playbook of a step.
fn playbook(step: Step) -> Name {
    Name::parse(step.playbook()).expect("it is a name")
}

#[cfg(test)]
mod stories;
