//! What the agent tells on standard error: a line for each event, with the time, the level, and the fields.
//!
//! Here: the form of a line, and how much is told. Not here: what is told (whoever it happens to), and where lines go
//! (systemd's journal, a file). A subscriber of our own, because all that one can be is 60 KB of a device's program.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// Tells what is at least as grave as its level.
#[derive(Clone, Copy, Debug)]
struct Teller {
    most: Level,
}

/// Begins to tell. `wanted` is how much, as [`Level`] reads it; what it can't read is `info`.
pub fn listen(wanted: Option<&str>) {
    // There is one already only where a test has begun before, and one is enough.
    let _ = tracing::subscriber::set_global_default(Teller::of(wanted));
}

impl Teller {
    fn of(wanted: Option<&str>) -> Self {
        Self { most: wanted.and_then(|level| level.parse().ok()).unwrap_or(Level::INFO) }
    }
}

impl Subscriber for Teller {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.most))
    }

    fn event(&self, event: &Event<'_>) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = line(at, *event.metadata().level(), |fields| event.record(fields));
        // In one piece, so that lines of two threads stay two lines. Where nobody reads there is nobody to tell.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    // Nothing here makes spans.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// `2026-11-28T11:33:31Z  INFO started at=7`, and its end.
fn line(at: Duration, level: Level, fields: impl FnOnce(&mut Fields)) -> String {
    let (days, second) = (at.as_secs() / 86_400, at.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut line = Fields(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z {:>5}",
        level.as_str()
    ));
    fields(&mut line);
    line.0.push('\n');
    line.0
}

/// The day of so many days after 1 January 1970, in the calendar that is in use: years begin in March here, so that the
/// day of a leap year is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// A line in the making.
struct Fields(String);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push(' ');
        if field.name() != "message" {
            self.0.push_str(field.name());
            self.0.push('=');
        }
        // Writing into a text fails only where a value can't say what it is.
        let _ = write!(OneLine(&mut self.0), "{value:?}");
    }
}

/// What others say can't begin a line of its own, nor move a terminal's cursor.
struct OneLine<'a>(&'a mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if letter.is_control() {
                self.0.extend(letter.escape_default());
            } else {
                self.0.push(letter);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Hears what is told in the form in which it is told.
    struct Ear(Teller, Arc<Mutex<Vec<String>>>);

    impl Subscriber for Ear {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            self.0.enabled(metadata)
        }
        fn event(&self, event: &Event<'_>) {
            let at = Duration::from_secs(1_795_865_611);
            let line = line(at, *event.metadata().level(), |fields| event.record(fields));
            self.1.lock().unwrap().push(line);
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    fn told(wanted: Option<&str>, tell: impl FnOnce()) -> Vec<String> {
        let heard = Arc::default();
        tracing::subscriber::with_default(Ear(Teller::of(wanted), Arc::clone(&heard)), tell);
        let heard = heard.lock().unwrap();
        heard.clone()
    }

    #[test]
    fn an_event_is_a_line_with_its_fields() {
        let lines = told(None, || {
            tracing::info!(at = 7, "started");
            tracing::warn!(why = "no route", code = ?Some(3), "cannot be enrolled now");
        });
        assert_eq!(
            lines,
            [
                "2026-11-28T11:33:31Z  INFO started at=7\n",
                "2026-11-28T11:33:31Z  WARN cannot be enrolled now why=\"no route\" code=Some(3)\n",
            ]
        );
    }

    #[test]
    fn as_much_is_told_as_is_wanted() {
        let all = || {
            tracing::error!("1");
            tracing::info!("2");
            tracing::debug!("3");
        };
        let count = |wanted| told(wanted, all).len();
        assert_eq!(
            (count(None), count(Some("error")), count(Some("DEBUG")), count(Some("loud"))),
            (2, 1, 3, 2)
        );
    }

    #[test]
    fn what_others_say_stays_in_its_line() {
        let lines = told(None, || tracing::info!(error = %"a\nb\u{1b}[2J", "x\ry"));
        assert_eq!(lines, ["2026-11-28T11:33:31Z  INFO x\\ry error=a\\nb\\u{1b}[2J\n"]);
    }

    #[test]
    fn days_have_their_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(47_540), (2100, 2, 28));
        assert_eq!(date(47_541), (2100, 3, 1), "2100 is no leap year");
    }
}
