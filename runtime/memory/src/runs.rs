//! The steps of runs that have not ended. After a crash a run goes on from them: its state is a fold of the
//! executor over its steps, and what began without an end is in doubt.
//!
//! Not here: what a step does (`hands`), and going on (whoever drives runs).

use std::collections::BTreeMap;

use backstay_model::{Answer, Event, Ticket};

/// One step of a run, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An effect was about to be done.
    Began {
        /// Which.
        ordinal: u32,
    },
    /// It came to this.
    Ended {
        /// Which.
        ordinal: u32,
        /// Its answer, as [`Step::ended`] writes it.
        answer: Vec<u8>,
    },
}

impl Step {
    /// The effects among `steps` that began and have no outcome: whether they were done isn't known.
    #[must_use]
    pub fn in_doubt(steps: &[Self]) -> Vec<u32> {
        let ended = |wanted: u32| {
            steps.iter().any(|step| matches!(step, Self::Ended { ordinal, .. } if *ordinal == wanted))
        };
        let began = steps.iter().filter_map(|step| match step {
            Self::Began { ordinal } => Some(*ordinal),
            Self::Ended { .. } => None,
        });
        began.filter(|ordinal| !ended(*ordinal)).collect()
    }

    /// The outcomes among `steps`, in the order in which they came.
    #[must_use]
    pub fn answers(steps: &[Self]) -> Vec<(u32, Answer)> {
        let answer = |step: &Self| match step {
            Self::Began { .. } => None,
            // An answer that can't be read any more is one that isn't known.
            Self::Ended { ordinal, answer } => {
                Some((*ordinal, postcard::from_bytes(answer).unwrap_or(Answer::InDoubt)))
            }
        };
        steps.iter().filter_map(answer).collect()
    }

    /// The end of an effect, as it is recorded.
    #[must_use]
    pub fn ended(ticket: Ticket, ordinal: u32, answer: &Answer) -> Event {
        // Writing to memory doesn't fail; an answer that couldn't be written would come back as in doubt.
        let outcome = postcard::to_allocvec(answer).unwrap_or_default();
        Event::EffectEnded { ticket, ordinal, outcome }
    }
}

/// The steps of all runs that have begun and not ended, by ticket.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    steps: BTreeMap<Ticket, Vec<Step>>,
    /// Runs whose end is recorded, and the state that knows of it isn't yet. A cut between the two leaves a state in which the
    /// run is open: from its steps it comes to the same end, and does nothing twice.
    ended: Vec<Ticket>,
}

impl Runs {
    /// Takes in what a record says about runs.
    #[expect(clippy::wildcard_enum_match_arm, reason = "few of the many kinds of event are about runs")]
    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            // A ticket may come again when what was remembered was lost: nothing of then is of this run.
            Event::Ordered { order, .. } => {
                self.steps.remove(&order.ticket);
                self.ended.retain(|ended| *ended != order.ticket);
            }
            Event::EffectBegan { ticket, ordinal, .. } => {
                self.steps.entry(*ticket).or_default().push(Step::Began { ordinal: *ordinal });
            }
            Event::EffectEnded { ticket, ordinal, outcome } => {
                // An effect may outlast its run. That opens nothing that nobody would ever end.
                if let Some(steps) = self.steps.get_mut(ticket) {
                    steps.push(Step::Ended { ordinal: *ordinal, answer: outcome.clone() });
                }
            }
            Event::Ended { ticket, .. } => self.ended.push(*ticket),
            _ => {}
        }
    }

    /// A state is recorded that knows of all ends before it: which runs' steps nobody needs any more.
    pub(crate) fn settle(&mut self) -> Vec<Ticket> {
        let ended = std::mem::take(&mut self.ended);
        ended.iter().for_each(|ticket| drop(self.steps.remove(ticket)));
        ended
    }

    pub(crate) fn of(&self, ticket: Ticket) -> &[Step] {
        self.steps.get(&ticket).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// As bytes for the view.
    pub(crate) fn encode(&self, ticket: Ticket) -> Vec<u8> {
        let mut bytes = Vec::new();
        for step in self.of(ticket) {
            let (ordinal, answer) = match step {
                Step::Began { ordinal } => (ordinal, None),
                Step::Ended { ordinal, answer } => (ordinal, Some(answer)),
            };
            bytes.extend_from_slice(&ordinal.to_le_bytes());
            bytes.push(u8::from(answer.is_some()));
            if let Some(answer) = answer {
                bytes.extend_from_slice(&(answer.len() as u32).to_le_bytes());
                bytes.extend_from_slice(answer);
            }
        }
        bytes
    }

    /// What [`Runs::encode`] wrote; `None` if it isn't that.
    pub(crate) fn decode(&mut self, ticket: Ticket, mut bytes: &[u8]) -> Option<()> {
        let word = |bytes: &mut &[u8]| {
            let (word, rest) = bytes.split_first_chunk::<4>()?;
            *bytes = rest;
            Some(u32::from_le_bytes(*word))
        };
        let mut steps = Vec::new();
        while !bytes.is_empty() {
            let ordinal = word(&mut bytes)?;
            let (kind, rest) = bytes.split_first()?;
            bytes = rest;
            steps.push(match kind {
                0 => Step::Began { ordinal },
                1 => {
                    let length = word(&mut bytes)? as usize;
                    let (answer, rest) = bytes.split_at_checked(length)?;
                    bytes = rest;
                    Step::Ended { ordinal, answer: answer.to_vec() }
                }
                _ => return None,
            });
        }
        self.steps.insert(ticket, steps);
        Some(())
    }
}
