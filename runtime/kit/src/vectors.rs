//! A vendor's own tests: what is shown to a plugin, and what it has to come to, in a file.
//!
//! ```toml
//! name = "a breach in two windows goes home"        # a policy's
//! [settings]
//! consecutive = 2
//! [facts]
//! on-trial = true
//! [[facts.objective]]
//! name = "http"
//! windows = [[10, 0], [10, 9], [10, 10]]            # samples and how many were bad, oldest first
//! [expect]
//! action = "roll-back"                              # proceed, slow, heal, roll-back, freeze, pause
//! reason = "http"                                   # stands in one of its reasons
//! ```
//!
//! ```toml
//! name = "restarts the service"                     # an executor's
//! [order]
//! task = "heal"                                     # install, confirm, go-home, heal
//! playbook = "restart"
//! [[step]]
//! asks = "run restart"                              # how what it asks for begins, in words
//! answer = { exit = 0, output = "ok" }
//! [expect]
//! ends = "done"                                     # or "failed", with a word of why in `why`
//! ```
//!
//! Here: the form of the file, and holding a plugin against it. Not here: finding the files.

use std::collections::BTreeMap;

use backstay_host::Stepped;
use backstay_model::{
    Answer, Breaker, Decision, Digest, Facts, Fence, Infra, InfraKind, Millis, Mono, Name, Objective, Order,
    Outcome, Output, Permille, Release, Schema, Scope, SlotStatus, Task, Ticket, Told, Transience, Version,
    WINDOWS_MAX, Window,
};
use backstay_plugins::{Next, Run};
use serde::Deserialize;

use crate::{
    calls::{Decides, Settings, Steps},
    judging::word,
};

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// What it shows, in words.
    pub name: String,
    #[serde(default)]
    settings: BTreeMap<Name, Set>,
    /// For a policy.
    facts: Option<Shown>,
    /// What the policy remembers.
    #[serde(default)]
    prior: String,
    /// For an executor.
    order: Option<Ordered>,
    #[serde(default)]
    step: Vec<StepShown>,
    expect: Option<Expect>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Set {
    Flag(bool),
    Number(i64),
    Text(String),
    Texts(Vec<String>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Shown {
    now: u64,
    release: Version,
    stage: u16,
    on_trial: bool,
    objective: Vec<ObjectiveShown>,
    anomaly: Option<u16>,
    infra: BTreeMap<InfraShown, u32>,
    attempts: u32,
    breaker_open_ms: Option<u64>,
    schema_one_way: Option<u32>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            now: 3_600_000,
            release: version("1.5.0"),
            stage: 1000,
            on_trial: true,
            objective: Vec::new(),
            anomaly: None,
            infra: BTreeMap::new(),
            attempts: 0,
            breaker_open_ms: None,
            schema_one_way: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum InfraShown {
    ProcessExited,
    OutOfMemory,
    MachineLost,
    Disk,
    Network,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectiveShown {
    name: Name,
    #[serde(default = "yes")]
    critical: bool,
    #[serde(default)]
    scope: ScopeShown,
    #[serde(default)]
    windows: Vec<(u32, u32)>,
    #[serde(default)]
    baseline: Vec<(u32, u32)>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ScopeShown {
    #[default]
    Local,
    Dependency,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ordered {
    task: TaskShown,
    release: Option<Version>,
    playbook: Option<Name>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TaskShown {
    Install,
    Confirm,
    GoHome,
    Heal,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepShown {
    asks: String,
    answer: AnswerShown,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum AnswerShown {
    Done,
    TimedOut,
    InDoubt,
    #[serde(untagged)]
    Exit {
        exit: i32,
        #[serde(default)]
        output: String,
    },
    #[serde(untagged)]
    Response {
        status: u16,
        #[serde(default)]
        body: String,
    },
    #[serde(untagged)]
    Content {
        content: String,
    },
    #[serde(untagged)]
    Failed {
        failed: String,
        #[serde(default)]
        for_now: bool,
    },
    #[serde(untagged)]
    Refused {
        refused: String,
    },
    #[serde(untagged)]
    Slots {
        runs: Version,
        confirmed: Option<Version>,
        other: Option<Version>,
        trying: Option<Version>,
    },
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    action: Option<String>,
    reason: Option<String>,
    ends: Option<String>,
    why: Option<String>,
}

fn version(text: &str) -> Version {
    text.parse().expect("it is written down as a version")
}

/// A release as vectors name it: by its version, from which all else is made up.
#[must_use]
pub fn release(version: &Version) -> Release {
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(version.as_str().bytes().cycle()) {
        *to = from;
    }
    Release { version: version.clone(), digest: Digest(digest), length: 1_000_000, security_epoch: 1 }
}

/// What a vector is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// A policy.
    Policy,
    /// An executor.
    Executor,
}

impl Vector {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let vector: Self = toml::from_str(text).map_err(|why| why.to_string())?;
        match (&vector.facts, &vector.order) {
            (Some(_), None) | (None, Some(_)) => Ok(vector),
            (Some(_), Some(_)) => Err("it has facts and an order: one of the two".into()),
            (None, None) => Err("it has neither facts (for a policy) nor an order (for an executor)".into()),
        }
    }

    /// What it is for.
    #[must_use]
    pub fn is_for(&self) -> For {
        if self.facts.is_some() { For::Policy } else { For::Executor }
    }

    /// How the plugin is configured.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let told = |set: &Set| match set {
            Set::Flag(flag) => Told::Flag(*flag),
            Set::Number(number) => Told::Number(*number),
            Set::Text(text) => Told::Text(text.clone()),
            Set::Texts(texts) => Told::Texts(texts.clone()),
        };
        self.settings.iter().map(|(name, set)| (name.clone(), told(set))).collect()
    }

    /// Asks a policy, and says what it answered.
    ///
    /// # Errors
    /// It isn't for a policy, or there was no answer.
    pub fn decide(&self, policy: &impl Decides) -> Result<Decision, String> {
        let shown = self.facts.as_ref().ok_or("it is for an executor")?;
        let decided = policy.decide(&self.settings(), &shown.facts()?, self.prior.as_bytes());
        decided.map(|decided| decided.decision).map_err(|why| why.to_string())
    }

    /// Takes an executor through the steps, and says what it came to: each thing that it asked for, and its end.
    ///
    /// # Errors
    /// It asked for something else, or there was no answer. What it did until then stands before the why.
    pub fn walk(&self, executor: &impl Steps) -> Result<(Vec<String>, Option<Outcome>), String> {
        let order = self.order.as_ref().ok_or("it is for a policy")?.order()?;
        let settings = self.settings();
        struct Bound<'a, S>(&'a S, &'a Settings);
        impl<S: Steps> backstay_plugins::Steps for Bound<'_, S> {
            fn step(
                &self,
                state: &[u8],
                event: &backstay_host::Event,
            ) -> Result<Stepped, backstay_host::CallError> {
                self.0.step(self.1, state, event)
            }
        }
        let bound = Bound(executor, &settings);
        let mut asked = Vec::new();
        let stuck = |stuck: backstay_plugins::Stuck| stuck.error.to_string();
        let (mut run, mut next) = Run::begin(&bound, order).map_err(stuck)?;
        let mut waiting = Vec::new();
        let mut shown = self.step.iter();
        loop {
            match next {
                Next::End(outcome) => return Ok((asked, Some(outcome))),
                Next::Do(effects) => waiting.extend(effects),
            }
            if waiting.is_empty() {
                return Err(format!("it waits for nothing, after: {}", asked.join(", ")));
            }
            let effect = waiting.remove(0);
            let told = effect.deed.to_string();
            let Some(step) = shown.next() else {
                asked.push(told);
                return Ok((asked, None));
            };
            if !told.starts_with(&step.asks) {
                return Err(format!(
                    "step {}: it asks for \"{told}\", and \"{}\" was expected",
                    asked.len() + 1,
                    step.asks
                ));
            }
            asked.push(told);
            next = run.answer(&bound, effect.ordinal, step.answer.answer()).map_err(stuck)?;
        }
    }

    /// Holds a policy against what is expected.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn check_policy(&self, policy: &impl Decides) -> Result<(), String> {
        let decision = self.decide(policy)?;
        let expect = self.expect.clone().unwrap_or_default();
        let reasons: Vec<_> = decision.reasons.iter().map(|reason| reason.0.as_str()).collect();
        let told = || format!("{}: {}", decision.action, reasons.join("; "));
        if let Some(action) = &expect.action
            && action != word(&decision.action)
        {
            return Err(format!("expected {action}, and it said {}", told()));
        }
        if let Some(wanted) = &expect.reason
            && !reasons.iter().any(|reason| reason.contains(wanted.as_str()))
        {
            return Err(format!("expected a reason with \"{wanted}\", and it said {}", told()));
        }
        if expect.ends.is_some() || expect.why.is_some() {
            return Err("expect.ends and expect.why are for executors".into());
        }
        Ok(())
    }

    /// Holds an executor against what is expected.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn check_executor(&self, executor: &impl Steps) -> Result<(), String> {
        let (asked, end) = self.walk(executor)?;
        if asked.len() < self.step.len() {
            let left = self.step.get(asked.len()).map_or("", |step| step.asks.as_str());
            return Err(format!("it ended before it asked for \"{left}\": {}", told_end(end.as_ref())));
        }
        let expect = self.expect.clone().unwrap_or_default();
        if expect.action.is_some() || expect.reason.is_some() {
            return Err("expect.action and expect.reason are for policies".into());
        }
        let (ends, why) = match &end {
            None => ("goes on", ""),
            Some(Outcome::Done) => ("done", ""),
            Some(Outcome::Failed { why, .. }) => ("failed", why.as_str()),
        };
        if expect.ends.as_ref().is_some_and(|wanted| wanted != ends)
            || expect.why.as_ref().is_some_and(|wanted| !why.contains(wanted.as_str()))
        {
            let wanted = format!("{} {}", expect.ends.unwrap_or_default(), expect.why.unwrap_or_default());
            return Err(format!(
                "expected it to end as {}, and it {}; it asked for: {}",
                wanted.trim(),
                told_end(end.as_ref()),
                asked.join(", ")
            ));
        }
        Ok(())
    }
}

fn told_end(end: Option<&Outcome>) -> String {
    end.map_or_else(|| "goes on".into(), |outcome| format!("ended: {outcome}"))
}

impl Shown {
    fn facts(&self) -> Result<Facts, String> {
        let windows = |windows: &[(u32, u32)]| -> Result<Vec<Window>, String> {
            if windows.len() > WINDOWS_MAX {
                return Err(format!(
                    "{} windows of an objective, at most {WINDOWS_MAX} are shown",
                    windows.len()
                ));
            }
            let first = self.now.saturating_sub(60_000 * windows.len() as u64);
            let window = |(n, (samples, bad)): (usize, &(u32, u32))| {
                let opened = Mono(first.saturating_add(60_000 * n as u64));
                Window { opened, span: Millis(60_000), samples: *samples, bad: *bad.min(samples) }
            };
            Ok(windows.iter().enumerate().map(window).collect())
        };
        let share = |share: u16| Permille::new(share).ok_or("a share is 0 to 1000 permille");
        let objective = |shown: &ObjectiveShown| -> Result<Objective, String> {
            Ok(Objective {
                name: shown.name.clone(),
                critical: shown.critical,
                scope: match shown.scope {
                    ScopeShown::Local => Scope::Local,
                    ScopeShown::Dependency => Scope::Dependency,
                },
                candidate: windows(&shown.windows)?,
                baseline: windows(&shown.baseline)?,
            })
        };
        let infra = self.infra.iter().map(|(kind, count)| Infra {
            kind: match kind {
                InfraShown::ProcessExited => InfraKind::ProcessExited,
                InfraShown::OutOfMemory => InfraKind::OutOfMemory,
                InfraShown::MachineLost => InfraKind::MachineLost,
                InfraShown::Disk => InfraKind::Disk,
                InfraShown::Network => InfraKind::Network,
            },
            count: *count,
        });
        Ok(Facts {
            now: Mono(self.now),
            release: release(&self.release),
            stage: share(self.stage)?,
            on_trial: self.on_trial,
            objectives: self.objective.iter().map(objective).collect::<Result<_, _>>()?,
            anomaly: self.anomaly.map(share).transpose()?,
            infra: infra.collect(),
            attempts: self.attempts,
            breaker: self
                .breaker_open_ms
                .map_or(Breaker::Closed, |left| Breaker::Open { left: Millis(left) }),
            schema: self.schema_one_way.map_or(Schema::Unknown, Schema::OneWay),
        })
    }
}

impl Ordered {
    fn order(&self) -> Result<Order, String> {
        let release = || self.release.as_ref().map(release).ok_or("the order has no release");
        let task = match self.task {
            TaskShown::Install => Task::Install { release: release()? },
            TaskShown::Confirm => Task::Confirm { release: release()? },
            TaskShown::GoHome => Task::GoHome { release: release()? },
            TaskShown::Heal => {
                Task::Heal { playbook: self.playbook.clone().ok_or("the order has no playbook")? }
            }
        };
        Ok(Order { ticket: Ticket(1), fence: Fence(1), task })
    }
}

impl AnswerShown {
    fn answer(&self) -> Answer {
        let said = |text: &str| Output { bytes: text.as_bytes().to_vec(), whole: None };
        match self {
            Self::Done => Answer::Done,
            Self::TimedOut => Answer::TimedOut,
            Self::InDoubt => Answer::InDoubt,
            Self::Exit { exit, output } => Answer::Exited { code: Some(*exit), output: said(output) },
            Self::Response { status, body } => Answer::Response { status: *status, body: said(body) },
            Self::Content { content } => Answer::Content(said(content)),
            Self::Failed { failed, for_now } => Answer::Failed(Outcome::Failed {
                transience: if *for_now { Transience::Transient } else { Transience::Permanent },
                why: failed.clone(),
            }),
            Self::Refused { refused } => Answer::Refused(refused.clone()),
            Self::Slots { runs, confirmed, other, trying } => Answer::Slots(SlotStatus {
                booted: release(runs),
                confirmed: release(confirmed.as_ref().unwrap_or(runs)),
                other: other.as_ref().map(release),
                trying: trying.as_ref().map(release),
            }),
        }
    }
}
