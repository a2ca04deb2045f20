//! Asking the policy, whichever of those configured may be asked.

use backstay_core::Quarantine;
use backstay_host::{CallError, Policy};
use backstay_model::{Came, Decision, Digest, Event, Facts, Memo, Mono, PluginId, Reason, Ticket};

use crate::{Ready, trace};

/// The policies of an instance, newest first, and what each remembers from its last answer.
#[derive(Debug)]
pub struct Judge {
    policies: Vec<(Ready<Policy>, Vec<u8>)>,
    consulted: Option<Consulted>,
}

/// The last call of a policy, as it is to be recorded with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consulted {
    grant: Digest,
    prior: Memo,
    came: Came,
}

impl Consulted {
    /// The event, once it is known which question it was.
    #[must_use]
    pub fn about(self, ticket: Ticket) -> Event {
        let Self { grant, prior, came } = self;
        Event::Consulted { ticket, grant, prior, came }
    }
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
        let policies = policies.into_iter().map(|ready| (ready, Vec::new())).collect();
        Self { policies, consulted: None }
    }

    /// The policies, newest first.
    pub fn policies(&self) -> impl Iterator<Item = &Ready<Policy>> {
        self.policies.iter().map(|(ready, _)| ready)
    }

    /// The call that the last answer came from. None: nobody was called.
    pub fn consulted(&mut self) -> Option<Consulted> {
        self.consulted.take()
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
        self.consulted = None;
        let chosen = quarantine.choose(&grants).copied();
        let Some((ready, memo)) =
            self.policies.iter_mut().find(|(ready, _)| Some(*ready.plugin.grant()) == chosen)
        else {
            return Err(Unanswered { why: "every policy is in quarantine".into(), event: None });
        };
        let decided = ready.plugin.decide(&ready.config, facts, memo);
        let (grant, prior) = (*ready.plugin.grant(), trace::memo(memo));
        self.consulted = Some(Consulted { grant, prior, came: trace::came_of_decision(&decided) });
        match decided {
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
