//! How values look in a line for people. Not here: where the lines go (`printer`) and columns (`table`).

use backstay_api::Proof;
use backstay_model::{Channel, CohortId, Health, Permille, Release, SchemaRange, Standing};

/// A cohort and what is steered of it.
pub(crate) fn lane(cohort: &CohortId, channel: Channel) -> String {
    match channel {
        Channel::Product => cohort.to_string(),
        Channel::Plugins => format!("{cohort}, plugins"),
    }
}

/// `text` without anything that a terminal would obey. Names come from devices and from the server, and neither
/// may move the cursor or change a colour here. Lines stay lines only where the caller makes them.
#[must_use]
pub(crate) fn plain(text: &str) -> String {
    // The bidirectional marks can make a line read as another one.
    let obeyed = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if obeyed(c) { '?' } else { c }).collect()
}

/// A span in its largest unit: "3s", "4m", "2h", "5d".
#[must_use]
pub(crate) fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        86_400.. => format!("{}d", seconds / 86_400),
    }
}

/// A moment on an instance's own clock: "0d 02:13:07.250".
#[must_use]
pub(crate) fn uptime(ms: u64) -> String {
    let (seconds, rest) = (ms / 1000, ms % 1000);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{days}d {hours:02}:{minutes:02}:{:02}.{rest:03}", seconds % 60)
}

/// A number of bytes: "812 B", "14.2 KiB".
#[must_use]
pub(crate) fn bytes(count: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", count / unit, count % unit * 10 / unit);
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{} KiB", tenths(1024)),
        0x10_0000.. => format!("{} MiB", tenths(0x10_0000)),
    }
}

/// "10%" and "2.5%" in thousandths.
pub(crate) fn permille(text: &str) -> Result<u16, String> {
    let wrong = || format!("expected a share of 0.1% to 100%, found {text:?}");
    let (whole, tenth) = match text.strip_suffix('%').ok_or_else(wrong)?.split_once('.') {
        Some((whole, tenth)) if tenth.len() == 1 => (whole.to_owned(), tenth.to_owned()),
        Some(_) => return Err(wrong()),
        None => (text.trim_end_matches('%').to_owned(), "0".to_owned()),
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|number| *number <= 100);
    let permille = number(&whole).zip(number(&tenth)).map(|(whole, tenth)| whole * 10 + tenth);
    permille.filter(|permille| (1..=1000).contains(permille)).ok_or_else(wrong)
}

/// The same as a share.
pub(crate) fn share(text: &str) -> Result<Permille, String> {
    let permille = permille(text)?;
    Permille::new(permille).ok_or_else(|| format!("expected a share of 0.1% to 100%, found {text:?}"))
}

/// The schemas of shared data that a release can live with: "7", "6..8" and "6-8".
pub(crate) fn schemas(text: &str) -> Result<SchemaRange, String> {
    let wrong = || format!("expected a version like 7, or two like 6..8, the older first; found {text:?}");
    let (from, to) = text.split_once("..").or(text.split_once('-')).unwrap_or((text, text));
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    let range = SchemaRange { from: number(from)?, to: number(to)? };
    if range.from <= range.to { Ok(range) } else { Err(wrong()) }
}

/// A share of thousandths: "10%", "2.5%".
#[must_use]
pub(crate) fn percent(permille: u16) -> String {
    match (permille / 10, permille % 10) {
        (whole, 0) => format!("{whole}%"),
        (whole, tenth) => format!("{whole}.{tenth}%"),
    }
}

/// A release, or a dash.
#[must_use]
pub(crate) fn release(release: Option<&Release>) -> String {
    release.map_or_else(|| "-".into(), Release::to_string)
}

/// A release with the age of its proof, or a dash.
#[must_use]
pub(crate) fn proof(proof: Option<&Proof>) -> String {
    proof.map_or_else(|| "-".into(), |proof| format!("{} {}", proof.release, age(proof.age_ms)))
}

/// Where a device stands.
#[must_use]
pub(crate) const fn standing(standing: Option<Standing>) -> &'static str {
    match standing {
        None => "unknown",
        Some(Standing::Settled) => "settled",
        Some(Standing::Installing) => "installing",
        Some(Standing::OnTrial) => "on trial",
        Some(Standing::GoingHome) => "going home",
        // Two different things to do: somebody has to look, and nobody has to.
        Some(Standing::Frozen) => "frozen",
        Some(Standing::Stranded) => "stranded",
        Some(Standing::Excluded) => "sits out",
    }
}

/// How it does.
#[must_use]
pub(crate) const fn health(health: Option<Health>) -> &'static str {
    match health {
        None => "-",
        Some(Health::Good) => "good",
        Some(Health::Bad) => "bad",
        Some(Health::Unknown) => "unknown",
    }
}

/// "1 device", "2 devices".
#[must_use]
pub(crate) fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_told_in_their_largest_unit() {
        assert_eq!([0, 59_999, 60_000, 7_200_000, 172_800_000].map(age), ["0s", "59s", "1m", "2h", "2d"]);
        assert_eq!([0, 1023, 1536, 3 << 20].map(bytes), ["0 B", "1023 B", "1.5 KiB", "3.0 MiB"]);
        assert_eq!(uptime(93_784_005), "1d 02:03:04.005");
    }

    #[test]
    fn schemas_are_one_or_a_range() {
        assert_eq!(schemas("7"), Ok(SchemaRange { from: 7, to: 7 }));
        for text in ["6..8", "6-8"] {
            assert_eq!(schemas(text), Ok(SchemaRange { from: 6, to: 8 }), "{text}");
        }
        for text in ["8..6", "a..b", "6..", "..8", "6...8", "", "-8"] {
            assert!(schemas(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_percents() {
        assert_eq!(permille("10%"), Ok(100));
        assert_eq!(permille("2.5%"), Ok(25));
        assert_eq!([1000, 25, 0].map(percent), ["100%", "2.5%", "0%"]);
        assert_eq!(permille("100%"), Ok(1000));
        for text in ["10", "0%", "101%", "100.1%", "1.25%", "-1%", "%", ""] {
            assert!(permille(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\u{202e}c\u{9b}"), "a?[2Jb???c?");
        assert_eq!(plain("grüezi ✔"), "grüezi ✔");
    }
}
