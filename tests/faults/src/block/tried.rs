//! What is tried on the rig: a course of a whole device, and, so that it is known that the rig sees a loss, sled with
//! nothing but its own `flush()`.
//!
//! Each is run once. Then the device is made as a cut would have left it, at each write and flush or at as many of them as
//! are asked for, mounted, and looked at by a program of its own. What was heard before the cut has to be there.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    log::{Kept, Log},
    rig::{BYTES, Heard, Mounted, Rig, put},
};
use crate::power::course::Course;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Writes while the program ran.
    pub writes: usize,
    /// Flushes then.
    pub flushes: usize,
    /// What was heard.
    pub heard: usize,
    /// Devices that were mounted and looked at.
    pub cuts: usize,
    /// Those on which something was lost.
    pub lost: usize,
    /// The first of it.
    pub told: Vec<String>,
}

/// Losses that are told one by one.
const TOLD_MAX: usize = 8;

/// A course of a device.
///
/// # Errors
/// If it doesn't work without a cut, or the machine can't do this.
pub fn course(course: Course, programs: &Path, base: &Path, cuts: usize) -> Result<Tried, String> {
    let _memory = Mounted::memory(base)?;
    let plain = base.join("plain");
    fs::create_dir_all(&plain).map_err(|error| error.to_string())?;
    course.prepares(&plain)?;
    let end = base.join("end");
    let ended = postcard::to_allocvec(&course.ends(&plain)?).map_err(|error| error.to_string())?;
    fs::write(&end, ended).map_err(|error| error.to_string())?;
    let rig = Rig::starts(base)?;
    let dir = rig.dir().join("device");
    fs::create_dir(&dir).map_err(|error| error.to_string())?;
    course.prepares(&dir)?;
    synced(&rig.dir())?;
    let (life, from) = (programs.join("pump-life"), rig.length());
    let heard = rig.hears(Command::new(&life).arg(&dir).args([course.name, "0"]))?;
    synced(&rig.dir())?;
    let said = base.join("said");
    fs::write(&said, heard.said.join("\n")).map_err(|error| error.to_string())?;
    let log = rig.ends();
    cut(&log, (from, &heard), base, cuts, |dir, count| {
        let mut look = Command::new(programs.join("pump-look"));
        look.arg(dir.join("device")).arg(course.name).arg(&said).arg(count.to_string()).arg(&end);
        look
    })
}

/// sled alone.
///
/// # Errors
/// If the machine can't do this.
pub fn sled(programs: &Path, base: &Path, cuts: usize) -> Result<Tried, String> {
    let _memory = Mounted::memory(base)?;
    let rig = Rig::starts(base)?;
    let dir = rig.dir().join("sled");
    synced(&rig.dir())?;
    let (alone, from) = (programs.join("sled-alone"), rig.length());
    let heard = rig.hears(Command::new(&alone).arg(&dir).arg("writes"))?;
    let log = rig.ends();
    cut(&log, (from, &heard), base, cuts, |dir, count| {
        let mut look = Command::new(&alone);
        look.arg(dir.join("sled")).arg("has").arg(count.to_string());
        look
    })
}

fn synced(dir: &Path) -> Result<(), String> {
    let synced = Command::new("sync").arg("-f").arg(dir).status().map_err(|error| error.to_string())?;
    if synced.success() { Ok(()) } else { Err("the file system can't be synced".into()) }
}

/// Cuts what ran from a place in the log on, evenly at so many points if there are more.
fn cut(
    log: &Path,
    (from, heard): (u64, &Heard),
    base: &Path,
    cuts: usize,
    look: impl Fn(&Path, usize) -> Command,
) -> Result<Tried, String> {
    let log = Log::read(log, BYTES).map_err(|error| error.to_string())?;
    let first = log.count(from);
    // What the unmounting wrote belongs to nobody's words.
    let last = log.count(heard.at.last().copied().unwrap_or(from)).max(first);
    let mut tried = Tried { heard: heard.said.len(), ..Tried::default() };
    tried.flushes = log.flushes(first, last);
    tried.writes = last - first - tried.flushes;
    let models = |at: usize| [Kept::None, Kept::All, Kept::Some(at as u64 + 1)];
    let all: Vec<(usize, Kept)> = (first..=last).flat_map(|at| models(at).map(|kept| (at, kept))).collect();
    let (image, dir) = (base.join("left"), base.join("looked"));
    let count = cuts.min(all.len()).max(1);
    for turn in 0..count {
        let (at, kept) = all[turn * all.len() / count];
        put(&log.device(at, kept), &image).map_err(|error| error.to_string())?;
        // What was heard when the log was no longer than this is about what is in it.
        let known = heard.at.partition_point(|heard| *heard <= log.place(at));
        tried.cuts += 1;
        let looked = Mounted::on(&image, &dir).and_then(|mounted| {
            let mut look = look(mounted.dir(), known);
            let output = look.stdin(Stdio::null()).output().map_err(|error| format!("{look:?}: {error}"))?;
            if output.status.success() {
                return Ok(());
            }
            let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(if told.is_empty() { output.status.to_string() } else { told })
        });
        if let Err(why) = looked {
            tried.lost += 1;
            if tried.told.len() < TOLD_MAX {
                let of = last - first;
                tried.told.push(format!("cut after {} of {of} ({kept:?}), {known} heard: {why}", at - first));
            }
        }
    }
    Ok(tried)
}
