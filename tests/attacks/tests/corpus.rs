//! Runs every attack of the corpus, each as a test of its own, and counts.
//!
//! `cargo test -p backstay-test-attacks --test corpus -- loop` runs those that have `loop` in their names, and
//! `BACKSTAY_REWRITE=1` puts the refusals as they are into the folders, for review.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, panic,
    process::ExitCode,
};

use backstay_test_attacks::corpus::Attack;

/// Fewer than these, and something has got lost.
const ATTACKS_MIN: usize = 279;

fn main() -> ExitCode {
    let filter = env::args().skip(1).find(|word| !word.starts_with('-'));
    let rewrite = env::var_os("BACKSTAY_REWRITE").is_some();
    let all = Attack::all();
    let wanted = |attack: &&Attack| filter.as_ref().is_none_or(|part| attack.name().contains(part));
    if env::args().any(|word| word == "--list") {
        all.iter().for_each(|attack| println!("{}: test", attack.name()));
        return ExitCode::SUCCESS;
    }
    // What is tried here panics only if it is broken, and then its message is what is wanted.
    let (mut passed, mut failed) = (0, 0);
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for attack in all.iter().filter(wanted) {
        if rewrite {
            // One that is broken does not keep the others from being looked at.
            let _ = panic::catch_unwind(|| attack.rewrite());
            continue;
        }
        let held = panic::catch_unwind(|| attack.hold()).unwrap_or_else(|_| Err("it panicked".into()));
        match held {
            Ok(()) => {
                passed += 1;
                *families.entry(attack.recipe.family()).or_default() += 1;
                println!("test {} ... ok", attack.name());
            }
            Err(why) => {
                failed += 1;
                println!("test {} ... FAILED\n  {why}", attack.name());
            }
        }
    }
    if rewrite {
        return ExitCode::SUCCESS;
    }
    if filter.is_none() {
        // As many refusals as attacks: none is there twice in other clothes.
        let refusals: BTreeSet<_> =
            all.iter().map(|attack| (attack.recipe.family(), &attack.refusal, &attack.against)).collect();
        for (what, has) in [("attacks", all.len()), ("refusals or limits", refusals.len())] {
            if has < ATTACKS_MIN || has < all.len() {
                failed += 1;
                println!("there are {has} different {what} of {}", all.len());
            }
        }
    }
    println!();
    families.iter().for_each(|(family, count)| println!("{count:>4} {family}"));
    println!("summary: {} attacks, {passed} refused as expected", passed + failed);
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; 0 ignored; 0 measured",
        if failed == 0 { "ok" } else { "FAILED" }
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
