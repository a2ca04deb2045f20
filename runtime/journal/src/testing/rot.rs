//! Disks rot: bits flip, sectors vanish, files are cut, lost, or put back from an older copy.

use std::collections::BTreeMap;

use super::{memory::Memory, random::Random};
use crate::{
    finding::Finding,
    journal::{Journal, Opened, Options},
    ledger::Ledger,
};

type Contents = BTreeMap<String, Vec<u8>>;

/// How a trial ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The journal and the anchor's words are what they were.
    Harmless,
    /// Something is lost, and a finding says so.
    Reported,
}

/// What was durable when the damage was done.
struct Truth {
    bodies: Vec<Vec<u8>>,
    words: Vec<u8>,
    options: Options,
}

/// One trial: a journal, a damage, a start, and the judgement. The same for the same seed.
///
/// # Errors
/// Says what is wrong: something was lost in silence, or the journal can't be opened, read or continued.
pub fn rot(seed: u64) -> Result<Verdict, String> {
    let mut random = Random::new(seed);
    let (mut contents, mut truth, older) = write(&mut random);
    let damage = harm(&mut contents, &older, &mut random, &mut truth);
    judge(&contents, &truth).map_err(|error| format!("seed {seed}, {damage}: {error}"))
}

fn write(random: &mut Random) -> (Contents, Truth, Contents) {
    let disk = Memory::default();
    let options = Options { segment_bytes: 4096, ballast_bytes: 0, ..Options::new("pump-7") };
    let (mut journal, _) = Journal::open(disk.clone(), options.clone(), |_, _| Vec::new()).unwrap();
    let mut truth = Truth { bodies: Vec::new(), words: Vec::new(), options };
    let mut older = disk.contents();
    for _ in 0..1 + random.below(20) {
        for _ in 0..=random.below(3) {
            // No body holds a run of zeros as long as a sector: such a one is told from a torn write by the anchor only.
            let len = random.below(400);
            let body: Vec<u8> = (0..len).map(|_| random.next_u64() as u8).collect();
            journal.append(&body).unwrap();
            truth.bodies.push(body);
        }
        journal.commit().unwrap();
        if random.below(6) == 0 {
            truth.words = truth.bodies.len().to_le_bytes().to_vec();
            journal.write_anchor(&truth.words).unwrap();
        }
        if random.below(6) == 0 {
            older = disk.contents();
        }
    }
    if random.below(2) == 0 {
        truth.options.receipt = Some(journal.head());
    }
    (disk.contents(), truth, older)
}

/// Damages one file, or a few. Says how.
fn harm(contents: &mut Contents, older: &Contents, random: &mut Random, truth: &mut Truth) -> String {
    let names: Vec<String> = contents.keys().cloned().collect();
    let name = names[random.below(names.len())].clone();
    let file = contents.get_mut(&name).unwrap();
    // Half of the flips hit where something was written.
    let used = file.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    match random.below(16) {
        0..=5 => {
            let bit = random.below(used * 8);
            file[bit / 8] ^= 1 << (bit % 8);
            format!("bit {bit} of {name} flipped")
        }
        6..=9 => {
            let bits = 2 + random.below(63);
            let (len, most) = (file.len(), if random.below(2) == 0 { used } else { file.len() });
            for _ in 0..bits {
                let bit = random.below(most * 8);
                file[bit / 8] ^= 1 << (bit % 8);
            }
            format!("{bits} bits of the first {most} of {len} bytes of {name} flipped")
        }
        10..=12 => {
            let len = random.below(file.len());
            file.truncate(len);
            format!("{name} cut to {len} bytes")
        }
        13 => {
            // A write that never reached the disk although the disk said so: only a witness can know.
            truth.options.receipt = truth.options.receipt.or(head(truth));
            let at = random.below(used) / 512 * 512;
            let end = (at + 512).min(file.len());
            file[at..end].fill(0);
            format!("bytes {at} to {end} of {name} zeroed")
        }
        14 => {
            truth.options.receipt = truth.options.receipt.or(head(truth));
            contents.remove(&name);
            format!("{name} removed")
        }
        _ => {
            truth.options.receipt = truth.options.receipt.or(head(truth));
            let all = random.below(2) == 0;
            if all {
                contents.clone_from(older);
            } else if let (true, Some(bytes)) = (name != "anchor", older.get(&name)) {
                // An older anchor put back alone is whole and older than nothing that we keep: its words have to
                // carry a counter that the caller compares with his records.
                *file = bytes.clone();
            }
            format!("an older copy of {} put back", if all { "everything" } else { &name })
        }
    }
}

/// The head of the whole journal, as a receipt would name it.
fn head(truth: &Truth) -> Option<crate::Head> {
    let chain = backstay_evidence::Chain::new(&truth.options.instance);
    let head = truth.bodies.iter().fold(chain.genesis(), |head, body| {
        let place = backstay_evidence::Place::First;
        chain.head_of(&backstay_evidence::Frame { seq: head.seq + 1, epoch: 1, prev: head.hash, place, body })
    });
    Some(head)
}

fn open(disk: &Memory, truth: &Truth) -> Result<(Journal<Memory>, Opened), String> {
    let opened =
        Journal::open(disk.clone(), truth.options.clone(), |finding, _| finding.to_string().into_bytes());
    opened.map_err(|error| format!("it does not open: {error}"))
}

fn bodies(journal: &Journal<Memory>) -> Result<Vec<Vec<u8>>, String> {
    let read: Result<Vec<_>, _> = journal.read(0).map(|record| record.map(|record| record.body)).collect();
    read.map_err(|error| format!("it does not read: {error}"))
}

fn judge(contents: &Contents, truth: &Truth) -> Result<Verdict, String> {
    let disk = Memory::holding(contents);
    let (mut journal, opened) = open(&disk, truth)?;
    let found = bodies(&journal)?;
    let words = opened.anchor.map_or(Vec::new(), |anchor| anchor.words);
    let told: Vec<String> = opened.findings.iter().map(ToString::to_string).collect();
    let lost = opened.findings.iter().any(Finding::is_loss);
    let same = found == truth.bodies && words == truth.words;
    if !same && !lost {
        let (found, there) = (found.len(), truth.bodies.len());
        return Err(format!("{found} of {there} records and words {words:?}, without a finding: {told:?}"));
    }
    if let Some(stray) = opened.salvaged.iter().find(|record| !truth.bodies.contains(&record.body)) {
        return Err(format!("record {} was salvaged and had never been written", stray.seq));
    }
    let kept = found.iter().filter(|body| truth.bodies.contains(body)).count();
    let gaps = found.len() - kept;
    if gaps > 1 || (gaps == 1 && !lost) {
        return Err(format!("{gaps} records appeared that nobody wrote"));
    }

    journal.append(b"it goes on").map_err(|error| format!("it does not go on: {error}"))?;
    let head = journal.commit().map_err(|error| format!("it does not go on: {error}"))?;
    drop(journal);
    let (journal, opened) = open(&disk, truth)?;
    let again = bodies(&journal)?;
    if journal.head() != head
        || again.last().map(Vec::as_slice) != Some(b"it goes on")
        || again.len() != found.len() + 1
    {
        return Err(format!("the next start finds {:?} instead of {head:?}", journal.head()));
    }
    match opened.findings.iter().find(|finding| finding.is_loss()) {
        Some(finding) => Err(format!("the next start still finds: {finding}")),
        None if same => Ok(Verdict::Harmless),
        None => Ok(Verdict::Reported),
    }
}
