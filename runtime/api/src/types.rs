//! What the API speaks, for both sides. JSON, with the version in the path; fields are only added.

use backstay_model::{
    Channel, CohortId, Compared, DeviceId, Digest, Direction, Hardware, Health, Label, PluginId, PluginRole,
    Release, RolloutId, Standing, Version, Word,
};
use serde::{Deserialize, Serialize};

/// How sure something is, and how old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Which release.
    pub release: Release,
    /// Milliseconds since it was proven.
    pub age_ms: u64,
}

/// One device, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its name.
    pub device: DeviceId,
    /// Whose steering it follows.
    pub cohort: CohortId,
    /// What was said of it at enrolment.
    pub labels: Vec<Label>,
    /// The digest of its public key.
    pub key: Digest,
    /// Whether the broker has it connected.
    pub online: bool,
    /// Milliseconds since it was last heard of.
    pub heard_ms: Option<u64>,
    /// What steering wants it to run, if it means this device.
    pub wanted: Option<Release>,
    /// What it said that it runs: the weakest proof.
    pub booted: Option<Proof>,
    /// What passed its trial there: the only one that counts as "updated".
    pub confirmed: Option<Proof>,
    /// Where it stands.
    pub standing: Option<Standing>,
    /// How what it runs did when it last reported: that is signed, and told only when something else changes.
    pub health: Option<Health>,
    /// The newest word on it, which is mostly a beat's.
    pub health_now: Option<HealthView>,
    /// What it will not run again by itself.
    pub condemned: Vec<Digest>,
    /// Up to which record the server has its journal, checked and without a gap.
    pub journal: u64,
    /// From which record on; above 1, earlier ones are not here.
    #[serde(default)]
    pub journal_from: u64,
    /// The newest record that it said it has. Above what is here, the rest is on its way.
    #[serde(default)]
    pub journal_told: u64,
    /// What it says of its plugins; none before it has said anything.
    #[serde(default)]
    pub plugins: Option<PluginsView>,
}

/// What a device says of its plugins: of the one that its cohort is steered to, or else of its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginsView {
    /// The bundle that is in use, on trial or not; none where there is none.
    pub runs: Option<Release>,
    /// The bundle that has the job, and keeps it after a restart.
    pub trusted: Option<Release>,
    /// Where the device stands with it.
    pub standing: Standing,
    /// Bundles that it will not take by itself.
    pub condemned: Vec<Digest>,
    /// How a policy that is to take over gets on with the one before.
    pub compared: Option<Compared>,
    /// Milliseconds since it was said.
    pub age_ms: u64,
}

/// A plugin that the server can hand out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginView {
    /// Which.
    pub plugin: PluginId,
    /// What it is asked for.
    pub role: PluginRole,
    /// The bundle as a cohort is steered to it: the plugin's version, the digest and length of the file.
    pub bundle: Release,
    /// Of its grant.
    pub grant: Digest,
    /// The grant's sequence; of several of one version the highest is handed out.
    pub sequence: u64,
}

/// How what a device runs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// As of its newest window then.
    pub health: Health,
    /// Milliseconds since it was said.
    pub age_ms: u64,
    /// Whether it was signed. A beat is not: whoever may write to the broker could have sent it.
    pub signed: bool,
}

/// A cohort and its rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CohortView {
    /// Its name.
    pub cohort: CohortId,
    /// What is steered: its product, or its plugins.
    #[serde(default)]
    pub channel: Channel,
    /// What it is on its way to, or turned away from.
    pub rollout: Option<RolloutId>,
    /// That rollout's release.
    pub release: Option<Release>,
    /// Where it leads back to; none: each device to its own last known good release.
    pub back: Option<Release>,
    /// Where to.
    pub direction: Option<Direction>,
    /// In words: "wave 2 of 4", "frozen: ...".
    pub phase: String,
    /// The newest steering message.
    pub generation: u64,
    /// Whether it takes no other rollout.
    pub frozen: bool,
    /// Devices enrolled in it.
    pub devices: u32,
    /// Devices within reach.
    pub reached: u32,
    /// Devices on the release, trial passed.
    pub confirmed: u32,
    /// Devices on the release, on trial.
    pub on_trial: u32,
    /// Devices that failed on it.
    pub failed: u32,
    /// Devices that sit it out.
    pub excluded: u32,
    /// Milliseconds until the promotion breaker lets a small stage through.
    pub breaker_ms: Option<u64>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetView {
    /// Its name.
    pub fleet: String,
    /// By name.
    pub cohorts: Vec<CohortView>,
    /// By name.
    pub devices: Vec<DeviceView>,
}

/// A release that the server can hand out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// Which.
    pub release: Release,
    /// For which machines.
    pub hardware: Vec<Hardware>,
    /// Where it may be left for.
    pub home: Vec<Digest>,
    /// Whether the artifact itself is here.
    pub artifact: bool,
}

/// How a rollout goes forward. What is left out is the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanView {
    /// How much of the cohort each wave holds, in permille, growing to 1000.
    pub waves: Option<Vec<u16>>,
    /// The fewest devices in a wave.
    pub devices_min: Option<u32>,
    /// Good windows that open the next wave.
    pub good_windows: Option<u32>,
    /// How long a window is, in milliseconds.
    pub window_ms: Option<u64>,
}

/// Starts a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRollout {
    /// Whose.
    pub cohort: CohortId,
    /// Of this plugin; the product if it is left out.
    #[serde(default)]
    pub plugin: Option<PluginId>,
    /// To which release, by its version. It has to be the only one of that version here.
    pub version: Version,
    /// What to call it; made up if it is left out. A name is never used twice.
    pub rollout: Option<RolloutId>,
    /// Where home is, by its version: it has to be here, and the release has to allow the way. If it is left out,
    /// it is what the cohort was brought to last, as far as that may be gone back to.
    #[serde(default)]
    pub back: Option<Version>,
    /// Only the devices with all these labels; all devices if it is left out.
    pub labels: Option<Vec<Label>>,
    /// How.
    #[serde(default)]
    pub plan: PlanView,
}

/// A rollout was started, or had been already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Which.
    pub rollout: RolloutId,
    /// To which release.
    pub release: Release,
}

/// What an operator can do with a cohort's rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Nobody starts anything.
    Pause,
    /// Go on.
    Resume,
    /// End it where it is; who is on the release stays.
    Abort,
    /// Everybody on the release goes home.
    Rollback,
    /// Lift a freeze, so that another rollout can start.
    Thaw,
}

impl Operation {
    /// As a path.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Thaw => "thaw",
        }
    }
}

/// What for, in a person's own words: 1 to [`Because::BYTES_MAX`] bytes. It is written into the server's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Because(String);

impl Because {
    /// The longest reason.
    pub const BYTES_MAX: usize = 160;

    /// A reason that says something.
    ///
    /// # Errors
    /// If it says nothing, or too much.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.len() > Self::BYTES_MAX || text.contains(char::is_control) {
            return Err(format!("expected a reason of 1 to {} bytes in one line", Self::BYTES_MAX));
        }
        Ok(Self(text.into()))
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Because {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Because> for String {
    fn from(reason: Because) -> Self {
        reason.0
    }
}

impl std::str::FromStr for Because {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

/// Whom the fleet trusts, by the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustView {
    /// The number of the keyring.
    pub number: u64,
    /// Its digest.
    pub keyring: Digest,
    /// The revocation that is heeded, if there is one.
    pub revocation: Option<Revoked>,
    /// Whether the server's key is the director's in it. If not, devices that have followed don't listen to this server.
    pub director: bool,
    /// The cohorts whose order operators have signed, too.
    pub seconded: Vec<CohortId>,
}

/// A revocation, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Its sequence.
    pub sequence: u64,
    /// Its digest.
    pub digest: Digest,
    /// The lowest security epoch that it lets in.
    pub security_floor: u32,
}

/// Something that the server keeps from being used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineView {
    /// Of the release's artifact, or of the policy's grant.
    pub digest: Digest,
    /// What it is.
    pub kind: Quarantined,
    /// The cohort that was turned away from it; a policy is quarantined for all.
    pub cohort: Option<CohortId>,
    /// The release, if it is known here.
    pub release: Option<Release>,
    /// About a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<KeptOut>,
}

/// A plugin that is not asked any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptOut {
    /// How it came to that.
    pub way: WayOut,
    /// Whether it is loaded. Then it is asked again as soon as it is lifted; otherwise after the server's next start,
    /// if the configuration names it.
    pub loaded: bool,
    /// What the journal says of it; none, if that is older than the journal.
    pub recorded: Option<Recorded>,
}

/// How a plugin came not to be asked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayOut {
    /// It failed too often.
    Failed,
    /// It was to take over from another, and was sent back.
    SentBack,
}

/// When and why a plugin was put out, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Which plugin.
    pub plugin: PluginId,
    /// For people. Of one that failed too often, the record doesn't say it.
    pub version: Option<Version>,
    /// In words.
    pub why: String,
    /// Milliseconds since then.
    pub age_ms: u64,
    /// The number of the record.
    pub record: u64,
}

/// What can be quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quarantined {
    /// A release that a cohort was turned away from.
    Release,
    /// A policy that failed too often, or that was to take over and was sent back.
    Policy,
    /// A plugin that a cohort was turned away from.
    Plugin,
}

/// Lifts a quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftRequest {
    /// What for.
    pub reason: Because,
    /// In this cohort only; wherever it is quarantined if it is left out.
    #[serde(default)]
    pub cohort: Option<CohortId>,
}

/// What was lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// Each place where it was quarantined. None: it was not, and nothing was changed.
    pub lifted: Vec<QuarantineView>,
}

/// A cohort's promotion breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerView {
    /// Whose.
    pub cohort: CohortId,
    /// For what: its product, or its plugins.
    #[serde(default)]
    pub channel: Channel,
    /// Where it stands.
    pub state: BreakerState,
    /// Milliseconds until it lets a small stage through, if it is open.
    pub left_ms: Option<u64>,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Everything may be promoted.
    Closed,
    /// A stage of the smallest size.
    HalfOpen,
    /// Nothing.
    Open,
}

/// Closes a breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// What for.
    pub reason: Because,
}

/// A breaker is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Whose.
    pub cohort: CohortId,
    /// Whether it was closed just now; otherwise it was closed before, and nothing was changed.
    pub changed: bool,
}

/// Words for one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordRequest {
    /// What to tell it.
    pub words: Vec<Word>,
}

/// A word was signed and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its sequence.
    pub sequence: u64,
}

/// A one-time token for enrolment. It is shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintedToken {
    /// The token.
    pub token: String,
}

/// A device that asks to be enrolled and has no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingView {
    /// The digest of its public key: what it shows as its fingerprint.
    pub fingerprint: Digest,
    /// What it says that it is.
    pub hardware: Hardware,
    /// Milliseconds since it asked first.
    pub waits_ms: u64,
}

/// Says who a device is: with a token's minting, or for a pending fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolAnswer {
    /// Its name.
    pub device: DeviceId,
    /// Whose steering it follows.
    pub cohort: CohortId,
    /// What is said of it.
    #[serde(default)]
    pub labels: Vec<Label>,
}

/// Something in the server's own journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// Which record.
    pub seq: u64,
    /// When, on the server's clock.
    pub at_ms: u64,
    /// What, in one line.
    pub what: String,
}
