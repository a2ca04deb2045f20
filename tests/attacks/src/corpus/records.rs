//! The records of a device: as evidence that somebody hands in, and as a journal on a disk that somebody had access to.

use std::{fs, path::Path};

use backstay_evidence::{Chain, Record};
use backstay_journal::{Folder, Journal as Opened, Ledger, Options};
use serde::Deserialize;

use super::{Damage, Verdict};

/// Four records of `pump-7`, checked as evidence.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Evidence {
    /// What was done to the second or third of them.
    done: Option<String>,
    /// What was done to their bytes.
    damage: Vec<Damage>,
}

fn story(instance: &str) -> Vec<Record> {
    let chain = Chain::new(instance);
    let mut head = chain.genesis();
    let record = |body: &str| {
        let record = Record { seq: head.seq + 1, epoch: 1, prev: head.hash, body: body.as_bytes().to_vec() };
        head = chain.head_of(&record.frame());
        record
    };
    ["installed 1.5.0", "the trial failed", "condemned 1.5.0", "came home to 1.4.0"].map(record).to_vec()
}

impl Evidence {
    pub(super) fn tried(&self) -> Verdict {
        let mut records = story("pump-7");
        match self.done.as_deref() {
            None => {}
            Some("rewritten") => records[1].body = b"the trial passed".to_vec(),
            Some("left-out") => drop(records.remove(1)),
            Some("repeated") => records.insert(1, records[0].clone()),
            Some("swapped") => records.swap(1, 2),
            Some("forked") => records[2].seq = 2,
            Some("backdated") => records[3].seq = 1,
            Some("older-epoch") => records[3].epoch = 0,
            Some("another-device's") => records = story("pump-8"),
            Some(done) => panic!("there is no {done}"),
        }
        let mut bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        Damage::all(&self.damage, &mut bytes);
        let chain = Chain::new("pump-7");
        match chain.verify_bytes(&bytes, chain.genesis()) {
            Ok(head) => Verdict::Accepted(format!("{head:?}")),
            // What to do about evidence that doesn't hold is for whoever asked for it.
            Err(error) => Verdict::word(crate::chain(&error)),
        }
    }
}

/// The journal of `pump-7` with four records and an anchor, opened again after somebody was at it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Journal {
    /// What was done to the folder: `an-older-copy`, `another-device's`, `no-segment`, `no-anchor`.
    done: Option<String>,
    /// What is done to its segment.
    segment: Vec<Damage>,
    /// What is done to its anchors: two of 4096 bytes.
    anchor: Vec<Damage>,
    /// Somebody else has it open.
    busy: bool,
}

impl Journal {
    pub(super) fn tried(&self) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        write(&path, "pump-7", 0..2);
        let older = dir.path().join("older");
        copy(&path, &older);
        write(&path, "pump-7", 2..4);
        match self.done.as_deref() {
            None => {}
            Some("an-older-copy") => {
                // All but the anchors: these the device wrote elsewhere, or nobody thought of them.
                let anchor = fs::read(path.join("anchor")).unwrap();
                fs::remove_dir_all(&path).unwrap();
                copy(&older, &path);
                fs::write(path.join("anchor"), anchor).unwrap();
            }
            Some("another-device's") => {
                fs::remove_dir_all(&path).unwrap();
                write(&path, "pump-8", 0..4);
            }
            Some("no-segment") => fs::remove_file(segment(&path).unwrap()).unwrap(),
            Some("no-anchor") => {
                let anchor = path.join("anchor");
                fs::write(&anchor, vec![0; fs::read(&anchor).unwrap().len()]).unwrap();
            }
            Some(done) => panic!("there is no {done}"),
        }
        for (file, damage) in [(segment(&path), &self.segment), (Some(path.join("anchor")), &self.anchor)] {
            if let (Some(file), false) = (file, damage.is_empty()) {
                let mut bytes = fs::read(&file).unwrap();
                Damage::all(damage, &mut bytes);
                fs::write(file, bytes).unwrap();
            }
        }
        let _holder = self.busy.then(|| Folder::take(&path).unwrap());
        let disk = match Folder::take(&path) {
            Ok(disk) => disk,
            Err(error) => return Verdict::of(&error, error.help()),
        };
        let opened = Opened::open(disk, options("pump-7"), |finding, _| finding.to_string().into_bytes());
        match opened {
            Err(error) => Verdict::of(&error, error.help()),
            Ok((_, opened)) if opened.findings.is_empty() => Verdict::Accepted("it is as it was left".into()),
            Ok((journal, opened)) => {
                // It is told, and the device goes on: a journal that was damaged can be written all the same.
                assert!(journal.head().epoch >= 1);
                let told: Vec<_> = opened.findings.iter().map(ToString::to_string).collect();
                let help = opened.findings.iter().find_map(|finding| finding.help());
                Verdict::Refused { told: told.join("; "), help: Some(help.unwrap_or_default().into()) }
            }
        }
    }
}

fn options(instance: &str) -> Options {
    Options { segment_bytes: 8192, bytes_max: 1 << 20, ballast_bytes: 0, ..Options::new(instance) }
}

fn write(path: &Path, instance: &str, which: std::ops::Range<usize>) {
    let disk = Folder::take(path).unwrap();
    let (mut journal, _) = Opened::open(disk, options(instance), |_, _| Vec::new()).unwrap();
    for record in &story(instance)[which] {
        journal.append(&record.body).unwrap();
        journal.commit().unwrap();
    }
    journal.write_anchor(b"confirmed: 1.4.0").unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The file with the records.
fn segment(path: &Path) -> Option<std::path::PathBuf> {
    let mut files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    files.find(|file| file.extension().is_some_and(|extension| extension == "seg"))
}
