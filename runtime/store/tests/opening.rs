//! Opening, using and closing a view as its callers do, on disks that are well and on disks that are not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{error::Error, fs, path::Path};

use backstay_store::{
    ApplyError, BYTES_MAX, Backing, Change, Damage, KEY_BYTES_MAX, Opened, Options, Tree, VALUE_BYTES_MAX,
    View, Volatile,
};

const EPOCH: u32 = 4;

fn open(dir: &Path, journal_head: u64) -> Opened {
    View::open(dir, Options::new(Some(journal_head), EPOCH))
}

fn put(key: &str, value: &[u8]) -> Change {
    Change::put(Tree::Runs, key, value)
}

fn filled(dir: &Path, records: u64) {
    let mut view = open(dir, records).view;
    for seq in 1..=records {
        view.apply(seq, &[put(&format!("run-{seq:03}"), &seq.to_le_bytes())]).unwrap();
    }
    view.flush().unwrap();
}

#[test]
fn what_was_flushed_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let long = vec![7; VALUE_BYTES_MAX];
    {
        let Opened { mut view, applied, set_aside } = open(dir.path(), 0);
        assert!(set_aside.is_none() && matches!(view.backing(), Backing::Disk));
        assert_eq!(applied, None);
        view.apply(1, &[put("a", b"1"), put("b", &long), put("c", b""), put("c", b"3")]).unwrap();
        view.apply(3, &[Change::remove(Tree::Runs, *b"a"), Change::put(Tree::Index, *b"a\0", *b"i")])
            .unwrap();
        view.flush().unwrap();
        view.apply(4, &[put("d", b"never flushed")]).unwrap();
        assert_eq!((view.applied(), view.count(Tree::Runs)), (Some(4), 3));
    }
    let Opened { mut view, applied, set_aside } = open(dir.path(), 4);
    assert!(set_aside.is_none());
    assert_eq!(applied, Some(3));
    assert_eq!((view.count(Tree::Runs), view.count(Tree::Index), view.count(Tree::State)), (2, 1, 0));
    assert_eq!(view.get(Tree::Runs, b"a").unwrap(), None);
    assert_eq!(view.get(Tree::Runs, b"b").unwrap(), Some(long));
    assert_eq!(view.get(Tree::Index, b"a\0").unwrap().unwrap(), b"i");
    // A long value makes room when it becomes a short one.
    view.apply(4, &[put("b", b"short")]).unwrap();
    view.flush().unwrap();
    drop(view);
    let Opened { view, set_aside, .. } = open(dir.path(), 4);
    assert!(set_aside.is_none(), "{set_aside:?}");
    assert_eq!(
        (view.get(Tree::Runs, b"b").unwrap().unwrap(), view.bytes()),
        (b"short".to_vec(), 3 + 5 + 1 + 2)
    );
}

/// Several of sled's segments in one batch, and each page of them written over by the next, with a cache that
/// holds none of it: sled has to read pages back while the batch is under way.
#[test]
fn one_record_may_fill_the_view() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 256, bytes_max: 16 << 20, ..Options::new(Some(2), EPOCH) };
    let record = |fill: u8, length: usize| -> Vec<_> {
        (0..1500_u32)
            .map(|n| put(&format!("k{}", n.wrapping_mul(7919) % 1500), &vec![fill; length]))
            .collect()
    };
    let mut view = View::open(dir.path(), options.clone()).view;
    for (seq, length) in [(1, 5500), (2, 3)] {
        let fill = u8::try_from(seq).unwrap();
        view.apply(seq, &record(fill, length)).unwrap();
        view.flush().unwrap();
        drop(view);
        let opened = View::open(dir.path(), options.clone());
        assert!(opened.set_aside.is_none(), "{:?}", opened.set_aside);
        view = opened.view;
        assert_eq!((view.applied(), view.count(Tree::Runs)), (Some(seq), 1500));
        assert_eq!(view.get(Tree::Runs, b"k77").unwrap().unwrap(), vec![fill; length]);
    }
}

#[test]
fn a_scan_goes_page_by_page_over_what_is_flushed_and_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 20);
    let mut view = open(dir.path(), 20).view;
    view.apply(21, &[Change::remove(Tree::Runs, *b"run-003"), put("run-0045", b"between"), put("s", b"")])
        .unwrap();
    view.apply(22, &[Change::put(Tree::State, *b"run-001", *b"another tree")]).unwrap();
    let (mut keys, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let page = view.scan(Tree::Runs, b"run-0", after.as_deref(), 3).unwrap();
        assert!(page.len() <= 3);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        keys.extend(page.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()));
    }
    let mut expected: Vec<_> = (1..=20).filter(|n| *n != 3).map(|n| format!("run-{n:03}")).collect();
    expected.push("run-0045".into());
    expected.sort();
    assert_eq!(keys, expected);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut view = View::in_memory(Options::new(None, EPOCH));
    view.apply(5, &[put("a", b"1")]).unwrap();
    let chunk = vec![0; VALUE_BYTES_MAX];
    let many: Vec<_> =
        (0..=BYTES_MAX / VALUE_BYTES_MAX as u64).map(|n| put(&n.to_string(), &chunk)).collect();
    let cases = [
        (5, vec![], "record 5 is already in the view, which is at 5"),
        (4, vec![], "record 4 is already in the view, which is at 5"),
        (6, vec![put("b", b"2"), put("", b"")], "a key of 0 bytes does not fit: expected 1 to 256"),
        (
            6,
            vec![put("b", b"2"), Change::remove(Tree::Runs, [0; KEY_BYTES_MAX + 1])],
            "a key of 257 bytes does not fit: expected 1 to 256",
        ),
        (
            6,
            vec![put("b", &[0; VALUE_BYTES_MAX + 1])],
            "a value of 262145 bytes does not fit: expected at most 262144",
        ),
        (6, many, "the view would hold 2359307 bytes, and 2097152 are allowed"),
    ];
    for (seq, changes, message) in cases {
        let error = view.apply(seq, &changes).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(error.help().is_some() && error.source().is_none());
        assert_eq!((view.applied(), view.count(Tree::Runs), view.bytes()), (Some(5), 1, 2));
    }
    assert!(matches!(view.backing(), Backing::Memory { why: Volatile::Asked }));
    // A view that left record 6 out and went on would not be what it says it is.
    let error = view.apply(7, &[put("c", b"3")]).unwrap_err();
    assert_eq!(error.to_string(), "record 7 can't follow record 6, which was refused");
    view.apply(6, &[]).unwrap();
    view.apply(7, &[put("c", b"3")]).unwrap();
    assert_eq!((view.applied(), view.bytes()), (Some(7), 4));
}

#[test]
fn a_view_ahead_of_the_journal_or_of_another_epoch_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 9);
    let aside = open(dir.path(), 8).set_aside.unwrap();
    assert!(matches!(aside.why, Damage::Ahead { applied: 9, journal_head: Some(8) }));
    assert_eq!(aside.why.to_string(), "the view is at record 9, but the journal ends at 8");
    assert_eq!(aside.path, dir.path().join("aside-0001"));

    filled(dir.path(), 9);
    let aside = View::open(dir.path(), Options::new(None, EPOCH)).set_aside.unwrap();
    assert!(matches!(aside.why, Damage::Ahead { applied: 9, journal_head: None }));

    filled(dir.path(), 9);
    let aside = View::open(dir.path(), Options::new(Some(20), EPOCH + 1)).set_aside.unwrap();
    assert!(matches!(aside.why, Damage::Epoch { found: EPOCH, journal: 5 }));
    assert_eq!(aside.path, dir.path().join("aside-0003"));
}

#[test]
fn the_newest_copies_stay_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("aside-notes")).unwrap();
    for _ in 0..7 {
        filled(dir.path(), 2);
        assert!(open(dir.path(), 1).set_aside.unwrap().path.join("db").exists());
    }
    let mut copies: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    copies.retain(|name| name.starts_with("aside"));
    copies.sort();
    assert_eq!(copies, ["aside-0004", "aside-0005", "aside-0006", "aside-0007", "aside-notes"]);
}

#[test]
fn a_view_that_is_open_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 2);
    let first = open(dir.path(), 2);
    let second = open(dir.path(), 2);
    assert!(matches!(second.view.backing(), Backing::Memory { why: Volatile::InUse }));
    assert!(second.set_aside.is_none());
    assert_eq!(first.view.get(Tree::Runs, b"run-001").unwrap(), Some(1_u64.to_le_bytes().to_vec()));
    drop(first);
    // The one in memory gets its place on disk as soon as there is one.
    let Opened { view, applied, .. } = second.view.set_aside(Damage::Meaning("tried again".into()));
    assert!(matches!(view.backing(), Backing::Disk));
    assert_eq!(applied, Some(2));
}

/// There is a file where the directory should be, then where sled's should be: the disk's fault, and damage.
#[test]
fn a_file_in_the_way_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let view_dir = dir.path().join("view");
    fs::write(&view_dir, "a file").unwrap();
    let Opened { mut view, applied, set_aside } = open(&view_dir, 9);
    assert!(matches!(view.backing(), Backing::Memory { why: Volatile::Disk(_) }));
    assert!(applied.is_none() && set_aside.is_none());
    view.apply(1, &[put("a", b"1")]).unwrap();
    view.flush().unwrap();
    assert_eq!(view.get(Tree::Runs, b"a").unwrap().unwrap(), b"1");
    assert_eq!(fs::read(&view_dir).unwrap(), b"a file");

    fs::remove_file(&view_dir).unwrap();
    fs::create_dir(&view_dir).unwrap();
    fs::write(view_dir.join("sled"), "a file").unwrap();
    let Opened { view, set_aside, .. } = open(&view_dir, 9);
    assert!(matches!(view.backing(), Backing::Disk));
    assert_eq!(fs::read(set_aside.unwrap().path).unwrap(), b"a file");
}

/// A file system that takes no new file: what a read-only disk and a full one look like to the first write.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_takes_nothing_leaves_a_view_in_memory() {
    let Opened { mut view, set_aside, .. } = open(Path::new("/proc/self/fd/view"), 9);
    assert!(matches!(view.backing(), Backing::Memory { why: Volatile::Disk(_) }));
    assert!(set_aside.is_none());
    view.apply(1, &[put("a", b"1")]).unwrap();
    assert_eq!(view.applied(), Some(1));
}

#[test]
fn an_error_tells_what_why_and_what_to_do() {
    let error = ApplyError::Damaged(Damage::Panicked("tried to serialize Uninitialized".into()));
    assert_eq!(error.to_string(), "cannot write to the view: it is damaged");
    assert_eq!(error.source().unwrap().to_string(), "sled panicked: tried to serialize Uninitialized");
    assert_eq!(
        error.help(),
        Some("set the view aside and rebuild it; if it happens often, suspect the disk")
    );
}
