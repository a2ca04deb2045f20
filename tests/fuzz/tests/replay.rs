//! All that is kept in `corpus/` is run once more, without an engine: what fuzzing found stays found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use backstay_test_fuzz::{Came, TARGETS, Target};

/// The most bytes of all that is kept.
const KEPT_BYTES_MAX: u64 = 200 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The files that are kept of a target, by name.
fn kept(target: &Target) -> Vec<PathBuf> {
    let folder = corpus().join(target.name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn replay(target: &Target, input: &[u8], from: &str) -> Came {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).unwrap_or_else(|_| {
        panic!("target {}, input {from}: what doesn't hold is above", target.name);
    })
}

#[test]
fn what_is_kept_holds() {
    let (mut inputs, mut taken) = (0, 0);
    for target in TARGETS {
        for file in kept(target) {
            let input = fs::read(&file).unwrap();
            let came = replay(target, &input, &file.display().to_string());
            (inputs, taken) = (inputs + 1, taken + usize::from(came == Came::Taken));
        }
    }
    println!("summary: {inputs} kept inputs of {} targets hold, {taken} of them are taken", TARGETS.len());
}

/// A target that refuses everything at the door would hold, too.
#[test]
fn what_an_engine_begins_with_is_taken() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        let taken = seeds.iter().enumerate().filter(|(at, seed)| {
            assert!(seed.len() <= target.bytes_max, "{}: seed {at} has {} bytes", target.name, seed.len());
            replay(target, seed, &format!("seed {at}")) == Came::Taken
        });
        let (taken, all) = (taken.count(), seeds.len());
        assert!(taken * 2 >= all, "{}: {taken} of {all} seeds are taken", target.name);
    }
}

/// Anything at all: the first bytes of what is valid, and noise behind each way of meaning it.
#[test]
fn no_input_is_too_short_or_too_odd() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            for end in [0, 1, 2, 3, seed.len() / 2, seed.len().saturating_sub(1)] {
                replay(target, &seed[..end.min(seed.len())], "a beginning of a seed");
            }
        }
        for way in 0..8_u8 {
            let noise: Vec<u8> =
                (0..64_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ way).collect();
            replay(target, &[&[way], noise.as_slice()].concat(), "noise");
        }
    }
}

#[test]
fn what_is_kept_is_small_and_belongs_to_a_target() {
    let mut bytes = 0;
    for entry in fs::read_dir(corpus()).unwrap() {
        let folder = entry.unwrap();
        let name = folder.file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "there is no target {name}");
        for file in fs::read_dir(folder.path()).unwrap() {
            bytes += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!(bytes <= KEPT_BYTES_MAX, "{bytes} bytes are kept: `cargo xtask fuzz --keep` keeps less of them");
}
