//! The file of one target, as it is written.
//!
//! Here: which keys there are, their defaults and the bounds of each. Not here: rules across keys and files (`target`,
//! `objective`, `reading`).

use std::collections::BTreeMap;

use backstay_config::Setting;
use backstay_model::{Mode, Name, Scope, TargetId, Version};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    NumberIn, SpanIn,
    bounds::FiniteNumber,
    schema::{NameText, VersionText},
    text::{AlertText, HttpUrl, MetricText, QueryText},
};

/// A service that the server watches and can bring back.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "A target of Backstay", rename = "Target")]
pub(crate) struct TargetFile {
    /// What pipelines and people call it. The file's name without .toml, if that isn't said.
    #[schemars(with = "Option<NameText>")]
    pub(crate) service: Option<TargetId>,
    /// What fails together with it: a region, a rack, a customer. The storm brake counts by it.
    #[serde(default = "default_domain")]
    #[schemars(with = "NameText")]
    pub(crate) domain: Name,
    /// Whether the server acts.
    #[serde(default)]
    #[schemars(with = "ModeWord")]
    pub(crate) mode: Mode,
    /// What a person is to read. It stands in each page.
    pub(crate) runbook: Option<HttpUrl>,
    /// What is judged together, 5s to 1h.
    #[serde(default = "default_window")]
    pub(crate) window: SpanIn<5_000, 3_600_000>,
    /// Who judges: a name in `policies` of backstay.toml.
    #[schemars(with = "NameText")]
    pub(crate) policy: Name,
    /// Who acts: a name in `executors` of backstay.toml. It takes one to enforce.
    #[schemars(with = "Option<NameText>")]
    pub(crate) executor: Option<Name>,
    /// Where queries are asked: a name in `prometheus` of backstay.toml. It takes one if an objective has queries.
    #[schemars(with = "Option<NameText>")]
    pub(crate) prometheus: Option<Name>,
    /// Whether its executor is asked what it sees at the end of each window. It takes an executor. A data base that migrates is
    /// looked at anyhow.
    #[serde(default)]
    pub(crate) look: bool,
    /// Whether its executor can be asked to hold a release where it stands, and to let it go on: it is when the policy says slow, when
    /// the target is held or frozen, and when that is over. It takes an executor, and no `[migration]`.
    #[serde(default)]
    pub(crate) hold: bool,
    /// What its executor is told besides, over the settings of `executors`: with those at most 16 KiB of names and values. It takes an
    /// executor.
    #[serde(default)]
    #[schemars(with = "BTreeMap<NameText, Setting>")]
    pub(crate) settings: BTreeMap<Name, Setting>,
    /// The heal ladder: what is tried before going back, in this order. At most 8; none is called look, hold or go-on, or like a step of a migration.
    #[serde(default)]
    pub(crate) playbooks: Vec<PlaybookTable>,
    /// How unusual things look, from 0 to 1: a query that gives one number. It takes somewhere to ask it.
    pub(crate) anomaly: Option<QueryText>,
    /// What is promised, 1 to 32.
    pub(crate) objective: Vec<ObjectiveTable>,
    /// Limits to what is done to this target.
    #[serde(default)]
    pub(crate) rails: RailsTable,
    /// Data that releases share. Without it nothing is known of it.
    pub(crate) schema: Option<SchemaTable>,
    /// This target is a data base on its way to another schema. It takes an executor, and no `[schema]`.
    pub(crate) migration: Option<MigrationTable>,
}

/// One rung of the heal ladder.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Playbook")]
pub(crate) struct PlaybookTable {
    /// What the executor is asked to do.
    #[schemars(with = "NameText")]
    pub(crate) name: Name,
    /// How often, before the next rung is tried. 0: only where somebody orders it by its name.
    #[serde(default = "once")]
    pub(crate) attempts: NumberIn<0, 100>,
}

/// Something that is promised, in exactly one of five forms: candidate (and baseline), value, burn, metric or alert.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Objective")]
pub(crate) struct ObjectiveTable {
    /// What it is called in facts, reasons and evidence.
    #[schemars(with = "NameText")]
    pub(crate) name: Name,
    /// Whether breaking it is worth going back for.
    #[serde(default = "yes")]
    pub(crate) critical: bool,
    /// Whose fault it can be.
    #[serde(default)]
    pub(crate) scope: ScopeWord,
    /// Form 1, a ratio: bad events of all events, on the side that is judged.
    pub(crate) candidate: Option<RatioTable>,
    /// The same on the side that it is judged against.
    pub(crate) baseline: Option<RatioTable>,
    /// Form 2, a value: a query for each side, with above or below.
    pub(crate) value: Option<ValueTable>,
    /// Form 3, a burn rate over two windows.
    pub(crate) burn: Option<BurnTable>,
    /// Form 4, a figure that a pipeline brings, with above or below.
    pub(crate) metric: Option<MetricText>,
    /// Form 5, an alert of Alertmanager: bad while it fires.
    pub(crate) alert: Option<AlertText>,
    /// A value or a metric is bad above this.
    pub(crate) above: Option<FiniteNumber>,
    /// A value or a metric is bad below this.
    pub(crate) below: Option<FiniteNumber>,
}

/// Two counts, each by a query that gives one number.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Ratio")]
pub(crate) struct RatioTable {
    /// How many were bad.
    pub(crate) bad: QueryText,
    /// Of how many.
    pub(crate) total: QueryText,
}

/// One number for each side.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Value")]
pub(crate) struct ValueTable {
    /// The side that is judged.
    pub(crate) candidate: QueryText,
    /// The side that it is judged against.
    pub(crate) baseline: Option<QueryText>,
}

/// How fast an error budget is spent. Bad when both windows spend it faster than allowed (Google, The Site Reliability
/// Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts").
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Burn")]
pub(crate) struct BurnTable {
    /// The share of bad events, 0 to 1, in the long window.
    pub(crate) ratio_long: QueryText,
    /// The same in the short one, which ends an alarm soon after the trouble.
    pub(crate) ratio_short: QueryText,
    /// The share of good events that is promised, more than 0 and less than 1.
    pub(crate) slo: FiniteNumber,
    /// How many times faster than the budget lasts; above 0 and below 1 / (1 - slo), where all events are bad.
    pub(crate) factor: FiniteNumber,
}

/// In a schema: a [`Mode`]. What isn't said is observed.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Mode")]
#[expect(dead_code, reason = "only its schema is used")]
enum ModeWord {
    /// It decides and tells, and acts on nothing.
    Observe,
    /// It decides, tells and acts.
    Enforce,
}

/// Whose fault a broken objective can be.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Scope")]
pub(crate) enum ScopeWord {
    /// Of the service itself.
    #[default]
    Local,
    /// Of something that it depends on: it freezes and never goes back for it.
    Dependency,
}

impl From<ScopeWord> for Scope {
    fn from(word: ScopeWord) -> Self {
        match word {
            ScopeWord::Local => Self::Local,
            ScopeWord::Dependency => Self::Dependency,
        }
    }
}

/// Limits to what is done to one target.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Rails")]
pub(crate) struct RailsTable {
    /// For so long nothing is promoted after a roll-back. 30m to 60m is usual; 1m to 24h is allowed.
    pub(crate) breaker: SpanIn<60_000, 86_400_000>,
    /// The most to wait before the second try of a playbook; it doubles with each, 100ms to 1h.
    pub(crate) backoff_base: SpanIn<100, 3_600_000>,
    /// The most to wait before any try, up to 24h.
    pub(crate) backoff_cap: SpanIn<100, 86_400_000>,
    /// A run that takes longer is let go of, 10s to 24h.
    pub(crate) run_limit: SpanIn<10_000, 86_400_000>,
    /// Good windows in a row after which a release counts as healthy.
    pub(crate) confirm_windows: NumberIn<1, 1000>,
    /// Good windows in a row after which a healed target counts as cured.
    pub(crate) cure_windows: NumberIn<1, 1000>,
    /// Roll-backs in an hour.
    pub(crate) rollbacks_per_hour: NumberIn<1, 64>,
    /// Tries to heal in an hour.
    pub(crate) heals_per_hour: NumberIn<1, 64>,
}

impl Default for RailsTable {
    fn default() -> Self {
        Self {
            breaker: SpanIn::usual(2_700_000),
            backoff_base: SpanIn::usual(10_000),
            backoff_cap: SpanIn::usual(600_000),
            run_limit: SpanIn::usual(900_000),
            confirm_windows: NumberIn::usual(3),
            cure_windows: NumberIn::usual(3),
            rollbacks_per_hour: NumberIn::usual(3),
            heals_per_hour: NumberIn::usual(12),
        }
    }
}

/// Data that releases share, in exactly one of two forms: version or of.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Schema")]
pub(crate) struct SchemaTable {
    /// Its present version. A release is brought back only if it can live with it.
    pub(crate) version: Option<NumberIn<0, { u32::MAX }>>,
    /// The target whose `[migration]` says which version there is.
    #[schemars(with = "Option<NameText>")]
    pub(crate) of: Option<TargetId>,
}

/// A data base on its way to another schema.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Migration")]
pub(crate) struct MigrationTable {
    /// The version of the schema before. It holds until the contract.
    pub(crate) from: NumberIn<0, { u32::MAX }>,
    /// The version after the contract, more than from.
    pub(crate) to: NumberIn<0, { u32::MAX }>,
    /// The first release that lives with both.
    #[schemars(with = "VersionText")]
    pub(crate) release: Version,
    /// Who writes to both columns while dual-write is on.
    pub(crate) writer: WriterWord,
    /// What the switch of dual-write is called in messages.
    #[serde(default = "default_flag")]
    #[schemars(with = "NameText")]
    pub(crate) flag: Name,
    /// So long new code is alone before the contract, 1m to 90d.
    #[serde(default = "default_soak")]
    pub(crate) soak: SpanIn<60_000, 7_776_000_000>,
}

/// Who writes to both columns while dual-write is on.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Writer")]
pub(crate) enum WriterWord {
    /// The data base, by a trigger.
    Database,
    /// New code. What old code writes is missing in the new columns.
    Application,
}

#[expect(clippy::expect_used, reason = "a test parses it")]
fn default_domain() -> Name {
    Name::parse("default").expect("it is a name")
}
#[expect(clippy::expect_used, reason = "a test parses it")]
fn default_flag() -> Name {
    Name::parse("dual-write").expect("it is a name")
}
const fn default_soak() -> SpanIn<60_000, 7_776_000_000> {
    SpanIn::usual(86_400_000)
}
const fn default_window() -> SpanIn<5_000, 3_600_000> {
    SpanIn::usual(60_000)
}
const fn once() -> NumberIn<0, 100> {
    NumberIn::usual(1)
}
const fn yes() -> bool {
    true
}
