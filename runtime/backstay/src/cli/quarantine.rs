//! `backstay quarantine`: what the server keeps from being used, and letting it be used again.

use backstay_api::{Because, LiftRequest, Lifted, QuarantineView, Quarantined};
use backstay_model::{CohortId, Digest};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{Desk, Exit, Failure, table::Table, text};

/// Releases that a cohort was turned away from, and policies that failed too often.
#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// All of them
    #[command(after_help = "Example:\n  backstay quarantine ls")]
    Ls,
    /// Let one be used again; done twice it is done once
    #[command(
        after_help = "Example:\n  backstay quarantine lift 3f2a...9c --reason tested-again-in-the-lab\n\n\
        Devices that condemned it themselves are told one by one: backstay device tell ... lift"
    )]
    Lift(Lift),
}

#[derive(Serialize)]
struct Kept<'a> {
    quarantined: &'a [QuarantineView],
}

#[derive(Debug, Args)]
pub(crate) struct Lift {
    /// The whole digest, as ls shows it
    digest: Digest,
    /// What for: it is written into the server's journal
    #[arg(long)]
    reason: Because,
    /// In this cohort only
    #[arg(long)]
    cohort: Option<CohortId>,
}

impl Quarantine {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        match self {
            Self::Ls => {
                let all: Vec<QuarantineView> = client.get("/v1/quarantine")?;
                desk.printer.show("quarantine", &Kept { quarantined: &all }, || table(&all))?;
                if all.is_empty() {
                    desk.printer.say("nothing is quarantined");
                }
                Ok(Exit::Done)
            }
            Self::Lift(Lift { digest, reason, cohort }) => {
                let request = LiftRequest { reason: reason.clone(), cohort: cohort.clone() };
                let done: Lifted = client.post(&format!("/v1/quarantine/{digest}/lift"), &request)?;
                desk.printer.show("quarantine-lifted", &done, || done.lifted.iter().map(line).collect())?;
                if done.lifted.is_empty() {
                    desk.printer
                        .say(format_args!("{} is not quarantined: nothing was changed", digest.short()));
                }
                Ok(Exit::Done)
            }
        }
    }
}

const fn kind(view: &QuarantineView) -> &'static str {
    match view.kind {
        Quarantined::Release => "release",
        Quarantined::Policy => "policy",
        Quarantined::Plugin => "plugin",
    }
}

fn table(all: &[QuarantineView]) -> String {
    let mut table = Table::new(["KIND", "COHORT", "VERSION", "DIGEST"]);
    for view in all {
        table.row([
            kind(view).into(),
            view.cohort.as_ref().map_or_else(|| "all".into(), ToString::to_string),
            view.release.as_ref().map_or_else(|| "-".into(), |release| release.version.to_string()),
            view.digest.to_string(),
        ]);
    }
    table.to_string()
}

fn line(view: &QuarantineView) -> String {
    let what = text::release(view.release.as_ref());
    let what = if view.release.is_some() { what } else { view.digest.short().to_string() };
    match &view.cohort {
        Some(cohort) => format!("{} {what} may be begun again in {cohort}\n", kind(view)),
        None => format!("{} {what} is asked again\n", kind(view)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quarantined_can_be_copied_from_its_line() {
        let cohort = CohortId::parse("canary").ok();
        let view =
            QuarantineView { digest: Digest([5; 32]), kind: Quarantined::Release, cohort, release: None };
        let policy = QuarantineView { kind: Quarantined::Policy, cohort: None, ..view.clone() };
        let digest = "05".repeat(32);
        assert_eq!(
            table(&[view.clone(), policy.clone()]),
            format!(
                "KIND     COHORT  VERSION  DIGEST\n\
                 release  canary  -        {digest}\n\
                 policy   all     -        {digest}\n"
            )
        );
        assert_eq!(line(&view), "release 05050505 may be begun again in canary\n");
        assert_eq!(line(&policy), "policy 05050505 is asked again\n");
    }
}
