//! States that the first version kept are gone on from. Their bytes stand in `tests/wire/device-state-1.hex`.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{
    Backoff, Device, DeviceState, Freshness, Identity, Retries, Second, Steered, Upgrade, UpgradeInput,
};
use backstay_model::{
    CohortId, DeviceId, Digest, Direction, Event, Millis, Mono, Outcome, SlotStatus, Standing, Word,
};
use backstay_test_stories::{Behaviour, World, release, settings};

const KEPT: &str = include_str!("../../wire/device-state-1.hex");

fn bytes(line: &str) -> Vec<u8> {
    let digits: Vec<u8> = line.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// One line for each: settled on 1.4.0; bringing in 1.5.0; 1.5.0 on trial; settled on it; frozen on 1.4.0, and held.
fn kept(line: usize) -> DeviceState {
    postcard::from_bytes(&bytes(KEPT.lines().nth(line).unwrap())).unwrap()
}

fn wakes(line: usize, booted: &str, confirmed: &str) -> World {
    let (booted, confirmed) = (release(booted), release(confirmed));
    let slots = SlotStatus { booted, confirmed, other: Some(release("1.4.0")), trying: None };
    let device = Device::restore(settings(), kept(line));
    let mut world = World::woken(settings(), device, Mono(4_000_000), slots);
    world.signs("1.5.0", &["1.4.0"]);
    world
}

/// What an older agent on the other slot reads is what it wrote: nothing was put in between.
#[test]
fn the_first_form_of_a_state_stays_as_it_was() {
    for (at, line) in KEPT.lines().enumerate() {
        assert_eq!(postcard::to_allocvec(&kept(at)).unwrap(), bytes(line), "line {at}");
    }
}

#[test]
fn a_run_that_was_open_is_gone_on_with_and_has_a_limit() {
    let world = wakes(1, "1.4.0", "1.4.0");
    let taken = world.count(|event| matches!(event, Event::RunTaken { .. }));
    assert_eq!((taken, world.runs()), (1, "1.5.0"));
    assert_eq!(world.count(|event| matches!(event, Event::Ended { outcome: Outcome::Done, .. })), 1);
}

#[test]
fn a_trial_goes_on_and_a_confirmed_release_knows_its_way_home() {
    let mut world = wakes(2, "1.5.0", "1.4.0");
    world.waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    let mut world = wakes(3, "1.5.0", "1.5.0");
    world.behaves("1.5.0", Behaviour::FailsAfter(Millis(0))).waits(600);
    assert_eq!(world.runs(), "1.4.0");
}

/// What the first version froze for want of anything to try was frozen then, and is until somebody has looked.
#[test]
fn what_was_frozen_stays_frozen() {
    let mut world = wakes(4, "1.4.0", "1.4.0");
    world.waits(7200);
    assert_eq!(world.device().standing(), Standing::Frozen);
    world.tells(Word::Thaw).waits(60);
    assert_eq!(world.device().standing(), Standing::Settled);
}

/// The tail holds what the first form leaves out, the heights who has said how far, and the three together are the whole state.
#[test]
fn state_tail_and_heights_are_all_of_it() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    world.behaves("1.4.0", Behaviour::NeedsRestarts(1000)).waits(1200);
    for step in &world.steps {
        let first = postcard::to_allocvec(&step.state).unwrap();
        let tail = postcard::to_allocvec(&step.state.tail()).unwrap();
        let heights = postcard::to_allocvec(step.state.heights()).unwrap();
        let read: DeviceState = postcard::from_bytes(&first).unwrap();
        let read = read.with_tail(postcard::from_bytes(&tail).unwrap());
        assert_eq!(read.with_heights(postcard::from_bytes(&heights).unwrap()), step.state);
    }
}

/// The same of a device's plugins. Without the heights it would be nobody's word how far it had heard, and that binds longer.
#[test]
fn state_and_heights_are_all_that_is_known_of_plugins() {
    let retries = Retries { attempts: 3, backoff: Backoff { base: Millis(1000), cap: Millis(8000) } };
    let mut plugins = Upgrade::new(7);
    let (device, cohort) = (DeviceId::parse("pump-7").unwrap(), CohortId::parse("canary").unwrap());
    let identity = Identity { device, cohort, labels: Vec::new() };
    plugins.step(Mono(1000), &retries, UpgradeInput::Enrolled(identity));
    let steer = World::new("1.4.0").steer("p-1", "2.0.0", Direction::Hold);
    let (digest, by) = (Digest([9; 32]), Digest([3; 32]));
    let steered = Steered { steer, digest, freshness: Freshness::Fresh, second: Second::Missing, by };
    plugins.step(Mono(1000), &retries, UpgradeInput::Steered(Box::new(steered)));
    assert_eq!(plugins.heights().of(&by), Some(1));
    let read: Upgrade = postcard::from_bytes(&postcard::to_allocvec(&plugins).unwrap()).unwrap();
    let heights = postcard::to_allocvec(plugins.heights()).unwrap();
    assert_eq!(read.with_heights(postcard::from_bytes(&heights).unwrap()), plugins);
}
