//! An update's whole life on a board: staged, tried, confirmed, fallen back from, gone home from; with each who writes and each who
//! switches, read by the board's own tools.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::process::Command;

use backstay_model::Transience;
use backstay_slots::{BootWord, Slot, SlotError, Slots as _};
use backstay_test_firmware::{Board, By, Kind, Switching, can_be_had, run, tells, versions, ways};

const IMAGE_BYTES: usize = 1_500_001;

#[test]
fn an_update_is_staged_tried_and_confirmed() {
    if !can_be_had() {
        return;
    }
    tells(&versions());
    for &(by, switching) in ways() {
        let mut board = Board::made(by, switching, IMAGE_BYTES);
        let (old, new) = (board.known[0].clone(), board.gets("1.1", Kind::Usual));
        board.stages(&new).unwrap();
        assert_eq!(
            board.environment(),
            "A | 2 | 0",
            "nobody asked for it to be started: {by:?}, {switching:?}"
        );
        assert_eq!(board.holds(Slot::B).as_deref(), Some("1.1"));
        assert_eq!(board.status().other, Some(new.release.clone()));
        assert_eq!(board.boots(), "1.0", "and so it isn't");
        // Said again, it changes nothing.
        board.stages(&new).unwrap();
        board.tries(&new).unwrap();
        assert!(board.environment().starts_with("B A | 2 | "), "{}", board.environment());
        assert_eq!(board.boots(), "1.1");
        assert!(matches!(board.word(), BootWord::Trial { .. }), "{:?}", board.word());
        let mut slots = board.open().unwrap().0;
        slots.note_boot().unwrap();
        drop(slots);
        board.confirms(&new).unwrap();
        assert_eq!((board.status().confirmed, board.word()), (new.release.clone(), BootWord::Confirmed));
        // The factory's, which none of us wrote, is home as long as it is whole.
        board.goes_home(&old).unwrap();
        assert_eq!(board.boots(), "1.0");
        assert_eq!(board.status().confirmed, old.release);
        // And from a trial, too.
        board.tries(&new).unwrap();
        assert_eq!(board.boots(), "1.1");
        board.goes_home(&old).unwrap();
        assert_eq!(board.boots(), "1.0");
        let next = board.gets("1.2", Kind::Usual);
        board.stages(&next).unwrap();
        board.tries(&next).unwrap();
        assert_eq!(board.boots(), "1.2");
        board.confirms(&next).unwrap();
        // Into the other slot, now that b is home.
        let last = board.gets("1.3", Kind::Usual);
        board.stages(&last).unwrap();
        assert_eq!(
            (board.holds(Slot::A).as_deref(), board.holds(Slot::B).as_deref()),
            (Some("1.3"), Some("1.2"))
        );
        board.tries(&last).unwrap();
        assert_eq!(board.boots(), "1.3");
        board.confirms(&last).unwrap();
        assert_eq!(board.status().booted, last.release);
    }
}

/// What was tried and never came up is told, barred, and doesn't stand in the way of the next.
#[test]
fn a_version_that_panics_falls_back_and_is_barred() {
    if !can_be_had() {
        return;
    }
    for &(by, switching) in ways() {
        let mut board = Board::made(by, switching, IMAGE_BYTES);
        board.panics.push("1.1".into());
        let bad = board.gets("1.1", Kind::Usual);
        board.stages(&bad).unwrap();
        board.tries(&bad).unwrap();
        assert_eq!(board.boots(), "1.0", "{by:?}, {switching:?}");
        assert_eq!(board.word(), BootWord::FellBack { from: Some(bad.release.clone()) });
        let words = board.environment();
        assert!(words.starts_with("A | ") && words.ends_with(" | 0"), "{words}");
        let good = board.gets("1.2", Kind::Usual);
        board.stages(&good).unwrap();
        board.tries(&good).unwrap();
        assert_eq!(board.boots(), "1.2");
        board.confirms(&good).unwrap();
        assert_eq!(board.word(), BootWord::Confirmed);
    }
}

/// A slot that wears out after it was staged is not tried, and not gone home to.
#[test]
fn a_slot_that_wears_out_is_not_started() {
    if !can_be_had() {
        return;
    }
    for by in [By::Rauc, By::SwUpdate] {
        let mut board = Board::made(by, Switching::Ours, IMAGE_BYTES);
        let (old, new) = (board.known[0].clone(), board.gets("1.1", Kind::Usual));
        board.stages(&new).unwrap();
        board.slots[1].wears_out_at(IMAGE_BYTES as u64 - 1);
        let error = board.tries(&new).unwrap_err();
        assert!(matches!(error, SlotError::NotThere { slot: Slot::B, .. }), "{error:?}");
        board.stages(&new).unwrap();
        board.tries(&new).unwrap();
        assert_eq!(board.boots(), "1.1");
        board.confirms(&new).unwrap();
        board.slots[0].wears_out_at(7);
        let error = board.goes_home(&old).unwrap_err();
        assert!(matches!(error, SlotError::NotThere { slot: Slot::A, .. }), "{error:?}");
        assert_eq!(board.boots(), "1.1");
    }
}

/// Exactly one switches. RAUC with `bootloader=noop` leaves the environment alone, whatever `activate-installed` says; with its own
/// boot loader and `activate-installed=false` it bars the slot, which is barred by then; without it switches, which is found out and undone.
#[test]
fn exactly_one_switches() {
    if !can_be_had() {
        return;
    }
    let mut board = Board::made(By::Rauc, Switching::Ours, IMAGE_BYTES);
    let new = board.gets("1.1", Kind::Usual);
    // As we leave it before anybody writes.
    board.stages(&new).unwrap();
    for (bootloader, more) in
        [("noop", "activate-installed=false\n"), ("noop", ""), ("uboot", "activate-installed=false\n")]
    {
        board.service = None;
        board.configures_rauc(bootloader, more, "");
        board.starts_rauc();
        let before = board.flash();
        run(Command::new(board.program("rauc")).arg("install").arg(&new.artifact));
        assert!(board.flash() == before, "{bootloader}, {more}: {}", board.environment());
    }
    drop(board);
    for switching in [Switching::Ours, Switching::Rauc] {
        let mut board = Board::made(By::Rauc, switching, IMAGE_BYTES);
        board.service = None;
        board.configures_rauc("uboot", "", "");
        board.starts_rauc();
        let next = board.gets("1.2", Kind::Usual);
        run(Command::new(board.program("rauc")).arg("install").arg(&next.artifact));
        assert!(board.environment().starts_with("B A"), "RAUC switches by itself: {}", board.environment());
        let error = board.stages(&next).unwrap_err();
        assert!(matches!(error, SlotError::Writer { transience: Transience::Permanent, .. }), "{error:?}");
        assert!(error.help().unwrap().contains("activate-installed=false"));
        assert!(board.environment().starts_with("A |"), "{}", board.environment());
        assert_eq!((board.boots(), board.status().other), ("1.0".to_owned(), None));
    }
    // An archive that brings a boot environment brings it to nobody.
    let mut board = Board::made(By::SwUpdate, Switching::Ours, IMAGE_BYTES);
    let new = board.gets("1.1", Kind::Switching);
    let order = board.environment();
    board.stages(&new).unwrap();
    assert!(order.starts_with("A |") && board.environment().starts_with("A |"), "{}", board.environment());
    assert_eq!(board.boots(), "1.0");
}

/// With RAUC as the switch, its marks are what its own command line sets, and it tells what we set.
#[test]
fn marks_are_rauc_s_own() {
    if !can_be_had() {
        return;
    }
    let mut board = Board::made(By::Rauc, Switching::Rauc, IMAGE_BYTES);
    let new = board.gets("1.1", Kind::Usual);
    let rauc =
        |board: &Board, words: &[&str]| run(Command::new(board.program("rauc")).arg("status").args(words));
    board.stages(&new).unwrap();
    assert!(rauc(&board, &["--output-format=shell"]).contains("RAUC_BOOT_PRIMARY='rootfs.0'"));
    board.tries(&new).unwrap();
    assert!(rauc(&board, &["--output-format=shell"]).contains("RAUC_BOOT_PRIMARY='rootfs.1'"));
    // Somebody bars it by hand, and so it falls back.
    rauc(&board, &["mark-bad", "rootfs.1"]);
    assert_eq!(board.environment(), "A | 2 | 0");
    assert_eq!(board.boots(), "1.0");
    assert_eq!(board.word(), BootWord::FellBack { from: Some(new.release.clone()) });
    // Asked again, it is tried again; somebody marks it good by hand, and it is still on trial.
    board.tries(&new).unwrap();
    assert_eq!(board.boots(), "1.1");
    rauc(&board, &["mark-good", "booted"]);
    assert!(matches!(board.word(), BootWord::Trial { .. }));
    board.confirms(&new).unwrap();
    assert_eq!(board.status().confirmed, new.release);
}
