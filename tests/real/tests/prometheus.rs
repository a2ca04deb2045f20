//! A Prometheus that others wrote, which looks at a program whose numbers the test moves.
//!
//! Here: that windows hold what the program said, and that whatever isn't there is no data. Not here: answers that no honest
//! Prometheus gives (`runtime/signals/tests/conversation.rs`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fmt::Write as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use backstay_model::{Millis, Mono, Name, Scope, UnixMs};
use backstay_signals::{
    Answer, Burn, BurnRate, Finite, Limit, NoData, ObjectiveSpec, Prometheus, PrometheusSettings, Query,
    Ratio, Source, Windows,
};
use backstay_test_real::{Exporter, RealPrometheus};

/// How long something may take to be seen: a few scrapes, on a machine with time for it.
const PATIENCE: Duration = Duration::from_secs(60);
const STALE: Millis = Millis::from_secs(10);
/// The window: scrapes come each second, so ten of them or so.
const SPAN: Millis = Millis::from_secs(10);

/// A Prometheus, what it looks at, and what asks it.
struct Shop {
    exporter: Exporter,
    server: RealPrometheus,
    prometheus: Prometheus,
}

impl Shop {
    /// `None` if Prometheus isn't installed.
    fn open(says: &str) -> Option<Self> {
        let exporter = Exporter::start();
        exporter.says(says);
        let server = RealPrometheus::start(&exporter)?;
        let settings = PrometheusSettings {
            url: server.url(),
            timeout: Millis::from_secs(30),
            roots: None,
            headers: Vec::new(),
            credential: None,
        };
        let prometheus = Prometheus::new(settings).unwrap();
        Some(Self { exporter, server, prometheus })
    }

    async fn asks(&self, query_: &str) -> Answer {
        self.prometheus.ask(&query(query_), now(), STALE).await
    }

    /// Asks until the answer is as it should be. Scrapes are a second apart.
    async fn asks_until(&self, query: &str, is_right: impl Fn(&Answer) -> bool) -> Answer {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.asks(query).await;
            if is_right(&answer) {
                return answer;
            }
            assert!(Instant::now() < until, "{query}: still {answer:?}; it says:\n{}", self.server.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn windows(&self, spec: &ObjectiveSpec) -> Windows {
        let answers = self.prometheus.answers(std::slice::from_ref(spec), now(), STALE).await.remove(0);
        spec.windows(&answers, Mono(0), SPAN)
    }
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMs(u64::try_from(since.as_millis()).unwrap())
}

fn query(text: &str) -> Query {
    Query::parse(text).unwrap()
}

fn finite(number: f64) -> Finite {
    Finite::new(number).unwrap()
}

fn spec(name: &str, source: Source) -> ObjectiveSpec {
    ObjectiveSpec { name: Name::parse(name).unwrap(), critical: true, scope: Scope::Local, source }
}

/// Two sides of a service serve requests for some seconds, and the new one fails more of them. The windows hold what
/// was served, as near as scrapes a second apart let anybody know.
#[tokio::test]
async fn windows_hold_what_the_program_said() {
    /// Requests a second on each side, and how many of them fail: more than rounding could hide.
    const SIDES: [(&str, u64, u64); 2] = [("canary", 50, 10), ("stable", 200, 2)];
    let count = |step: u64| {
        SIDES.into_iter().fold(String::new(), |mut said, (track, requests, errors)| {
            let _ = writeln!(said, "requests_total{{track=\"{track}\"}} {}", requests * step);
            let _ = writeln!(said, "errors_total{{track=\"{track}\"}} {}", errors * step);
            said
        })
    };
    let Some(shop) = Shop::open(&count(0)) else { return };
    let since = Instant::now();
    let step = || since.elapsed().as_millis() as u64 / 100;
    // Ten steps a second: the counters grow by `requests * 10` in each.
    let side = |track: &str| Ratio {
        bad: query(&format!("sum(increase(errors_total{{track=\"{track}\"}}[10s]))")),
        total: query(&format!("sum(increase(requests_total{{track=\"{track}\"}}[10s]))")),
    };
    let errors = spec("errors", Source::Ratio { candidate: side("canary"), baseline: Some(side("stable")) });
    let missing =
        Ratio { total: query("sum(increase(requests_total{track=\"gone\"}[10s]))"), ..side("canary") };
    let half = spec("half", Source::Ratio { candidate: missing, baseline: Some(side("stable")) });
    let until = Instant::now() + PATIENCE;
    let near = |counted: u32, per_step: u64| {
        let expected = (per_step * 100) as f64;
        (f64::from(counted) - expected).abs() <= expected * 0.25
    };
    let windows = loop {
        shop.exporter.says(count(step()));
        let windows = shop.windows(&errors).await;
        let baseline = windows.baseline.unwrap();
        let sides = [(windows.candidate, SIDES[0]), (baseline, SIDES[1])];
        if sides.iter().all(|(window, (_, requests, errors))| {
            near(window.samples, *requests) && near(window.bad, *errors)
        }) {
            // The share is what a policy goes by. Both counts come from the same scrapes, so it is nearer than they are.
            for (window, (track, requests, errors)) in sides {
                let (share, expected) =
                    (f64::from(window.bad) / f64::from(window.samples), errors as f64 / requests as f64);
                assert!((share - expected).abs() <= 0.01, "{track}: {share} instead of {expected}");
            }
            break windows;
        }
        assert!(Instant::now() < until, "still {windows:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let half = shop.windows(&half).await;
    assert_eq!((half.candidate.samples, half.candidate.bad), (0, 0), "one of its two numbers is missing");
    assert!(half.baseline.unwrap().samples > 0, "{half:?}, and a moment before {windows:?}");

    // The budget of a 99 % SLO burns at twenty times its speed on the canary, and not at all with the usual one.
    let ratio = |track: &str| {
        query(&format!(
            "sum(increase(errors_total{{track=\"{track}\"}}[10s])) / sum(increase(requests_total{{track=\"{track}\"}}[10s]))"
        ))
    };
    let burn = |track: &str| {
        let rate = BurnRate::new(0.99, 14.4).unwrap();
        spec("budget", Source::Burn(Burn { ratio_long: ratio(track), ratio_short: ratio(track), rate }))
    };
    for (track, counted) in [("canary", (1, 1)), ("stable", (1, 0)), ("gone", (0, 0))] {
        let window = shop.windows(&burn(track)).await.candidate;
        assert_eq!((window.samples, window.bad), counted, "{track}");
    }
}

/// Everything that Prometheus can say and that is no number for us. A limit that nothing could break shows that none of it
/// is taken for a good one.
#[tokio::test]
async fn what_is_missing_broken_or_no_number_is_no_data() {
    let says = "fine 0.25\nnot_a_number NaN\nendless +Inf\nless_than_all -Inf\nboth{a=\"1\"} 1\nboth{a=\"2\"} 1\nnone_yet 0\n";
    let Some(shop) = Shop::open(says) else { return };
    assert_eq!(shop.asks_until("fine", Result::is_ok).await, Ok(finite(0.25)));
    for (query_, why) in [
        ("no_such_series", "no series matches"),
        ("both", "2 series match, and one was expected"),
        ("not_a_number", "the value is not a finite number"),
        ("endless", "the value is not a finite number"),
        ("less_than_all", "the value is not a finite number"),
        ("none_yet / none_yet", "the value is not a finite number"),
        ("fine[10s]", "the answer is a range, and one number was expected"),
        ("\"fine\"", "the answer is a text, and one number was expected"),
        (
            "fine{",
            "the server answered with status 400: bad_data: invalid parameter \"query\": 1:6: parse error: unexpected end of \
             input inside braces",
        ),
    ] {
        assert_eq!(shop.asks(query_).await.unwrap_err().to_string(), why, "{query_}");
        let value = |limit| spec("value", Source::Value { candidate: query(query_), baseline: None, limit });
        for limit in [Limit::Above(finite(f64::MAX)), Limit::Below(finite(f64::MIN))] {
            assert_eq!(shop.windows(&value(limit)).await.candidate.samples, 0, "{query_}");
        }
    }
    // What is one number is one, in whichever form.
    for (query_, number) in
        [("7", 7.0), ("scalar(fine)", 0.25), ("sum(both)", 2.0), ("no_such_series or vector(0)", 0.0)]
    {
        assert_eq!(shop.asks(query_).await, Ok(finite(number)), "{query_}");
    }
}

/// The program goes away, and then Prometheus does: what was good a moment ago says nothing of now.
#[tokio::test]
async fn a_program_or_a_prometheus_that_is_gone_is_no_data() {
    let Some(mut shop) = Shop::open("fine 0.25\n") else { return };
    assert_eq!(shop.asks_until("fine", Result::is_ok).await, Ok(finite(0.25)));
    let seen_at = now();
    shop.exporter.stop();
    assert_eq!(shop.asks_until("fine", Result::is_err).await, Err(NoData::Empty));
    assert_eq!(shop.asks_until("rate(fine[3s])", Result::is_err).await, Err(NoData::Empty));
    // As of then it is still known.
    assert_eq!(shop.prometheus.ask(&query("fine"), seen_at, STALE).await, Ok(finite(0.25)));
    assert_eq!(shop.asks("up").await, Ok(finite(0.0)));
    shop.server.kill();
    let gone = shop.asks("up").await.unwrap_err();
    assert!(matches!(gone, NoData::Unreachable { .. }), "{gone:?}");
}

/// A program that says itself of when its numbers are, and has stopped measuring. Prometheus marks nothing as stale there
/// and goes on answering with the last number, with the time that it was asked for beside it; in a range it has none.
#[tokio::test]
async fn an_old_number_is_no_data_where_the_query_names_a_range() {
    let measured_at = now().0 - 60_000;
    let Some(shop) = Shop::open(&format!("fine 0.25\nmeasured 0.5 {measured_at}\n")) else { return };
    assert_eq!(shop.asks_until("fine", Result::is_ok).await, Ok(finite(0.25)));
    assert_eq!(shop.asks("last_over_time(measured[10s])").await, Err(NoData::Empty));
    assert_eq!(
        shop.asks("last_over_time(measured[5m])").await,
        Ok(finite(0.5)),
        "it is there, and it is old"
    );
    // Only a server that heeds `lookback_delta` could tell here.
    let plain = shop.asks("measured").await;
    assert!(matches!(plain, Ok(_) | Err(NoData::Empty)), "{plain:?}");
}

/// A query that was meant for a graph: so many series that nobody reads the answer to its end.
#[tokio::test]
async fn an_answer_that_is_too_long_is_no_data() {
    let padding = "x".repeat(400);
    let says = (0..4000).fold(String::new(), |mut said, n| {
        let _ = writeln!(said, "many{{n=\"{n}\",padding=\"{padding}\"}} 1");
        said
    });
    let Some(shop) = Shop::open(&says) else { return };
    let counted = shop.asks_until("count(many)", |answer| *answer == Ok(finite(4000.0))).await;
    assert!(counted.is_ok());
    assert_eq!(shop.asks("many").await, Err(NoData::TooLarge { bytes_max: 1 << 20 }));
    assert_eq!(shop.asks("count(many)").await, Ok(finite(4000.0)), "and the next question is answered");
}
