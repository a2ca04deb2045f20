//! The boot environment held against the tools of the board: `fw_setenv`, `fw_printenv` and `mkenvimage`, in both
//! directions. Where they are not installed that is said, and nothing is tried.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use backstay_boot::{
    LOCK, Standing, Switch as _, SwitchError, UBoot, device,
    environment::{Environment, EnvironmentError, Place},
};
use backstay_slots::{Slot, Tries};

const SIZE: usize = 0x200;
const ROUNDS: usize = 20;
const THREE: Tries = Tries::new(3).unwrap();

struct Board {
    dir: tempfile::TempDir,
}

impl Board {
    /// A board as `mkenvimage` makes it; `None` where the tools can't be had.
    fn new() -> Option<Self> {
        for tool in ["fw_setenv", "fw_printenv", "mkenvimage"] {
            if Command::new(tool).arg("-h").output().is_err() {
                println!(
                    "skipped, because {tool} is not installed (packages libubootenv-tool and u-boot-tools)"
                );
                return None;
            }
        }
        let board = Self { dir: tempfile::tempdir().unwrap() };
        let text = board.path("variables");
        fs::write(&text, "BOOT_ORDER=A B\nBOOT_A_LEFT=3\nBOOT_B_LEFT=3\nethaddr=02:00:00:00:00:01\n")
            .unwrap();
        let made = Command::new("mkenvimage")
            .args(["-r", "-s", &SIZE.to_string(), "-o"])
            .args([board.path("flash-0"), text])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        // The second copy lies somewhere in a larger file.
        let copy = fs::read(board.path("flash-0")).unwrap();
        fs::write(board.path("flash-1"), [&[0xa5; 0x300][..], &copy, &[0xa5; 0x100]].concat()).unwrap();
        // The size without a prefix: it is hexadecimal all the same.
        let (first, second) = (board.path("flash-0"), board.path("flash-1"));
        let config = format!("# two\n{} 0 200\n{} 0x300 0x200\n", first.display(), second.display());
        fs::write(board.path("fw_env.config"), config).unwrap();
        Some(board)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tool(&self, tool: &str, args: &[&str]) -> Output {
        Command::new(tool).arg("-c").arg(self.path("fw_env.config")).args(args).output().unwrap()
    }

    fn sets(&self, lines: &str) {
        fs::write(self.path("script"), lines).unwrap();
        let output = self.tool("fw_setenv", &["-s", self.path("script").to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
    }

    /// What `fw_printenv` prints, in order of names.
    fn prints(&self) -> Vec<String> {
        let output = self.tool("fw_printenv", &[]);
        assert!(output.status.success(), "{output:?}");
        let mut lines: Vec<_> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn environment(&self) -> Environment<fs::File> {
        let place = |(name, at)| {
            let path = self.path(name);
            Place { device: device::open(&path).unwrap(), path, at }
        };
        Environment::new([("flash-0", 0), ("flash-1", 0x300)].map(place), SIZE, Some(LOCK.into())).unwrap()
    }

    /// What we read, as `fw_printenv` would print it.
    fn reads(&self) -> Vec<String> {
        let line = |(name, value)| [name, value].map(|part| String::from_utf8(part).unwrap()).join("=");
        self.environment().read().unwrap().into_iter().map(line).collect()
    }

    fn uboot(&self) -> UBoot {
        UBoot::open(&self.path("fw_env.config")).unwrap()
    }

    fn flash(&self) -> [Vec<u8>; 2] {
        ["flash-0", "flash-1"].map(|name| fs::read(self.path(name)).unwrap())
    }

    fn puts(&self, flash: &[Vec<u8>; 2]) {
        for (name, bytes) in ["flash-0", "flash-1"].iter().zip(flash) {
            fs::write(self.path(name), bytes).unwrap();
        }
    }

    /// Both images of a flash that a cut can leave after `from` became `to`.
    fn torn(from: &[Vec<u8>; 2], to: &[Vec<u8>; 2], bytes: usize) -> [Vec<u8>; 2] {
        let mut torn = from.clone();
        for (copy, begin) in [(0, 0), (1, 0x300)] {
            torn[copy][begin..begin + bytes].copy_from_slice(&to[copy][begin..begin + bytes]);
        }
        torn
    }
}

/// Flags and variables of both copies. What pads them is whatever a tool likes, and with it the checksum.
fn written(flash: &[Vec<u8>; 2]) -> [Vec<u8>; 2] {
    let copies = [&flash[0][..], &flash[1][0x300..0x300 + SIZE]];
    copies.map(|copy| {
        let end = copy.windows(2).position(|pair| pair == b"\0\0").unwrap();
        copy[4..end].to_vec()
    })
}

#[test]
fn each_reads_what_the_other_wrote_and_both_write_the_same() {
    let Some(board) = Board::new() else { return };
    assert_eq!(board.reads(), board.prints(), "as mkenvimage made it");
    // The flags are not in the checksum: nearly round, so that it is seen how everybody goes on.
    let mut flash = board.flash();
    flash[0][4] = 249;
    flash[1][0x304] = 250;
    board.puts(&flash);
    for round in 0..ROUNDS {
        let (order, left) = (["A B", "B A", "A"][round % 3], (round % 4).to_string());
        let before = board.flash();
        board.sets(&format!("BOOT_ORDER={order}\nBOOT_B_LEFT={left}\nround={round}\n"));
        let theirs = board.flash();
        assert_eq!(board.reads(), board.prints(), "round {round}, theirs");
        board.puts(&before);
        board
            .environment()
            .change(&[("BOOT_ORDER", order), ("BOOT_B_LEFT", &left), ("round", &round.to_string())])
            .unwrap();
        assert_eq!(written(&board.flash()), written(&theirs), "round {round}");
        assert_eq!(board.reads(), board.prints(), "round {round}, ours");
    }
    assert!(board.reads().contains(&"ethaddr=02:00:00:00:00:01".to_owned()));
    board.environment().change(&[("round", "")]).unwrap();
    assert!(!board.prints().iter().any(|line| line.starts_with("round")));
    println!("{ROUNDS} changes through the wrap of the counter: the same from fw_setenv and from us");
}

#[test]
fn each_write_cut_at_every_byte_is_old_or_new_to_both() {
    let Some(board) = Board::new() else { return };
    board.sets("BOOT_ORDER=B A\nBOOT_B_LEFT=2\n");
    let old_flash = board.flash();
    let old = board.prints();
    for by_us in [true, false] {
        board.puts(&old_flash);
        if by_us {
            board.environment().change(&[("BOOT_ORDER", "A B"), ("BOOT_B_LEFT", "0")]).unwrap();
        } else {
            board.sets("BOOT_ORDER=A B\nBOOT_B_LEFT=0\n");
        }
        let (new_flash, new) = (board.flash(), board.prints());
        let mut ends = [0, 0];
        for bytes in 0..=SIZE {
            board.puts(&Board::torn(&old_flash, &new_flash, bytes));
            let read = board.reads();
            assert_eq!(read, board.prints(), "cut at {bytes}");
            assert!(read == old || read == new, "cut at {bytes}: {read:?}");
            ends[usize::from(read == new)] += 1;
        }
        println!("cut at each of {} places: {} old, {} new", SIZE + 1, ends[0], ends[1]);
        assert!(ends[0] > 0 && ends[1] > 0);
    }
}

#[test]
fn two_bad_copies_are_refused_by_both_and_written_anew_by_us() {
    let Some(board) = Board::new() else { return };
    let mut flash = board.flash();
    flash[0][20] ^= 1;
    flash[1][0x300 + 20] ^= 1;
    board.puts(&flash);
    let refused = board.tool("fw_printenv", &[]);
    assert_eq!(refused.status.code(), Some(243), "{refused:?}");
    assert!(matches!(board.environment().read(), Err(EnvironmentError::BothBad { .. })));
    let mut uboot = board.uboot();
    assert!(matches!(uboot.primary(), Err(SwitchError::Lost { .. })));
    uboot.renew(Slot::B, Standing::Barred, THREE).unwrap();
    assert_eq!(board.prints(), ["BOOT_A_LEFT=0", "BOOT_B_LEFT=3", "BOOT_ORDER=B"]);
    assert_eq!(board.flash()[1][..0x300], [0xa5; 0x300], "nothing beside the copy was touched");
}

#[test]
fn marks_are_seen_by_the_tools_of_the_board() {
    let Some(board) = Board::new() else { return };
    let mut uboot = board.uboot();
    let said = || board.prints()[..3].join(" ");
    uboot.bad(Slot::B).unwrap();
    assert_eq!(said(), "BOOT_A_LEFT=3 BOOT_B_LEFT=0 BOOT_ORDER=A");
    uboot.activate(Slot::B, THREE).unwrap();
    assert_eq!(said(), "BOOT_A_LEFT=3 BOOT_B_LEFT=3 BOOT_ORDER=B A");
    // The boot script counts; we see it.
    board.sets("BOOT_B_LEFT=0\n");
    assert_eq!(uboot.left(Slot::B).unwrap(), Standing::Tries(0));
    assert_eq!(uboot.primary().unwrap(), Some(Slot::A));
    let missing = UBoot::open_with(&board.path("nowhere"), Path::new(LOCK)).unwrap_err();
    assert!(missing.help().is_some() && std::error::Error::source(&missing).is_some());
}
