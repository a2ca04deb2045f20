//! Reading what Prometheus answers, without the connection that it comes over.

use backstay_model::{Millis, UnixMs};

use crate::{Answer, instant};

/// Reads an answer with a status of success. A sample that is more than `stale` older than `at` is no data.
pub fn number(body: &[u8], at: UnixMs, stale: Millis) -> Answer {
    instant::number(body, at, stale)
}

/// What a server says about a question that it refuses.
#[must_use]
pub fn complaint(body: &[u8]) -> String {
    instant::complaint(body)
}
