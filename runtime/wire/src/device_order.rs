//! What the server wants of one device.

use alloc::vec::Vec;

use backstay_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{Body, OutOfBounds, Schema};

/// Instructions for one device. The broker keeps the newest only, so the server repeats in it whatever the
/// device has not been seen to do yet: a device that was offline for three of them misses nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOrder {
    /// Grows with each order for this device, and is the sequence of the envelope, too.
    pub sequence: u64,
    /// What to do, in this order. 1 to [`DeviceOrder::INSTRUCTIONS_MAX`]; each may be done again at will.
    pub instructions: Vec<Instruction>,
}

/// One thing that a device can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Instruction {
    /// Start nothing until there is a `Thaw`. Going home is not starting.
    Hold,
    /// End a hold or a freeze.
    Thaw,
    /// A release that failed here may be tried again.
    Lift {
        /// Which: one of the condemned.
        digest: Digest,
    },
}

impl DeviceOrder {
    /// The most instructions in one order: a thaw, and a lift for each digest that a device can condemn.
    pub const INSTRUCTIONS_MAX: usize = 33;
}

impl Body for DeviceOrder {
    const SCHEMA: Schema = Schema::DEVICE_ORDER;
    const VERSION: u16 = 1;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 2 * 1024;

    fn check(&self) -> Result<(), OutOfBounds> {
        OutOfBounds::check("instructions", self.instructions.len(), 1, Self::INSTRUCTIONS_MAX)
    }
}
