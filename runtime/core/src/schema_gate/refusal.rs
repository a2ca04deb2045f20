//! Why a migration stays where it is, or a release out, and the way out of that.
//!
//! Here: the words. Not here: the rules (the gate).

use alloc::{borrow::Cow, format};
use core::fmt;

use backstay_model::{Millis, Version};

use super::{Migration, Step};

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hindrance {
    /// Nobody has seen how far the data base is.
    NotSeen,
    /// A step is under way.
    UnderWay {
        /// Which.
        step: Step,
    },
    /// It isn't known how a step ended that leads the other way.
    InDoubt {
        /// Which.
        step: Step,
    },
    /// Nothing has been done yet that could be taken back.
    AtBeginning,
    /// Everything has been done.
    AtEnd,
    /// The old columns are gone, or may be.
    PastContract,
    /// It isn't known whether dual-write is on.
    FlagUnknown,
    /// It isn't known which code runs.
    CodeUnknown,
    /// Old code runs, or is being brought in.
    OldCode,
    /// No new code runs that could read the new columns.
    NoNewCode,
    /// The soak isn't over.
    Soak {
        /// What is left of it.
        left: Millis,
    },
    /// The contract is next, and nobody said so by its name.
    Irrevocable,
    /// The contract was wanted, and it is not time for it.
    BeforeSoak,
    /// A release can't live with the data as they are.
    Release {
        /// Which.
        release: Version,
        /// Why not.
        why: Unfit,
    },
}

/// Why a release can't run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// Nobody has seen how far the data base is.
    NotSeen,
    /// It needs columns that are gone, or may be.
    PastContract,
    /// It lives only with the schema after the contract.
    TooEarly,
    /// It lives with neither schema.
    Neither,
    /// New columns are read, and what it writes would be missing there.
    ReadsNew,
    /// Dual-write is off, so the columns that it reads lack what was written since.
    NotMirrored,
    /// The same may be so: nobody knows whether dual-write is on.
    FlagUnknown,
}

/// A wish that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateRefusal {
    migration: Migration,
    why: Hindrance,
}

impl GateRefusal {
    pub(super) const fn new(migration: Migration, why: Hindrance) -> Self {
        Self { migration, why }
    }

    /// What stands in the way.
    #[must_use]
    pub const fn why(&self) -> &Hindrance {
        &self.why
    }

    /// The way out, for people.
    #[must_use]
    pub fn way_out(&self) -> Cow<'static, str> {
        let Migration { from, to, release, flag, .. } = &self.migration;
        match &self.why {
            Hindrance::NotSeen | Hindrance::Release { why: Unfit::NotSeen, .. } => {
                "wait for a look, or see why none is whole: schema-status and both switches have to answer".into()
            }
            Hindrance::UnderWay { .. } => "wait until it has ended".into(),
            Hindrance::InDoubt { .. } => "wait for a look, or order that step once more".into(),
            Hindrance::AtBeginning | Hindrance::AtEnd => "nothing is left to do".into(),
            Hindrance::FlagUnknown => format!("look at flag {flag}: its server has to answer").into(),
            Hindrance::CodeUnknown => "look at which code runs: the count of old code has to be told".into(),
            Hindrance::OldCode => format!("bring {release} or a later release to every instance first").into(),
            Hindrance::NoNewCode => format!("bring {release} or a later release in first").into(),
            Hindrance::Soak { .. } => "wait, or go back while that is possible".into(),
            Hindrance::Irrevocable => "take a copy of the data base, and then order the contract by its name".into(),
            Hindrance::BeforeSoak => "go on step by step: it comes after read-new and the soak".into(),
            Hindrance::PastContract | Hindrance::Release { why: Unfit::PastContract, .. } => format!(
                "keep {release} and switch off the flag of the feature at fault, or roll forward with a release that lives \
                 with schema {to}, or restore the data base from the copy that was taken before the contract"
            )
            .into(),
            Hindrance::Release { why: Unfit::TooEarly, .. } => {
                format!("finish the contract first, or build it so that it lives with schema {from}, too").into()
            }
            Hindrance::Release { why: Unfit::Neither, .. } => {
                format!("take a release that lives with schema {from} or {to}").into()
            }
            Hindrance::Release { why: Unfit::ReadsNew, .. } => {
                format!("go back with {} first", Step::ReadOld.playbook()).into()
            }
            Hindrance::Release { why: Unfit::NotMirrored, .. } => {
                format!("run {} first: it brings the old columns back into step", Step::DualWriteOn.playbook()).into()
            }
            Hindrance::Release { why: Unfit::FlagUnknown, .. } => format!("look at flag {flag}").into(),
        }
    }
}

impl fmt::Display for GateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Migration { from, to, flag, .. } = &self.migration;
        match &self.why {
            Hindrance::NotSeen => f.write_str("nobody has seen yet how far the data base is"),
            Hindrance::UnderWay { step } => write!(f, "step {} is under way", step.playbook()),
            Hindrance::InDoubt { step } => write!(f, "it is not known how step {} ended", step.playbook()),
            Hindrance::AtBeginning => write!(f, "the migration from schema {from} to {to} has not begun"),
            Hindrance::AtEnd => write!(f, "the migration from schema {from} to {to} is complete"),
            Hindrance::PastContract => {
                write!(f, "nothing leads back from the contract: schema {from} is gone, or may be")
            }
            Hindrance::FlagUnknown => write!(f, "it is not known whether flag {flag} is on"),
            Hindrance::CodeUnknown => f.write_str("it is not known which code runs"),
            Hindrance::OldCode => write!(f, "code that can't live with schema {to} runs or may start"),
            Hindrance::NoNewCode => write!(f, "no code runs that could read schema {to}"),
            Hindrance::Soak { left } => write!(f, "the soak lasts {left} more"),
            Hindrance::Irrevocable => f.write_str("the contract is next, and nothing leads back from it"),
            Hindrance::BeforeSoak => {
                write!(f, "schema {from} is still needed: it is not time for the contract")
            }
            Hindrance::Release { release, why } => match why {
                Unfit::NotSeen => {
                    write!(
                        f,
                        "nobody has seen yet whether the data is one that release {release} can live with"
                    )
                }
                Unfit::PastContract => write!(f, "release {release} can't live with schema {to}"),
                Unfit::TooEarly => write!(f, "release {release} can't live with schema {from}"),
                Unfit::Neither => write!(f, "release {release} lives with neither schema {from} nor {to}"),
                Unfit::ReadsNew => {
                    write!(f, "the columns of schema {to} are read, and release {release} doesn't write them")
                }
                Unfit::NotMirrored => write!(
                    f,
                    "flag {flag} is off, so the columns that release {release} reads lack what was written since"
                ),
                Unfit::FlagUnknown => write!(
                    f,
                    "it is not known whether flag {flag} is on, so the columns that release {release} reads may be stale"
                ),
            },
        }
    }
}

impl core::error::Error for GateRefusal {}
