//! What a person does with a target. Every one of it is written down with who and what for.

use alloc::{format, string::String};

use backstay_model::{Action, IncidentEnd, Mono, Name, Rail, Reason, TargetStep, Task};

use super::{Hold, Target, Wish};
use crate::{Breaker, Climb, GateWish, Migrations, estate::Desk};

impl Target {
    pub(super) fn operator(
        &mut self,
        now: Mono,
        who: &Name,
        reason: String,
        wish: Wish,
        desk: &mut Desk<'_>,
    ) {
        let what = match &wish {
            Wish::Freeze => "freeze".into(),
            Wish::Thaw => "thaw".into(),
            Wish::RollBack => "roll back".into(),
            Wish::Heal(playbook) => format!("heal by {playbook}"),
            Wish::CloseBreaker => "close the breaker".into(),
            Wish::Lift(digest) => format!("lift the quarantine of {}", digest.short()),
            Wish::Mark(id, label) => format!("mark incident {id} {label}"),
            Wish::Migrate(GateWish::Next) => "take the migration a step further".into(),
            Wish::Migrate(GateWish::Contract) => "contract".into(),
            Wish::Migrate(GateWish::Back) => "take the migration a step back".into(),
        };
        let what = Reason::new(format!("{what}: {reason}")).0;
        self.note(TargetStep::Override { who: who.clone(), what }, desk);
        desk.by = Some(who.clone());
        match wish {
            Wish::Freeze => {
                self.unwants(desk);
                let rail = Rail::Operator { who: who.clone() };
                self.state.hold = Hold::Frozen { rail: rail.clone(), since: now };
                self.note(TargetStep::Froze { rail }, desk);
                self.paces(now, desk);
            }
            Wish::Thaw => {
                self.unwants(desk);
                self.thaw(who, desk);
                // Who thaws has looked: what was undone before doesn't count any more.
                self.state.undone = None;
                self.closes(now, IncidentEnd::ByHand, desk);
                self.may_go_on(now, desk);
            }
            Wish::RollBack => {
                self.opens(now, &reason, desk);
                self.roll_back(now, self.how(), desk);
            }
            Wish::Heal(playbook) => {
                self.opens(now, &reason, desk);
                self.heal(now, Some(playbook), desk);
            }
            Wish::CloseBreaker => {
                if self.state.breaker != Breaker::Closed {
                    self.state.breaker.close();
                    self.note(TargetStep::BreakerClosed { who: Some(who.clone()) }, desk);
                }
            }
            Wish::Lift(digest) => {
                let at = self.state.quarantine.iter().position(|release| release.digest == digest);
                if let Some(at) = at {
                    let release = self.state.quarantine.remove(at);
                    self.state.undone.take_if(|undone| undone.digest == digest);
                    self.note(TargetStep::Lifted { release, who: who.clone(), reason }, desk);
                }
            }
            Wish::Migrate(wish) => self.migrate(now, wish, desk),
            Wish::Mark(id, label) => {
                if self.mark(id, label) {
                    self.note_about(id, TargetStep::Labelled { label, who: Some(who.clone()) }, desk);
                }
            }
        }
    }

    /// What a person may be told before they ask: whether a wish would change anything.
    #[must_use]
    pub fn heeds(&self, wish: &Wish) -> Option<&'static str> {
        match wish {
            Wish::Thaw if self.state.hold == Hold::Free && !self.may_stand() => Some("it is not frozen"),
            Wish::CloseBreaker if self.state.breaker == Breaker::Closed => Some("its breaker is closed"),
            Wish::Lift(digest) if !self.state.is_quarantined(digest) => {
                Some("no such release is in quarantine here")
            }
            Wish::Mark(id, _)
                if self.state.past.iter().all(|past| past.id != *id)
                    && self.state.incident.as_ref().is_none_or(|incident| incident.id != *id) =>
            {
                Some("there is no such incident here")
            }
            Wish::Heal(playbook) if self.settings.playbooks.iter().all(|rung| rung.playbook != *playbook) => {
                Some("no such playbook is configured for it")
            }
            Wish::Migrate(_) if self.settings.migration.is_none() => {
                Some("no migration is configured for it")
            }
            Wish::Freeze
            | Wish::Migrate(_)
            | Wish::Thaw
            | Wish::RollBack
            | Wish::Heal(_)
            | Wish::CloseBreaker
            | Wish::Lift(_)
            | Wish::Mark(..) => None,
        }
    }

    /// What a run would be for, whether it may begin now or not. `None`: there is no such task.
    pub(crate) fn task(&self, now: Mono, wanted: &Action, migrations: &Migrations) -> Option<Task> {
        match wanted {
            Action::RollBack { .. } => self.way_home(migrations).ok().map(|release| Task::GoHome { release }),
            Action::Heal { playbook } => {
                if let Some(playbook) = self.is_by_name_alone(playbook.as_ref()) {
                    return Some(Task::Heal { playbook });
                }
                match self.state.ladder.climb(now, &self.settings.playbooks, playbook.as_ref()) {
                    Climb::Try(playbook) => Some(Task::Heal { playbook }),
                    Climb::Wait(_) | Climb::Spent => None,
                }
            }
            Action::Proceed | Action::Slow { .. } | Action::Freeze | Action::Pause => None,
        }
    }
}
