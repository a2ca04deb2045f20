//! `backstay quarantine`: what the server keeps from being used, and letting it be used again.

use backstay_api::{Because, KeptOut, LiftRequest, Lifted, QuarantineView, Quarantined, Recorded, WayOut};
use backstay_model::{CohortId, Digest};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{Desk, Exit, Failure, table::Table, text};

/// Releases that a cohort was turned away from, policies that failed too often, and those that were to take over and were sent back.
#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// All of them
    #[command(after_help = "Example:\n  backstay quarantine ls\n\n\
        What a device keeps out by itself is in its own journal: backstay evidence show DEVICE")]
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
                desk.printer
                    .show("quarantine", &Kept { quarantined: &all }, || table(&all) + &reasons(&all))?;
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

fn kind(view: &QuarantineView) -> &'static str {
    match (view.kind, view.plugin.as_ref().map(|plugin| plugin.way)) {
        (Quarantined::Release, _) => "release",
        (Quarantined::Plugin, _) => "plugin",
        (Quarantined::Policy, Some(WayOut::SentBack)) => "candidate",
        (Quarantined::Policy, Some(WayOut::Failed) | None) => "policy",
    }
}

fn recorded(view: &QuarantineView) -> Option<&Recorded> {
    view.plugin.as_ref().and_then(|plugin| plugin.recorded.as_ref())
}

fn table(all: &[QuarantineView]) -> String {
    let mut table = Table::new(["KIND", "COHORT", "VERSION", "DIGEST"]);
    for view in all {
        let release = view.release.as_ref().map(|release| &release.version);
        let version = release.or_else(|| recorded(view).and_then(|recorded| recorded.version.as_ref()));
        table.row([
            kind(view).into(),
            view.cohort.as_ref().map_or_else(|| "all".into(), ToString::to_string),
            version.map_or_else(|| "-".into(), ToString::to_string),
            view.digest.to_string(),
        ]);
    }
    table.to_string()
}

/// Of each plugin: who it is, why it is out and since when, and what lifts that.
fn reasons(all: &[QuarantineView]) -> String {
    let one = |view: &QuarantineView| {
        let way = view.plugin.as_ref()?.way;
        let out = match way {
            WayOut::Failed => "is not asked any more",
            WayOut::SentBack => "was to take over and was sent back",
        };
        let since = recorded(view).map_or_else(
            || ", since before the journal begins".into(),
            |Recorded { why, age_ms, record, .. }| {
                format!(", since {} (record {record}): {}", text::age(*age_ms), text::plain(why))
            },
        );
        let lift = format!("backstay quarantine lift {} --reason ...", view.digest);
        Some(format!("\n{} {out}{since}\n  help:    {lift}\n", who(view)))
    };
    all.iter().filter_map(one).collect()
}

/// A plugin by its name, as far as that is known.
fn who(view: &QuarantineView) -> String {
    let digest = view.digest.short();
    match recorded(view) {
        Some(Recorded { plugin, version: Some(version), .. }) => format!("{plugin} {version} ({digest})"),
        Some(Recorded { plugin, version: None, .. }) => format!("{plugin} ({digest})"),
        None => format!("{} {digest}", kind(view)),
    }
}

fn line(view: &QuarantineView) -> String {
    let what = text::release(view.release.as_ref());
    let what = if view.release.is_some() { what } else { view.digest.short().to_string() };
    match (&view.cohort, &view.plugin) {
        (Some(cohort), _) => format!("{} {what} may be begun again in {cohort}\n", kind(view)),
        (None, Some(KeptOut { loaded: false, .. })) => format!(
            "{} may be asked again; it is not loaded, so this takes effect at the server's next start, if the configuration names it\n",
            who(view)
        ),
        (None, Some(KeptOut { loaded: true, way: WayOut::SentBack, .. })) => {
            format!("{} may take over again: it is asked beside the other from now on\n", who(view))
        }
        (None, Some(KeptOut { loaded: true, way: WayOut::Failed, .. }) | None) => {
            format!("{} is asked again\n", who(view))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(way: WayOut, loaded: bool, recorded: Option<Recorded>) -> QuarantineView {
        QuarantineView {
            digest: Digest([5; 32]),
            kind: Quarantined::Policy,
            cohort: None,
            release: None,
            plugin: Some(KeptOut { way, loaded, recorded }),
        }
    }

    fn sent_back() -> Recorded {
        Recorded {
            plugin: "acme/policy-pump".parse().unwrap(),
            version: "0.2.0".parse().ok(),
            why: "it differed in 3 of 9 windows".into(),
            age_ms: 240_000,
            record: 212,
        }
    }

    #[test]
    fn what_is_quarantined_can_be_copied_from_its_line() {
        let release = QuarantineView {
            kind: Quarantined::Release,
            cohort: CohortId::parse("canary").ok(),
            plugin: None,
            ..policy(WayOut::Failed, true, None)
        };
        let failed = policy(WayOut::Failed, true, None);
        let candidate = policy(WayOut::SentBack, true, Some(sent_back()));
        let digest = "05".repeat(32);
        assert_eq!(
            table(&[release.clone(), failed.clone(), candidate]),
            format!(
                "KIND       COHORT  VERSION  DIGEST\n\
                 release    canary  -        {digest}\n\
                 policy     all     -        {digest}\n\
                 candidate  all     0.2.0    {digest}\n"
            )
        );
        assert_eq!(line(&release), "release 05050505 may be begun again in canary\n");
        assert_eq!(line(&failed), "policy 05050505 is asked again\n");
    }

    #[test]
    fn of_a_plugin_it_is_told_who_why_since_when_and_what_lifts_it() {
        let all = [
            policy(WayOut::SentBack, true, Some(sent_back())),
            policy(
                WayOut::Failed,
                true,
                Some(Recorded { version: None, why: "it trapped".into(), ..sent_back() }),
            ),
            policy(WayOut::Failed, true, None),
        ];
        let lift = format!("  help:    backstay quarantine lift {} --reason ...", "05".repeat(32));
        assert_eq!(
            reasons(&all),
            format!(
                "\nacme/policy-pump 0.2.0 (05050505) was to take over and was sent back, since 4m (record 212): \
                 it differed in 3 of 9 windows\n{lift}\n\
                 \nacme/policy-pump (05050505) is not asked any more, since 4m (record 212): it trapped\n{lift}\n\
                 \npolicy 05050505 is not asked any more, since before the journal begins\n{lift}\n"
            )
        );
    }

    /// Somebody who lifts it and sees nothing happen has to know what they wait for.
    #[test]
    fn what_is_not_loaded_is_said_to_wait_for_the_next_start() {
        let lifted = |way, loaded| line(&policy(way, loaded, Some(sent_back())));
        assert_eq!(
            lifted(WayOut::SentBack, true),
            "acme/policy-pump 0.2.0 (05050505) may take over again: it is asked beside the other from now on\n"
        );
        assert_eq!(lifted(WayOut::Failed, true), "acme/policy-pump 0.2.0 (05050505) is asked again\n");
        for way in [WayOut::Failed, WayOut::SentBack] {
            assert!(lifted(way, false).contains("takes effect at the server's next start"), "{way:?}");
        }
    }
}
