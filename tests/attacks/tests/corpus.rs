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

/// What has to be there whatever else is: each kind of attack by folders that show it.
const KINDS: [(&str, &[&str]); 26] = [
    ("an endless loop", &["endless-loop", "loop-in-describe", "loop-in-step"]),
    ("a loop in start", &["loop-in-start"]),
    ("deep recursion", &["deep-recursion", "deep-recursion-in-a-step"]),
    ("memory", &["memory-all-at-once", "memory-page-by-page", "memory-to-begin-with"]),
    ("tables", &["table-all-at-once", "table-grown", "table-to-begin-with"]),
    ("giant strings and lists", &["giant-string", "giant-list"]),
    ("a flood of effects", &["effect-flood", "one-effect-too-many"]),
    (
        "an effect that isn't granted",
        &["ungranted-command", "ungranted-endpoint", "ungranted-path", "ungranted-slots", "ungranted-topic"],
    ),
    (
        "a path by `..` and by links",
        &["path-by-dots", "file-by-dots", "file-by-link", "file-by-linked-folder", "file-read-by-link"],
    ),
    ("an oversized state", &["oversized-state", "state-larger-than-any", "state-without-bounds"]),
    ("a state of another version", &["state-of-another-version", "state-that-is-not-its-own"]),
    ("non-determinism", &["nondeterministic-run", "relaxed-simd", "threads"]),
    (
        "a trap in each export",
        &[
            "trap-in-decide",
            "trap-in-describe",
            "trap-in-validate",
            "trap-in-step",
            "trap-in-an-executors-describe",
            "trap-in-an-executors-validate",
        ],
    ),
    ("a tampered artifact", &["artifact-tampered"]),
    (
        "an artifact of another CPU or profile",
        &[
            "artifact-of-another-cpu",
            "artifact-of-another-profile",
            "grant-for-another-cpu",
            "grant-for-another-engine",
        ],
    ),
    ("a replayed grant", &["grant-replayed"]),
    ("a downgraded sequence", &["grant-from-the-first-day", "release-downgraded"]),
    ("a revoked key", &["revoked-operator-key", "revoked-vendor-key"]),
    ("an expired keyring", &["expired-keyring"]),
    ("a signature by the wrong role", &["grant-signed-by-the-vendor", "release-signed-by-the-operator"]),
    ("trailing bytes", &["grant-with-more-behind", "bundle-with-more-behind", "steering-with-more-behind"]),
    ("an unknown version", &["item-of-unknown-version"]),
    ("a length that lies", &["header-length-that-lies", "bundle-length-that-lies", "item-length-too-long"]),
    ("two vendors with names that look alike", &["look-alike-name", "look-alike-vendor"]),
    ("a grant for another fleet", &["grant-for-another-fleet"]),
    ("an effect smuggled in by a failed run", &["effect-of-a-failed-run"]),
];

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
        let there: BTreeSet<_> = all.iter().map(Attack::name).collect();
        for (kind, folders) in KINDS {
            for folder in folders.iter().filter(|folder| !there.contains(**folder)) {
                failed += 1;
                println!("{folder} is missing, which shows {kind}");
            }
        }
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
