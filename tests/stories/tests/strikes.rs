//! Stories about plugins that fail: which one is asked then, and until when.

use backstay_core::Quarantine;
use backstay_model::{Digest, Mono};

const OLD: Digest = Digest([1; 32]);
const NEW: Digest = Digest([2; 32]);

fn hours(hours: u64) -> Mono {
    Mono(hours * 3_600_000)
}

/// A new policy takes the whole agent with it, each time that it is asked. The device starts again in between, and asks only every few
/// hours: the third time it asks the old one.
#[test]
fn a_policy_that_crashes_the_agent_a_few_times_a_day_is_asked_no_more() {
    let mut plugins = Quarantine::default();
    for hour in [0, 8] {
        assert_eq!(plugins.brought_down(hours(hour), NEW), None);
        assert_eq!(plugins.choose(&[NEW, OLD]), Some(&NEW), "twice is a coincidence");
    }
    assert_eq!(plugins.brought_down(hours(16), NEW), Some(3));
    assert_eq!(plugins.choose(&[NEW, OLD]), Some(&OLD));
    // That lasts: nothing but somebody's signature brings it back.
    assert_eq!(plugins.brought_down(hours(1000), NEW), None);
    assert_eq!(plugins.choose(&[NEW, OLD]), Some(&OLD));
}

/// Two plugins fail at the same time. That one of them is put out is no excuse for the other, and who is let in again has a clean slate.
#[test]
fn each_plugin_is_counted_for_itself() {
    let mut plugins = Quarantine::default();
    for n in 0..2 {
        assert_eq!((plugins.strike(Mono(n), OLD), plugins.strike(Mono(n), NEW)), (None, None));
    }
    assert_eq!(plugins.strike(Mono(2), NEW), Some(3));
    assert_eq!(plugins.strike(Mono(3), OLD), Some(3), "the third of its own");
    plugins.lift(&NEW);
    assert_eq!(plugins.strike(Mono(4), NEW), None, "the first since it was let in again");
    assert!(!plugins.is_out(&NEW));
}

/// Both versions are out, and nobody is asked. Somebody has looked into one of them: that one is asked again, and only that one.
#[test]
fn who_is_let_in_again_comes_alone() {
    let mut plugins = Quarantine::default();
    for plugin in [OLD, NEW] {
        assert_eq!((0..3).filter_map(|n| plugins.strike(Mono(n), plugin)).collect::<Vec<_>>(), [3]);
    }
    assert_eq!(plugins.choose(&[NEW, OLD]), None);
    plugins.lift(&OLD);
    assert_eq!(plugins.choose(&[NEW, OLD]), Some(&OLD));
    assert!(plugins.is_out(&NEW));
}
