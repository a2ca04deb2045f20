//! The targets of this server: what is watched, judged, mended and brought back beside the fleet.
//!
//! Here: what there is of them, and what is kept from one start to the next. In `configured`: what the configuration makes of
//! it; in `watching`: windows; in `following`: what a decision leads to; in `running`: executors and their effects; in
//! `planning`: dry runs; in `looking`: what executors see; in `answering` and `showing`: the API. Not here: the decisions (`core`), and doing anything that waits
//! (`doing`, which the driver owns).

mod answering;
mod configured;
mod doing;
mod executing;
mod figures;
mod following;
mod looking;
mod planning;
mod running;
mod showing;
#[cfg(test)]
mod stories;
mod told;
mod watching;
#[cfg(test)]
pub(super) mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use backstay_core::{Agenda, Allowances, Confidence, Estate, Migrations, Quarantine, Shared, TargetState};
use backstay_hands::HttpGrant;
use backstay_model::{Deed, Digest, Equipped, Event, Mono, Name, TargetId, Ticket};
use backstay_plugins::{Memos, Run};
use backstay_signals::Firing;
use backstay_trust::Keyring;
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::{
    configured::{Configured, Watched, guarded, problems as configured_problems},
    doing::{Came, Doer},
    executing::Executes,
    figures::Figures,
    told::target_event,
};
use self::{
    executing::Chosen,
    planning::Dry,
    watching::{Questions, Watch},
};
use super::judge::Ask;

/// Names of the parts that are kept.
const SHARED: &str = "targets";
const TARGET: &str = "target/";
const POLICY: &str = "policy/";
const EXECUTORS: &str = "executors";
const MIGRATIONS: &str = "migrations";
const HELD: &str = "held";
const SETUPS: &str = "setups";

/// An alert that nobody repeated for so long is over: Alertmanager repeats one every 4 h as a rule.
const ALERT_HOLDS: backstay_model::Millis = backstay_model::Millis::from_secs(5 * 3600);

/// The targets, and who decides and acts for them.
pub(crate) struct Targets {
    pub(super) estate: Estate,
    watches: BTreeMap<TargetId, Watch>,
    /// When windows close.
    windows: Agenda<TargetId>,
    policies: BTreeMap<Name, Policies>,
    executors: BTreeMap<Name, Vec<Box<dyn Executes>>>,
    /// How each executor was set up last, as it was written down, by its grant.
    equipped: BTreeMap<Digest, Equipped>,
    /// Where a POST only asks, by endpoint.
    asks: BTreeMap<Name, HttpGrant>,
    /// Executors that failed too often.
    out: Quarantine,
    runs: BTreeMap<Ticket, Open>,
    /// Dry runs, whose askers wait, and looks.
    dry: BTreeMap<u64, Dry>,
    dry_runs: u64,
    /// Which of them is a target's look.
    looks: BTreeMap<TargetId, u64>,
    /// What dry runs are told that their changes came to.
    assumed: VecDeque<(u64, u32, backstay_model::Answer)>,
    firing: Firing,
    /// What is to be begun, in this order, once it is written down.
    todo: VecDeque<Todo>,
    pub(super) figures: Figures,
}

/// The policies under one name of the configuration.
pub(crate) struct Policies {
    judge: Box<dyn Ask>,
    confidence: Confidence,
    /// What they remember of each target, while the server runs.
    memos: BTreeMap<TargetId, Memos>,
}

/// A run that is open.
struct Open {
    target: TargetId,
    /// Under which name of the configuration its executor is, and of which grant.
    executor: (Name, Digest),
    /// How it was set up for the target when it took the run.
    equipped: Option<Equipped>,
    run: Run,
}

/// Something that is begun and waited for beside the one task.
#[derive(Debug)]
pub(crate) enum Todo {
    /// An effect, which is written down by now.
    Effect {
        /// For whom.
        key: Key,
        /// What.
        deed: Deed,
    },
    /// Nobody waits for these effects any more.
    LetGo(Whose),
    /// A window has closed: its numbers are asked for.
    Measure {
        /// Of which target.
        target: TargetId,
        /// Where.
        prometheus: Name,
        /// What.
        questions: Questions,
        /// Answers that are older than this say nothing.
        stale: backstay_model::Millis,
    },
    /// A person is told.
    Page(backstay_api::PageBody),
}

/// Which effect it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Whose.
    pub(crate) whose: Whose,
    /// Which of theirs.
    pub(crate) ordinal: u32,
}

/// Whose effects they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    /// Of a run.
    Run(Ticket),
    /// Of a dry run, or a look.
    Dry(u64),
}

/// What is kept of targets, by name of the part.
pub(crate) type Parts = BTreeMap<String, Vec<u8>>;

impl std::fmt::Debug for Targets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Targets").field("watched", &self.watches.len()).finish_non_exhaustive()
    }
}

impl Targets {
    /// Goes on from what was kept, with nobody watched yet; and what of it could not be read.
    pub(crate) fn restore(parts: Parts, seed: u64) -> (Self, Vec<String>) {
        let mut lost = Vec::new();
        let mut read = Kept::default();
        for (name, bytes) in parts {
            if let Err(why) = read.take(&name, &bytes) {
                lost.push(format!("{name} can't be read: {why}"));
            }
        }
        let Kept { shared, states, policies, executors, migrations, held, setups } = read;
        // Who is watched, and what all may do together, the configuration says.
        let none = backstay_core::Allowance { switches: 0, span: backstay_model::Millis(0) };
        let allowances = Allowances { estate: none, domain: none };
        let targets = Self {
            estate: Estate::restore(
                shared.unwrap_or_else(|| Shared::new(seed)),
                states,
                migrations,
                allowances,
            )
            .with_held(held)
            .with_setups(setups),
            watches: BTreeMap::new(),
            windows: Agenda::default(),
            policies: policies
                .into_iter()
                .map(|(name, confidence)| (name, Policies::waiting(confidence)))
                .collect(),
            executors: BTreeMap::new(),
            equipped: BTreeMap::new(),
            asks: BTreeMap::new(),
            out: executors,
            runs: BTreeMap::new(),
            dry: BTreeMap::new(),
            dry_runs: 0,
            looks: BTreeMap::new(),
            assumed: VecDeque::new(),
            firing: Firing::new(ALERT_HOLDS),
            todo: VecDeque::new(),
            figures: Figures::default(),
        };
        (targets, lost)
    }

    /// What is kept of them.
    pub(crate) fn parts(&self) -> Result<Parts, String> {
        let mut parts = Parts::new();
        if self.watches.is_empty() && self.estate.states().next().is_none() {
            return Ok(parts);
        }
        parts.insert(SHARED.into(), bytes(&self.estate.shared())?);
        parts.insert(EXECUTORS.into(), bytes(&self.out)?);
        if *self.estate.migrations() != Migrations::default() {
            parts.insert(MIGRATIONS.into(), bytes(self.estate.migrations())?);
        }
        if !self.estate.held().is_empty() {
            parts.insert(HELD.into(), bytes(self.estate.held())?);
        }
        if !self.estate.setups().is_empty() {
            parts.insert(SETUPS.into(), bytes(self.estate.setups())?);
        }
        let mut groups: BTreeMap<u8, BTreeMap<&TargetId, &TargetState>> = BTreeMap::new();
        for (id, state) in self.estate.states() {
            groups.entry(group(id)).or_default().insert(id, state);
        }
        for (number, group) in groups {
            parts.insert(format!("{TARGET}{number}"), bytes(&group)?);
        }
        for (name, policies) in &self.policies {
            let Confidence { quarantine, succession } = &policies.confidence;
            parts.insert(format!("{POLICY}{name}"), bytes(&(quarantine, succession))?);
        }
        Ok(parts)
    }

    /// Whether a part that was kept is one of these.
    pub(crate) fn keeps(name: &str) -> bool {
        name == SHARED
            || name == EXECUTORS
            || name == MIGRATIONS
            || name == HELD
            || name == SETUPS
            || name.starts_with(TARGET)
            || name.starts_with(POLICY)
    }

    /// What is to be begun now.
    pub(crate) fn todo(&mut self) -> impl Iterator<Item = Todo> {
        self.todo.drain(..)
    }

    /// The next moment at which anything is due.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        [self.estate.deadline(), self.windows.first()].into_iter().flatten().min()
    }

    /// Whether something that an executor calls a change only asks, as the operator says of the endpoint.
    fn only_asks(&self, deed: &Deed) -> bool {
        let Deed::Http { endpoint, method, path, .. } = deed else { return false };
        self.asks.get(endpoint).is_some_and(|grant| grant.has(method, path))
    }

    /// An executor that is loaded, set up for a target. The configuration may have given that another one meanwhile: then it is
    /// set up for others, and not for this.
    fn chosen(&self, target: &TargetId, named: &(Name, Digest)) -> Option<Chosen<'_>> {
        let watched = &self.watches.get(target)?.watched;
        let executor = self.executor(named)?;
        (watched.executor.as_ref() == Some(&named.0)).then_some(Chosen { executor, setup: watched.setup })
    }

    /// An executor that is loaded.
    fn executor(&self, (name, grant): &(Name, Digest)) -> Option<&dyn Executes> {
        let of = self.executors.get(name)?.iter().find(|executor| executor.grant() == grant);
        of.map(AsRef::as_ref)
    }

    /// Whether the plugin under this grant is loaded.
    pub(crate) fn has(&self, grant: &Digest) -> bool {
        self.policies.values().any(|policies| policies.judge.has(grant))
            || self.executors.values().flatten().any(|executor| executor.grant() == grant)
    }

    /// Asks only those any more whom `keyring` still grants. What it gives is to be recorded.
    pub(crate) fn heed(&mut self, keyring: &Keyring) -> Vec<Event> {
        let mut events = Vec::new();
        for policies in self.policies.values_mut() {
            events.extend(policies.judge.heed(keyring));
        }
        for executors in self.executors.values_mut() {
            executors.retain(|executor| {
                let told =
                    executor.granted().and_then(|granted| backstay_plugins::taken_back(keyring, granted));
                let stays = told.is_none();
                events.extend(told);
                stays
            });
        }
        events
    }
}

impl Policies {
    fn waiting(confidence: Confidence) -> Self {
        Self { judge: Box::new(backstay_plugins::Judge::empty()), confidence, memos: BTreeMap::new() }
    }
}

/// In which part a target's state is: a thousand parts would not fit a record, and one would be written anew with each change.
fn group(id: &TargetId) -> u8 {
    id.as_str().bytes().fold(0_u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte)) % 16
}

#[derive(Default)]
struct Kept {
    shared: Option<Shared>,
    states: BTreeMap<TargetId, TargetState>,
    policies: BTreeMap<Name, Confidence>,
    executors: Quarantine,
    migrations: Migrations,
    held: BTreeSet<TargetId>,
    setups: BTreeMap<Ticket, Digest>,
}

impl Kept {
    fn take(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        if name.starts_with(TARGET) {
            self.states.extend(value::<BTreeMap<TargetId, TargetState>>(bytes)?);
        } else if let Some(policy) = name.strip_prefix(POLICY) {
            let policy = Name::parse(policy).map_err(|error| error.to_string())?;
            let (quarantine, succession) = value(bytes)?;
            self.policies.insert(policy, Confidence { quarantine, succession });
        } else if name == EXECUTORS {
            self.executors = value(bytes)?;
        } else if name == MIGRATIONS {
            self.migrations = value(bytes)?;
        } else if name == HELD {
            self.held = value(bytes)?;
        } else if name == SETUPS {
            self.setups = value(bytes)?;
        } else {
            self.shared = Some(value(bytes)?);
        }
        Ok(())
    }
}

fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(value).map_err(|error| error.to_string())
}

fn value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("bytes follow its end".into()),
        Err(_) => Err("it does not hold what it should".into()),
    }
}
