//! A device any of whose files are damaged at random, or gone: what is lost is said, something boots, and it goes on.
//!
//! `BACKSTAY_TRIALS` says how many trials; `BACKSTAY_LONG` asks for 10,000. Without either there are as many as take a few
//! seconds.

use std::{env, ops::Range};

use backstay_test_faults::power::harmed::harm_all;

const TRIALS: u64 = 300;
const TRIALS_LONG: u64 = 10_000;

fn trials() -> u64 {
    let usual = if env::var_os("BACKSTAY_LONG").is_some() { TRIALS_LONG } else { TRIALS };
    env::var("BACKSTAY_TRIALS").map_or(usual, |trials| trials.parse().expect("BACKSTAY_TRIALS is a number"))
}

fn holds(seeds: Range<u64>) {
    let trials = seeds.end - seeds.start;
    let tally = harm_all(seeds);
    println!("summary: {trials} trials of all that a device has: {tally}");
    assert!(tally.failed.is_empty(), "{}", tally.failed.join("\n"));
    assert_eq!(tally.good(), trials);
    // Trials that never lose anything, or harm a part of it only, would prove nothing.
    assert!(tally.lost() > trials / 20 && tally.parts() == 8, "{tally}");
}

#[test]
fn damage_to_any_file_of_a_device_is_harmless_or_said_and_it_goes_on() {
    holds(0..trials() / 2);
}

#[test]
fn and_so_it_is_for_as_many_others() {
    holds(trials() / 2..trials());
}
