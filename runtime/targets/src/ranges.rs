//! The ranges that a query counts over: the `1m` of `increase(errors[1m])`.
//!
//! Only for a hint, so it knows no more of PromQL than where texts and ranges are. Not here: whether the query is right, which only
//! Prometheus can say.

use backstay_model::Millis;

/// The ranges of `query`. What it can't read (a variable, a subquery) it leaves out.
pub(crate) fn of(query: &str) -> impl Iterator<Item = Millis> {
    let mut ranges = Vec::new();
    let mut rest = query.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            // A back quote knows no escapes.
            '`' => drop(rest.by_ref().find(|(_, c)| *c == '`')),
            '"' | '\'' => {
                let mut escaped = false;
                rest.by_ref().find(|(_, next)| {
                    let ends = *next == c && !escaped;
                    escaped = *next == '\\' && !escaped;
                    ends
                });
            }
            '#' => drop(rest.by_ref().find(|(_, c)| *c == '\n')),
            '[' => {
                let inside =
                    query.get(at + 1..).and_then(|rest| rest.split_once(']')).map(|(inside, _)| inside);
                ranges.extend(inside.and_then(duration));
            }
            _ => {}
        }
    }
    ranges.into_iter()
}

/// A duration of Prometheus: numbers with units, the largest first, like `1h30m`.
fn duration(text: &str) -> Option<Millis> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, more) = rest.split_at(digits);
        let end = more.find(|c: char| c.is_ascii_digit()).unwrap_or(more.len());
        let (unit, more) = more.split_at(end);
        let unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = more;
    }
    (total > 0).then_some(Millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(query: &str) -> Vec<u64> {
        of(query).map(|range| range.0 / 1000).collect()
    }

    #[test]
    fn ranges_are_found_where_they_are() {
        assert_eq!(secs("sum(increase(errors{track=\"canary\"}[1m]))"), [60]);
        assert_eq!(secs("rate(a[1h30m]) / rate(b[ 30s ])"), [5400, 30]);
        assert_eq!(secs(r#"a{path=~"x[5m]\"[5m]"}[2m]"#), [120]);
        assert_eq!(secs("a{path='[5m]'}[2m] # [3m]\n + b{c=`[1m]\\`}[4m]"), [120, 240]);
        for none in
            ["up", "a[", "a[]", "a[$__rate_interval]", "a[5m:1m]", "a[9999999999999999999y]", "é[", "\""]
        {
            assert!(secs(none).is_empty(), "{none}");
        }
    }
}
