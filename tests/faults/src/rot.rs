//! Harm to the files of a memory. Not here: what has to hold afterwards (`memory`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_journal::testing::Random;

/// Which part was harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// A segment file of the journal.
    Segment,
    /// The two anchor slots.
    Anchor,
    /// One of sled's files.
    View,
    /// A link to a keyring, or a revocation.
    Trust,
    /// The device's key, or its enrolment.
    Papers,
    /// A bundle of plugins.
    Bundle,
    /// What is in a slot: the release, or what says which.
    Slot,
    /// A copy of the words that decide which slot boots.
    Ledger,
    /// That there has been a journal.
    Begun,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// One bit.
    Flip,
    /// 2 to 64 bits.
    Flips,
    /// The end is gone, up to all of it.
    Cut,
    /// A sector of noise.
    Noise,
    /// The file is gone.
    Gone,
}

/// What was done to one file.
#[derive(Clone, Debug)]
pub(crate) struct Harm {
    pub(crate) part: Part,
    pub(crate) kind: Kind,
    /// The file, below the device's folder.
    pub(crate) file: PathBuf,
    /// For people: file and place.
    pub(crate) told: String,
}

/// Harms one file in `dir`.
pub(crate) fn harm(dir: &Path, random: &mut Random) -> Harm {
    let (part, folder) = match random.below(20) {
        0..9 => (Part::Segment, "journal"),
        9..13 => (Part::Anchor, "journal"),
        _ => (Part::View, "view/sled"),
    };
    let files = files(&dir.join(folder), part);
    // The newest segment and sled's one large file hold most of what counts.
    let path = match random.below(2) {
        0 => files.last().unwrap().clone(),
        _ => files[random.below(files.len())].clone(),
    };
    spoil(part, dir, &path, random)
}

/// Harms one file of all that a device has, or takes it away.
pub(crate) fn harm_any(dir: &Path, random: &mut Random) -> Harm {
    let all = [
        (Part::Segment, "journal"),
        (Part::Anchor, "journal"),
        (Part::View, "view/sled"),
        (Part::Trust, "trust"),
        (Part::Papers, ""),
        (Part::Bundle, "plugins"),
        (Part::Slot, "slots/a"),
        (Part::Slot, "slots/b"),
        (Part::Ledger, "slots"),
        (Part::Begun, ""),
    ];
    let there: Vec<_> = all.iter().filter(|(part, folder)| has(&dir.join(folder), *part)).collect();
    let (part, folder) = *there[random.below(there.len())];
    let files = files(&dir.join(folder), part);
    let path = files[random.below(files.len())].clone();
    if random.below(8) > 0 {
        return spoil(part, dir, &path, random);
    }
    fs::remove_file(&path).unwrap();
    let file = path.strip_prefix(dir).unwrap().to_owned();
    Harm { part, kind: Kind::Gone, told: format!("{} is gone", file.display()), file }
}

/// Harms a file.
fn spoil(part: Part, dir: &Path, path: &Path, random: &mut Random) -> Harm {
    let mut bytes = fs::read(path).unwrap();
    // A file is longer than what is in it; harm is aimed at what says something, cuts at any byte.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1).min(bytes.len().max(1));
    let (kind, place) = match random.below(12) {
        _ if bytes.is_empty() => (Kind::Cut, "an empty file".to_owned()),
        0..5 => {
            let bit = random.below(used * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            (Kind::Flip, format!("bit {bit}"))
        }
        5..8 => {
            let count = 2 + random.below(63);
            for _ in 0..count {
                let bit = random.below(used * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            (Kind::Flips, format!("{count} bits"))
        }
        8..11 => {
            let most = if random.below(2) == 0 { used } else { bytes.len() };
            let length = random.below(most);
            bytes.truncate(length);
            (Kind::Cut, format!("to {length} bytes"))
        }
        _ => {
            let at = random.below(used) / 512 * 512;
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill_with(|| random.next_u64() as u8);
            (Kind::Noise, format!("at byte {at}"))
        }
    };
    fs::write(path, bytes).unwrap();
    let file = path.strip_prefix(dir).unwrap().to_owned();
    Harm { part, kind, told: format!("{kind:?} in {part:?} file {}, {place}", file.display()), file }
}

fn has(folder: &Path, part: Part) -> bool {
    folder.is_dir() && !files_of(folder, part).is_empty()
}

fn files(folder: &Path, part: Part) -> Vec<PathBuf> {
    let files = files_of(folder, part);
    assert!(!files.is_empty(), "no file of {part:?} in {}", folder.display());
    files
}

fn files_of(folder: &Path, part: Part) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file() && !path.is_symlink())
        .collect();
    files.retain(|path| match part {
        Part::Segment => path.extension().is_some_and(|extension| extension == "seg"),
        Part::Anchor => path.file_name().is_some_and(|name| name == "anchor"),
        Part::Begun => path.ends_with("begun"),
        Part::Papers => {
            path.extension().is_some_and(|extension| extension == "pem") || path.ends_with("enrolment")
        }
        Part::Ledger => {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("environment"))
        }
        Part::View | Part::Trust | Part::Bundle | Part::Slot => true,
    });
    files.sort();
    files.sort_by_key(|path| path.file_name().is_some_and(|name| name == "db"));
    files
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
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
