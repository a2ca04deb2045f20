//! Histories, by hand and at random: which revision is chosen, and which never is.

use alloc::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{template::Pin, testing};

/// A release called by one letter, whose digest is that letter.
fn release(name: char) -> Release {
    let digest = name.to_string().repeat(64);
    Release { version: name.into(), digest, length: 0, security_epoch: 0 }
}

fn revision(number: u64, runs: char, wanted: i64, available: i64) -> Revision {
    let (name, hash) = (format!("shop-{number}"), format!("h{number}"));
    let pin = Pin::Sha256(runs.to_string().repeat(64));
    let told = Some(Told { image: format!("shop:{runs}"), version: Some(runs.into()), pin });
    Revision { name, number, hash, wanted, available, told }
}

fn chosen(revisions: &[Revision], wanted: char, now: Now<'_>) -> Result<u64, NoWay> {
    // In which order a list comes makes no difference.
    let mut turned = revisions.to_vec();
    turned.reverse();
    let found = choose(revisions, &release(wanted), &now).map(|revision| revision.number);
    assert_eq!(choose(&turned, &release(wanted), &now).map(|revision| revision.number), found);
    found
}

fn now(current: &str) -> Now<'_> {
    Now { current: Some(current), ..Now::default() }
}

#[test]
fn a_restart_of_the_bad_release_is_no_way_back() {
    // `rollout undo` goes to revision 2, which is the bad image again.
    let history = [revision(1, 'a', 0, 0), revision(2, 'b', 0, 0), revision(3, 'b', 3, 3)];
    assert_eq!(chosen(&history, 'a', now("h3")), Ok(1));
}

#[test]
fn a_restart_of_the_good_release_is_the_newest_of_it() {
    let history = [revision(1, 'a', 0, 0), revision(2, 'a', 0, 0), revision(3, 'b', 3, 3)];
    assert_eq!(chosen(&history, 'a', now("h3")), Ok(2));
}

#[test]
fn one_that_never_came_up_is_passed_over() {
    let history = [revision(1, 'a', 2, 2), revision(2, 'a', 1, 0), revision(3, 'b', 1, 1)];
    assert_eq!(chosen(&history, 'a', now("h3")), Ok(1));
    let history = [revision(1, 'a', 2, 2), revision(2, 'a', 0, 0), revision(3, 'b', 1, 0)];
    assert_eq!(chosen(&history, 'a', now("h3")), Ok(1), "pods that are well say more than a number");
    let history = [revision(2, 'a', 1, 0), revision(3, 'b', 3, 3)];
    assert_eq!(chosen(&history, 'a', now("h3")), Err(NoWay::NotWell("shop-2".into())));
}

#[test]
fn what_is_there_already_stays_until_its_deadline_is_over() {
    let history = [revision(1, 'a', 1, 1), revision(2, 'a', 3, 0)];
    assert_eq!(chosen(&history, 'a', now("h2")), Ok(2), "its pods may be starting");
    assert_eq!(chosen(&history, 'a', Now { gave_up: true, ..now("h2") }), Ok(1));
    assert_eq!(
        chosen(&history[1..], 'a', Now { gave_up: true, ..now("h2") }),
        Err(NoWay::NotWell("shop-2".into()))
    );
}

/// Tried, and left again: their pods are gone, and only what was noted tells them from one that works.
#[test]
fn two_that_do_not_come_up_do_not_take_turns() {
    // 2 and 3 were tried one after the other, and so became 5 and 6.
    let history =
        [revision(1, 'a', 0, 0), revision(4, 'b', 3, 3), revision(5, 'a', 0, 0), revision(6, 'a', 1, 0)];
    let gave_up = |in_vain| Now { gave_up: true, in_vain, ..now("h6") };
    assert_eq!(chosen(&history[1..], 'a', gave_up(&[])), Ok(5), "so they would");
    assert_eq!(chosen(&history[1..], 'a', gave_up(&[5])), Err(NoWay::NotWell("shop-6".into())));
    assert_eq!(chosen(&history, 'a', gave_up(&[5])), Ok(1));
    // What was in the way may be gone once another release has run: they are tried again, and last.
    let later =
        [revision(1, 'a', 0, 0), revision(5, 'a', 0, 0), revision(6, 'a', 0, 0), revision(7, 'b', 3, 3)];
    let later = |from: usize| chosen(&later[from..], 'a', Now { in_vain: &[5, 6], ..now("h7") });
    assert_eq!((later(0), later(1)), (Ok(1), Ok(6)));
}

/// The newest did not come up: what was let out around it, restarts of it for the most part, comes last.
#[test]
fn after_the_newest_the_oldest_is_tried() {
    let history = [1, 2, 3].map(|number| revision(number, 'a', 0, 0));
    let with = |last| [history.as_slice(), &[last]].concat();
    let gave_up = |current| Now { gave_up: true, ..now(current) };
    assert_eq!(chosen(&with(revision(4, 'a', 1, 0)), 'a', gave_up("h4")), Ok(1));
    // Where it is the bad release that gave up, none was tried yet.
    assert_eq!(chosen(&with(revision(4, 'b', 1, 0)), 'a', gave_up("h4")), Ok(3));
}

#[test]
fn what_is_noted_is_of_the_present_one_alone() {
    let history = [revision(4, 'b', 0, 0), revision(5, 'a', 0, 0), revision(6, 'a', 1, 0)];
    let seen = json!({ "metadata": { "annotations": { in_vain::IN_VAIN: "2 5 six" } } });
    assert_eq!(in_vain::read(&seen), [2, 5]);
    let noted = |seen: &Value, wanted, gave_up| {
        let now = Now { gave_up, ..now("h6") };
        Some(in_vain::noting(seen, &history, &release(wanted), &now)?["value"].clone())
    };
    assert_eq!(noted(&seen, 'a', true), Some("5 6".into()), "2 isn't kept any more");
    assert_eq!((noted(&seen, 'a', false), noted(&seen, 'b', true)), (None, None));
    for none in [json!({}), json!({ "metadata": { "annotations": {} } })] {
        assert_eq!((noted(&none, 'a', true), in_vain::read(&none)), (None, Vec::new()));
    }
}

#[test]
fn what_a_rollout_has_promoted_is_home_whatever_is_under_way() {
    let history = [revision(1, 'a', 3, 0), revision(2, 'a', 1, 1), revision(3, 'b', 0, 0)];
    let stable = |stable| Now { stable: Some(stable), ..now("h2") };
    assert_eq!(
        chosen(&history, 'a', stable("h1")),
        Ok(1),
        "the same release with other settings is under way"
    );
    assert_eq!(chosen(&history, 'a', stable("h3")), Ok(2));
    assert_eq!(chosen(&history, 'b', stable("h1")), Ok(3));
}

#[test]
fn what_is_not_kept_any_more_is_no_way_and_nothing_else_is_taken_for_it() {
    let history = [revision(7, 'b', 0, 0), revision(8, 'c', 3, 3)];
    assert_eq!(chosen(&history, 'a', now("h8")), Err(NoWay::Unknown));
    assert_eq!(chosen(&[], 'a', Now::default()), Err(NoWay::Unknown));
    let unread = Revision { told: None, ..revision(9, 'a', 3, 3) };
    assert_eq!(chosen(&[unread], 'a', Now::default()), Err(NoWay::Unknown));
    let why = NoWay::Unknown.failed(&release('a'), &history).why;
    assert_eq!(why, "no ReplicaSet that is kept runs a: of 2 the newest runs shop:c");
    let long = Release { version: "x".repeat(64), ..release('a') };
    let mut history = history;
    history[1].told.as_mut().unwrap().image = "y".repeat(300);
    assert!(NoWay::Unknown.failed(&long, &history).why.len() <= 256);
    assert!(NoWay::NotWell("z".repeat(300)).failed(&long, &history).why.len() <= 256);
}

#[test]
fn one_without_a_number_is_the_oldest() {
    let history =
        [Revision { number: 0, ..revision(1, 'a', 0, 0) }, revision(2, 'a', 0, 0), revision(3, 'b', 1, 1)];
    assert_eq!(chosen(&history, 'a', now("h3")), Ok(2));
    assert_eq!(chosen(&history[..1], 'a', now("h3")), Ok(0));
}

#[test]
fn others_and_those_that_go_are_not_its_own() {
    let one = |change: &dyn Fn(&mut Value)| {
        let mut found = json!({
            "metadata": {
                "name": "shop-1", "ownerReferences": [{ "uid": "x" }, { "uid": "me" }],
                "labels": { "pod-template-hash": "h" }, "annotations": { "deployment.kubernetes.io/revision": "4" },
            },
            "spec": { "replicas": 2, "template": { "spec": { "containers": [{ "name": "shop", "image": "shop:a" }] } } },
        });
        change(&mut found);
        Revision::of(&found, "me", BY_DEPLOYMENT, &[testing::text("name", "shop")])
    };
    let found = one(&|_| {}).unwrap();
    assert_eq!((found.number, found.hash.as_str(), found.wanted, found.available), (4, "h", 2, 0));
    assert!(found.runs(&Release { version: "a".into(), ..release('z') }));
    assert_eq!(one(&|found| found["metadata"]["ownerReferences"] = json!([{ "uid": "x" }])), None);
    assert_eq!(one(&|found| found["metadata"]["deletionTimestamp"] = json!("2026-11-28T00:00:00Z")), None);
    let odd =
        one(&|found| found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("four"));
    assert_eq!(odd.unwrap().number, 0);
}

/// Numbers that look like chance, from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A Deployment of three pods as its controller leaves it: revisions with templates, of which some don't come up.
#[derive(Default)]
struct Deployment {
    revisions: Vec<Revision>,
    /// Whether the pods of a template come up, by the hash.
    works: BTreeMap<String, bool>,
    current: String,
    last: u64,
}

impl Deployment {
    /// Somebody writes a template: a new one, or one that there is a ReplicaSet of.
    fn takes(&mut self, hash: &str, runs: char, works: bool, limit: usize) {
        self.last += 1;
        self.works.insert(hash.into(), works);
        if !self.revisions.iter().any(|it| it.hash == hash) {
            self.revisions.push(Revision { hash: hash.into(), ..revision(0, runs, 0, 0) });
        }
        self.current = hash.into();
        let works = self.works[hash];
        for it in &mut self.revisions {
            if it.hash == hash {
                it.number = self.last;
                (it.wanted, it.available) = if works { (3, 3) } else { (1, 0) };
            } else if works || it.available == 0 {
                // What isn't well is scaled down first.
                (it.wanted, it.available) = (0, 0);
            }
        }
        let mut old: Vec<_> = self.revisions.iter().filter(|it| it.hash != hash && it.wanted == 0).collect();
        old.sort_by_key(|it| it.number);
        let gone: Vec<_> =
            old.iter().take(old.len().saturating_sub(limit)).map(|it| it.hash.clone()).collect();
        self.revisions.retain(|it| !gone.contains(&it.hash));
    }

    fn gave_up(&self) -> bool {
        !self.works[&self.current]
    }
}

/// Releases that come up and ones that don't, restarts, ways back by hand, settings changed under a release, short histories. The
/// choice always runs the release, is never one that is seen not to be well, and always is one that is seen to be well if there is one.
#[test]
fn of_random_histories_no_choice_is_wrong() {
    let (mut ways, mut none) = (0, 0);
    for seed in 0..20_000 {
        let mut chance = Chance(seed);
        let mut it = Deployment::default();
        let limit = 1 + usize::try_from(chance.below(6)).unwrap();
        it.takes("a0", 'a', true, limit);
        for turn in 1..2 + chance.below(10) {
            let hash = format!("t{turn}");
            let runs = it.revisions.iter().find(|one| one.hash == it.current).unwrap().told.clone().unwrap();
            let runs = runs.image.chars().last().unwrap();
            match chance.below(6) {
                0 => it.takes(&hash, runs, it.works[&it.current.clone()], limit),
                1 => it.takes(&hash, runs, chance.below(2) == 0, limit),
                2 => {
                    let to = usize::try_from(chance.below(it.revisions.len() as u64)).unwrap();
                    let (to, works) = (it.revisions[to].clone(), it.works[&it.revisions[to].hash]);
                    let runs = to.told.unwrap().image.chars().last().unwrap();
                    it.takes(&to.hash, runs, works, limit);
                }
                _ => {
                    let runs = char::from(b'a' + u8::try_from(chance.below(4)).unwrap());
                    it.takes(&hash, runs, chance.below(3) > 0, limit);
                }
            }
        }
        for wanted in 'a'..='d' {
            let gave_up = it.gave_up();
            let found = choose(&it.revisions, &release(wanted), &Now { gave_up, ..now(&it.current) });
            let candidates: Vec<_> = it.revisions.iter().filter(|one| one.runs(&release(wanted))).collect();
            let is_well = |one: &&&Revision| one.available > 0;
            match found {
                Ok(found) => {
                    ways += 1;
                    assert!(found.runs(&release(wanted)), "seed {seed}: another release");
                    assert!(!found.is_failing(), "seed {seed}: its pods don't come up");
                    let is_there = found.hash == it.current;
                    assert!(!(is_there && gave_up), "seed {seed}: it gave up on it");
                    assert!(
                        is_there || found.available > 0 || !candidates.iter().any(|one| is_well(&one)),
                        "seed {seed}: one with pods that are well was passed over"
                    );
                }
                Err(_) => {
                    none += 1;
                    assert!(
                        candidates.iter().all(|one| one.is_failing() || (one.hash == it.current && gave_up)),
                        "seed {seed}: there was a way"
                    );
                }
            }
        }
    }
    assert!(ways > 20_000 && none > 20_000, "both happen: {ways} ways, {none} without one");
}

/// Where each release has one template, as with an image that is built once, what was confirmed is always found, as long as it is kept.
#[test]
fn a_confirmed_release_is_found_by_what_it_is() {
    for seed in 0..10_000 {
        let mut chance = Chance(seed);
        let mut it = Deployment::default();
        it.takes("a", 'a', true, 20);
        let mut confirmed = 'a';
        for (turn, runs) in ('b'..'h').enumerate() {
            let works = chance.below(2) == 0;
            it.takes(&runs.to_string(), runs, works, 20);
            if works && chance.below(2) == 0 {
                confirmed = runs;
            }
            if chance.below(3) == 0 {
                let works = it.works[&it.current.clone()];
                it.takes(&format!("restart-{turn}"), runs, works, 20);
            }
        }
        let found =
            choose(&it.revisions, &release(confirmed), &Now { gave_up: it.gave_up(), ..now(&it.current) });
        let found = found.unwrap_or_else(|why| panic!("seed {seed}: {why:?}"));
        assert!(it.works[&found.hash], "seed {seed}: {found:?}");
    }
}

/// A bad release, and the way home from it, tried as often as there is one: no revision is tried twice, and one that works is found if it
/// is still kept when the bad one goes out, whatever was tried in vain before.
#[test]
fn an_incident_tries_each_revision_once() {
    let (mut tries, mut another, mut without) = (0, 0, 0);
    for seed in 0..4_000 {
        let mut chance = Chance(seed);
        let mut it = Deployment::default();
        let mut seen = json!({ "metadata": { "annotations": { "a": "b" } } });
        it.takes("first", 'b', true, 10);
        for incident in 0..2 {
            for turn in 0..1 + chance.below(4) {
                it.takes(&format!("{incident}-{turn}"), 'a', chance.below(3) == 0, 10);
            }
            let bad = char::from(b'c' + incident);
            it.takes(&bad.to_string(), bad, chance.below(2) == 0, 10);
            let sound = it.revisions.iter().any(|one| one.runs(&release('a')) && it.works[&one.hash]);
            let mut tried = Vec::new();
            loop {
                let in_vain = in_vain::read(&seen);
                let now = Now { gave_up: it.gave_up(), in_vain: &in_vain, ..now(&it.current) };
                let Ok(found) = choose(&it.revisions, &release('a'), &now) else {
                    assert!(!sound, "seed {seed}: one that works was not tried: {tried:?}");
                    without += 1;
                    break;
                };
                let found = found.hash.clone();
                if let Some(noted) = in_vain::noting(&seen, &it.revisions, &release('a'), &now) {
                    seen["metadata"]["annotations"][in_vain::IN_VAIN] = noted["value"].clone();
                }
                assert!(!tried.contains(&found), "seed {seed}: {found} twice");
                another += u32::from(!tried.is_empty());
                tries += 1;
                it.takes(&found, 'a', it.works[&found], 10);
                tried.push(found);
                if it.works[&it.current] {
                    break;
                }
            }
        }
    }
    assert!(
        tries > 4_000 && without > 400 && another > 1_000,
        "{tries} tries, {another} of another one, {without}"
    );
}
