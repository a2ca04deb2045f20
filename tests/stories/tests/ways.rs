//! Stories about the way home: where it leads, who vouches for it, and what is left when there is none.
#![expect(clippy::type_complexity, reason = "a table of cases says best what they are made of")]
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{DeviceSettings, Freshness};
use backstay_model::{Cause, Direction, Event, Millis, Release, Standing, Word};
use backstay_test_stories::{Behaviour, World, release, settings};

fn standing(world: &World) -> Standing {
    world.report.as_ref().unwrap().standing
}

/// A device that settled on 1.5.0 after 1.4.0, and may leave it for these.
fn settled(ways: &[&str]) -> World {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &[&["1.4.0"], ways].concat());
    world.steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    world
}

fn steers_back(world: &mut World, back: Release) {
    let mut home = world.steer("r-1", "1.5.0", Direction::Home);
    home.back = Some(back);
    world.hears(home, Freshness::Fresh);
}

fn asked_for(world: &World, version: &str) -> bool {
    world.vetted.contains(&release(version).digest)
}

/// What the fleet is steered back to is in the other slot: it was verified when it came, and nobody is asked.
#[test]
fn back_to_what_is_in_the_other_slot_asks_nobody() {
    let mut world = settled(&[]);
    // Whatever else is claimed of it: the slots know better.
    steers_back(&mut world, Release { security_epoch: 99, ..release("1.4.0") });
    world.waits(1);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert!(!asked_for(&world, "1.4.0"));
}

/// It is not here, and what is here is allowed: the last known good release goes before a download.
#[test]
fn back_to_what_is_not_here_leads_to_the_last_known_good_release() {
    let mut world = settled(&["1.3.0"]);
    world.signs("1.3.0", &[]);
    steers_back(&mut world, release("1.3.0"));
    world.waits(1);
    assert_eq!(world.runs(), "1.4.0");
    assert!(!asked_for(&world, "1.3.0"));
}

/// The other slot holds nothing of use any more, so it is fetched: but only after the release keys were asked.
#[test]
fn back_from_afar_is_vetted_before_anything_is_fetched() {
    let mut world = settled(&["1.3.0"]);
    world.signs("1.3.0", &[]).condemns("1.4.0").looks_into_releases_slowly();
    steers_back(&mut world, release("1.3.0"));
    world.waits(30);
    assert_eq!((world.runs(), standing(&world)), ("1.5.0", Standing::GoingHome));
    assert_eq!(
        world.count(|event| matches!(event, Event::Ordered { .. })),
        2,
        "to install and to confirm it"
    );
    world.hears_of_the_release().waits(1);
    assert_eq!((world.runs(), world.confirmed()), ("1.3.0", "1.3.0"));
    assert_eq!(standing(&world), Standing::Settled);
}

/// A stolen server key names a way back that the release keys never gave, or not like that. Nothing is fetched, and a
/// person has to look.
#[test]
fn a_back_that_nobody_vouches_for_is_never_fetched() {
    let other_length = Release { length: 5, ..release("1.3.0") };
    let old = Release { security_epoch: 0, ..release("1.3.0") };
    let cases: [(&str, Release, Option<Release>, &str, &[&str]); 5] = [
        ("it was signed with another length", other_length, Some(release("1.3.0")), "pump-arm64", &["1.3.0"]),
        ("it was signed with a lower epoch", release("1.3.0"), Some(old.clone()), "pump-arm64", &["1.3.0"]),
        ("its epoch is below the floor", old.clone(), Some(old), "pump-arm64", &["1.3.0"]),
        ("it is for another machine", release("1.3.0"), Some(release("1.3.0")), "valve-x86", &["1.3.0"]),
        ("what runs may not be left for it", release("1.3.0"), Some(release("1.3.0")), "pump-arm64", &[]),
    ];
    for (case, back, signed, hardware, ways) in cases {
        let mut world = settled(ways);
        world.condemns("1.4.0");
        if let Some(signed) = signed {
            world.signs_as(signed, vec![], hardware);
        }
        steers_back(&mut world, back);
        world.waits(600);
        assert_eq!((world.runs(), standing(&world)), ("1.5.0", Standing::Frozen), "{case}");
        assert_eq!(world.count(|event| matches!(event, Event::Ordered { .. })), 2, "{case}");
    }
}

/// Nobody can be asked. It is tried again, soon and then slowly, and the way is found once somebody answers.
#[test]
fn a_way_back_is_sought_until_somebody_answers() {
    let mut world = settled(&["1.3.0"]);
    world.condemns("1.4.0");
    steers_back(&mut world, release("1.3.0"));
    world.waits(200);
    assert_eq!((world.runs(), standing(&world)), ("1.5.0", Standing::Stranded));
    assert_eq!(world.count(|event| matches!(event, Event::Froze { .. })), 0, "nobody has to look");
    // A restart forgets none of it.
    world.signs("1.3.0", &[]).loses_power().waits(1200);
    assert_eq!((world.runs(), standing(&world)), ("1.3.0", Standing::Settled));
}

/// The order is taken back while nobody has answered yet.
#[test]
fn a_way_that_nobody_wants_any_more_is_not_sought() {
    let mut world = settled(&["1.3.0"]);
    world.condemns("1.4.0").looks_into_releases_slowly().signs("1.3.0", &[]);
    steers_back(&mut world, release("1.3.0"));
    assert_eq!(standing(&world), Standing::GoingHome);
    // It still names where back would be: to hold is not to go there.
    let mut hold = world.steer("r-2", "1.5.0", Direction::Hold);
    hold.back = Some(release("1.3.0"));
    world.hears(hold, Freshness::Fresh);
    assert_eq!(standing(&world), Standing::Settled);
    world.hears_of_the_release().waits(600);
    assert_eq!((world.runs(), standing(&world)), ("1.5.0", Standing::Settled));
}

/// What was gone back to from afar may be left again only for what its own statement allows.
#[test]
fn what_was_gone_back_to_brings_its_own_way() {
    let mut world = settled(&["1.3.0"]);
    world.signs("1.3.0", &["1.5.0"]).condemns("1.4.0");
    steers_back(&mut world, release("1.3.0"));
    world.waits(1);
    assert_eq!(world.runs(), "1.3.0");
    world.behaves("1.3.0", Behaviour::FailsAfter(Millis(0))).waits(900);
    assert_eq!(world.runs(), "1.5.0", "that is in the other slot");
}

/// A release three steps back is still known when the other slot holds a failed one, and is fetched again.
#[test]
fn the_last_known_good_release_is_remembered_when_its_slot_was_taken() {
    let mut world = settled(&[]);
    world.signs("1.6.0", &["1.5.0"]).behaves("1.6.0", Behaviour::FailsAfter(Millis(0)));
    world.steers("r-2", "1.6.0", Direction::Forward).waits(300);
    assert_eq!(world.runs(), "1.5.0");
    world.behaves("1.5.0", Behaviour::FailsAfter(Millis(0))).waits(900);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
}

/// Nothing is left to try. The device says so, goes on trying slowly, and is well again by itself: nobody had to look.
#[test]
fn a_stranded_device_goes_on_trying_and_is_cured() {
    let mut world = World::new("1.4.0");
    world.behaves("1.4.0", Behaviour::NeedsRestarts(5)).waits(300);
    assert_eq!(standing(&world), Standing::Stranded);
    assert_eq!(world.count(|event| matches!(event, Event::Stranded { cause: Cause::NoWayHome, .. })), 1);
    assert_eq!(world.count(|event| matches!(event, Event::Froze { .. })), 0);
    world.waits(1800);
    assert_eq!((standing(&world), world.runs()), (Standing::Settled, "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::Thawed { cause: Cause::NoWayHome })), 1);
}

/// It tries slowly: a day of it wears out neither the machine nor the flash.
#[test]
fn a_stranded_device_tries_slowly() {
    let mut world = World::new("1.4.0");
    world.behaves("1.4.0", Behaviour::NeedsRestarts(100_000)).waits(24 * 3600);
    assert_eq!(standing(&world), Standing::Stranded);
    let rounds = world.count(|event| matches!(event, Event::Stranded { .. }));
    let tries = world.count(|event| matches!(event, Event::Ordered { .. }));
    let rested = settings().retry_backoff.cap.0 * (rounds as u64 - 1);
    assert!(rounds > 20 && rested < 24 * 3600 * 1000, "{rounds} rounds");
    assert_eq!(tries, rounds * 3, "each round is one ladder");
    assert!(world.events.len() < rounds * 30, "{} records in {rounds} rounds", world.events.len());
}

/// A good release comes: that is something to try, and a device that nobody had to look at takes it.
#[test]
fn a_stranded_device_takes_the_release_that_cures_it() {
    let mut world = World::new("1.4.0");
    world.behaves("1.4.0", Behaviour::NeedsRestarts(100_000)).waits(300);
    assert_eq!(standing(&world), Standing::Stranded);
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!((standing(&world), world.confirmed()), (Standing::Settled, "1.5.0"));
}

/// A word of the operator's spares it the wait.
#[test]
fn a_signed_word_lets_a_stranded_device_try_at_once() {
    let mut world = World::new("1.4.0");
    world.behaves("1.4.0", Behaviour::NeedsRestarts(4)).waits(200);
    assert_eq!(standing(&world), Standing::Stranded);
    world.tells(Word::Thaw).waits(60);
    assert_eq!(standing(&world), Standing::Settled);
}

/// The same on the way back: nobody could be asked about it, and whoever has mended that says so.
#[test]
fn a_signed_word_lets_a_way_back_be_sought_at_once() {
    let mut world = settled(&["1.3.0"]);
    world.condemns("1.4.0");
    steers_back(&mut world, release("1.3.0"));
    world.waits(200);
    assert_eq!(standing(&world), Standing::Stranded);
    world.signs("1.3.0", &[]).tells(Word::Thaw).waits(1);
    assert_eq!((world.runs(), standing(&world)), ("1.3.0", Standing::Settled));
}

/// The budget of switches is spent, and what runs is to be left. That passes by itself.
#[test]
fn a_spent_budget_strands_until_it_is_free() {
    let allowance = backstay_core::Allowance { switches: 1, span: Millis::from_secs(7200) };
    let mut world = World::with(DeviceSettings { allowance, ..settings() }, "1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    world.steers("r-1", "1.5.0", Direction::Home).waits(3600);
    assert_eq!((standing(&world), world.runs()), (Standing::Stranded, "1.5.0"));
    world.waits(3600);
    assert_eq!((standing(&world), world.runs()), (Standing::Settled, "1.4.0"));
}

/// The way home fails for a passing reason until its tries are used up: it is tried again, slowly, and ends at home.
#[test]
fn a_way_home_is_never_given_up_for_a_passing_reason() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis(0)));
    world.behaves("1.4.0", Behaviour::Hangs).steers("r-1", "1.5.0", Direction::Forward).waits(2000);
    assert_eq!((standing(&world), world.runs()), (Standing::Stranded, "1.5.0"));
    world.behaves("1.4.0", Behaviour::Healthy).waits(1200);
    assert_eq!((standing(&world), world.runs()), (Standing::Settled, "1.4.0"));
}

/// Steered home with no way at all, and nothing is wrong with what runs: a person has to look.
#[test]
fn steered_home_with_no_way_a_person_has_to_look() {
    let mut world = settled(&[]);
    world.condemns("1.4.0").steers("r-1", "1.5.0", Direction::Home).waits(7200);
    assert_eq!((standing(&world), world.runs()), (Standing::Frozen, "1.5.0"));
    assert_eq!(world.count(|event| matches!(event, Event::Froze { cause: Cause::NoWayHome })), 1);
    assert_eq!(world.count(|event| matches!(event, Event::Stranded { .. })), 0);
}

/// What is in either slot fails. It goes home once, and then stays: it swings no more, says where it stands, tries to mend
/// what runs, slowly, and takes the release that cures it.
#[test]
fn with_two_bad_slots_a_device_stays_and_can_be_reached() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    world
        .behaves("1.5.0", Behaviour::FailsAfter(Millis(0)))
        .behaves("1.4.0", Behaviour::FailsAfter(Millis(0)));
    world.waits(7200);
    assert_eq!((standing(&world), world.runs()), (Standing::Stranded, "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::CameHome { .. })), 1);
    world.signs("1.6.0", &["1.4.0"]).steers("r-2", "1.6.0", Direction::Forward).waits(300);
    assert_eq!((standing(&world), world.confirmed()), (Standing::Settled, "1.6.0"));
}
