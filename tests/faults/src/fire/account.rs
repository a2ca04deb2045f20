//! What is held against each other in the end: a device's journal, the server's copy of it, and what was really done.
//!
//! A *deed* is one run of a device's command. It adds a line with a name of its own to a file, and says that name, so that the
//! journal has it where the device heard of the end. Whoever wrote the journal can't count these lines, and the command doesn't
//! know of the journal. Not here: where the files are (`herd`).

use std::collections::{BTreeMap, HashMap};

use backstay_evidence::{Chain, Frame, Head, Place, Record};
use backstay_model::{Event, Ticket};
use backstay_wire::{Entry, decode};

/// The length of a deed's name: a UUID as the kernel draws it.
const NAME_BYTES: usize = 36;
/// Where a UUID has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Checks that the server's copy goes from the first record to the last without a gap, and that it is what the device has,
/// byte for byte. Gives its end.
///
/// # Errors
/// Says the first record that is wrong, and how.
pub fn same(copy: &[u8], device: &[Record], chain: &Chain) -> Result<Head, String> {
    let (mut rest, mut head) = (copy, chain.genesis());
    let mut own = device.iter();
    while !rest.is_empty() {
        let wanted = head.seq + 1;
        let frame = Frame::read(rest).map_err(|why| format!("the server's record {wanted}: {why}"))?;
        if frame.seq != wanted {
            return Err(format!("the server has record {} where {wanted} belongs", frame.seq));
        }
        head = chain.follow(&head, &frame).map_err(|why| format!("the server's record {wanted}: {why}"))?;
        let record =
            own.next().ok_or_else(|| format!("the server has record {wanted}, the device doesn't"))?;
        let (bytes, next) = rest.split_at(frame.encoded_len());
        rest = next;
        let mut written = Vec::with_capacity(bytes.len());
        // How records were grouped in a write is the disk's affair; a copy has each by itself.
        Frame { place: Place::First, ..record.frame() }.write(&mut written);
        if written != bytes {
            return Err(format!("record {wanted} is another one on the device (there {})", record.seq));
        }
    }
    match own.next() {
        None => Ok(head),
        Some(record) => Err(format!("the device has record {}, the server doesn't", record.seq)),
    }
}

/// How the deeds of a device stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Effects that began.
    pub began: usize,
    /// Of those the ones whose end the device never heard of.
    pub in_doubt: usize,
    /// Lines that were added: what was really done.
    pub done: usize,
}

/// What a journal says, with each effect's end, held against the `lines` that were really added, in their order.
///
/// # Errors
/// If an effect began or ended twice, if one is said to be done that isn't, or if something was done that no effect accounts
/// for: a deed that was done twice leaves a line too many.
#[expect(clippy::wildcard_enum_match_arm, reason = "of the many kinds of event two are about effects")]
pub fn once(entries: &[Entry], lines: &[&str]) -> Result<Deeds, String> {
    let places: HashMap<&[u8], usize> =
        lines.iter().enumerate().map(|(at, line)| (line.as_bytes(), at)).collect();
    if places.len() != lines.len() {
        return Err("a line is there twice".into());
    }
    let (mut began, mut ended) = (Vec::new(), BTreeMap::<(Ticket, u32), Option<usize>>::new());
    for entry in entries {
        match &entry.event {
            Event::EffectBegan { ticket, ordinal, .. } => began.push((*ticket, *ordinal)),
            Event::EffectEnded { ticket, ordinal, outcome } => {
                let place = match name(outcome) {
                    None => None,
                    Some(name) => Some(*places.get(name).ok_or_else(|| {
                        format!("{}, said by {ticket:?}, is done nowhere", String::from_utf8_lossy(name))
                    })?),
                };
                if ended.insert((*ticket, *ordinal), place).is_some() {
                    return Err(format!("effect {ordinal} of {ticket:?} ended twice"));
                }
            }
            _ => {}
        }
    }
    let mut deeds = Deeds { began: began.len(), in_doubt: 0, done: lines.len() };
    let (mut next, mut unclaimed) = (0, 0);
    let mut seen = std::collections::BTreeSet::new();
    for effect in began {
        if !seen.insert(effect) {
            return Err(format!("effect {} of {:?} began twice", effect.1, effect.0));
        }
        match ended.get(&effect).copied().flatten() {
            None => deeds.in_doubt += 1,
            Some(place) if place < next => {
                return Err(format!("line {} is claimed twice, or out of its order", place + 1));
            }
            Some(place) => {
                // A command that outlived its agent may add its line late, never more than one.
                unclaimed += place - next;
                next = place + 1;
            }
        }
        if unclaimed > deeds.in_doubt {
            return Err(format!(
                "up to line {next} {unclaimed} were added that no effect claims, and {} effects are in doubt",
                deeds.in_doubt
            ));
        }
    }
    unclaimed += lines.len() - next;
    if unclaimed > deeds.in_doubt {
        return Err(format!(
            "{unclaimed} lines were added that no effect claims, and {} effects are in doubt",
            deeds.in_doubt
        ));
    }
    Ok(deeds)
}

/// The entries that records hold.
///
/// # Errors
/// Says which can't be read.
pub fn entries(records: &[Record]) -> Result<Vec<Entry>, String> {
    let read = |record: &Record| {
        decode(&record.body, usize::MAX).map_err(|why| format!("record {}: {why}", record.seq))
    };
    records.iter().map(read).collect()
}

/// The name of a deed, if what came of an effect has one.
fn name(outcome: &[u8]) -> Option<&[u8]> {
    outcome.windows(NAME_BYTES).find(|bytes| {
        bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| if HYPHENS.contains(&at) { *byte == b'-' } else { byte.is_ascii_hexdigit() })
    })
}

#[cfg(test)]
mod tests {
    use backstay_model::Mono;

    use super::*;

    fn chain() -> Chain {
        Chain::new("key")
    }

    fn records(count: u64) -> Vec<Record> {
        let mut head = chain().genesis();
        let mut next = |seq: u64| {
            let record = Record { seq, epoch: 1, prev: head.hash, body: vec![u8::try_from(seq).unwrap(); 9] };
            head = chain().head_of(&record.frame());
            record
        };
        (1..=count).map(&mut next).collect()
    }

    fn copy(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.frame().write(&mut bytes));
        bytes
    }

    #[test]
    fn a_gap_a_duplicate_and_another_byte_are_each_told() {
        let all = records(5);
        assert_eq!(same(&copy(&all), &all, &chain()).unwrap().seq, 5);
        let without = |at: usize| [&all[..at], &all[at + 1..]].concat();
        let told = same(&copy(&without(2)), &all, &chain()).unwrap_err();
        assert_eq!(told, "the server has record 4 where 3 belongs");
        let twice = [&all[..3], &all[2..]].concat();
        let told = same(&copy(&twice), &all, &chain()).unwrap_err();
        assert_eq!(told, "the server has record 3 where 4 belongs");
        let told = same(&copy(&all[..4]), &all, &chain()).unwrap_err();
        assert_eq!(told, "the device has record 5, the server doesn't");
        let told = same(&copy(&all), &all[..4], &chain()).unwrap_err();
        assert_eq!(told, "the server has record 5, the device doesn't");
        let mut other = all.clone();
        other[4].body[0] ^= 1;
        let told = same(&copy(&all), &other, &chain()).unwrap_err();
        assert_eq!(told, "record 5 is another one on the device (there 5)");
    }

    const A: &str = "00000000-0000-0000-0000-00000000000a";
    const B: &str = "00000000-0000-0000-0000-00000000000b";
    const C: &str = "00000000-0000-0000-0000-00000000000c";

    fn told(event: Event) -> Entry {
        Entry { at: Mono(0), event, snapshot: None }
    }

    fn began(run: u64) -> Entry {
        told(Event::EffectBegan {
            ticket: Ticket(run),
            ordinal: 0,
            what: "run restart".into(),
            changes: true,
        })
    }

    fn ended(run: u64, said: &str) -> Entry {
        let outcome = format!("\x01{said}\n").into_bytes();
        told(Event::EffectEnded { ticket: Ticket(run), ordinal: 0, outcome })
    }

    #[test]
    fn what_is_done_once_is_accounted_for() {
        let all = [began(1), ended(1, A), began(2), ended(2, "in doubt"), began(3), ended(3, C), began(4)];
        let deeds = |done| Deeds { began: 4, in_doubt: 2, done };
        assert_eq!(once(&all, &[A, C]), Ok(deeds(2)), "the doubtful were not done");
        assert_eq!(once(&all, &[A, B, C]), Ok(deeds(3)), "the second was");
        assert_eq!(once(&all, &[A, C, B]), Ok(deeds(3)), "the last was, or the second late");
    }

    #[test]
    fn what_is_done_twice_or_not_at_all_is_told() {
        let all = [began(1), ended(1, A), began(2), ended(2, B)];
        let told = once(&all, &[A, C, B]).unwrap_err();
        assert_eq!(told, "up to line 3 1 were added that no effect claims, and 0 effects are in doubt");
        let told = once(&all, &[A, B, C]).unwrap_err();
        assert_eq!(told, "1 lines were added that no effect claims, and 0 effects are in doubt");
        let told = once(&all, &[A]).unwrap_err();
        assert!(told.ends_with("is done nowhere"), "{told}");
        let again = [began(1), ended(1, A), began(1)];
        assert_eq!(once(&again, &[A]).unwrap_err(), "effect 0 of Ticket(1) began twice");
        let again = [began(1), ended(1, A), ended(1, A)];
        assert_eq!(once(&again, &[A]).unwrap_err(), "effect 0 of Ticket(1) ended twice");
        let shared = [began(1), ended(1, A), began(2), ended(2, A)];
        assert_eq!(once(&shared, &[A]).unwrap_err(), "line 1 is claimed twice, or out of its order");
        // One effect in doubt stands for one line, and not for two.
        let doubt = [began(1), began(2), ended(2, C)];
        assert!(once(&doubt, &[A, B, C]).is_err());
    }
}
