//! What no policy can switch off: each thing that would change a target passes here, or is told why not.

use backstay_model::{Action, Brake, How, Millis, Mono, Name, Rail, Release, TargetStep, Task};

use super::{Remedy, Target, running::Purpose};
use crate::{Allowance, Brakes, Budget, Climb, Migrations, Rung, estate::Desk};

/// Cures in [`RELAPSE_SPAN`] after which mending counts as not helping: the third time it is the fault that comes back.
const RELAPSES: Allowance = Allowance { switches: 3, span: RELAPSE_SPAN };
const RELAPSE_SPAN: Millis = Millis::from_secs(6 * 3600);

impl Target {
    /// Brings the release before back, if every rail lets it.
    pub(super) fn roll_back(&mut self, now: Mono, how: How, desk: &mut Desk<'_>) {
        self.is_no_home(desk);
        let wanted = Action::RollBack { how };
        if let Err(rail) = self.may_run(now) {
            self.restrain(wanted, rail, desk);
            return;
        }
        let (left, _, _) = self.judged_release();
        let home = match self.way_home(desk.migrations) {
            Ok(home) => home,
            Err(rail) => return self.stop(now, wanted, rail, desk),
        };
        if let Err(rail) = brake(now, &self.state.roll_backs, self.settings.roll_backs) {
            return self.stop(now, wanted, rail, desk);
        }
        if let Err(rail) = desk.brakes.admit(now, &self.settings.domain) {
            return self.stop(now, wanted, rail, desk);
        }
        self.goes_home(now, how, left, home, desk);
    }

    /// What a run would be begun for now; nothing is changed.
    ///
    /// # Errors
    /// The rail that would keep it.
    pub(crate) fn preview(
        &self,
        now: Mono,
        wanted: &Action,
        brakes: &Brakes,
        migrations: &Migrations,
    ) -> Result<Task, Rail> {
        self.may_run(now)?;
        let task = match wanted {
            Action::RollBack { .. } => {
                let release = self.way_home(migrations)?;
                brake(now, &self.state.roll_backs, self.settings.roll_backs)?;
                Task::GoHome { release }
            }
            Action::Heal { playbook } => {
                let playbook = self.next_playbook(now, playbook.as_ref())?;
                brake(now, &self.state.mends, self.settings.mends)?;
                Task::Heal { playbook }
            }
            Action::Proceed | Action::Slow { .. } | Action::Freeze | Action::Pause => {
                return Err(Rail::NoPlaybook);
            }
        };
        brakes.admit(now, &self.settings.domain).map(|()| task)
    }

    /// A playbook that is no rung to climb, and is what somebody names: it is done whatever the ladder has come to.
    pub(super) fn is_by_name_alone(&self, wanted: Option<&Name>) -> Option<Name> {
        let by_name = |rung: &&Rung| rung.attempts == 0 && Some(&rung.playbook) == wanted;
        self.settings.playbooks.iter().find(by_name).map(|rung| rung.playbook.clone())
    }

    /// What the ladder has to say to somebody who wants to mend.
    fn next_playbook(&self, now: Mono, wanted: Option<&Name>) -> Result<Name, Rail> {
        if let Some(playbook) = self.is_by_name_alone(wanted) {
            return Ok(playbook);
        }
        if self.settings.playbooks.iter().all(|rung| rung.attempts == 0) {
            return Err(Rail::NoPlaybook);
        }
        if self.state.cures.check(now, RELAPSES).is_err() {
            return Err(Rail::Relapses { times: RELAPSES.switches, span: RELAPSES.span });
        }
        match self.state.ladder.climb(now, &self.settings.playbooks, wanted) {
            Climb::Try(playbook) => Ok(playbook),
            Climb::Wait(until) => Err(Rail::Backoff { until }),
            Climb::Spent => Err(Rail::LadderSpent { attempts: self.state.ladder.attempts() }),
        }
    }

    fn goes_home(&mut self, now: Mono, how: How, left: Release, home: Release, desk: &mut Desk<'_>) {
        self.state.roll_backs.spend(now);
        desk.brakes.spend(now, &self.settings.domain);
        // Both are durable before the way home begins: whatever happens then, the bad one isn't let out again.
        self.quarantine(&left, desk);
        let until = self.state.breaker.trip(now, self.settings.breaker);
        self.note(TargetStep::BreakerOpened { until }, desk);
        self.remedied(Remedy::Left(left.clone()));
        let purpose = Purpose::Home { how, left, since: now };
        self.begin(now, Task::GoHome { release: home }, purpose, 1, desk);
    }

    /// Tries to mend it, if every rail lets it.
    pub(super) fn heal(&mut self, now: Mono, playbook: Option<Name>, desk: &mut Desk<'_>) {
        let wanted = Action::Heal { playbook: playbook.clone() };
        if let Err(rail) = self.may_run(now) {
            self.restrain(wanted, rail, desk);
            return;
        }
        let playbook = match self.next_playbook(now, playbook.as_ref()) {
            Ok(playbook) => playbook,
            Err(rail @ Rail::Backoff { .. }) => return self.restrain(wanted, rail, desk),
            Err(rail) => return self.stop(now, wanted, rail, desk),
        };
        if let Err(rail) = brake(now, &self.state.mends, self.settings.mends) {
            return self.stop(now, wanted, rail, desk);
        }
        if let Err(rail) = desk.brakes.admit(now, &self.settings.domain) {
            return self.stop(now, wanted, rail, desk);
        }
        self.mends(now, playbook, desk);
    }

    pub(super) fn mends(&mut self, now: Mono, playbook: Name, desk: &mut Desk<'_>) {
        self.state.mends.spend(now);
        desk.brakes.spend(now, &self.settings.domain);
        self.remedied(Remedy::Mended);
        self.begin(now, Task::Heal { playbook }, Purpose::Mend, 1, desk);
    }

    /// Whether any run may begin.
    pub(super) fn may_run(&self, now: Mono) -> Result<(), Rail> {
        if self.settings.mode == backstay_model::Mode::Observe {
            return Err(Rail::Observed);
        }
        if let Some(ticket) = self.state.work.ticket().filter(|_| self.state.work.changes()) {
            return Err(Rail::Locked { ticket });
        }
        if self.state.hold.forbids_runs() {
            return Err(Rail::Frozen);
        }
        match self.state.work.again() {
            Some(until) if until > now => Err(Rail::Backoff { until }),
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing is done now. What is wanted again with each window is told once.
    fn restrain(&mut self, wanted: Action, rail: Rail, desk: &mut Desk<'_>) {
        let told = (wanted, rail);
        let incident = self.state.incident.as_ref().map(|incident| incident.id);
        if desk.restrained.get(&self.id) != Some(&(incident, told.clone())) {
            let (wanted, rail) = told.clone();
            self.note(TargetStep::Restrained { wanted, rail }, desk);
            desk.restrained.insert(self.id.clone(), (incident, told));
        }
    }

    /// Nothing is done until a person has looked.
    fn stop(&mut self, now: Mono, wanted: Action, rail: Rail, desk: &mut Desk<'_>) {
        self.restrain(wanted, rail.clone(), desk);
        self.freeze(now, rail, desk);
    }
}

fn brake(now: Mono, budget: &Budget, allowance: Allowance) -> Result<(), Rail> {
    let over = |_| Rail::Brake { of: Brake::Target, changes: allowance.switches, span: allowance.span };
    budget.check(now, allowance).map_err(over)
}
