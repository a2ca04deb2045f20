//! What time it is, by the API server's clock.
//!
//! A plugin has no clock, and another machine's would not do: every time on a cluster was written by the API server or a kubelet, and
//! only an age by the same clock says anything. So the server is asked who we are: a `SelfSubjectReview` is answered with the time at
//! which it was made, is stored nowhere, and everybody who is let in may ask it. (What is cheaper is worse: a node's Lease is up to ten
//! seconds old and in a namespace of its own, an object made with `dryRun` has to be allowed to be made without.)
//!
//! Looks and dry runs ask it only where the operator says that this POST changes nothing: the endpoint has
//! `asks = ["/apis/authentication.k8s.io/v1/selfsubjectreviews"]`.

use alloc::{format, string::String};

use backstay_sdk::executor::{Failed, permanent};
use serde_json::json;

use crate::{
    api::{Cluster, text},
    resource::SELF_SUBJECT_REVIEWS,
};

/// A moment, in whole seconds since 1970, as Kubernetes writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(i64);

impl Time {
    /// Reads an RFC 3339 time in UTC, as Kubernetes writes all of its own: `2026-11-28T02:45:01Z`. A fraction is cut off.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let time = time.split_once('.').map_or(time, |(whole, _)| whole);
        let [year, month, day] = numbers(date, '-')?;
        let [hour, minute, second] = numbers(time, ':')?;
        let sane = (1970..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60;
        sane.then(|| Self(days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second))
    }

    /// As Kubernetes writes it.
    #[must_use]
    pub fn written(self) -> String {
        let (days, second) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// The second before.
    #[must_use]
    pub const fn second_before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How many ms lie between an earlier moment and this one; 0 where it isn't earlier.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0).saturating_mul(1000)
    }
}

/// What time it is on the API server.
///
/// # Errors
/// Why it doesn't say.
pub async fn now(cluster: &Cluster<'_>) -> Result<Time, Failed> {
    let who = json!({
        "apiVersion": SELF_SUBJECT_REVIEWS.api_version(),
        "kind": SELF_SUBJECT_REVIEWS.kind,
    });
    let said = cluster.ask(&SELF_SUBJECT_REVIEWS.all(), &who, &["/metadata/creationTimestamp"]).await?;
    Time::parse(text(&said, "/metadata/creationTimestamp"))
        .ok_or_else(|| permanent("the API server does not say what time it is: it is older than 1.28"))
}

/// Three whole numbers of up to four digits, with `between` between them.
fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let digits = (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if digits { part.parse().ok() } else { None }
    });
    let found = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(found)
}

/// The days from the first of January 1970 to a date, by the calendar that RFC 3339 counts in. A year begins in March here, so
/// that the day that some years have more is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_month = (153 * month + 2) / 5;
    365 * year + year / 4 - year / 100 + year / 400 + days_before_month + day - 1 - 719_468
}

/// The date that so many days lead to: the inverse.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_kubernetes_writes_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-28T02:45:01Z", 1_795_833_901),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(Time::parse(text), Some(Time(seconds)), "{text}");
            assert_eq!(Time(seconds).written(), text);
        }
        assert_eq!(Time::parse("2026-11-28T02:45:01.123456Z"), Time::parse("2026-11-28T02:45:01Z"));
    }

    #[test]
    fn each_day_of_four_centuries_has_one_date() {
        let mut last = String::new();
        for day in 0..146_097 {
            let time = Time(day * 86_400 + 86_399);
            let text = time.written();
            assert!(text > last, "{text} after {last}");
            assert_eq!(Time::parse(&text), Some(time));
            last = text;
        }
        assert_eq!(last, "2369-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026-11-28",
            "2026-11-28T02:45:01",
            "2026-11-28T02:45:01+01:00",
            "2026-13-28T02:45:01Z",
            "2026-00-28T02:45:01Z",
            "2026-11-32T02:45:01Z",
            "2026-11-28T24:45:01Z",
            "2026-11-28T02:60:01Z",
            "2026-11-28T02:45Z",
            "2026-11-28-1T02:45:01Z",
            "99999-11-28T02:45:01Z",
            "+026-11-28T02:45:01Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_age_is_never_negative() {
        let (before, after) =
            (Time::parse("2026-11-28T02:45:01Z").unwrap(), Time::parse("2026-11-28T02:46:31Z").unwrap());
        assert_eq!((after.ms_since(before), before.ms_since(after)), (90_000, 0));
    }
}
