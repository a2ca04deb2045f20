//! Which records are whole, and which one is home, over histories as Helm writes them.

use alloc::vec;

use super::*;

fn record(line: &str) -> Record {
    Record::parse(&line.replace('|', "\t")).unwrap()
}

fn history(lines: &[&str]) -> History {
    History::of(lines.iter().map(|line| record(line)).collect()).unwrap()
}

fn ways(lines: &[&str]) -> Vec<u32> {
    history(lines).ways().iter().map(|record| record.revision).collect()
}

#[test]
fn records_are_read_as_they_are_printed() {
    let it = record("3|pending-rollback|2026-11-28T02:31:00.1Z|shop-0.1.0|1.0|2|Rollback to 2");
    assert_eq!((it.revision, it.status, it.back_to), (3, Status::PendingRollback, Some(2)));
    assert_eq!((it.chart_version(), it.told().as_str()), (Some("0.1.0"), "revision 3 (pending-rollback)"));
    assert_eq!(record("1|new-status||c||0|").status, Status::Unknown);
    for odd in ["", "x|deployed|u|c|a|0|d", "1|deployed", "1|deployed|u|c|a|x|d"] {
        assert!(Record::parse(&odd.replace('|', "\t")).is_err(), "{odd}");
    }
    assert!(History::parse(&[]).is_err());
}

#[test]
fn a_chart_may_have_dashes_in_its_name_and_in_its_version() {
    for (chart, version) in [
        ("shop-1.2.3", Some("1.2.3")),
        ("my-shop-2-1.2.3-rc.1+build-7", Some("1.2.3-rc.1+build-7")),
        ("shop", None),
        ("MISSING", None),
        ("shop-1.2", None),
    ] {
        let it = record(&format!("1|deployed||{chart}||0|"));
        assert_eq!(it.chart_version(), version);
    }
}

/// What a failing roll-back does to the record before it: it calls it superseded.
#[test]
fn superseded_is_not_the_same_as_good() {
    let lines = [
        "1|superseded||c|1|0|Install complete",
        "2|superseded||c|2|0|Upgrade 'shop' failed: timed out",
        "3|superseded||c|2|0|Preparing upgrade",
        "4|superseded||c|2|0|because it was time",
        "5|failed||c|1|1|Rollback 'shop' failed: conflict",
        "6|pending-upgrade||c|2|0|Preparing upgrade",
    ];
    assert_eq!(ways(&lines), [4, 1]);
}

/// `helm rollback` without a number goes to the revision before, failed or not, and calls what it made deployed.
#[test]
fn what_brought_back_a_failed_one_is_as_good_as_that() {
    let lines = [
        "1|superseded||c|1|0|Install complete",
        "2|failed||c|2|0|Upgrade 'shop' failed: timed out",
        "3|superseded||c|1|1|Rollback to 1",
        "4|superseded||c|2|2|Rollback to 2",
        "5|deployed||c|2|4|Rollback to 4",
        "6|superseded||c|0|9|Rollback to 9",
        "7|superseded||c|0|7|Rollback to 7",
    ];
    // 6 brought back what isn't kept any more, and is judged by itself, after all others. 7 makes no sense.
    assert_eq!(ways(&lines), [3, 1, 6]);
    let out = ["1|superseded||c|1|0|Install complete", "4|deployed||c|1|2|Rollback to 2"];
    assert_eq!(ways(&out), [4, 1]);
}

/// A configuration whose pods don't come up, let out without waiting, is whole by Helm's words. It is tried once.
#[test]
fn what_was_brought_back_in_vain_comes_last() {
    let lines = [
        "1|superseded||c|1|0|Install complete",
        "2|superseded||c|1|0|Upgrade complete",
        "3|superseded||c|1|0|Upgrade complete",
        "4|superseded||c|2|0|Upgrade complete",
        "5|failed||c|1|3|Release 'shop' failed: timed out waiting for the condition",
    ];
    assert_eq!(ways(&lines), [4, 2, 1, 3]);
    // Helm 3 doesn't say what it brought back. Whoever asked for it knows.
    let three: Vec<String> = lines.iter().map(|line| line.replace("|1|3|", "|1|0|")).collect();
    let three: Vec<&str> = three.iter().map(String::as_str).collect();
    assert_eq!(ways(&three), [4, 3, 2, 1]);
    let after = |failed: &[u32]| -> Vec<u32> {
        history(&three).ways_after(failed).iter().map(|it| it.revision).collect()
    };
    assert_eq!((after(&[3]), after(&[3, 2])), (vec![4, 2, 1, 3], vec![4, 1, 3, 2]));
    // Since then it came up.
    let mut since = lines.to_vec();
    since.push("6|superseded||c|1|3|Rollback to 3");
    since.push("7|deployed||c|2|0|Upgrade complete");
    assert_eq!(ways(&since), [7, 6, 4, 3, 2, 1]);
}

#[test]
fn an_age_is_by_the_zone_that_stands_with_the_time() {
    let now = Time::parse("2026-11-28T03:00:00Z").unwrap();
    for (updated, age) in [
        ("2026-11-28T02:59:00.123456789Z", Some(60_000)),
        ("2026-11-28T03:59:00.5+01:00", Some(60_000)),
        ("2026-11-27T21:29:00-05:30", Some(60_000)),
        ("2026-11-28T03:00:01Z", Some(0)),
        ("", None),
        ("yesterday", None),
    ] {
        let it = record(&format!("1|deployed|{updated}|c||0|"));
        assert_eq!(it.age_ms(now), age, "{updated}");
    }
}

#[test]
fn what_was_there_before_a_roll_back_that_was_cut_off() {
    let lines = [
        "1|superseded||c|1|0|Install complete",
        "2|deployed||c|2|0|Upgrade complete",
        "3|pending-rollback||c|1|1|Rollback to 1",
        "4|pending-rollback||c|1|1|Rollback to 1",
    ];
    assert_eq!(history(&lines).applied().map(|it| it.revision), Some(2));
    assert_eq!((history(&lines).deployed(), history(&lines).newest().revision), (1, 4));
}
