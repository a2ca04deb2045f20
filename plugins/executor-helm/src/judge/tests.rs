//! What is to be done about a history, over all that one can look like.

use alloc::{format, string::String, vec, vec::Vec};

use super::*;
use crate::history::Record;

fn record(revision: u32, status: Status, back_to: Option<u32>) -> Record {
    let description = back_to.map_or_else(|| "Upgrade complete".into(), |to| format!("Rollback to {to}"));
    let (updated, chart, app_version) = (String::new(), String::new(), String::new());
    Record { revision, status, updated, chart, app_version, back_to, description }
}

fn history(last: Status, back_to: Option<u32>) -> History {
    let records = vec![
        record(1, Status::Superseded, None),
        record(2, Status::Superseded, None),
        record(3, last, back_to),
    ];
    History::of(records).unwrap()
}

fn judged(history: &History, to: Option<u32>, ours: Option<Attempt>, age_ms: Option<u64>) -> Move {
    judge(Facts { history, to, ours, age_ms, pending_after_ms: 60_000 })
}

const PENDING: [Status; 3] = [Status::PendingInstall, Status::PendingUpgrade, Status::PendingRollback];

#[test]
fn what_is_home_stays_and_all_else_goes_back_by_number() {
    assert_eq!(judged(&history(Status::Deployed, None), Some(3), None, None), Move::Stay);
    for status in [Status::Deployed, Status::Failed, Status::Superseded, Status::Unknown] {
        assert_eq!(judged(&history(status, None), Some(1), None, None), Move::Back(1));
    }
    // The newest is the right one, and Helm didn't come to its end with it.
    assert_eq!(judged(&history(Status::Superseded, None), Some(3), None, None), Move::Back(3));
}

/// Two helms at once: the later one's record is superseded by the other's.
#[test]
fn what_is_newest_and_superseded_is_not_out() {
    let records = vec![record(1, Status::Deployed, None), record(2, Status::Superseded, None)];
    assert_eq!(judged(&History::of(records).unwrap(), Some(2), None, None), Move::Back(2));
}

#[test]
fn two_that_are_called_deployed_are_put_right() {
    let records = vec![record(1, Status::Deployed, None), record(2, Status::Deployed, None)];
    let both = History::of(records).unwrap();
    assert_eq!(judged(&both, Some(2), None, None), Move::Back(2));
}

#[test]
fn somebody_elses_pending_revision_is_waited_for_until_it_is_old() {
    for status in PENDING {
        let history = history(status, Some(1));
        for (age, expected) in [
            (None, Move::Wait(60_000)),
            (Some(0), Move::Wait(60_000)),
            (Some(59_000), Move::Wait(1000)),
            (Some(60_000), Move::Back(1)),
        ] {
            assert_eq!(judged(&history, Some(1), None, age), expected, "{status:?} {age:?}");
        }
    }
}

#[test]
fn only_what_we_asked_for_is_ours() {
    let at = |after, to| Some(Attempt { after, to });
    let pending = history(Status::PendingRollback, Some(1));
    assert_eq!(judged(&pending, Some(1), at(2, 1), None), Move::Back(1));
    for others in [at(0, 1), at(1, 1), at(3, 1), at(2, 2), None] {
        assert_eq!(judged(&pending, Some(1), others, None), Move::Wait(60_000), "{others:?}");
    }
    assert_eq!(judged(&history(Status::PendingUpgrade, None), Some(1), at(2, 1), None), Move::Wait(60_000));
}

#[test]
fn without_a_way_or_a_release_nothing_is_done() {
    let stops = |what: Move| matches!(what, Move::Stop(failed) if failed.transience == backstay_sdk::executor::Transience::Permanent);
    for status in [Status::Uninstalled, Status::Uninstalling] {
        assert!(stops(judged(&history(status, None), Some(1), None, None)));
    }
    for status in PENDING.into_iter().chain([Status::Deployed, Status::Failed]) {
        assert!(stops(judged(&history(status, None), None, None, Some(99_000))));
    }
}

/// What people, pipelines and Helm do to a release, and what is true of each revision beside what its record says.
struct Life {
    seed: u64,
    records: Vec<Record>,
    /// By revision, from 1: the release, and whether what it brought out ever came up.
    truth: Vec<(u32, bool)>,
    kept_max: usize,
}

impl Life {
    fn random(&mut self, below: u64) -> u64 {
        // Knuth's constants; the upper half is good enough for a dice.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn begins(&mut self, release: u32, back_to: Option<u32>) -> usize {
        let revision = self.records.last().map_or(1, |last| last.revision + 1);
        // Room for one more is made first. What is deployed stays, whatever its age.
        while self.records.len() >= self.kept_max {
            let deployed = self.records.iter().rposition(|it| it.status == Status::Deployed);
            let oldest = usize::from(deployed == Some(0));
            self.records.remove(oldest);
        }
        let (status, said) = match back_to {
            Some(to) => (Status::PendingRollback, format!("Rollback to {to}")),
            None => (Status::PendingUpgrade, "Preparing upgrade".into()),
        };
        let app_version = format!("{release}");
        self.records.push(Record {
            status,
            description: said,
            app_version,
            ..record(revision, status, back_to)
        });
        self.records.len() - 1
    }

    fn comes_up(&mut self, at: usize, said: Option<&str>) {
        for record in self.records.iter_mut().filter(|it| it.status == Status::Deployed) {
            record.status = Status::Superseded;
        }
        self.records[at].status = Status::Deployed;
        if let Some(said) = said {
            self.records[at].description = said.into();
        }
    }

    /// One thing that happens. An upgrade comes up, fails or is cut off; a roll-back, too, and one that the API server refuses calls
    /// what was there before superseded.
    fn happens(&mut self) {
        let is_pending = self.records.last().is_some_and(|it| it.status.is_pending());
        if self.records.is_empty() || (self.random(3) < 2 && !is_pending) {
            let release = u32::try_from(self.random(4)).unwrap();
            let at = self.begins(release, None);
            let ends = self.random(10);
            self.truth.push((release, ends < 5));
            match ends {
                0..5 => self.comes_up(at, Some("Upgrade complete")),
                5..8 => {
                    let said = "Upgrade 'shop' failed: timed out waiting for the condition";
                    (self.records[at].status, self.records[at].description) = (Status::Failed, said.into());
                }
                _ => {}
            }
            return;
        }
        // With a number from anywhere, or without one: to the revision before.
        let newest = self.records.last().unwrap().revision;
        let to = if self.random(2) == 0 {
            newest - 1
        } else {
            let at = self.random(self.records.len() as u64);
            self.records[usize::try_from(at).unwrap()].revision
        };
        let Some(target) = self.records.iter().find(|it| it.revision == to) else { return };
        let release = target.app_version.parse().unwrap();
        let origin = self.truth[to as usize - 1];
        let at = self.begins(release, Some(to));
        self.truth.push((release, origin.1));
        match self.random(10) {
            0..6 => self.comes_up(at, None),
            6..8 => {
                let said = "Rollback 'shop' failed: Apply failed with 1 conflict";
                (self.records[at].status, self.records[at].description) = (Status::Failed, said.into());
                if at > 0 {
                    self.records[at - 1].status = Status::Superseded;
                }
            }
            _ => {}
        }
    }
}

/// What Helm itself goes to without a number.
fn helms_own(records: &[Record]) -> Option<u32> {
    records.last().map(|last| last.revision - 1).filter(|to| records.iter().any(|it| it.revision == *to))
}

/// 10,000 histories of up to 40 events, of people who go back to what failed as often as not. Our choice runs what is wanted and is
/// nothing that never came up. Where all that would say so was dropped from the history, that is the last that is chosen. Where there is a good one, it is found.
#[test]
fn of_ten_thousand_histories_the_way_back_is_never_a_bad_one() {
    let (mut ours, mut unknowable, mut helms, mut found) = (0, 0, 0, 0);
    for seed in 0..10_000 {
        let kept_max = if seed % 2 == 0 { 10 } else { 1000 };
        let mut life = Life { seed, records: vec![], truth: vec![], kept_max };
        for _ in 0..=life.random(40) {
            life.happens();
        }
        let wanted = u32::try_from(life.random(4)).unwrap();
        let history = History::of(life.records.clone()).unwrap();
        let runs = |record: &Record| record.app_version == format!("{wanted}");
        let is_good = |revision: u32| life.truth[revision as usize - 1] == (wanted, true);
        // A roll-back that was cut off is no way, and one that was refused isn't either, whatever they were to bring.
        let is_whole =
            |it: &Record| matches!(it.status, Status::Deployed | Status::Superseded) && it.back_to.is_none();
        let knows = life.records.iter().any(|it| is_whole(it) && is_good(it.revision));
        let choice = history.ways().into_iter().find(|it| runs(it)).map(|it| it.revision);
        assert!(choice.is_some() || !knows, "seed {seed}: {:?}", life.records);
        helms += u32::from(helms_own(&life.records).is_none_or(|to| !is_good(to)));
        let Some(choice) = choice else { continue };
        found += 1;
        if is_good(choice) {
            continue;
        }
        // All that is left of it are roll-backs that say that they went well.
        let mut at = history.get(choice).unwrap();
        while let Some(origin) = at.back_to.and_then(|to| history.get(to)) {
            at = origin;
        }
        assert!(at.back_to.is_some() && runs(at), "seed {seed}: {choice} of {:?}", life.records);
        ours += u32::from(kept_max == 1000);
        unknowable += 1;
    }
    println!(
        "found {found}, of which wrong {ours} where all is kept, {unknowable} where Helm dropped what would tell; helm rollback alone: {helms} of 10000"
    );
    assert_eq!(ours, 0);
    assert!(found > 4000 && unknowable < found / 20, "{found} {unknowable}");
}
