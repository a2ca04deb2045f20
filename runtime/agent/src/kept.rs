//! What the agent keeps from one start to the next, as it goes into the journal with each record.

use std::collections::BTreeMap;

use backstay_core::{
    Confidence, DeviceHeights, DeviceState, Heights, Quarantine, StateTail, Succession, Upgrade,
};
use backstay_model::{PluginId, UnixMs};
use backstay_trust::{Accepted, Floor};
use backstay_wire::{Body, DecodeError, Schema, decode, encode_as};
use serde::{Deserialize, Serialize};

use crate::trust::{Heard, latest};

/// All of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Where the device stands.
    pub device: DeviceState,
    /// Which plugins are no longer asked.
    pub quarantine: Quarantine,
    /// The sequence of the newest grant of each plugin that was accepted: what version 1 knew of them, and still in its place.
    floors: BTreeMap<PluginId, u64>,
    /// The latest time that the server has signed for.
    pub attested: Option<UnixMs>,
    /// What `device` leaves out. Since version 2.
    tail: StateTail,
    /// The newest grants of each plugin that were accepted.
    pub accepted: BTreeMap<PluginId, Floor>,
    /// What was heard last of who is trusted.
    pub heard: Option<Heard>,
    /// Which plugin is to take over from which.
    pub succession: Succession,
    /// Which plugins the device was steered to. Since version 3; none where it never was.
    pub upgrade: Option<Upgrade>,
    /// The newest grants that the configuration has brought: they stay good beside what came by steering since.
    pub pinned: Vec<(PluginId, Accepted)>,
    /// Which key has steered and told `device` how far. Since version 4.
    heights: DeviceHeights,
    /// Which key has steered plugins how far.
    plugins: Heights,
    /// Which key has signed for which time.
    pub attested_by: Heights,
}

impl Body for Kept {
    const SCHEMA: Schema = Schema(256);
    const VERSION: u16 = 4;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 64 * 1024;

    fn from_previous(_: u16, body: &[u8]) -> Result<Self, DecodeError> {
        // It had all but the heights, of which there are four, and none of each is a zero: no other form to read, and less of a
        // program.
        Self::from_body(Self::VERSION, &[body, &[0; 4]].concat())
    }
}

/// The same, borrowed: it is written with each record.
#[derive(Debug, Serialize)]
pub struct Keep<'a> {
    device: &'a DeviceState,
    quarantine: &'a Quarantine,
    floors: BTreeMap<&'a PluginId, u64>,
    attested: Option<UnixMs>,
    tail: StateTail,
    accepted: &'a BTreeMap<PluginId, Floor>,
    heard: Option<Heard>,
    succession: &'a Succession,
    upgrade: Option<&'a Upgrade>,
    pinned: &'a [(PluginId, Accepted)],
    heights: &'a DeviceHeights,
    plugins: &'a Heights,
    attested_by: &'a Heights,
}

impl<'a> Keep<'a> {
    /// Of a device that stands there.
    #[must_use]
    pub fn of(
        device: &'a DeviceState,
        confidence: &'a Confidence,
        accepted: &'a BTreeMap<PluginId, Floor>,
        attested_by: &'a Heights,
        heard: Option<Heard>,
        (upgrade, pinned): (&'a Upgrade, &'a [(PluginId, Accepted)]),
    ) -> Self {
        let mut floors = BTreeMap::new();
        floors.extend(accepted.iter().map(|(plugin, floor)| (plugin, floor.newest.sequence)));
        let (quarantine, succession) = (&confidence.quarantine, &confidence.succession);
        let (heights, plugins) = (device.heights(), upgrade.heights());
        let (tail, upgrade, attested) = (device.tail(), Some(upgrade), latest(attested_by));
        Self {
            device,
            quarantine,
            floors,
            attested,
            tail,
            accepted,
            heard,
            succession,
            upgrade,
            pinned,
            heights,
            plugins,
            attested_by,
        }
    }

    /// As bytes; none where they would be too many, which a later record makes good.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        encode_as::<Kept>(self).ok()
    }
}

impl Kept {
    /// What [`Keep::encode`] wrote, here or in a version near this one. `None`: it can't be known, and the device
    /// begins anew from what its slots and anchors say.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut kept: Self = decode(bytes, usize::MAX).ok()?;
        kept.device = kept.device.with_tail(kept.tail.clone()).with_heights(kept.heights.clone());
        kept.upgrade = kept.upgrade.map(|upgrade| upgrade.with_heights(kept.plugins.clone()));
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use backstay_config::Document;
    use backstay_core::Device;
    use backstay_model::{Digest, Mono, Release, SlotStatus};

    use backstay_wire::encode;

    use super::*;
    use crate::config::{Config, tests::SMALL};

    /// All of it, as version 3 had it.
    #[derive(Debug, Serialize, Deserialize)]
    struct Third {
        device: DeviceState,
        quarantine: Quarantine,
        floors: BTreeMap<PluginId, u64>,
        attested: Option<UnixMs>,
        tail: StateTail,
        accepted: BTreeMap<PluginId, Floor>,
        heard: Option<Heard>,
        succession: Succession,
        upgrade: Option<Upgrade>,
        pinned: Vec<(PluginId, Accepted)>,
    }

    impl Body for Third {
        const SCHEMA: Schema = Kept::SCHEMA;
        const VERSION: u16 = 3;
        const OPTIONAL: bool = Kept::OPTIONAL;
        const BYTES_MAX: usize = Kept::BYTES_MAX;
    }

    /// The slot that was left may hold an older agent, and this one what the older one wrote.
    #[test]
    fn what_the_version_before_kept_is_read() {
        let release = |version: &str| Release {
            version: version.parse().unwrap(),
            digest: Digest([1; 32]),
            length: 1,
            security_epoch: 0,
        };
        let on = release("1.4.0");
        let slots = SlotStatus { booted: on.clone(), confirmed: on, other: None, trying: None };
        let mut quarantine = Quarantine::default();
        for _ in 0..3 {
            quarantine.strike(Mono(1), Digest([9; 32]));
        }
        let floors = BTreeMap::from([(PluginId::parse("acme/pump").unwrap(), 7)]);
        let config = Config::of(&Document::new(Path::new("agent.toml"), SMALL)).unwrap();
        let device = Device::new(config.device_settings(), Mono(0), &slots, 42).state().clone();
        let old = Third {
            tail: device.tail(),
            device,
            quarantine: quarantine.clone(),
            floors: floors.clone(),
            attested: Some(UnixMs(5)),
            accepted: BTreeMap::new(),
            heard: None,
            succession: Succession::default(),
            upgrade: None,
            pinned: Vec::new(),
        };
        let kept = Kept::decode(&encode(&old).unwrap()).unwrap();
        assert_eq!((&kept.quarantine, &kept.floors, kept.attested), (&quarantine, &floors, Some(UnixMs(5))));
        assert_eq!(kept.upgrade, None);
        // And back: the older one reads what this one writes, without what it doesn't know.
        let (confidence, upgrade) = (Confidence::default(), Upgrade::new(7));
        let accepted = kept.accepted.clone();
        let mut attested = Heights::default();
        attested.note(Digest([3; 32]), 5);
        let keep = Keep::of(&kept.device, &confidence, &accepted, &attested, None, (&upgrade, &[]));
        let written = keep.encode().unwrap();
        let again = Kept::decode(&written).unwrap();
        assert_eq!((again.upgrade, again.attested_by), (Some(upgrade.clone()), attested));
        let read: Third = decode(&written, usize::MAX).unwrap();
        assert_eq!((read.accepted, read.attested, read.upgrade), (accepted, Some(UnixMs(5)), Some(upgrade)));
    }
}
