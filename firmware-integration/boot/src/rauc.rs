//! RAUC's command line, asked and read.
//!
//! Here: its answers in the form for shells, and which of its refusals are for good. Not here: what it is asked to do (`write`,
//! `rauc_switch`).
//!
//! `rauc` asks RAUC's service on D-Bus; so does this, through it. Where the service is busy or absent, `rauc` ends with exit
//! code 2, or 1 for `rauc status`, and says so.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use backstay_model::{Digest, Transience};
use backstay_slots::Slot;

use crate::{
    ledger::Image,
    tool::{Ended, Tool, ToolError},
};

/// What RAUC says of a bundle that will never be installed here.
const FOR_GOOD: &[&str] = &[
    "signature verification failed",
    "Failed to verify signature",
    "Invalid bundle format",
    "Invalid bundle identifier",
    "Compatible mismatch",
    "Unsupported image",
    "No slot with class",
    "No target slot",
    "Failed to load manifest",
    "No such file",
];

/// How RAUC is asked, and what it calls our slots.
#[derive(Clone, Debug)]
pub struct Rauc {
    tool: Tool,
    /// Slot a's name and slot b's: `rootfs.0`, `rootfs.1`.
    names: [String; 2],
}

/// RAUC did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: ToolError,
    pub(crate) transience: Transience,
}

/// One of RAUC's slots, as `rauc status` tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) class: String,
    pub(crate) device: PathBuf,
    /// RAUC takes it for the one that runs.
    pub(crate) is_booted: bool,
    /// The boot loader would start it.
    pub(crate) is_good: bool,
    pub(crate) comes_next: bool,
}

/// What a bundle holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) name: String,
    pub(crate) class: String,
    pub(crate) image: Image,
}

impl Rauc {
    /// RAUC by `command`, `["rauc"]` or with what it is always to be told; `names` is what its `system.conf` calls slot a and
    /// slot b, and `limit` how long one answer or one installation may take.
    #[must_use]
    pub fn new(command: Vec<String>, names: [String; 2], limit: Duration) -> Self {
        Self { tool: Tool::new(command, limit), names }
    }

    /// What RAUC calls a slot.
    pub(crate) fn name(&self, slot: Slot) -> &str {
        &self.names[slot as usize]
    }

    /// Asks, and takes exit code 0 for an answer.
    pub(crate) fn answer(&self, words: &[&str], held: Option<&std::fs::File>) -> Result<String, Refusal> {
        let ended = self.tool.run(words, held).map_err(|error| {
            // A program that isn't there won't be tomorrow.
            let transience = match error {
                ToolError::NoCommand | ToolError::NotStarted { .. } => Transience::Permanent,
                ToolError::TooLong { .. } | ToolError::Failed { .. } | ToolError::Answer { .. } => {
                    Transience::Transient
                }
            };
            Refusal { error, transience }
        })?;
        match ended.code {
            Some(0) => Ok(ended.said),
            _ => {
                let transience = transience(&ended);
                Err(Refusal { error: ended.failed(self.tool.asked(words)), transience })
            }
        }
    }

    /// What RAUC knows of a slot.
    pub(crate) fn told(&self, slot: Slot) -> Result<Told, Refusal> {
        let words = ["status", "--output-format=shell"];
        let answer = words_of(&self.answer(&words, None)?);
        told(&answer, self.name(slot))
            .ok_or_else(|| self.unusable(&words, format!("it knows no slot {}", self.name(slot))))
    }

    /// The slot that RAUC's boot loader takes next, where that is one of ours.
    pub(crate) fn primary(&self) -> Result<Option<Slot>, Refusal> {
        let words = ["status", "--output-format=shell"];
        let answer = words_of(&self.answer(&words, None)?);
        let Some(primary) = answer.get("RAUC_BOOT_PRIMARY") else {
            return Err(self.unusable(&words, "it names no primary slot".into()));
        };
        Ok([Slot::A, Slot::B].into_iter().find(|slot| self.name(*slot) == primary))
    }

    /// What a bundle holds, if it is one image and RAUC's keyring vouches for it.
    pub(crate) fn content(&self, bundle: &str) -> Result<Content, Refusal> {
        let words = ["info", "--output-format=shell", bundle];
        let answer = words_of(&self.answer(&words, None)?);
        content(&answer).map_err(|why| self.unusable(&words, why))
    }

    fn unusable(&self, words: &[&str], why: String) -> Refusal {
        let error = ToolError::Answer { program: self.tool.asked(words), why };
        Refusal { error, transience: Transience::Permanent }
    }
}

fn transience(ended: &Ended) -> Transience {
    // Exit code 2: D-Bus, or the service is busy.
    match ended.code == Some(1) && ended.says(FOR_GOOD) {
        true => Transience::Permanent,
        false => Transience::Transient,
    }
}

fn told(answer: &BTreeMap<String, String>, name: &str) -> Option<Told> {
    // RAUC counts slots from 1 on, and names them in the same order.
    let at = answer.get("RAUC_SYSTEM_SLOTS")?.split(' ').position(|slot| slot == name)? + 1;
    let of = |field: &str| answer.get(&format!("RAUC_SLOT_{field}_{at}"));
    Some(Told {
        class: of("CLASS")?.clone(),
        device: of("DEVICE")?.into(),
        is_booted: of("STATE")? == "booted",
        is_good: of("BOOT_STATUS")? == "good",
        comes_next: answer.get("RAUC_BOOT_PRIMARY")? == name,
    })
}

fn content(answer: &BTreeMap<String, String>) -> Result<Content, String> {
    let images = answer.get("RAUC_MF_IMAGES").map_or("", String::as_str);
    if images != "1" {
        return Err(format!("a bundle has to hold 1 image, and this one holds {images}"));
    }
    let of = |field: &str| {
        let name = format!("RAUC_IMAGE_{field}_0");
        answer.get(&name).ok_or_else(|| format!("it lacks {name}"))
    };
    let image = Image {
        digest: of("DIGEST")?.parse::<Digest>().map_err(|_| "its digest is no SHA-256".to_owned())?,
        length: of("SIZE")?.parse().map_err(|_| "its size is no number".to_owned())?,
    };
    Ok(Content { name: of("NAME")?.clone(), class: of("CLASS")?.clone(), image })
}

/// Lines as a shell would read them: `NAME='value'` or `NAME=value`, where `'\''` stands for an apostrophe.
fn words_of(answer: &str) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    let names = |line: &str| line.split_once('=').filter(|(name, _)| name.starts_with("RAUC_")).is_some();
    for line in answer.lines().filter(|line| names(line)) {
        if let Some((name, value)) = line.split_once('=') {
            let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
            words.insert(name.to_owned(), value.replace("'\\''", "'"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RAUC 1.8 answers.
    const STATUS: &str = "\
RAUC_SYSTEM_COMPATIBLE='pump'
RAUC_SYSTEM_VARIANT=''
RAUC_SYSTEM_BOOTED_BOOTNAME='A'
RAUC_BOOT_PRIMARY='rootfs.0'
RAUC_SYSTEM_SLOTS='rootfs.1 rootfs.0'
RAUC_SLOTS='1 2'
RAUC_SLOT_STATE_1='inactive'
RAUC_SLOT_CLASS_1='rootfs'
RAUC_SLOT_DEVICE_1='/dev/it'\\''s b'
RAUC_SLOT_BOOT_STATUS_1='bad'
RAUC_SLOT_STATE_2='booted'
RAUC_SLOT_CLASS_2='rootfs'
RAUC_SLOT_DEVICE_2='/dev/a'
RAUC_SLOT_BOOT_STATUS_2='good'
";

    #[test]
    fn a_status_is_read() {
        let answer = words_of(STATUS);
        let b = told(&answer, "rootfs.1").unwrap();
        let class = "rootfs".to_owned();
        let device = "/dev/it's b".into();
        assert_eq!(b, Told { class, device, is_booted: false, is_good: false, comes_next: false });
        let a = told(&answer, "rootfs.0").unwrap();
        assert!(a.is_booted && a.is_good && a.comes_next);
        assert_eq!(told(&answer, "rootfs.2"), None);
        for name in answer.keys() {
            let mut less = answer.clone();
            less.remove(name);
            let used = STATUS.contains(&format!("{name}=")) && told(&less, "rootfs.1").is_none();
            let needed = ["PRIMARY", "SLOTS", "_1"].iter().any(|part| name.ends_with(part));
            assert_eq!(used, needed && name != "RAUC_SLOTS", "{name}");
        }
    }

    #[test]
    fn a_bundle_of_one_image_is_read_and_no_other() {
        let digest = "9".repeat(64);
        let info = format!(
            "RAUC_MF_IMAGES=1\nRAUC_IMAGE_NAME_0='a.img'\nRAUC_IMAGE_CLASS_0='rootfs'\nRAUC_IMAGE_DIGEST_0='{digest}'\nRAUC_IMAGE_SIZE_0=12\n"
        );
        let read = |info: &str| content(&words_of(info));
        let image = Image { digest: digest.parse().unwrap(), length: 12 };
        assert_eq!(read(&info), Ok(Content { name: "a.img".into(), class: "rootfs".into(), image }));
        for (good, bad) in [("IMAGES=1", "IMAGES=2"), (&*digest, "99"), ("=12", "=many"), ("NAME", "N")] {
            assert!(read(&info.replace(good, bad)).is_err(), "{bad}");
        }
    }
}
