//! What becomes of a Rollout on a real control plane when its server decides: the errors of a canary rise, and it is sent back; somebody
//! puts it out again, and a person is told; a slow one is held where it stands. All by the real server, Argo Rollouts' own controller
//! and a real Prometheus; visitors and pods are not real.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

#[path = "decision/shop.rs"]
mod shop;
#[path = "decision/traffic.rs"]
mod traffic;

use std::{
    thread,
    time::{Duration, Instant},
};

use backstay_test_k8s::{Moment, Passed, until};
use serde_json::{Value, json};
use shop::Shop;

/// So long a Rollout is watched where nothing must happen to it.
const NOTHING: Duration = Duration::from_secs(12);

fn at(story: &[String], what: &str) -> usize {
    story.iter().position(|told| told.contains(what)).unwrap_or_else(|| panic!("{what}: {story:#?}"))
}

/// What the policy said last.
fn says(view: &Value, action: &str) -> bool {
    view["judged"]["action"].as_str().is_some_and(|said| said.starts_with(action))
}

fn secs(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// A part of the traffic sees errors: the canary is aborted, and the template of the release before restored, with evidence of all
/// of it. The next one has most of the traffic when it breaks: all of it is switched back, and a person decides what goes out next.
#[test]
fn a_canary_whose_errors_rise_is_sent_back() {
    let steps = json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]);
    let Some(mut shop) = Shop::opens("enforce", &steps) else { return };
    shop.lets_out("2.0");
    shop.comes_to("Paused");
    let view = shop.until("the canary is seen and judged good", |view| {
        view["out"]["release"]["version"] == "2.0" && says(view, "proceed")
    });
    assert_eq!(view["out"]["stage"], 200, "{view:#}");
    shop.traffic.see_errors(40);
    let began = Instant::now();
    shop.until("it is sent back", |view| view["out"]["release"]["version"] == "1.0" && view["run"].is_null());
    println!(
        "summary: from the first error to all of it being stable again {:.1} s, windows of 5 s",
        secs(began)
    );
    shop.is_all("1.0");
    shop.traffic.see_errors(0);
    shop.until("the incident is over", |view| view["incident"].is_null());
    let (incident, story) = shop.story();
    assert_eq!((&incident["end"], &incident["left"]["version"]), (&json!("rolled-back"), &json!("2.0")));
    // What was seen, what was concluded, what was asked of the API server, and what came of it.
    assert!(at(&story, "critical objective errors was broken in 2 consecutive") == 0, "{story:#?}");
    assert!(at(&story, "is in quarantine") < at(&story, "the promotion breaker is open"), "{story:#?}");
    assert!(at(&story, "begins: go home to 1.0") < at(&story, "PATCH /apis/argoproj.io"), "{story:#?}");
    assert!(at(&story, "PATCH /apis/argoproj.io") < at(&story, "ended: done"), "{story:#?}");
    assert!(at(&story, "ended: done") < at(&story, "came home from 2.0"), "{story:#?}");
    assert!(shop.plant.pages.heard().is_empty(), "nobody is needed: {:#?}", shop.plant.pages.heard());
    let view = shop.plant.view("shop");
    assert_eq!((&view["breaker"], &view["frozen"]), (&json!("open"), &json!(false)), "{view:#}");

    // Most of the traffic.
    shop.plant.says("shop", "close-breaker", &json!({"reason": "the cause is mended"}));
    shop.lets_out("3.0");
    shop.comes_to("Paused");
    shop.cluster.argo().args(["promote", "shop", "-n", shop.space.name()]).output().unwrap();
    shop.until("it has most of the traffic", |view| view["out"]["stage"] == 600 && says(view, "proceed"));
    shop.traffic.see_errors(40);
    let began = Instant::now();
    shop.until("it is sent back", |view| view["out"]["release"]["version"] == "1.0" && view["run"].is_null());
    println!("summary: from the first error at 60 % to all of it being stable again {:.1} s", secs(began));
    shop.is_all("1.0");
    shop.traffic.see_errors(0);
    let page = shop.is_paged("shop");
    assert!(page.contains("https://wiki.test/shop") && page.contains("/v1/incidents/"), "{page}");
    let view = shop.until("it is frozen, and nothing is under way", |view| {
        view["frozen"] == true && view["run"].is_null()
    });
    assert_eq!(view["quarantine"].as_array().unwrap().len(), 2, "{view:#}");
    // Scaling still works: nothing that is out is held.
    assert!(shop.rollout()["spec"]["paused"].is_null());
}

/// A GitOps controller puts the bad release back every 5 s, past every freeze that we know of. Once it is sent back at once, by what is
/// seen of it and before any number says so; the second time two are fighting: frozen, held, and a person is paged.
#[test]
fn a_fight_is_frozen_and_paged() {
    let steps = json!([{"setWeight": 20}, {"pause": {}}]);
    let Some(mut shop) = Shop::opens("enforce", &steps) else { return };
    shop.lets_out("2.0");
    shop.comes_to("Paused");
    shop.until("the canary is seen", |view| view["out"]["release"]["version"] == "2.0");
    shop.traffic.see_errors(40);
    shop.until("it is sent back", |view| view["out"]["release"]["version"] == "1.0" && view["run"].is_null());
    shop.traffic.see_errors(0);
    shop.until("the incident is over", |view| view["incident"].is_null());
    let keeps = shop.is_kept_at("2.0");
    shop.is_paged("undone 2 times");
    let paged = Instant::now();
    let view = shop.until("it is held", |view| view["frozen"] == true && view["run"].is_null());
    assert!(view["hold"].as_str().unwrap().contains("undone 2 times"), "{view:#}");
    // It would go on putting it back, and what it put back stands.
    until("a pause of ours", || (shop.rollout()["spec"]["paused"] == true).then_some(()));
    thread::sleep(NOTHING);
    assert_eq!((shop.rollout()["spec"]["paused"].clone(), shop.pods("2.0") <= 1), (json!(true), true));
    assert_eq!(shop.pods("1.0") + shop.pods("2.0"), 5);
    let wrote = keeps.wrote();
    let first = wrote.first().unwrap();
    println!(
        "summary: a fight with somebody who writes every 5 s: paged {:.1} s after it was first undone, and it was undone {} times by then",
        (paged - *first).as_secs_f64(),
        wrote.iter().filter(|wrote| **wrote < paged).count(),
    );
    assert!(wrote.len() <= 3, "one of them wasn't seen, at most: {}", wrote.len());
}

/// It waits for longer than is promised, which isn't worth going back for: it is held where it stands, though its own pause is over,
/// and goes on once it is as promised again.
#[test]
fn what_is_slow_is_held_where_it_stands_and_goes_on() {
    let steps = json!([{"setWeight": 20}, {"pause": {"duration": "30s"}}, {"setWeight": 60}, {"pause": {}}]);
    let Some(mut shop) = Shop::opens("enforce", &steps) else { return };
    shop.traffic.wait(2000);
    shop.lets_out("2.0");
    let began = Instant::now();
    shop.until("the canary is seen and slow", |view| {
        view["out"]["release"]["version"] == "2.0" && says(view, "slow")
    });
    until("a pause of ours", || (shop.rollout()["spec"]["paused"] == true).then_some(()));
    println!("summary: a slow canary was held {:.1} s after it was let out", secs(began));
    assert_eq!(shop.rollout()["metadata"]["annotations"]["backstay.dev/held"], "paused");
    until("the end of its own pause", || (began.elapsed() > Duration::from_secs(40)).then_some(()));
    assert_eq!((shop.pods("2.0"), shop.pods("1.0")), (1, 4), "it went further");
    shop.traffic.wait(500);
    until("the next step", || (shop.pods("2.0") == 3).then_some(()));
    let found = shop.rollout();
    assert!(
        found["spec"]["paused"].is_null() && found["metadata"]["annotations"]["backstay.dev/held"].is_null()
    );
    assert!(shop.plant.pages.heard().is_empty());
}

/// Who only observes says what would be done, and does nothing.
#[test]
fn who_only_observes_changes_nothing() {
    let steps = json!([{"setWeight": 20}, {"pause": {}}]);
    let Some(mut shop) = Shop::opens("observe", &steps) else { return };
    shop.gate.counts_anew();
    shop.lets_out("2.0");
    let before = shop.comes_to("Paused");
    shop.traffic.see_errors(40);
    shop.until("it would be sent back", |view| says(view, "roll back"));
    thread::sleep(NOTHING);
    let changes: Vec<Passed> = shop.gate.passed().into_iter().filter(Passed::changes).collect();
    assert!(changes.is_empty(), "{changes:#?}");
    assert!(shop.gate.passed().len() > 4, "it looked");
    let after = shop.rollout();
    assert_eq!(
        (&after["metadata"]["generation"], &after["spec"]),
        (&before["metadata"]["generation"], &before["spec"])
    );
    assert_eq!(shop.pods("2.0"), 1);
}

/// The server is killed when the template is restored and it has not heard so. It starts again, and all comes to the same.
#[test]
fn killed_in_the_middle_of_a_decision_it_goes_on() {
    let steps = json!([{"setWeight": 20}, {"pause": {}}]);
    let Some(mut shop) = Shop::opens("enforce", &steps) else { return };
    shop.lets_out("2.0");
    shop.comes_to("Paused");
    shop.until("the canary is seen", |view| view["out"]["release"]["version"] == "2.0");
    shop.traffic.see_errors(40);
    let gate = shop.gate.clone();
    let mut written = 0;
    let restores = move |passed: &Passed| {
        // It is held first: one bad window says nothing yet.
        written += usize::from(passed.method == "PATCH" && passed.path.ends_with("/rollouts/shop"));
        written == 2
    };
    let stop = gate.stops(restores, Moment::After);
    assert!(stop.is_reached(|| false));
    shop.plant.is_killed();
    drop(stop);
    let began = Instant::now();
    shop.plant.starts();
    shop.until("it is sent back", |view| view["out"]["release"]["version"] == "1.0" && view["run"].is_null());
    println!(
        "summary: killed in the middle of a decision; from the new process to the end of the run {:.1} s",
        secs(began)
    );
    shop.is_all("1.0");
    shop.traffic.see_errors(0);
    shop.until("the incident is over", |view| view["incident"].is_null());
    let (incident, story) = shop.story();
    assert_eq!(incident["end"], "rolled-back");
    assert_eq!(story.iter().filter(|told| told.contains(" begins: go home")).count(), 1, "{story:#?}");
    // Made, let out, and brought back.
    let revision = shop.rollout()["metadata"]["annotations"]["rollout.argoproj.io/revision"].clone();
    assert_eq!(revision, "3", "the template was written twice");
}
