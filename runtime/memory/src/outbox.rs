//! The records that the server has no receipt for. No second truth: it is the journal past the last receipt.

use std::{error, fmt};

use backstay_evidence::{Frame, Head, Place};
use backstay_journal::Ledger;
use backstay_model::Digest;
use backstay_wire::{LogBatch, Receipt};

/// A receipt that is not for this journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptError {
    /// It is for a record that does not exist here.
    Ahead {
        /// Which.
        seq: u64,
    },
    /// The server has another record at that place than this journal.
    Foreign {
        /// Which.
        seq: u64,
    },
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead { seq } => {
                write!(f, "the receipt is for record {seq}, which this journal does not have")
            }
            Self::Foreign { seq } => {
                write!(f, "the receipt is for another record {seq} than this journal has")
            }
        }
    }
}

impl error::Error for ReceiptError {}

/// The records after `after`, as many as fit a message.
pub(crate) fn batch(journal: &impl Ledger, after: u64) -> Option<LogBatch> {
    let mut batch: Option<LogBatch> = None;
    for record in journal.read(after + 1) {
        let Ok(record) = record else { break };
        let batch = batch.get_or_insert_with(|| LogBatch {
            epoch: record.epoch,
            first: record.seq,
            count: 0,
            records: Vec::new(),
        });
        let frame = Frame {
            seq: record.seq,
            epoch: record.epoch,
            prev: record.prev,
            place: Place::First,
            body: &record.body,
        };
        let full = batch.records.len() + frame.encoded_len() > LogBatch::RECORDS_BYTES_MAX
            || batch.count == LogBatch::RECORDS_MAX;
        if full || record.epoch != batch.epoch {
            break;
        }
        frame.write(&mut batch.records);
        batch.count += 1;
    }
    batch.filter(|batch| batch.count > 0)
}

/// Whether `receipt` is for a record of this journal.
pub(crate) fn check(
    journal: &impl Ledger,
    chain: &backstay_evidence::Chain,
    receipt: &Receipt,
) -> Result<Head, ReceiptError> {
    let seq = receipt.seq;
    if seq > journal.head().seq {
        return Err(ReceiptError::Ahead { seq });
    }
    let Some(Ok(record)) =
        journal.read(seq).next().filter(|record| record.as_ref().is_ok_and(|record| record.seq == seq))
    else {
        // Pruned long ago: then there was a receipt for it before.
        return Ok(Head { epoch: receipt.epoch, seq, hash: receipt.head.0 });
    };
    let head = chain.head_of(&record.frame());
    if Digest(head.hash) == receipt.head { Ok(head) } else { Err(ReceiptError::Foreign { seq }) }
}
