//! What a journal goes through, told as tests. The long trials run in `tests/faults`.

use std::io;

use backstay_evidence::{Chain, Head, Record};

use crate::{
    Ballast, Cause, CommitError, Disk as _, Finding, Folder, FolderError, Journal, Ledger, OpenError, Opened,
    Options, PruneError, WORDS_BYTES_MAX, Witness,
    ledger::{AnchorError, AppendError, ReadError},
    testing::{Memory, Scenario, Survival, Verdict, cut_everywhere, rot},
};

fn options() -> Options {
    Options { segment_bytes: 4096, bytes_max: 1 << 20, ballast_bytes: 8192, ..Options::new("pump-7") }
}

fn open_with(disk: &Memory, options: Options) -> (Journal<Memory>, Opened) {
    Journal::open(disk.clone(), options, |finding, _| format!("gap: {finding}").into_bytes()).unwrap()
}

fn open(disk: &Memory) -> (Journal<Memory>, Opened) {
    open_with(disk, options())
}

fn bodies(journal: &Journal<Memory>) -> Vec<String> {
    journal.read(0).map(|record| String::from_utf8(record.unwrap().body).unwrap()).collect()
}

fn told(opened: &Opened) -> Vec<String> {
    opened.findings.iter().map(ToString::to_string).collect()
}

/// A journal of 30 records in several segments, the last not anchored.
fn long(disk: &Memory) -> Journal<Memory> {
    let (mut journal, _) = open(disk);
    for n in 1..=30 {
        journal.append(format!("{n:0>300}").as_bytes()).unwrap();
        journal.commit().unwrap();
    }
    journal
}

fn flip(disk: &Memory, name: &str, at: usize) -> Memory {
    let mut contents = disk.contents();
    contents.get_mut(name).unwrap()[at] ^= 4;
    Memory::holding(&contents)
}

fn segment(index: u64) -> String {
    crate::segment::file_name(index)
}

#[test]
fn what_was_committed_is_there_after_a_restart_and_what_was_not_is_not() {
    let disk = Memory::default();
    let (mut journal, opened) = open(&disk);
    assert!(opened.findings.is_empty() && opened.anchor.is_none());
    assert_eq!(journal.append(b"a").unwrap(), 1);
    assert_eq!(journal.append(b"b").unwrap(), 2);
    let head = journal.commit().unwrap();
    journal.append(b"c").unwrap();
    assert_eq!((journal.head(), journal.tail().seq), (head, 3));
    assert_eq!(bodies(&journal), ["a", "b"]);
    drop(journal);

    let (journal, opened) = open(&disk.survivor(Survival::Synced));
    assert!(opened.findings.is_empty(), "{:?}", opened.findings);
    assert_eq!((journal.head(), bodies(&journal)), (head, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_folder_of_the_file_system_holds_a_journal_and_one_writer() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("journal");
    let gap = |_: &Finding, _: &[Record]| Vec::new();
    let (mut journal, _) = Journal::open(Folder::take(&path).unwrap(), options(), gap).unwrap();
    for n in 0..40_u32 {
        journal.append(&[7; 300]).unwrap();
        journal.write_anchor(&n.to_le_bytes()).unwrap();
        journal.commit().unwrap();
    }
    assert!(matches!(Folder::take(&path), Err(FolderError::Busy { .. })));
    let head = journal.head();
    drop(journal);

    let (journal, opened) = Journal::open(Folder::take(&path).unwrap(), options(), gap).unwrap();
    assert!(opened.findings.is_empty(), "{:?}", opened.findings);
    assert_eq!((journal.head(), journal.read(1).count()), (head, 40));
    assert_eq!(opened.anchor.unwrap().words, 39_u32.to_le_bytes());
    assert_eq!(journal.ballast(), Ballast::Held);
}

#[test]
fn many_records_cost_one_sync() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk);
    let before = disk.syncs();
    for _ in 0..16 {
        journal.append(b"one of many").unwrap();
    }
    journal.commit().unwrap();
    assert_eq!(disk.syncs() - before, 1);
}

#[test]
fn the_chain_goes_through_all_segments() {
    let disk = Memory::default();
    let journal = long(&disk);
    let records: Vec<Record> = journal.read(0).map(Result::unwrap).collect();
    let chain = Chain::new("pump-7");
    assert_eq!(chain.verify(&records, chain.genesis()), Ok(journal.head()));
    assert!(disk.contents().len() > 4);
    assert_eq!(journal.read(29).map(|record| record.unwrap().seq).collect::<Vec<_>>(), [29, 30]);
}

#[test]
fn who_was_overtaken_may_not_write() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk);
    let old = journal.head();
    journal.append_if(old, b"first").unwrap();
    let refused = journal.append_if(old, b"second").unwrap_err();
    assert!(matches!(refused, AppendError::Moved { head } if head == journal.tail()));
    assert_eq!(refused.to_string(), "the journal has moved on to record 1");
}

#[test]
fn what_is_too_long_is_refused_before_anything_is_done() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk);
    let most = journal.body_bytes_max();
    assert!(matches!(journal.append(&vec![1; most + 1]), Err(AppendError::TooLong { .. })));
    assert!(matches!(journal.write_anchor(&[0; WORDS_BYTES_MAX + 1]), Err(AnchorError::TooLong { .. })));
    journal.append(&vec![1; most]).unwrap();
    journal.append(&vec![2; most]).unwrap();
    journal.write_anchor(&[3; WORDS_BYTES_MAX]).unwrap();
    journal.commit().unwrap();
    drop(journal);
    let (journal, opened) = open(&disk);
    assert_eq!((opened.findings.len(), journal.read(0).count()), (0, 2));
    let wrong = Options { segment_bytes: 5000, ..options() };
    assert!(Journal::open(disk, wrong, |_, _| Vec::new()).is_err());
}

#[test]
fn pruning_makes_room_and_is_no_loss() {
    let disk = Memory::default();
    let (mut journal, _) = open_with(&disk, Options { bytes_max: 5 * 4096, ..options() });
    let full = loop {
        match journal.append(&[9; 300]).map(|_| journal.commit().unwrap()) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(full, AppendError::NoRoom { source: CommitError::Bounded { bytes_max: 20480 } }),
        "{full:?}"
    );
    let head = journal.head();
    journal.prune(head.seq).unwrap();
    assert!(journal.oldest() > 1 && journal.bytes() == 4096);
    journal.append(&[9; 300]).unwrap();
    journal.commit().unwrap();
    let oldest = journal.oldest();
    drop(journal);
    let (journal, opened) = open(&disk);
    assert!(opened.findings.is_empty(), "{:?}", opened.findings);
    assert_eq!(journal.read(0).next().unwrap().unwrap().seq, oldest);
}

#[test]
fn a_full_disk_gives_up_its_ballast_first_and_its_voice_last() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk);
    disk.bound(Some(disk.bytes()));
    let mut written = 0;
    let full = loop {
        match journal.append(&[5; 300]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        journal.commit().unwrap();
    };
    // One segment was there, two more are as large as the ballast.
    assert_eq!((written, journal.ballast()), (3 * 8, Ballast::Released));
    assert!(matches!(full, AppendError::NoRoom { source: CommitError::Full { .. } }), "{full:?}");
    assert!(full.help().unwrap().starts_with("free space"));
    assert_eq!(journal.read(0).count(), written);
    journal.write_anchor(b"what decides about booting never needs space").unwrap();

    disk.bound(None);
    journal.append(&[5; 300]).unwrap();
    journal.commit().unwrap();
    assert_eq!(journal.read(0).count(), written + 1);
}

#[test]
fn a_disk_that_was_full_before_the_first_day_holds_nothing_and_breaks_nothing() {
    let disk = Memory::default();
    disk.bound(Some(100));
    let (mut journal, opened) = open(&disk);
    assert!(matches!(opened.findings.as_slice(), [Finding::Degraded { cause: CommitError::Full { .. } }]));
    assert!(matches!(journal.append(b"x"), Err(AppendError::NoRoom { source: CommitError::Full { .. } })));
    assert!(matches!(journal.commit(), Err(CommitError::Full { .. })));
    assert_eq!((journal.head().seq, journal.read(0).count()), (0, 0));
    disk.bound(None);
    assert_eq!(journal.append(b"x").unwrap(), 1);
    journal.commit().unwrap();
}

#[test]
fn a_read_only_disk_is_read() {
    let disk = Memory::default();
    drop(long(&disk));
    disk.refuse_writes(Some(io::ErrorKind::ReadOnlyFilesystem));
    let (mut journal, opened) = open(&disk);
    assert!(matches!(
        opened.findings.as_slice(),
        [Finding::Degraded { cause: CommitError::ReadOnly { .. } }]
    ));
    assert_eq!(journal.read(0).count(), 30);
    assert!(matches!(
        journal.append(b"x"),
        Err(AppendError::NoRoom { source: CommitError::ReadOnly { .. } })
    ));
    assert!(matches!(
        journal.write_anchor(b"x"),
        Err(AnchorError::Disk { source: CommitError::ReadOnly { .. } })
    ));
    assert!(matches!(journal.prune(9), Err(PruneError::Anchor { source: CommitError::ReadOnly { .. } })));
    disk.refuse_writes(None);
    assert_eq!(journal.append(b"x").unwrap(), 31);
    journal.commit().unwrap();
}

#[test]
fn a_disk_that_goes_read_only_keeps_what_waits() {
    let disk = Memory::default();
    let mut journal = long(&disk);
    journal.append(b"waits").unwrap();
    disk.refuse_writes(Some(io::ErrorKind::ReadOnlyFilesystem));
    assert!(matches!(journal.commit(), Err(CommitError::ReadOnly { .. })));
    assert_eq!(journal.head().seq, 30);
    disk.refuse_writes(None);
    assert_eq!(journal.commit().unwrap().seq, 31);
    assert_eq!(bodies(&journal)[30], "waits");
}

/// The kernel forgets what it could not write and reports success next time. The bytes are still read back, from
/// memory: whoever believes that, loses them at the next power cut.
#[test]
fn a_failed_sync_is_never_tried_twice_and_what_it_left_is_written_again() {
    let disk = Memory::default();
    let mut journal = long(&disk);
    journal.append(b"in doubt").unwrap();
    disk.fail_sync_after(0);
    assert!(matches!(journal.commit(), Err(CommitError::Io { .. })));
    assert!(matches!(journal.commit(), Err(CommitError::Failed)));
    assert!(matches!(journal.append(b"x"), Err(AppendError::NoRoom { source: CommitError::Failed })));
    assert!(matches!(journal.write_anchor(b"x"), Err(AnchorError::Disk { source: CommitError::Failed })));
    assert_eq!((journal.head().seq, journal.read(0).count()), (30, 30));
    drop(journal);

    let (journal, opened) = open(&disk);
    assert!(opened.findings.is_empty(), "{:?}", opened.findings);
    let head = journal.head();
    assert_eq!(head.seq, 31);
    let (journal, _) = open(&disk.survivor(Survival::Synced));
    assert_eq!(journal.head(), head, "the head that was shown was not durable");
}

/// The same without a restart: once the disk takes writes again the journal is opened where it is, and goes on.
#[test]
fn a_journal_that_failed_is_opened_again_where_it_is() {
    let gap = |finding: &Finding, _: &[Record]| format!("gap: {finding}").into_bytes();
    let disk = Memory::default();
    let mut journal = long(&disk);
    journal.append(b"in doubt").unwrap();
    disk.fail_sync_after(0);
    assert!(journal.commit().is_err() && journal.is_failed());
    disk.refuse_writes(Some(io::ErrorKind::Other));
    assert!(matches!(journal.reopen(gap), Err(OpenError::Unfit { .. })), "it still takes nothing");
    assert!(journal.is_failed());
    disk.refuse_writes(None);

    let opened = journal.reopen(gap).unwrap();
    assert!(opened.findings.is_empty() && !journal.is_failed(), "{:?}", opened.findings);
    assert_eq!(journal.head().seq, 31, "what was in doubt is there, and durable");
    journal.append(b"goes on").unwrap();
    let head = journal.commit().unwrap();
    let (journal, opened) = open(&disk.survivor(Survival::Synced));
    assert!(opened.findings.is_empty(), "{:?}", opened.findings);
    assert_eq!(
        (journal.head(), &bodies(&journal)[30..]),
        (head, &["in doubt".to_owned(), "goes on".into()][..])
    );
}

/// The disk comes back with an older past. What was durable in this very process is a witness that nobody can put back.
#[test]
fn a_disk_that_comes_back_older_is_told() {
    let disk = Memory::default();
    drop(long(&disk));
    let old = disk.contents();
    let (mut journal, _) = open(&disk);
    for _ in 0..5 {
        journal.append(b"newer").unwrap();
        journal.commit().unwrap();
    }
    disk.fail_sync_after(0);
    journal.append(b"x").unwrap();
    assert!(journal.commit().is_err());
    disk.put_back(&old);
    let opened = journal.reopen(|finding, _| format!("gap: {finding}").into_bytes()).unwrap();
    assert!(opened.findings.iter().any(Finding::is_loss), "{:?}", opened.findings);
    assert_eq!((journal.head().seq, journal.head().epoch), (36, 2));
}

#[test]
fn a_sync_that_fails_while_a_segment_or_an_anchor_is_made_fails_the_journal() {
    for more in 0..6 {
        let disk = Memory::default();
        let mut journal = long(&disk);
        disk.fail_sync_after(more);
        let mut durable = 30;
        for _ in 0..20 {
            if journal.append(&[1; 700]).is_err() {
                break;
            }
            if let Ok(head) = journal.commit() {
                durable = head.seq;
            }
        }
        drop(journal);
        for survival in [Survival::All, Survival::Synced] {
            let (journal, opened) = open(&disk.survivor(survival));
            assert!(!opened.findings.iter().any(Finding::is_loss), "{more}: {:?}", told(&opened));
            assert!(journal.head().seq >= durable, "{more}, {survival:?}");
        }
    }
}

#[test]
fn a_torn_write_is_cleared_and_said() {
    let disk = Memory::default();
    let mut journal = long(&disk);
    journal.append(b"a write that the power cuts short").unwrap();
    disk.cut_after(disk.operations());
    assert!(journal.commit().is_err());
    let disk = disk.survivor(Survival::Torn(70));
    let (journal, opened) = open(&disk);
    assert_eq!(told(&opened), ["the last write was cut short: 70 bytes in segment 3 after record 30"]);
    assert_eq!(journal.head().seq, 30);
    let (_, opened) = open(&disk.survivor(Survival::Synced));
    assert!(opened.findings.is_empty(), "{:?}", opened.findings);
}

/// A sector that the disk dropped looks like a torn write. That something was written after it gives it away: the next
/// write begins only when the one before is durable.
#[test]
fn a_hole_before_a_later_write_is_no_torn_write() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk);
    for n in 1..=3 {
        journal.append(&[n; 900]).unwrap();
        journal.commit().unwrap();
    }
    drop(journal);
    for (hole, after) in [(1024..1536, 0), (2048..2560, 1)] {
        let mut contents = disk.contents();
        contents.get_mut(&segment(0)).unwrap()[hole].fill(0);
        let (_, opened) = open(&Memory::holding(&contents));
        assert_eq!(loss(&opened).0, after);
    }
    // In the last write only a witness knows.
    let mut contents = disk.contents();
    contents.get_mut(&segment(0)).unwrap()[3072..3584].fill(0);
    let (_, opened) = open(&Memory::holding(&contents));
    assert!(
        matches!(opened.findings.as_slice(), [Finding::TornTail { after: 2, .. }]),
        "{:?}",
        told(&opened)
    );
}

#[test]
fn what_is_anchored_is_never_taken_for_a_torn_write() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk);
    journal.append(b"anchored").unwrap();
    journal.commit().unwrap();
    journal.write_anchor(b"").unwrap();
    drop(journal);
    let mut contents = disk.contents();
    contents.get_mut(&segment(0)).unwrap()[1024 + 8..].fill(0);
    let (_, opened) = open(&Memory::holding(&contents));
    assert_eq!(loss(&opened).0, 0);
    contents.get_mut(&segment(0)).unwrap()[1024..].fill(0);
    let (_, opened) = open(&Memory::holding(&contents));
    assert_eq!(loss(&opened), (0, Cause::Behind(Witness::Anchor)));
}

#[test]
fn damage_becomes_a_gap_that_everybody_can_see() {
    let disk = Memory::default();
    let before = long(&disk);
    let records: Vec<Record> = before.read(0).map(Result::unwrap).collect();
    drop(before);
    let disk = flip(&disk, &segment(1), 1024 + 2 * 360 + 100);
    let damaged = disk.contents()[&segment(1)].clone();

    let (mut journal, opened) = open(&disk);
    assert_eq!(
        told(&opened),
        ["records 11 to 30 are lost: record 11 is bad, the checksum of the record is wrong \
          (segment 1, byte 1744); 19 records behind it are whole"]
    );
    assert!(opened.findings[0].is_loss() && opened.findings[0].help().is_some());
    assert_eq!(opened.salvaged, records[11..]);
    journal.append(b"life goes on").unwrap();
    journal.commit().unwrap();

    // Who knew record 10 can follow; the gap is in the chain, and no sequence comes twice.
    let now: Vec<Record> = journal.read(0).map(Result::unwrap).collect();
    assert_eq!(now[..10], records[..10]);
    assert_eq!((now[10].seq, now[10].epoch, now[11].seq, now.len()), (31, 2, 32, 12));
    assert!(now[10].body.starts_with(b"gap: records 11 to 30 are lost"));
    let chain = Chain::new("pump-7");
    assert_eq!(chain.verify(&now, chain.genesis()), Ok(journal.head()));
    drop(journal);

    // Told once. What is damaged stays as it was found, until it is pruned, and is kept even then.
    let (mut journal, opened) = open(&disk);
    assert!(opened.findings.is_empty(), "{:?}", told(&opened));
    assert_eq!(disk.contents()[&segment(1)], damaged);
    journal.prune(32).unwrap();
    assert_eq!(disk.contents()[&format!("damaged-{}", segment(1))], damaged);
    assert_eq!(journal.read(0).next().unwrap().unwrap().seq, 31);
    drop(journal);
    assert!(open(&disk).1.findings.is_empty());
}

#[test]
fn damage_on_a_read_only_disk_is_recorded_as_soon_as_it_can_be() {
    let disk = Memory::default();
    drop(long(&disk));
    let disk = flip(&disk, &segment(1), 1200);
    disk.refuse_writes(Some(io::ErrorKind::ReadOnlyFilesystem));
    let (mut journal, opened) = open(&disk);
    assert!(
        matches!(opened.findings.as_slice(), [Finding::Corrupt(_), Finding::Degraded { .. }]),
        "{:?}",
        told(&opened)
    );
    assert_eq!((journal.head().seq, journal.head().epoch, journal.read(0).count()), (8, 1, 8));
    assert!(journal.append(b"x").is_err());
    disk.refuse_writes(None);
    assert_eq!(journal.append(b"x").unwrap(), 32);
    assert_eq!(journal.commit().unwrap().epoch, 2);
    assert!(bodies(&journal)[8].starts_with("gap: "));
}

#[test]
fn the_end_of_the_journal_can_not_vanish() {
    let disk = Memory::default();
    let journal = long(&disk);
    let receipt = Some(journal.head());
    drop(journal);
    let mut contents = disk.contents();
    contents.remove(&segment(3));
    let (journal, opened) = open(&Memory::holding(&contents));
    let loss = loss(&opened);
    assert_eq!((loss.0, loss.1, journal.head().epoch), (24, Cause::Missing, 2));

    // The same with zeros in place of the records: only the receipt knows.
    let mut contents = disk.contents();
    contents.get_mut(&segment(3)).unwrap()[1024..].fill(0);
    let disk = Memory::holding(&contents);
    let (journal, opened) = open_with(&disk, Options { receipt, ..options() });
    assert_eq!(self::loss(&opened), (24, Cause::Behind(Witness::Receipt)));
    assert_eq!(journal.head().seq, 31);
    drop(journal);
    assert!(open_with(&disk, Options { receipt, ..options() }).1.findings.is_empty());
}

fn loss(opened: &Opened) -> (u64, Cause) {
    let mut losses = opened.findings.iter().filter_map(|finding| match finding {
        Finding::Corrupt(loss) => Some((loss.after.seq, loss.cause)),
        Finding::TornTail { .. }
        | Finding::SegmentMissing { .. }
        | Finding::HeaderDamaged { .. }
        | Finding::Noise { .. }
        | Finding::AnchorDamaged { .. }
        | Finding::AnchorLost
        | Finding::Degraded { .. } => None,
    });
    losses.next_back().unwrap_or_else(|| panic!("no loss in {:?}", told(opened)))
}

#[test]
fn another_history_is_a_fork_and_is_told_once() {
    let disk = Memory::default();
    drop(long(&disk));
    let receipt = Some(Head { epoch: 1, seq: 20, hash: [1; 32] });
    let (journal, opened) = open_with(&disk, Options { receipt, ..options() });
    assert_eq!(loss(&opened), (30, Cause::Forked(Witness::Receipt)));
    assert_eq!(told(&opened), ["the journal is damaged after record 30: the receipt names another history"]);
    assert_eq!(journal.head().epoch, 2);
    drop(journal);
    assert!(open_with(&disk, Options { receipt, ..options() }).1.findings.is_empty());
}

#[test]
fn another_instances_journal_is_neither_believed_nor_destroyed() {
    let disk = Memory::default();
    drop(long(&disk));
    let foreign = disk.contents()[&segment(0)].clone();
    let (journal, opened) = open_with(&disk, Options { instance: "pump-8".to_owned(), ..options() });
    assert_eq!(loss(&opened), (0, Cause::Foreign));
    assert_eq!(bodies(&journal).len(), 1);
    assert_eq!(disk.contents()[&segment(0)], foreign);
}

#[test]
fn a_file_of_any_number_takes_nothing_of_what_is_written_behind_it() {
    for index in [40, u64::MAX / 2 - 1, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX / 4 * 3, u64::MAX] {
        let mut contents = {
            let disk = Memory::default();
            drop(long(&disk));
            disk.contents()
        };
        contents.insert(segment(index), Vec::new());
        let disk = Memory::holding(&contents);
        drop(long(&disk));
        let (journal, opened) = open(&disk);
        let many = bodies(&journal).iter().filter(|body| !body.starts_with("gap: ")).count();
        assert_eq!(many, 60, "{index:x}");
        assert!(!opened.findings.iter().any(Finding::is_loss), "{index:x}: {:?}", opened.findings);
    }
}

#[test]
fn old_segments_that_nobody_pruned_are_missed() {
    let disk = Memory::default();
    drop(long(&disk));
    let mut contents = disk.contents();
    contents.remove(&segment(0));
    let disk = Memory::holding(&contents);
    let (journal, opened) = open(&disk);
    assert!(
        matches!(opened.findings[0], Finding::SegmentMissing { first: 0, found: 1 }),
        "{:?}",
        told(&opened)
    );
    assert_eq!(loss(&opened), (30, Cause::OldMissing));
    assert_eq!((journal.read(0).next().unwrap().unwrap().seq, journal.head().seq), (9, 31));
    drop(journal);
    assert!(open(&disk).1.findings.is_empty());
}

#[test]
fn an_anchor_survives_the_loss_of_either_slot() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk);
    for words in ["one", "two"] {
        journal.write_anchor(words.as_bytes()).unwrap();
    }
    drop(journal);
    let whole = open(&disk.survivor(Survival::Synced)).1.anchor.unwrap();
    assert_eq!(whole.words, b"two");
    let mut words = Vec::new();
    for slot in [0, 4096] {
        let disk = flip(&disk, "anchor", slot + 20);
        let (_, opened) = open(&disk);
        assert!(matches!(opened.findings.as_slice(), [Finding::AnchorDamaged { .. }]), "{:?}", told(&opened));
        words.push(opened.anchor.unwrap().words);
        assert!(open(&disk).1.findings.is_empty(), "the bad slot was not mended");
    }
    words.sort();
    assert_eq!(words, [b"one", b"two"]);
    let disk = flip(&flip(&disk, "anchor", 20), "anchor", 4096 + 20);
    let (_, opened) = open(&disk);
    assert!(matches!(opened.findings.as_slice(), [Finding::AnchorLost]) && opened.anchor.is_none());
    assert!(disk.contents().contains_key("damaged-anchor"));
}

#[test]
fn damage_after_opening_is_seen_when_read() {
    let disk = Memory::default();
    let journal = long(&disk);
    let file = disk.open(&segment(1)).unwrap();
    crate::DiskFile::write(&file, 1100, b"rot").unwrap();
    let mut read = journal.read(0).skip_while(Result::is_ok);
    assert!(matches!(read.next(), Some(Err(ReadError::Broken { source, .. })) if source.seq == 9));
    assert!(read.next().is_none());
}

#[test]
fn a_disk_that_keeps_rotting_does_not_fill_itself() {
    let mut disk = Memory::default();
    drop(long(&disk));
    for _ in 0..12 {
        let (mut journal, _) = open(&disk);
        let newest = journal.anchor().newest;
        journal.append(&[1; 300]).unwrap();
        journal.append(&[2; 300]).unwrap();
        journal.commit().unwrap();
        drop(journal);
        disk = flip(&disk, &segment(newest), 1024 + 60);
        let (mut journal, opened) = open(&disk);
        assert!(opened.findings.iter().any(Finding::is_loss));
        journal.prune(u64::MAX).unwrap();
    }
    let kept = disk.contents().keys().filter(|name| name.starts_with("damaged-")).count();
    assert_eq!(kept, 8);
}

#[test]
fn no_power_cut_loses_what_was_committed() {
    for seed in 0..3 {
        let report = cut_everywhere(Scenario { seed, steps: 16 });
        assert!(report.points > 50 && report.starts == report.points * 14, "{report:?}");
    }
}

#[test]
fn rot_is_harmless_or_reported() {
    let verdicts: Vec<Verdict> = (0..1_000).map(|seed| rot(seed).unwrap()).collect();
    let reported = verdicts.iter().filter(|verdict| **verdict == Verdict::Reported).count();
    assert!((200..800).contains(&reported), "{reported} of 1000 trials did harm: they prove little");
}
