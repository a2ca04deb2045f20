//! The last windows of a target's objectives, as a policy is shown them.
//!
//! Not here: where a window comes from (`objective`), when one closes (`core`), and a device's own windows, which
//! `core` fills from single readings.

use backstay_model::{Objective, WINDOWS_MAX, Window};
use serde::{Deserialize, Serialize};

use crate::{ObjectiveSpec, Windows};

/// A target's objectives, each with at most [`WINDOWS_MAX`] windows a side, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series(Vec<Objective>);

/// What became of windows that were pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// They are the newest now.
    Kept,
    /// Newer ones, or these, were there already: an answer that came late or twice changes nothing.
    Late,
    /// There are as many objectives as a policy is shown.
    Full,
}

impl Series {
    /// The most objectives: a policy is shown no more.
    pub const OBJECTIVES_MAX: usize = 32;

    /// No windows yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the windows of one objective for the span that has closed. The oldest goes where there are too many.
    pub fn push(&mut self, spec: &ObjectiveSpec, windows: Windows) -> Taken {
        let at = match self.0.iter().position(|objective| objective.name == spec.name) {
            Some(at) => at,
            None if self.0.len() >= Self::OBJECTIVES_MAX => return Taken::Full,
            None => {
                self.0.push(Objective {
                    name: spec.name.clone(),
                    critical: spec.critical,
                    scope: spec.scope,
                    candidate: Vec::new(),
                    baseline: Vec::new(),
                });
                self.0.len() - 1
            }
        };
        let objective = &mut self.0[at];
        // Each span has a window on the candidate's side, if only an empty one, so that side tells the order.
        if objective.candidate.last().is_some_and(|newest| newest.opened >= windows.candidate.opened) {
            return Taken::Late;
        }
        (objective.critical, objective.scope) = (spec.critical, spec.scope);
        append(&mut objective.candidate, windows.candidate);
        match windows.baseline {
            Some(window) => append(&mut objective.baseline, window),
            // The configuration may have lost that side; what is left of it would be compared for ever.
            None => objective.baseline.clear(),
        }
        Taken::Kept
    }

    /// Another release is judged from now on: what was seen says nothing about it.
    pub fn reset(&mut self) {
        for objective in &mut self.0 {
            objective.candidate.clear();
            objective.baseline.clear();
        }
    }

    /// Lets go of objectives that the configuration has no more, and puts the rest in its order.
    pub fn keep(&mut self, specs: &[ObjectiveSpec]) {
        let at = |objective: &Objective| specs.iter().position(|spec| spec.name == objective.name);
        self.0.retain(|objective| at(objective).is_some());
        self.0.sort_by_key(at);
    }

    /// The windows, as a policy is shown them.
    #[must_use]
    pub fn objectives(&self) -> &[Objective] {
        &self.0
    }
}

fn append(side: &mut Vec<Window>, window: Window) {
    if side.len() >= WINDOWS_MAX {
        side.remove(0);
    }
    side.push(window);
}

#[cfg(test)]
mod tests {
    use backstay_model::{Millis, Mono, Name, Scope};

    use super::*;
    use crate::{Limit, MetricName, Source, number::Finite};

    fn spec(name: &str) -> ObjectiveSpec {
        let limit = Limit::Above(Finite::new(0.0).unwrap());
        ObjectiveSpec {
            name: Name::parse(name).unwrap(),
            critical: true,
            scope: Scope::Local,
            source: Source::Metric { name: MetricName::parse("errors").unwrap(), limit },
        }
    }

    fn windows(opened: u64) -> Windows {
        let window = Window { opened: Mono(opened), span: Millis(1000), samples: 1, bad: 0 };
        Windows { candidate: window, baseline: Some(window) }
    }

    #[test]
    fn only_the_newest_windows_are_kept_on_each_side() {
        let mut series = Series::new();
        for n in 0..WINDOWS_MAX as u64 + 5 {
            assert_eq!(series.push(&spec("errors"), windows(n * 1000)), Taken::Kept);
        }
        let objective = &series.objectives()[0];
        for side in [&objective.candidate, &objective.baseline] {
            assert_eq!(side.len(), WINDOWS_MAX);
            assert_eq!((side[0].opened, side[WINDOWS_MAX - 1].opened), (Mono(5000), Mono(20_000)));
        }
    }

    #[test]
    fn a_window_that_comes_late_or_twice_changes_nothing() {
        let mut series = Series::new();
        series.push(&spec("errors"), windows(2000));
        let before = series.clone();
        assert_eq!(series.push(&spec("errors"), windows(2000)), Taken::Late);
        assert_eq!(series.push(&spec("errors"), windows(1000)), Taken::Late);
        assert_eq!(series, before);
    }

    #[test]
    fn a_new_release_starts_with_nothing() {
        let mut series = Series::new();
        series.push(&spec("errors"), windows(2000));
        series.reset();
        let objective = &series.objectives()[0];
        assert!(objective.candidate.is_empty() && objective.baseline.is_empty());
        // A clock that stands still may open the new release's first window at the same moment.
        assert_eq!(series.push(&spec("errors"), windows(2000)), Taken::Kept);
    }

    #[test]
    fn there_are_no_more_objectives_than_a_policy_is_shown() {
        let mut series = Series::new();
        for n in 0..Series::OBJECTIVES_MAX {
            assert_eq!(series.push(&spec(&format!("o{n}")), windows(0)), Taken::Kept);
        }
        assert_eq!(series.push(&spec("more"), windows(0)), Taken::Full);
        assert_eq!(series.push(&spec("o0"), windows(1)), Taken::Kept);
    }

    /// The configuration was read anew: one objective went, one lost its baseline, and the order changed.
    #[test]
    fn what_the_configuration_no_longer_has_goes() {
        let mut series = Series::new();
        for name in ["a", "b", "c"] {
            series.push(&spec(name), windows(0));
        }
        series.keep(&[spec("c"), spec("a")]);
        let names: Vec<_> = series.objectives().iter().map(|objective| objective.name.as_str()).collect();
        assert_eq!(names, ["c", "a"]);
        series.push(&spec("a"), Windows { baseline: None, ..windows(1000) });
        assert!(series.objectives()[1].baseline.is_empty());
    }
}
