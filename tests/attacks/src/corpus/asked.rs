//! A guest that was signed, verified and loaded like any other plugin, and what comes of asking it.
//!
//! Vendor and operator did not look: what holds it is the sandbox alone. Here: the asking. Not here: what is wrong with the
//! guest (`guest`), and asking it in a process of its own or beside another (`tests/plugins.rs`).

use backstay_host::{CallError, Config, Engine, Event, Plugin};
use backstay_model::{Answer, Name};
use backstay_trust::{Limits, Permissions, VerifiedPlugin};
use serde::Deserialize;

use super::{Verdict, guest};
use crate::{Keys, Shipped, guests};

/// What a guest is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// To decide.
    Policy,
    /// To take steps.
    Executor,
}

/// What a guest is called for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// What every plugin of its world is for: `decide`, `step`.
    #[default]
    Own,
    /// What can be set.
    Describe,
    /// What is wrong with a configuration.
    Validate,
}

/// A guest of the corpus.
#[derive(Debug)]
pub struct Guest {
    /// What it is built for.
    pub world: World,
    /// The portable component.
    pub component: Vec<u8>,
    /// What it may use.
    pub limits: Limits,
    /// What it is called for.
    pub call: Call,
    /// Bytes of the memo or state that it is shown.
    pub shown: usize,
}

impl Guest {
    /// A policy that does as it should.
    #[must_use]
    pub fn good() -> Self {
        guest::Policy::default().guest()
    }

    /// Signed by vendor and operator.
    #[must_use]
    pub fn shipped(&self, keys: &Keys) -> Shipped {
        guests::shipped(keys, &self.component, permissions(), self.limits, 1)
    }

    /// Verified, as an instance does it.
    #[must_use]
    pub fn verified(&self, keys: &Keys) -> VerifiedPlugin {
        guests::verified(keys, &self.shipped(keys), &self.component)
    }

    /// What it is shown: a memo, or a state.
    #[must_use]
    pub fn before(&self) -> Vec<u8> {
        vec![0; self.shown]
    }

    /// What happens to an executor: a run begins, or goes on where it is shown a state.
    #[must_use]
    pub fn event(&self) -> Event {
        match self.shown {
            0 => Event::Begin(guests::order()),
            _ => Event::Answered { ordinal: 0, answer: Answer::Done },
        }
    }

    /// Asks it; what it answered, for people.
    ///
    /// # Errors
    /// It did not answer.
    pub fn asked(&self, plugin: &Plugin) -> Result<String, CallError> {
        let config = Config::default();
        match (plugin, self.call) {
            (Plugin::Policy(policy), Call::Own) => policy
                .decide(&config, &guests::facts(), &self.before())
                .map(|decided| format!("{:?}", decided.decision)),
            (Plugin::Executor(executor), Call::Own) => executor
                .step(&config, &self.before(), &self.event())
                .map(|stepped| format!("{:?}", stepped.effects)),
            (Plugin::Policy(policy), Call::Describe) => policy.describe().map(|told| told.about),
            (Plugin::Executor(executor), Call::Describe) => executor.describe().map(|told| told.about),
            (Plugin::Policy(policy), Call::Validate) => {
                policy.validate(&config).map(|problems| format!("{problems:?}"))
            }
            (Plugin::Executor(executor), Call::Validate) => {
                executor.validate(&config).map(|problems| format!("{problems:?}"))
            }
        }
    }

    pub(super) fn tried(&self) -> Verdict {
        let (engine, keys) = (Engine::new().unwrap(), Keys::new());
        let plugin = Plugin::load(&engine, &self.verified(&keys)).unwrap();
        let verdict = match self.asked(&plugin) {
            Ok(what) => Verdict::Accepted(what),
            Err(error) => Verdict::of(&error, error.help()),
        };
        // As good as ever: nobody else feels it.
        let good = Self::good();
        let plugin = Plugin::load(&engine, &good.verified(&keys)).unwrap();
        assert!(good.asked(&plugin).unwrap().contains("\"ok\""));
        verdict
    }
}

/// What the guests here are granted.
fn permissions() -> Permissions {
    let names = |name| vec![Name::parse(name).unwrap()];
    Permissions {
        endpoints: names("api"),
        commands: names("restart"),
        topics: names("told"),
        paths: vec!["/etc/pump".into()],
        slots: false,
    }
}
