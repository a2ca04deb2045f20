//! Every point of a course at which the power can go, every state that it can leave, and what has to hold of each.
//!
//! - The device starts, and a slot boots.
//! - What it said is so: records are there as they were, words, keyrings, revocation, bundles and papers are those or
//!   newer, slots say what was done or what was being done.
//! - What counts upwards was not lower before: reports, and the clock.
//! - No cut is taken for damage.
//! - The course ends as it ends without a cut; what happens once has happened once, and nothing is done that the slots
//!   show done.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::Path,
    sync::{Mutex, mpsc},
    thread,
};

use backstay_wire::{AnchorWords, decode};

use super::{
    course::Course,
    disk::{Cut, Did, Disk, Left, name_of, put_into},
    found::{End, Woken},
    recorded::Recorded,
};

/// Bad ends that are told one by one.
const TOLD_MAX: usize = 12;

/// Findings that a cut explains. All others would say that a cut was taken for damage.
const EXPLAINED: [&str; 6] = [
    "the last write was cut short",
    "anchor slot ",
    "the view was set aside",
    "copy 0 of the slots' environment",
    "copy 1 of the slots' environment",
    "the view is in memory only",
];

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Random choices of what is left, at each point.
    pub seeds: u64,
    /// Restarts that are cut again, at each of their points, in a course. They are spread over it evenly.
    pub again: usize,
}

/// What came of a course.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Calls that change something or make it durable.
    pub calls: usize,
    /// What is cut: before each of them, and after the last.
    pub points: usize,
    /// Points times models.
    pub cuts: usize,
    /// Different states that they leave, each of which was started on and gone on from to the end.
    pub states: usize,
    /// Points in restarts that were cut again.
    pub points_again: usize,
    /// And the different states that those cuts leave.
    pub states_again: usize,
    /// Cuts that something went wrong after.
    pub bad: usize,
    /// The first of them.
    pub told: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, points, cuts, states, points_again, states_again, bad, .. } = self;
        write!(f, "{calls} calls, {points} points, {cuts} cuts, {states} states; ")?;
        write!(f, "{points_again} points in restarts, {states_again} states; {bad} bad ends")
    }
}

/// What came of starting on a state.
type Came = Result<(Woken, End, Vec<String>, Vec<String>), String>;

/// One cut: where, how, and what had been said by then.
struct Point {
    at: usize,
    cut: Cut,
    said: usize,
    state: [u8; 32],
}

/// A course that was run once, and everything that may be left of it.
struct Enumerated {
    /// All that was said, before this run and in it.
    said: Vec<String>,
    points: Vec<Point>,
    came: BTreeMap<[u8; 32], Came>,
    calls: usize,
    places: usize,
}

/// Cuts a course at every point.
///
/// # Errors
/// If it doesn't work without any cut.
pub fn cut_everywhere(course: Course, program: &Path, base: &Path, effort: Effort) -> Result<Report, String> {
    let dir = base.join("device");
    empty(&dir)?;
    course.prepares(&dir).map_err(|why| format!("{}: before it: {why}", course.name))?;
    let plain = base.join("plain");
    empty(&plain)?;
    let whole = Disk::of(&dir).map_err(|error| error.to_string())?;
    put_into(&whole.left(Cut::Kill), &plain).map_err(|error| error.to_string())?;
    let end = course.ends(&plain).map_err(|why| format!("{}: without a cut: {why}", course.name))?;
    let mut report = Report::default();
    let recorded = record(course, program, &dir, 0)?;
    let models: Vec<Cut> = [Cut::Kill, Cut::Strict, Cut::NamesOnly, Cut::JournalBehind]
        .into_iter()
        .chain((0..effort.seeds).map(|seed| Cut::Some(seed + 1)))
        .collect();
    let all = enumerate(course, &recorded, Vec::new(), &models, base)?;
    (report.calls, report.points, report.cuts, report.states) =
        (all.calls, all.places, all.points.len(), all.came.len());
    judge(course, &all, &end, "", &mut report);

    // What a restart does is cut in turn: coming back has to be as safe as going on.
    let strict: Vec<&Point> = all.points.iter().filter(|point| point.cut == Cut::Strict).collect();
    let step = strict.len().div_ceil(effort.again.max(1)).max(1);
    let mut done = Vec::new();
    for point in strict.into_iter().step_by(step).take(effort.again) {
        if done.contains(&point.state) {
            continue;
        }
        done.push(point.state);
        let mut disk = recorded.before.clone();
        recorded.did[..point.at].iter().for_each(|did| disk.does(did));
        empty(&dir)?;
        put_into(&disk.left(Cut::Strict), &dir).map_err(|error| error.to_string())?;
        let said = all.said[..point.said].to_vec();
        let again = record(course, program, &dir, step_of(&said))?;
        let again = enumerate(course, &again, said, &[Cut::Kill, Cut::Strict], base)?;
        report.points_again += again.places;
        report.states_again += again.came.len();
        judge(course, &again, &end, &format!("cut before call {} and again ", point.at), &mut report);
    }
    Ok(report)
}

fn record(course: Course, program: &Path, dir: &Path, from: usize) -> Result<Recorded, String> {
    let words = [dir.to_str().ok_or("a path that is no text")?, course.name, &from.to_string()];
    Recorded::of(program, &words, dir).map_err(|why| format!("{}: {why}", course.name))
}

fn empty(dir: &Path) -> Result<(), String> {
    drop(fs::remove_dir_all(dir));
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

/// The last thing that had begun to happen.
fn step_of(said: &[String]) -> usize {
    said.iter().rev().find_map(|said| said.strip_prefix("step ")?.parse().ok()).unwrap_or(0)
}

/// Makes each state that a cut can leave, and lets the device start on it and go to its end, as many at once as there
/// are processors.
fn enumerate(
    course: Course,
    recorded: &Recorded,
    mut said: Vec<String>,
    models: &[Cut],
    base: &Path,
) -> Result<Enumerated, String> {
    let (mut points, mut places, mut calls) = (Vec::new(), 0, 0);
    let came = Mutex::new(BTreeMap::<[u8; 32], Came>::new());
    let workers = thread::available_parallelism().map_or(1, usize::from).min(8);
    thread::scope(|scope| {
        let (give, take) = mpsc::sync_channel::<([u8; 32], Left, usize)>(4);
        let take = std::sync::Arc::new(Mutex::new(take));
        for worker in 0..workers {
            let (take, came) = (std::sync::Arc::clone(&take), &came);
            scope.spawn(move || {
                for turn in 0_u64.. {
                    let next = take.lock().unwrap().recv();
                    let Ok((name, left, from)) = next else { break };
                    // sled's threads may still be at the last one.
                    let dir = base.join(format!("worker-{worker}-{turn}"));
                    let ended = start_on(course, &left, from, &dir);
                    drop(fs::remove_dir_all(&dir));
                    came.lock().unwrap().insert(name, ended);
                }
            });
        }
        let mut given = std::collections::BTreeSet::new();
        let mut disk = recorded.before.clone();
        let mut cut = |disk: &Disk, at: usize, said: &[String], points: &mut Vec<Point>| {
            let from = step_of(said);
            let torn = disk.last_write().map_or(Vec::new(), |write| torn(write.len()));
            for model in models.iter().copied().chain(torn.into_iter().map(Cut::Torn)) {
                // Another choice at each point.
                let drawn = if let Cut::Some(seed) = model {
                    Cut::Some(seed.wrapping_mul(0x9e37_79b9).wrapping_add(at as u64))
                } else {
                    model
                };
                let left = disk.left(drawn);
                let mut name = name_of(&left);
                name[31] = from as u8;
                points.push(Point { at, cut: drawn, said: said.len(), state: name });
                if given.insert(name) {
                    give.send((name, left, from)).unwrap();
                }
            }
        };
        for (at, did) in recorded.did.iter().enumerate() {
            if let Did::Says(words) = did {
                said.push(words.clone());
                continue;
            }
            cut(&disk, at, &said, &mut points);
            (places, calls) = (places + 1, calls + 1);
            disk.does(did);
        }
        cut(&disk, recorded.did.len(), &said, &mut points);
        places += 1;
        drop(give);
    });
    Ok(Enumerated { said, points, came: came.into_inner().unwrap(), calls, places })
}

/// So many bytes of the last write are there, if not all.
fn torn(bytes: usize) -> Vec<usize> {
    let mut torn: Vec<usize> = [1, 512, bytes / 2, 4096].into_iter().filter(|torn| *torn < bytes).collect();
    torn.sort_unstable();
    torn.dedup();
    torn
}

fn start_on(course: Course, left: &Left, from: usize, dir: &Path) -> Came {
    put_into(left, dir).map_err(|error| format!("the state can't be made: {error}"))?;
    let (woken, pump) = course.goes(dir, from, |_| ())?;
    let (said, again) = (pump.said.clone(), pump.again.clone());
    let end = pump.ends()?;
    Ok((woken, end, said, again))
}

fn judge(course: Course, all: &Enumerated, end: &End, told: &str, report: &mut Report) {
    for Point { at, cut, said, state } in &all.points {
        let held = match &all.came[state] {
            Ok((woken, ended, said_after, again)) => {
                holds(&all.said, *said, woken, said_after).and_then(|()| {
                    ended.is_like(end, &woken.unsaid(&all.said[..*said]))?;
                    if again.is_empty() {
                        Ok(())
                    } else {
                        Err(format!("it did again what was done: {again:?}"))
                    }
                })
            }
            Err(why) => Err(why.clone()),
        };
        if let Err(why) = held {
            report.bad += 1;
            if report.told.len() < TOLD_MAX {
                report.told.push(format!("{}: {told}cut before call {at} ({cut:?}): {why}", course.name));
            }
        }
    }
}

/// Starts the device on what a cut has left, holds that against the first `count` things that it had said, goes on to the
/// end of the course, and holds that against how it ends without a cut.
///
/// # Errors
/// What was lost, or doesn't work any more.
pub fn holds_after(
    course: Course,
    dir: &Path,
    (said, count): (&[String], usize),
    end: &End,
) -> Result<(), String> {
    let (woken, pump) = course.goes(dir, step_of(&said[..count]), |_| ())?;
    holds(said, count, &woken, &pump.said)?;
    if !pump.again.is_empty() {
        return Err(format!("it did again what was done: {:?}", pump.again));
    }
    pump.ends()?.is_like(end, &woken.unsaid(&said[..count]))
}

/// Holds what was said before a cut against what was found after it.
fn holds(all: &[String], said: usize, woken: &Woken, said_after: &[String]) -> Result<(), String> {
    let before = &all[..said];
    for (seq, sum) in before.iter().filter_map(|said| pair(said.strip_prefix("durable ")?)) {
        match woken.entries.get(&seq) {
            Some((found, _)) if *found == sum => {}
            Some(_) => return Err(format!("record {seq} is another one")),
            None => return Err(format!("record {seq} is gone")),
        }
    }
    if let Some(last) = before.iter().rposition(|said| said.starts_with("words ")) {
        let words =
            |said: &String| decode::<AnchorWords>(&bytes_of(said.strip_prefix("words ")?)?, usize::MAX).ok();
        let newer = all[last..].iter().filter_map(words).any(|words| Some(&words) == woken.words.as_ref());
        if !newer {
            return Err(format!("the words are older than what was anchored: {:?}", woken.words));
        }
        let clock = words(&all[last]).map(|words| words.clock);
        if clock.is_some_and(|clock| woken.clock < clock) {
            return Err(format!("the clock stands at {:?}, and stood at {clock:?}", woken.clock));
        }
    }
    for (number, revocation) in before.iter().filter_map(|said| pair(said.strip_prefix("trusts ")?)) {
        let (found, heeded) = woken.trusted;
        if found < number || heeded.unwrap_or(0) < revocation {
            return Err(format!(
                "keyring {number} and revocation {revocation} were trusted, and now {:?}",
                woken.trusted
            ));
        }
    }
    for (kind, there) in [("bundle ", &woken.bundles), ("paper ", &woken.papers)] {
        if let Some(gone) =
            before.iter().filter_map(|said| said.strip_prefix(kind)).find(|name| !there.contains(*name))
        {
            return Err(format!("{kind}{gone} is gone"));
        }
    }
    let slots = |said: &String| {
        postcard::from_bytes::<backstay_model::SlotStatus>(&bytes_of(said.strip_prefix("slots ")?)?).ok()
    };
    if let Some(last) = before.iter().rposition(|said| said.starts_with("slots ")) {
        let found = woken.slots.as_ref().ok_or("the slots don't say what is in them")?;
        let so = |said: backstay_model::SlotStatus| {
            said.confirmed == found.confirmed && said.trying == found.trying
        };
        if !all[last..].iter().filter_map(slots).any(so) {
            return Err(format!("the slots say {found:?}"));
        }
    }
    let report = |said: &String| said.strip_prefix("report ")?.parse::<u64>().ok();
    let (highest, next) = (before.iter().filter_map(report).max(), said_after.iter().find_map(report));
    if let (Some(highest), Some(next)) = (highest, next)
        && next <= highest
    {
        return Err(format!("report {next} follows report {highest}"));
    }
    match woken.findings.iter().find(|finding| !EXPLAINED.iter().any(|explained| finding.contains(explained)))
    {
        Some(finding) => Err(format!("a cut was taken for damage: {finding}")),
        None => Ok(()),
    }
}

fn pair(words: &str) -> Option<(u64, u64)> {
    let (one, two) = words.split_once(' ')?;
    Some((one.parse().ok()?, two.parse().ok()?))
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}
