//! An API server in memory, for tests: objects by path, changed as Kubernetes changes them, and cut off at any effect.
//!
//! Here: runs of an executor against it ([`Api::run`]), mishaps, what was changed and attached. Parts of it: what requests do
//! (`server`), what is kept of an answer (`fields`), and a workload to go home with (`shop`). It knows the time, which goes by as a run waits. Not here: what controllers make
//! of a change (a test says it, [`Api::react`]), what commands do (a test says that, too), and any rule of a kind beyond its `status`: the real API server is in tests/k8s.

mod fields;
mod patch;
mod selector;
mod server;
pub mod shop;

use alloc::{boxed::Box, format, string::String, vec, vec::Vec};

use backstay_sdk::{
    executor::{
        Access, Answer, Answered, Attach, Deed, Effect, Event, Exited, Failed, Http, Order, Outcome, Output,
        Response, Run, Steps, Task, transient,
    },
    settings::{Setting, Value as Set},
};
use serde_json::Value;

pub use self::server::Objects;

/// Who asks this is told the time.
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
/// A run that takes more steps than this doesn't end.
const STEPS_MAX: usize = 2000;
/// How long an effect takes, in ms of the double's time.
const EFFECT_MS: u64 = 2;

/// What happens to one of the effects of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The power goes before anything is done.
    Before,
    /// The power goes when all is done, and nobody hears of it.
    After,
    /// It is over time, and nothing was done.
    Late,
    /// It is over time, and it was done all the same.
    LateButDone,
    /// The connection breaks when all is done.
    Broken,
    /// The server says 500, and has done nothing.
    Fails,
}

/// All of them.
pub const MISHAPS: [Mishap; 6] =
    [Mishap::Before, Mishap::After, Mishap::Late, Mishap::LateButDone, Mishap::Broken, Mishap::Fails];

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// How many effects it asked for.
    pub effects: u32,
    /// How often it waited for answers: what a host does at once counts once.
    pub rounds: u32,
    /// What is kept of it.
    pub state: Vec<u8>,
}

impl Ran {
    /// That it ended as done.
    ///
    /// # Panics
    /// Where it didn't.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.outcome, Outcome::Done);
        self
    }

    /// Why it failed.
    ///
    /// # Panics
    /// Where it didn't.
    #[must_use]
    #[track_caller]
    #[expect(clippy::panic, reason = "a test went wrong")]
    pub fn failed(self) -> Failed {
        match self.outcome {
            Outcome::Failed(failed) => failed,
            Outcome::Done => panic!("it ended as done"),
        }
    }
}

/// What controllers make of a change: called with the objects and the time in ms, after each effect.
type Reaction = Box<dyn FnMut(&mut Objects, u64)>;
/// What a command does with its arguments: its exit code, and what it prints.
type Command = Box<dyn FnMut(&[String]) -> (i32, String)>;
/// What a command does, called with the objects and the time in ms: its answer, and what it changed, if anything.
type Programs = Box<dyn FnMut(&Run, &mut Objects, u64) -> (Answer, Option<String>)>;
/// What a part of an object does with rules of its own, called with method, path, body, the objects and the time in ms: status and
/// answer. `None`: that is no such part.
type Parts = Box<dyn FnMut(&str, &str, &Value, &mut Objects, u64) -> Option<(u16, Value)>>;
/// What is answered to a method and a path in place of what the double would.
type Instead = (String, String, u16, Value);

/// The API server.
#[derive(Default)]
pub struct Api {
    /// What there is.
    pub objects: Objects,
    /// The executor's settings.
    pub config: Vec<Setting>,
    /// What was changed, in order: `PATCH /apis/...`. Only what was done, and did change something.
    pub changes: Vec<String>,
    /// What was attached, in order: name and content.
    pub attached: Vec<(String, String)>,
    /// Whether nothing is changed, and only noted in `planned`.
    pub is_dry: bool,
    /// What would have been changed, in order.
    pub planned: Vec<String>,
    now_ms: u64,
    instead: Vec<Instead>,
    commands: Vec<(String, Command)>,
    reaction: Option<Reaction>,
    programs: Option<Programs>,
    parts: Option<Parts>,
}

/// A setting that is a text.
#[must_use]
pub fn text(name: &str, value: &str) -> Setting {
    Setting { name: name.into(), value: Set::Text(value.into()) }
}

/// A setting that is a number.
#[must_use]
pub fn number(name: &str, value: i64) -> Setting {
    Setting { name: name.into(), value: Set::Number(value) }
}

/// A setting that is several texts.
#[must_use]
pub fn texts(name: &str, values: &[&str]) -> Setting {
    Setting { name: name.into(), value: Set::Texts(values.iter().map(|&value| value.into()).collect()) }
}

impl Api {
    /// An empty one, with the settings of the target `namespace`/`name`.
    #[must_use]
    pub fn of(namespace: &str, name: &str) -> Self {
        Self { config: vec![text("namespace", namespace), text("name", name)], ..Self::default() }
    }

    /// With one more setting.
    #[must_use]
    pub fn set(mut self, setting: Setting) -> Self {
        self.config.push(setting);
        self
    }

    /// What controllers make of changes: called with the time in ms, after each effect and while a run waits.
    pub fn react(&mut self, reaction: impl FnMut(&mut Objects, u64) + 'static) {
        self.reaction = Some(Box::new(reaction));
    }

    /// Has all commands do this: called with the objects and the time in ms.
    pub fn on_commands(
        &mut self,
        programs: impl FnMut(&Run, &mut Objects, u64) -> (Answer, Option<String>) + 'static,
    ) {
        self.programs = Some(Box::new(programs));
    }

    /// Has parts of objects with rules of their own, like `eviction`, do this.
    pub fn on_parts(
        &mut self,
        parts: impl FnMut(&str, &str, &Value, &mut Objects, u64) -> Option<(u16, Value)> + 'static,
    ) {
        self.parts = Some(Box::new(parts));
    }

    /// Answers `method` on `path` (without its query) with this from now on, whatever it asks.
    pub fn answer(&mut self, method: &str, path: &str, status: u16, body: Value) {
        self.instead.push((method.into(), path.into(), status, body));
    }

    /// Has the command `name` do this.
    pub fn command(&mut self, name: &str, does: impl FnMut(&[String]) -> (i32, String) + 'static) {
        self.commands.push((name.into(), Box::new(does)));
    }

    /// Runs `task` to its end, with `mishap` at the effect that has the ordinal `at`. An executor asks for several things at
    /// once where it can: they are done in their order, and answered in it.
    ///
    /// # Panics
    /// Where the run doesn't end, a look changes something, or the executor refuses a step.
    #[track_caller]
    #[expect(clippy::panic, clippy::unwrap_used, reason = "a test went wrong")]
    pub fn run<E: Steps>(&mut self, task: Task, mishap: Option<(u32, Mishap)>) -> Ran {
        let order = Order { ticket: 1, fence: 1, task };
        let mut stepped = E::step(&self.config, &[], Event::Begin(order)).unwrap();
        let mut ran = Ran { outcome: Outcome::Done, effects: 0, rounds: 0, state: Vec::new() };
        let mut outstanding = Vec::new();
        for _ in 0..STEPS_MAX {
            ran.effects += u32::try_from(stepped.effects.len()).unwrap();
            outstanding.extend(core::mem::take(&mut stepped.effects));
            if let Some(end) = stepped.end {
                if let Outcome::Failed(failed) = &end {
                    assert!(failed.why.len() <= 256, "{failed:?}");
                }
                return Ran { outcome: end, state: stepped.state, ..ran };
            }
            ran.rounds += 1;
            for effect in core::mem::take(&mut outstanding) {
                let ordinal = effect.ordinal;
                let happens = mishap.and_then(|(at, mishap)| (at == ordinal).then_some(mishap));
                let answer = self.takes(&effect, happens);
                let event = Event::Answered(Answered { ordinal, answer });
                let next = E::step(&self.config, &stepped.state, event).unwrap();
                assert!(next.end.is_none() || stepped.effects.is_empty(), "it ended in the middle");
                stepped.state = next.state;
                stepped.effects.extend(next.effects);
                stepped.end = next.end;
            }
        }
        panic!("the run doesn't end: {:?}", self.changes)
    }

    fn takes(&mut self, effect: &Effect, happens: Option<Mishap>) -> Answer {
        let before = self.changes.len();
        let answer = match happens {
            None if self.is_dry && effect.access == Access::Changes => self.plans(&effect.deed),
            None => self.does(&effect.deed),
            Some(Mishap::Before) => Answer::InDoubt,
            Some(Mishap::Late) => Answer::TimedOut,
            Some(Mishap::Fails) if matches!(effect.deed, Deed::Http(_)) => {
                response(500, &serde_json::json!({ "message": "etcd is away" }))
            }
            Some(Mishap::Fails) if matches!(effect.deed, Deed::Run(_)) => exited(1, "it did not work"),
            Some(Mishap::Fails) => Answer::Done,
            Some(after @ (Mishap::After | Mishap::LateButDone | Mishap::Broken)) => {
                self.does(&effect.deed);
                match after {
                    // Only a request has a connection.
                    Mishap::Broken if matches!(effect.deed, Deed::Http(_)) => {
                        Answer::Failed(transient("the connection was closed"))
                    }
                    Mishap::LateButDone => Answer::TimedOut,
                    Mishap::After | Mishap::Before | Mishap::Late | Mishap::Fails | Mishap::Broken => {
                        Answer::InDoubt
                    }
                }
            }
        };
        let looks = effect.access == Access::Looks;
        // The host takes nothing else for a look, whatever comes of it.
        if let Deed::Http(Http { method, .. }) = &effect.deed {
            assert!(!looks || matches!(method.as_str(), "GET" | "HEAD"), "{:?} is no look", effect.deed);
        }
        assert!(!looks || self.changes.len() == before, "a look changed something: {:?}", effect.deed);
        answer
    }

    /// As a server does for `backstay plan`: what would be changed is noted, and assumed to have gone well.
    fn plans(&mut self, deed: &Deed) -> Answer {
        match deed {
            Deed::Http(Http { path, .. }) if path.starts_with(WHO) => self.does(deed),
            Deed::Http(Http { method, path, .. }) => {
                self.planned.push(format!("{method} {}", path.split('#').next().unwrap_or_default()));
                Answer::Response(Response { status: 200, body: Output { bytes: vec![], whole: None } })
            }
            Deed::Run(Run { command, args }) => {
                self.planned.push(format!("{command} {}", args.join(" ")));
                exited(0, "")
            }
            Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) | Deed::Sleep(_) | Deed::Attach(_) => {
                Answer::Done
            }
        }
    }

    #[expect(clippy::panic, reason = "a test went wrong")]
    fn does(&mut self, deed: &Deed) -> Answer {
        let ms = if let Deed::Sleep(ms) = deed { *ms } else { EFFECT_MS };
        let answer = match deed {
            Deed::Http(http) => self.asked(&http.method, &http.path, &http.body),
            Deed::Sleep(_) => Answer::Done,
            Deed::Attach(Attach { name, content }) => {
                assert!(content.len() <= 4096, "{name} is too long");
                self.attached.push((name.clone(), String::from_utf8_lossy(content).into_owned()));
                Answer::Done
            }
            Deed::Run(run) if self.programs.is_some() => self.runs(run),
            Deed::Run(Run { command, args }) => match self
                .commands
                .iter_mut()
                .find(|(name, _)| name == command)
            {
                Some((_, does)) => {
                    let (code, printed) = does(args);
                    assert!(printed.len() <= 4096, "the command {command} prints {} bytes", printed.len());
                    let output = Output { bytes: printed.into_bytes(), whole: None };
                    Answer::Exited(Exited { code: Some(code), output })
                }
                None => Answer::Refused(format!("no command {command} is configured")),
            },
            Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) => panic!("{deed:?}"),
        };
        self.now_ms += ms;
        if let Some(reaction) = &mut self.reaction {
            reaction(&mut self.objects, self.now_ms);
        }
        answer
    }

    fn runs(&mut self, run: &Run) -> Answer {
        let Some(programs) = &mut self.programs else { return Answer::Done };
        let (answer, changed) = programs(run, &mut self.objects, self.now_ms);
        self.changes.extend(changed);
        answer
    }

    fn asked(&mut self, method: &str, path: &str, body: &[u8]) -> Answer {
        assert!(path.len() <= 1024 && body.len() <= 64 * 1024, "{method} {path} is too long for the host");
        let (path, mask) = path.split_once('#').map_or((path, None), |(path, mask)| (path, Some(mask)));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let instead = self.instead.iter().find(|(of, at, ..)| of == method && at == path);
        if let Some((.., status, body)) = instead {
            return response(*status, body);
        }
        if path == WHO {
            let review = serde_json::json!({ "metadata": { "creationTimestamp": time(self.now_ms) } });
            return response(201, &mask.map_or(review.clone(), |mask| fields::kept(&review, mask)));
        }
        let before = self.objects.version();
        let part = self.parts.as_mut().and_then(|parts| {
            let body = serde_json::from_slice(body).unwrap_or_default();
            parts(method, path, &body, &mut self.objects, self.now_ms)
        });
        let (status, said) = part.unwrap_or_else(|| self.objects.asked(method, path, query, body));
        if self.objects.version() != before {
            self.changes.push(format!("{method} {path}"));
        }
        match mask {
            Some(mask) if (200..300).contains(&status) => response(status, &fields::kept(&said, mask)),
            Some(_) | None => response(status, &said),
        }
    }
}

/// What time it is so many ms after the double was made, as Kubernetes writes it.
#[must_use]
pub fn time(ms: u64) -> String {
    let second = ms / 1000;
    let (day, hour, minute, second) =
        (1 + second / 86_400, second / 3600 % 24, second / 60 % 60, second % 60);
    format!("2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A command ended with this code, and said this.
#[must_use]
pub fn exited(code: i32, said: &str) -> Answer {
    Answer::Exited(Exited { code: Some(code), output: Output { bytes: said.as_bytes().into(), whole: None } })
}

fn response(status: u16, body: &Value) -> Answer {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    assert!(bytes.len() <= 32 * 1024, "the answer is too long: {} bytes", bytes.len());
    Answer::Response(Response { status, body: Output { bytes, whole: None } })
}
