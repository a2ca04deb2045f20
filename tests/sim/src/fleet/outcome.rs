//! What came of a run: that it held, or what didn't, with the story of those who took part.

use std::fmt::{self, Write as _};

use backstay_model::{Event, Millis, Report};

use super::Fleet;
use crate::{
    invariants::{Broken, Checks, take_checks},
    shore::Shore,
    tale::Toll,
    trial::Trial,
    unit::Unit,
    weather::Marks,
};

/// A run that held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Things that happened.
    pub steps: u64,
    /// Events that were recorded.
    pub events: u64,
    /// Virtual time, in ms.
    pub until: u64,
    /// Switches of release, over all devices.
    pub switches: u64,
    /// Turns of a cohort.
    pub turns: u64,
    /// What went wrong, and how often.
    pub marks: Marks,
    /// How often each invariant was checked.
    pub checks: Checks,
    /// Of all that was recorded, in its order.
    pub digest: u64,
    /// What befell all of it took, if that was told.
    pub toll: Option<Toll>,
}

/// A run in which something did not hold.
#[derive(Debug)]
pub struct Failure {
    /// Which run it was.
    pub trial: Trial,
    /// When.
    pub at: u64,
    /// What did not hold.
    pub broken: Broken,
    /// The last events of those who took part.
    pub story: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} after {}: {}", self.trial.seed, Millis(self.at), self.broken)?;
        writeln!(f, "{}", self.story)?;
        write!(f, "again: {}", self.trial)
    }
}

impl Fleet {
    pub(super) fn ran(&self) -> Ran {
        Ran {
            steps: self.steps,
            events: self.sky.events,
            until: self.sky.now,
            switches: self.units.iter().map(|unit| unit.witness.moved).sum(),
            turns: self.shores.iter().map(Shore::turns).sum(),
            marks: self.sky.marks.clone(),
            checks: take_checks(),
            digest: self.sky.digest,
            toll: None,
        }
    }

    pub(super) fn failure(&self, broken: Broken) -> Failure {
        let mut story = String::new();
        let (unit, shore) = self.last;
        let mut lines: Vec<(u64, String)> = Vec::new();
        if let Some(unit) = unit.and_then(|n| self.units.get(n)) {
            let told = |(at, event): &(u64, Event)| (*at, format!("{}: {event}", unit.id()));
            lines.extend(unit.log.iter().map(told));
        }
        if let Some(shore) = self.shores.get(shore) {
            let told = |(at, event): &(u64, Event)| (*at, format!("{}: {event}", shore.id));
            lines.extend(shore.log.iter().map(told));
        }
        // Whoever stands elsewhere than the server heard last comes first.
        let mut mine: Vec<_> = self.units.iter().filter(|unit| unit.cohort == shore).collect();
        let said = |unit: &Unit| self.last_word(unit.number).map(|report| (report.standing, report.health));
        let stands = |unit: &Unit| (unit.device.standing(), unit.device.health());
        mine.sort_by_key(|unit| said(unit).map(|said| said.0) == Some(stands(unit).0));
        if let Some(other) = mine.first().filter(|other| unit.is_none() && !other.log.is_empty()) {
            let told = |(at, event): &(u64, Event)| (*at, format!("{}: {event}", other.id()));
            lines.extend(other.log.iter().map(told));
        }
        for unit in mine.into_iter().take(3) {
            let (standing, health) = stands(unit);
            let (runs, confirmed) = (&unit.slots.booted, &unit.slots.confirmed);
            let said = said(unit);
            lines.push((
                self.sky.now,
                format!(
                    "{}: {standing:?}, {health:?}, said {said:?}, on {runs}, confirmed {confirmed}",
                    unit.id()
                ),
            ));
        }
        lines.sort_by_key(|line| line.0);
        for (at, line) in lines {
            let _ = writeln!(story, "  {:>12}  {line}", at / 1000);
        }
        Failure { trial: self.trial.clone(), at: self.sky.now, broken, story }
    }

    /// What the broker has of a device's words.
    pub(crate) fn last_word(&self, n: usize) -> Option<&Report> {
        self.broker.state[n].as_ref()
    }

    pub(crate) fn blames(&mut self, unit: usize) {
        self.last = (Some(unit), self.units[unit].cohort);
    }

    pub(crate) fn blames_shore(&mut self, shore: usize) {
        self.last = (None, shore);
    }
}
