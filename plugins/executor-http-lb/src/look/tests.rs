//! Looking, on a balancer in memory.

use backstay_sdk::executor::{Answer, Outcome, Output, Response, Task};

use crate::balancer::{Asked, Balancer, Cut};

fn look() -> Task {
    Task::Heal("look".into())
}

#[test]
fn who_is_down_is_lost_and_who_was_taken_out_is_not() {
    let mut balancer = Balancer::of(&["a", "b", "c", "d", "e"])
        .with("b", |b| b.works = false)
        .with("c", |c| c.asked = Asked::Maintenance)
        .with("d", |d| d.asked = Asked::Drain)
        .with("e", |e| e.checked = false);
    let stood = balancer.clone();
    assert_eq!(balancer.fails(look()), None);
    assert_eq!(balancer.told, ["infra.machine-lost=1\nservers-up=2\n"]);
    balancer.told.clear();
    assert_eq!(balancer, stood);
    let mut well = Balancer::of(&["a", "b"]);
    assert_eq!(well.fails(look()), None);
    assert_eq!(well.told, ["infra.machine-lost=0\nservers-up=2\n"]);
}

/// Of a cut page nobody knows who is missing, and a backend without servers is one with another name. To say 0 would be to
/// say that all is well.
#[test]
fn who_can_not_be_counted_is_not_told() {
    let page = Balancer::of(&["a"]).page();
    let Answer::Response(Response { status, body }) = page.clone() else { panic!("{page:?}") };
    let bytes = [body.bytes.as_slice(), b"\n"].concat();
    let cut = Answer::Response(Response { status, body: Output { bytes, whole: Some("a".repeat(64)) } });
    for (answer, why) in [
        (cut, "HAProxy's page is longer than an answer can hold: the servers of web can't be counted"),
        (Balancer::of(&[]).page(), "HAProxy has no server in web"),
        (Answer::TimedOut, "the load balancer's page did not end in its time"),
    ] {
        let mut balancer = Balancer::of(&["a"]).answers("GET", answer);
        assert_eq!(balancer.fails(look()).unwrap(), why);
        assert_eq!((&balancer.told[..], &balancer.deeds[..]), (&[][..], &[][..]));
    }
}

#[test]
fn cut_off_at_every_effect_the_same_is_told() {
    let mut whole = Balancer::of(&["a", "b"]);
    let (end, effects) = whole.run(look(), None);
    assert_eq!((end, effects), (Outcome::Done, 2));
    for at in 0..effects {
        for cut in [Cut::Before, Cut::After] {
            let mut balancer = Balancer::of(&["a", "b"]);
            assert_eq!(balancer.run(look(), Some((at, cut))).0, Outcome::Done, "{cut:?} {at}");
            // Attached twice it says the same twice.
            balancer.told.dedup();
            assert_eq!(balancer, whole, "{cut:?} {at}");
        }
    }
}
