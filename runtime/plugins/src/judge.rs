//! Asking the policy, whichever of those configured may be asked.

use backstay_core::Quarantine;
use backstay_host::{CallError, Policy};
use backstay_model::{Decision, Digest, Event, Facts, Mono, PluginId, Reason};

use crate::Ready;

/// The policies of an instance, newest first, and what each remembers from its last answer.
#[derive(Debug)]
pub struct Judge {
    policies: Vec<(Ready<Policy>, Vec<u8>)>,
}

/// There is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Why not, at most 256 bytes.
    pub why: String,
    /// What happened beside it and is to be recorded: a policy was put out.
    pub event: Option<Box<Event>>,
}

impl Judge {
    /// Of policies that are ready to be asked.
    #[must_use]
    pub fn new(policies: Vec<Ready<Policy>>) -> Self {
        Self { policies: policies.into_iter().map(|ready| (ready, Vec::new())).collect() }
    }

    /// Which plugins these are, and the sequences of their grants.
    pub fn grants(&self) -> impl Iterator<Item = (PluginId, u64)> {
        self.policies.iter().map(|(ready, _)| (ready.plugin.id().clone(), ready.sequence))
    }

    /// Asks the newest policy that is not in quarantine.
    ///
    /// # Errors
    /// If there is none, or it failed. What counts against it was counted.
    pub fn ask(
        &mut self,
        now: Mono,
        facts: &Facts,
        quarantine: &mut Quarantine,
    ) -> Result<Decision, Unanswered> {
        let grants: Vec<Digest> = self.policies.iter().map(|(ready, _)| *ready.plugin.grant()).collect();
        let chosen = quarantine.choose(&grants).copied();
        let Some((ready, memo)) =
            self.policies.iter_mut().find(|(ready, _)| Some(*ready.plugin.grant()) == chosen)
        else {
            return Err(Unanswered { why: "every policy is in quarantine".into(), event: None });
        };
        match ready.plugin.decide(&ready.config, facts, memo) {
            Ok(decided) => {
                *memo = decided.memo;
                Ok(decided.decision)
            }
            Err(error) => {
                let why = Reason::new(error.to_string()).0;
                // It begins afresh: what it remembered may be what made it fail.
                memo.clear();
                let event = match &error {
                    CallError::Strike(_) => quarantine.strike(now, *ready.plugin.grant()).map(|strikes| {
                        let (plugin, grant) = (ready.plugin.id().clone(), *ready.plugin.grant());
                        Box::new(Event::Quarantined { plugin, grant, strikes, why: why.clone() })
                    }),
                    CallError::Configuration { .. }
                    | CallError::Diverged { .. }
                    | CallError::Unexpected { .. }
                    | CallError::TooLarge { .. }
                    | CallError::Host { .. } => None,
                };
                Err(Unanswered { why, event })
            }
        }
    }
}
