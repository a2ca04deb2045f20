//! A device any of whose files are damaged at random, or gone: what is lost is said, something boots, and it goes on.
//!
//! `BACKSTAY_TRIALS` says how many trials; `BACKSTAY_LONG` asks for 10,000. Without either there are as many as take a few
//! seconds. `BACKSTAY_SEED` says with which seed they begin: a trial is its seed, but for damage to the view, whose bytes sled
//! doesn't write alike twice.

#![allow(clippy::panic, reason = "a failed assumption fails the test")]

use std::{env, ops::Range};

use backstay_test_faults::power::harmed::harm_all;

const TRIALS: u64 = 300;
const TRIALS_LONG: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|number| number.parse().unwrap_or_else(|_| panic!("{name} is a number, not {number}")))
}

/// The seeds of one half.
fn seeds(half: u64) -> Range<u64> {
    let usual = if env::var_os("BACKSTAY_LONG").is_some() { TRIALS_LONG } else { TRIALS };
    let (first, trials) = (number("BACKSTAY_SEED").unwrap_or(0), number("BACKSTAY_TRIALS").unwrap_or(usual));
    let bound = |half| first + trials * half / 2;
    bound(half)..bound(half + 1)
}

fn holds(seeds: Range<u64>) {
    let trials = seeds.end - seeds.start;
    let tally = harm_all(seeds);
    println!("summary: {trials} trials of all that a device has: {tally}");
    assert!(tally.failed.is_empty(), "{}", tally.failed.join("\n"));
    assert_eq!(tally.good(), trials);
    // Trials that never lose anything, or harm a part of it only, would prove nothing; of a few that says nothing.
    assert!(trials < TRIALS / 2 || tally.lost() > trials / 20 && tally.parts() == 9, "{tally}");
}

#[test]
fn damage_to_any_file_of_a_device_is_harmless_or_said_and_it_goes_on() {
    holds(seeds(0));
}

#[test]
fn and_so_it_is_for_as_many_others() {
    holds(seeds(1));
}
