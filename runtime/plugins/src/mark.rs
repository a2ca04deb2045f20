//! Which call is under way, where the end of the process doesn't reach it.
//!
//! A plugin can't end the process that it runs in, unless compiler or host have a hole. Then it happens with each call,
//! and after each restart; so the call that a process ended in is looked up by the next one, and counts against its
//! plugin. Here: the mark. Not here: how many make a quarantine (`core`).
//!
//! A mark is written into a file and not made durable, before and after each call, which costs some microseconds: what
//! was written outlives the process, in the memory of the kernel. It doesn't outlive a power cut, and need not: those
//! don't come from plugins, and a mark of another boot is not read (`runtime/decisions/0016-the-call-in-progress.md`).

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use backstay_core::{Confidence, Move};
use backstay_model::{BootId, Digest, Event, Handover, HandoverStep, Mono, PluginId, Version};
use serde::{Deserialize, Serialize};

/// Of the file. A plugin's name has at most 129 bytes.
const BYTES: usize = 512;

/// A file that says which call is under way.
#[derive(Debug)]
pub struct Mark {
    file: File,
    boot: BootId,
}

/// A call that did not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// In which boot.
    boot: BootId,
    /// Of which plugin.
    pub plugin: PluginId,
    /// Its version, for people.
    pub version: Version,
    /// The grant under which it ran.
    pub grant: Digest,
}

impl Left {
    /// Counts it, once: whoever had the mark opened has it no more. What it gives is to be recorded.
    pub fn count(&self, now: Mono, confidence: &mut Confidence) -> Vec<Event> {
        let Self { plugin, version, grant, .. } = self;
        let mut events = vec![Event::BroughtDown { plugin: plugin.clone(), grant: *grant }];
        if let Some(strikes) = confidence.quarantine.brought_down(now, *grant) {
            let why = "the process ended in the middle of its call".into();
            events.push(Event::Quarantined { plugin: plugin.clone(), grant: *grant, strikes, why });
        }
        if let Some(Move::Refused { back_to, was_deciding, why, .. }) =
            confidence.succession.brought_down(grant)
        {
            let step = HandoverStep::Refused { back_to, was_deciding, why: why.to_string() };
            let (plugin, version) = (plugin.clone(), version.clone());
            events.push(Event::Handover(Handover { plugin, version, grant: *grant, step }));
        }
        events
    }
}

impl Mark {
    /// The mark in the file at `path`, which is made where it isn't there, and the call that the process before did not
    /// come back from, in this boot.
    ///
    /// # Errors
    /// If there can be no such file.
    pub fn open(path: &Path, boot: BootId) -> io::Result<(Self, Option<Left>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; BYTES];
        let read = file.read_at(&mut bytes, 0)?;
        // The room is taken now: a disk that is full later doesn't keep a call from being marked.
        file.write_all_at(&[0; BYTES], 0)?;
        let left = bytes.get(..read).and_then(left).filter(|left| left.boot == boot);
        Ok((Self { file, boot }, left))
    }

    /// Calls a plugin, marked.
    pub fn around<T>(
        &self,
        plugin: &PluginId,
        version: &Version,
        grant: &Digest,
        call: impl FnOnce() -> T,
    ) -> T {
        let (boot, plugin, version) = (self.boot, plugin.clone(), version.clone());
        let left = Left { boot, plugin, version, grant: *grant };
        let mut bytes = [0; BYTES];
        // A plugin's name is much shorter than the room. The first byte says that there is something.
        let marked = bytes.split_first_mut().is_some_and(|(first, rest)| {
            *first = 1;
            postcard::to_slice(&left, rest).is_ok()
        });
        // A mark that can't be written keeps nobody from deciding: it only names nobody later.
        let marked = marked && self.file.write_all_at(&bytes, 0).is_ok();
        let came = call();
        if marked {
            let _ = self.file.write_all_at(&[0], 0);
        }
        came
    }
}

fn left(bytes: &[u8]) -> Option<Left> {
    match bytes.split_first()? {
        (1, rest) => postcard::take_from_bytes(rest).ok().map(|(left, _)| left),
        (_, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, panic};

    use super::*;

    const BOOT: BootId = BootId(7);

    fn plugin() -> (PluginId, Version, Digest) {
        (PluginId::parse("acme/pump").unwrap(), Version::parse("2.0").unwrap(), Digest([3; 32]))
    }

    /// The process ends in a call. A panic stands for it: what follows the call is not reached.
    fn ends_in_a_call(path: &Path) {
        let (mark, _) = Mark::open(path, BOOT).unwrap();
        let (id, version, grant) = plugin();
        let died = panic::catch_unwind(|| mark.around(&id, &version, &grant, || panic!("it is over")));
        assert!(died.is_err());
    }

    #[test]
    fn the_call_that_a_process_ended_in_is_known_to_the_next_one_and_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("call");
        let (id, version, grant) = plugin();
        let (mark, left) = Mark::open(&path, BOOT).unwrap();
        assert_eq!(left, None);
        assert_eq!(mark.around(&id, &version, &grant, || 5), 5);
        drop(mark);
        assert_eq!(Mark::open(&path, BOOT).unwrap().1, None, "that call came back");

        ends_in_a_call(&path);
        let left = Mark::open(&path, BOOT).unwrap().1.unwrap();
        assert_eq!((left.plugin, left.grant), (id, grant));
        assert_eq!(Mark::open(&path, BOOT).unwrap().1, None);
    }

    #[test]
    fn a_mark_of_another_boot_or_one_that_is_damaged_accuses_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("call");
        ends_in_a_call(&path);
        assert_eq!(Mark::open(&path, BootId(8)).unwrap().1, None);
        ends_in_a_call(&path);
        let whole = fs::read(&path).unwrap();
        for cut in 0..40 {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(Mark::open(&path, BOOT).unwrap().1, None, "cut at {cut}");
        }
        fs::write(&path, [0xff; 4096]).unwrap();
        assert_eq!(Mark::open(&path, BOOT).unwrap().1, None);
    }

    /// The process ends in the same plugin's call again and again: after the third time it is no longer asked.
    #[test]
    fn three_restarts_put_a_plugin_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("call");
        let (plugin, _, grant) = plugin();
        let mut confidence = Confidence::default();
        for restart in 1..=3_u64 {
            ends_in_a_call(&path);
            let left = Mark::open(&path, BOOT).unwrap().1.unwrap();
            // An hour apart: longer than other strikes count.
            let events = left.count(Mono(restart * 3_600_000), &mut confidence);
            assert_eq!(events[0], Event::BroughtDown { plugin: plugin.clone(), grant });
            assert_eq!(events.len(), if restart == 3 { 2 } else { 1 }, "{events:?}");
            assert_eq!(confidence.quarantine.is_out(&grant), restart == 3);
        }
    }
}
