//! The server under test: `core`, which says which release is home, and what its executors make of that.
//!
//! Here: what a pipeline, an executor that looks, and a policy would say, given to the real state machine; and the executors' own choice of a
//! revision, given what they would read. Not here: how the revision is brought back, which only the sample on a real API server shows.

use std::collections::BTreeMap;

use backstay_core::{
    Allowance, Allowances, Backoff, Estate, Migrations, Reply, Shared, Signals, TargetEffect, TargetInput,
    TargetSettings, TargetWish,
};
use backstay_kubernetes::{
    json::json,
    revisions::{self, Now, Revision},
    template::Told,
};
use backstay_model::{
    Action, Decision, Digest, How, Millis, Mode, Mono, Name, Order, Outcome, Permille, Release, TargetId,
    Task, Transience, Version,
};
use backstay_sdk::{executor, settings::Setting};
use executor_helm::{
    history,
    judge::{Facts, Move, judge},
};

use super::{
    Act, Deployment, Helm, HelmVersion, Model, Product, Record, Rollout, Set, Shape, Status, Template,
};

/// How long a window is.
const WINDOW: Millis = Millis::from_secs(60);
/// As many good ones in a row confirm a release.
pub(super) const CONFIRM: u32 = 3;
/// How much time passes between two acts: what the rails count by the hour never is in the way.
const BETWEEN: Millis = Millis::from_secs(2 * 3600);

/// What an executor makes of an order to go home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// It is there.
    Stays,
    /// To this revision.
    Revision(u64),
    /// Nothing is moved, and this is why.
    Nothing(String),
}

/// A server that watches one target.
#[derive(Debug)]
pub(super) struct Server {
    estate: Estate,
    now: Mono,
    target: TargetId,
    says: Action,
    runs: Vec<Order>,
}

impl Server {
    pub(super) fn new(seed: u64) -> Self {
        let hour = Millis::from_secs(3600);
        let settings = TargetSettings {
            mode: Mode::Enforce,
            domain: Name::parse("here").expect("a name"),
            window: WINDOW,
            playbooks: Vec::new(),
            backoff: Backoff { base: Millis::from_secs(10), cap: Millis::from_secs(60) },
            breaker: Millis::from_secs(45 * 60),
            run_limit: Millis::from_secs(900),
            confirm_windows: CONFIRM,
            cure_windows: CONFIRM,
            roll_backs: Allowance { switches: 3, span: hour },
            mends: Allowance { switches: 12, span: hour },
            schema: None,
            migration: None,
            looks: true,
            holds: false,
        };
        let target = TargetId::parse("shop").expect("a target");
        let allowances = Allowances {
            estate: Allowance { switches: 20, span: hour },
            domain: Allowance { switches: 5, span: hour },
        };
        let (shared, migrations) = (Shared::new(seed), Migrations::default());
        let mut estate = Estate::restore(shared, BTreeMap::new(), migrations, allowances);
        let now = Mono(1_000_000);
        // There is nothing to go on with.
        estate.configure(now, allowances, [(target.clone(), settings)].into());
        Self { estate, now, target, says: Action::Proceed, runs: Vec::new() }
    }

    /// A pipeline let a release out.
    pub(super) fn is_told(&mut self, product: &Product, (release, stage): (usize, u16)) {
        let stage = Permille::new(stage).expect("at most 1000");
        let release = release_of(product, release);
        let who = Name::parse("ci").expect("it is a name");
        self.step(TargetInput::Deployed { who, release, stage, build: None, schema: None });
    }

    /// An executor looked, and saw what is out.
    pub(super) fn sees(&mut self, product: &Product, (release, stage): (usize, u16)) {
        let stage = Permille::new(stage).expect("at most 1000");
        self.step(TargetInput::SeenOut { release: release_of(product, release), stage });
    }

    /// Windows close, and the policy says this of each.
    pub(super) fn windows(&mut self, count: u32, says: Action) {
        self.says = says;
        for _ in 0..count {
            self.passes(WINDOW);
            self.step(TargetInput::Window(Signals::default()));
        }
    }

    /// Some time goes by, and a person has looked after what only a person may lift.
    pub(super) fn rests(&mut self) {
        self.passes(BETWEEN);
        if self.estate.target(&self.target).is_some_and(|it| it.heeds(&TargetWish::Thaw).is_none()) {
            let who = Name::parse("ann").expect("a name");
            self.step(TargetInput::Operator { who, reason: "looked".into(), wish: TargetWish::Thaw });
        }
    }

    /// A run that is to be done now, and the release that is home.
    pub(super) fn order(&mut self, product: &Product) -> Option<(Order, usize)> {
        let order = self.runs.pop()?;
        match &order.task {
            Task::GoHome { release } => {
                let home = product.with_digest(&release.digest.0)?;
                Some((order, home))
            }
            // Nothing else is ordered of it.
            Task::Install { .. } | Task::Confirm { .. } | Task::Heal { .. } => None,
        }
    }

    /// Whether a run waits to be done.
    pub(super) fn has_ordered(&self) -> bool {
        !self.runs.is_empty()
    }

    /// It was done, or not.
    pub(super) fn ended(&mut self, order: &Order, failed: Option<(Transience, String)>) {
        let outcome = failed.map_or(Outcome::Done, |(transience, why)| Outcome::Failed { transience, why });
        self.step(TargetInput::Ended { ticket: order.ticket, outcome });
        // What failed for now is begun again within a minute.
        self.passes(Millis::from_secs(90));
    }

    fn step(&mut self, input: TargetInput) {
        let effects = self.estate.step(self.now, &self.target.clone(), input);
        self.does(effects);
    }

    fn passes(&mut self, span: Millis) {
        let end = self.now.after(span);
        while let Some(at) = self.estate.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            let effects = self.estate.tick(self.now);
            self.does(effects);
        }
        self.now = end;
    }

    fn does(&mut self, effects: Vec<TargetEffect>) {
        for effect in effects {
            match effect {
                TargetEffect::Ask { ticket, .. } => {
                    let decision = Decision { action: self.says.clone(), reasons: Vec::new() };
                    self.step(TargetInput::Policy { ticket, reply: Reply::Decided(decision) });
                }
                TargetEffect::Run { order, .. } => self.runs.push(order),
                TargetEffect::Record(_)
                | TargetEffect::Note(_)
                | TargetEffect::Abandon { .. }
                | TargetEffect::Look { .. }
                | TargetEffect::Page { .. } => {}
            }
        }
    }
}

/// What the policy says of a bad window.
pub(super) const ROLL_BACK: Action = Action::RollBack { how: How::SwitchAndFreeze };

fn release_of(product: &Product, release: usize) -> Release {
    let version = Version::parse(&product.version(release)).expect("a version");
    Release { version, digest: Digest(product.digest(release)), length: 0, security_epoch: 0 }
}

/// A release as an executor is told it.
pub(super) fn ordered(product: &Product, release: usize) -> executor::Release {
    let digest = product.digest_text(release);
    executor::Release { version: product.version(release), digest, length: 0, security_epoch: 0 }
}

/// What an executor knows of the tries before.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// What is there did not come up in time.
    gave_up: bool,
    /// The revisions that were left because of that: of a Helm release this stands in the lock until one is home, of the others at the
    /// workload.
    in_vain: Vec<u64>,
}

impl Tries {
    /// Another order.
    pub(super) fn begins(&mut self) {
        self.gave_up = false;
    }

    /// One try to go home: what the executor makes of it, and why that failed.
    pub(super) fn goes_home(
        &mut self,
        model: &mut Model,
        product: &Product,
        home: usize,
    ) -> (Chosen, Option<(Transience, String)>) {
        let chosen = self.chooses(model, product, home);
        let failed = match &chosen {
            Chosen::Stays => None,
            Chosen::Revision(revision) => {
                let left = current(model).filter(|_| self.gave_up);
                self.in_vain.extend(left);
                model.acts(product, &Act::GoesHome { revision: *revision });
                self.gave_up = !product.comes_up(&model.current());
                match &model.shape {
                    Shape::Helm(_) if self.gave_up => self.in_vain.push(*revision),
                    Shape::Helm(_) => self.in_vain.clear(),
                    Shape::Deployment(_) | Shape::Rollout(_) => {}
                }
                self.gave_up.then(|| (Transience::Transient, "its pods don't come up".to_owned()))
            }
            Chosen::Nothing(why) => Some((Transience::Permanent, why.clone())),
        };
        (chosen, failed)
    }

    fn chooses(&self, model: &Model, product: &Product, home: usize) -> Chosen {
        let wanted = ordered(product, home);
        match &model.shape {
            Shape::Helm(it) => helm(it, product, &wanted, &self.in_vain),
            Shape::Deployment(it) => deployment(it, product, &wanted, self),
            Shape::Rollout(it) => rollout(it, product, &wanted, self),
        }
    }
}

/// The number of the ReplicaSet that is current.
fn current(model: &Model) -> Option<u64> {
    let is_current = |set: &&Set| set.template == model.current();
    match &model.shape {
        Shape::Helm(_) => None,
        Shape::Deployment(it) => it.sets().find(is_current).map(|set| set.number),
        Shape::Rollout(it) => it.sets().find(is_current).map(|set| set.number),
    }
}

fn deployment(it: &Deployment, product: &Product, wanted: &executor::Release, tries: &Tries) -> Chosen {
    let Tries { gave_up, in_vain } = tries;
    let gave_up = *gave_up;
    if it.is_paused() {
        return Chosen::Nothing("it is paused by somebody else".into());
    }
    let sets: Vec<Revision> = it.sets().map(|set| revision(set, product)).collect();
    let current = hash(&it.current());
    if told(&it.current(), product).is(wanted) && !gave_up {
        return Chosen::Stays;
    }
    chosen(&sets, wanted, &Now { current: Some(&current), stable: None, gave_up, in_vain })
}

fn rollout(it: &Rollout, product: &Product, wanted: &executor::Release, tries: &Tries) -> Chosen {
    let Tries { gave_up, in_vain } = tries;
    let gave_up = *gave_up;
    let sets: Vec<Revision> = it.sets().map(|set| revision(set, product)).collect();
    let (current, stable) = (hash(&it.current()), it.stable().map(|stable| hash(&stable)));
    chosen(&sets, wanted, &Now { current: Some(&current), stable: stable.as_deref(), gave_up, in_vain })
}

fn chosen(sets: &[Revision], wanted: &executor::Release, now: &Now<'_>) -> Chosen {
    match revisions::choose(sets, wanted, now) {
        Ok(home) if Some(home.hash.as_str()) == now.current => Chosen::Stays,
        Ok(home) => Chosen::Revision(home.number),
        Err(why) => Chosen::Nothing(why.failed(wanted, sets).why),
    }
}

/// A ReplicaSet as an executor reads it.
fn revision(set: &Set, product: &Product) -> Revision {
    Revision {
        name: format!("shop-{}", hash(&set.template)),
        number: set.number,
        hash: hash(&set.template),
        wanted: i64::from(set.wanted),
        available: i64::from(set.available),
        told: Some(told(&set.template, product)),
    }
}

/// Two templates have two hashes, whatever they are.
fn hash(template: &Template) -> String {
    format!("{}-{}-{}", template.release, template.config, template.restart)
}

fn told(template: &Template, product: &Product) -> Told {
    let container = json!({ "name": "shop", "image": product.image(template.release) });
    let none: [Setting; 0] = [];
    Told::of(&json!({ "spec": { "containers": [container] } }), &none).unwrap_or_default()
}

fn helm(it: &Helm, product: &Product, wanted: &executor::Release, in_vain: &[u64]) -> Chosen {
    let records = it.records().iter().map(|record| kept(record, it.version()));
    let history = match history::History::of(records.collect()) {
        Ok(history) => history,
        Err(failed) => return Chosen::Nothing(failed.why),
    };
    let runs = |revision: u32| {
        let of = it.records().iter().find(|record| record.number == u64::from(revision));
        of.is_some_and(|record| told(&record.template, product).is(wanted))
    };
    let in_vain: Vec<u32> = in_vain.iter().map(|&revision| number(revision)).collect();
    let to = history
        .ways_after(&in_vain)
        .into_iter()
        .map(|record| record.revision)
        .find(|&revision| runs(revision));
    // Whoever was at work is long dead: that is waited for, which changes no choice.
    let facts = Facts { history: &history, to, ours: None, age_ms: Some(u64::MAX), pending_after_ms: 0 };
    match judge(facts) {
        Move::Stay => Chosen::Stays,
        Move::Back(revision) => Chosen::Revision(revision.into()),
        Move::Wait(_) => Chosen::Nothing("somebody's helm is at work".into()),
        Move::Stop(failed) => Chosen::Nothing(failed.why),
    }
}

fn number(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A record as the executor reads it: quotes are single there.
fn kept(record: &Record, by: HelmVersion) -> history::Record {
    let description = record.description().replace('"', "'");
    let says = description.starts_with("Rollback to ") || by == HelmVersion::Four;
    history::Record {
        revision: number(record.number),
        status: match record.status {
            Status::Deployed => history::Status::Deployed,
            Status::Superseded => history::Status::Superseded,
            Status::Failed => history::Status::Failed,
            Status::PendingUpgrade => history::Status::PendingUpgrade,
        },
        updated: String::new(),
        chart: "shop-1.0.0".into(),
        app_version: String::new(),
        back_to: record.back_to.filter(|_| says).map(number),
        description,
    }
}
