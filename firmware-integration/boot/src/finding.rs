//! What was found of slots, boot loader and ledger, and lived with. Not here: finding it (`backend`).

use std::{error::Error, fmt};

use backstay_slots::Slot;

use crate::switch::SwitchError;

/// What was found and lived with. Each is worth a record.
#[derive(Debug)]
#[non_exhaustive]
pub enum Finding {
    /// There is no ledger, or both copies are damaged. What runs is confirmed, the other slot holds nothing known.
    LedgerLost {
        /// The slot that runs.
        confirmed: Slot,
    },
    /// The boot loader's words were lost and written anew.
    SwitchLost {
        /// How.
        error: SwitchError,
    },
    /// The confirmed slot failed its boots, and the other one runs.
    Rescued {
        /// The slot that failed.
        failed: Slot,
    },
    /// A slot that fell back could not be barred. Its tries are used up all the same.
    NotBarred {
        /// Why.
        error: SwitchError,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = |f: &mut fmt::Formatter<'_>, error: &SwitchError| {
            let mut error: &dyn Error = error;
            write!(f, ": {error}")?;
            while let Some(source) = error.source() {
                write!(f, ": {source}")?;
                error = source;
            }
            Ok(())
        };
        match self {
            Self::LedgerLost { confirmed } => {
                write!(
                    f,
                    "there is no ledger of the slots: slot {confirmed}, which runs, is taken to be confirmed"
                )
            }
            Self::SwitchLost { error } => {
                f.write_str("the boot loader's words were written anew")?;
                chain(f, error)
            }
            Self::Rescued { failed } => {
                write!(f, "confirmed slot {failed} could not be started, the other one runs")
            }
            Self::NotBarred { error } => {
                f.write_str("a slot that fell back could not be barred")?;
                chain(f, error)
            }
        }
    }
}
