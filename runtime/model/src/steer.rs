//! The one message that steers a cohort. Not here: its bytes (`wire`), its signature (`trust`), and what a
//! device makes of it (`core`).

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{CohortId, DeviceId, Digest, Label, Millis, Release, RolloutId};

/// Which version of the steering of a cohort: the next is always one more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// What a steering message is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The product that devices run.
    #[default]
    Product,
    /// The plugins that judge and act.
    Plugins,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::str::FromStr for Channel {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == text).ok_or("expected product or plugins")
    }
}

impl Channel {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Product, Self::Plugins];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Plugins => "plugins",
        }
    }
}

/// Where a cohort is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// To `release`, for those within reach.
    Forward,
    /// Nobody starts anything.
    Hold,
    /// Back, for everyone who is on `release`, whatever the reach.
    Home,
}

/// Who of the cohort is meant. Nobody is meant by silence: "all" is spelled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selector {
    /// No device.
    Nobody,
    /// Every device of the cohort.
    All,
    /// The devices that carry every one of these labels; none if the list is empty.
    Labelled(Vec<Label>),
}

impl Selector {
    /// Whether a device that carries `labels` is meant.
    #[must_use]
    pub fn means(&self, labels: &[Label]) -> bool {
        match self {
            Self::Nobody => false,
            Self::All => true,
            Self::Labelled(wanted) => !wanted.is_empty() && wanted.iter().all(|label| labels.contains(label)),
        }
    }
}

/// How far a rollout reaches, in millionths of the cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Reach(u32);

impl Reach {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(1_000_000);

    /// `millionths` of the cohort, if that is at most all of it.
    #[must_use]
    pub const fn new(millionths: u32) -> Option<Self> {
        if millionths <= Self::ALL.0 { Some(Self(millionths)) } else { None }
    }

    /// Millionths.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The least reach that holds `device` in `rollout`.
    ///
    /// Everybody can work it out from two names alone, and where a device stands in one rollout says nothing of
    /// where it stands in the next, so it isn't always the same ones that go first. The mixing is FNV-1a with
    /// the finaliser of `SplitMix64`: spread evenly, not secret.
    #[must_use]
    pub fn to_hold(rollout: &RolloutId, device: &DeviceId) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let names = rollout.as_str().bytes().chain([0]).chain(device.as_str().bytes());
        let mixed = names.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        // The remainder is below a million, so the sum is at most ALL.
        Self((mixed % u64::from(Self::ALL.0)) as u32 + 1)
    }
}

impl TryFrom<u32> for Reach {
    type Error = &'static str;
    fn try_from(millionths: u32) -> Result<Self, Self::Error> {
        Self::new(millionths).ok_or("a reach is 0 to 1000000 millionths")
    }
}

impl From<Reach> for u32 {
    fn from(reach: Reach) -> Self {
        reach.0
    }
}

/// One retained message for a cohort of any size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steer {
    /// Which rollout. After `Home` it never goes forward again.
    pub rollout: RolloutId,
    /// Grows by one with each change.
    pub generation: Generation,
    /// Whom it is for; the topic says the same, and both must agree.
    pub cohort: CohortId,
    /// Who of the cohort.
    pub selector: Selector,
    /// Where `Forward` leads, and what `Home` leads away from.
    pub release: Release,
    /// Where `Home` leads. `None`: each device to its own last known good release.
    pub back: Option<Release>,
    /// How many of those meant may start. It gates starting only: shrinking it moves nobody.
    pub reach: Reach,
    /// Where to.
    pub direction: Direction,
    /// Whether the cohort takes no other rollout until this is lifted.
    pub frozen: bool,
    /// The policy plugins that devices judge by, by the digest of their grants. At most 8. Empty: plugins are steered on a
    /// channel of their own.
    pub policies: Vec<Digest>,
    /// The span over which devices spread when they reconnect.
    pub reconnect_window: Millis,
}

/// A word for one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// Start nothing until there is a [`Word::Thaw`]. Going home is not starting.
    Hold,
    /// End a hold or a freeze, and try again what was given up.
    Thaw,
    /// A release that failed here may be tried again, or a plugin that did may be asked again: by the digest of its
    /// grant.
    Lift(Digest),
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn silence_means_nobody() {
        let labels = [Label::parse("site=basel").unwrap()];
        assert!(!Selector::Nobody.means(&labels));
        assert!(!Selector::Labelled(Vec::new()).means(&labels));
        assert!(Selector::All.means(&[]));
        assert!(Selector::Labelled(labels.to_vec()).means(&labels));
        assert!(!Selector::Labelled(labels.to_vec()).means(&[]));
    }

    #[test]
    fn a_reach_holds_its_share_of_a_large_cohort() {
        let rollout = RolloutId::parse("r-1").unwrap();
        let reach = Reach::new(100_000).unwrap();
        let held = (0..10_000)
            .map(|n| DeviceId::parse(&format!("device-{n}")).unwrap())
            .filter(|device| Reach::to_hold(&rollout, device) <= reach)
            .count();
        assert!((850..=1150).contains(&held), "{held} of 10000 devices are within a tenth");
    }
}
