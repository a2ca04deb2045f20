//! What each version of the agent left on a device's disk, and what this one makes of it: journal, anchors, view, and the
//! snapshot that is kept with the records. Both slots share it, so an older agent finds what a newer one wrote, too.
//!
//! A version that goes out leaves a folder of its own in `tests/state/`, which stays; `BACKSTAY_REWRITE_GOLDEN=1` writes
//! today's anew. Not here: the forms of single items (`wire`) and of the core's state (`tests/stories`).

use std::{
    env, fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use backstay_config::Document;
use backstay_core::{Confidence, Device, Heights, Identity, Input, Upgrade};
use backstay_memory::{Durability, Memory, Options, Recalled, Step};
use backstay_model::{
    Answer, BootId, CohortId, DeviceId, Digest, Event, Fence, Generation, Mono, Order, Release, SlotStatus,
    Task, Ticket, UnixMs,
};
use backstay_trust::{Accepted, Floor};
use backstay_wire::{AnchorWords, Mark, Stream};

use crate::{
    config::{Config, tests::SMALL},
    kept::{Keep, Kept},
};

/// The version that writes today's.
const TODAY: &str = "0.1.0";

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/state").join(version)
}

fn options() -> Options {
    Options { instance: "pump-7".into(), bytes_max: 2 << 20 }
}

fn release(version: &str, of: u8) -> Release {
    Release { version: version.parse().unwrap(), digest: Digest([of; 32]), length: 1000, security_epoch: 1 }
}

fn slots() -> SlotStatus {
    let (on, other) = (release("1.4.0", 4), Some(release("1.3.0", 3)));
    SlotStatus { booted: on.clone(), confirmed: on, other, trying: None }
}

fn words(device: &Device) -> AnchorWords {
    let mark = |stream, counter| Mark { stream, counter, digest: Digest([0; 32]) };
    AnchorWords {
        clock: Mono(70_000),
        attested: Some(UnixMs(5)),
        confirmed: device.confirmed().clone(),
        last_known_good: Some(release("1.3.0", 3)),
        marks: vec![mark(Stream::Product, 7), mark(Stream::Order, 2), mark(Stream::Plugins, 3)],
        condemned: vec![Digest([5; 32])],
        security_floor: 1,
        breaker_until: None,
        receipt_epoch: 0,
        starts: device.watermarks().starts,
        ways: device.watermarks().ways,
    }
}

/// The snapshot of a device that has lived: enrolled, with plugins, and something condemned.
fn snapshot(device: &Device) -> Vec<u8> {
    let accepted = Accepted { sequence: 4, grant: Some(Digest([6; 32])), release: 2 };
    let floors = [("acme/executor".parse_id(), Floor { newest: accepted, before: None })].into();
    let mut confidence = Confidence::default();
    for _ in 0..3 {
        confidence.quarantine.strike(Mono(1), Digest([9; 32]));
    }
    let mut upgrade = Upgrade::new(7);
    upgrade.remember(Generation(3));
    let pinned = [("acme/executor".parse_id(), accepted)];
    let mut attested = Heights::default();
    attested.note(Digest([3; 32]), 5);
    let keep = Keep::of(device.state(), &confidence, &floors, &attested, None, (&upgrade, &pinned));
    keep.encode().unwrap()
}

trait ParseId {
    fn parse_id(&self) -> backstay_model::PluginId;
}

impl ParseId for str {
    fn parse_id(&self) -> backstay_model::PluginId {
        backstay_model::PluginId::parse(self).unwrap()
    }
}

/// A device of this version at work, and power goes in the middle of a run.
fn lives(dir: &Path) {
    let config = Config::of(&Document::new(Path::new("agent.toml"), SMALL)).unwrap();
    let (mut memory, _) = Memory::open(dir, options()).unwrap();
    let mut device = Device::new(config.device_settings(), Mono(0), &slots(), 42);
    device.remember(&backstay_core::Watermarks {
        condemned: vec![Digest([5; 32])],
        generation: Generation(7),
        ..Default::default()
    });
    device.step(Mono(1), Input::Up { boot: BootId(1), slots: slots() });
    let (name, cohort) = (DeviceId::parse("pump-7").unwrap(), CohortId::parse("canary").unwrap());
    device.step(Mono(2), Input::Enrolled(Identity { device: name, cohort, labels: Vec::new() }));
    let mut record = |at: u64, events: &[Event]| {
        assert_eq!(memory.record(Mono(at), events, Some(snapshot(&device))), Durability::Durable);
    };
    let started = Event::Started { boot: BootId(1), booted: slots().booted, confirmed: slots().confirmed };
    record(1, &[started]);
    let (ticket, fence) = (Ticket(9), Fence(1));
    let order = Order { ticket, fence, task: Task::Install { release: release("1.5.0", 5) } };
    record(60_000, &[Event::Ordered { order, cause: backstay_model::Cause::NoData }]);
    let began = |ordinal| Event::EffectBegan { ticket, ordinal, what: "slot".into(), changes: true };
    record(60_001, &[began(0)]);
    record(60_002, &[Step::ended(ticket, 0, &Answer::Done)]);
    record(60_003, &[began(1)]);
    assert_eq!(memory.anchor(&words(&device)), Durability::Durable);
    memory.flush();
}

/// What a version left, as files. Most of them is room for more.
fn unpacked(version: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(folder(version).join("disk.txt")).unwrap();
    let mut file: Option<fs::File> = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["file", name, length] => {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let new = fs::File::create(path).unwrap();
                new.set_len(length.parse().unwrap()).unwrap();
                file = Some(new);
            }
            ["at", at, hex] => {
                let file = file.as_mut().unwrap();
                file.seek(SeekFrom::Start(at.parse().unwrap())).unwrap();
                let bytes = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
                file.write_all(&hex.as_bytes().chunks(2).map(bytes).collect::<Vec<_>>()).unwrap();
            }
            _ => panic!("{line}"),
        }
    }
    dir
}

/// The same, written down: what is zero is left out.
fn packed(dir: &Path) -> String {
    let mut files = Vec::new();
    gather(dir, &mut files);
    files.sort();
    let mut text = String::new();
    for path in files {
        let bytes = fs::read(&path).unwrap();
        let name = path.strip_prefix(dir).unwrap().display();
        text += &format!("file {name} {}\n", bytes.len());
        for (at, piece) in
            bytes.chunks(32).enumerate().filter(|(_, piece)| piece.iter().any(|byte| *byte != 0))
        {
            let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("at {} {hex}\n", at * 32);
        }
    }
    text
}

fn gather(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { gather(&entry, files) } else { files.push(entry) }
    }
}

/// What this agent goes on from.
fn goes_on(dir: &Path) -> (Memory, Recalled, Kept) {
    let (memory, recalled) = Memory::open(dir, options()).unwrap();
    let kept = Kept::decode(recalled.snapshot.as_deref().unwrap()).unwrap();
    (memory, recalled, kept)
}

fn is_all_there(dir: &Path) {
    let (memory, recalled, kept) = goes_on(dir);
    assert_eq!((recalled.clock, memory.head().seq), (Mono(70_000), 5));
    let said = recalled.words.unwrap();
    assert_eq!((said.condemned, said.last_known_good), (vec![Digest([5; 32])], Some(release("1.3.0", 3))));
    assert_eq!(said.marks.len(), 3);
    // The run is open, and what it was at when power went is in doubt.
    let steps = memory.steps(Ticket(9));
    assert_eq!(Step::answers(steps), [(0, Answer::Done)]);
    assert_eq!(Step::in_doubt(steps), [1]);
    assert!(kept.quarantine.is_out(&Digest([9; 32])));
    assert_eq!(
        (kept.pinned.len(), kept.accepted.len(), kept.upgrade.unwrap().generation()),
        (1, 1, Generation(3))
    );
    let config = Config::of(&Document::new(Path::new("agent.toml"), SMALL)).unwrap();
    let mut device = Device::restore(config.device_settings(), kept.device);
    assert_eq!(device.condemned(), [Digest([5; 32])]);
    assert_eq!(device.identity().map(|identity| identity.cohort.as_str()), Some("canary"));
    let effects = device.step(Mono(70_001), Input::Up { boot: BootId(2), slots: slots() });
    assert!(!effects.is_empty());
}

/// An update opens what the versions before it left, as it was left.
#[test]
fn what_every_version_left_is_opened() {
    if env::var_os("BACKSTAY_REWRITE_GOLDEN").is_some() {
        let dir = tempfile::tempdir().unwrap();
        lives(dir.path());
        fs::create_dir_all(folder(TODAY)).unwrap();
        fs::write(folder(TODAY).join("disk.txt"), packed(dir.path())).unwrap();
    }
    let versions = fs::read_dir(folder(TODAY).parent().unwrap()).unwrap();
    let mut versions: Vec<_> =
        versions.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    versions.sort();
    assert!(versions.iter().any(|version| version == TODAY), "{versions:?}");
    for version in versions {
        let dir = unpacked(&version);
        is_all_there(dir.path());
        // The second time it is this version's own.
        is_all_there(dir.path());
        // The view is rebuilt from the journal where there is none, or none that can be read.
        fs::remove_dir_all(dir.path().join("view")).unwrap();
        is_all_there(dir.path());
    }
}

/// What is written today is what is kept as today's: a change of form is seen here, and is another version's.
#[test]
fn todays_version_leaves_what_is_kept_of_it() {
    let (today, kept) = (tempfile::tempdir().unwrap(), unpacked(TODAY));
    lives(today.path());
    // The journal alone: the view is written as sled likes.
    let journal = |dir: &Path| packed(&dir.join("journal"));
    assert_eq!(journal(today.path()), journal(kept.path()));
}

/// Home from an image with a newer agent. One version on is read without what it has more; two on can't be known, and then
/// slots and anchors say what runs, what was condemned and what has been heard.
#[test]
fn what_a_newer_version_left_is_opened_as_far_as_it_is_known() {
    let from = |version: u16, more: &[u8]| {
        let dir = unpacked(TODAY);
        let newer = {
            let (_, recalled, _) = goes_on(dir.path());
            let mut item = recalled.snapshot.unwrap();
            item[2..4].copy_from_slice(&version.to_le_bytes());
            item.extend(more);
            let length = u32::try_from(item.len() - backstay_wire::HEADER_BYTES).unwrap();
            item[6..10].copy_from_slice(&length.to_le_bytes());
            item
        };
        let (mut memory, _) = Memory::open(dir.path(), options()).unwrap();
        let event = Event::Degraded { what: "a newer agent was here".into() };
        assert_eq!(memory.record(Mono(80_000), &[event], Some(newer)), Durability::Durable);
        dir
    };
    let next = <Kept as backstay_wire::Body>::VERSION + 1;
    let dir = from(next, b"and what it knows more");
    let (memory, recalled, kept) = goes_on(dir.path());
    assert!(kept.quarantine.is_out(&Digest([9; 32])));
    assert_eq!((kept.pinned.len(), recalled.clock), (1, Mono(80_000)));
    // What this one writes on top of it, the newer one reads as of the version before.
    drop(memory);
    let dir = from(next + 1, b"");
    let (_, recalled) = Memory::open(dir.path(), options()).unwrap();
    assert!(Kept::decode(recalled.snapshot.as_deref().unwrap()).is_none());
    let words = recalled.words.unwrap();
    assert_eq!((words.condemned.as_slice(), words.security_floor), (&[Digest([5; 32])][..], 1));
    assert_eq!(words.mark(Stream::Product).map(|mark| mark.counter), Some(7));
}
