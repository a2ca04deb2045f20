//! Installing `.swu` archives by SWUpdate. The artifact is the archive; the image that it puts into a slot is one of its members.
//!
//! Who switches is never SWUpdate: it is told `-B none`, so that neither a `bootenv` in an archive nor a marker of its own reaches
//! the boot loader, and `-M -m` for those of its versions that know them. It leaves a slot bootable while it writes; the slot is barred
//! before (`backend`).
//!
//! What a cut can leave, and what ends it. The ledger says `staging` each time, and the slot is barred:
//!
//! ```text
//! SWUpdate killed   the slot holds half; staged again
//! we were killed    SWUpdate goes on and holds the device's lock: busy until it is done, then staged again
//! power             the slot holds anything; staged again
//! ```
//!
//! Not here: the archive (`archive`).

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_model::{Release, Transience};
use backstay_slots::{Artifact, Slot, SlotError};

use super::{
    Devices, Summed, Write,
    archive::{self, Archive},
    name_of,
};
use crate::{
    ledger::Image,
    tool::{Ended, Tool, ToolError},
};

const HELP_CHECK: &str = "see what `swupdate -c -v -i FILE` says with the same options: the key, the hardware, the selection of this slot";
const HELP_INSTALL: &str = "look at the device, and whether another SWUpdate runs";
const HELP_DEVICE: &str =
    "let the archive's selections for slots a and b name the devices that slots.toml names";
const HELP_HELD: &str =
    "keep the image uncompressed in the archive, or state its digest and length in a member `backstay-image`";

/// Members that are never an image.
const DESCRIPTION: &str = "sw-description";

/// Writes by SWUpdate.
///
/// The archive is read whole before: what SWUpdate is given is the release, and so are its members. It is checked by SWUpdate, its
/// signature and each digest, before the slot is touched. Afterwards the slot is read, and has to begin with the member that SWUpdate
/// says it writes there. A compressed image is none of the members: then a member `backstay-image` says `DIGEST LENGTH` of
/// it, as `sha256sum` and `stat -c %s` print them.
#[derive(Debug)]
pub struct SwUpdate {
    tool: Tool,
    selections: [String; 2],
    devices: Devices,
}

impl SwUpdate {
    /// By `command`, which says how archives are checked: `["swupdate", "-k", "/etc/swupdate.pem", "-H", "pump:1.0"]`.
    /// `selections` are what the archives install into slot a and into slot b, `stable,copy1` and `stable,copy2`; `limit` is
    /// how long one installation may take.
    ///
    /// # Errors
    /// A device can't be opened.
    pub fn open(
        command: Vec<String>,
        selections: [String; 2],
        limit: Duration,
        a: &Path,
        b: &Path,
    ) -> Result<Self, SlotError> {
        Ok(Self { tool: Tool::new(command, limit), selections, devices: Devices::open(a, b)? })
    }

    fn run(&self, slot: Slot, words: &[&str], held: &std::fs::File) -> Result<Ended, ToolError> {
        let mut all = vec!["-M", "-m", "-B", "none", "-e", &self.selections[slot as usize]];
        all.extend(words);
        let ended = self.tool.run(&all, Some(held))?;
        if ended.code == Some(0) { Ok(ended) } else { Err(ended.failed(self.tool.asked(&[]))) }
    }

    /// Which images can be in the slot afterwards, the likeliest first.
    fn candidates(&self, slot: Slot, archive: Archive, checked: &Ended) -> Result<Vec<Image>, SlotError> {
        let writes = writes(&checked.said);
        if let Some((_, device)) = writes.iter().find(|(_, device)| self.devices.is(slot.other(), device)) {
            let source = format!("SWUpdate would write to {}, which runs", device.display()).into();
            let transience = Transience::Permanent;
            return Err(SlotError::Writer { slot, source, help: HELP_DEVICE, transience });
        }
        if let Some(image) = archive.stated {
            return Ok(vec![image]);
        }
        let here = |name: &str| {
            writes.iter().any(|(member, device)| member == name && self.devices.is(slot, device))
        };
        let is_image = |name: &str| !name.starts_with(DESCRIPTION);
        // Where SWUpdate tells in words that are not known here, each member may be the one.
        let (named, others): (Vec<_>, Vec<_>) = archive
            .members
            .into_iter()
            .filter(|member| is_image(&member.name))
            .partition(|member| here(&member.name));
        let mut images = if named.is_empty() { others } else { named };
        images.retain(|member| member.image.length > 0);
        images.sort_by_key(|member| std::cmp::Reverse(member.image.length));
        Ok(images.into_iter().map(|member| member.image).collect())
    }
}

/// Which member SWUpdate says it writes to which device:
/// `... Found Image: a.img in device : /dev/b for handler raw`, with more words between in other versions.
fn writes(said: &str) -> Vec<(String, PathBuf)> {
    let line = |line: &str| {
        let (_, rest) = line.split_once("Found Image")?;
        let (name, rest) = rest.split_once(" in device : ")?;
        let (device, _) = rest.split_once(" for handler ")?;
        Some((name.rsplit([' ', ':']).next()?.to_owned(), PathBuf::from(device.trim())))
    };
    said.lines().filter_map(line).collect()
}

impl Write for SwUpdate {
    fn write(
        &mut self,
        slot: Slot,
        release: &Release,
        artifact: &mut dyn Artifact,
    ) -> Result<Image, SlotError> {
        let file = name_of(slot, artifact)?;
        let held = self.devices.hold(slot)?;
        let mut summed = Summed::new(release, artifact);
        let archive = archive::read(&mut summed);
        // Other bytes than the release's are not looked into.
        summed.finish()?;
        let refused = |source, help, transience| SlotError::Writer { slot, source, help, transience };
        let no_archive = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
        let archive = archive.map_err(|error| match no_archive.contains(&error.kind()) {
            true => refused(error.into(), HELP_CHECK, Transience::Permanent),
            false => SlotError::Source { source: error },
        })?;
        let checked = self.run(slot, &["-c", "-v", "-i", &file], &held).map_err(|error| {
            // It says the same of the same bytes each time; not so where it didn't come to an end.
            let transience = match &error {
                ToolError::TooLong { .. } => Transience::Transient,
                ToolError::Failed { ending, .. } if ending.starts_with("signal") => Transience::Transient,
                ToolError::NoCommand
                | ToolError::NotStarted { .. }
                | ToolError::Failed { .. }
                | ToolError::Answer { .. } => Transience::Permanent,
            };
            refused(error.into(), HELP_CHECK, transience)
        })?;
        let candidates = self.candidates(slot, archive, &checked)?;
        if let [only] = candidates[..] {
            self.devices.has_room(slot, only.length)?;
        }
        self.run(slot, &["-i", &file], &held)
            .map_err(|error| refused(error.into(), HELP_INSTALL, Transience::Transient))?;
        for image in candidates {
            if self.holds(slot, &image)? {
                return Ok(image);
            }
        }
        let source = "SWUpdate says that it installed, and the slot holds no image of the archive".into();
        Err(refused(source, HELP_HELD, Transience::Permanent))
    }

    fn holds(&mut self, slot: Slot, image: &Image) -> Result<bool, SlotError> {
        self.devices.holds(slot, image)
    }

    fn presumed(&mut self, slot: Slot, _: &Release) -> Result<Image, SlotError> {
        self.devices.all(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_swupdate_writes_is_read_from_its_words() {
        let said = "[TRACE] : SWUPDATE running :  [_parse_images] : Found Image: a.img in device : /dev/b for handler raw\n\
                    [TRACE] : Found Image compressed 1.0 : b.gz in device : /dev/c for handler raw (installed from stream)\n\
                    [INFO ] : SWUPDATE successful !\n";
        let expected = [("a.img", "/dev/b"), ("b.gz", "/dev/c")];
        assert_eq!(writes(said), expected.map(|(name, device)| (name.to_owned(), PathBuf::from(device))));
    }
}
