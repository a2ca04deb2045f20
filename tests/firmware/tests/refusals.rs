//! What is refused, and what is left then: other bytes, strangers' signatures, cut files, other boards, slots too small, services that
//! are absent, busy or hang, full disks, two at once. Nothing of it is ever called whole, and what runs goes on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs::{self, File},
    io,
    process::{Command, Stdio},
    time::Duration,
};

use backstay_model::Transience;
use backstay_slots::{Slot, SlotError};
use backstay_test_firmware::{
    Board, By, Firmware, Kind, SlotDevice, Switching, can_be_had, child_named, run, tells, until,
};

const IMAGE_BYTES: usize = 1_000_003;

/// Refused, for good or not, with words; and what ran goes on, with the other slot barred.
fn is_refused(board: &mut Board, firmware: &Firmware, transience: Transience, says: &str) -> SlotError {
    let error = board.stages(firmware).unwrap_err();
    let told = format!("{:?}", error.outcome());
    assert_eq!(error.transience(), transience, "{told}");
    assert!(told.contains(says), "{told} is to say {says}");
    assert!(error.help().is_some());
    assert!(board.environment().starts_with("A |"), "{}", board.environment());
    assert_eq!(board.status().other, None, "after {told}");
    assert!(matches!(board.tries(firmware), Err(SlotError::NotThere { .. })));
    error
}

#[test]
fn what_isn_t_the_release_or_isn_t_for_this_board_never_reaches_the_slot() {
    use Kind::{Foreign, Odd, OtherBoard, OtherParts, Packed, Usual};
    use Transience::Permanent;
    if !can_be_had() {
        return;
    }
    for by in [By::Rauc, By::SwUpdate] {
        let mut board = Board::made(by, Switching::Ours, IMAGE_BYTES);
        let before = board.slots.each_ref().map(SlotDevice::bytes);
        let mut refused = 0;
        let good = board.gets("1.1", Usual);
        let cut = good.cut_at(&board, "1.2", 700);
        let junk = good.cut_at(&board, "1.3", 1);
        let (foreign, other) = (board.gets("1.4", Foreign), board.gets("1.5", OtherBoard));
        let parts = board.gets("1.6", OtherParts);
        let mut all = vec![
            (cut, ["Signature size", "archive.swu"]),
            (junk, ["Signature size", "archive.swu"]),
            (foreign, ["signature verification failed", "Authentication of all signatures failed"]),
            (other, ["Compatible mismatch", "not compatible with hardware"]),
            (parts, ["a bundle has to hold 1 image", "Found nothing to install"]),
        ];
        match by {
            By::Rauc => all.push((board.gets("1.7", Packed), ["image.tar is unpacked", ""])),
            By::SwUpdate => all.push((board.gets("1.7", Odd), ["", "which runs"])),
        }
        for (firmware, says) in all {
            let says = if by == By::Rauc { says[0] } else { says[1] };
            let says = if says == "archive.swu" { "was not written" } else { says };
            is_refused(&mut board, &firmware, Permanent, says);
            refused += 1;
        }
        // The bytes of one release as another, and one byte more or less.
        let next = board.gets("1.8", Usual);
        for length in [next.release.length - 1, next.release.length, next.release.length + 1] {
            let mut release = good.release.clone();
            release.length = length;
            let error = board.stages_as(&release, &next).unwrap_err();
            assert!(matches!(error, SlotError::OtherBytes { .. }), "{error:?}");
            refused += 1;
        }
        // No file, no name that the tool could open.
        let bytes = fs::read(&next.artifact).unwrap();
        let error =
            backstay_slots::Slots::stage(&mut board.open().unwrap().0, &next.release, &mut &bytes[..]);
        assert!(matches!(error, Err(SlotError::Writer { transience: Permanent, .. })), "{error:?}");
        // Only RAUC finds out about another board by itself, when it is told to install.
        assert!(board.slots.each_ref().map(SlotDevice::bytes) == before, "a slot was touched");
        tells(&format!("{by:?}: {} refused, no slot touched", refused + 1));
        board.stages(&next).unwrap();
        assert_eq!(board.boots(), "1.0");
    }
}

#[test]
fn a_compressed_image_is_held_against_what_its_archive_states() {
    if !can_be_had() {
        return;
    }
    let mut board = Board::made(By::SwUpdate, Switching::Ours, IMAGE_BYTES);
    let new = board.gets("1.1", Kind::Packed);
    board.stages(&new).unwrap();
    board.tries(&new).unwrap();
    assert_eq!(board.boots(), "1.1");
    board.confirms(&new).unwrap();
}

#[test]
fn a_slot_that_is_too_small_is_not_touched() {
    if !can_be_had() {
        return;
    }
    for by in [By::Rauc, By::SwUpdate] {
        let mut board = Board::made(by, Switching::Ours, IMAGE_BYTES);
        let large = Firmware::of_length(&board, "1.1", Kind::Usual, 2 * IMAGE_BYTES + (1 << 20));
        let before = board.slots[1].bytes();
        let error = is_refused(&mut board, &large, Transience::Transient, "no room for the release");
        let SlotError::Disk { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(board.slots[1].bytes() == before);
    }
}

#[test]
fn a_rauc_that_is_absent_busy_or_hangs_is_asked_again_later() {
    if !can_be_had() {
        return;
    }
    let mut board = Board::made(By::Rauc, Switching::Ours, IMAGE_BYTES);
    let new = board.gets("1.1", Kind::Usual);
    board.service = None;
    is_refused(&mut board, &new, Transience::Transient, "rauc status ended with exit code 1");
    board.starts_rauc();
    // RAUC takes no bundle that somebody could still write to.
    let writer = File::options().append(true).open(&new.artifact).unwrap();
    is_refused(&mut board, &new, Transience::Transient, "existing open file descriptor");
    drop(writer);
    // Somebody installs by hand, and RAUC is in the middle of it.
    let theirs = board.gets("1.2", Kind::Odd);
    let mut by_hand = Command::new(board.program("rauc"));
    by_hand.arg("install").arg(&theirs.artifact).stdout(Stdio::null()).stderr(Stdio::null());
    let mut by_hand = by_hand.spawn().unwrap();
    let service = board.service.as_ref().unwrap().id();
    until("RAUC to run the bundle's hook", || child_named(service, "hook.sh", "slot-pre-install"));
    is_refused(&mut board, &new, Transience::Transient, "already processing");
    fs::write(board.pipe("1.2"), "go on\n").unwrap();
    assert!(by_hand.wait().unwrap().success());
    // A bundle that makes RAUC wait for ever is given up with the time; RAUC itself works on.
    let slow = board.gets("1.3", Kind::Odd);
    board.limit = Duration::from_secs(2);
    let error = board.stages(&slow).unwrap_err();
    assert!(format!("{:?}", error.outcome()).contains("did not end within 2 s"), "{error:?}");
    assert_eq!(error.transience(), Transience::Transient);
    board.limit = Duration::from_secs(60);
    is_refused(&mut board, &new, Transience::Transient, "already processing");
    fs::write(board.pipe("1.3"), "go on\n").unwrap();
    board.stages_in_the_end(&new);
    assert_eq!(board.holds(Slot::B).as_deref(), Some("1.1"));
    board.tries(&new).unwrap();
    assert_eq!(board.boots(), "1.1");
}

/// RAUC 1.8 says `ok` of what a slot held before it was half written over, and with `install-same=false` believes itself.
#[test]
fn an_installation_that_rauc_skips_is_found_out() {
    if !can_be_had() {
        return;
    }
    let mut board = Board::made(By::Rauc, Switching::Ours, IMAGE_BYTES);
    board.service = None;
    board.configures_rauc("noop", "activate-installed=false\n", "install-same=false\n");
    board.starts_rauc();
    let (first, second) = (board.gets("1.1", Kind::Usual), board.gets("1.2", Kind::Usual));
    board.stages(&first).unwrap();
    // Cut in the middle of 1.2: RAUC's own words stay those of 1.1.
    let half = &second.image[..second.image.len() / 2];
    board.slots[1].is_given(half);
    assert_eq!(board.holds(Slot::B), None);
    let status =
        run(Command::new(board.program("rauc")).args(["status", "--detailed", "--output-format=shell"]));
    assert!(status.contains("RAUC_SLOT_STATUS_STATUS_1='ok'"), "{status}");
    let error = is_refused(&mut board, &first, Transience::Transient, "RAUC says that it installed");
    assert!(error.help().unwrap().contains("install-same"));
    // Any other release, and it is well again.
    board.stages(&second).unwrap();
    board.tries(&second).unwrap();
    assert_eq!(board.boots(), "1.2");
}

#[test]
fn full_disks_are_told_and_cost_nothing() {
    if !can_be_had() {
        return;
    }
    // RAUC can't write its status.
    let mut board = Board::made(By::Rauc, Switching::Ours, IMAGE_BYTES);
    let disk = board.full_disk("full");
    board.service = None;
    board.configures_rauc(
        "noop",
        &format!("activate-installed=false\nstatusfile={}/status\n", disk.display()),
        "",
    );
    board.starts_rauc();
    let new = board.gets("1.1", Kind::Usual);
    let outcome = board.stages(&new);
    tells(&format!(
        "RAUC with a full disk for its status: {:?}",
        outcome.as_ref().map_err(SlotError::outcome)
    ));
    match outcome {
        Ok(()) => assert_eq!(board.holds(Slot::B).as_deref(), Some("1.1")),
        Err(error) => {
            assert_eq!(error.transience(), Transience::Transient, "{error:?}");
            assert_eq!(board.status().other, None);
            fs::remove_file(board.seen_from_outside(&disk).join("filler")).unwrap();
            board.stages(&new).unwrap();
        }
    }
    drop(board);
    // Our own ledger can't be written: nothing is begun.
    for by in [By::Rauc, By::SwUpdate] {
        let mut board = Board::made(by, Switching::Ours, IMAGE_BYTES);
        let new = board.gets("1.1", Kind::Usual);
        let disk = board.full_disk("small");
        let shown = board.seen_from_outside(&disk);
        let (from, to) = (board.ledger.clone(), shown.join("ledger"));
        fs::remove_file(shown.join("filler")).unwrap();
        fs::create_dir(&to).unwrap();
        for copy in ["ledger-0", "ledger-1"] {
            fs::copy(from.join(copy), to.join(copy)).unwrap();
        }
        board.ledger = to;
        board.fills("small");
        let before = board.slots[1].bytes();
        let error = board.stages(&new).unwrap_err();
        assert!(matches!(error, SlotError::Disk { .. }), "{error:?}");
        assert_eq!(error.transience(), Transience::Transient);
        assert!(board.slots[1].bytes() == before);
        assert_eq!(board.boots(), "1.0");
        fs::remove_file(shown.join("filler")).unwrap();
        board.stages(&new).unwrap();
        board.tries(&new).unwrap();
        assert_eq!(board.boots(), "1.1");
    }
}

#[test]
fn of_two_at_once_one_waits() {
    if !can_be_had() {
        return;
    }
    for by in [By::Rauc, By::SwUpdate] {
        let mut board = Board::made(by, Switching::Ours, IMAGE_BYTES);
        let new = board.gets("1.1", Kind::Usual);
        let first = board.open().unwrap();
        let error = board.stages(&new).unwrap_err();
        assert!(matches!(error, SlotError::Busy { .. }), "{error:?}");
        drop(first);
        // Somebody holds the device itself, as one does who outlived us.
        let device = File::open(board.slots[1].path()).unwrap();
        device.lock().unwrap();
        let error = is_refused(&mut board, &new, Transience::Transient, "another process works");
        assert!(matches!(error, SlotError::Busy { .. }), "{error:?}");
        drop(device);
        board.stages(&new).unwrap();
    }
}
