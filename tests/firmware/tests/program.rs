//! The whole way through `backstay-slots`, as it ships: by hand and as the agent asks it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{fs::File, time::Duration};

use backstay_slots::{
    BootWord, Slots as _,
    program::{Program, Timeouts},
};
use backstay_test_firmware::{Board, By, Kind, Switching, can_be_had, slots_program, ways};

const IMAGE_BYTES: usize = 1_000_003;
fn program(board: &Board) -> Program {
    let config = board.path("slots.toml").display().to_string();
    let argv = vec![slots_program().display().to_string(), "--config".into(), config];
    let limit = Duration::from_secs(60);
    Program::new(argv, Timeouts { answer: limit, stage: limit })
}

/// The client that the agent has, the program, the ledger, the tool, the slot, the environment: nothing is played.
#[test]
fn an_update_goes_out_and_comes_home_through_the_program() {
    if !can_be_had() {
        return;
    }
    for &(by, switching) in ways() {
        let mut board = Board::made(by, switching, IMAGE_BYTES);
        board.has_slots_toml();
        let (old, new) = (board.known[0].clone(), board.gets("1.1", Kind::Usual));
        let bad = board.gets("1.2", Kind::Usual);
        let mut slots = program(&board);
        slots.check().unwrap();
        slots.provision(&old.release).unwrap();
        assert_eq!(slots.status().unwrap().booted, old.release);
        slots.stage(&new.release, &mut File::open(&new.artifact).unwrap()).unwrap();
        assert_eq!(slots.status().unwrap().other, Some(new.release.clone()));
        slots.try_next(&new.release).unwrap();
        assert_eq!(board.boots(), "1.1", "{by:?}, {switching:?}");
        board.has_slots_toml();
        let status = slots.status().unwrap();
        assert_eq!((&status.booted, &status.confirmed), (&new.release, &old.release));
        assert!(matches!(slots.booted(), BootWord::Trial { .. }));
        slots.note_boot().unwrap();
        slots.confirm(&new.release).unwrap();
        // One that never comes up, into the other slot.
        board.panics.push("1.2".into());
        slots.stage(&bad.release, &mut File::open(&bad.artifact).unwrap()).unwrap();
        slots.try_next(&bad.release).unwrap();
        assert_eq!(board.boots(), "1.1");
        board.has_slots_toml();
        assert_eq!(slots.status().unwrap().confirmed, new.release);
        assert_eq!(slots.booted(), BootWord::FellBack { from: Some(bad.release.clone()) });
        slots.stage(&old.release, &mut File::open(&old.artifact).unwrap()).unwrap();
        slots.go_home(&old.release).unwrap();
        assert_eq!(board.boots(), "1.0");
        board.has_slots_toml();
        assert_eq!(slots.status().unwrap().confirmed, old.release);
        // What was left is the last resort to us. RAUC has no word for that but bad.
        slots.condemn(&new.release).unwrap();
        let words = board.environment();
        match switching {
            Switching::Ours => {
                assert!(words.starts_with("A B | ") && words.ends_with(" | 0"), "{by:?}: {words}");
                board.panics.push("1.0".into());
                assert_eq!(board.boots(), "1.1", "home doesn't come up any more");
                board.has_slots_toml();
                assert_eq!(slots.status().unwrap().confirmed, new.release);
                assert_eq!(slots.booted(), BootWord::Rescued);
            }
            Switching::Rauc => assert!(words.starts_with("A | "), "{by:?}: {words}"),
        }
    }
}

/// Exit codes and words, as a person sees them.
#[test]
fn refusals_are_told_by_exit_codes_and_words() {
    if !can_be_had() {
        return;
    }
    for by in [By::Rauc, By::SwUpdate] {
        let mut board = Board::made(by, Switching::Ours, IMAGE_BYTES);
        board.has_slots_toml();
        let foreign = board.gets("1.1", Kind::Foreign);
        let (code, said) = board.ask(board.slots_stage(&foreign));
        assert_eq!(code, Some(69), "{said}");
        let word = if by == By::Rauc {
            "signature verification failed"
        } else {
            "Authentication of all signatures failed"
        };
        assert!(said.contains(word), "{said}");
        println!("{said}");
        if by == By::Rauc {
            board.service = None;
            let good = board.gets("1.2", Kind::Usual);
            let (code, said) = board.ask(board.slots_stage(&good));
            assert_eq!(code, Some(75), "{said}");
            println!("{said}");
            board.starts_rauc();
            assert_eq!(board.ask(board.slots_stage(&good)).0, Some(0));
        }
    }
}
