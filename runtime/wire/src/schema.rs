//! The numbers that say what an item is.

use core::fmt;

/// What kind of thing an item holds. A number is given once and never used again for anything else.
///
/// 1 to 255 are for what instances send each other and keep in journals; 256 and above are for what one
/// program keeps for itself (a view in `store`, a state of an agent).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schema(pub u16);

impl Schema {
    /// [`Entry`](crate::Entry).
    pub const ENTRY: Self = Self(1);
    /// [`Steer`](backstay_model::Steer).
    pub const STEER: Self = Self(2);
    /// [`DeviceOrder`](crate::DeviceOrder).
    pub const DEVICE_ORDER: Self = Self(3);
    /// [`Report`](backstay_model::Report).
    pub const REPORT: Self = Self(4);
    /// [`Presence`](crate::Presence).
    pub const PRESENCE: Self = Self(5);
    /// [`Beat`](backstay_model::Beat).
    pub const BEAT: Self = Self(6);
    /// [`LogBatch`](crate::LogBatch).
    pub const LOG_BATCH: Self = Self(7);
    /// [`Receipt`](crate::Receipt).
    pub const RECEIPT: Self = Self(8);
    /// [`AnchorWords`](crate::AnchorWords).
    pub const ANCHOR_WORDS: Self = Self(9);
    /// [`TrustFloor`](crate::TrustFloor).
    pub const TRUST_FLOOR: Self = Self(10);
    /// [`PluginReport`](backstay_model::PluginReport).
    pub const PLUGIN_REPORT: Self = Self(11);

    /// What people call it, if this version knows it.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::ENTRY => "journal entry",
            Self::STEER => "steering message",
            Self::DEVICE_ORDER => "device order",
            Self::REPORT => "device report",
            Self::PRESENCE => "presence",
            Self::BEAT => "beat",
            Self::LOG_BATCH => "log batch",
            Self::RECEIPT => "receipt",
            Self::ANCHOR_WORDS => "anchor words",
            Self::TRUST_FLOOR => "trust floor",
            Self::PLUGIN_REPORT => "plugin report",
            _ => return None,
        })
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "schema {}", self.0),
        }
    }
}
