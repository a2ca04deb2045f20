//! Journal records on their way to the server, and the server's word that it has them.

use alloc::vec::Vec;

use backstay_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{Body, OutOfBounds, Schema};

/// Records of a device's journal, one behind the other as they are on its disk.
///
/// The server is an idempotent receiver: it takes the records that it has not got yet and drops the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatch {
    /// Of all the records in it.
    pub epoch: u32,
    /// The sequence of the first record; the others follow without a gap.
    pub first: u64,
    /// How many records there are, 1 to [`LogBatch::RECORDS_MAX`].
    pub count: u32,
    /// Their bytes as `evidence` frames them, at most [`LogBatch::RECORDS_BYTES_MAX`].
    #[serde(with = "crate::bytes")]
    pub records: Vec<u8>,
}

impl LogBatch {
    /// The most records in a batch.
    pub const RECORDS_MAX: u32 = 1024;
    /// The most bytes of records in a batch: the largest entry fits, and the message stays below the 128 KiB
    /// that the strictest of the common brokers takes.
    pub const RECORDS_BYTES_MAX: usize = 112 * 1024;
}

impl Body for LogBatch {
    const SCHEMA: Schema = Schema::LOG_BATCH;
    const VERSION: u16 = 1;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = Self::RECORDS_BYTES_MAX + 64;

    fn check(&self) -> Result<(), OutOfBounds> {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        OutOfBounds::check("count", count, 1, Self::RECORDS_MAX as usize)?;
        OutOfBounds::check("records", self.records.len(), 1, Self::RECORDS_BYTES_MAX)
    }
}

/// How far the server has a device's journal. Only with this may the device drop records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Of the newest record that the server has without a gap before it.
    pub epoch: u32,
    /// Its sequence.
    pub seq: u64,
    /// Its hash, so that a device sees if the server has another history than its own.
    pub head: Digest,
}

impl Body for Receipt {
    const SCHEMA: Schema = Schema::RECEIPT;
    const VERSION: u16 = 1;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 128;
}
