//! `backstay target`: the services that a server watches, and what a person does with them.

use backstay_api::{Because, BreakerState, Deployment, OperateRequest, TargetOperation, TargetView};
use backstay_model::{BuildId, Digest, Name, Permille, SchemaRange, TargetId, Version};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{Desk, Exit, Failure, client::Client, table::Table, text};

/// Services that the server watches.
#[derive(Debug, Subcommand)]
pub(crate) enum Target {
    /// All of them, with how they stand
    #[command(after_help = "Example:\n  backstay target ls")]
    Ls,
    /// One of them, with all that is known of it
    #[command(after_help = "Example:\n  backstay target show checkout")]
    Show {
        /// Which
        service: TargetId,
    },
    /// Say what a pipeline let out, and to how much of the traffic
    #[command(
        after_help = "Examples:\n  backstay target deployed checkout --version 2.1.0 --stage 10% --build 2841\n  \
        backstay target deployed checkout --version 2.1.0 --digest 3f2a... --schema 6..8"
    )]
    Deployed(Deployed),
    /// Bring the release before back now, if the rails let it
    #[command(
        after_help = "Example:\n  backstay target rollback checkout --reason customers-see-empty-carts\n\n\
        backstay plan checkout rollback shows first what it would do."
    )]
    Rollback(Because_),
    /// Try a playbook now, if the rails let it
    #[command(after_help = "Example:\n  backstay target heal checkout restart --reason it-leaks-memory")]
    Heal {
        #[command(flatten)]
        why: Because_,
        /// Which of its playbooks
        playbook: Name,
    },
    /// Close its promotion breaker
    #[command(after_help = "Example:\n  backstay target close-breaker checkout --reason the-cause-is-mended")]
    CloseBreaker(Because_),
    /// Let a release out of quarantine
    #[command(
        after_help = "Example:\n  backstay target lift checkout --digest 3f2a... --reason it-was-the-network"
    )]
    Lift {
        #[command(flatten)]
        why: Because_,
        /// Which release
        #[arg(long)]
        digest: Digest,
    },
}

/// Which target, and what for.
#[derive(Debug, Args)]
pub(crate) struct Because_ {
    /// Which
    pub(crate) service: TargetId,
    /// What for: it is written into the server's journal
    #[arg(long)]
    pub(crate) reason: Because,
}

/// Change nothing of a target until it is thawed
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  backstay freeze checkout --reason data-centre-move")]
pub(crate) struct Freeze {
    #[command(flatten)]
    why: Because_,
}

/// Lift a target's freeze
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  backstay thaw checkout --reason looked-into-it")]
pub(crate) struct Thaw {
    #[command(flatten)]
    why: Because_,
}

#[derive(Debug, Args)]
pub(crate) struct Deployed {
    /// Which
    service: TargetId,
    /// The release's version
    #[arg(long)]
    version: Version,
    /// What the release is: the digest of its image or artifact. Without it the version has to be unique
    #[arg(long)]
    digest: Option<Digest>,
    /// How much of the traffic it has by now
    #[arg(long, value_name = "PERCENT", value_parser = text::share, default_value = "100%")]
    stage: Permille,
    /// By which build
    #[arg(long)]
    build: Option<BuildId>,
    /// The versions of shared data that it can live with
    #[arg(long, value_name = "FROM..TO", value_parser = text::schemas)]
    schema: Option<SchemaRange>,
}

#[derive(Serialize)]
struct Targets<'a> {
    targets: &'a [TargetView],
}

impl Target {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        match self {
            Self::Ls => {
                let all: Vec<TargetView> = client.get("/v1/targets")?;
                desk.printer.show("targets", &Targets { targets: &all }, || table(&all))?;
                Ok(Exit::Done)
            }
            Self::Show { service } => show(desk, &client.get(&format!("/v1/targets/{service}"))?),
            Self::Deployed(deployed) => deployed.run(desk, &client),
            Self::Rollback(why) => operate(desk, &client, why, TargetOperation::Rollback, None, None),
            Self::Heal { why, playbook } => {
                operate(desk, &client, why, TargetOperation::Heal, Some(playbook), None)
            }
            Self::CloseBreaker(why) => operate(desk, &client, why, TargetOperation::CloseBreaker, None, None),
            Self::Lift { why, digest } => {
                operate(desk, &client, why, TargetOperation::Lift, None, Some(*digest))
            }
        }
    }
}

impl Freeze {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        operate(desk, &desk.client()?, &self.why, TargetOperation::Freeze, None, None)
    }
}

impl Thaw {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        operate(desk, &desk.client()?, &self.why, TargetOperation::Thaw, None, None)
    }
}

impl Deployed {
    fn run(&self, desk: &Desk, client: &Client) -> Result<Exit, Failure> {
        let Self { service, version, digest, stage, build, schema } = self;
        let deployment = Deployment {
            version: version.clone(),
            digest: *digest,
            stage: *stage,
            build: build.clone(),
            schema: *schema,
        };
        show(desk, &client.post(&format!("/v1/targets/{service}/deployments"), &deployment)?)
    }
}

pub(crate) fn operate(
    desk: &Desk,
    client: &Client,
    Because_ { service, reason }: &Because_,
    operation: TargetOperation,
    playbook: Option<&Name>,
    digest: Option<Digest>,
) -> Result<Exit, Failure> {
    let request = OperateRequest { reason: reason.clone(), playbook: playbook.cloned(), digest };
    show(desk, &client.post(&format!("/v1/targets/{service}/{}", operation.as_str()), &request)?)
}

fn show(desk: &Desk, view: &TargetView) -> Result<Exit, Failure> {
    desk.printer.show("target", view, || list(view))?;
    Ok(Exit::Done)
}

/// What stands in the way, in one word, the weightiest first.
fn state(view: &TargetView) -> &'static str {
    match (&view.run, view.frozen, &view.hold, view.breaker) {
        (Some(_), _, _, _) => "working",
        (None, true, _, _) => "frozen",
        (None, false, Some(_), _) => "held",
        (None, false, None, BreakerState::Open | BreakerState::HalfOpen) => "cooling down",
        (None, false, None, BreakerState::Closed) => "clear",
    }
}

fn table(all: &[TargetView]) -> String {
    let mut table = Table::new(["SERVICE", "MODE", "STATE", "OUT", "STAGE", "SAYS", "INCIDENT"]);
    for view in all {
        let out = view.out.as_ref();
        table.row([
            view.service.to_string(),
            view.mode.to_string(),
            state(view).into(),
            out.map_or_else(|| "-".into(), |out| out.release.to_string()),
            out.map_or_else(|| "-".into(), |out| text::percent(out.stage.get())),
            view.judged.as_ref().map_or_else(|| "-".into(), |judged| judged.action.clone()),
            view.incident.map_or_else(|| "-".into(), |incident| incident.to_string()),
        ]);
    }
    table.to_string()
}

fn list(view: &TargetView) -> String {
    let mut list = Table::list();
    list.say("service", &view.service);
    list.say("mode", view.mode);
    list.say("state", state(view));
    match &view.out {
        Some(out) => {
            let confirmed = if out.confirmed { ", confirmed" } else { ", on trial" };
            let since = text::age(out.age_ms);
            list.say(
                "out",
                format_args!("{} at {}{confirmed}, for {since}", out.release, text::percent(out.stage.get())),
            );
        }
        // Of a data base nobody lets anything out.
        None if view.migration.is_some() => {}
        None => list.say("out", "nobody said: backstay target deployed"),
    }
    if let Some(judged) = &view.judged {
        list.say("says", format_args!("{} ({} ago)", judged.action, text::age(judged.age_ms)));
        for reason in &judged.reasons {
            list.say("because", reason);
        }
    }
    if let Some(run) = &view.run {
        list.say("run", run);
    }
    if let Some(hold) = &view.hold {
        let lifts = if view.frozen { "backstay thaw lifts it" } else { "good windows lift it" };
        list.say("hold", format_args!("{hold}; {lifts}"));
    }
    match (view.breaker, view.breaker_ms) {
        (BreakerState::Open, Some(ms)) => list.say("breaker", format_args!("open for {}", text::age(ms))),
        (BreakerState::HalfOpen, _) => list.say("breaker", "lets a small stage through"),
        (BreakerState::Open | BreakerState::Closed, _) => {}
    }
    if let Some(incident) = view.incident {
        list.say("incident", format_args!("{incident}: backstay incident show {incident}"));
    }
    for good in view.good.iter().take(3) {
        list.say("way home", good);
    }
    for bad in &view.quarantine {
        list.say("quarantined", bad);
    }
    for missing in &view.missing {
        list.say("no data", missing);
    }
    if let Some(migration) = &view.migration {
        list.say("migration", format_args!("{}: backstay migration show {}", migration.phase, view.service));
    }
    if let Some(runbook) = &view.runbook {
        list.say("runbook", runbook);
    }
    list.to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use backstay_api::{JudgedView, OutView};
    use backstay_model::{Mode, Release};

    use super::*;

    /// A target that is clear, with a canary out.
    pub(crate) fn view() -> TargetView {
        let release = Release {
            version: Version::parse("2.1.0").unwrap(),
            digest: Digest([0xab; 32]),
            length: 0,
            security_epoch: 0,
        };
        let stage = Permille::new(100).unwrap();
        TargetView {
            service: TargetId::parse("checkout").unwrap(),
            mode: Mode::Enforce,
            domain: Name::parse("eu-west").unwrap(),
            policy: Name::parse("tree").unwrap(),
            executor: None,
            out: Some(OutView { release, stage, build: None, confirmed: false, age_ms: 90_000 }),
            good: Vec::new(),
            quarantine: Vec::new(),
            hold: None,
            frozen: false,
            breaker: BreakerState::Closed,
            breaker_ms: None,
            run: None,
            incident: None,
            judged: Some(JudgedView {
                action: "proceed".into(),
                reasons: vec!["all is well".into()],
                age_ms: 1000,
            }),
            attempts: 0,
            missing: Vec::new(),
            runbook: None,
            migration: None,
        }
    }

    #[test]
    fn a_target_is_a_row_for_people() {
        assert_eq!(
            table(&[view()]),
            "SERVICE   MODE     STATE  OUT               STAGE  SAYS     INCIDENT\n\
             checkout  enforce  clear  2.1.0 (abababab)  10%    proceed  -\n"
        );
        let held = TargetView { hold: Some("there is no data".into()), ..view() };
        assert_eq!(state(&held), "held");
        assert!(list(&held).contains("there is no data; good windows lift it"), "{}", list(&held));
    }
}
