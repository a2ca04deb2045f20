//! An endpoint that speaks JSON: what its requests are called, and which fields of its answers are kept.
//!
//! Not here: what a mask looks like (`mask`), taking fields out (`prune`), and whether anything may be asked (`guarded`).

use std::io::{self, BufReader};

use backstay_model::{Answer, FIELDS_BYTES_MAX, Output, Transience};
use serde::de::IgnoredAny;
use ureq::http;

use crate::{
    mask::Mask,
    output::failed,
    prune::{Pruned, prune},
    secret::Cleaner,
};

/// What is asked for.
pub(crate) const ACCEPT: &str = "accept";
/// What says what a body is.
pub(crate) const CONTENT_TYPE: &str = "content-type";
/// RFC 8259.
pub(crate) const JSON: &str = "application/json";
/// A list of changes (RFC 6902).
const JSON_PATCH: &str = "application/json-patch+json";
/// A document that is laid over another one (RFC 7396).
const MERGE_PATCH: &str = "application/merge-patch+json";

/// What a body is called; `None` where there is none.
///
/// # Errors
/// It isn't JSON, or not a patch.
pub(crate) fn content_type(method: &str, body: &[u8]) -> Result<Option<&'static str>, String> {
    if body.is_empty() && method != "PATCH" {
        return Ok(None);
    }
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(body) {
        return Err(format!("the body is no JSON: {error}"));
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match (method, first) {
        ("PATCH", Some(b'[')) => Ok(Some(JSON_PATCH)),
        ("PATCH", Some(b'{')) => Ok(Some(MERGE_PATCH)),
        ("PATCH", _) => Err("a patch is an array of changes (RFC 6902) or an object (RFC 7396)".into()),
        _ => Ok(Some(JSON)),
    }
}

/// Whether an answer has what was asked for. Others have a few words, which nobody's mask is about, or nothing at all.
pub(crate) fn has_fields(status: http::StatusCode) -> bool {
    status.is_success() && status != http::StatusCode::NO_CONTENT
}

/// What came of a request of which only some fields are wanted. The answer is read as it comes, up to `bytes_max`.
pub(crate) fn answer(
    response: http::Response<ureq::Body>,
    bytes_max: u64,
    mask: &Mask,
    cleaner: &Cleaner,
) -> Answer {
    let status = response.status().as_u16();
    let body = response.into_body().into_with_config().limit(bytes_max).reader();
    let permanently = |why: String| failed(Transience::Permanent, why);
    match prune(BufReader::new(body), mask, cleaner, FIELDS_BYTES_MAX) {
        Ok(Pruned::Fields(bytes)) => Answer::Response { status, body: Output { bytes, whole: None } },
        Ok(Pruned::TooLong { bytes }) => permanently(format!(
            "the wanted fields have {bytes} bytes, and at most {FIELDS_BYTES_MAX} are kept"
        )),
        Ok(Pruned::Exposed) => permanently("the credential can't be taken out of the wanted fields".into()),
        Err(error) if error.is_io() => {
            let error = ureq::Error::from(io::Error::from(error));
            if matches!(error, ureq::Error::Timeout(_)) {
                Answer::TimedOut
            } else if matches!(error, ureq::Error::BodyExceedsLimit(_)) {
                permanently(format!("the answer is longer than {bytes_max} bytes"))
            } else {
                failed(Transience::Transient, format!("the answer broke off: {error}"))
            }
        }
        Err(error) => permanently(format!("no fields can be taken out of the answer: {error}")),
    }
}

#[cfg(test)]
mod tests;
