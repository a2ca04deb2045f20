//! What all devices and cohorts of a run are under: the time, chance, the weather, the releases there are.
//!
//! Here: also whether a fault strikes, and the digest of all that was recorded. Not here: which faults there are (`weather`), and
//! what each does (`fleet`).

use std::fmt::{self, Write as _};

use backstay_core::{DeviceSettings, Rng};
use backstay_model::{Event, Name};

use crate::{
    product::Product,
    sabotage::Sabotage,
    size::Size,
    weather::{Mark, Marks, Weather},
};

/// All that devices and cohorts share.
pub(crate) struct Sky {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) size: Size,
    pub(crate) weather: Weather,
    pub(crate) is_calm: bool,
    pub(crate) marks: Marks,
    pub(crate) settings: DeviceSettings,
    pub(crate) products: Vec<Product>,
    pub(crate) http: Name,
    pub(crate) uplink: Name,
    pub(crate) outage_until: u64,
    pub(crate) alarm_until: u64,
    /// What of the core is broken on purpose.
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) network_trouble: bool,
    pub(crate) events: u64,
    pub(crate) digest: u64,
}

impl Sky {
    /// Whether a fault of this kind strikes here and now.
    pub(crate) fn strikes(&mut self, mark: Mark) -> bool {
        let struck = !self.is_calm && self.weather.has(mark) && self.rng.below(1000) < self.weather.harsh;
        if struck {
            self.marks.count(mark);
        }
        struck
    }

    /// The same, for what is asked often.
    pub(crate) fn strikes_rarely(&mut self, mark: Mark) -> bool {
        !self.is_calm && self.weather.has(mark) && self.rng.below(50) == 0 && self.strikes(mark)
    }

    /// Whether power goes in the middle of a step that writes something down.
    pub(crate) fn strikes_in_step(&mut self) -> bool {
        !self.is_calm
            && self.weather.has(Mark::CutInStep)
            && self.rng.below(8) == 0
            && self.strikes(Mark::CutInStep)
    }

    pub(crate) fn mix(&mut self, word: u64) {
        self.digest = (self.digest ^ word ^ self.now).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn mix_text(&mut self, event: &Event) {
        struct Mixer(u64);
        impl fmt::Write for Mixer {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for byte in text.bytes() {
                    self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
                }
                Ok(())
            }
        }
        let mut mixer = Mixer(self.digest);
        let _ = write!(mixer, "{event}");
        self.digest = mixer.0;
    }
}
