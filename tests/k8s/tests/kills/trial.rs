//! Trials of one kind of run: the one that is not cut off, and one for each point at which the server is killed.

use std::{
    collections::VecDeque,
    env,
    iter::Sum,
    panic,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use backstay_test_k8s::{ControlPlane, Gate, Keys, Moment, Namespace, Passed, Plant, Watch, until_within};
use serde_json::Value;

use super::{
    kinds::{Kind, World, file, left::differences},
    points::{Ends, Point, Todo, anywhere, moments, spread},
};

/// So many orders take effect at one server in an hour, so a server sees no more trials than that, and fewer where one takes several.
const ORDERS_OF_A_SERVER: usize = 60;
/// So many kills of each kind there are if nobody says how many.
const USUAL: usize = 6;
/// So many trials are under way at once, each with a server and a gate of its own: most of the time they wait, for controllers and helms.
const AT_ONCE: usize = 4;
/// For fewer trials than that another server isn't worth its start.
const WORTH_A_SERVER: usize = 5;
/// So many things are made ready at once: their controllers take their time, and hardly any processor's.
const READY_AT_ONCE: usize = 6;
/// How long controllers may take until what was ordered is so.
const SETTLES: Duration = Duration::from_secs(60);

/// Kinds come one after the other: what one waits for would be felt by the others.
static ALONE: Mutex<()> = Mutex::new(());

/// What all trials share.
pub(crate) struct Trials {
    cluster: ControlPlane,
    keys: Keys,
    /// How many kills of each kind there are at most, if anybody said.
    most: Option<usize>,
    _alone: MutexGuard<'static, ()>,
}

/// One kind at work: the server, the gate before it, and what is ready for it.
struct Work<'a> {
    world: World,
    kind: &'a dyn Kind,
    /// What is ready, and how the server calls it.
    ready: VecDeque<(Namespace, String)>,
    plant: Option<Plant>,
    /// How many targets the server has left.
    left: VecDeque<(Namespace, String)>,
    /// Where something was done, and is to stay as it is.
    done: Vec<(Namespace, String)>,
}

/// What trials of a kind came to.
#[derive(Default)]
struct Figures {
    kills: usize,
    /// From the start of the new process to the end of the run.
    recovered: Vec<Duration>,
    /// Changes that were asked for once more than by the run that was not cut off.
    repeated: usize,
    /// How many trials took a second run.
    tried_again: usize,
}

impl Trials {
    /// `None` after it was said why there are none.
    pub(crate) fn opens() -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = ControlPlane::start()?;
        let most = env::var("BACKSTAY_TRIALS").ok();
        let most = most.map(|most| most.parse().expect("BACKSTAY_TRIALS is a number"));
        Some(Self { cluster, keys: Keys::make(), most, _alone: alone })
    }

    /// Tries one kind.
    pub(crate) fn tries(&self, kind: &dyn Kind) {
        let began = Instant::now();
        let mut first = self.begins(kind);
        let (wanted, asked, took) = first.undisturbed();
        let mut chosen = moments(&asked);
        let all = chosen.len();
        spread(&mut chosen, self.most.unwrap_or(USUAL));
        let many = chosen.len().div_ceil(WORTH_A_SERVER).clamp(1, AT_ONCE);
        let todo = Todo::new(chosen);
        let mut works = vec![first];
        works.resize_with(many, || self.begins(kind));
        let figures: Vec<Figures> = thread::scope(|scope| {
            let works: Vec<_> = works
                .into_iter()
                .map(|work| scope.spawn(|| work.tries_all(&todo, many, &wanted, &asked)))
                .collect();
            works
                .into_iter()
                .map(|work| work.join().unwrap_or_else(|failed| panic::resume_unwind(failed)))
                .collect()
        });
        let Figures { kills, recovered, repeated, tried_again } = figures.into_iter().sum();
        println!(
            "summary: {}: {} requests, {} of them changes; killed {kills} times of {all}, {many} at once: all came to the same; without a \
             kill it took {} ms; from the start of the new process to the end of the run {}; changes asked for once more: {repeated}; \
             second runs: {tried_again}; {:.0} s",
            kind.name(),
            asked.len(),
            asked.iter().filter(|passed| passed.changes()).count(),
            took.as_millis(),
            told(recovered),
            began.elapsed().as_secs_f64(),
        );
    }

    fn begins<'a>(&self, kind: &'a dyn Kind) -> Work<'a> {
        let (cluster, keys) = (self.cluster.clone(), self.keys.clone());
        let gate = Gate::open(cluster.api(), &cluster.ca());
        Work {
            world: World { cluster, gate, keys },
            kind,
            ready: VecDeque::new(),
            plant: None,
            left: VecDeque::new(),
            done: Vec::new(),
        }
    }
}

impl Sum for Figures {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum.kills += one.kills;
            sum.recovered.extend(one.recovered);
            sum.repeated += one.repeated;
            sum.tried_again += one.tried_again;
            sum
        })
    }
}

impl Work<'_> {
    /// Tries what is left to try, as one of `many` who do.
    fn tries_all(mut self, todo: &Todo, many: usize, wanted: &Value, asked: &[Passed]) -> Figures {
        let _ends = Ends(todo);
        let mut figures = Figures::default();
        while let Some((left, (point, moment))) = todo.next() {
            let next = self.next(left.div_ceil(many));
            self.is_cut_off(next, (&point, moment), wanted, asked, &mut figures);
        }
        self.stays(wanted);
        figures
    }

    /// The run that nobody cuts off: what it leaves, what it asked for, and how long it took.
    fn undisturbed(&mut self) -> (Value, Vec<Passed>, Duration) {
        let (space, service) = self.next(1);
        let Self { world, kind, plant, .. } = self;
        let plant = plant.as_mut().unwrap();
        kind.is_told(plant, &service);
        world.gate.counts_anew();
        let began = Instant::now();
        kind.is_ordered(plant, &service);
        plant.until(&service, "it is over", |plant, view| is_over(*kind, plant, view));
        let took = began.elapsed();
        let asked = world.gate.passed();
        let mut left = Value::Null;
        // What controllers still do to it comes to an end.
        until_within(SETTLES, "nothing changes any more", || {
            let now = kind.leaves(world, &space);
            thread::sleep(Duration::from_millis(700));
            let same = now == left;
            left = now;
            same.then_some(())
        });
        let asked = asked.into_iter().map(|passed| anywhere(passed, &space)).collect();
        self.is_done(space, service);
        (left, asked, took)
    }

    /// The same, and the server is killed at `point` and started again.
    fn is_cut_off(
        &mut self,
        (space, service): (Namespace, String),
        (point, moment): (&Point, Moment),
        wanted: &Value,
        asked: &[Passed],
        figures: &mut Figures,
    ) {
        let Self { world, kind, plant, .. } = self;
        let plant = plant.as_mut().unwrap();
        let told =
            format!("{}: killed {moment:?} {} ({} times before)", kind.name(), point.asked, point.times);
        kind.is_told(plant, &service);
        let before = begun(plant, &service);
        world.gate.counts_anew();
        let stop = world.gate.stops(point.comes(&space), moment);
        kind.is_ordered(plant, &service);
        let began = Instant::now();
        let reached = stop.is_reached(|| {
            let view = plant.view(&service);
            assert!(began.elapsed() < SETTLES, "{told}: it neither comes to that nor ends\n{}", plant.log());
            is_over(*kind, plant, &view)
        });
        if !reached {
            // It looked less often than the first one did.
            drop(stop);
            self.is_done(space, service);
            return;
        }
        plant.is_killed();
        drop(stop);
        let began = Instant::now();
        plant.starts();
        plant.until(&service, &told, |plant, view| is_over(*kind, plant, view));
        figures.recovered.push(began.elapsed());
        figures.kills += 1;
        let runs = begun(plant, &service) - before;
        comes_to(*kind, world, &space, wanted, &told, || {
            format!("{}\n{}", lines(&world.gate.passed()), plant.log())
        });
        let changes = |passed: &[Passed]| {
            passed.iter().filter(|passed| passed.changes() && (200..300).contains(&passed.code)).count()
        };
        figures.repeated += changes(&world.gate.passed()).saturating_sub(changes(asked));
        figures.tried_again += usize::from(runs > 1);
        self.is_done(space, service);
    }

    fn is_done(&mut self, space: Namespace, service: String) {
        if !self.kind.is_cleared(&self.world, &space) {
            self.done.push((space, service));
        }
    }

    /// Nothing that was done before became anything else since.
    fn stays(&self, wanted: &Value) {
        for (space, service) in &self.done {
            comes_to(self.kind, &self.world, space, wanted, &format!("{service} after all"), String::new);
        }
    }

    /// The next thing to be mended, once it is there. So many are still to come, this one among them.
    fn next(&mut self, to_come: usize) -> (Namespace, String) {
        if self.ready.is_empty() {
            if self.left.is_empty() {
                self.opens(to_come);
            }
            let many = self.left.len().min(READY_AT_ONCE);
            self.ready = self.left.drain(..many).collect();
            thread::scope(|scope| {
                for (space, _) in &self.ready {
                    scope.spawn(|| self.kind.is_there(&self.world, space));
                }
            });
        }
        self.ready.pop_front().unwrap()
    }

    /// Another server, with targets that nothing was done to.
    fn opens(&mut self, to_come: usize) {
        let Self { world, kind, .. } = self;
        let many = to_come.clamp(1, ORDERS_OF_A_SERVER / kind.orders());
        let spaces: Vec<Namespace> = (0..many).map(|_| world.cluster.namespace("kill")).collect();
        let mut watch = Watch { tables: kind.tables(world, &spaces), ..Watch::default() };
        for (number, space) in spaces.into_iter().enumerate() {
            let service = format!("shop-{number}");
            watch.targets.push((service.clone(), file(*kind, &space)));
            self.left.push_back((space, service));
        }
        // The one before has nothing left to do.
        self.plant = None;
        self.plant = Some(Plant::opens(&world.keys, world.cluster.api(), &world.gate, &watch));
    }
}

/// How many runs of a target have begun.
fn begun(plant: &mut Plant, service: &str) -> usize {
    let seen = plant.incidents(service);
    let events = seen.iter().flat_map(|incident| incident["events"].as_array().into_iter().flatten());
    let begins = events.filter_map(|event| event["what"].as_str()).filter(|what| what.starts_with("run "));
    begins.filter(|what| what.contains(" begins: ")).count()
}

/// Whether a run was brought to its end, and to no bad one.
fn is_over(kind: &dyn Kind, plant: &mut Plant, view: &Value) -> bool {
    let failed = view["hold"].as_str().is_some_and(|hold| hold.contains("the run failed"));
    assert!(!failed, "{view:#}\n{}", plant.log());
    view["run"].is_null() && kind.is_over(view)
}

/// Waits until what was left is what is wanted.
fn comes_to(
    kind: &dyn Kind,
    world: &World,
    space: &Namespace,
    wanted: &Value,
    told: &str,
    more: impl FnOnce() -> String,
) {
    let until = Instant::now() + SETTLES;
    loop {
        let left = kind.leaves(world, space);
        if left == *wanted {
            return;
        }
        if Instant::now() > until {
            panic!("{told}: it left {:#?}\n{}", differences(&left, wanted), more());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn lines(passed: &[Passed]) -> String {
    passed.iter().map(|passed| format!("{passed}\n")).collect()
}

/// In a few words: the middle and the most.
fn told(mut spans: Vec<Duration>) -> String {
    spans.sort();
    let ms = |at: usize| spans.get(at).map_or(0, Duration::as_millis);
    format!("p50 {} ms, most {} ms", ms(spans.len() / 2), ms(spans.len().saturating_sub(1)))
}
