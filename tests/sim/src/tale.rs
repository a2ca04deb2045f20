//! What befalls a whole fleet at once, and what the fleet did about it, counted and held against a bound.
//!
//! A dependency is gone, or alarms ring that mean nothing: next to nobody moves. A rack has a fault of its own: all of it is well again.
//! Before that a release has arrived everywhere, so that each device has a way home that it could go; and other things go wrong
//! besides. Here: the tales, and their count. Not here: what makes them come true (`fleet/tale`), and the sum of many
//! sites (the program).

use backstay_model::Millis;

use crate::{
    fleet::{Failure, Fleet, RACKS, Ran},
    weather::{Mark, Weather},
};

/// The most of a fleet that may leave its release for what is not the fault of a release, in permille.
const MOVED_MAX: usize = 20;

const HOUR: Millis = Millis::from_secs(3600);
/// Long enough for a good release to arrive where nothing goes wrong.
const ARRIVAL: Millis = Millis(24 * HOUR.0);
/// So long an outage and a false alarm last.
const SPAN: Millis = Millis(12 * HOUR.0);
/// So long all may take to be well again.
const RECOVERY: Millis = Millis(24 * HOUR.0);

/// What goes wrong besides: the network, the server, power, and runs. Nothing that is a fault of a release or of a device.
const BESIDES: &[Mark] = &[
    Mark::Partition,
    Mark::ServerCut,
    Mark::Loss,
    Mark::Duplicate,
    Mark::Reorder,
    Mark::Poison,
    Mark::BrokerRestart,
    Mark::ServerCrash,
    Mark::PowerCut,
    Mark::CutInStep,
    Mark::Reboot,
    Mark::Slow,
    Mark::Transient,
    Mark::RunLost,
    Mark::Trap,
    Mark::ClockJump,
];

/// What befalls the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tale {
    /// What everybody depends on is gone for twelve hours.
    Outage,
    /// For twelve hours no probe can be run, what everybody depends on looks gone, and each machine says that its network is in trouble.
    FalseAlarm,
    /// Each device of one rack has a fault of its own, which one or two restarts mend.
    Rack,
}

/// What it took, over all devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    /// Devices.
    pub devices: usize,
    /// Those that it befell.
    pub hit: usize,
    /// Those that mended what they run, by a restart say.
    pub mended: usize,
    /// Those that left their release.
    pub moved: usize,
    /// Those that did either.
    pub acted: usize,
    /// Those that were well at no time in the day after.
    pub unwell: usize,
    /// How long it took until each had been well: since its end, or since it began where it has none.
    pub recovery: Millis,
}

impl Tale {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Outage, Self::FalseAlarm, Self::Rack];

    /// For a command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::FalseAlarm => "false-alarm",
            Self::Rack => "rack",
        }
    }

    /// For people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Outage => "what everybody depends on is gone for 12 h",
            Self::FalseAlarm => {
                "for 12 h no probe can be run, what everybody depends on looks gone, and each machine says that its network is in trouble"
            }
            Self::Rack => {
                "each device of one rack in each site has a fault of its own, which one or two restarts mend"
            }
        }
    }

    /// What is promised of it.
    #[must_use]
    pub const fn promise(self) -> &'static str {
        match self {
            Self::Outage | Self::FalseAlarm => {
                "at most 2 % leave their release, and within a day all have been well"
            }
            Self::Rack => "within a day all have been well",
        }
    }

    /// Whether what it took stays within that.
    #[must_use]
    pub const fn bears(self, toll: &Toll) -> bool {
        let few = toll.moved * 1000 <= toll.devices * MOVED_MAX;
        // A device with a fault of its own may leave its release for that, in the end.
        toll.hit > 0 && toll.unwell == 0 && (few || matches!(self, Self::Rack))
    }

    /// Tells it, of a fleet in which nothing has gone wrong yet, with `only` these of what goes wrong besides.
    ///
    /// # Errors
    /// What did not hold.
    pub(crate) fn tell(self, mut fleet: Fleet, only: Option<&[Mark]>) -> Result<Ran, Box<Failure>> {
        fleet.starts(1)?;
        fleet.waits(ARRIVAL)?;
        fleet.breaks_loose(weather(only));
        fleet.waits(HOUR)?;
        let before = fleet.deeds();
        let devices = before.len();
        let hit = match self {
            Self::Outage => {
                fleet.loses_what_it_depends_on(SPAN);
                fleet.waits(SPAN)?;
                devices
            }
            Self::FalseAlarm => {
                fleet.alarms_falsely(SPAN);
                fleet.waits(SPAN)?;
                devices
            }
            Self::Rack => {
                let lot = fleet.lot();
                fleet.breaks_a_rack(lot as usize % RACKS, 1 + (lot / RACKS as u64 % 2) as u32)
            }
        };
        let (recovery, unwell) = fleet.waits_for_all_to_be_well(RECOVERY)?;
        let mut toll = Toll { devices, hit, unwell, recovery, ..Toll::default() };
        for (now, before) in fleet.deeds().into_iter().zip(before) {
            let (mended, moved) = (now.0 > before.0, now.1 > before.1);
            toll.mended += usize::from(mended);
            toll.moved += usize::from(moved);
            toll.acted += usize::from(mended || moved);
        }
        Ok(Ran { toll: Some(toll), ..fleet.run()? })
    }
}

/// What goes wrong besides, or `only` these of it.
pub(crate) fn weather(only: Option<&[Mark]>) -> Weather {
    let weather = BESIDES.iter().copied().fold(Weather::calm(), Weather::with);
    match only {
        Some(only) => weather.only(only),
        None => weather,
    }
}

impl Toll {
    /// How much of the fleet left its release, in permille, rounded up.
    #[must_use]
    pub const fn share(&self) -> usize {
        (self.moved * 1000).div_ceil(if self.devices == 0 { 1 } else { self.devices })
    }

    /// The same of two sites together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            devices: self.devices + other.devices,
            hit: self.hit + other.hit,
            mended: self.mended + other.mended,
            moved: self.moved + other.moved,
            acted: self.acted + other.acted,
            unwell: self.unwell + other.unwell,
            recovery: self.recovery.max(other.recovery),
        }
    }
}
