//! Moments as Kubernetes writes them: RFC 3339, UTC.

use std::time::{Duration, SystemTime};

/// To the second, as in `metav1.Time`.
pub(crate) fn second(at: SystemTime) -> String {
    let (date, time, _) = parts(at);
    format!("{date}T{time}Z")
}

/// To the microsecond, as in `metav1.MicroTime`.
pub(crate) fn micro(at: SystemTime) -> String {
    let (date, time, micros) = parts(at);
    format!("{date}T{time}.{micros:06}Z")
}

fn parts(at: SystemTime) -> (String, String, u32) {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years begin in March here, so that the day that is sometimes missing is the last one.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let date = format!("{year:04}-{month:02}-{day:02}");
    let time = format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
    (date, time, since.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_others_write_them() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(second(at(0)), "1970-01-01T00:00:00Z");
        assert_eq!(second(at(1_709_210_096)), "2024-02-29T12:34:56Z");
        assert_eq!(second(at(1_735_689_599)), "2024-12-31T23:59:59Z");
        assert_eq!(micro(at(951_782_400) + Duration::from_micros(7)), "2000-02-29T00:00:00.000007Z");
    }
}
