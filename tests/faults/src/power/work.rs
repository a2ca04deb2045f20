//! A run: the executor that ships, called as the function that it is, and its words in the runtime's.
//!
//! Not here: doing what it asks for (`pump`), and what the host checks of its answers.

use std::collections::BTreeMap;

use backstay_model::{
    Access, Answer, Deed, Effect, Millis, Order, Outcome, Release, SlotDeed, SlotStatus, Task, Transience,
};
use backstay_sdk::executor::{self as sdk};
use executor_ota::Ota;

/// A run under way.
pub(super) struct Work {
    state: Vec<u8>,
    open: BTreeMap<u32, Effect>,
    end: Option<Outcome>,
}

/// What it wants next.
pub(super) enum Asked {
    /// These effects.
    For(Vec<Effect>),
    /// It has ended.
    Nothing(Outcome),
}

type Fallible<T> = Result<T, String>;

impl Work {
    /// Begins a run.
    pub(super) fn begins(order: &Order) -> Fallible<Self> {
        let task = match &order.task {
            Task::Install { release } => sdk::Task::Install(release_in(release)),
            Task::Confirm { release } => sdk::Task::Confirm(release_in(release)),
            Task::GoHome { release } => sdk::Task::GoHome(release_in(release)),
            Task::Heal { playbook } => sdk::Task::Heal(playbook.to_string()),
        };
        let order = sdk::Order { ticket: order.ticket.0, fence: order.fence.0, task };
        let mut work = Self { state: Vec::new(), open: BTreeMap::new(), end: None };
        work.steps(sdk::Event::Begin(order))?;
        Ok(work)
    }

    /// Hears what came of an effect.
    pub(super) fn answers(&mut self, ordinal: u32, answer: &Answer) -> Fallible<()> {
        // One that nobody waits for changes nothing.
        if self.open.remove(&ordinal).is_none() {
            return Ok(());
        }
        let answer = match answer {
            Answer::Done => sdk::Answer::Done,
            Answer::Exited { code, output } => {
                let output = sdk::Output { bytes: output.bytes.clone(), whole: None };
                sdk::Answer::Exited(sdk::Exited { code: *code, output })
            }
            Answer::Slots(SlotStatus { booted, confirmed, other, trying }) => {
                sdk::Answer::Slots(sdk::SlotStatus {
                    booted: release_in(booted),
                    confirmed: release_in(confirmed),
                    other: other.as_ref().map(release_in),
                    trying: trying.as_ref().map(release_in),
                })
            }
            Answer::Failed(outcome) => sdk::Answer::Failed(failed_in(outcome)),
            Answer::TimedOut => sdk::Answer::TimedOut,
            Answer::Refused(why) => sdk::Answer::Refused(why.clone()),
            Answer::InDoubt => sdk::Answer::InDoubt,
            Answer::Response { .. } | Answer::Content(_) => {
                return Err(format!("nobody asked for {answer:?}"));
            }
        };
        self.steps(sdk::Event::Answered(sdk::Answered { ordinal, answer }))
    }

    /// What it wants next.
    pub(super) fn goes_on(&self) -> Asked {
        match &self.end {
            Some(outcome) => Asked::Nothing(outcome.clone()),
            None => Asked::For(self.open.values().cloned().collect()),
        }
    }

    fn steps(&mut self, event: sdk::Event) -> Fallible<()> {
        let stepped = sdk::step::<Ota>(&[], &self.state, event);
        let stepped = stepped.map_err(|refusal| format!("the executor refuses: {refusal:?}"))?;
        self.state = stepped.state;
        for effect in stepped.effects {
            let access = match effect.access {
                sdk::Access::Looks => Access::Looks,
                sdk::Access::Changes => Access::Changes,
            };
            let deed = deed(&effect.deed).ok_or_else(|| format!("nobody does {:?}", effect.deed))?;
            self.open.insert(effect.ordinal, Effect { ordinal: effect.ordinal, access, deed });
        }
        self.end = stepped.end.map(|end| match end {
            sdk::Outcome::Done => Outcome::Done,
            sdk::Outcome::Failed(sdk::Failed { transience, why }) => Outcome::Failed {
                transience: match transience {
                    sdk::Transience::Transient => Transience::Transient,
                    sdk::Transience::Permanent => Transience::Permanent,
                },
                why,
            },
        });
        Ok(())
    }
}

fn release_in(release: &Release) -> sdk::Release {
    sdk::Release {
        version: release.version.to_string(),
        digest: release.digest.to_string(),
        length: release.length,
        security_epoch: release.security_epoch,
    }
}

fn release_out(release: &sdk::Release) -> Option<Release> {
    Some(Release {
        version: release.version.parse().ok()?,
        digest: release.digest.parse().ok()?,
        length: release.length,
        security_epoch: release.security_epoch,
    })
}

fn failed_in(outcome: &Outcome) -> sdk::Failed {
    match outcome {
        Outcome::Done => sdk::permanent(""),
        Outcome::Failed { transience: Transience::Transient, why } => sdk::transient(why.as_str()),
        Outcome::Failed { transience: Transience::Permanent, why } => sdk::permanent(why.as_str()),
    }
}

/// None: the executor of a device asks for nothing of the kind.
fn deed(deed: &sdk::Deed) -> Option<Deed> {
    Some(match deed {
        sdk::Deed::Slot(slot) => Deed::Slot(match slot {
            sdk::Slot::Status => SlotDeed::Status,
            sdk::Slot::Stage(release) => SlotDeed::Stage(release_out(release)?),
            sdk::Slot::TryNext(release) => SlotDeed::TryNext(release_out(release)?),
            sdk::Slot::Confirm(release) => SlotDeed::Confirm(release_out(release)?),
            sdk::Slot::GoHome(release) => SlotDeed::GoHome(release_out(release)?),
        }),
        sdk::Deed::Run(run) => Deed::Run { command: run.command.parse().ok()?, args: run.args.clone() },
        sdk::Deed::Sleep(ms) => Deed::Sleep { span: Millis(*ms) },
        sdk::Deed::Http(_) | sdk::Deed::File(_) | sdk::Deed::Publish(_) | sdk::Deed::Attach(_) => {
            return None;
        }
    })
}
