//! Which faults a seed has, and how hard. Each seed draws its own few ("swarm"): a run with everything at once
//! hides what a run with two things shows.

use std::fmt;

use backstay_core::Rng;
use backstay_model::Millis;

macro_rules! marks {
    ($($mark:ident = $name:literal,)*) => {
        /// A kind of fault, or of what people do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names say it")]
        pub enum Mark { $($mark,)* }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mark,)*];

            /// For people.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$mark => $name,)* }
            }

            /// For a command line.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$mark => stringify!($mark),)* }
            }
        }
    };
}

marks! {
    Partition = "devices cut off",
    ServerCut = "server cut off",
    Loss = "messages lost",
    Duplicate = "messages doubled",
    Reorder = "messages late",
    Poison = "messages poisoned",
    RetainedLost = "retained messages lost",
    BrokerRestart = "broker restarts",
    ServerCrash = "server crashes",
    RosterLost = "server forgets devices",
    Amnesia = "server forgets all",
    OldCopy = "server brought back from an old copy",
    PowerCut = "power cuts",
    CutInStep = "power cuts in the middle of a step",
    DiskFull = "disks full",
    FullAndCut = "power cuts on full disks",
    Crash = "crashes on trial",
    Rack = "racks without power",
    RackFault = "racks with a fault of their own",
    FlatBoot = "boots that fall back",
    Reboot = "reboots",
    LongOff = "weeks off",
    Slow = "slow runs",
    Transient = "runs that fail for now",
    Permanent = "runs that fail for good",
    RunLost = "runs cut short",
    Hang = "runs that never end",
    Replaced = "executors replaced",
    Trap = "policy traps",
    Outage = "dependency outages",
    FalseAlarm = "mass false alarms",
    ClockJump = "clocks that jump or are lost",
    Network = "network trouble",
    Sick = "devices with a fault of their own",
    Unvetted = "releases nobody could look into",
    Expired = "steering that expired",
    Wish = "wishes of people",
    Told = "words for one device",
}

/// How often each kind came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// Once more.
    pub fn count(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// How often.
    #[must_use]
    pub fn of(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// All that another run had, too.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Mark::ALL.iter().try_for_each(|&mark| writeln!(f, "  {:>10}  {}", self.of(mark), mark.name()))
    }
}

/// What can go wrong in a run.
#[derive(Clone, Debug)]
pub struct Weather {
    on: [bool; Mark::ALL.len()],
    /// For each message or run that could meet with it, in permille.
    pub(crate) harsh: u64,
    /// The mean time between two faults that come by themselves, of each kind.
    pub(crate) between: Millis,
}

impl Weather {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn calm() -> Self {
        Self { on: [false; Mark::ALL.len()], harsh: 0, between: Millis::from_secs(3600) }
    }

    /// A few kinds, drawn.
    #[must_use]
    pub fn drawn(rng: &mut Rng) -> Self {
        let many = 150 + rng.below(500);
        Self {
            on: std::array::from_fn(|_| rng.below(1000) < many),
            harsh: [5, 30, 150][rng.below(3) as usize],
            between: Millis::from_secs(900 + rng.below(3 * 3600)),
        }
    }

    /// This kind, too.
    #[must_use]
    pub fn with(mut self, mark: Mark) -> Self {
        self.on[mark as usize] = true;
        self.harsh = self.harsh.max(30);
        self
    }

    /// Of its kinds only these.
    #[must_use]
    pub fn only(mut self, marks: &[Mark]) -> Self {
        for &mark in Mark::ALL {
            self.on[mark as usize] &= marks.contains(&mark);
        }
        self
    }

    /// The kinds that can happen.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        Mark::ALL.iter().copied().filter(|&mark| self.has(mark)).collect()
    }

    /// Whether it can happen.
    #[must_use]
    pub fn has(&self, mark: Mark) -> bool {
        self.on[mark as usize]
    }
}
