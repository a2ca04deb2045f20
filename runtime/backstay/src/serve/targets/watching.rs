//! Windows: when one closes, what is asked then, and what the answers make of it.
//!
//! Where its executor looks, a window ends with a look: the numbers that are asked for next are about what it saw to be out, and not
//! about what was out when the window began. Not here: asking (`doing`), what an answer makes of a window (`signals`), and what a window leads to (`core`).

use std::{collections::BTreeMap, sync::Arc};

use backstay_core::{Signals, TargetInput};
use backstay_model::{Digest, Millis, Mono, Permille, TargetId};
use backstay_signals::{
    Alert, Answer, Answers, Finite, MetricName, Metrics, NoData, ObjectiveSpec, Part, Query, Readings,
    Series, Side, Source, Windows,
};

use super::{
    super::{clock::Now, diary::Diary, judge::Ask, server::Server},
    Targets, Todo, Watched,
};

/// A metric of a pipeline with this name is how unusual things look, 0 to 1.
const ANOMALY: &str = "anomaly";

/// For how long a window that is over waits for what its executor sees; never longer than it was itself.
const LOOK_PATIENCE: Millis = Millis::from_secs(10);

/// At how many times in a window the windows of all targets close.
const PARTS: u64 = 12;

/// What Prometheus is asked for a window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Questions {
    /// What was promised.
    pub(super) specs: Arc<[ObjectiveSpec]>,
    /// How unusual things look.
    pub(super) anomaly: Option<Query>,
}

/// What it answered.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// For each objective; none: nobody was asked.
    pub(super) objectives: Vec<Answers>,
    /// How unusual things look.
    pub(super) anomaly: Option<Answer>,
}

/// How far a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// It is over, and its executor looks. Nobody waits for it any longer than this.
    Seeing(Mono),
    /// Its numbers were asked for, and did not come yet.
    Asking,
}

/// What is watched of one target.
pub(super) struct Watch {
    pub(super) watched: Watched,
    opened: Mono,
    closes: Mono,
    phase: Phase,
    series: Series,
    /// Which release the series is about.
    about: Option<Digest>,
    /// Whether it has all the traffic: then there are no two sides.
    has_all: bool,
    /// What a pipeline measured in the open window.
    metrics: BTreeMap<MetricName, Finite>,
    /// What its executor saw since the window opened.
    seen: Option<Result<Readings, String>>,
    /// What could not be had in the last window, for people.
    pub(super) missing: Vec<String>,
}

impl Watch {
    /// The first window of each target closes at one of twelve times in a window, so that hundreds don't ask at once, and those
    /// that do wake the server once.
    pub(super) fn new(now: Mono, id: &TargetId, watched: Watched) -> Self {
        let spread = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let part = watched.window.0.div_ceil(PARTS).max(1);
        let first = Millis(spread % PARTS * part + 1);
        Self {
            closes: now.after(first),
            opened: now,
            phase: Phase::Open,
            series: Series::new(),
            about: None,
            has_all: true,
            metrics: BTreeMap::new(),
            seen: None,
            missing: Vec::new(),
            watched,
        }
    }

    /// The configuration says something else. What was seen of objectives that are still there is kept.
    pub(super) fn set(&mut self, watched: Watched) {
        self.series.keep(&watched.specs);
        self.watched = watched;
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        // A window that pipelines fill closes when they do. How old the last one is tells whether it still counts.
        match self.phase {
            Phase::Open => (!self.is_fed_by_pipelines()).then_some(self.closes),
            Phase::Seeing(until) => Some(until),
            Phase::Asking => None,
        }
    }

    /// Turns to the release that is out: what was seen of another says nothing about it. Gives whether it was turned: then the
    /// window that is open is of both, and a new one begins.
    fn turns_to(&mut self, now: Mono, out: Option<(Digest, Permille)>) -> Turned {
        let about = out.map(|(release, _)| release);
        // Where nobody said what is out, one release has everything.
        self.has_all = out.is_none_or(|(_, stage)| stage == Permille::ALL);
        if self.about == about {
            return Turned::No;
        }
        self.about = about;
        self.series.reset();
        self.seen = None;
        // What a pipeline sends is about what it says is out, whenever it says so.
        if self.is_fed_by_pipelines() {
            return Turned::No;
        }
        (self.phase, self.opened, self.closes) = (Phase::Open, now, now.after(self.watched.window));
        Turned::Yes
    }

    /// Whether all that it watches is what pipelines send.
    fn is_fed_by_pipelines(&self) -> bool {
        !self.watched.looks
            && self.watched.anomaly.is_none()
            && self.watched.specs.iter().all(|spec| matches!(spec.source, Source::Metric { .. }))
    }

    fn close(&mut self, now: Mono, answers: Vec<Answers>, alerts: impl Fn(&ObjectiveSpec) -> Option<Answer>) {
        self.missing.clear();
        let mut answers = answers.into_iter();
        for spec in self.watched.specs.iter() {
            let mut answered = answers.next().unwrap_or_default();
            match &spec.source {
                Source::Metric { name, .. } => {
                    let value = self.metrics.get(name).copied().ok_or(NoData::NotAsked);
                    answered.put(Side::Candidate, Part::Value, value);
                }
                Source::Alert { .. } => {
                    answered.put(Side::Candidate, Part::Value, alerts(spec).unwrap_or(Err(NoData::NotAsked)));
                }
                Source::Ratio { .. } | Source::Value { .. } | Source::Burn(_) => {}
            }
            let missing = answered.missing().map(|(_, _, why)| format!("{}: {why}", spec.name));
            self.missing.extend(missing.take(4));
            let windows = spec.windows(&answered, self.opened, self.watched.window);
            self.series.push(spec, if self.has_all { alone(windows) } else { windows });
        }
        if let Some(Err(why)) = &self.seen {
            self.missing.push(format!("look: {why}"));
        }
        self.metrics.clear();
        self.seen = None;
        self.phase = Phase::Open;
        // Two in one millisecond are two.
        self.opened = Mono(now.0.max(self.opened.0.saturating_add(1)));
        // A server that was busy closes the next window in its own time, and never two at once.
        self.closes = self.closes.after(self.watched.window).max(Mono(now.0.saturating_add(1)));
        if self.closes.0 > now.0.saturating_add(self.watched.window.0) {
            self.closes = now.after(self.watched.window);
        }
    }

    /// Its executor looked, or could not.
    pub(super) fn sees(&mut self, readings: Result<Readings, String>) {
        self.seen = Some(readings);
    }

    /// What its executor saw in the window.
    fn readings(&self) -> Option<&Readings> {
        self.seen.as_ref()?.as_ref().ok()
    }

    /// What is asked for a window now.
    fn questions(&self) -> Questions {
        Questions { specs: Arc::clone(&self.watched.specs), anomaly: self.watched.anomaly.clone() }
    }

    /// How unusual things look: the worst of what Prometheus says, a pipeline measured and the executor saw.
    fn anomaly(&self, asked: Option<Permille>) -> Option<Permille> {
        let measured = self.metrics.iter().find(|(name, _)| name.as_str() == ANOMALY);
        let measured = measured.and_then(|(_, value)| value.share().ok());
        asked.max(measured).max(self.readings().and_then(Readings::anomaly))
    }
}

/// Whether another release is out than before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turned {
    No,
    Yes,
}

/// The windows of a release that has all the traffic. Between two releases no pod bears the label of a canary, and right after a
/// promotion some still do: the side that has data is the one that counts, and there is none to judge it against.
fn alone(Windows { candidate, baseline }: Windows) -> Windows {
    let stable = baseline.filter(|_| candidate.samples == 0);
    Windows { candidate: stable.unwrap_or(candidate), baseline: None }
}

impl Targets {
    /// Takes what a pipeline measured into the open window. Gives whether the window may close now.
    pub(super) fn measured(&mut self, id: &TargetId, metrics: Metrics) -> bool {
        let Some(watch) = self.watches.get_mut(id) else { return false };
        // What no objective is about isn't kept.
        let known = |name: &MetricName| {
            name.as_str() == ANOMALY
                || watch
                    .watched
                    .specs
                    .iter()
                    .any(|spec| matches!(&spec.source, Source::Metric { name: of, .. } if of == name))
        };
        let known: Vec<_> = metrics.into_iter().filter(|(name, _)| known(name)).collect();
        watch.metrics.extend(known);
        watch.is_fed_by_pipelines() && watch.phase == Phase::Open
    }

    /// Takes what Alertmanager sent.
    pub(super) fn alerted(&mut self, now: Mono, alerts: Vec<Alert>) {
        self.firing.hear(now, alerts);
    }

    /// The window of a target closes at another time by now.
    pub(super) fn reschedules(&mut self, id: &TargetId) {
        self.windows.set(id, self.watches.get(id).and_then(Watch::deadline));
    }
}

impl<D: Diary, P: Ask> Server<D, P> {
    /// Asks for the numbers of windows that are over, and lets runs that are overdue go.
    pub(in super::super) fn tick_targets(&mut self, now: Now) {
        let effects = self.targets.estate.tick(now.mono);
        self.follow_targets(now, effects);
        for id in self.targets.windows.due(now.mono) {
            self.close_window(now, &id);
        }
    }

    /// A window is over, or what its executor sees was waited for long enough.
    pub(super) fn close_window(&mut self, now: Now, id: &TargetId) {
        let Some(watch) = self.targets.watches.get_mut(id) else { return };
        match watch.phase {
            Phase::Open if watch.watched.looks => {
                watch.phase = Phase::Seeing(now.mono.after(LOOK_PATIENCE.min(watch.watched.window)));
                self.targets.reschedules(id);
                self.begin_look(now, id);
            }
            Phase::Seeing(_) => {
                self.misses_look(id);
                self.ask_numbers(now, id);
            }
            Phase::Open => self.ask_numbers(now, id),
            Phase::Asking => {}
        }
    }

    /// Its executor has looked, or could not: a window that waited for it goes on.
    pub(super) fn looked(&mut self, now: Now, id: &TargetId) {
        if self.targets.watches.get(id).is_some_and(|watch| matches!(watch.phase, Phase::Seeing(_))) {
            self.ask_numbers(now, id);
        }
    }

    /// What a window takes is asked for, or it is judged at once if it takes nothing.
    fn ask_numbers(&mut self, now: Now, id: &TargetId) {
        let out = self.out_of(id);
        let Some(watch) = self.targets.watches.get_mut(id) else { return };
        if watch.turns_to(now.mono, out) == Turned::Yes {
            return self.targets.reschedules(id);
        }
        let questions = watch.questions();
        let asks =
            questions.anomaly.is_some() || questions.specs.iter().any(|spec| !spec.questions().is_empty());
        match watch.watched.prometheus.clone().filter(|_| asks) {
            Some(prometheus) => {
                watch.phase = Phase::Asking;
                let stale = watch.watched.window;
                let target = id.clone();
                self.targets.todo.push_back(Todo::Measure { target, prometheus, questions, stale });
                self.targets.reschedules(id);
            }
            None => self.numbers_came(now, id, &questions, Numbers::default()),
        }
    }

    fn out_of(&self, id: &TargetId) -> Option<(Digest, Permille)> {
        let out = self.targets.estate.target(id).and_then(|target| target.state().out());
        out.map(|out| (out.release.digest, out.stage))
    }

    /// The numbers of a window came, or why there are none. What was asked before another release went out, or before the
    /// configuration was read anew, says nothing any more.
    pub(in super::super) fn numbers_came(
        &mut self,
        now: Now,
        id: &TargetId,
        asked: &Questions,
        numbers: Numbers,
    ) {
        let out = self.out_of(id);
        let Targets { watches, firing, .. } = &mut self.targets;
        let Some(watch) = watches.get_mut(id) else { return };
        if watch.turns_to(now.mono, out) == Turned::Yes {
            return self.targets.reschedules(id);
        }
        let Numbers { objectives, anomaly } =
            if *asked == watch.questions() { numbers } else { Numbers::default() };
        let asked = anomaly.map(|answer| answer.and_then(Finite::share));
        let unscored = asked.clone().and_then(Result::err);
        let (anomaly, window) = (watch.anomaly(asked.and_then(Result::ok)), watch.watched.window);
        let told = firing.infra(now.mono, id);
        let infra = match watch.readings() {
            Some(seen) => seen.infra_beside(told),
            None => told,
        };
        watch.close(now.mono, objectives, |spec| match &spec.source {
            Source::Alert { name } => Some(firing.answer(now.mono, window, id, name)),
            Source::Ratio { .. } | Source::Value { .. } | Source::Burn(_) | Source::Metric { .. } => None,
        });
        watch.missing.extend(unscored.map(|why| format!("anomaly: {why}")));
        let objectives = watch.series.objectives().to_vec();
        self.targets.reschedules(id);
        self.give(now, id, TargetInput::Window(Signals { objectives, anomaly, infra }));
    }
}
