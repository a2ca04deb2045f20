//! `backstay plan`: what an order to a target would do, without doing it.

use backstay_api::DryRunView;
use backstay_model::{Name, TargetId};
use clap::{Args, ValueEnum};

use crate::{Desk, Exit, Failure, table::Table};

/// Show what an order to a target would do, without doing it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  backstay plan checkout rollback\n  backstay plan checkout heal --playbook restart\n  \
    backstay plan pumps-db migrate-next\n\n\
    What only looks is done. What would change something is shown, and taken to go well. Nothing is written down."
)]
pub(crate) struct Plan {
    /// Which target
    service: TargetId,
    /// What is to be done
    action: Planned,
    /// With heal: which of its playbooks; the ladder's next if it is left out
    #[arg(long)]
    playbook: Option<Name>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Planned {
    /// Bring the release before back
    Rollback,
    /// Try a playbook
    Heal,
    /// Take its data base a step further
    MigrateNext,
    /// Take its data base a step back
    MigrateBack,
    /// Take its data base through the contract
    Contract,
}

impl Plan {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let action = match self.action {
            Planned::Rollback => "rollback",
            Planned::Heal => "heal",
            Planned::MigrateNext => "migrate-next",
            Planned::MigrateBack => "migrate-back",
            Planned::Contract => "contract",
        };
        let playbook = self.playbook.as_ref().map(|name| format!("&playbook={name}")).unwrap_or_default();
        let path = format!("/v1/targets/{}/plan?action={action}{playbook}", self.service);
        let shown: DryRunView = desk.client()?.get(&path)?;
        desk.printer.show("plan", &shown, || told(&shown))?;
        Ok(Exit::Done)
    }
}

fn told(shown: &DryRunView) -> String {
    let mut list = Table::list();
    list.say("task", &shown.task);
    if let Some(rail) = &shown.restrained {
        list.say("not now", rail);
    }
    for effect in &shown.effects {
        let kind = if effect.changes { "would change" } else { "looked" };
        list.say(kind, format_args!("{} -> {}", effect.what, effect.came));
    }
    list.say("end", &shown.end);
    list.to_string()
}

#[cfg(test)]
mod tests {
    use backstay_api::PlannedEffect;

    use super::*;

    #[test]
    fn what_would_change_is_told_from_what_was_looked_at() {
        let effect =
            |what: &str, changes, came: &str| PlannedEffect { what: what.into(), changes, came: came.into() };
        let shown = DryRunView {
            task: "go home to 1.0.0 (abababab)".into(),
            restrained: None,
            effects: vec![
                effect("run status", false, "exit code 0: 2.0.0"),
                effect("run go-home", true, "assumed: exit code 0"),
            ],
            end: "done".into(),
        };
        assert_eq!(
            told(&shown),
            "task          go home to 1.0.0 (abababab)\n\
             looked        run status -> exit code 0: 2.0.0\n\
             would change  run go-home -> assumed: exit code 0\n\
             end           done\n"
        );
    }
}
