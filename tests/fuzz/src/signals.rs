//! What others measure and tell: metrics of a pipeline, alerts, answers of Prometheus, and what an executor sees.
//!
//! What has to hold: a number that is taken is one, what is missing is missing for a reason, and nothing is taken twice.

use std::collections::BTreeMap;

use backstay_model::{Millis, UnixMs};
use backstay_signals::{Finite, Metrics, Query, alerts, readings, testing};

use crate::{
    Came, is_told,
    memory::within,
    script::{Script, way},
};

/// What 4 KiB of JSON become.
const HELD_MAX: usize = 1 << 20;
/// When Prometheus is asked, and how old its samples may be.
const AT: UnixMs = UnixMs(1_767_607_200_000);
const STALE: Millis = Millis::from_secs(60);
/// How far a number that was written may be from what is read of it, in units in the last place. serde_json writes as many
/// digits as it takes (at most 17), and without its feature `float_roundtrip` reads them as a whole number times or by a power of
/// ten: three roundings of half a unit, each up to twice as large where the result is just below a power of two.
const ULPS_MAX: u64 = 3;

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 5) {
        Some((0, rest)) => metrics(rest),
        Some((1, rest)) => told(rest),
        Some((2, rest)) => number(rest),
        Some((3, rest)) => seen(rest),
        Some((_, rest)) => query(rest),
        None => Came::Refused,
    }
}

fn metrics(rest: Script<'_>) -> Came {
    match within(HELD_MAX, || Metrics::read(rest.0)) {
        Ok(metrics) => {
            is_the_same(&metrics, &Metrics::read(&serde_json::to_vec(&metrics).unwrap()).unwrap());
            Came::Taken
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.help().is_some(), "{error}: what to do?");
            Came::Refused
        }
    }
}

/// That the names are the same, and the numbers within [`ULPS_MAX`].
fn is_the_same(one: &Metrics, other: &Metrics) {
    let numbers = |metrics: &Metrics| -> BTreeMap<String, f64> {
        serde_json::from_value(serde_json::to_value(metrics).unwrap()).unwrap()
    };
    let (one, other) = (numbers(one), numbers(other));
    let names: [Vec<_>; 2] = [&one, &other].map(|numbers| numbers.keys().collect());
    assert_eq!(names[0], names[1], "metrics read differently again");
    for (name, number) in &one {
        let again = other[name];
        let is_near = number.to_bits().abs_diff(again.to_bits()) <= ULPS_MAX;
        assert!(is_near, "{name} is {number:e}, and then {again:e}");
    }
}

fn told(rest: Script<'_>) -> Came {
    match within(HELD_MAX, || alerts(rest.0)) {
        Ok(delivery) => {
            assert_eq!(alerts(rest.0).unwrap(), delivery, "the same message is heard alike");
            Came::Taken
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.help().is_some(), "{error}: what to do?");
            Came::Refused
        }
    }
}

fn number(rest: Script<'_>) -> Came {
    let complaint = within(HELD_MAX, || testing::complaint(rest.0));
    assert!(complaint.len() <= 4096, "a complaint of {} bytes", complaint.len());
    match within(HELD_MAX, || testing::number(rest.0, AT, STALE)) {
        Ok(number) => {
            assert!(number.get().is_finite(), "{number:?} is no number");
            let later = testing::number(rest.0, UnixMs(AT.0 + 2 * STALE.0), STALE);
            assert!(later.is_err(), "a sample never gets old");
            Came::Taken
        }
        Err(why) => {
            is_told(&why);
            Came::Refused
        }
    }
}

fn seen(rest: Script<'_>) -> Came {
    match within(HELD_MAX, || readings(rest.0)) {
        Ok(seen) => {
            let infra = seen.infra();
            assert!(infra.iter().all(|infra| infra.count > 0));
            assert_eq!(seen.infra_beside(infra.clone()).len(), infra.len(), "the same trouble counts once");
            if let Some(anomaly) = seen.anomaly() {
                assert!(anomaly.get() <= 1000);
            }
            let _ = seen.out();
            Came::Taken
        }
        Err(error) => {
            is_told(&error);
            assert!(error.help().is_some(), "{error}: what to do?");
            Came::Refused
        }
    }
}

fn query(rest: Script<'_>) -> Came {
    let Ok(text) = std::str::from_utf8(rest.0) else { return Came::Refused };
    if let Some(Ok(share)) = text.parse().ok().and_then(Finite::new).map(Finite::share) {
        assert!(share.get() <= 1000, "{text} is no share");
    }
    match Query::parse(text) {
        Ok(query) => {
            assert_eq!(query.as_str(), text.trim());
            assert_eq!(Query::parse(query.as_str()), Ok(query));
            Came::Taken
        }
        Err(error) => {
            is_told(&error);
            assert!(error.help().is_some(), "{error}: what to do?");
            Came::Refused
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let alert = r#"{"version":"4","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"HighErrors","service":"checkout"},"startsAt":"2026-11-28T10:00:00Z","endsAt":"0001-01-01T00:00:00Z","fingerprint":"aa"}]}"#;
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1767607200,"0.25"]}]}}"#;
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1767607200.123,"1e-3"]}}"#;
    [
        (0, r#"{"errors": 1, "latency_p99": 0.25e1}"#),
        (1, alert),
        (2, vector),
        (2, scalar),
        (2, r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#),
        (3, "pods.out=2\nanomaly=500\n\nversion=1.4.0\n"),
        (4, "sum(rate(errors[1m])) / sum(rate(all[1m]))"),
        (4, "0.5"),
    ]
    .into_iter()
    .map(|(way, text)| [&[way], text.as_bytes()].concat())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bound is sharp enough to tell another number: a relative bound that is wide at 1 lets small ones pass for others.
    #[test]
    fn numbers_that_differ_by_more_are_not_the_same() {
        let read = |number: f64| Metrics::read(format!("{{\"a\": {number:e}}}").as_bytes()).unwrap();
        let differs = |one: f64, other: f64| {
            std::panic::catch_unwind(|| is_the_same(&read(one), &read(other))).is_err()
        };
        for number in [1.0_f64, 0.1, -2.5e-7, 1e300, 3e-310] {
            let beside = |by: u64| f64::from_bits(number.to_bits() + by);
            assert!(!differs(number, number), "{number:e}");
            assert!(differs(number, beside(3 * ULPS_MAX)), "{number:e}");
        }
    }
}
