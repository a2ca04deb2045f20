//! What each seed of a tale took, over all of its sites, against the bound.
//!
//! Not here: the tale (the library's `tale`).

use std::{collections::BTreeMap, fmt::Write as _};

use backstay_test_sim::{Tale, Toll, Trial};
use serde_json::{Value, json};

/// Which tale it is, and what it took by seed.
#[derive(Default)]
pub struct Tolls(Option<Tale>, BTreeMap<u64, Toll>);

impl Tolls {
    pub fn adds(&mut self, trial: &Trial, toll: Option<Toll>) {
        if let Some(toll) = toll {
            self.0 = trial.tale;
            // The number of a site is above the seed.
            let sum = self.1.entry(trial.seed & u64::from(u32::MAX)).or_default();
            *sum = sum.and(toll);
        }
    }

    pub fn are_broken(&self) -> bool {
        self.0.is_some_and(|tale| self.1.values().any(|toll| !tale.bears(toll)))
    }

    /// The seed in which most moved; of those the one that took longest.
    fn worst(&self) -> Option<(u64, Toll)> {
        let all = self.1.iter().map(|(&seed, &toll)| (seed, toll));
        all.max_by_key(|(_, toll)| (toll.unwell, toll.share(), toll.acted, toll.recovery))
    }

    pub fn table(&self) -> String {
        let Some(tale) = self.0 else { return String::new() };
        let mut out = format!("\n{}: {}\n", tale.word(), tale.says());
        let _ =
            writeln!(out, "      seed      hit    acted   mended    moved   of all  unwell  all well after");
        for (seed, toll) in &self.1 {
            let Toll { hit, acted, mended, moved, unwell, recovery, .. } = toll;
            let share = format!("{}.{} %", toll.share() / 10, toll.share() % 10);
            let _ = writeln!(
                out,
                "{seed:>10} {hit:>8} {acted:>8} {mended:>8} {moved:>8} {share:>8} {unwell:>7}  {:>5} min{}",
                recovery.0 / 60_000,
                if tale.bears(toll) { "" } else { "  broken" }
            );
        }
        let word = if self.are_broken() { "BROKEN" } else { "kept" };
        let _ = writeln!(out, "bound: {}: {word}", tale.promise());
        if let Some((seed, toll)) = self.worst() {
            let (moved, devices) = (toll.moved, toll.devices);
            let _ = writeln!(out, "worst: seed {seed}, {moved} of {devices} moved");
        }
        out
    }

    pub fn json(&self) -> Value {
        let Some(tale) = self.0 else { return Value::Null };
        let told = |(seed, toll): (u64, Toll)| {
            json!({
                "seed": seed, "devices": toll.devices, "hit": toll.hit, "acted": toll.acted, "mended": toll.mended,
                "moved": toll.moved, "moved_permille": toll.share(), "unwell": toll.unwell,
                "recovery_ms": toll.recovery.0, "kept": tale.bears(&toll),
            })
        };
        json!({
            "tale": tale.word(),
            "says": tale.says(),
            "promise": tale.promise(),
            "seeds": self.1.iter().map(|(&seed, &toll)| told((seed, toll))).collect::<Vec<_>>(),
            "worst": self.worst().map(told),
            "kept": !self.are_broken(),
        })
    }
}
