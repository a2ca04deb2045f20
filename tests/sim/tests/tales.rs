//! A few fleets whose story is known beforehand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use backstay_model::Millis;
use backstay_test_sim::{Behaviour, Fleet, Mark, Size, Tale, Toll, Trial, Weather};

const HOUR: Millis = Millis::from_secs(3600);

fn hours(hours: u64) -> Millis {
    Millis(HOUR.0 * hours)
}

/// What everybody depends on is gone. All alarms ring at once, and nobody moves.
#[test]
fn a_dependency_that_is_gone_moves_nobody() {
    let mut fleet = Fleet::told(1, Size::of(200, 0.1), Weather::calm(), &[None]);
    fleet.waits(hours(1)).unwrap();
    fleet.loses_what_it_depends_on(hours(12));
    fleet.waits(hours(12)).unwrap();
    assert_eq!((fleet.that_moved(), fleet.run_release(0)), (0, 200));
    fleet.run().unwrap();
}

/// Every alarm rings, and none of it is so: nobody moves. Then a whole rack has a fault of its own: all of it is mended, and
/// nobody goes home for that.
#[test]
fn a_false_alarm_moves_nobody_and_a_broken_rack_is_mended() {
    let mut fleet = Fleet::told(5, Size::of(400, 0.1), Weather::calm(), &[None]);
    fleet.waits(hours(1)).unwrap();
    fleet.alarms_falsely(hours(3));
    fleet.waits(hours(6)).unwrap();
    assert_eq!((fleet.that_moved(), fleet.run_release(0)), (0, 400));
    assert_eq!(fleet.breaks_a_rack(3, 2), 50);
    assert_eq!(fleet.that_are_sick(), 50);
    fleet.waits(hours(6)).unwrap();
    assert_eq!((fleet.that_are_sick(), fleet.that_moved()), (0, 0));
    fleet.run().unwrap();
}

/// A release that fails an hour after it came up: the first wave meets with it, and the others never do.
#[test]
fn a_bad_release_stays_with_the_first_wave() {
    let fault = Some((Behaviour::FailsAfter(Millis::from_secs(600)), 1000));
    let mut fleet = Fleet::told(2, Size::of(200, 0.1), Weather::calm(), &[fault]);
    fleet.waits(hours(1)).unwrap();
    fleet.starts(1).unwrap();
    fleet.waits(hours(24)).unwrap();
    assert_eq!(fleet.run_release(0), 200);
    assert_eq!(fleet.that_moved(), 6, "three of each cohort");
    let ran = fleet.run().unwrap();
    assert_eq!(ran.turns, 2);
}

/// The broker goes away while a wave is under way: whoever is bad goes home all the same.
#[test]
fn without_the_broker_everybody_finds_home() {
    let fault = Some((Behaviour::FailsAfter(Millis::from_secs(1200)), 1000));
    let mut fleet = Fleet::told(3, Size::of(60, 0.1), Weather::calm(), &[fault]);
    fleet.waits(hours(1)).unwrap();
    fleet.starts(1).unwrap();
    fleet.waits(Millis::from_secs(600)).unwrap();
    assert_eq!(fleet.run_release(1), 6);
    fleet.loses_the_broker(hours(10));
    fleet.waits(hours(9)).unwrap();
    assert_eq!(fleet.run_release(1), 0);
    fleet.run().unwrap();
}

/// A good release arrives everywhere, whatever the network does to its messages.
#[test]
fn a_good_release_arrives_through_bad_weather() {
    let marks = [Mark::Partition, Mark::Loss, Mark::Duplicate, Mark::Reorder, Mark::BrokerRestart];
    let weather = marks.into_iter().fold(Weather::calm(), Weather::with);
    let mut fleet = Fleet::told(4, Size::of(60, 1.0), weather, &[None]);
    fleet.starts(1).unwrap();
    fleet.waits(hours(72)).unwrap();
    assert_eq!(fleet.run_release(1), 60);
    fleet.run().unwrap();
}

fn told(tale: Tale, seed: u64) -> Toll {
    let trial = Trial { tale: Some(tale), ..Trial::of(seed, Size::of(200, 0.0)) };
    let toll = trial.run().unwrap_or_else(|failure| panic!("{failure}")).toll.unwrap();
    assert!(tale.bears(&toll), "{} of seed {seed}: {}, and it took {toll:?}", tale.word(), tale.promise());
    toll
}

/// What `cargo xtask sim --tale` tells of 10,000 devices, of few: each has a release to go home to, and other things go wrong besides.
#[test]
fn what_is_not_the_fault_of_a_release_moves_next_to_nobody() {
    for seed in 1..=3 {
        let toll = told(Tale::Outage, seed);
        assert_eq!((toll.hit, toll.acted), (200, 0), "a failing dependency is nothing to mend");
        assert!(told(Tale::FalseAlarm, seed).hit == 200);
    }
}

#[test]
fn a_whole_rack_with_a_fault_of_its_own_is_well_again() {
    for seed in 1..=3 {
        let toll = told(Tale::Rack, seed);
        assert!(toll.hit == 25 && toll.acted >= toll.hit, "{toll:?}");
    }
}

/// The bound can break: where no restart mends the fault, the rack leaves its release, and is not well on the other one either.
#[test]
fn what_a_tale_took_is_seen() {
    let mut fleet = Fleet::told(6, Size::of(200, 0.0), Weather::calm(), &[None]);
    fleet.starts(1).unwrap();
    fleet.waits(hours(24)).unwrap();
    assert_eq!(fleet.run_release(1), 200);
    assert_eq!(fleet.breaks_a_rack(2, u32::MAX), 25);
    fleet.waits(hours(12)).unwrap();
    assert_eq!((fleet.run_release(1), fleet.that_are_sick()), (175, 25));
    let many = Toll { devices: 200, hit: 200, moved: 5, ..Toll::default() };
    assert!(!Tale::Outage.bears(&many) && Tale::Outage.bears(&Toll { moved: 4, ..many }));
    assert!(!Tale::Rack.bears(&Toll { unwell: 1, ..many }) && !Tale::Rack.bears(&Toll::default()));
}
