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
        return Err(NoData::Malformed { why: format!("its status is {:?}", shortened(&envelope.status)) });
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

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixMs = UnixMs(1_767_607_200_000);
    const STALE: Millis = Millis::from_secs(60);

    fn read(body: &str) -> Result<f64, NoData> {
        number(body.as_bytes(), AT, STALE).map(Finite::get)
    }

    fn success(kind: &str, result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    }

    fn element(time: &str, value: &str) -> String {
        success("vector", &format!(r#"[{{"metric":{{"job":"a"}},"value":[{time},"{value}"]}}]"#))
    }

    #[test]
    fn one_number_is_an_answer() {
        assert_eq!(read(&element("1767607200", "41.5")), Ok(41.5));
        assert_eq!(read(&element("1767607199.781", "-1e-3")), Ok(-0.001));
        assert_eq!(read(&success("scalar", r#"[1767607200.0,"7"]"#)), Ok(7.0));
        // The kind may come after what it is the kind of, and there may be fields that nobody knows.
        let turned = r#"{"infos":["x"],"data":{"stats":{},"result":[1767607200,"7"],"resultType":"scalar"},"status":"success"}"#;
        assert_eq!(read(turned), Ok(7.0));
    }

    #[test]
    fn all_else_is_no_data() {
        let two = r#"[{"metric":{},"value":[1767607200,"1"]},{"metric":{},"value":[1767607200,"1"]}]"#;
        let histogram = r#"[{"metric":{},"histogram":[1767607200,{"count":"3","sum":"1"}]}]"#;
        for (body, why) in [
            (success("vector", "[]"), "no series matches"),
            (success("vector", two), "2 series match, and one was expected"),
            (success("vector", histogram), "the answer is a histogram, and one number was expected"),
            (success("matrix", "[]"), "the answer is a range, and one number was expected"),
            (success("string", r#"[1767607200,"x"]"#), "the answer is a text, and one number was expected"),
            (element("1767607200", "NaN"), "the value is not a finite number"),
            (element("1767607200", "+Inf"), "the value is not a finite number"),
            (element("1767607200", "-Inf"), "the value is not a finite number"),
            (element("1767607200", "1e999"), "the value is not a finite number"),
            (element("1767607139", "1"), "the value is 61 s old"),
            (element("0", "1"), "the value is 1767607200 s old"),
            (element("1767607205", "1"), "the value is 5.0 s ahead of the time that was asked for"),
            (element("-5", "1"), "the answer can't be understood: -5 is no time"),
            (element("1767607200", ""), "the answer can't be understood: \"\" is no number"),
            (element("1767607200", "0x1"), "the answer can't be understood: \"0x1\" is no number"),
        ] {
            assert_eq!(read(&body).unwrap_err().to_string(), why, "{body}");
        }
    }

    /// A warning says that a part of the data may be missing, say because one store behind Prometheus was away.
    #[test]
    fn a_number_with_a_warning_is_no_data() {
        let body = element("1767607200", "0")
            .replace("{\"status\"", "{\"warnings\":[\"store\\nis away\"],\"status\"");
        assert_eq!(read(&body), Err(NoData::Warned { warning: "store is away".into() }));
    }

    #[test]
    fn a_body_that_was_cut_or_made_up_is_no_data() {
        let whole = element("1767607200", "1");
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        let deep = success("vector", &"[".repeat(100_000));
        let twice = whole.replace("\"resultType\":", "\"resultType\":\"scalar\",\"resultType\":");
        for body in [
            deep,
            twice,
            "null".into(),
            r#"{"status":"success"}"#.into(),
            r#"{"status":"error","data":{"resultType":"scalar","result":[1767607200,"0"]}}"#.into(),
            // A number where Prometheus sends a text isn't Prometheus' answer.
            success("scalar", "[1767607200,0]"),
            success("scalar", r#"["1767607200","0"]"#),
            success("scalar", r#"[1767607200,"0","0"]"#),
            success("vector", r#"{"metric":{},"value":[1767607200,"0"]}"#),
            success("vector", "[null]"),
            success("other", "[]"),
        ] {
            assert!(matches!(read(&body), Err(NoData::Malformed { .. })), "{body:.200}");
        }
    }

    #[test]
    fn what_a_server_says_is_passed_on_in_one_short_line() {
        let said = complaint(br#"{"status":"error","errorType":"bad_data","error":"1:4: parse\nerror"}"#);
        assert_eq!(said, "bad_data: 1:4: parse error");
        assert_eq!(complaint(b"<html>\n"), "<html>");
        assert_eq!(complaint(&[0xff; 5000]).chars().count(), 200);
    }
}
