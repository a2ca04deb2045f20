//! What one release comes to, compared with a simpler model; and cores that are broken so that only the model can tell.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use backstay_core::{CohortEffect, Effect};
use backstay_test_sim::{Sabotage, Size, Trial};

fn trial(seed: u64) -> Trial {
    Trial { reference: true, ..Trial::of(seed, Size::of(24, 0.5)) }
}

/// `BACKSTAY_LONG=1` asks for more of them.
#[test]
fn a_release_comes_to_what_the_simpler_model_says() {
    let many = if std::env::var_os("BACKSTAY_LONG").is_some() { 2000 } else { 60 };
    let (mut switches, mut turns) = (0, 0);
    for seed in 1..=many {
        let ran = trial(seed).run().unwrap_or_else(|failure| panic!("{failure}"));
        (switches, turns) = (switches + ran.switches, turns + ran.turns);
    }
    assert!(switches > 5 * many && turns > many / 10, "{switches} switches, {turns} turns");
}

/// Devices that never ask what the release keys say, and cohorts that stop for good at their first window.
#[test]
fn a_fleet_that_stands_still_is_found() {
    let still = Sabotage::Device(|out, _| out.retain(|effect| !matches!(effect, Effect::Vet { .. })));
    let deaf = Sabotage::Cohort(|out| {
        out.retain(
            |effect| !matches!(effect, CohortEffect::Ask { facts, .. } if !facts.objectives.is_empty()),
        );
    });
    for sabotage in [still, deaf] {
        let found = (1..=20).any(|seed| trial(seed).run_broken_by(sabotage).is_err());
        assert!(found);
    }
}
