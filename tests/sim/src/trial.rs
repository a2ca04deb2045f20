//! One run as it is asked for: a seed, a size, and what may go wrong. What it prints is how it is run again.
//!
//! Here: also how a run that failed is made smaller: fewer devices, less time, fewer kinds of faults, as long as the
//! same invariant breaks. Not here: what a run does (`fleet`).

use std::fmt;

use backstay_core::Rng;
use backstay_model::Millis;

use crate::{
    fleet::{Failure, Fleet, Ran},
    sabotage::Sabotage,
    size::Size,
    tale::{self, Tale},
    weather::{Mark, Weather},
};

/// A run as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Everything else that chance decides comes from it.
    pub seed: u64,
    /// How large.
    pub size: Size,
    /// Of the kinds of faults that the seed draws only these.
    pub only: Option<Vec<Mark>>,
    /// Whether people start rollouts and wish things.
    pub people: bool,
    /// Nothing goes wrong: one good rollout, for measuring.
    pub calm: bool,
    /// One release, and what comes of it compared with the reference.
    pub reference: bool,
    /// Something befalls the whole fleet, and what it did about it is counted.
    pub tale: Option<Tale>,
    /// A test told this run, so no command line does it again.
    pub told: bool,
}

impl Trial {
    /// With all that goes wrong in a seed.
    #[must_use]
    pub const fn of(seed: u64, size: Size) -> Self {
        Self { seed, size, only: None, people: true, calm: false, reference: false, tale: None, told: false }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What did not hold.
    pub fn run(&self) -> Result<Ran, Box<Failure>> {
        self.run_by(None)
    }

    /// The same with a core that is broken like this.
    ///
    /// # Errors
    /// What did not hold.
    pub fn run_broken_by(&self, sabotage: Sabotage) -> Result<Ran, Box<Failure>> {
        self.run_by(Some(sabotage))
    }

    fn run_by(&self, sabotage: Option<Sabotage>) -> Result<Ran, Box<Failure>> {
        let broken = |fleet: Fleet| match sabotage {
            Some(sabotage) => fleet.broken_by(sabotage),
            None => fleet,
        };
        if self.calm {
            let fleet = Fleet::told(self.seed, self.size, Weather::calm(), &[None]).run_as(self.clone());
            let mut fleet = broken(fleet);
            fleet.starts(1)?;
            return fleet.run();
        }
        if let Some(tale) = self.tale {
            let size = Size { days: 0.0, ..self.size };
            let fleet = Fleet::told(self.seed, size, Weather::calm(), &[None]).run_as(self.clone());
            return tale.tell(broken(fleet), self.only.as_deref());
        }
        if self.reference {
            let mut fleet = broken(Fleet::for_reference(self.clone()));
            fleet.starts(1)?;
            return fleet.runs_as_the_reference_says();
        }
        let fleet = broken(Fleet::of_trial(self.clone()));
        if self.people { fleet.with_people().run() } else { fleet.run() }
    }

    /// The smallest run near this one that breaks the same invariant, after at most `tries` runs.
    ///
    /// A smaller fleet draws other chances, so each size is tried with a few seeds. What it gives always fails.
    #[must_use]
    pub fn shrink(&self, failure: Box<Failure>, tries: u32) -> Box<Failure> {
        let mut shrinker = Shrinker { smallest: failure, left: tries };
        let drawn = match self.tale {
            Some(_) => tale::weather(self.only.as_deref()).marks(),
            None if self.reference => Fleet::for_reference(self.clone()).weather().marks(),
            None => Fleet::of_trial(self.clone()).weather().marks(),
        };
        shrinker.smallest.trial.only.get_or_insert(drawn);
        while shrinker.left > 0 && shrinker.round() {}
        shrinker.smallest
    }
}

/// Seeds that each smaller size is tried with, beside the one that failed.
const SEEDS_NEAR: u64 = 12;

struct Shrinker {
    smallest: Box<Failure>,
    left: u32,
}

impl Shrinker {
    /// Tries each way to be smaller once. Whether one was found.
    fn round(&mut self) -> bool {
        let mut found = false;
        let devices = self.smallest.trial.size.devices;
        for fewer in [1, 2, 3, devices / 4, devices / 2, devices * 3 / 4, devices.saturating_sub(1)] {
            let now = self.smallest.trial.size.devices;
            if fewer > 0 && fewer < now && self.near(|trial| trial.size = trial.size.with_devices(fewer)) {
                found = true;
                break;
            }
        }
        for share in [0.25, 0.5, 0.75] {
            // No shorter than an hour: else it is only the rest that is left.
            let days = (self.smallest.trial.size.days * share * 1000.0).round() / 1000.0;
            if days >= 0.04 && self.near(|trial| trial.size.days = days) {
                found = true;
                break;
            }
        }
        for &mark in Mark::ALL {
            let has = self.smallest.trial.only.as_ref().is_some_and(|only| only.contains(&mark));
            let without = |trial: &mut Trial| {
                if let Some(only) = &mut trial.only {
                    only.retain(|&other| other != mark);
                }
            };
            found |= has && self.near(without);
        }
        found | (self.smallest.trial.people && self.near(|trial| trial.people = false))
    }

    fn near(&mut self, change: impl Fn(&mut Trial)) -> bool {
        let mut trial = self.smallest.trial.clone();
        change(&mut trial);
        let seed = trial.seed;
        for n in 0..=SEEDS_NEAR {
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
            trial.seed = if n == 0 { seed } else { Rng::new(seed ^ n << 17).below(1 << 32) };
            if let Err(failure) = trial.run()
                && failure.broken.invariant == self.smallest.broken.invariant
            {
                self.smallest = failure;
                return true;
            }
        }
        false
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.told {
            return f.write_str("the test that told it");
        }
        let Self { seed, size: Size { devices, days, beat, probe, .. }, .. } = self;
        write!(f, "cargo xtask sim --seeds 1 --seed {seed} --devices {devices} --days {days}")?;
        let usual = Size::of(1, 1.0);
        let mut span = |name, span: Millis, usual: Millis| {
            if span == usual { Ok(()) } else { write!(f, " --{name} {}", span.0 / 1000) }
        };
        span("beat", *beat, usual.beat)?;
        span("probe", *probe, usual.probe)?;
        if let Some(only) = &self.only {
            let words: Vec<_> = only.iter().map(|mark| mark.word()).collect();
            write!(f, " --faults {}", if words.is_empty() { "none".into() } else { words.join(",") })?;
        }
        self.tale.map_or(Ok(()), |tale| write!(f, " --tale {}", tale.word()))?;
        f.write_str(if self.people { "" } else { " --no-people" })?;
        f.write_str(if self.reference { " --reference" } else { "" })?;
        f.write_str(if self.calm { " --calm" } else { "" })
    }
}
