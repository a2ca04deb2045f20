//! How the newest windows of an objective kept it.

use backstay_sdk::policy::{Objective, Window};

use crate::config::Config;

/// What an objective's windows say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streak {
    /// The newest window has no data, or there is no window.
    Unknown,
    /// The newest window kept it.
    Kept,
    /// The newest windows broke it.
    Broken {
        /// How many, without one between them that kept it or has no data. At least 1.
        windows: u32,
        /// Of the newest.
        bad: u32,
        /// Of the newest.
        samples: u32,
    },
}

impl Streak {
    pub(crate) fn of(config: &Config<'_>, objective: &Objective) -> Self {
        let limit = config.breach(&objective.name);
        let known = |window: &&Window| window.samples >= config.samples;
        let broken = |window: &Window| {
            // Compared as a product: a share that is rounded down could hide the last bad sample.
            u64::from(window.bad) * 1000 >= u64::from(limit) * u64::from(window.samples)
        };
        let mut newest_first = objective.candidate.iter().rev();
        let Some(newest) = newest_first.next().filter(known) else { return Self::Unknown };
        if !broken(newest) {
            return Self::Kept;
        }
        let mut windows = 1;
        let mut newer = newest;
        for window in newest_first {
            // The same window reported twice is still one.
            if window.opened >= newer.opened {
                continue;
            }
            if !known(&window) || !broken(window) {
                break;
            }
            windows += 1;
            newer = window;
        }
        Self::Broken { windows, bad: newest.bad, samples: newest.samples }
    }
}

#[cfg(test)]
mod tests {
    use backstay_sdk::policy::Scope;

    use super::*;

    /// An objective whose windows are (samples, bad), oldest first.
    fn objective(windows: &[(u32, u32)]) -> Objective {
        let candidate = windows.iter().zip(0..).map(|(&(samples, bad), n)| Window {
            opened: n * 60_000,
            span: 60_000,
            samples,
            bad,
        });
        Objective {
            name: "http".into(),
            critical: true,
            scope: Scope::Local,
            candidate: candidate.collect(),
            baseline: vec![],
        }
    }

    fn windows(these: &[(u32, u32)]) -> Option<u32> {
        match Streak::of(&Config::read(&[]), &objective(these)) {
            Streak::Unknown => None,
            Streak::Kept => Some(0),
            Streak::Broken { windows, .. } => Some(windows),
        }
    }

    #[test]
    fn only_consecutive_windows_count() {
        assert_eq!(windows(&[]), None);
        assert_eq!(windows(&[(10, 10), (0, 0)]), None);
        assert_eq!(windows(&[(10, 10), (10, 0)]), Some(0));
        assert_eq!(windows(&[(10, 10), (10, 0), (10, 10)]), Some(1));
        assert_eq!(windows(&[(10, 10), (0, 0), (10, 10)]), Some(1));
        assert_eq!(windows(&[(10, 0), (10, 10), (10, 10)]), Some(2));
        assert_eq!(windows(&[(10, 10); 16]), Some(16));
    }

    #[test]
    fn the_limit_itself_is_broken() {
        assert_eq!(windows(&[(1000, 199)]), Some(0));
        assert_eq!(windows(&[(1000, 200)]), Some(1));
        assert_eq!(windows(&[(1999, 400)]), Some(1));
        assert_eq!(windows(&[(u32::MAX, u32::MAX)]), Some(1));
    }

    #[test]
    fn a_window_reported_twice_is_one() {
        let mut twice = objective(&[(10, 10)]);
        twice.candidate.push(twice.candidate[0]);
        let streak = Streak::of(&Config::read(&[]), &twice);
        assert_eq!(streak, Streak::Broken { windows: 1, bad: 10, samples: 10 });
    }
}
