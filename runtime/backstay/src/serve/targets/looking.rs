//! Looks: an executor is asked what it sees, and what it attached is taken as facts.
//!
//! A look is a run of the playbook [`LOOK`] of which nothing that changes is done. It takes no lock and is not written down: what
//! follows from it is. What it says counts for the window that waits for it, or else for the one that is open; of a data base it says
//! where its migration stands. There is one at the end of each window (`watching`), and whenever `core` wants one. Not here: how
//! readings are read (`signals`).

use backstay_core::{Columns, FlagState, LOOK, SchemaLook, TargetInput};
use backstay_model::{Name, Outcome, TargetId, Task};
use backstay_signals::{Readings, SeenOut};

use super::{
    super::{clock::Now, diary::Diary, judge::Ask, server::Server},
    Todo, Whose,
    planning::Of,
};

/// Under which name its readings are attached.
pub(super) const READINGS: &str = "readings";

impl<D: Diary, P: Ask> Server<D, P> {
    /// Begins a look, and lets go of one that is under way: it may have seen what was before.
    pub(super) fn look_anew(&mut self, now: Now, target: &TargetId) {
        if let Some(number) = self.targets.looks.remove(target) {
            self.targets.dry.remove(&number);
            self.targets.todo.push_back(Todo::LetGo(Whose::Dry(number)));
        }
        self.begin_look(now, target);
    }

    /// Begins a look, unless one is under way.
    pub(super) fn begin_look(&mut self, now: Now, target: &TargetId) {
        if self.targets.looks.contains_key(target) {
            return;
        }
        let Ok(playbook) = Name::parse(LOOK) else { return };
        match self.executor_of(target, None) {
            Ok(executor) => {
                let of = Of::Look { readings: None };
                self.begin_dry(now, target, executor, Task::Heal { playbook }, of);
            }
            Err(why) => self.saw(now, target, Err(why)),
        }
    }

    /// A window is over. What a look says that isn't counts for the next one.
    pub(super) fn misses_look(&mut self, target: &TargetId) {
        if self.targets.looks.contains_key(target)
            && let Some(watch) = self.targets.watches.get_mut(target)
        {
            watch.sees(Err("it is still under way".into()));
        }
    }

    /// A look is over.
    pub(super) fn look_ended(
        &mut self,
        now: Now,
        target: &TargetId,
        readings: Option<Vec<u8>>,
        end: Result<Outcome, String>,
    ) {
        self.targets.looks.remove(target);
        let read = match (end, readings) {
            (Ok(Outcome::Done), Some(readings)) => {
                backstay_signals::readings(&readings).map_err(|error| error.to_string())
            }
            (Ok(Outcome::Done), None) => Err(format!("it attached no {READINGS}")),
            (Ok(failed @ Outcome::Failed { .. }), _) => Err(failed.to_string()),
            (Err(why), _) => Err(why),
        };
        self.saw(now, target, read);
    }

    fn saw(&mut self, now: Now, target: &TargetId, read: Result<Readings, String>) {
        let look = read.as_ref().map_or(SchemaLook::NOTHING, schema_look);
        let out = read.as_ref().ok().and_then(Readings::out);
        if let Some(watch) = self.targets.watches.get_mut(target) {
            watch.sees(read);
        }
        if self.targets.estate.gate(target).is_some() {
            self.give(now, target, TargetInput::Looked(look));
        }
        if let Some(SeenOut { version, digest, stage }) = out {
            let release = self.known_as(target, &version, digest);
            self.give(now, target, TargetInput::SeenOut { release, stage });
        }
        self.looked(now, target);
    }
}

/// What readings say of a data base.
fn schema_look(readings: &Readings) -> SchemaLook {
    let columns = match readings.word("schema") {
        Some("before") => Some(Columns::Before),
        Some("expanded") => Some(Columns::Expanded),
        Some("in-step") => Some(Columns::InStep),
        Some("contracted") => Some(Columns::Contracted),
        Some(_) | None => None,
    };
    let flag = |name| match readings.word(name) {
        Some("on") => FlagState::On,
        Some("off") => FlagState::Off,
        Some(_) | None => FlagState::Unknown,
    };
    SchemaLook {
        columns,
        old_code: readings.count("old-code").map(|count| count > 0),
        new_code: readings.count("new-code").map(|count| count > 0),
        dual_write: flag("dual-write"),
        read_new: flag("read-new"),
    }
}
