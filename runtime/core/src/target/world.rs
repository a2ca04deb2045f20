//! A world of targets for stories: signals in, runs out, time as a number that the story moves.

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::{String, ToString},
    vec::Vec,
};

use backstay_model::{
    Action, Decision, Digest, Event, How, Millis, Mode, Mono, Name, Objective, Order, Outcome, Permille,
    Reason, Release, SchemaRange, Scope, TargetId, TargetStep, Task, Transience, Version, Window,
};

use super::*;
use crate::{Advice, Allowance, Allowances, Backoff, Estate, Migrations, Query, Reply, Rung, Shared};

pub(crate) const WINDOW: Millis = Millis::from_secs(60);

pub(crate) struct World {
    pub(crate) now: Mono,
    pub(crate) estate: Estate,
    allowances: Allowances,
    settings: BTreeMap<TargetId, TargetSettings>,
    says: BTreeMap<TargetId, Option<Action>>,
    pub(crate) told: Vec<String>,
    pub(crate) runs: VecDeque<(TargetId, Order)>,
    pub(crate) pages: Vec<String>,
    /// Whose executors were asked to look.
    pub(crate) looks: Vec<String>,
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn target(text: &str) -> TargetId {
    TargetId::parse(text).unwrap()
}

pub(crate) fn release(version: &str) -> Release {
    let mut digest = [0; 32];
    digest[..version.len()].copy_from_slice(version.as_bytes());
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest(digest),
        length: 0,
        security_epoch: 0,
    }
}

pub(crate) const ROLL_BACK: Action = Action::RollBack { how: How::AbortCanary };

pub(crate) fn settings() -> TargetSettings {
    let hour = Millis::from_secs(3600);
    TargetSettings {
        mode: Mode::Enforce,
        domain: name("zone-a"),
        window: WINDOW,
        playbooks: alloc::vec![Rung { playbook: name("restart"), attempts: 2 }],
        backoff: Backoff { base: Millis::from_secs(10), cap: Millis::from_secs(60) },
        breaker: Millis::from_secs(45 * 60),
        run_limit: Millis::from_secs(900),
        confirm_windows: 3,
        cure_windows: 3,
        roll_backs: Allowance { switches: 3, span: hour },
        mends: Allowance { switches: 12, span: hour },
        schema: None,
        migration: None,
        looks: false,
        holds: false,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let hour = Millis::from_secs(3600);
        let allowances = Allowances {
            estate: Allowance { switches: 20, span: hour },
            domain: Allowance { switches: 5, span: hour },
        };
        Self {
            now: Mono(1_000_000),
            estate: Estate::restore(Shared::new(7), BTreeMap::new(), Migrations::default(), allowances),
            allowances,
            settings: BTreeMap::new(),
            says: BTreeMap::new(),
            told: Vec::new(),
            runs: VecDeque::new(),
            pages: Vec::new(),
            looks: Vec::new(),
        }
    }

    pub(crate) fn of(names: &[&str]) -> Self {
        let mut world = Self::new();
        names.iter().for_each(|name| world.watches(name, settings()));
        world
    }

    pub(crate) fn watches(&mut self, id: &str, settings: TargetSettings) {
        self.settings.insert(target(id), settings);
        self.configures();
    }

    /// It is taken out of the configuration.
    pub(crate) fn forgets(&mut self, id: &str) {
        self.settings.remove(&target(id));
        self.configures();
    }

    /// The server is stopped, and finds another configuration when it starts again.
    pub(crate) fn restarts_with(&mut self, id: &str, settings: Option<TargetSettings>) {
        match settings {
            Some(settings) => drop(self.settings.insert(target(id), settings)),
            None => drop(self.settings.remove(&target(id))),
        }
        self.restarts();
    }

    fn configures(&mut self) {
        let effects = self.estate.configure(self.now, self.allowances, self.settings.clone());
        self.does(effects);
    }

    /// The server is killed, and starts again from what was kept.
    pub(crate) fn restarts(&mut self) {
        let states = self.estate.states().map(|(id, state)| (id.clone(), state.clone())).collect();
        self.runs.clear();
        let (migrations, held) = (self.estate.migrations().clone(), self.estate.held().clone());
        let setups = self.estate.setups().clone();
        let estate = Estate::restore(self.estate.shared(), states, migrations, self.allowances);
        self.estate = estate.with_held(held).with_setups(setups);
        self.configures();
    }

    pub(crate) fn step(&mut self, id: &str, input: TargetInput) {
        let effects = self.estate.step(self.now, &target(id), input);
        self.does(effects);
    }

    fn does(&mut self, effects: Vec<TargetEffect>) {
        for effect in effects {
            match effect {
                TargetEffect::Record(Event::Asked { .. }) => {}
                TargetEffect::Record(event) => self.told.push(event.to_string()),
                TargetEffect::Note(event) if matches!(event.step, TargetStep::Asked { .. }) => {}
                TargetEffect::Note(event) => self.told.push(event.to_string()),
                TargetEffect::Ask { target, ticket, .. } => {
                    let says = self.says.get(&target).cloned().unwrap_or(Some(Action::Proceed));
                    let reply = match says {
                        Some(action) => {
                            let reasons = alloc::vec![Reason::new("the story says so".into())];
                            Reply::Decided(Decision { action, reasons })
                        }
                        None => Reply::Unanswered { why: "it trapped".into() },
                    };
                    let effects = self.estate.step(self.now, &target, TargetInput::Policy { ticket, reply });
                    self.does(effects);
                }
                TargetEffect::Run { target, order, .. } => self.runs.push_back((target, order)),
                TargetEffect::Abandon { target, ticket, outcome } => {
                    let effects = self.estate.step(self.now, &target, TargetInput::Ended { ticket, outcome });
                    self.does(effects);
                }
                TargetEffect::Look { target } => self.looks.push(target.to_string()),
                TargetEffect::Page { rail, .. } => self.pages.push(rail.to_string()),
            }
        }
    }

    /// What the policy says from now on; `None`: nothing.
    pub(crate) fn says(&mut self, id: &str, action: Option<Action>) {
        self.says.insert(target(id), action);
    }

    pub(crate) fn deploys(&mut self, id: &str, version: &str, permille: u16) {
        self.deploys_for(id, version, permille, None);
    }

    pub(crate) fn deploys_for(
        &mut self,
        id: &str,
        version: &str,
        permille: u16,
        schema: Option<SchemaRange>,
    ) {
        let stage = Permille::new(permille).unwrap();
        self.step(
            id,
            TargetInput::Deployed { who: name("ci"), release: release(version), stage, build: None, schema },
        );
    }

    /// Time passes; windows close one after the other.
    pub(crate) fn windows(&mut self, id: &str, count: usize) {
        for _ in 0..count {
            self.waits(WINDOW);
            self.step(id, TargetInput::Window(Signals::default()));
        }
    }

    /// A window in which the sides were bad to this many of 100.
    pub(crate) fn window_of(&mut self, id: &str, candidate: u32, baseline: u32) {
        self.waits(WINDOW);
        let window = |bad| {
            alloc::vec![Window { opened: Mono(self.now.0 - WINDOW.0), span: WINDOW, samples: 100, bad }]
        };
        let objective = Objective {
            name: name("errors"),
            critical: true,
            scope: Scope::Local,
            candidate: window(candidate),
            baseline: window(baseline),
        };
        let objectives = alloc::vec![objective];
        self.step(id, TargetInput::Window(Signals { objectives, ..Signals::default() }));
    }

    pub(crate) fn waits(&mut self, span: Millis) {
        let end = self.now.after(span);
        while let Some(at) = self.estate.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            let effects = self.estate.tick(self.now);
            self.does(effects);
        }
        self.now = end;
    }

    /// The open run ends well.
    pub(crate) fn run_ends(&mut self) -> Task {
        self.run_ends_with(Outcome::Done)
    }

    pub(crate) fn run_ends_with(&mut self, outcome: Outcome) -> Task {
        let (id, order) = self.runs.pop_front().expect("a run is open");
        let ticket = order.ticket;
        self.step(id.as_str(), TargetInput::Ended { ticket, outcome });
        order.task
    }

    pub(crate) fn fails_for_now(&mut self) -> Task {
        let why = "no connection".into();
        self.run_ends_with(Outcome::Failed { transience: Transience::Transient, why })
    }

    pub(crate) fn wishes(&mut self, id: &str, wish: Wish) {
        self.step(id, TargetInput::Operator { who: name("ann"), reason: "looked".into(), wish });
    }

    pub(crate) fn state(&self, id: &str) -> &TargetState {
        self.estate.target(&target(id)).unwrap().state()
    }

    pub(crate) fn runs_version(&self, id: &str) -> String {
        self.state(id).out().map(|out| out.release.version.to_string()).unwrap_or_default()
    }

    pub(crate) fn advice(&self, id: &str, version: &str, permille: Option<u16>) -> Advice {
        let stage = permille.and_then(Permille::new);
        let query = Query { release: Some(release(version).digest), stage, ..Query::default() };
        self.estate.advise(self.now, &target(id), &query).unwrap()
    }

    /// A release that is good and confirmed.
    pub(crate) fn has_good(&mut self, id: &str, version: &str) {
        self.deploys(id, version, 1000);
        self.windows(id, 3);
        assert!(self.state(id).out().is_some_and(|out| out.confirmed), "{:#?}", self.told);
    }

    pub(crate) fn heard(&self, what: &str) -> usize {
        self.told.iter().filter(|told| told.contains(what)).count()
    }
}
