//! Recycling, on a balancer in memory. It refuses by itself to see its last server drained, or one restarted under traffic.

use backstay_sdk::executor::{Answer, Outcome, Output, Response, Task};

use crate::balancer::{Asked, Balancer, Cut, said, text};

fn heal() -> Task {
    Task::Heal("restart-a".into())
}

fn pair() -> Balancer {
    Balancer::of(&["a", "b"])
}

fn weighted() -> Balancer {
    pair().set(text("lb-weight", "lb-weight"))
}

#[test]
fn a_server_is_drained_mended_and_put_back() {
    let mut balancer = pair().with("a", |a| a.sessions = 2);
    assert_eq!(balancer.fails(heal()), None);
    assert_eq!(balancer.deeds, ["drain a", "restart-a", "ready a"]);
    let mut sick = pair().with("a", |a| a.works = false);
    assert_eq!(sick.fails(heal()), None);
    assert_eq!(sick.deeds, ["drain a", "restart-a", "ready a"]);
    assert!(sick.server("a").works);
}

#[test]
fn it_comes_back_with_a_small_weight_first() {
    let mut balancer = weighted();
    assert_eq!(balancer.fails(heal()), None);
    assert_eq!(balancer.deeds, ["drain a", "restart-a", "weight a 10%", "ready a", "weight a 100%"]);
}

#[test]
fn the_last_server_that_carries_is_not_drained() {
    let alone = Balancer::of(&["a"]);
    let other_is_down = pair().with("b", |b| b.works = false);
    let other_is_drained = pair().with("b", |b| b.asked = Asked::Drain);
    let other_is_not_checked = pair().with("b", |b| b.checked = false);
    for mut balancer in [alone, other_is_down, other_is_drained, other_is_not_checked] {
        assert_eq!(
            balancer.fails(heal()).unwrap(),
            "web/a was not drained: others that carry traffic are 0, and have to be 1"
        );
        assert!(balancer.deeds.is_empty());
    }
    // One that is down carries nothing: mending it can only help.
    let mut dead = Balancer::of(&["a"]).with("a", |a| a.works = false);
    assert_eq!(dead.fails(heal()), None);
}

#[test]
fn what_somebody_took_out_or_nobody_checks_is_left_alone() {
    let mut balancer = pair().with("a", |a| a.asked = Asked::Maintenance);
    assert!(balancer.fails(heal()).unwrap().contains("in maintenance"));
    let mut blind = pair().with("a", |a| a.checked = false);
    assert!(blind.fails(heal()).unwrap().contains("HAProxy doesn't check web/a"));
    assert!(balancer.deeds.is_empty() && blind.deeds.is_empty());
    assert!(pair().fails(Task::Heal("restart-c".into())).unwrap().contains("restart-c=..."));
}

#[test]
fn what_is_not_well_stays_out_while_others_carry() {
    let mut balancer = Balancer { mends: false, ..pair() };
    assert_eq!(
        balancer.fails(heal()).unwrap(),
        "HAProxy's check of web/a doesn't pass after the command; web/a is left out, down (L4CON, 0 sessions); \
         others that carry: 1"
    );
    assert_eq!(balancer.server("a").asked, Asked::Drain);
    let mut failing = pair().answers("restart-a", said(3, "unit is masked"));
    assert_eq!(
        failing.fails(heal()).unwrap(),
        "the command restart-a ended with exit code 3: unit is masked; web/a is left out, drained (L7OK, 0 sessions); \
         others that carry: 1"
    );
    let mut unsure = pair().set(text("check", "check")).answers("check", said(1, "no login"));
    assert!(
        unsure
            .fails(heal())
            .unwrap()
            .starts_with("the command check ended with exit code 1: no login; web/a is left out")
    );
    assert_eq!(unsure.deeds, ["drain a", "restart-a"]);
}

/// While it is out, the only other one goes down. Sick as it may be, it is all that is left.
#[test]
fn the_last_one_is_put_back_whatever_it_is_like() {
    for (after, deeds) in [(1, &["drain a", "ready a"][..]), (2, &["drain a", "restart-a", "ready a"][..])] {
        let mut balancer = Balancer { mends: false, dies: Some(("b", after)), ..pair() };
        let why = balancer.fails(heal()).unwrap();
        assert!(why.ends_with("was put back: no other carries"), "{why}");
        assert_eq!(balancer.deeds, deeds);
        assert_eq!(balancer.server("a").asked, Asked::Ready);
    }
}

#[test]
fn one_that_goes_down_with_its_small_weight_does_not_get_more() {
    let mut balancer = Balancer { dies: Some(("a", 4)), ..weighted() };
    let why = balancer.fails(heal()).unwrap();
    assert!(why.starts_with("web/a did not stay up with traffic: it is down"), "{why}");
    assert!(!balancer.deeds.contains(&"weight a 100%".into()));
    assert_eq!(balancer.server("a").asked, Asked::Drain, "it doesn't come back by itself");
}

#[test]
fn a_page_that_is_garbage_moves_nothing() {
    let page = |status, text: &str| {
        Answer::Response(Response { status, body: Output { bytes: text.as_bytes().to_vec(), whole: None } })
    };
    for answer in
        [page(200, "<html>"), page(200, ""), page(503, ""), Answer::TimedOut, Answer::Done, said(0, "")]
    {
        let mut balancer = pair().answers("GET", answer.clone());
        assert!(balancer.fails(heal()).is_some(), "{answer:?}");
        assert!(balancer.deeds.is_empty(), "{answer:?}");
    }
}

#[test]
fn a_form_that_is_not_taken_is_said() {
    let forbidden = Answer::Response(Response { status: 403, body: Output { bytes: vec![], whole: None } });
    let mut balancer = pair().answers("POST", forbidden);
    assert_eq!(
        balancer.fails(heal()).unwrap(),
        "the load balancer answers \"drain\" with status 403: is stats admin on?; web/a is left up (L7OK, 0 sessions)"
    );
    let mut slow = pair().answers("POST", Answer::TimedOut);
    let why = slow.fails(heal()).unwrap();
    assert!(why.starts_with("asked 2 times for \"drain\", web/a is up"), "{why}");
    assert!(slow.deeds.is_empty());
}

#[test]
fn cut_off_at_every_effect_nothing_is_done_twice() {
    for balancer in
        [pair(), weighted(), pair().with("a", |a| a.sessions = 2), pair().with("a", |a| a.works = false)]
    {
        let (end, effects) = balancer.clone().run(heal(), None);
        assert_eq!(end, Outcome::Done);
        for at in 0..effects {
            for cut in [Cut::Before, Cut::After] {
                let mut balancer = balancer.clone();
                let (end, _) = balancer.run(heal(), Some((at, cut)));
                let twice = balancer.deeds.iter().filter(|deed| *deed == "restart-a").count();
                assert!(twice <= 1, "{cut:?} {at}: {:?}", balancer.deeds);
                // Its check passes, so it is back; without, it stays out while the other carries.
                let (a, works) = (balancer.server("a").asked, balancer.server("a").works);
                assert_eq!(a, if works { Asked::Ready } else { Asked::Drain }, "{cut:?} {at}");
                assert_eq!(end == Outcome::Done, works, "{cut:?} {at}: {end:?}");
            }
        }
    }
}

/// The run was let go of after it had drained the server. The next one takes it from there.
#[test]
fn a_server_that_an_older_run_left_drained_is_taken_up() {
    let mut balancer = pair().with("a", |a| a.asked = Asked::Drain);
    assert_eq!(balancer.fails(heal()), None);
    assert_eq!(balancer.deeds, ["restart-a", "ready a"]);
}

/// A run's state has 64 KiB. The step is refused where it doesn't fit, and here each answer is as long as one can be.
#[test]
fn the_longest_answers_have_room_or_end_the_run_in_words() {
    let mut balancer =
        Balancer { noise: 4096, ..weighted().set(text("check", "check")).with("a", |a| a.sessions = 9) };
    let _ = balancer.fails(heal());
    assert!(balancer.deeds.contains(&"restart-a".into()));
    assert_eq!(balancer.server("a").asked, Asked::Ready);
}
