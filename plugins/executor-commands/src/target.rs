//! A target in memory for the tests: commands that do what an operator's would, and can be cut off at every effect, before
//! they are done or after.

use alloc::{format, string::String, vec, vec::Vec};

use backstay_sdk::{
    executor::{
        Access, Answer, Answered, Attach, Deed, Effect, Event, Exited, Order, Outcome, Output, Release, Task,
        permanent, step,
    },
    settings::{Setting, Value},
};

use crate::Commands;

/// A run that takes more steps than this doesn't end.
const STEPS_MAX: u32 = 400;

pub(crate) fn release(version: &str) -> Release {
    let digest = version.bytes().cycle().take(32).map(|byte| format!("{byte:02x}")).collect();
    Release { version: version.into(), digest, length: 1000, security_epoch: 0 }
}

pub(crate) fn text(name: &str, text: &str) -> Setting {
    Setting { name: name.into(), value: Value::Text(text.into()) }
}

pub(crate) fn number(name: &str, number: i64) -> Setting {
    Setting { name: name.into(), value: Value::Number(number) }
}

/// What the target is like, and what happens to its commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) config: Vec<Setting>,
    pub(crate) runs: Release,
    pub(crate) stays: bool,
    /// How many looks a change takes to show.
    pub(crate) slow: u32,
    /// What is on its way, and after how many looks it shows.
    pub(crate) coming: Option<(u32, Release, bool)>,
    pub(crate) home_is_healthy: bool,
    pub(crate) healthy: bool,
    pub(crate) drift: Vec<&'static str>,
    pub(crate) count: u32,
    /// Commands that answer with this, whatever they do.
    pub(crate) instead: Vec<(&'static str, Answer)>,
    /// What was changed, in order.
    pub(crate) deeds: Vec<String>,
    /// What was attached as readings, in order.
    pub(crate) told: Vec<String>,
}

/// What happens to one of the effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The power goes before anything is done.
    Before,
    /// The power goes when all is done, and nobody hears of it.
    After,
}

impl Target {
    pub(crate) fn on(version: &str) -> Self {
        Self {
            config: vec![number("looks", 4)],
            runs: release(version),
            stays: true,
            slow: 1,
            coming: None,
            home_is_healthy: true,
            healthy: false,
            drift: vec![],
            count: 2,
            instead: vec![],
            deeds: vec![],
            told: vec![],
        }
    }

    pub(crate) fn on_trial(version: &str) -> Self {
        Self { stays: false, ..Self::on(version) }
    }

    pub(crate) fn set(mut self, setting: Setting) -> Self {
        self.config.push(setting);
        self
    }

    pub(crate) fn answers(mut self, command: &'static str, answer: Answer) -> Self {
        self.instead.push((command, answer));
        self
    }

    /// Runs `task` to its end, with the power cut at the effect that has the ordinal `at`.
    pub(crate) fn run(&mut self, task: Task, cut: Option<(u32, Cut)>) -> (Outcome, u32) {
        let order = Order { ticket: 1, fence: 1, task };
        let mut stepped = step::<Commands>(&self.config, &[], Event::Begin(order)).unwrap();
        for asked in 0..STEPS_MAX {
            if let Some(end) = stepped.end {
                if let Outcome::Failed(failed) = &end {
                    assert!(failed.why.len() <= 256, "{failed:?}");
                }
                return (end, asked);
            }
            let [Effect { ordinal, access, deed }] = &stepped.effects[..] else { panic!("{stepped:?}") };
            let before = self.deeds.len();
            let answer = match cut.filter(|(at, _)| at == ordinal) {
                None => self.does(deed),
                Some((_, Cut::Before)) => Answer::InDoubt,
                Some((_, Cut::After)) => {
                    self.does(deed);
                    Answer::InDoubt
                }
            };
            assert!(
                *access == Access::Changes || self.deeds.len() == before,
                "a look changed something: {deed:?}"
            );
            let event = Event::Answered(Answered { ordinal: *ordinal, answer });
            stepped = step::<Commands>(&self.config, &stepped.state, event).unwrap();
        }
        panic!("the run doesn't end: {self:?}")
    }

    /// The same, whole: why it failed, or nothing.
    pub(crate) fn fails(&mut self, task: Task) -> Option<String> {
        match self.run(task, None).0 {
            Outcome::Done => None,
            Outcome::Failed(failed) => Some(failed.why),
        }
    }

    fn does(&mut self, deed: &Deed) -> Answer {
        let run = match deed {
            Deed::Run(run) => run,
            Deed::Sleep(_) => return Answer::Done,
            Deed::Attach(Attach { name, content }) => {
                assert_eq!(name, "readings");
                self.told.push(String::from_utf8(content.clone()).unwrap());
                return Answer::Done;
            }
            Deed::Http(_) | Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) => {
                return Answer::Failed(permanent("not here"));
            }
        };
        if let Some((_, answer)) = self.instead.iter().find(|(command, _)| *command == run.command) {
            return answer.clone();
        }
        let args: Vec<&str> = run.args.iter().map(String::as_str).collect();
        let changes = |target: &mut Self, text: String| target.deeds.push(text);
        match (run.command.as_str(), &args[..]) {
            ("status", []) => {
                self.time_goes_by();
                let stays = if self.stays { "yes" } else { "no" };
                let Release { version, digest, .. } = &self.runs;
                return said(0, &format!("version={version}\ndigest={digest}\nstays={stays}\n"));
            }
            ("install", [version, digest]) => {
                assert_eq!(*digest, release(version).digest);
                self.coming = Some((self.slow, release(version), false));
                changes(self, format!("install {version}"));
            }
            ("confirm", [version, _]) => {
                assert_eq!(self.runs, release(version));
                self.stays = true;
                changes(self, format!("confirm {version}"));
            }
            ("go-home", [version, _]) => {
                self.coming = Some((self.slow, release(version), true));
                changes(self, format!("go-home {version}"));
            }
            ("check-home", [_, _]) if !self.home_is_healthy => return said(1, "blue answers 503\n"),
            ("check-home", [_, _]) => {}
            ("healthy", []) if !self.healthy => return said(1, "no answer\n"),
            ("healthy", []) => {}
            ("drift-look", []) => return said(i32::from(!self.drift.is_empty()), &self.drift.join("\n")),
            ("drift-fix", args) => {
                let deletes = args == ["--delete"];
                let stays =
                    |line: &&str| line.starts_with("credential") || line.starts_with("extra") && !deletes;
                self.drift.retain(stays);
                changes(self, format!("drift-fix{}", if deletes { " --delete" } else { "" }));
            }
            ("scale-look", []) => return said(0, &format!("{}\n", self.count)),
            ("scale-to", [wanted, present]) => {
                assert_eq!(*present, format!("{}", self.count));
                self.count = wanted.parse().unwrap();
                changes(self, format!("scale-to {wanted}"));
            }
            (_, []) => {
                self.healthy = true;
                changes(self, run.command.clone());
            }
            _ => return Answer::Refused("it takes no arguments".into()),
        }
        said(0, "")
    }

    fn time_goes_by(&mut self) {
        match self.coming.take() {
            Some((0, release, stays)) => (self.runs, self.stays) = (release, stays),
            Some((left, release, stays)) => self.coming = Some((left - 1, release, stays)),
            None => {}
        }
    }
}

pub(crate) fn said(code: i32, text: &str) -> Answer {
    Answer::Exited(Exited {
        code: Some(code),
        output: Output { bytes: text.as_bytes().to_vec(), whole: None },
    })
}
