//! Flips, cuts, holes and missing files in sled's directory: opening never panics, and what it gives is exact.
//!
//! The oracle is a journal of changes. Whatever was done to the directory, the view must hold exactly what the
//! changes up to `applied` made, and after the rest of the journal was replayed it must equal the true state.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{collections::BTreeMap, fs, path::Path, sync::Once};

use backstay_store::{Backing, Change, Damage, Opened, Options, Tree, View};

/// Trials in a test run; `BACKSTAY_STORE_TRIALS` asks for more.
const TRIALS: u64 = 2_000;
const EPOCH: u32 = 1;

type State = BTreeMap<(Tree, Vec<u8>), Vec<u8>>;

/// A generator of numbers that are the same everywhere (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.roll(256).to_le_bytes()[0]).collect()
    }
}

/// What the journal holds, from record 1 on: an oracle for every state there ever was.
struct Journal(Vec<Vec<Change>>);

impl Journal {
    fn rolled(dice: &mut Dice, records: u64) -> Self {
        let change = |dice: &mut Dice| {
            let tree = Tree::ALL[usize::try_from(dice.roll(4)).unwrap()];
            let key = format!("key-{:03}", dice.roll(150));
            match dice.roll(8) {
                0 => Change::remove(tree, key),
                1 => {
                    let length = dice.roll(9_000);
                    Change::put(tree, key, dice.bytes(length))
                }
                2..8 => {
                    let length = dice.roll(300);
                    Change::put(tree, key, dice.bytes(length))
                }
                8.. => unreachable!("rolled below 8"),
            }
        };
        let record = |dice: &mut Dice| (0..1 + dice.roll(12)).map(|_| change(dice)).collect();
        Self((0..records).map(|_| record(dice)).collect())
    }

    fn head(&self) -> u64 {
        self.0.len() as u64
    }

    fn after(&self, applied: Option<u64>) -> impl Iterator<Item = (u64, &Vec<Change>)> {
        (1..).zip(&self.0).filter(move |(seq, _)| applied.is_none_or(|applied| *seq > applied))
    }

    fn state(&self, applied: Option<u64>) -> State {
        let mut state = State::new();
        for (_, record) in
            (1..).zip(&self.0).take_while(|(seq, _)| applied.is_some_and(|applied| *seq <= applied))
        {
            for change in record {
                match change.clone() {
                    Change::Put { tree, key, value } => state.insert((tree, key), value),
                    Change::Remove { tree, key } => state.remove(&(tree, key)),
                };
            }
        }
        state
    }

    fn replay(&self, view: &mut View) {
        for (seq, record) in self.after(view.applied()) {
            view.apply(seq, record).unwrap();
        }
    }
}

fn contents(view: &View) -> State {
    let mut state = State::new();
    for tree in Tree::ALL {
        let mut after = None;
        loop {
            let page = view.scan(tree, b"", after.as_deref(), 50).unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            state.extend(page.into_iter().map(|(key, value)| ((tree, key), value)));
        }
    }
    state
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// sled's panics are part of the test; printed two thousand times they would hide what matters.
fn hush_sled() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.location().is_some_and(|place| place.file().contains("sled-0.34")) {
                loud(info);
            }
        }));
    });
}

/// Does one kind of harm to one of the files, or puts an older one in its place.
fn harm(dice: &mut Dice, sled: &Path, older: &Path) -> String {
    let mut files: Vec<_> =
        fs::read_dir(sled).unwrap().map(|file| file.unwrap().path()).filter(|f| f.is_file()).collect();
    files.sort();
    // Most of the harm is for the file that holds the values.
    let file = match dice.roll(4) {
        0 => files[usize::try_from(dice.roll(files.len() as u64)).unwrap()].clone(),
        1.. => sled.join("db"),
    };
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let mut bytes = fs::read(&file).unwrap();
    let length = bytes.len() as u64;
    // sled makes the file longer than what is in it, so harm aims at the part that says something.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last as u64 + 1);
    let at = dice.roll(used.min(length).max(1));
    let index = usize::try_from(at).unwrap();
    let what = match dice.roll(8) {
        0..3 => {
            let bit = dice.roll(8);
            bytes[index] ^= 1 << bit;
            format!("bit {bit} of byte {at}")
        }
        3 => {
            for _ in 0..8 {
                let at = usize::try_from(dice.roll(used)).unwrap();
                bytes[at] ^= 1 << dice.roll(8);
            }
            "8 bits".into()
        }
        4 => {
            bytes.truncate(index);
            format!("cut at {at}")
        }
        5 => {
            let end = bytes.len().min(index + 4096);
            bytes[index..end].fill(0);
            format!("4 KiB of zeroes at {at}")
        }
        6 => {
            let end = bytes.len().min(index + 512);
            let noise = dice.bytes((end - index) as u64);
            bytes[index..end].copy_from_slice(&noise);
            format!("512 bytes of noise at {at}")
        }
        7.. => match fs::read(older.join(&name)) {
            Ok(old) => {
                bytes = old;
                "an older copy".into()
            }
            Err(_) => {
                fs::remove_file(&file).unwrap();
                return format!("{name}: removed");
            }
        },
    };
    fs::write(&file, bytes).unwrap();
    format!("{name}: {what}")
}

/// Two thousand damaged directories. Each one opens, exact or set aside, and a replay brings back the truth.
#[test]
fn after_any_damage_a_replay_brings_back_the_truth() {
    hush_sled();
    let trials = std::env::var("BACKSTAY_STORE_TRIALS").map_or(TRIALS, |trials| trials.parse().unwrap());
    // Nothing here is about power cuts, so the disk may be one that needs no waiting for.
    let base = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut tally = BTreeMap::<&str, u64>::new();
    let mut template = None;
    for trial in 0..trials {
        // A new history now and then, so that the harm meets different shapes of pages and segments.
        if trial % 250 == 0 {
            let mut dice = Dice(trial);
            let journal = Journal::rolled(&mut dice, 120 + trial / 10);
            let made = base.path().join("made");
            let older = base.path().join("older");
            for dir in [&made, &older] {
                drop(fs::remove_dir_all(dir));
            }
            for (to, dir) in [(journal.head() * 2 / 3, &older), (journal.head(), &made)] {
                if *dir == made {
                    copy(&older, &made);
                }
                // Opened twice, so that there is a snapshot as well as a log behind it.
                for part in [to - 20, to] {
                    let Opened { mut view, set_aside, .. } =
                        View::open(dir, Options::new(Some(journal.head()), EPOCH));
                    assert!(set_aside.is_none(), "{set_aside:?}");
                    for (seq, record) in journal.after(view.applied()).take_while(|(seq, _)| *seq <= part) {
                        view.apply(seq, record).unwrap();
                        if seq % 16 == 0 {
                            view.flush().unwrap();
                        }
                    }
                    view.flush().unwrap();
                }
            }
            template = Some((journal, made, older));
        }
        let (journal, made, older) = template.as_ref().unwrap();
        let dir = base.path().join(format!("trial-{trial}"));
        copy(made, &dir);
        let mut dice = Dice(trial ^ 0xDEAD_BEEF);
        let what = harm(&mut dice, &dir.join("sled"), &older.join("sled"));

        let Opened { mut view, applied, set_aside } =
            View::open(&dir, Options::new(Some(journal.head()), EPOCH));
        assert!(matches!(view.backing(), Backing::Disk), "trial {trial}, {what}: {:?}", view.backing());
        assert_eq!(
            contents(&view),
            journal.state(applied),
            "trial {trial}, {what}: not what {applied:?} made"
        );
        let outcome = match (&set_aside, applied) {
            (Some(aside), applied) => {
                assert!(aside.path.join("db").exists(), "trial {trial}, {what}: what was set aside is gone");
                assert_eq!(applied, None, "trial {trial}, {what}");
                match aside.why {
                    Damage::Panicked(_) => "set aside: sled panicked",
                    Damage::Refused(_) => "set aside: sled refused",
                    Damage::Contents => "set aside: not what was applied",
                    Damage::Head | Damage::Value { .. } => "set aside: a bad row",
                    Damage::Died { .. }
                    | Damage::Format { .. }
                    | Damage::Ahead { .. }
                    | Damage::Epoch { .. }
                    | Damage::Unsure
                    | Damage::Meaning(_) => {
                        panic!("trial {trial}, {what}: {}", aside.why)
                    }
                }
            }
            (None, applied) if applied == Some(journal.head()) => "whole",
            (None, Some(_)) => "older",
            (None, None) => "empty",
        };
        *tally.entry(outcome).or_default() += 1;

        journal.replay(&mut view);
        assert_eq!(contents(&view), journal.state(Some(journal.head())), "trial {trial}, {what}: replayed");
        // Every tenth is brought to disk and read again: sled must not trip over what it recovered from.
        if trial % 10 == 0 {
            view.flush().unwrap();
            drop(view);
            let Opened { view, applied, set_aside } =
                View::open(&dir, Options::new(Some(journal.head()), EPOCH));
            assert!(set_aside.is_none(), "trial {trial}, {what}: after the replay, {set_aside:?}");
            assert_eq!(applied, Some(journal.head()), "trial {trial}, {what}");
            assert_eq!(contents(&view), journal.state(applied), "trial {trial}, {what}: read again");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
    println!("{trials} damaged directories: {tally:?}");
    assert!(tally.len() >= 3, "the harm did not reach far enough: {tally:?}");
}
