//! The answer of Prometheus to an instant query, as bytes.
//!
//! Format: <https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats>. Read here is
//! exactly one number: a scalar, or a vector of one element. Everything else is the lack of data.
//!
//! Not here: how the bytes came (`prometheus`).

use backstay_model::{Millis, UnixMs};
use serde::{Deserialize, de::IgnoredAny};

use crate::{Answer, Finite, NoData, no_data::shortened};

/// How far a sample's time may be ahead of the time that was asked for: what rounding to milliseconds makes of it.
const EARLY_MAX: Millis = Millis(1000);

/// Reads an answer with a status of success. A sample that is more than `stale` older than `at` is no data.
pub(crate) fn number(body: &[u8], at: UnixMs, stale: Millis) -> Answer {
    let envelope: Envelope = serde_json::from_slice(body)
        .map_err(|error| NoData::Malformed { why: shortened(&error.to_string()) })?;
    if envelope.status != "success" {
        return Err(NoData::Malformed {
            why: shortened(&format!("its status is {:?}", shortened(&envelope.status))),
        });
    }
    if let Some(warning) = envelope.warnings.first() {
        return Err(NoData::Warned { warning: shortened(warning) });
    }
    let data = envelope.data.ok_or_else(|| NoData::Malformed { why: "there is no data in it".into() })?;
    let (time, value) = match data {
        Data::Vector(mut elements) => match elements.len() {
            0 => return Err(NoData::Empty),
            1 => elements.swap_remove(0).value.ok_or(NoData::OtherType { kind: "histogram" })?,
            series => return Err(NoData::Several { series }),
        },
        Data::Scalar(sample) => sample,
        Data::Matrix(_) => return Err(NoData::OtherType { kind: "range" }),
        Data::String(_) => return Err(NoData::OtherType { kind: "text" }),
    };
    in_time(time, at, stale)?;
    // Numbers come as texts, because JSON has no NaN.
    let value: f64 = value
        .parse()
        .map_err(|_| NoData::Malformed { why: format!("{:?} is no number", shortened(&value)) })?;
    Finite::new(value).ok_or(NoData::NotFinite)
}

fn in_time(time: f64, at: UnixMs, stale: Millis) -> Result<(), NoData> {
    if !time.is_finite() || time < 0.0 {
        return Err(NoData::Malformed { why: format!("{time} is no time") });
    }
    // Ends at the bounds of the integer; both are far from any time that is asked for.
    let time = (time * 1000.0).round() as u64;
    let age = Millis(at.0.saturating_sub(time));
    if age > stale {
        return Err(NoData::Stale { age });
    }
    let by = Millis(time.saturating_sub(at.0));
    if by > EARLY_MAX {
        return Err(NoData::Early { by });
    }
    Ok(())
}

/// What a server says about a question that it refuses; the beginning of the body where that isn't what it sends.
pub(crate) fn complaint(body: &[u8]) -> String {
    match serde_json::from_slice::<Complaint>(body) {
        Ok(Complaint { kind, error }) => shortened(&format!("{kind}: {error}")),
        Err(_) => shortened(String::from_utf8_lossy(&body[..body.len().min(1024)]).trim()),
    }
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    warnings: Vec<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Element>),
    Scalar((f64, String)),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Element {
    value: Option<(f64, String)>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(rename = "errorType")]
    kind: String,
    error: String,
}
