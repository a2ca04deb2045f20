//! From green to blue, on a balancer in memory. It refuses by itself to see its last server drained.

use backstay_sdk::executor::{Outcome, Release, Task};

use crate::balancer::{Asked, Balancer, Cut, said, text};

fn home() -> Task {
    let digest = "ab".repeat(32);
    Task::GoHome(Release { version: "1.4.0".into(), digest, length: 1, security_epoch: 0 })
}

/// Green has the traffic; blue waits.
fn on_green(blue: Asked) -> Balancer {
    let set = |balancer: Balancer| balancer.set(text("blue", "blue")).set(text("green", "green"));
    set(Balancer::of(&["blue", "green"])).with("blue", |it| it.asked = blue)
}

#[test]
fn blue_gets_the_traffic_before_green_loses_it() {
    let mut balancer = on_green(Asked::Drain).with("green", |green| green.sessions = 2);
    assert_eq!(balancer.fails(home()), None);
    assert_eq!(balancer.deeds, ["ready blue", "drain green"]);
    assert_eq!(balancer.fails(home()), None);
    assert_eq!(balancer.deeds.len(), 2, "who is home stays home");
    let mut balancer = on_green(Asked::Maintenance);
    assert_eq!(balancer.fails(home()), None);
    assert_eq!(balancer.deeds, ["drain blue", "ready blue", "drain green"]);
}

#[test]
fn a_blue_that_is_not_proven_gets_nothing() {
    let mut balancer = on_green(Asked::Drain).with("blue", |blue| blue.works = false);
    assert_eq!(
        balancer.fails(home()).unwrap(),
        "nothing was switched, web/blue isn't proven: HAProxy's check doesn't pass"
    );
    let mut other = on_green(Asked::Drain)
        .set(text("check-home", "check-home"))
        .answers("check-home", said(1, "1.3.9 is there"));
    assert_eq!(
        other.fails(home()).unwrap(),
        "nothing was switched, web/blue isn't proven: the command check-home ended with exit code 1: 1.3.9 is there"
    );
    assert!(balancer.deeds.is_empty() && other.deeds.is_empty());
    assert!(Balancer::of(&["blue", "green"]).fails(home()).unwrap().contains("no way home"));
}

#[test]
fn green_gets_the_traffic_back_if_blue_goes_down() {
    let mut balancer = Balancer { dies: Some(("blue", 2)), ..on_green(Asked::Drain) };
    assert_eq!(balancer.fails(home()).unwrap(), "web/blue went down; web/green has the traffic again");
    assert_eq!(balancer.deeds, ["ready blue", "drain green", "ready green"]);
    let mut balancer = Balancer { dies: Some(("blue", 1)), ..on_green(Asked::Drain) };
    let why = balancer.fails(home()).unwrap();
    assert!(why.ends_with("web/green keeps the traffic"), "{why}");
}

#[test]
fn cut_off_at_every_effect_it_comes_to_the_same_end() {
    for balancer in [on_green(Asked::Drain), on_green(Asked::Maintenance), on_green(Asked::Ready)] {
        let mut whole = balancer.clone();
        let (end, effects) = whole.run(home(), None);
        assert_eq!(end, Outcome::Done);
        for at in 0..effects {
            for cut in [Cut::Before, Cut::After] {
                let mut balancer = balancer.clone();
                assert_eq!(balancer.run(home(), Some((at, cut))).0, Outcome::Done, "{cut:?} {at}");
                assert_eq!(balancer.deeds, whole.deeds, "{cut:?} {at}");
            }
        }
    }
}

#[test]
fn it_holds_no_release() {
    let Task::GoHome(release) = home() else { panic!("it is one") };
    for task in [Task::Install(release.clone()), Task::Confirm(release)] {
        assert!(on_green(Asked::Drain).fails(task).unwrap().starts_with("a load balancer holds no release"));
    }
}
