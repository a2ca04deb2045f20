//! The tree as it ships: signed, ahead of time compiled, in a sandbox of its own for each decision.

use std::any::Any;

use backstay_host::{Config, Engine, Plugin, Policy};
use backstay_model::{Action, How};
use backstay_test_bench::{Failure, Signed};

use crate::{facts::Case, peer::Peer};

/// Ours.
pub struct Ours {
    signed: Signed,
    engine: Engine,
    config: Config,
    policy: Policy,
}

impl Ours {
    pub fn new() -> Result<Self, Failure> {
        let (signed, engine) = (Signed::policy_tree()?, Engine::new()?);
        let policy = Plugin::load(&engine, &signed.verify()?)?.into_policy().ok_or("it is no policy")?;
        Ok(Self { signed, engine, config: Config::default(), policy })
    }

    fn verified(&self) -> Result<Policy, Failure> {
        Ok(Plugin::load(&self.engine, &self.signed.verify()?)?.into_policy().ok_or("it is no policy")?)
    }

    fn ask(&self, policy: &Policy, case: &Case) -> Result<String, Failure> {
        let decided = policy.decide(&self.config, &case.facts, &[])?;
        Ok(match decided.decision.action {
            Action::Proceed => "proceed".into(),
            Action::Slow { windows } => format!("slow {windows}"),
            Action::Heal { playbook: None } => "heal".into(),
            Action::Heal { playbook: Some(playbook) } => format!("heal {playbook}"),
            Action::RollBack { how: How::AbortCanary } => "abort-canary".into(),
            Action::RollBack { how: How::SwitchAndFreeze } => "switch-and-freeze".into(),
            Action::Freeze => "freeze".into(),
            Action::Pause => "pause".into(),
        })
    }
}

impl Peer for Ours {
    fn name(&self) -> &'static str {
        "backstay (ours)"
    }

    fn cold(&self, case: &Case) -> Result<String, Failure> {
        self.ask(&self.verified()?, case)
    }

    fn kept(&mut self, _: &Case) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    fn fresh(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        self.ask(&self.policy, case).map(Some)
    }

    fn load(&self, case: &Case) -> Result<Box<dyn Any>, Failure> {
        let policy = self.verified()?;
        self.ask(&policy, case)?;
        Ok(Box::new(policy))
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.signed.component.len())
    }
}
