//! What happens in an hour: two sides that serve requests, of which some are bad.
//!
//! Requests come independently; what else happens is a scenario's: incidents, the time of day, a growing stage, bursts,
//! machines that are not alike. Not here: who judges it (`rules`, `policies`).

use std::f64::consts::TAU;

use crate::random::Random;

/// Windows are this long, as the operator sets it. Rules that look at minutes add six of them up.
pub const WINDOW_SECONDS: u64 = 10;
/// Windows in a minute.
pub const MINUTE: usize = 6;
/// Windows in an hour.
pub const HOUR: usize = 360;

/// An incident lasts for six minutes.
const INCIDENT_WINDOWS: usize = 36;
/// And makes this share of the requests bad on both sides, beside what is usual.
const INCIDENT: f64 = 0.05;
/// The candidate's share of the traffic, in permille, in each quarter of an hour of a rollout that goes on.
const STAGES: [u16; 4] = [50, 100, 250, 500];

/// One side in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests.
    pub samples: u32,
    /// Of them, bad.
    pub bad: u32,
}

/// Both sides in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The candidate's share of the traffic, in permille.
    pub stage: u16,
    /// The side that is judged.
    pub candidate: Count,
    /// The side that it is judged against.
    pub baseline: Count,
}

/// How machines of one side differ from each other, for the whole hour.
#[derive(Clone, Copy, Debug)]
pub struct Instances {
    /// On each side.
    pub count: u32,
    /// Coefficient of variation of their rates.
    pub variation: f64,
    /// With a probability of one half one of them, on each side, has this many times the rate; 1: none.
    pub bad: f64,
}

/// Independent bursts.
#[derive(Clone, Copy, Debug)]
pub struct Bursts {
    /// Coefficient of variation of the rate from burst to burst.
    pub variation: f64,
    /// How long the rate stays, in windows. When the first one begins is chance.
    pub windows: usize,
}

/// What kind of hour it is.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// In the table.
    pub name: &'static str,
    /// Requests a second on the candidate's side; in a rollout that goes on, in all.
    pub candidate_rps: f64,
    /// And on the baseline's.
    pub baseline_rps: f64,
    /// Share of bad requests of the baseline.
    pub base: f64,
    /// Of the candidate. The same: it is healthy.
    pub candidate: f64,
    /// Whether there is an incident on both sides, at some time of the hour.
    pub incident: bool,
    /// Whether the rate of both sides rises to five times and falls, and the stage grows from 5 % to 50 %.
    pub drift: bool,
    /// Bursts of each side for itself.
    pub bursts: Bursts,
    /// How both sides vary from minute to minute together (coefficient of variation).
    pub shared: f64,
    /// Machines.
    pub instances: Instances,
    /// Whether the judge was there before the trial: see [`crate::policies`].
    pub has_past: bool,
}

impl Scenario {
    /// 5 requests a second on each side, 0.2 % of them bad, and nothing else happens.
    pub const PLAIN: Self = Self {
        name: "plain",
        candidate_rps: 5.0,
        baseline_rps: 5.0,
        base: 0.002,
        candidate: 0.002,
        incident: false,
        drift: false,
        bursts: Bursts { variation: 0.0, windows: MINUTE },
        shared: 0.0,
        instances: Instances { count: 10, variation: 0.0, bad: 1.0 },
        has_past: true,
    };

    /// Whether the candidate is as good as the baseline.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.candidate == self.base
    }

    /// The same world before the trial: without an incident, and the stable release on both sides.
    #[must_use]
    pub fn past(&self) -> Self {
        Self { candidate: self.base, incident: false, ..*self }
    }

    /// So many windows of it.
    #[must_use]
    pub fn windows(&self, random: &mut Random, count: usize) -> Vec<Window> {
        let machines = [self.instances.draw(random), self.instances.draw(random)];
        let incident = (random.even() * (HOUR - INCIDENT_WINDOWS) as f64) as usize;
        let phase = random.even() * TAU;
        let offset = (random.even() * self.bursts.windows as f64) as usize;
        let mut bursts = [1.0; 2];
        let mut shared = 1.0;
        let mut windows = Vec::with_capacity(count);
        for n in 0..count {
            if n == 0 || (n + offset).is_multiple_of(self.bursts.windows) {
                bursts = [random.factor(self.bursts.variation), random.factor(self.bursts.variation)];
            }
            if n.is_multiple_of(MINUTE) {
                shared = random.factor(self.shared);
            }
            let is_incident = self.incident && (incident..incident + INCIDENT_WINDOWS).contains(&n);
            let day =
                if self.drift { 3.0 + 2.0 * libm::sin(phase + TAU * n as f64 / HOUR as f64) } else { 1.0 };
            let stage = if self.drift { STAGES[(n * STAGES.len() / HOUR).min(STAGES.len() - 1)] } else { 50 };
            let rps = if self.drift {
                let all = self.candidate_rps + self.baseline_rps;
                let own = all * f64::from(stage) / 1000.0;
                [own, all - own]
            } else {
                [self.candidate_rps, self.baseline_rps]
            };
            let mut side = |at: usize, usual: f64| {
                let outside = if is_incident { INCIDENT } else { 0.0 };
                let share = ((usual + outside) * day * shared * bursts[at] * machines[at]).min(1.0);
                let requests = rps[at] * WINDOW_SECONDS as f64;
                // Good and bad requests of a Poisson stream are two independent ones.
                let bad = random.poisson(requests * share);
                Count { samples: random.poisson(requests * (1.0 - share)) + bad, bad }
            };
            let candidate = side(0, self.candidate);
            let baseline = side(1, self.base);
            windows.push(Window { stage, candidate, baseline });
        }
        windows
    }
}

impl Instances {
    /// How many times the usual rate a whole side has.
    fn draw(&self, random: &mut Random) -> f64 {
        let count = f64::from(self.count);
        let sum: f64 = (0..self.count).map(|_| random.factor(self.variation)).sum();
        let bad = if self.bad > 1.0 && random.even() < 0.5 { (self.bad - 1.0) / count } else { 0.0 };
        sum / count + bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(scenario: &Scenario, hour: u64) -> Vec<Window> {
        scenario.windows(&mut Random::new(7, 1, hour), HOUR)
    }

    fn sums(windows: &[Window]) -> [u32; 4] {
        windows.iter().fold([0; 4], |[a, b, c, d], window| {
            let Window { candidate, baseline, .. } = window;
            [a + candidate.samples, b + candidate.bad, c + baseline.samples, d + baseline.bad]
        })
    }

    #[test]
    fn the_same_seed_is_the_same_hour() {
        let bursts = Scenario { bursts: Bursts { variation: 2.0, windows: 6 }, ..Scenario::PLAIN };
        assert_eq!(hour(&bursts, 3), hour(&bursts, 3));
        assert_ne!(hour(&bursts, 3), hour(&bursts, 4));
    }

    /// What the first hour comes to, written down: a change of the generator is a change of all figures.
    #[test]
    fn an_hour_is_the_one_that_was_published() {
        assert_eq!(sums(&hour(&Scenario::PLAIN, 1)), PUBLISHED);
    }

    const PUBLISHED: [u32; 4] = [17_795, 34, 17_999, 32];

    #[test]
    fn rates_are_what_a_scenario_says() {
        let many = |scenario: &Scenario| {
            (0..50)
                .map(|n| sums(&hour(scenario, n)))
                .fold([0; 4], |all, one| [all[0] + one[0], all[1] + one[1], all[2] + one[2], all[3] + one[3]])
        };
        let rate = |samples: u32, bad: u32| f64::from(bad) / f64::from(samples);
        let [a, b, c, d] = many(&Scenario { candidate: 0.01, baseline_rps: 95.0, ..Scenario::PLAIN });
        assert!((rate(a, b) - 0.01).abs() < 0.001 && (rate(c, d) - 0.002).abs() < 0.0002);
        assert!(
            (f64::from(a) / 900_000.0 - 1.0).abs() < 0.02 && (f64::from(c) / 17_100_000.0 - 1.0).abs() < 0.02
        );
        // Six minutes of an hour at 5.2 %.
        let [a, b, c, d] = many(&Scenario { incident: true, ..Scenario::PLAIN });
        assert!((rate(a, b) - 0.007).abs() < 0.001 && (rate(c, d) - 0.007).abs() < 0.001);
    }

    #[test]
    fn a_bad_machine_in_ten_is_seen_in_the_whole() {
        let instances = Instances { count: 10, variation: 0.0, bad: 5.0 };
        let drawn: Vec<f64> = (0..100).map(|n| instances.draw(&mut Random::new(1, n, 1))).collect();
        assert!(drawn.iter().all(|&factor| factor == 1.0 || (factor - 1.4).abs() < 1e-9));
        assert!((30..70).contains(&drawn.iter().filter(|&&factor| factor > 1.0).count()));
    }
}
