//! What many runs found, added up, as a table and as JSON.

use std::{fmt::Write as _, time::Duration};

use backstay_test_sim::{Checks, Failure, Mark, Marks, Ran, Trial, invariants};
use serde_json::{Value, json};

use crate::tolls::Tolls;

/// Failures that are told whole and made smaller; of the others one line each.
const TOLD_MAX: usize = 3;

#[derive(Default)]
pub struct Account {
    runs: usize,
    steps: u64,
    events: u64,
    days: f64,
    switches: u64,
    turns: u64,
    digest: u64,
    marks: Marks,
    checks: Checks,
    failures: Vec<Failure>,
    shrunk: Vec<Failure>,
    tolls: Tolls,
}

impl Account {
    pub fn adds(&mut self, trial: &Trial, ran: Result<Ran, Box<Failure>>) {
        self.runs += 1;
        match ran {
            Ok(ran) => {
                self.steps += ran.steps;
                self.events += ran.events;
                self.days += ran.until as f64 / 86_400_000.0 * trial.size.devices as f64;
                self.switches += ran.switches;
                self.turns += ran.turns;
                self.marks.add(&ran.marks);
                self.checks.add(&ran.checks);
                // Seeds end in any order, and a sum doesn't mind.
                self.digest = self.digest.wrapping_add(ran.digest);
                self.tolls.adds(trial, ran.toll);
            }
            Err(failure) => self.failures.push(*failure),
        }
    }

    /// Runs, failures, device-days.
    pub fn so_far(&self) -> (usize, usize, f64) {
        (self.runs, self.failures.len(), self.days)
    }

    pub fn has_failed(&self) -> bool {
        !self.failures.is_empty() || self.tolls.are_broken()
    }

    /// Makes the first failures smaller, of each invariant one.
    pub fn shrinks(&mut self, tries: u32) {
        self.failures.sort_by_key(|failure| (failure.broken.invariant.name, failure.trial.seed));
        let mut firsts = self.failures.iter().collect::<Vec<_>>();
        firsts.dedup_by_key(|failure| failure.broken.invariant.name);
        for failure in firsts.into_iter().take(TOLD_MAX) {
            let Err(again) = failure.trial.run() else { continue };
            self.shrunk.push(*failure.trial.shrink(again, tries));
        }
    }

    fn violations(&self, invariant: invariants::Invariant) -> usize {
        self.failures.iter().filter(|failure| failure.broken.invariant == invariant).count()
    }

    pub fn table(&self, trial: &Trial, seeds: u64, took: Duration) -> String {
        let mut out = String::new();
        for failure in &self.shrunk {
            let _ = writeln!(out, "{failure}\n");
        }
        for failure in &self.failures {
            let _ = writeln!(out, "{} broke in seed {}", failure.broken.invariant.name, failure.trial.seed);
            let _ = writeln!(out, "  again:   {}", failure.trial);
        }
        for failure in &self.shrunk {
            let _ = writeln!(out, "  smaller: {}", failure.trial);
        }
        let last = trial.seed + seeds.saturating_sub(1);
        let (took, failed) = (took.as_secs_f64(), self.failures.len());
        let _ = writeln!(
            out,
            "seeds {} to {last}, {} devices each, in {} runs: {failed} failed",
            trial.seed, trial.size.devices, self.runs
        );
        let _ = writeln!(
            out,
            "{} things happened, {} events recorded, {} switches, {} turns, {:.0} device-days in {took:.1} s: {:.0} a second",
            self.steps,
            self.events,
            self.switches,
            self.turns,
            self.days,
            self.days / took
        );
        out.push_str(&self.tolls.table());
        let _ = write!(out, "\nwhat went wrong, and how often:\n{}", self.marks);
        let _ = writeln!(out, "\n     checked  broken  what has to hold");
        for &invariant in invariants::ALL {
            let _ = writeln!(
                out,
                "{:>12}  {:>6}  {}: {}",
                self.checks.of(invariant),
                self.violations(invariant),
                invariant.name,
                invariant.says
            );
            if let Some(unless) = invariant.unless {
                let excused = self.checks.excused(invariant);
                let _ = writeln!(out, "{:>12}  {excused} times excused: {unless}", "");
            }
        }
        let _ = writeln!(out, "digest {:016x}", self.digest);
        out
    }

    pub fn json(&self, trial: &Trial, seeds: u64, took: Duration) -> Value {
        let told = |failure: &Failure| {
            json!({
                "invariant": failure.broken.invariant.name,
                "what": failure.broken.what,
                "at_ms": failure.at,
                "seed": failure.trial.seed,
                "again": failure.trial.to_string(),
            })
        };
        json!({
            "first_seed": trial.seed,
            "seeds": seeds,
            "devices": trial.size.devices,
            "days": trial.size.days,
            "runs": self.runs,
            "device_days": self.days,
            "seconds": took.as_secs_f64(),
            "steps": self.steps,
            "events": self.events,
            "switches": self.switches,
            "turns": self.turns,
            "tale": self.tolls.json(),
            "digest": format!("{:016x}", self.digest),
            "faults": Mark::ALL.iter().map(|&mark| json!({
                "fault": mark.word(), "what": mark.name(), "times": self.marks.of(mark),
            })).collect::<Vec<_>>(),
            "invariants": invariants::ALL.iter().map(|&invariant| json!({
                "name": invariant.name, "says": invariant.says,
                "checked": self.checks.of(invariant), "broken": self.violations(invariant),
                "unless": invariant.unless, "excused": self.checks.excused(invariant),
            })).collect::<Vec<_>>(),
            "failures": self.failures.iter().map(told).collect::<Vec<_>>(),
            "shrunk": self.shrunk.iter().map(told).collect::<Vec<_>>(),
        })
    }
}
