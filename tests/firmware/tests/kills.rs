//! Somebody is killed in the middle: RAUC's service, `rauc`, SWUpdate, and ourselves. Whoever it was, what runs goes on and is what a
//! restart brings back, nothing half written is called whole or started, and the same order again ends well.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use backstay_model::Transience;
use backstay_slots::{Slot, SlotError};
use backstay_test_firmware::{
    Board, By, Firmware, Kind, Moment, Switching, can_be_had, child_named, is_long, kill, moments, tells,
    until,
};

const BLOCK: usize = 4096;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    RaucService,
    Rauc,
    SwUpdate,
    /// `backstay-slots`, with RAUC or SWUpdate as a child that goes on.
    Ours,
}

/// What a kill left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    /// It had ended before.
    Done,
    /// The slot as it was.
    Untouched,
    /// The slot holds nothing whole.
    Half,
    /// The slot is whole, and yet nobody has said so.
    Whole,
}

fn image_bytes() -> usize {
    if is_long() { 24_000_000 } else { 6_000_000 }
}

/// Waits for the moment, or the end.
fn wait_for(board: &Board, firmware: &Firmware, moment: Moment, took: f64, ended: impl Fn() -> bool) {
    let begun = Instant::now();
    let image = &firmware.image;
    let at = |part: u32| (image.len() as u64 * u64::from(part) / 1000) as usize / BLOCK * BLOCK;
    until("the moment", || {
        let is_there = match moment {
            Moment::Written(part) => {
                let at = at(part);
                board.slots[1].holds_at(at as u64, &image[at..at + BLOCK])
            }
            Moment::Into(part) => begun.elapsed().as_secs_f64() >= took * f64::from(part) / 1000.0,
        };
        (is_there || ended()).then_some(())
    });
}

/// Stages, and kills somebody at a moment. What came of it, if it ended by itself, and whether anybody was there to be killed.
fn stage_and_kill(
    board: &mut Board,
    victim: Victim,
    firmware: &Firmware,
    moment: Moment,
    took: f64,
) -> (Option<Result<(), SlotError>>, bool) {
    let own = std::process::id();
    if victim == Victim::Ours {
        let mut program =
            board.slots_stage(firmware).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ended = AtomicBool::new(false);
        let id = program.id();
        wait_for(board, firmware, moment, took, || {
            let zombie = !backstay_test_firmware::runs(id);
            ended.store(zombie, Ordering::Relaxed);
            zombie
        });
        kill(id);
        let status = program.wait().unwrap();
        return (status.success().then_some(Ok(())), !ended.load(Ordering::Relaxed));
    }
    let ended = AtomicBool::new(false);
    let shared: &Board = board;
    let service = shared.service.as_ref().map(|service| service.id());
    let (result, killed) = thread::scope(|scope| {
        let staging = scope.spawn(|| {
            let result = shared.stages(firmware);
            ended.store(true, Ordering::Release);
            result
        });
        let is_over = || ended.load(Ordering::Acquire);
        wait_for(shared, firmware, moment, took, is_over);
        let found = match victim {
            Victim::RaucService => service,
            Victim::Rauc => child_named(own, "rauc", "install"),
            Victim::SwUpdate => child_named(own, "swupdate", "-i"),
            Victim::Ours => None,
        };
        let found = found.filter(|_| !is_over());
        if let Some(pid) = found {
            kill(pid);
        }
        (staging.join().unwrap(), found.is_some())
    });
    if victim == Victim::RaucService {
        board.service = None;
    }
    (Some(result), killed)
}

/// All that has to hold after a kill, and then the same order once more.
fn ends_well(board: &mut Board, victim: Victim, firmware: &Firmware, before: &str, restarts: bool) -> Left {
    assert!(board.environment().starts_with("A |"), "{victim:?}: {}", board.environment());
    assert_eq!(board.holds(Slot::A).as_deref(), Some("1.0"), "what runs is not touched");
    let holds = board.holds(Slot::B);
    let left = match holds.as_deref() {
        None => Left::Half,
        Some(version) if version == before => Left::Untouched,
        Some(_) => Left::Whole,
    };
    if restarts {
        // The power goes, and with it who still works.
        for name in ["swupdate", "rauc"] {
            while let Some(child) = child_named(std::process::id(), name, "-i") {
                kill(child);
            }
        }
        assert_eq!(board.boots(), "1.0", "after a restart");
        board.has_slots_toml();
    }
    board.starts_rauc();
    // Somebody may still be at work; what is said meanwhile has to be true.
    let status = board.status();
    if let Some(other) = status.other {
        assert_eq!(Some(other.version.to_string()), board.holds(Slot::B), "{victim:?}");
    }
    assert_eq!((status.confirmed.version.as_str(), status.trying), ("1.0", None));
    until("it to be staged after all", || match victim {
        Victim::Ours => match board.ask(board.slots_stage(firmware)) {
            (Some(0), _) => Some(()),
            (Some(75), _) => None,
            other => panic!("{other:?}"),
        },
        Victim::RaucService | Victim::Rauc | Victim::SwUpdate => match board.stages(firmware) {
            Ok(()) => Some(()),
            Err(error) => {
                assert_eq!(error.transience(), Transience::Transient, "{error:?}");
                None
            }
        },
    });
    assert_eq!(board.holds(Slot::B), Some(firmware.release.version.to_string()), "it is there in the end");
    assert!(board.environment().starts_with("A |"), "{}", board.environment());
    left
}

fn killed_everywhere(victim: Victim, by: By, of_each: u32) {
    let mut board = Board::made(by, Switching::Ours, image_bytes());
    board.has_slots_toml();
    let versions = [board.gets("1.1", Kind::Usual), board.gets("1.2", Kind::Usual)];
    board.stages(&versions[1]).unwrap();
    let begun = Instant::now();
    board.stages(&versions[0]).unwrap();
    let took = begun.elapsed().as_secs_f64();
    let mut counts = BTreeMap::new();
    let mut kills = 0;
    let all = moments(of_each);
    for (number, moment) in all.iter().enumerate() {
        let (firmware, before) = (&versions[(number + 1) % 2], &versions[number % 2]);
        let before = before.release.version.to_string();
        let (result, killed) = stage_and_kill(&mut board, victim, firmware, *moment, took);
        if let Some(Err(error)) = &result {
            assert_eq!(error.transience(), Transience::Transient, "{victim:?} at {moment:?}: {error:?}");
        }
        kills += u32::from(killed);
        let left = ends_well(&mut board, victim, firmware, &before, number % 4 == 3);
        let left = if matches!(result, Some(Ok(()))) { Left::Done } else { left };
        *counts.entry(left).or_insert(0) += 1;
    }
    let mounted = board.left_mounted();
    let last = &versions[all.len() % 2];
    board.tries(last).unwrap();
    assert_eq!(board.boots(), last.release.version.as_str());
    board.confirms(last).unwrap();
    tells(&format!(
        "{victim:?} with {by:?}: {} moments, {kills} killed, left {counts:?}; bundles left mounted: {mounted}; \
         staging takes {took:.2} s; 0 bad ends",
        all.len()
    ));
    assert!(kills >= of_each, "{kills} of {} were in time", all.len());
    if is_long() {
        assert!(
            counts.get(&Left::Half).is_some_and(|halves| *halves > 0),
            "no kill came in the middle: {counts:?}"
        );
    }
}

fn of_each() -> u32 {
    if is_long() { 16 } else { 2 }
}

#[test]
fn rauc_s_service_is_killed() {
    if can_be_had() {
        killed_everywhere(Victim::RaucService, By::Rauc, of_each());
    }
}

/// RAUC's service goes on installing what `rauc` asked for.
#[test]
fn rauc_is_killed() {
    if can_be_had() {
        killed_everywhere(Victim::Rauc, By::Rauc, of_each());
    }
}

#[test]
fn swupdate_is_killed() {
    if can_be_had() {
        killed_everywhere(Victim::SwUpdate, By::SwUpdate, of_each());
    }
}

/// What we started goes on, and holds the device until it is done.
#[test]
fn we_are_killed_and_who_writes_goes_on() {
    if can_be_had() {
        killed_everywhere(Victim::Ours, By::Rauc, of_each());
        killed_everywhere(Victim::Ours, By::SwUpdate, of_each());
    }
}
