//! A real agent on a disk that is full or takes no writes any more, an agent and a server that can open nothing, and an agent
//! whose machine's clock stands elsewhere at each start. Each goes on, says so, and has lost and doubled nothing in the end.
//!
//! Mounts are in namespaces of their own, and limits are those of processes that were started here. Not here: power cuts (`power`,
//! `disk`), and kills while all is well (`fire`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    env, fs,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use backstay_test_faults::fire::{
    account::entries,
    herd::{Herd, Kind, Store, Sum, journal},
    surroundings::{Disk, WallClock, give_descriptors, missing, start_elsewhen, take_descriptors},
};
use backstay_test_fleet::Broker;

/// Fleets take both processors of a small machine, so they come one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// So often a device has to mend itself while its disk takes nothing.
const DEEDS: usize = 4;
/// Enough for a journal of a few segments, a view, and ext4's own.
const DISK_MIB: u64 = 24;

fn can_run() -> Option<MutexGuard<'static, ()>> {
    let why = match (env::var_os("BACKSTAY_LONG"), Broker::program()) {
        (None, _) => Some("it is part of the long form alone: cargo xtask test faults".into()),
        (_, None) => Some("mosquitto is not installed".into()),
        (Some(_), Some(_)) => missing(),
    };
    if let Some(why) = why {
        println!("skipped, because {why}");
        return None;
    }
    Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn said(herd: &Herd, what: &str) -> usize {
    fs::read_to_string(herd.fleet.devices[0].log()).unwrap_or_default().matches(what).count()
}

/// One device that has sent some records.
fn one(dir: &Path) -> Herd {
    let mut herd = Herd::start(dir, 1, &Kind::default()).unwrap();
    herd.until_records(60).unwrap();
    herd
}

/// The same on a disk of its own, which can be taken from it.
fn one_on_a_disk(dir: &Path) -> (Herd, Disk) {
    let mut herd = one(dir);
    herd.fleet.devices[0].stop();
    let disk = Disk::under(&herd.fleet.devices[0], DISK_MIB).unwrap();
    disk.start(&mut herd.fleet.devices[0]).unwrap();
    is_heard(&mut herd);
    (herd, disk)
}

/// What it has to say is heard, and it leaves that disk; what was done is held against what is told.
fn settles_off(herd: &mut Herd, disk: Disk) -> Sum {
    is_heard(herd);
    herd.fleet.devices[0].stop();
    disk.leave().unwrap();
    herd.excuse(0);
    herd.fleet.devices[0].start().unwrap();
    herd.settle().unwrap()
}

/// The device goes on mending itself, so many times, and its agent stays the same process.
fn goes_on(herd: &mut Herd) {
    let (pid, before) = (herd.fleet.devices[0].pid(), herd.deeds(0));
    until("it has mended itself a few times", || herd.deeds(0) >= before + DEEDS);
    assert!(herd.fleet.devices[0].runs() && herd.fleet.devices[0].pid() == pid, "the agent runs on");
}

/// New records come.
fn is_heard(herd: &mut Herd) {
    let before = herd.records();
    herd.until_records(before + 30).unwrap();
}

const NOT_RECORDED: &str = "what happens is not recorded any more";

#[test]
fn a_full_disk_stops_nobody_and_what_happened_meanwhile_is_recorded_late() {
    let Some(_alone) = can_run() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (mut herd, disk) = one_on_a_disk(dir.path());
    disk.fill(&herd.fleet.devices[0]).unwrap();
    // What the journal keeps free for that lets it record on for a while; then that is taken as well.
    until("it says that nothing is recorded", || said(&herd, NOT_RECORDED) > 0);
    goes_on(&mut herd);
    let mut last = herd.records();
    until("nothing is recorded", || {
        disk.fill(&herd.fleet.devices[0]).unwrap();
        goes_on(&mut herd);
        let before = std::mem::replace(&mut last, herd.records());
        last == before
    });
    disk.make_room(&herd.fleet.devices[0]).unwrap();
    let sum = settles_off(&mut herd, disk);
    println!(
        "summary: a full disk: {} records, {} deeds: what happened meanwhile came late, and nothing is missing",
        sum.records, sum.deeds.done
    );
}

#[test]
fn a_disk_that_turned_read_only_stops_nobody_and_a_start_on_it_mended_goes_on() {
    let Some(_alone) = can_run() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (mut herd, disk) = one_on_a_disk(dir.path());
    disk.becomes_read_only(&herd.fleet.devices[0]).unwrap();
    let from = herd.deeds(0);
    until("it says that nothing is recorded", || said(&herd, NOT_RECORDED) > 0);
    goes_on(&mut herd);
    // As when a machine is started anew because of it: what was never durable is gone with the process.
    herd.fleet.devices[0].kill();
    disk.check().unwrap();
    let lost = herd.forget_deeds(0, from).unwrap();
    disk.start(&mut herd.fleet.devices[0]).unwrap();
    let sum = settles_off(&mut herd, disk);
    println!(
        "summary: a disk that turned read-only: {} records, {} deeds, and {lost} while nothing could be recorded",
        sum.records, sum.deeds.done
    );
    assert!(lost >= DEEDS);
}

#[test]
fn who_can_open_nothing_goes_on_when_it_can_again() {
    let Some(_alone) = can_run() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut herd = one(dir.path());
    // A command that can't be started is a failed effect, and not one that a kill cut off.
    herd.excuse(0);
    let agent = herd.fleet.devices[0].pid().unwrap();
    take_descriptors(agent).unwrap();
    let before = herd.deeds(0);
    until("it says so", || said(&herd, " degraded: ") > 0);
    // The one that ran when they were taken.
    assert!(herd.deeds(0) <= before + 1, "a command was started without a descriptor");
    // The connection goes, and no other can be had.
    herd.kill_broker(Duration::ZERO, Store::Kept).unwrap();
    until("the server is there", || herd.fleet.view().is_ok());
    assert!(herd.fleet.devices[0].runs() && herd.fleet.devices[0].pid() == Some(agent), "the agent runs on");
    let failed = herd.records();
    give_descriptors(agent).unwrap();
    herd.until_records(failed + 30).unwrap();
    until("it mends itself again", || herd.deeds(0) > before + DEEDS);

    let server = herd.fleet.server_id().unwrap();
    take_descriptors(server).unwrap();
    assert!(herd.fleet.view().is_err(), "the server took a connection without a descriptor");
    goes_on(&mut herd);
    assert_eq!(herd.fleet.server_id(), Some(server));
    give_descriptors(server).unwrap();
    until("the server answers", || herd.fleet.view().is_ok());
    is_heard(&mut herd);
    assert_eq!(herd.fleet.devices[0].pid(), Some(agent), "the same agent all the while");
    let sum = herd.settle().unwrap();
    println!("summary: no descriptors: {} records, {} deeds, none twice", sum.records, sum.deeds.done);
}

/// Days by which the machine's monotonic clock stands ahead at each start, or seconds behind.
const STARTS: [i64; 5] = [400 * 86_400, 0, -3_000, 86_400, 0];

#[test]
fn a_machine_clock_that_stands_elsewhere_at_each_start_does_not_move_the_devices() {
    let Some(_alone) = can_run() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut herd = one(dir.path());
    for seconds in STARTS {
        herd.fleet.devices[0].kill();
        start_elsewhen(&mut herd.fleet.devices[0], seconds).unwrap();
        is_heard(&mut herd);
    }
    herd.fleet.devices[0].kill();
    herd.excuse(0);
    herd.fleet.devices[0].start().unwrap();
    let sum = herd.settle().unwrap();
    let (records, _) = journal(&herd.fleet.devices[0]).unwrap();
    let times: Vec<_> = entries(&records).unwrap().into_iter().map(|entry| entry.at.0).collect();
    for (seq, pair) in (2..).zip(times.windows(2)) {
        let [before, after] = pair else { continue };
        assert!(before <= after, "record {seq} is of {after} ms, the one before of {before} ms");
    }
    let passed = times.last().unwrap() - times.first().unwrap();
    println!("summary: clock set back and forth: {} records, {passed} ms by the device's clock", sum.records);
    assert!(
        passed < 86_400_000,
        "{passed} ms: a day of another machine's clock was taken for the device's own"
    );
}

/// Days by which the wall's clock is wrong, one after the other, while programs run.
const WALL: [i64; 4] = [-4_000, 400, -1, 0];

/// The wall's clock only shows in signatures and in what people read: nothing waits by it, and nothing is ordered by it.
#[test]
fn a_wall_clock_that_is_set_back_and_forth_delays_no_record() {
    let Some(_alone) = can_run() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some(clock) = WallClock::right(dir.path()).unwrap() else {
        println!("skipped, because libfaketime is not installed");
        return;
    };
    let mut herd = one(dir.path());
    let (program, arguments) = clock.within();
    herd.fleet.devices[0].stop();
    herd.fleet.kill_server();
    herd.fleet.start_server_within(program, &arguments).unwrap();
    herd.fleet.devices[0].start_within(program, &arguments).unwrap();
    for days in WALL {
        clock.set(days).unwrap();
        is_heard(&mut herd);
    }
    // The programs did see it: the agent's log is dated by it.
    let log = fs::read_to_string(herd.fleet.devices[0].log()).unwrap();
    let years: std::collections::BTreeSet<_> = log.lines().filter_map(|line| line.get(..4)).collect();
    assert!(
        years.iter().filter(|year| year.starts_with("20")).count() > 1,
        "all that the agent saw: {years:?}"
    );
    let sum = herd.settle().unwrap();
    println!(
        "summary: wall clock set by {WALL:?} days: {} records, no gap; years in the agent's log: {years:?}",
        sum.records
    );
}
