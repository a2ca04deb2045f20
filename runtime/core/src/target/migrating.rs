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
    Mono, Name, Outcome, Rail, Reason, Release, TargetId, TargetStep, Task, Ticket, Transience,
};

use super::{Hold, Out, SharedData, Target, TargetEffect, running::Purpose};
use crate::{
    Brakes, GateMove, GateWish, SchemaGate, SchemaLook, Sight, Step, StepEnd,
    estate::Desk,
    migrations::{Migrations, told},
};

impl Target {
    /// The data base whose data this target's releases share.
    pub(super) fn shares(&self) -> Option<&TargetId> {
        match &self.settings.schema {
            Some(SharedData::Of(data)) => Some(data),
            Some(SharedData::Version(_)) | None => None,
        }
    }

    /// From now on its migration is the one that is set.
    pub(crate) fn plans(&mut self, desk: &mut Desk<'_>) {
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
        }
        self.looks(desk);
    }

    /// Its executor is asked what it sees, if it is one that looks.
    pub(super) fn looks(&self, desk: &mut Desk<'_>) {
        if self.settings.looks {
            desk.out.push(TargetEffect::Look { target: self.id.clone() });
        }
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
        let gate = migrations.gate(&self.id).ok_or(Rail::NoPlaybook)?;
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

    /// A person orders a step.
    pub(super) fn migrate(&mut self, now: Mono, wish: GateWish, desk: &mut Desk<'_>) {
        match self.may_migrate(now, wish, desk.migrations, desk.brakes) {
            Ok(GateMove::Run(_)) => desk.brakes.spend(now, &self.settings.domain),
            Ok(GateMove::Stands(_)) => {}
            Err(rail) => return self.tell(&format!("is kept where it is: {rail}"), desk),
        }
        self.steps(now, wish, desk);
    }

    /// A window was good: what was ordered and cut short goes on.
    pub(super) fn goes_on_migrating(&mut self, now: Mono, desk: &mut Desk<'_>) {
        let Some((wish, who)) = desk.migrations.wanted(&self.id).cloned() else { return };
        desk.by = Some(who);
        // The brakes let the order through when it was given.
        let kept = self.may_migrate(now, wish, desk.migrations, desk.brakes).err();
        match kept {
            None | Some(Rail::Brake { .. }) => self.steps(now, wish, desk),
            Some(_) => {}
        }
    }

    /// Does what is wanted.
    fn steps(&mut self, now: Mono, wish: GateWish, desk: &mut Desk<'_>) {
        let ticket = desk.ticket();
        let Some(migrating) = desk.migrations.get_mut(&self.id) else { return };
        migrating.wanted = desk.by.clone().map(|who| (wish, who));
        match migrating.gate.wish(now, ticket, wish) {
            Ok(GateMove::Run(step)) => {
                let task = Task::Heal { playbook: playbook(step) };
                self.begin_as(now, ticket, task, Purpose::Step { step }, 1, desk);
                if self.state.work.ticket() != Some(ticket)
                    && let Some(migrating) = desk.migrations.get_mut(&self.id)
                {
                    migrating.gate.ended(ticket, StepEnd::Failed);
                }
            }
            Ok(GateMove::Stands(phase)) => {
                migrating.wanted = None;
                self.tell(&format!("is {phase}"), desk);
            }
            Err(refusal) => {
                migrating.wanted = None;
                self.tell(&format!("is kept where it is: {}", told(&refusal)), desk);
            }
        }
    }

    /// The run of a step ended.
    pub(super) fn stepped(&mut self, ticket: Ticket, step: Step, outcome: Outcome, desk: &mut Desk<'_>) {
        let Some(migrating) = desk.migrations.get_mut(&self.id) else { return };
        let end = if outcome == Outcome::Done { StepEnd::Done } else { StepEnd::InDoubt };
        migrating.gate.ended(ticket, end);
        let phase = migrating.gate.phase();
        let for_good = matches!(outcome, Outcome::Failed { transience: Transience::Permanent, .. });
        if outcome == Outcome::Done || for_good {
            migrating.wanted = None;
        }
        match outcome {
            Outcome::Done => self.tell(&format!("{} is done: is {phase}", step.playbook()), desk),
            failed @ Outcome::Failed { .. } => {
                self.note(TargetStep::RunFailed { ticket, outcome: failed.clone(), again: None }, desk);
                if for_good {
                    self.page(Rail::RunFailed { outcome: failed }, desk);
                }
            }
        }
        self.looks(desk);
    }

    /// Its executor looked.
    pub(super) fn looked(&mut self, now: Mono, look: &SchemaLook, desk: &mut Desk<'_>) {
        let Some(migrating) = desk.migrations.get_mut(&self.id) else { return };
        let (known, before) = (migrating.gate.is_seen(), migrating.gate.phase());
        let Sight { settled, found } = migrating.gate.sees(look);
        let after = migrating.gate.phase();
        if let Some((step, done)) = settled {
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
        self.brought_in(&data, desk);
        if let Some(rail) = refused.filter(|_| is_seen) {
            self.hold(now, rail.clone(), desk);
            self.page(rail, desk);
        }
    }

    /// A release is about to be brought back by us.
    pub(super) fn brings_in(&self, release: &Release, desk: &mut Desk<'_>) -> Result<(), Rail> {
        let Some(data) = self.shares() else { return Ok(()) };
        let good = self.state.good.iter().find(|good| good.release.digest == release.digest);
        let range = good.and_then(|good| good.schema);
        desk.migrations.deploys(data, &release.version, range.as_ref())
    }

    /// What runs on the data may be something else now.
    pub(super) fn brought_in(&self, data: &TargetId, desk: &mut Desk<'_>) {
        if desk.migrations.deployed(data) {
            desk.out.push(TargetEffect::Look { target: data.clone() });
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
