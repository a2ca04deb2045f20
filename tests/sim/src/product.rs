//! The releases of a run, what the release keys say of them, and how each turns out on which device.

use backstay_core::{Rng, Vetted};
use backstay_model::{Digest, Hardware, Millis, Release, Version, WayHome};

/// How a release turns out where it doesn't turn out well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Its own probe fails from so long after it came up.
    FailsAfter(Millis),
    /// It doesn't come up, and the boot falls back.
    DoesNotBoot,
    /// Its own probe can't be run.
    IsSilent,
    /// Its own probe fails until it was restarted this often.
    NeedsRestarts(u32),
}

/// A release and all that is so of it.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) release: Release,
    pub(crate) way: WayHome,
    pub(crate) hardware: Vec<Hardware>,
    /// How it turns out on this share of the devices, in permille. On the others it is good.
    pub(crate) fault: Option<(Behaviour, u64)>,
}

/// What kind of machine every device here is.
pub(crate) fn hardware() -> Hardware {
    Hardware::parse("pump-arm64").unwrap()
}

impl Product {
    /// The release `n` of a run, which may be left for all before it.
    pub(crate) fn new(n: u32, before: &[Self]) -> Self {
        let mut digest = [0x5a; 32];
        digest[..4].copy_from_slice(&n.to_be_bytes());
        let release = Release {
            version: Version::parse(&format!("1.{n}.0")).unwrap(),
            digest: Digest(digest),
            length: 1000,
            security_epoch: 1,
        };
        let way = WayHome(before.iter().map(|product| product.release.digest).collect());
        Self { release, way, hardware: vec![hardware()], fault: None }
    }

    /// One that turns out as chance has it.
    pub(crate) fn drawn(n: u32, before: &[Self], rng: &mut Rng) -> Self {
        let mut product = Self::new(n, before);
        let share = [1000, 1000, 400, 100][rng.below(4) as usize];
        // The epoch goes up now and then, and never down; a device that was higher refuses what is lower.
        let epoch = before.last().map_or(1, |last| last.release.security_epoch);
        product.release.security_epoch = epoch + u32::from(rng.below(6) == 0);
        if rng.below(12) == 0 {
            product.release.security_epoch = 1;
        }
        product.fault = match rng.below(10) {
            0..=1 => Some((Behaviour::FailsAfter(Millis::from_secs(rng.below(1800))), share)),
            2 => Some((Behaviour::FailsAfter(Millis::from_secs(3600 + rng.below(6 * 3600))), share)),
            3 => Some((Behaviour::DoesNotBoot, share)),
            4 => Some((Behaviour::IsSilent, share)),
            5 => Some((Behaviour::NeedsRestarts(1 + rng.below(2) as u32), share)),
            _ => None,
        };
        match rng.below(20) {
            // A door that opens one way only, and a machine that nobody here is.
            0 => product.way = WayHome::default(),
            1 => product.hardware = vec![Hardware::parse("valve-x86").unwrap()],
            _ => {}
        }
        product
    }

    /// What becomes of it on the device with this number.
    pub(crate) fn on(&self, device: usize) -> Option<Behaviour> {
        let (behaviour, share) = self.fault?;
        // One that doesn't boot on 400 permille is on the same ones each time.
        let lot = Rng::new(u64::from(self.release.digest.0[3]) << 32 | device as u64).below(1000);
        (lot < share).then_some(behaviour)
    }

    /// What the release keys say.
    pub(crate) fn vetted(&self) -> Vetted {
        Vetted::Genuine {
            release: self.release.clone(),
            way: self.way.clone(),
            hardware: self.hardware.clone(),
        }
    }
}
