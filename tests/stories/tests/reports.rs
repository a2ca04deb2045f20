//! Stories about the numbers of what a device says: the server takes nothing that is older than what it has heard, so they only
//! grow, whatever the device forgets.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{Backoff, Device, Identity, Retries, Rng, Upgrade, UpgradeInput};
use backstay_model::{BootId, CohortId, DeviceId, Millis, Mono, SlotStatus};
use backstay_test_stories::{World, release, settings};

/// Flash is worn out and a device begins anew, after two years of reports. Its clock is all that it has left of them.
#[test]
fn a_device_that_forgot_everything_is_heard_all_the_same() {
    let mut before = World::new("1.4.0");
    before.waits(600);
    for _ in 0..5 {
        before.loses_power().waits(60);
    }
    let said = before.report.as_ref().unwrap().sequence;
    let on = release("1.4.0");
    let slots = SlotStatus { booted: on.clone(), confirmed: on, other: None, trying: None };
    let now = before.now;
    let anew = Device::new(settings(), now, &slots, 7);
    let mut after = World::woken(settings(), anew, now, slots);
    after.waits(60);
    assert!(after.report.as_ref().unwrap().sequence > said, "{:?} after {said}", after.report);
}

/// The same of what a device says of its plugins: each start counts on, though no single report is written down.
#[test]
fn what_a_device_says_of_its_plugins_counts_on_over_restarts() {
    let retries = Retries { attempts: 3, backoff: Backoff { base: Millis(1000), cap: Millis(8000) } };
    let mut plugins = Upgrade::new(7);
    let identity = Identity {
        device: DeviceId::parse("pump-1").unwrap(),
        cohort: CohortId::parse("canary").unwrap(),
        labels: Vec::new(),
    };
    let mut newest = 0;
    for boot in 1..6 {
        // It starts again and again: the clock is no help.
        let now = Mono(1000 + u64::try_from(boot).unwrap());
        plugins.step(now, &retries, UpgradeInput::Up { boot: BootId(boot), configured: vec![], held: false });
        plugins.step(now, &retries, UpgradeInput::Enrolled(identity.clone()));
        // What it said after this is lost with the power.
        let kept = plugins.clone();
        for _ in 0..3 {
            let sequence = plugins.report_at(now, 0, None).unwrap().sequence;
            assert!(sequence > newest, "{sequence} after {newest}");
            newest = sequence;
        }
        plugins = kept;
    }
}

/// What a device knew of its plugins is damaged and begun anew. How often it started is kept elsewhere, and what it says comes after all
/// that it has said.
#[test]
fn a_device_that_forgot_its_plugins_is_heard_all_the_same() {
    let retries = Retries { attempts: 3, backoff: Backoff { base: Millis(1000), cap: Millis(8000) } };
    let identity = Identity {
        device: DeviceId::parse("pump-1").unwrap(),
        cohort: CohortId::parse("canary").unwrap(),
        labels: Vec::new(),
    };
    let starts = |plugins: &mut Upgrade, now| {
        plugins.step(now, &retries, UpgradeInput::Up { boot: BootId(1), configured: vec![], held: false });
        plugins.step(now, &retries, UpgradeInput::Enrolled(identity.clone()));
        plugins.report_at(now, 0, None).unwrap().sequence
    };
    let mut before = Upgrade::new(7);
    let said = (0..5).map(|n| starts(&mut before, Mono(1000 + n))).max().unwrap();
    let mut anew = Upgrade::new(7);
    anew.remember_starts(before.starts() + 1);
    let says = starts(&mut anew, Mono(0));
    assert!(says > said, "{says} after {said}");
}

/// Evidence is replayed years later, on another machine and with another build: chance has to come out as it did.
#[test]
fn what_was_drawn_by_chance_is_drawn_again() {
    // SplitMix64 from this seed, as its authors' own code gives it.
    let mut chance = Rng::new(1_234_567);
    let drawn = [(); 3].map(|()| chance.next_u64());
    assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
}
