//! `backstay migration`: a data base on its way to another schema, step by step.
//!
//! Not here: what may follow what (the server's gate says, with the way out), and what a step would do (`plan`).

use backstay_api::{MigrationView, OperateRequest, TargetOperation, TargetView};
use backstay_model::TargetId;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{Desk, Exit, Failure, client::Client, screen::Pace, table::Table, target::Because_};

/// Data bases on their way to another schema
#[derive(Debug, Subcommand)]
pub(crate) enum Migration {
    /// All of them, with how far each is
    #[command(after_help = "Example:\n  backstay migration ls")]
    Ls,
    /// One of them: how far it is, what comes next, and what is in the way of that
    #[command(after_help = "Example:\n  backstay migration show pumps-db")]
    Show {
        /// Which target
        service: TargetId,
    },
    /// Go a step further, but never through the contract
    #[command(after_help = "Examples:\n  backstay migration next pumps-db --reason schema-8 --wait\n  \
        backstay plan pumps-db migrate-next\n\n\
        A step that is cut short goes on by itself with the next good window. The way back is open until the contract.")]
    Next(Move),
    /// Take the old columns away. Nothing leads back from it
    #[command(
        after_help = "Example:\n  backstay migration contract pumps-db --reason two-weeks-without-old-code --wait\n\n\
        It is let through after the soak, when no old code runs. Take a copy of the data base before."
    )]
    Contract(Move),
    /// Go a step back
    #[command(after_help = "Example:\n  backstay migration back pumps-db --reason it-is-too-slow --wait")]
    Back(Move),
}

/// One step.
#[derive(Debug, Args)]
pub(crate) struct Move {
    #[command(flatten)]
    why: Because_,
    /// Wait until it is done, or has failed
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    pace: Pace,
}

#[derive(Serialize)]
struct Migrations<'a> {
    migrations: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    service: &'a TargetId,
    #[serde(flatten)]
    migration: &'a MigrationView,
}

impl Migration {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        match self {
            Self::Ls => {
                let all: Vec<TargetView> = client.get("/v1/targets")?;
                let migrations = all.iter().filter_map(row).collect();
                let migrations = Migrations { migrations };
                desk.printer.show("migrations", &migrations, || table(&migrations))?;
                Ok(Exit::Done)
            }
            Self::Show { service } => show(desk, &client.get(&path(service))?),
            Self::Next(step) => step.run(desk, &client, TargetOperation::MigrateNext),
            Self::Contract(step) => step.run(desk, &client, TargetOperation::Contract),
            Self::Back(step) => step.run(desk, &client, TargetOperation::MigrateBack),
        }
    }
}

impl Move {
    fn run(&self, desk: &Desk, client: &Client, operation: TargetOperation) -> Result<Exit, Failure> {
        let Because_ { service, reason } = &self.why;
        let request = OperateRequest { reason: reason.clone(), playbook: None, digest: None };
        let begun: TargetView =
            client.post(&format!("{}/{}", path(service), operation.as_str()), &request)?;
        if !self.wait {
            return show(desk, &begun);
        }
        // Without a step there was no work in it: it is done.
        let step = begun.migration.as_ref().and_then(|migration| migration.step.clone());
        let ended = self.wait_for_end(desk, client, begun)?;
        show(desk, &ended)?;
        let last = ended.migration.as_ref().and_then(|migration| migration.last.as_ref());
        match step.filter(|step| last.is_none_or(|last| last.step != *step || !last.done)) {
            None => Ok(Exit::Done),
            Some(step) => Err(Failure::new(
                Exit::Refused,
                format!("{service} is still where it was: {step} is not done"),
            )
            .help("why: backstay events")),
        }
    }

    fn wait_for_end(&self, desk: &Desk, client: &Client, begun: TargetView) -> Result<TargetView, Failure> {
        let (mut view, mut told, deadline) = (begun, String::new(), self.pace.deadline());
        loop {
            let Some(migration) = &view.migration else { return Ok(view) };
            if migration.step.is_none() && migration.wanted.is_none() {
                return Ok(view);
            }
            let hold = view.hold.as_ref().map(|hold| format!("; held: {hold}")).unwrap_or_default();
            let line = format!("{}{hold}", stands(migration));
            if line != told {
                desk.printer.say(&line);
                told = line;
            }
            if !self.pace.wait(deadline) {
                let what = format!("{} is not done in time", migration.step.as_deref().unwrap_or("the step"));
                return Err(Failure::new(Exit::TimedOut, what).help(format!(
                    "it goes on without being watched: backstay migration show {}",
                    view.service
                )));
            }
            view = client.get(&path(&self.why.service))?;
        }
    }
}

fn path(service: &TargetId) -> String {
    format!("/v1/targets/{service}")
}

fn row(view: &TargetView) -> Option<Row<'_>> {
    view.migration.as_ref().map(|migration| Row { service: &view.service, migration })
}

fn show(desk: &Desk, view: &TargetView) -> Result<Exit, Failure> {
    let row = row(view).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("no migration is configured for {}", view.service))
            .help("[migration] in its file says which: docs/database.md")
    })?;
    desk.printer.show("migration", &row, || list(&row))?;
    Ok(Exit::Done)
}

/// How far it is, in a line.
fn stands(migration: &MigrationView) -> String {
    match (&migration.step, migration.in_doubt) {
        (Some(step), true) => format!("{}; {step} is in doubt", migration.phase),
        (Some(step), false) => format!("{}; {step} is under way", migration.phase),
        (None, _) => migration.phase.clone(),
    }
}

fn table(Migrations { migrations }: &Migrations<'_>) -> String {
    let mut table = Table::new(["SERVICE", "SCHEMA", "PHASE", "NEXT", "IN THE WAY"]);
    for Row { service, migration } in migrations {
        let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".into());
        table.row([
            service.to_string(),
            format!("{} to {}", migration.from, migration.to),
            stands(migration),
            word(&migration.next),
            word(&migration.hindrance),
        ]);
    }
    table.to_string()
}

fn list(Row { service, migration }: &Row<'_>) -> String {
    let mut list = Table::list();
    list.say("service", service);
    list.say("schema", format_args!("{} to {}", migration.from, migration.to));
    list.say("lives with both", format_args!("{} and later", migration.release));
    list.say("phase", stands(migration));
    list.say("code", &migration.code);
    list.say("dual write", &migration.dual_write);
    if let Some(wanted) = &migration.wanted {
        let goes_on = if migration.step.is_none() { "; a good window has it go on" } else { "" };
        list.say("ordered", format_args!("{wanted}{goes_on}"));
    }
    if let Some(next) = &migration.next {
        list.say("next", next);
    }
    if let Some(hindrance) = &migration.hindrance {
        list.say("in the way", hindrance);
    }
    if let Some(way_out) = &migration.way_out {
        list.say("way out", way_out);
    }
    list.to_string()
}

#[cfg(test)]
mod tests {
    use backstay_model::Version;

    use super::*;
    use crate::target::tests::view;

    #[test]
    fn what_is_in_the_way_is_told_with_the_way_out() {
        let migration = MigrationView {
            from: 7,
            to: 8,
            release: Version::parse("2.2").unwrap(),
            phase: "read new".into(),
            step: None,
            in_doubt: false,
            wanted: None,
            last: None,
            code: "both".into(),
            dual_write: "on".into(),
            next: None,
            hindrance: Some("code that can't live with schema 8 runs or may start".into()),
            way_out: Some("bring 2.2 or a later release to every instance first".into()),
        };
        let view = TargetView { migration: Some(migration), ..view() };
        assert_eq!(
            list(&row(&view).unwrap()),
            "service          checkout\n\
             schema           7 to 8\n\
             lives with both  2.2 and later\n\
             phase            read new\n\
             code             both\n\
             dual write       on\n\
             in the way       code that can't live with schema 8 runs or may start\n\
             way out          bring 2.2 or a later release to every instance first\n"
        );
    }
}
