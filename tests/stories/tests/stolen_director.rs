//! The server's key is stolen. Everything that it signs is well signed; what it may not do, each device refuses on its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use backstay_core::{DeviceSettings, Freshness, Second};
use backstay_model::{Direction, Event, Millis, Word};
use backstay_test_stories::{Behaviour, World, release, settings};

const HOUR: u64 = 3600;

/// On 1.5.0, confirmed, with a way home to 1.4.0; after an hour of that the server alone can't send it there.
fn careful() -> World {
    let settings = DeviceSettings { second_after: Some(Millis::from_secs(HOUR)), ..settings() };
    let mut world = World::with(settings, "1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(200);
    assert_eq!(world.confirmed(), "1.5.0");
    world
}

fn refusals(world: &World) -> usize {
    world.count(|event| matches!(event, Event::Refused(refused) if refused.what == "home of r-1"))
}

#[test]
fn what_has_long_been_good_is_left_backwards_only_with_a_second_signature() {
    let mut world = careful();
    world.waits(HOUR);
    let home = world.steer("r-1", "1.5.0", Direction::Home);
    world.hears(home.clone(), Freshness::Fresh).waits(2 * HOUR);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.5.0"));
    assert_eq!(refusals(&world), 1, "it is said once");
    // The same message, which operators have signed by now.
    world.hears_with(home.clone(), Freshness::Fresh, Second::Given).waits(10);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
}

/// What operators have signed stays signed, also where a broker hands on the message without their signatures.
#[test]
fn a_second_signature_is_not_taken_back_by_leaving_it_out() {
    let mut world = careful();
    world.waits(HOUR).tells(Word::Hold);
    let home = world.steer("r-1", "1.5.0", Direction::Home);
    world.hears_with(home.clone(), Freshness::Fresh, Second::Given);
    world.hears(home, Freshness::Fresh).waits(10);
    assert_eq!(world.runs(), "1.4.0");
}

/// A signature for one turn is none for the next.
#[test]
fn a_second_signature_is_for_one_message() {
    let mut world = careful();
    let first = world.steer("r-1", "1.5.0", Direction::Home);
    world.hears_with(first, Freshness::Fresh, Second::Given).waits(10);
    assert_eq!(world.runs(), "1.4.0");
    world.signs("1.6.0", &["1.4.0"]).steers("r-2", "1.6.0", Direction::Forward).waits(200);
    world.waits(HOUR).steers("r-2", "1.6.0", Direction::Home).waits(HOUR);
    assert_eq!(world.confirmed(), "1.6.0");
}

/// That is what the server is for: a release that turns out bad within the first hour.
#[test]
fn while_a_release_is_young_one_signature_is_enough() {
    let mut world = careful();
    world.steers("r-1", "1.5.0", Direction::Home).waits(10);
    assert_eq!(world.runs(), "1.4.0");
    assert_eq!(refusals(&world), 0);
}

/// It does badly by now, and the ladder has not brought it home yet: nobody has to be asked.
#[test]
fn what_does_badly_is_left_with_one_signature() {
    let mut world = careful();
    world.waits(HOUR).behaves("1.5.0", Behaviour::FailsAfter(Millis(0))).waits(20);
    world.steers("r-1", "1.5.0", Direction::Home).waits(60);
    assert_eq!(world.runs(), "1.4.0");
    assert_eq!(refusals(&world), 0);
}

/// Power is cut, and cut again: how long it has been good isn't forgotten by that.
#[test]
fn a_restart_does_not_make_a_release_young() {
    let mut world = careful();
    world.waits(HOUR).loses_power().waits(60);
    world.steers("r-1", "1.5.0", Direction::Home).waits(HOUR);
    assert_eq!(world.runs(), "1.5.0");
}

/// Who can cut a device's power as well has it not know, for a window, how what it runs does. That opens no way home.
#[test]
fn a_power_cut_does_not_stand_in_for_the_second_signature() {
    let mut world = careful();
    world.waits(HOUR).steers("r-1", "1.5.0", Direction::Home).waits(60);
    for _ in 0..5 {
        world.loses_power().waits(7);
        assert_eq!(world.runs(), "1.5.0");
    }
    world.waits(HOUR);
    assert_eq!((world.runs(), refusals(&world)), ("1.5.0", 1));
}

/// Going forward asks for one signature, however long what runs has been good.
#[test]
fn forward_needs_no_second_signature() {
    let mut world = careful();
    world.waits(HOUR).signs("1.6.0", &["1.5.0"]).steers("r-2", "1.6.0", Direction::Forward).waits(200);
    assert_eq!(world.confirmed(), "1.6.0");
}

/// The device's own way home asks nobody at all.
#[test]
fn its_own_way_home_asks_nobody() {
    let mut world = careful();
    world.waits(HOUR).behaves("1.5.0", Behaviour::FailsAfter(Millis(0))).waits(600);
    assert_eq!(world.runs(), "1.4.0");
}

/// It names a way home that the release keys did not allow, or one that doesn't exist.
#[test]
fn a_way_home_that_nobody_allowed_is_not_taken() {
    for named in ["1.3.0", "9.9.9"] {
        let mut world = careful();
        world.signs(named, &[]);
        let mut home = world.steer("r-1", "1.5.0", Direction::Home);
        home.back = Some(release(named));
        world.hears(home, Freshness::Fresh).waits(60);
        assert_eq!(world.runs(), "1.4.0", "it goes where it may");
    }
}

/// It calls a release by another epoch than the release keys did: what it says of one proves nothing.
#[test]
fn an_epoch_that_the_server_made_up_opens_no_way_down() {
    let mut world = World::with(settings(), "1.4.0");
    let mut strong = release("1.5.0");
    strong.security_epoch += 5;
    world.signs_as(strong.clone(), vec![release("1.4.0").digest], "pump-arm64");
    let mut steer = world.steer("r-1", "1.5.0", Direction::Forward);
    steer.release = strong.clone();
    world.hears(steer, Freshness::Fresh).waits(200);
    assert_eq!(world.device().floor(), strong.security_epoch);
    let mut home = world.steer("r-1", "1.5.0", Direction::Home);
    home.release = strong.clone();
    let mut weak = release("1.4.0");
    weak.security_epoch = strong.security_epoch;
    home.back = Some(weak);
    world.hears(home, Freshness::Fresh).waits(60);
    assert_eq!(world.runs(), "1.5.0");
}

/// The thief has counted to the end: all that the server says later is older. A new key beside the stolen one mends nothing yet; a
/// keyring without the stolen one does.
#[test]
fn who_has_counted_to_the_end_is_out_with_the_key() {
    let mut world = World::with(settings(), "1.4.0");
    world.trusts(&[3]).signs("1.5.0", &["1.4.0"]).signs("1.6.0", &["1.5.0"]).signs("1.7.0", &["1.6.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).tells(Word::Thaw).waits(200);
    assert_eq!(world.confirmed(), "1.5.0");
    world.counts_from(u64::MAX - 1, u64::MAX - 1).steers("r-9", "1.5.0", Direction::Hold).tells(Word::Hold);

    world.trusts(&[3, 4]).signs_with(4).counts_from(1, 1);
    world.steers("r-2", "1.6.0", Direction::Forward).tells(Word::Thaw).waits(200);
    assert_eq!((world.confirmed(), world.device().last_told()), ("1.5.0", u64::MAX), "it counts as old");

    world.trusts(&[4]).counts_from(1, 1);
    assert_eq!((world.device().watermarks().generation.0, world.device().last_told()), (0, 0));
    world.steers("r-2", "1.6.0", Direction::Forward).waits(200);
    assert_eq!(world.confirmed(), "1.5.0", "the thief's word held it, and that was heard");
    world.tells(Word::Thaw).waits(200);
    assert_eq!(world.confirmed(), "1.6.0");
    // And from here on numbers are what they were.
    world.counts_from(0, 0).tells(Word::Hold).steers("r-1", "1.5.0", Direction::Home).waits(200);
    assert_eq!((world.confirmed(), world.device().last_told()), ("1.6.0", 2));
    world.counts_from(2, 2).steers("r-3", "1.7.0", Direction::Forward).waits(200);
    assert_eq!(world.confirmed(), "1.7.0");
}

/// Nobody stole anything, or this device didn't hear it: the key changes, and nothing else does.
#[test]
fn who_has_not_seen_the_thief_goes_on_as_it_was() {
    let mut world = World::with(settings(), "1.4.0");
    world.trusts(&[3]).signs("1.5.0", &["1.4.0"]);
    let old = world.steer("r-0", "1.5.0", Direction::Home);
    let newest = world.steer("r-1", "1.5.0", Direction::Forward);
    world.hears(newest.clone(), Freshness::Fresh).trusts(&[3, 4]);
    // The server signs what it says afresh, with its new key.
    world.signs_with(4).hears(newest.clone(), Freshness::Fresh).trusts(&[4]).waits(200);
    assert_eq!((world.confirmed(), world.device().steering()), ("1.5.0", Some(&newest)));
    world.hears(old, Freshness::Fresh).waits(60);
    assert_eq!(world.confirmed(), "1.5.0", "what is old is old");
    let told = world.count(|event| matches!(event, Event::Refused(_)));
    assert_eq!(told, 1, "{}", world.told());
}

/// Power goes between the new keyring and what follows from it, and a second time; also where an agent of before kept how far
/// it had heard, and not from whom.
#[test]
fn a_power_cut_brings_no_thief_back() {
    for is_of_before in [false, true] {
        let mut world = World::with(settings(), "1.4.0");
        world.trusts(&[3]).counts_from(u64::MAX - 1, 0).steers("r-9", "1.4.0", Direction::Hold);
        if is_of_before {
            world.forgets_the_tail().loses_power().trusts(&[3, 4]);
        }
        world.trusts_and_loses_power(&[4]);
        assert_eq!((world.device().watermarks().generation.0, world.device().steering()), (0, None));
        world.loses_power().signs("1.5.0", &["1.4.0"]).signs_with(4).counts_from(1, 1);
        world.steers("r-2", "1.5.0", Direction::Forward).waits(200);
        assert_eq!(world.confirmed(), "1.5.0");
    }
}

/// A generation may be given twice, once by the thief. What operators have signed of the one is not signed of the other.
#[test]
fn a_second_signature_goes_with_the_key() {
    let mut world = careful();
    world.trusts(&[3]).waits(HOUR);
    let hold = world.steer("r-1", "1.5.0", Direction::Hold);
    let mut home = hold.clone();
    home.direction = Direction::Home;
    world.hears_with(hold, Freshness::Fresh, Second::Given).trusts(&[4]).signs_with(4);
    world.hears(home, Freshness::Fresh).waits(HOUR);
    assert_eq!((world.runs(), refusals(&world)), ("1.5.0", 1));
}

/// A role has up to eight keys. What each of them has said stays said, also when the seven others are gone.
#[test]
fn how_far_it_heard_is_told_apart_for_eight_keys() {
    let keys: Vec<u8> = (1..=8).collect();
    let mut world = World::with(settings(), "1.4.0");
    world.trusts(&keys);
    for key in keys {
        world.signs_with(key).steers("r-1", "1.5.0", Direction::Hold);
    }
    world.trusts(&[1]);
    assert_eq!(world.device().watermarks().generation.0, 1, "the first had said the least");
}
