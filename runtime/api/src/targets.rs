//! What the API speaks about targets, for both sides, and the calls that become of it.
//!
//! Not here: paths and who may call them (`target_routes`), and the document with a verdict (`verdict`).

use backstay_model::{
    BuildId, Digest, IncidentEnd, IncidentId, IncidentLabel, Mode, Name, Permille, Release, SchemaRange,
    TargetId, Version,
};
use serde::{Deserialize, Serialize};

use crate::{Because, BreakerState, EventView, Reply, SignedVerdict, VerdictRequest};

/// A target, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// Its name.
    pub service: TargetId,
    /// Whether what is decided is done.
    pub mode: Mode,
    /// Whatever fails together with it.
    pub domain: Name,
    /// Who judges.
    pub policy: Name,
    /// Who acts.
    pub executor: Option<Name>,
    /// What a pipeline let out.
    pub out: Option<OutView>,
    /// What may be gone back to, newest first.
    pub good: Vec<Release>,
    /// What is not let out again, newest first.
    pub quarantine: Vec<Release>,
    /// Why nothing new may be let out.
    pub hold: Option<String>,
    /// Whether a person alone lifts that.
    pub frozen: bool,
    /// The promotion breaker.
    pub breaker: BreakerState,
    /// Milliseconds until the breaker lets a small stage through, if it is open.
    pub breaker_ms: Option<u64>,
    /// What is being done to it.
    pub run: Option<String>,
    /// The incident that is open.
    pub incident: Option<IncidentId>,
    /// What its policy said last.
    pub judged: Option<JudgedView>,
    /// Tries to mend it since it was last healthy.
    pub attempts: u32,
    /// What could not be had for the last window, and why.
    pub missing: Vec<String>,
    /// What a person is to read.
    pub runbook: Option<String>,
    /// Its way to another schema, if it is a data base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationView>,
}

/// A migration of a data base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationView {
    /// The version of the schema that old code lives with.
    pub from: u32,
    /// The version after the contract.
    pub to: u32,
    /// The first release that lives with both.
    pub release: Version,
    /// How far it is: `unknown` until somebody has looked.
    pub phase: String,
    /// The step that is under way or in doubt.
    pub step: Option<String>,
    /// Whether it isn't known how that step ended.
    pub in_doubt: bool,
    /// What was ordered and isn't done: a good window has it go on.
    pub wanted: Option<String>,
    /// The last step of which it is known how it ended.
    pub last: Option<LastStep>,
    /// Which code runs: `old`, `new`, `both` or `unknown`.
    pub code: String,
    /// Whether dual-write is on: `on`, `off` or `unknown`.
    pub dual_write: String,
    /// The step that `next` would order now; none: there is something in the way, or no work in it.
    pub next: Option<String>,
    /// What is in the way of it.
    pub hindrance: Option<String>,
    /// What to do about that.
    pub way_out: Option<String>,
}

/// How a step of a migration ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStep {
    /// Which.
    pub step: String,
    /// Whether it was done; else all is as it was.
    pub done: bool,
}

/// A release that is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutView {
    /// Which.
    pub release: Release,
    /// To how much of the traffic, in permille.
    pub stage: Permille,
    /// By which build.
    pub build: Option<BuildId>,
    /// Whether it may be gone back to.
    pub confirmed: bool,
    /// Milliseconds since it is out.
    pub age_ms: u64,
}

/// An answer of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedView {
    /// What it wants.
    pub action: String,
    /// Why, the weightiest first.
    pub reasons: Vec<String>,
    /// Milliseconds since then.
    pub age_ms: u64,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentView {
    /// Which.
    pub id: IncidentId,
    /// Of which target.
    pub service: TargetId,
    /// The first sign of it.
    pub why: String,
    /// Milliseconds since it began.
    pub age_ms: u64,
    /// How long it took; none while it is open.
    pub took_ms: Option<u64>,
    /// How it ended; none while it is open.
    pub end: Option<IncidentEnd>,
    /// The release that was left, if one was.
    pub left: Option<Release>,
    /// Whether what was done was right, as far as it is known.
    pub label: Option<IncidentLabel>,
    /// What a person is to read.
    pub runbook: Option<String>,
}

/// An incident with what the journal has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentStory {
    /// The incident.
    pub incident: IncidentView,
    /// Its records, oldest first. At most 1000.
    pub events: Vec<EventView>,
}

/// A pipeline says what is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Which release, for people.
    pub version: Version,
    /// What the release is: of its image or artifact. Without it a version has to be unique: it stands for itself.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// To how much of the traffic, in permille; all of it, if that isn't said.
    #[serde(default = "all")]
    pub stage: Permille,
    /// By which build.
    #[serde(default)]
    pub build: Option<BuildId>,
    /// The versions of shared data that the release can live with.
    #[serde(default)]
    pub schema: Option<SchemaRange>,
}

const fn all() -> Permille {
    Permille::ALL
}

/// What an operator can do with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetOperation {
    /// Change nothing until it is thawed.
    Freeze,
    /// Lift a freeze.
    Thaw,
    /// Bring the release before back now.
    Rollback,
    /// Try a playbook now.
    Heal,
    /// Close the promotion breaker.
    CloseBreaker,
    /// Let a release out of quarantine.
    Lift,
    /// Take its data base a step further, but not through the contract.
    MigrateNext,
    /// Take its data base a step back.
    MigrateBack,
    /// Take its data base through the contract, which nothing leads back from.
    Contract,
}

impl TargetOperation {
    /// As a path.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Rollback => "rollback",
            Self::Heal => "heal",
            Self::CloseBreaker => "close-breaker",
            Self::Lift => "lift",
            Self::MigrateNext => "migrate-next",
            Self::MigrateBack => "migrate-back",
            Self::Contract => "contract",
        }
    }
}

/// What an operator does with a target, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperateRequest {
    /// What for.
    pub reason: Because,
    /// With `heal`: which playbook.
    #[serde(default)]
    pub playbook: Option<Name>,
    /// With `lift`: which release.
    #[serde(default)]
    pub digest: Option<Digest>,
}

/// Says whether an action was right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkRequest {
    /// What it was.
    pub label: IncidentLabel,
    /// How that is known.
    pub reason: Because,
}

/// What a dry run is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Planned {
    /// Bring the release before back.
    Rollback,
    /// Try a playbook; none: the ladder's next.
    Heal(Option<Name>),
    /// Take its data base a step further.
    MigrateNext,
    /// Take its data base a step back.
    MigrateBack,
    /// Take its data base through the contract.
    Contract,
}

/// What an order would do, without doing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRunView {
    /// The task that the executor would get.
    pub task: String,
    /// Why it would not be begun now, if a rail is in the way.
    pub restrained: Option<String>,
    /// What it would ask for, in this order.
    pub effects: Vec<PlannedEffect>,
    /// How it would end, as far as that can be told without changing anything.
    pub end: String,
}

/// One effect of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedEffect {
    /// In words.
    pub what: String,
    /// Whether it would change anything. What only looks was done.
    pub changes: bool,
    /// What came of looking, or what is assumed to come of the change.
    pub came: String,
}

/// Alerts were taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertsTaken {
    /// So many.
    pub taken: u32,
    /// Those that mean nothing here, and why.
    pub passed_over: Vec<String>,
}

/// What is posted where a page goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageBody {
    /// [`PageBody::SCHEMA`].
    pub schema: u32,
    /// Which fleet.
    pub fleet: String,
    /// About which target.
    pub service: TargetId,
    /// As a part of this incident.
    pub incident: Option<u64>,
    /// Why a person is needed.
    pub why: String,
    /// What to read.
    pub runbook: Option<String>,
    /// Where the evidence is, as a path of the API.
    pub evidence: Option<String>,
}

impl PageBody {
    /// The version of what is posted.
    pub const SCHEMA: u32 = 1;
}

/// A call about targets. `Name` is who calls, as the token names them.
#[derive(Debug)]
pub enum TargetCall {
    /// All targets.
    All(Reply<Vec<TargetView>>),
    /// One target.
    One(TargetId, Reply<TargetView>),
    /// A pipeline says what is out.
    Deployed(Name, TargetId, Deployment, Reply<TargetView>),
    /// A pipeline says what it measured.
    Measured(TargetId, Vec<u8>, Reply<TargetView>),
    /// A pipeline asks whether it may go on.
    Verdict(TargetId, VerdictRequest, Reply<SignedVerdict>),
    /// An operator does something.
    Operate(Name, TargetId, TargetOperation, OperateRequest, Reply<TargetView>),
    /// What an order would do.
    Plan(TargetId, Planned, Reply<DryRunView>),
    /// Alertmanager's webhook.
    Alerts(Vec<u8>, Reply<AlertsTaken>),
    /// All incidents that are remembered, newest first.
    Incidents(Reply<Vec<IncidentView>>),
    /// One of them, with its records.
    Incident(IncidentId, Reply<IncidentStory>),
    /// Say whether an action was right.
    Mark(Name, IncidentId, MarkRequest, Reply<IncidentView>),
    /// The server's own figures, in Prometheus' text format.
    Figures(Reply<String>),
}
