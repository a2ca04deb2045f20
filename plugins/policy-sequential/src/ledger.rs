//! What was seen of one objective: each window once, in clusters, and what was learned of it before.
//!
//! Here: which windows count, when a cluster is full, when an incident keeps both sides from being judged. Not here: what
//! the clusters say (`evidence`), and how a ledger is kept (`memo`).

use alloc::vec::Vec;

use backstay_sdk::policy::{Objective, Window};

use crate::{
    config::Config,
    dispersion::{Count, Dispersion},
    evidence::Pair,
};

/// The most clusters that are kept. With them an *epoch* is full, and the next one starts from nothing with a share of
/// the error rate of its own: what happens late in a long trial must not have to outweigh hours of health before it.
pub(crate) const CLUSTERS_MAX: usize = 60;

/// So many clusters are one on the long scale: bursts that last for minutes show there.
pub(crate) const LONG: usize = 5;

/// An incident has at least so many bad samples on each side in a cluster's time, so that chance doesn't look like one.
const INCIDENT_BAD_MIN: u32 = 4;

/// And so many times the usual rate.
const INCIDENT_TIMES: f64 = 5.0;

/// After so many clusters the older half of what is usual is forgotten: with clusters of a minute, a day.
const USUAL_CLUSTERS_MAX: u32 = 1440;

/// One objective's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ledger {
    /// When the newest window that was taken opened.
    pub(crate) taken: Option<u64>,
    /// Of this trial, from 0.
    pub(crate) epoch: u32,
    /// Samples of the candidate that were compared in this trial.
    pub(crate) exposed: u64,
    /// Until when nothing is judged, because both sides had an incident. 0: there was none.
    pub(crate) paused_until: u64,
    /// Of this epoch, oldest first, the last one still open: at most [`CLUSTERS_MAX`].
    pub(crate) clusters: Vec<Pair>,
    /// When the first window of the last cluster opened, and the stage that it was in.
    pub(crate) since: u64,
    pub(crate) stage: u16,
    pub(crate) learned: Learned,
}

/// What outlives a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Learned {
    /// Of clusters.
    pub(crate) short: Dispersion,
    /// Of [`LONG`] clusters each.
    pub(crate) long: Dispersion,
    /// Samples and bad ones of the stable side.
    pub(crate) usual: (f64, f64),
    /// How many clusters of them.
    pub(crate) clusters: u32,
}

impl Ledger {
    /// A new trial: what was seen of the one before says nothing about it.
    pub(crate) fn begin(&mut self) {
        let Self { taken, learned, .. } = *self;
        *self = Self { taken, learned, ..Self::default() };
    }

    /// Takes the windows that it hasn't seen yet, at `now` and `stage`.
    ///
    /// A window counts together with the one of the other side that opened with it, so that both saw the same world. Where
    /// one of the two comes later, both count then, unless a newer pair has been taken. Without a baseline there is
    /// something to learn only from what is not on trial.
    pub(crate) fn take(&mut self, config: &Config<'_>, objective: &Objective, frame: Frame) {
        // The clock never goes back, except where this memo is another instance's.
        self.taken = self.taken.filter(|&taken| taken <= frame.now);
        let pause_max = frame.now.saturating_add(config.cluster_ms);
        self.paused_until = self.paused_until.min(pause_max);
        let alone = objective.baseline.is_empty();
        if alone && frame.on_trial {
            return;
        }
        for window in &objective.candidate {
            // A window from the future would make all that follow look old.
            if window.opened > frame.now || self.taken.is_some_and(|taken| window.opened <= taken) {
                continue;
            }
            let beside = objective.baseline.iter().rev().find(|beside| beside.opened == window.opened);
            let baseline = match beside {
                Some(beside) => Count::of(beside),
                None if alone => Count::default(),
                None => continue,
            };
            self.taken = Some(window.opened);
            // Whether there is an incident was decided without this window: what is left out can't depend on how the two
            // sides did in it, and so leaving out doesn't bend the evidence.
            if window.opened >= self.paused_until {
                self.add(config, window.opened, frame, Pair { candidate: Count::of(window), baseline });
            }
        }
        if self.has_incident(config, objective, frame.now) {
            // A cluster's time longer: one side may have a lull in the middle of it.
            self.paused_until = pause_max;
        }
    }

    fn add(&mut self, config: &Config<'_>, opened: u64, frame: Frame, pair: Pair) {
        if pair.compares() {
            self.exposed = self.exposed.saturating_add(pair.candidate.samples.into());
        }
        // The stage changes how the traffic is shared, and a cluster has one share.
        let is_near = opened < self.since.saturating_add(config.cluster_ms) && self.stage == frame.stage;
        let sum = self.clusters.last().filter(|_| is_near).and_then(|last| last.plus(pair));
        if let (Some(last), Some(sum)) = (self.clusters.last_mut(), sum) {
            *last = sum;
            return;
        }
        self.close(frame.on_trial);
        self.clusters.push(pair);
        (self.since, self.stage) = (opened, frame.stage);
    }

    /// Learns from the cluster that is now complete.
    fn close(&mut self, on_trial: bool) {
        let Some(&last) = self.clusters.last() else { return };
        if let [.., first, second] = self.clusters.as_slice() {
            self.learned.short.learn(first.candidate, second.candidate);
            self.learned.short.learn(first.baseline, second.baseline);
        }
        if self.clusters.len().is_multiple_of(LONG)
            && let [.., first, second] = merged(&self.clusters, LONG).as_slice()
        {
            self.learned.long.learn(first.candidate, second.candidate);
            self.learned.long.learn(first.baseline, second.baseline);
        }
        let stable = if on_trial || last.baseline.samples > 0 { last.baseline } else { last.candidate };
        self.learned.add_usual(stable);
        if self.clusters.len() >= CLUSTERS_MAX {
            self.clusters.clear();
            self.epoch = self.epoch.saturating_add(1);
        }
    }

    /// Whether both sides are bad, in the last cluster's time.
    fn has_incident(&self, config: &Config<'_>, objective: &Objective, now: u64) -> bool {
        let is_past = |window: &&Window| window.opened <= now;
        let Some(newest) = objective.candidate.iter().rev().find(is_past) else { return false };
        let from = newest.opened.saturating_add(newest.span).saturating_sub(config.cluster_ms);
        let sum = |windows: &[Window]| {
            let recent = windows.iter().filter(is_past).filter(|window| window.opened >= from).map(Count::of);
            recent.fold(Count::default(), |sum, count| sum.plus(count).unwrap_or(sum))
        };
        let limit = config.incident.max(INCIDENT_TIMES * self.usual());
        [sum(&objective.candidate), sum(&objective.baseline)]
            .iter()
            .all(|side| side.bad >= INCIDENT_BAD_MIN && side.rate() >= limit)
    }

    /// The stable side's rate, over a day and this epoch.
    fn usual(&self) -> f64 {
        let (samples, bad) = self.learned.usual;
        let now = self.clusters.iter().fold((samples, bad), |(samples, bad), pair| {
            (samples + f64::from(pair.baseline.samples), bad + f64::from(pair.baseline.bad))
        });
        now.1 / now.0.max(1.0)
    }
}

impl Learned {
    fn add_usual(&mut self, stable: Count) {
        self.usual.0 += f64::from(stable.samples);
        self.usual.1 += f64::from(stable.bad);
        self.clusters = self.clusters.saturating_add(1);
        if self.clusters > USUAL_CLUSTERS_MAX {
            self.usual = (self.usual.0 / 2.0, self.usual.1 / 2.0);
            self.clusters /= 2;
        }
    }
}

/// When the windows are looked at, and in which state of the rollout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) now: u64,
    pub(crate) stage: u16,
    pub(crate) on_trial: bool,
}

/// Each `size` of them as one. A sum without room leaves out what doesn't fit.
pub(crate) fn merged(pairs: &[Pair], size: usize) -> Vec<Pair> {
    let sum = |some: &[Pair]| some.iter().fold(Pair::default(), |sum, pair| sum.plus(*pair).unwrap_or(sum));
    pairs.chunks(size).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use backstay_sdk::policy::Scope;

    use super::*;

    const CALM: Frame = Frame { now: u64::MAX, stage: 50, on_trial: true };

    fn window(n: u64, samples: u32, bad: u32) -> Window {
        Window { opened: n * 10_000, span: 10_000, samples, bad }
    }

    /// Samples and bad ones of the candidate, and then of the baseline.
    type Both = (u32, u32, u32, u32);

    /// Windows of 10 s from `first` on.
    fn objective(first: u64, pairs: &[Both]) -> Objective {
        let side = |of: fn(&Both) -> (u32, u32)| {
            (first..).zip(pairs.iter().map(of)).map(|(n, (samples, bad))| window(n, samples, bad)).collect()
        };
        Objective {
            name: "http".into(),
            critical: true,
            scope: Scope::Local,
            candidate: side(|p| (p.0, p.1)),
            baseline: side(|p| (p.2, p.3)),
        }
    }

    fn taken(ledger: &Ledger) -> (u32, u32) {
        ledger
            .clusters
            .iter()
            .fold((0, 0), |sum, pair| (sum.0 + pair.candidate.samples, sum.1 + pair.baseline.samples))
    }

    #[test]
    fn a_window_counts_once_also_after_a_gap() {
        let config = Config::read(&[]);
        let mut ledger = Ledger::default();
        ledger.take(&config, &objective(0, &[(50, 0, 60, 0); 16]), CALM);
        ledger.take(&config, &objective(1, &[(50, 0, 60, 0); 16]), CALM);
        ledger.take(&config, &objective(1, &[(50, 0, 60, 0); 16]), CALM);
        assert_eq!(taken(&ledger), (17 * 50, 17 * 60));
        assert_eq!(ledger.clusters.len(), 3);
        ledger.take(&config, &objective(400, &[(50, 0, 60, 0); 2]), CALM);
        assert_eq!((taken(&ledger).0, ledger.clusters.len()), (19 * 50, 4));
        assert_eq!(ledger.exposed, 19 * 50);
    }

    #[test]
    fn a_side_that_is_late_is_waited_for() {
        let config = Config::read(&[]);
        let mut ledger = Ledger::default();
        let mut late = objective(0, &[(50, 0, 60, 0); 4]);
        late.baseline.pop();
        ledger.take(&config, &late, CALM);
        assert_eq!(taken(&ledger), (150, 180));
        ledger.take(&config, &objective(0, &[(50, 0, 60, 0); 4]), CALM);
        assert_eq!(taken(&ledger), (200, 240));
    }

    #[test]
    fn a_window_from_the_future_does_not_end_the_judging() {
        let config = Config::read(&[]);
        let mut ledger = Ledger::default();
        let mut hostile = objective(0, &[(50, 0, 60, 0); 2]);
        for side in [&mut hostile.candidate, &mut hostile.baseline] {
            side.push(Window { opened: u64::MAX, span: u64::MAX, samples: u32::MAX, bad: u32::MAX });
        }
        let frame = Frame { now: 60_000, ..CALM };
        ledger.take(&config, &hostile, frame);
        assert_eq!(taken(&ledger), (100, 120));
        ledger.take(&config, &objective(2, &[(50, 0, 60, 0); 2]), frame);
        assert_eq!(taken(&ledger), (200, 240));
    }

    #[test]
    fn a_stage_and_a_sum_without_room_close_a_cluster() {
        let config = Config::read(&[]);
        let mut ledger = Ledger::default();
        ledger.take(&config, &objective(0, &[(50, 0, 60, 0)]), CALM);
        ledger.take(&config, &objective(1, &[(50, 0, 60, 0)]), Frame { stage: 100, ..CALM });
        assert_eq!(ledger.clusters.len(), 2);
        ledger.take(&config, &objective(2, &[(u32::MAX, 9, 60, 0)]), Frame { stage: 100, ..CALM });
        assert_eq!(ledger.clusters.len(), 3);
    }

    #[test]
    fn an_incident_on_both_sides_pauses_the_judging_and_one_side_alone_does_not() {
        let config = Config::read(&[]);
        let mut ledger = Ledger::default();
        // Six windows at a time; asked when the last one closes.
        let mut takes = |n: u64, window| {
            ledger.take(&config, &objective(n, &[window; 6]), Frame { now: (n + 6) * 10_000, ..CALM });
            (ledger.paused_until, taken(&ledger).0)
        };
        assert_eq!(takes(0, (3000, 1, 3000, 1)), (0, 18_000));
        assert_eq!(takes(6, (50, 0, 50, 3)), (0, 18_300));
        // The minute in which it is seen counts: it was judged before anybody knew.
        assert_eq!(takes(12, (50, 3, 50, 3)), (240_000, 18_600));
        assert_eq!(takes(18, (50, 9, 50, 3)), (300_000, 18_600));
        // A calm minute on one side may be a lull; after the second one it goes on.
        assert_eq!(takes(24, (50, 9, 50, 0)), (300_000, 18_600));
        assert_eq!(takes(30, (50, 0, 50, 0)), (300_000, 18_900));
    }

    #[test]
    fn what_is_always_so_is_no_incident() {
        let config = Config::read(&[]);
        let mut ledger = Ledger::default();
        // 6 % of the requests are slow, as ever.
        for n in 0..20 {
            let frame = Frame { now: (n + 1) * 60_000, ..CALM };
            ledger.take(&config, &objective(n * 6, &[(50, 3, 50, 3); 6]), frame);
        }
        assert_eq!(ledger.paused_until, 0);
    }

    #[test]
    fn an_hour_is_an_epoch_and_a_day_is_remembered() {
        let config = Config::read(&[]);
        let mut ledger = Ledger::default();
        let steady = Frame { on_trial: false, ..CALM };
        for n in 0..3000_u64 {
            let mut minute = objective(n, &[(300, 1, 0, 0)]);
            minute.candidate[0].opened = n * 60_000;
            minute.baseline.clear();
            ledger.take(&config, &minute, steady);
            assert!(ledger.clusters.len() <= CLUSTERS_MAX);
        }
        assert_eq!(ledger.epoch, 49);
        assert!(ledger.learned.clusters <= USUAL_CLUSTERS_MAX);
        assert_eq!(ledger.learned.short.correlation(), 0.0);
        assert!((ledger.usual() - 1.0 / 300.0).abs() < 1e-6);
        ledger.begin();
        assert_eq!((ledger.epoch, ledger.clusters.len(), ledger.exposed), (0, 0, 0));
        assert!(ledger.learned.clusters > 700);
    }

    #[test]
    fn a_candidate_on_trial_without_a_baseline_teaches_nothing() {
        let config = Config::read(&[]);
        let mut ledger = Ledger::default();
        let mut alone = objective(0, &[(50, 9, 0, 0); 16]);
        alone.baseline.clear();
        ledger.take(&config, &alone, CALM);
        assert_eq!(ledger, Ledger::default());
    }
}
