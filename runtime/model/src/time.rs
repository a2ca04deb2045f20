//! Quantities with a unit: moments, durations, shares, counters.
//!
//! Not here: a clock. Whoever needs the time is given it.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A moment on an instance's own clock: the milliseconds that it has been up, added over all its boots.
///
/// It never goes back and never jumps, whatever a wall clock does, and it stands still while the instance
/// is off. So a deadline that is a `Mono` needs no care at a reboot: what is left of it is what was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mono(pub u64);

impl Mono {
    /// This moment and `span` more; the end of time where that is past it.
    #[must_use]
    pub fn after(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; zero if it is still to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms @ 0..1000 => write!(f, "{ms} ms"),
            ms @ 1000..10_000 => write!(f, "{}.{} s", ms / 1000, ms % 1000 / 100),
            ms => write!(f, "{} s", ms / 1000),
        }
    }
}

/// Time that somebody signed for: milliseconds since 1970 in UTC. For expiry and for people, never for order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixMs(pub u64);

/// A share in thousandths, 0 to 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Permille(u16);

impl Permille {
    /// Nothing of it.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(1000);

    /// `permille` thousandths, if that is at most the whole.
    #[must_use]
    pub const fn new(permille: u16) -> Option<Self> {
        if permille <= 1000 { Some(Self(permille)) } else { None }
    }

    /// The share that `part` is of `whole`, rounded down; `None` where there is no whole to have a share of.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        let share = part.min(whole).checked_mul(1000)?.checked_div(whole)?;
        u16::try_from(share).ok().and_then(Self::new)
    }

    /// Thousandths.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Permille {
    type Error = &'static str;
    fn try_from(permille: u16) -> Result<Self, Self::Error> {
        Self::new(permille).ok_or("a share is 0 to 1000 permille")
    }
}

impl From<Permille> for u16 {
    fn from(share: Permille) -> Self {
        share.0
    }
}

/// Which boot of a machine: random, made anew by the kernel at each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootId(pub u128);

/// Ties an answer to the one question that it answers, so that a late answer is never taken for a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u64);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The fencing number of the lock on a target: it grows with every run, and a run that carries a lower one
/// than the target has seen is too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence(pub u64);
