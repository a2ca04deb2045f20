//! One run on one machine, disturbed or not.
//!
//! The run is moved by the same fold that the agent moves it by. Not here: what is to be expected (`cases`).

use backstay_host::{CallError, Event, Stepped};
use backstay_model::{Access, Answer, Deed, Effect, Fence, Order, Outcome, Task, Ticket};
use backstay_plugins::{Next, Run, Stuck};

use super::world::World;
use crate::calls::{Settings, Steps};

/// The most effects of a run that anybody would wait for.
pub(crate) const EFFECTS_MAX: usize = 1000;

/// What becomes of an effect.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It is done, and the answer is what came of it.
    Done,
    /// It is not done, and this is the answer.
    Instead(Answer),
    /// It is done, and the answer is another.
    Yet(Answer),
    /// The host goes down before it is done, and comes back.
    StopBefore,
    /// The host goes down after it was done, and comes back.
    StopAfter,
    /// The whole machine goes down before it is done, and starts anew.
    CutBefore,
    /// The whole machine goes down after it was done, and starts anew.
    CutAfter,
    /// The run is left where it is, for ever. The effect is done.
    Abandon,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By its own word.
    Said(Outcome),
    /// The executor did not answer, or not well.
    Stuck(String),
    /// It was left.
    Abandoned,
    /// It asked for more than anybody would wait for.
    Endless,
}

/// A run that was played.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    pub(crate) end: End,
    pub(crate) world: World,
    /// What was asked for, in order, with the answers.
    pub(crate) log: Vec<(Effect, Answer)>,
    /// The largest state, in bytes.
    pub(crate) state_max: usize,
    /// The fold did not come to the same when it was done over.
    pub(crate) refolded: Option<String>,
}

impl Played {
    /// Whether it says that it is done.
    pub(crate) fn says_done(&self) -> bool {
        self.end == End::Said(Outcome::Done)
    }

    /// Whether it ended by its own word.
    pub(crate) fn ended(&self) -> Result<(), String> {
        match &self.end {
            End::Said(_) | End::Abandoned => Ok(()),
            End::Stuck(why) => Err(why.clone()),
            End::Endless => Err(format!("it did not end within {EFFECTS_MAX} effects")),
        }
    }

    /// How many effects that change something it asked for.
    pub(crate) fn changes(&self) -> usize {
        self.log.iter().filter(|(effect, _)| effect.access == Access::Changes).count()
    }

    /// Whether it works with slots.
    pub(crate) fn by_slots(&self) -> bool {
        self.log.iter().any(|(effect, _)| matches!(effect.deed, Deed::Slot(_)))
    }

    /// How long it asked to wait, in ms.
    pub(crate) fn slept(&self) -> u64 {
        let slept = self
            .log
            .iter()
            .map(|(effect, _)| if let Deed::Sleep { span } = effect.deed { span.0 } else { 0 });
        slept.sum()
    }
}

pub(crate) struct Bound<'a> {
    pub(crate) subject: &'a dyn Steps,
    pub(crate) settings: &'a Settings,
}

impl backstay_plugins::Steps for Bound<'_> {
    fn step(&self, state: &[u8], event: &Event) -> Result<Stepped, CallError> {
        self.subject.step(self.settings, state, event)
    }
}

/// An order for a task.
pub(crate) fn order(task: &Task, ticket: u64) -> Order {
    Order { ticket: Ticket(ticket), fence: Fence(ticket), task: task.clone() }
}

/// Plays a run. `fate` says what becomes of each effect, counted from 0, and may change the machine.
pub(crate) fn play(
    bound: &Bound<'_>,
    order: Order,
    world: World,
    fate: &mut dyn FnMut(usize, &Effect, &mut World) -> Fate,
) -> Played {
    let mut played = Played { end: End::Endless, world, log: Vec::new(), state_max: 0, refolded: None };
    let stuck = |stuck: Stuck| End::Stuck(stuck.error.to_string());
    let (mut run, mut next) = match Run::begin(bound, order.clone()) {
        Ok(begun) => begun,
        Err(why) => return Played { end: stuck(why), ..played },
    };
    let mut waiting: Vec<Effect> = Vec::new();
    let mut answers: Vec<(u32, Answer)> = Vec::new();
    loop {
        played.state_max = played.state_max.max(run.state().len());
        match next {
            Next::End(outcome) => return Played { end: End::Said(outcome), ..played },
            Next::Do(effects) => waiting.extend(effects),
        }
        if waiting.is_empty() || played.log.len() >= EFFECTS_MAX {
            return played;
        }
        let effect = waiting.remove(0);
        let fate = fate(played.log.len(), &effect, &mut played.world);
        let (answer, stopped) = match fate {
            Fate::Done => (played.world.does(&effect), false),
            Fate::Instead(answer) => (answer, false),
            Fate::Yet(answer) => {
                played.world.does(&effect);
                (answer, false)
            }
            Fate::StopBefore => (Answer::InDoubt, true),
            Fate::StopAfter => {
                played.world.does(&effect);
                (Answer::InDoubt, true)
            }
            Fate::CutBefore => {
                played.world.restarts();
                (Answer::InDoubt, true)
            }
            Fate::CutAfter => {
                played.world.does(&effect);
                played.world.restarts();
                (Answer::InDoubt, true)
            }
            Fate::Abandon => {
                played.world.does(&effect);
                return Played { end: End::Abandoned, ..played };
            }
        };
        played.log.push((effect.clone(), answer.clone()));
        answers.push((effect.ordinal, answer.clone()));
        let live = run.answer(bound, effect.ordinal, answer);
        let came = match &live {
            Ok(_) => run.came(),
            Err(stuck) => stuck.came(),
        };
        if stopped {
            // All that was in memory is gone; the journal has the order and the outcomes.
            match Run::resume(bound, order.clone(), answers.iter().cloned()) {
                Ok((again, asked)) => {
                    if again.came() != came {
                        let why = format!(
                            "after effect {} the run is another when it is taken up again",
                            effect.ordinal
                        );
                        played.refolded.get_or_insert(why);
                    }
                    (run, next) = (again, asked);
                    waiting.clear();
                    continue;
                }
                Err(why) => return Played { end: stuck(why), ..played },
            }
        }
        match live {
            Ok(asked) => next = asked,
            Err(why) => return Played { end: stuck(why), ..played },
        }
    }
}
