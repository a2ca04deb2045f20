//! A device whose files were damaged at random: nothing is lost in silence, and it goes on deciding.
//!
//! `BACKSTAY_TRIALS` says how many trials; `BACKSTAY_LONG` asks for 10,000. Without either there are as many as take a
//! few seconds.

use std::env;

use backstay_test_faults::memory::rot_all;

/// About 20 s on two cores without optimisation, in the two tests together.
const TRIALS: u64 = 400;
const TRIALS_LONG: u64 = 10_000;

fn trials() -> u64 {
    let usual = if env::var_os("BACKSTAY_LONG").is_some() { TRIALS_LONG } else { TRIALS };
    env::var("BACKSTAY_TRIALS").map_or(usual, |trials| trials.parse().expect("BACKSTAY_TRIALS is a number"))
}

fn holds(seeds: std::ops::Range<u64>) {
    let trials = seeds.end - seeds.start;
    let tally = rot_all(seeds);
    println!("{tally}");
    assert!(tally.failed.is_empty(), "{}", tally.failed.join("\n"));
    assert_eq!(tally.good(), trials);
    // Trials that never do harm, or nothing else, would prove nothing.
    assert!(tally.whole() > trials / 20 && tally.lost() > trials / 20, "{tally}");
}

#[test]
fn damaged_memory_is_whole_or_said_and_the_device_goes_on() {
    holds(0..trials() / 2);
}

#[test]
fn and_so_it_is_for_as_many_others() {
    holds(trials() / 2..trials());
}
