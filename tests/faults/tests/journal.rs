//! The journal on disks that rot and lose power. Two halves of the flips, so that both processors have something to do.

use backstay_test_faults::trials::{CUTS, FLIPS, Rotten, cut_all, rot_all};

fn holds(rotten: &Rotten) {
    assert!(rotten.failed.is_empty(), "{}", rotten.failed.join("\n"));
    assert_eq!(rotten.harmless + rotten.reported, FLIPS / 2);
    // Trials that never do harm, or nothing else, would prove nothing.
    assert!(rotten.harmless > FLIPS / 20 && rotten.reported > FLIPS / 20, "{rotten:?}");
}

#[test]
fn rot_is_harmless_or_reported_and_never_silent() {
    holds(&rot_all(0..FLIPS / 2));
}

#[test]
fn and_so_it_is_for_as_many_others() {
    holds(&rot_all(FLIPS / 2..FLIPS));
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_durable() {
    let report = cut_all(100..100 + CUTS).expect("nothing that was durable is lost");
    assert!(report.points > 100 * CUTS / 2, "{report:?}");
}
