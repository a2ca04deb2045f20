//! Readings gathered into windows, and the windows that a policy is shown.
//!
//! A window closes by time alone, also an empty one: no reading is the lack of data, and that is a fact too.
//! Not here: what a window means (the policy) and when a probe runs (the driver).

use alloc::vec::Vec;

use backstay_model::{
    Health, Infra, InfraKind, Millis, Mono, Name, Objective, Reading, Scope, WINDOWS_MAX, Window,
};
use serde::{Deserialize, Serialize};

/// A probe and what its readings count for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The probe, and the objective that it feeds.
    pub name: Name,
    /// Whether breaking it is worth going back for.
    pub critical: bool,
    /// Whose fault it can be.
    pub scope: Scope,
}

/// The open window and those before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// What was closed before says nothing of how what runs is doing since.
    since: Mono,
    opened: Mono,
    open: Vec<Tally>,
    closed: Vec<Objective>,
    seen: Vec<Infra>,
    infra: Vec<Infra>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    probe: Name,
    samples: u32,
    bad: u32,
}

impl Windows {
    /// Opens the first window at `now`.
    #[must_use]
    pub fn new(now: Mono) -> Self {
        Self {
            since: now,
            opened: now,
            open: Vec::new(),
            closed: Vec::new(),
            seen: Vec::new(),
            infra: Vec::new(),
        }
    }

    /// When the open window closes, if it is to be `span` long.
    #[must_use]
    pub fn closes(&self, span: Millis) -> Mono {
        self.opened.after(span)
    }

    /// Counts a reading of a probe.
    pub fn count(&mut self, probe: &Name, reading: Reading) {
        let bad = match reading {
            Reading::Passed => 0,
            Reading::Failed => 1,
            Reading::NotRun => return,
        };
        match self.open.iter_mut().find(|tally| tally.probe == *probe) {
            Some(tally) => {
                tally.samples = tally.samples.saturating_add(1);
                tally.bad = tally.bad.saturating_add(bad);
            }
            None => self.open.push(Tally { probe: probe.clone(), samples: 1, bad }),
        }
    }

    /// Counts trouble with the machine.
    pub fn trouble(&mut self, kind: InfraKind) {
        match self.seen.iter_mut().find(|seen| seen.kind == kind) {
            Some(seen) => seen.count = seen.count.saturating_add(1),
            None => self.seen.push(Infra { kind, count: 1 }),
        }
    }

    /// Closes the open window at `now` and opens the next.
    pub fn close(&mut self, now: Mono, watched: &[Watched]) {
        let span = now.since(self.opened);
        self.closed.retain(|objective| watched.iter().any(|probe| probe.name == objective.name));
        for probe in watched {
            let tally = self.open.iter().find(|tally| tally.probe == probe.name);
            let (samples, bad) = tally.map_or((0, 0), |tally| (tally.samples, tally.bad));
            let window = Window { opened: self.opened, span, samples, bad };
            let candidate = match self.closed.iter_mut().find(|objective| objective.name == probe.name) {
                Some(objective) => {
                    (objective.critical, objective.scope) = (probe.critical, probe.scope);
                    &mut objective.candidate
                }
                None => {
                    let objective = Objective {
                        name: probe.name.clone(),
                        critical: probe.critical,
                        scope: probe.scope,
                        candidate: Vec::new(),
                        baseline: Vec::new(),
                    };
                    self.closed.push(objective);
                    let Some(last) = self.closed.last_mut() else { continue };
                    &mut last.candidate
                }
            };
            if candidate.len() == WINDOWS_MAX {
                candidate.remove(0);
            }
            candidate.push(window);
        }
        self.infra = core::mem::take(&mut self.seen);
        self.open.clear();
        self.opened = now;
    }

    /// Another release runs from `now` on: what was judged becomes what it is judged against.
    pub fn turn(&mut self, now: Mono) {
        for objective in &mut self.closed {
            objective.baseline = core::mem::take(&mut objective.candidate);
        }
        self.reopen(now);
    }

    /// The instance was away until `now`: what was open says nothing any more.
    pub fn reopen(&mut self, now: Mono) {
        self.open.clear();
        self.seen.clear();
        self.infra.clear();
        (self.since, self.opened) = (now, now);
    }

    /// The closed windows, as a policy is shown them.
    #[must_use]
    pub fn objectives(&self) -> &[Objective] {
        &self.closed
    }

    /// Trouble in the newest closed window.
    #[must_use]
    pub fn infra(&self) -> &[Infra] {
        &self.infra
    }

    /// How what runs did in the newest window that was closed since it was started, by what is its own to answer
    /// for: bad where half of any critical local objective's samples are, unknown where there are none at all.
    #[must_use]
    pub fn health(&self) -> Health {
        let own =
            self.closed.iter().filter(|objective| objective.critical && objective.scope == Scope::Local);
        // What ran well before a restart may not come up after it, and a boot is not fine before it was seen to be.
        let own = own
            .filter(|objective| objective.candidate.last().is_some_and(|window| window.opened >= self.since));
        own.map(newest).fold(Health::Unknown, |health, newest| match (health, newest) {
            (Health::Bad, _) | (_, Health::Bad) => Health::Bad,
            (Health::Unknown, other) | (other, Health::Unknown) => other,
            (Health::Good, Health::Good) => Health::Good,
        })
    }

    /// Whether each critical local objective has data in the newest window. Without a single such objective
    /// there is nothing to trust a release by.
    #[must_use]
    pub fn has_data(&self) -> bool {
        let mut own = self
            .closed
            .iter()
            .filter(|objective| objective.critical && objective.scope == Scope::Local)
            .peekable();
        own.peek().is_some() && own.all(|objective| newest(objective) != Health::Unknown)
    }

    /// Whether any reading of a critical local objective was bad, in any window of what runs.
    #[must_use]
    pub fn has_local_failure(&self) -> bool {
        self.closed
            .iter()
            .filter(|objective| objective.critical && objective.scope == Scope::Local)
            .any(|objective| objective.candidate.iter().any(|window| window.bad > 0))
    }

    /// Whether something is wrong that is this device's own: a local failure, or trouble with the machine in the newest
    /// closed window. A network that is gone is gone for everybody on it, so it is worth mending and never worth leaving.
    #[must_use]
    pub fn has_own_fault(&self) -> bool {
        self.has_local_failure() || self.infra.iter().any(|infra| infra.kind != InfraKind::Network)
    }

    /// Whether the machine was in trouble in the newest closed window.
    #[must_use]
    pub fn has_trouble(&self) -> bool {
        !self.infra.is_empty()
    }
}

fn newest(objective: &Objective) -> Health {
    match objective.candidate.last().and_then(Window::bad_share) {
        None => Health::Unknown,
        Some(bad) if bad.get() >= 500 => Health::Bad,
        Some(_) => Health::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Vec<Watched> {
        alloc::vec![Watched { name: Name::parse("http").unwrap(), critical: true, scope: Scope::Local }]
    }

    #[test]
    fn a_window_without_readings_is_a_window_without_data() {
        let mut windows = Windows::new(Mono(0));
        windows.count(&Name::parse("http").unwrap(), Reading::NotRun);
        windows.close(Mono(1000), &watched());
        assert_eq!(windows.objectives()[0].candidate.len(), 1);
        assert!(!windows.has_data());
        assert_eq!(windows.health(), Health::Unknown);
    }

    #[test]
    fn a_new_release_is_judged_by_its_own_windows() {
        let mut windows = Windows::new(Mono(0));
        windows.count(&Name::parse("http").unwrap(), Reading::Failed);
        windows.close(Mono(1000), &watched());
        assert!(windows.has_local_failure());
        windows.turn(Mono(1500));
        assert!(!windows.has_local_failure());
        assert_eq!(windows.objectives()[0].baseline.len(), 1);
    }

    #[test]
    fn after_a_start_nothing_is_known_until_a_window_has_closed() {
        let mut windows = Windows::new(Mono(0));
        let http = Name::parse("http").unwrap();
        windows.count(&http, Reading::Passed);
        windows.close(Mono(1000), &watched());
        assert_eq!(windows.health(), Health::Good);
        windows.reopen(Mono(1000));
        windows.count(&http, Reading::Passed);
        assert_eq!(windows.health(), Health::Unknown, "this start has shown nothing yet");
        windows.close(Mono(2000), &watched());
        assert_eq!(windows.health(), Health::Good);
    }

    #[test]
    fn only_the_newest_windows_are_kept() {
        let mut windows = Windows::new(Mono(0));
        for n in 1..=WINDOWS_MAX as u64 + 5 {
            windows.close(Mono(n * 1000), &watched());
        }
        assert_eq!(windows.objectives()[0].candidate.len(), WINDOWS_MAX);
    }
}
