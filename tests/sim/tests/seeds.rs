//! Many small fleets, each with faults of its own; and the same fleet twice.
#![allow(clippy::panic, reason = "a failed seed fails the test")]

use backstay_model::Millis;
use backstay_test_sim::{Fleet, Mark, Marks, Ran, Size, Trial};

/// `BACKSTAY_LONG=1` asks for more of them.
fn seeds(share: u64) -> Vec<Ran> {
    let many = if std::env::var_os("BACKSTAY_LONG").is_some() { 400 } else { 30 };
    let runs = (0..many).map(|n| Fleet::new(2 * n + share, Size::of(60, 0.5)).with_people().run());
    runs.map(|ran| ran.unwrap_or_else(|failure| panic!("{failure}"))).collect()
}

fn prove_something(runs: &[Ran]) {
    let mut marks = Marks::default();
    runs.iter().for_each(|ran| marks.add(&ran.marks));
    // Runs in which nothing happens prove nothing.
    assert!(runs.iter().map(|ran| ran.switches).sum::<u64>() > 100);
    let calm: Vec<_> =
        Mark::ALL.iter().filter(|&&mark| marks.of(mark) == 0).map(|mark| mark.name()).collect();
    assert!(calm.len() <= 4, "these never came up: {calm:?}");
}

#[test]
fn even_seeds_hold_and_come_to_rest() {
    prove_something(&seeds(0));
}

#[test]
fn odd_seeds_hold_and_come_to_rest() {
    prove_something(&seeds(1));
}

/// Seeds that found something once. What each run does hangs on which kinds of faults there are, so they are named.
#[test]
fn what_was_found_once_is_not_found_again() {
    let slow = Size { beat: Millis::from_secs(1800), probe: Millis::from_secs(600), ..Size::of(1, 0.469) };
    let only = |marks: &[Mark]| Some(marks.to_vec());
    let cut = [Mark::DiskFull, Mark::FullAndCut, Mark::Reboot, Mark::LongOff, Mark::Rack, Mark::RackFault];
    let more = [Mark::Hang, Mark::Slow, Mark::Sick, Mark::RunLost, Mark::Reorder, Mark::Duplicate];
    let full: Vec<Mark> = cut.into_iter().chain(more).collect();
    let seen = [Mark::Loss, Mark::Duplicate, Mark::Poison, Mark::ServerCrash, Mark::Amnesia, Mark::DiskFull];
    let also = [Mark::FullAndCut, Mark::LongOff, Mark::Slow, Mark::RunLost, Mark::Replaced, Mark::Trap];
    let last = [Mark::FalseAlarm, Mark::ClockJump, Mark::Network, Mark::Sick, Mark::Expired];
    let home: Vec<Mark> = seen.into_iter().chain(also).chain(last).collect();
    let lost = [Mark::Partition, Mark::ServerCut, Mark::Duplicate, Mark::RetainedLost, Mark::BrokerRestart];
    let then = [Mark::ServerCrash, Mark::RosterLost, Mark::CutInStep, Mark::DiskFull, Mark::FullAndCut];
    let rack = [Mark::Rack, Mark::RackFault, Mark::RunLost, Mark::Replaced, Mark::Outage, Mark::Network];
    let rest = [Mark::Sick, Mark::Unvetted, Mark::Expired, Mark::Told];
    let sits_out: Vec<Mark> = lost.into_iter().chain(then).chain(rack).chain(rest).collect();
    let named = |word: &str| {
        let found = Mark::ALL.iter().copied().find(|mark| mark.word() == word);
        found.unwrap_or_else(|| panic!("there is no fault {word}"))
    };
    let words = |words: &str| Some(words.split(',').map(named).collect());
    let kept = [
        // An excluded device that was told to go on said that it is settled.
        Trial { only: only(&[Mark::Told]), ..Trial::of(2_473_751_745, slow) },
        // Power went on a full disk, and the device knew nothing of what had come since: how its reports were counted, what it
        // had heard of steering, where what it ran may be left for.
        Trial { only: only(&full), ..Trial::of(229, Size::of(60, 1.0)) },
        Trial {
            only: only(&[Mark::DiskFull, Mark::FullAndCut, Mark::RunLost]),
            ..Trial::of(36, Size::of(60, 1.0))
        },
        // It went home meanwhile, and only the slots knew: what it remembered to run was gone.
        Trial { only: only(&home), ..Trial::of(418_850_194, Size { devices: 3, days: 7.5, ..slow }) },
        // Steering that it had forgotten on a full disk came again, and it forgot that it sat out that rollout.
        Trial { only: only(&sits_out), ..Trial::of(200_119, Size { days: 5.0, ..slow.with_devices(60) }) },
        // What ran when an install began was mended anew as often as its cap allows, since the release that was brought in was condemned
        // in a time that is forgotten.
        Trial {
            only: words(
                "ServerCut,RetainedLost,BrokerRestart,ServerCrash,RosterLost,PowerCut,CutInStep,DiskFull,FullAndCut,Rack,RackFault,\
                 FlatBoot,Reboot,LongOff,Permanent,RunLost,Hang,Replaced,Outage,FalseAlarm,ClockJump,Network,Sick,Unvetted,Wish,Told",
            ),
            ..Trial::of(301_033, Size { days: 2.5, ..slow.with_devices(2) })
        },
        Trial {
            only: words(
                "Partition,Loss,Duplicate,Poison,BrokerRestart,ServerCrash,RosterLost,Amnesia,OldCopy,PowerCut,DiskFull,FullAndCut,\
                 Rack,RackFault,Transient,Permanent,RunLost,Hang,FalseAlarm,ClockJump,Unvetted,Wish",
            ),
            ..Trial::of(301_076, Size { days: 2.5, ..slow.with_devices(60) })
        },
        // The reference took what fails hours after its trial for what fails in it.
        Trial { only: only(&[]), reference: true, ..Trial::of(76, Size::of(24, 0.5)) },
        Trial { reference: true, ..Trial::of(21, Size::of(24, 0.5)) },
        Trial { reference: true, ..Trial::of(189, Size::of(24, 0.5)) },
    ];
    for trial in kept {
        trial.run().unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [7, 8] {
        let run =
            || Fleet::new(seed, Size::of(30, 0.3)).with_people().run().unwrap_or_else(|f| panic!("{f}"));
        assert_eq!(run(), run(), "seed {seed}");
    }
    let run =
        |seed| Fleet::new(seed, Size::of(30, 0.3)).with_people().run().unwrap_or_else(|f| panic!("{f}"));
    assert_ne!(run(7).digest, run(8).digest);
}
