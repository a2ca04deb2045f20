//! Targets without processes, for stories: the policy says what the story wants, the executor is native and the machine that it
//! works on is a value. Server, journal and API are the real ones.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
};

use backstay_api::{
    ApiError, Call, Deployment, OperateRequest, Reply, TargetCall, TargetOperation, TargetView,
};
use backstay_core::{Allowance, Allowances, Backoff, Confidence, Rung, TargetSettings};
use backstay_host::{CallError, Event as Step, Stepped};
use backstay_model::{
    Access, Action, Answer, Decision, Deed, Digest, Effect, Equipped, Event, Facts, Millis, Mode, Mono, Name,
    Outcome, Output, Permille, PluginId, PluginRole, Reason, TargetId, Task, Told, Transience, Version,
};
use backstay_plugins::{Asked, Consulted, Memos};
use backstay_signals::{Limit, ObjectiveSpec, Source};
use backstay_trust::{GrantedPlugin, Keyring};

use super::{
    super::{judge::Ask, world::World},
    Came, Configured, Executes, Key, Todo, Watched,
};

pub(super) const WINDOW: Millis = Millis::from_secs(60);

/// Stands in what is to be seen for the release that is out: 1.0 at home, and else 2.0.
pub(super) const OUT: &str = "(out)";

/// What the executor works on: it comes home when it is told to, and counts how often it was.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) home: Cell<bool>,
    pub(super) acts: Cell<u32>,
    /// How often it was told to come home though it was there.
    pub(super) twice: Cell<u32>,
    /// What is to be seen of it.
    pub(super) sees: RefCell<String>,
}

impl Machine {
    pub(super) fn does(&self, deed: &Deed) -> Answer {
        let Deed::Run { command, .. } = deed else { return Answer::Refused("no such thing".into()) };
        let said =
            |text: &str| Answer::Exited { code: Some(0), output: Output { bytes: text.into(), whole: None } };
        match command.as_str() {
            "status" if self.home.get() => said("home"),
            "status" => said("away"),
            "see" if self.home.get() => {
                said(&self.sees.borrow().replace(OUT, "out-version=1.0\nout-stage=1000"))
            }
            "see" => said(&self.sees.borrow().replace(OUT, "out-version=2.0\nout-stage=100")),
            _ => {
                self.acts.set(self.acts.get() + 1);
                self.twice.set(self.twice.get() + u32::from(self.home.replace(true)));
                said("")
            }
        }
    }
}

/// Looks, acts if it has to, and looks again. A playbook `look` tells what is to be seen, and `meddle` there acts.
struct Native {
    id: PluginId,
    grant: Digest,
    equipped: Equipped,
}

impl Native {
    /// One that is told to be this object.
    fn new(grant: Digest, object: &str) -> Self {
        let id = PluginId::parse("acme/native").unwrap();
        let equipped = Equipped {
            role: PluginRole::Executor,
            plugin: id.clone(),
            version: Version::parse("1.0").unwrap(),
            grant,
            settings: vec![(name("object"), Told::Text(object.into()))],
            withheld: Vec::new(),
        };
        Self { id, grant, equipped }
    }

    /// The state is what was asked for last.
    fn asks(ordinal: u32, command: &str) -> Stepped {
        let access = if matches!(command, "status" | "see") { Access::Looks } else { Access::Changes };
        let deed = Deed::Run { command: Name::parse(command).unwrap(), args: Vec::new() };
        Stepped { state: command.into(), effects: vec![Effect { ordinal, access, deed }], end: None }
    }

    fn tells(ordinal: u32, seen: &[u8]) -> Stepped {
        let deed = Deed::Attach { name: name("readings"), content: seen.into() };
        let effects = vec![Effect { ordinal, access: Access::Looks, deed }];
        Stepped { state: b"told".into(), effects, end: None }
    }

    fn ends(outcome: Outcome) -> Stepped {
        Stepped { state: Vec::new(), effects: Vec::new(), end: Some(outcome) }
    }
}

fn is_look(task: &Task) -> bool {
    matches!(task, Task::Heal { playbook } if playbook.as_str() == "look")
}

impl Executes for Native {
    fn step(&self, _: usize, state: &[u8], event: &Step) -> Result<Stepped, CallError> {
        Ok(match event {
            Step::Begin(order) if is_look(&order.task) => Self::asks(0, "see"),
            Step::Answered { answer: Answer::Exited { output, .. }, .. } if state == b"see" => {
                match output.bytes.as_slice() {
                    b"meddle" => Self::asks(1, "meddle"),
                    seen => Self::tells(1, seen),
                }
            }
            Step::Answered { .. } if state == b"told" => Self::ends(Outcome::Done),
            Step::Begin(_) => Self::asks(0, "status"),
            // What was changed, or is in doubt, is looked at.
            Step::Answered { ordinal, .. } if state != b"status" => Self::asks(ordinal + 1, "status"),
            Step::Answered { ordinal, answer } => match answer {
                Answer::Exited { output, .. } if output.bytes == b"home" => Self::ends(Outcome::Done),
                Answer::Exited { .. } if *ordinal < 6 => Self::asks(ordinal + 1, "go-home"),
                Answer::InDoubt => Self::asks(ordinal + 1, "status"),
                Answer::Exited { .. }
                | Answer::Done
                | Answer::Response { .. }
                | Answer::Content(_)
                | Answer::Slots(_)
                | Answer::Failed(_)
                | Answer::TimedOut
                | Answer::Refused(_) => {
                    let why = "it does not come home".into();
                    Self::ends(Outcome::Failed { transience: Transience::Permanent, why })
                }
            },
        })
    }
    fn id(&self) -> &PluginId {
        &self.id
    }
    fn grant(&self) -> &Digest {
        &self.grant
    }
    fn granted(&self) -> Option<&GrantedPlugin> {
        None
    }
    fn equipped(&self, _: usize) -> Option<&Equipped> {
        Some(&self.equipped)
    }
    fn at(&self, _: Mono) {}
}

/// Says what the story wants, and keeps what it was shown.
struct Scripted(Rc<RefCell<Action>>, Rc<RefCell<Option<Facts>>>);

impl Ask for Scripted {
    fn ask(&mut self, _: Mono, facts: &Facts, _: &mut Confidence) -> Asked {
        self.1.replace(Some(facts.clone()));
        let reasons = vec![Reason::new("the story says so".into())];
        Asked { answer: Ok(Decision { action: self.0.borrow().clone(), reasons }), events: Vec::new() }
    }
    fn seat(&self, _: &mut Confidence) -> Option<Event> {
        None
    }
    fn has(&self, _: &Digest) -> bool {
        false
    }
    fn equipped(&self) -> Vec<Event> {
        Vec::new()
    }
    fn consulted(&mut self) -> Option<Consulted> {
        None
    }
    fn exchange(&mut self, _: Memos) -> Memos {
        Memos::default()
    }
    fn heed(&mut self, _: &Keyring) -> Vec<Event> {
        Vec::new()
    }
}

/// A server with one target, which the story acts on.
pub(in super::super) struct Shop {
    pub(in super::super) world: World,
    pub(super) says: Rc<RefCell<Action>>,
    /// What the policy was shown last.
    pub(super) shown: Rc<RefCell<Option<Facts>>>,
    pub(super) machine: Machine,
    pub(super) pages: Vec<String>,
    /// Effects that were begun and are not done yet.
    pub(super) begun: Vec<(Key, Deed)>,
    looks: bool,
    /// Whether its executor holds; `None`: it isn't configured at all.
    pub(super) holds: Option<bool>,
    /// Which executor the configuration gives it, and which object it is told to be.
    pub(super) set: (&'static str, &'static str),
}

pub(super) fn shop() -> TargetId {
    TargetId::parse("shop").unwrap()
}

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(super) fn because(text: &str) -> OperateRequest {
    let reason = backstay_api::Because::parse(text).unwrap();
    OperateRequest { reason, playbook: None, digest: None }
}

impl Shop {
    pub(in super::super) fn opens() -> Self {
        Self::new(false)
    }

    /// One whose executor looks.
    pub(super) fn looks() -> Self {
        Self::new(true)
    }

    fn new(looks: bool) -> Self {
        let (machine, says) = (Machine::default(), Rc::new(RefCell::new(Action::Proceed)));
        let (pages, begun, shown) = (Vec::new(), Vec::new(), Rc::default());
        let (world, holds, set) = (World::new(), Some(false), ("native", "shop"));
        let mut shop = Self { world, says, shown, machine, pages, begun, looks, holds, set };
        shop.configures();
        shop
    }

    pub(super) fn configures(&mut self) {
        let hour = |switches| Allowance { switches, span: Millis::from_secs(3600) };
        let settings = TargetSettings {
            mode: Mode::Enforce,
            domain: name("zone-a"),
            window: WINDOW,
            playbooks: vec![Rung { playbook: name("restart"), attempts: 2 }],
            backoff: Backoff { base: Millis(1000), cap: Millis(1000) },
            breaker: Millis::from_secs(2700),
            run_limit: Millis::from_secs(900),
            confirm_windows: 1,
            cure_windows: 1,
            roll_backs: hour(60),
            mends: hour(60),
            schema: None,
            migration: None,
            looks: self.looks,
            holds: self.holds == Some(true),
        };
        let limit = Limit::Above(backstay_signals::Finite::new(0.5).unwrap());
        let source = Source::Metric { name: backstay_signals::MetricName::parse("errors").unwrap(), limit };
        let spec = ObjectiveSpec {
            name: name("errors"),
            critical: true,
            scope: backstay_model::Scope::Local,
            source,
        };
        let watched = Watched {
            policy: name("told"),
            executor: Some(name(self.set.0)),
            setup: 0,
            prometheus: None,
            specs: Arc::from([spec]),
            anomaly: None,
            looks: self.looks,
            window: WINDOW,
            runbook: Some("https://wiki.example/shop".into()),
        };
        let executor = |called, grant, object| -> (Name, Vec<Box<dyn Executes>>) {
            (name(called), vec![Box::new(Native::new(grant, object))])
        };
        let policy: Box<dyn Ask> = Box::new(Scripted(Rc::clone(&self.says), Rc::clone(&self.shown)));
        let executors = BTreeMap::from([
            executor("native", Digest([9; 32]), self.set.1),
            executor("other", Digest([8; 32]), self.set.1),
        ]);
        let configured = Configured::of(
            Allowances { estate: hour(60), domain: hour(60) },
            self.holds.map(|_| (shop(), settings)).into_iter().collect(),
            self.holds.map(|_| (shop(), watched)).into_iter().collect(),
            BTreeMap::from([(name("told"), policy)]),
            executors,
        );
        self.world.does(|server, now| server.configure_targets(now, configured));
        self.takes();
    }

    /// Takes what is to be begun.
    pub(in super::super) fn takes(&mut self) {
        let todo = self.world.does(|server, _| server.todo());
        for todo in todo {
            match todo {
                Todo::Effect { key, deed } => self.begun.push((key, deed)),
                Todo::LetGo(of) => self.begun.retain(|(key, _)| key.whose != of),
                Todo::Page(body) => self.pages.push(body.why),
                Todo::Measure { .. } => {}
            }
        }
    }

    /// The next effect is done, and its answer heard.
    pub(super) fn does_one(&mut self) -> bool {
        let Some((key, deed)) = self.begun.pop() else { return false };
        let answer = self.machine.does(&deed);
        self.world.does(|server, now| server.came(now, Came::Effect(key, answer)));
        self.takes();
        true
    }

    pub(in super::super) fn does_all(&mut self) {
        while self.does_one() {}
    }

    /// The process is killed and starts again: what was begun is lost.
    pub(super) fn is_killed(&mut self) {
        self.world.kills();
        self.begun.clear();
        self.world.starts();
        self.configures();
    }

    /// Time passes, and a pipeline says what it measured: that closes a window.
    pub(super) fn windows(&mut self, count: u32) {
        for _ in 0..count {
            self.world.waits_secs(WINDOW.0 / 1000);
            let body = b"{\"errors\": 0.1}".to_vec();
            self.calls(|reply| TargetCall::Measured(shop(), body, reply)).unwrap();
        }
    }

    pub(super) fn calls<T>(&mut self, call: impl FnOnce(Reply<T>) -> TargetCall) -> Result<T, ApiError> {
        let answer = self.world.calls(|reply| Call::Target(call(reply)));
        self.takes();
        answer
    }

    pub(super) fn deploys(&mut self, version: &str, permille: u16) -> TargetView {
        let deployment = Deployment {
            version: Version::parse(version).unwrap(),
            digest: None,
            stage: Permille::new(permille).unwrap(),
            build: None,
            schema: None,
        };
        self.machine.home.set(false);
        self.calls(|reply| TargetCall::Deployed(name("ci"), shop(), deployment, reply)).unwrap()
    }

    pub(super) fn rolls_back(&mut self) -> Result<TargetView, ApiError> {
        let request = because("customers say so");
        let operation = TargetOperation::Rollback;
        self.calls(|reply| TargetCall::Operate(name("ann"), shop(), operation, request, reply))
    }

    pub(super) fn view(&mut self) -> TargetView {
        self.calls(|reply| TargetCall::One(shop(), reply)).unwrap()
    }

    /// A release that is good, and one after it that is out to a tenth.
    pub(in super::super) fn has_a_canary(&mut self) {
        self.deploys("1.0", 1000);
        self.windows(2);
        assert!(self.view().out.is_some_and(|out| out.confirmed));
        self.deploys("2.0", 100);
    }
}
