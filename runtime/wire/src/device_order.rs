//! What the server wants of one device.

use alloc::vec::Vec;

use backstay_model::Word;
use serde::{Deserialize, Serialize};

use crate::{Body, OutOfBounds, Schema};

/// Words for one device. The broker keeps the newest only, so the server repeats in it whatever the
/// device has not been seen to do yet: a device that was offline for three of them misses nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOrder {
    /// Grows with each order for this device, and is the sequence of the envelope, too.
    pub sequence: u64,
    /// What to do, in this order. 1 to [`DeviceOrder::WORDS_MAX`]; each may be done again at will.
    pub words: Vec<Word>,
}

impl DeviceOrder {
    /// The most instructions in one order: a thaw, and a lift for each digest that a device can condemn.
    pub const WORDS_MAX: usize = 33;
}

impl Body for DeviceOrder {
    const SCHEMA: Schema = Schema::DEVICE_ORDER;
    const VERSION: u16 = 1;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 2 * 1024;

    fn check(&self) -> Result<(), OutOfBounds> {
        OutOfBounds::check("words", self.words.len(), 1, Self::WORDS_MAX)
    }
}
