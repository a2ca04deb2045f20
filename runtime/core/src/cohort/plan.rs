//! How a rollout goes forward: its waves, and when something is good, bad, or not known.
//!
//! Not here: what follows (`judging`).

use alloc::{vec, vec::Vec};
use core::fmt;

use backstay_model::{Millis, Permille};
use serde::{Deserialize, Serialize};

/// The most waves.
pub const WAVES_MAX: usize = 16;
/// The longest of the plan's spans: thirty days.
const SPAN_MAX: Millis = Millis::from_secs(30 * 86_400);
/// The shortest window: shorter ones say nothing that the one before didn't.
const WINDOW_MIN: Millis = Millis(1000);

/// How a rollout goes forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How much of those meant each wave holds: 1 to [`WAVES_MAX`], growing, the last one all.
    pub waves: Vec<Permille>,
    /// The fewest devices in a wave, or all if there are fewer. 1 to 100000. While the breaker is half-open
    /// the first wave holds no more than these.
    pub devices_min: u32,
    /// Good windows in a row that open the next wave, and that end the last one. 1 to 1000.
    pub good_windows: u32,
    /// How long a window is. 1 s to 30 days.
    pub window: Millis,
    /// The least share of those who finished a try that has to have settled on the release.
    pub success_min: Permille,
    /// So many failures are never a breach, however large their share; more are, once `success_min` isn't kept.
    pub failures_max: u32,
    /// Without a sign of life for so long, a device that should be there counts as silent. At most 30 days.
    pub silence: Millis,
    /// If a larger share of those who should be there is silent, nothing is known: that freezes.
    pub silent_max: Permille,
    /// So long a wave waits for those in it who are offline or not done. Then it is judged by those who
    /// answered. At most 30 days.
    pub patience: Millis,
    /// Windows after which a wave that did not become good freezes. 1 to 100000.
    pub windows_max: u32,
    /// Good windows in a row after which a freeze is lifted without a person, if no person put it there. 0:
    /// only a person lifts it. At most 1000.
    pub thaw_windows: u32,
    /// How long nothing is promoted after a turn. At most 30 days.
    pub breaker: Millis,
    /// The span over which devices spread when they reconnect. At most 30 days.
    pub reconnect_window: Millis,
}

impl Default for Plan {
    /// A hundredth, a twentieth, a quarter, all; three windows of 10 min each.
    fn default() -> Self {
        let share = |permille| Permille::new(permille).expect("it is at most 1000");
        Self {
            waves: vec![share(10), share(50), share(250), Permille::ALL],
            // One can be bad luck, two contradict each other, three have a majority.
            devices_min: 3,
            good_windows: 3,
            window: Millis::from_secs(600),
            success_min: share(950),
            // A single device can have a fault of its own. Two have the release in common.
            failures_max: 1,
            // Five beats at 60 s: long enough for a reboot into the other slot.
            silence: Millis::from_secs(300),
            // A quarter at once is the network or us, and says nothing of the release.
            silent_max: share(250),
            patience: Millis::from_secs(2 * 3600),
            // A day of windows.
            windows_max: 144,
            thaw_windows: 3,
            // The middle of the 30 to 60 min that the practice has.
            breaker: Millis::from_secs(45 * 60),
            reconnect_window: Millis::from_secs(10),
        }
    }
}

/// A plan that can't be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// "a plan has 1 to 16 waves, not 0"
    Waves {
        /// How many there are.
        count: usize,
    },
    /// "wave 2 is not larger than the one before"
    NotGrowing {
        /// Which, counted from 1.
        wave: usize,
    },
    /// "the last wave is 250 permille, not all"
    NotAll {
        /// What it is.
        last: Permille,
    },
    /// "good_windows is 0; it is 1 to 1000"
    Bounds {
        /// Which setting.
        setting: &'static str,
        /// What it is.
        value: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waves { count } => write!(f, "a plan has 1 to {WAVES_MAX} waves, not {count}"),
            Self::NotGrowing { wave } => write!(f, "wave {wave} is not larger than the one before"),
            Self::NotAll { last } => write!(f, "the last wave is {} permille, not all", last.get()),
            Self::Bounds { setting, value, least, most } => {
                write!(f, "{setting} is {value}; it is {least} to {most}")
            }
        }
    }
}

impl core::error::Error for PlanError {}

impl PlanError {
    /// What to do.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            Self::Waves { .. } | Self::NotGrowing { .. } | Self::NotAll { .. } => {
                Some("give the waves as growing shares that end with 1000, such as 10, 50, 250, 1000")
            }
            Self::Bounds { .. } => None,
        }
    }
}

impl Plan {
    /// Whether it can be followed.
    ///
    /// # Errors
    /// Names the first setting that is out of its bounds.
    pub fn check(&self) -> Result<(), PlanError> {
        let count = self.waves.len();
        if !(1..=WAVES_MAX).contains(&count) {
            return Err(PlanError::Waves { count });
        }
        let before = core::iter::once(&Permille::NONE).chain(&self.waves);
        if let Some(wave) = self.waves.iter().zip(before).position(|(share, before)| share <= before) {
            return Err(PlanError::NotGrowing { wave: wave + 1 });
        }
        if let Some(&last) = self.waves.last()
            && last != Permille::ALL
        {
            return Err(PlanError::NotAll { last });
        }
        let bounds = [
            ("devices_min", u64::from(self.devices_min), 1, 100_000),
            ("good_windows", self.good_windows.into(), 1, 1000),
            ("window", self.window.0, WINDOW_MIN.0, SPAN_MAX.0),
            ("silence", self.silence.0, 1, SPAN_MAX.0),
            ("patience", self.patience.0, 0, SPAN_MAX.0),
            ("windows_max", self.windows_max.into(), 1, 100_000),
            ("thaw_windows", self.thaw_windows.into(), 0, 1000),
            ("breaker", self.breaker.0, 0, SPAN_MAX.0),
            ("reconnect_window", self.reconnect_window.0, 0, SPAN_MAX.0),
        ];
        match bounds.into_iter().find(|&(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((setting, value, least, most)) => Err(PlanError::Bounds { setting, value, least, most }),
            None => Ok(()),
        }
    }

    /// The number of the last wave, counted from 0.
    pub(super) fn last_wave(&self) -> usize {
        self.waves.len().saturating_sub(1)
    }

    /// How much wave `wave` holds.
    pub(super) fn share(&self, wave: usize) -> Permille {
        self.waves.get(wave).copied().unwrap_or(Permille::ALL)
    }

    /// How many of `meant` devices wave `wave` holds.
    pub(super) fn devices(&self, wave: usize, meant: usize) -> usize {
        let share = (meant * usize::from(self.share(wave).get())).div_ceil(1000);
        share.max(self.smallest(meant))
    }

    /// How many of `meant` devices the smallest wave holds.
    pub(super) fn smallest(&self, meant: usize) -> usize {
        meant.min(usize::try_from(self.devices_min).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn plan(waves: &[u16]) -> Plan {
        Plan { waves: waves.iter().map(|&share| Permille::new(share).unwrap()).collect(), ..Plan::default() }
    }

    #[test]
    fn the_default_can_be_followed() {
        assert_eq!(Plan::default().check(), Ok(()));
    }

    #[test]
    fn waves_grow_and_end_with_everybody() {
        assert_eq!(plan(&[1000]).check(), Ok(()));
        assert_eq!(plan(&[]).check(), Err(PlanError::Waves { count: 0 }));
        assert_eq!(plan(&[0, 1000]).check(), Err(PlanError::NotGrowing { wave: 1 }));
        assert_eq!(plan(&[50, 50, 1000]).check(), Err(PlanError::NotGrowing { wave: 2 }));
        assert_eq!(
            plan(&[10, 250]).check().unwrap_err().to_string(),
            "the last wave is 250 permille, not all"
        );
    }

    #[test]
    fn a_setting_out_of_bounds_is_named() {
        let error = Plan { good_windows: 0, ..Plan::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "good_windows is 0; it is 1 to 1000");
    }

    #[test]
    fn a_wave_holds_its_share_and_at_least_the_fewest() {
        let plan = Plan::default();
        assert_eq!(plan.devices(0, 1000), 10);
        assert_eq!(plan.devices(0, 1001), 11);
        assert_eq!(plan.devices(0, 100), 3);
        assert_eq!(plan.devices(0, 1), 1);
        assert_eq!(plan.devices(0, 0), 0);
        assert_eq!(plan.devices(3, 77), 77);
    }
}
