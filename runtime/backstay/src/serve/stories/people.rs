//! What people name, lift and look at.

use backstay_api::{
    Because, BreakerState, Call, KeptOut, Kind, LiftRequest, Operation, QuarantineView, Quarantined,
    Recorded, WayOut,
};
use backstay_model::{Channel, Digest, Direction, Event, Health, Standing};

use super::fleet_of_three;
use crate::serve::world::{NEW, OLD, World, ann, cohort, digest, release};

const NEXT: &str = "3.0.0";

fn reason(text: &str) -> Because {
    Because::parse(text).unwrap()
}

fn rolls_back(world: &mut World) {
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Rollback, reply))
        .unwrap();
}

/// Everything that a person did, as it was written down.
fn by_hand(world: &World) -> Vec<String> {
    let did =
        |event: &Event| if let Event::Override { what, .. } = event { Some(what.clone()) } else { None };
    world.written.borrow().iter().filter_map(did).collect()
}

/// Home is where the cohort was brought to last; it goes into the message, and people see it.
#[test]
fn a_rollout_knows_where_home_is() {
    let mut world = fleet_of_three();
    world.pushes("canary", OLD).unwrap();
    assert_eq!(world.steer("canary").unwrap().back, None, "nobody knows where they were");
    world.waits_secs(60);
    world.pushes("canary", NEW).unwrap();
    assert_eq!(world.steer("canary").unwrap().back, Some(release(OLD)));
    let view = world.calls(|reply| Call::Cohort(cohort("canary"), Channel::Product, reply)).unwrap();
    assert_eq!(view.back, Some(release(OLD)));
    world.reports("pump-1", NEW, OLD, Standing::OnTrial);
    rolls_back(&mut world);
    let home = world.steer("canary").unwrap();
    assert_eq!((home.direction, home.back), (Direction::Home, Some(release(OLD))));
    let fleet = world.calls(Call::Fleet).unwrap();
    assert_eq!(fleet.devices[0].wanted, Some(release(OLD)), "that is where it is to go");
}

/// A person may name the way back: only one that the release keys allow, and that can be handed out.
#[test]
fn a_way_back_that_is_named_is_checked_when_it_is_named() {
    let mut world = fleet_of_three();
    world.publishes(NEXT);
    let refused = world.pushes_with("canary", NEXT, Some(NEW)).unwrap_err();
    assert_eq!(refused.kind, Kind::Refused);
    assert!(refused.what.contains("may not be left for 2.0.0") && refused.help.is_some(), "{refused:?}");
    assert_eq!(world.pushes_with("canary", NEXT, Some(NEXT)).unwrap_err().kind, Kind::Refused);
    let unknown = world.pushes_with("canary", NEXT, Some("0.9.0")).unwrap_err();
    assert_eq!(
        (unknown.kind, unknown.what.as_str()),
        (Kind::NotFound, "no release 0.9.0 was published here")
    );
    let artifact = world.state().join("artifacts").join(digest(OLD).to_string());
    let aside = world.state().join("aside");
    std::fs::rename(&artifact, &aside).unwrap();
    let missing = world.pushes_with("canary", NEXT, Some(OLD)).unwrap_err();
    assert!(missing.what.contains("of 1.0.0 is not here") && missing.help.is_some(), "{missing:?}");
    assert_eq!(world.steer("canary"), None, "nothing was begun");
    std::fs::rename(&aside, &artifact).unwrap();
    world.pushes_with("canary", NEXT, Some(OLD)).unwrap();
    assert_eq!(world.steer("canary").unwrap().back, Some(release(OLD)));
}

/// A release that the cohort was turned away from, and the breaker that opened: both are seen, lifted with a reason,
/// and what was lifted is lifted after a restart, too. Twice is once.
#[test]
fn a_quarantine_and_a_breaker_are_lifted_with_a_reason() {
    let mut world = fleet_of_three();
    world.pushes("canary", NEW).unwrap();
    rolls_back(&mut world);
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Thaw, reply))
        .unwrap();
    let kept = world.calls(Call::Quarantine).unwrap();
    assert_eq!((kept.len(), kept[0].digest, kept[0].kind), (1, digest(NEW), Quarantined::Release));
    assert_eq!((&kept[0].cohort, &kept[0].release), (&Some(cohort("canary")), &Some(release(NEW))));
    let breakers = world.calls(Call::Breakers).unwrap();
    assert_eq!((breakers.len(), breakers[0].state), (1, BreakerState::Open));
    assert!(breakers[0].left_ms.is_some());

    let close = |world: &mut World, name: &str| {
        world.calls(|reply| {
            Call::CloseBreaker(ann(), cohort(name), Channel::Product, reason("the cause is found"), reply)
        })
    };
    assert!(close(&mut world, "canary").unwrap().changed);
    assert!(!close(&mut world, "canary").unwrap().changed, "twice is once");
    assert_eq!(close(&mut world, "field").unwrap_err().kind, Kind::NotFound);
    assert_eq!(world.pushes("canary", NEW).unwrap_err().kind, Kind::Refused, "it is quarantined");

    let lift = |world: &mut World, what: Digest, of: Option<&str>| {
        let request = LiftRequest { reason: reason("tested again"), cohort: of.map(cohort) };
        world.calls(|reply| Call::Lift(ann(), what, request, reply))
    };
    assert!(lift(&mut world, digest(OLD), None).unwrap().lifted.is_empty(), "it is not quarantined");
    assert_eq!(lift(&mut world, digest(NEW), Some("field")).unwrap_err().kind, Kind::NotFound);
    assert_eq!(lift(&mut world, digest(NEW), Some("canary")).unwrap().lifted, kept);
    assert!(lift(&mut world, digest(NEW), None).unwrap().lifted.is_empty(), "twice is once");
    let did = by_hand(&world);
    let said = did.iter().filter(|what| what.contains("tested again") || what.contains("the cause is found"));
    assert_eq!(
        said.map(String::as_str).collect::<Vec<_>>(),
        [
            "close the breaker: the cause is found".to_owned(),
            format!("lift the quarantine of {}: tested again", digest(NEW).short())
        ]
    );
    world.kills();
    world.starts();
    world.connects();
    assert_eq!(world.calls(Call::Quarantine).unwrap(), []);
    assert_eq!(world.calls(Call::Breakers).unwrap()[0].state, BreakerState::Closed);
    world.pushes("canary", NEW).unwrap();
}

/// A policy that was sent back on its way to take over is kept out as one that failed is: both are seen with who, why and
/// since when, and lifted. One that isn't loaded is said to wait for the next start.
#[test]
fn a_candidate_that_was_sent_back_is_seen_and_lifted() {
    let (failed, sent_back) = (Digest([7; 32]), Digest([8; 32]));
    let mut world = fleet_of_three();
    world.loaded.push(sent_back);
    world.kills();
    world.starts();
    world.connects();
    let told = |kept: &QuarantineView| {
        let KeptOut { way, loaded, recorded } = kept.plugin.clone().unwrap();
        let Recorded { plugin, version, why, age_ms, record } = recorded.unwrap();
        assert!(record > 0);
        (way, loaded, plugin.to_string(), version.map(|version| version.to_string()), why, age_ms)
    };
    world.fails(failed);
    world.waits_secs(60);
    // One that fails on its way is sent back because of that: it is there once, with what it failed at.
    world.shadows(sent_back);
    world.fails(sent_back);
    world.sends_back(sent_back);
    let kept = world.calls(Call::Quarantine).unwrap();
    assert_eq!(kept.iter().map(|kept| kept.digest).collect::<Vec<_>>(), [sent_back, failed]);
    let trapped =
        |loaded, age| (WayOut::Failed, loaded, "acme/failing".into(), None, "it trapped".into(), age);
    assert_eq!(told(&kept[0]), trapped(true, 0));
    lift(&mut world, sent_back);
    assert_eq!(world.calls(Call::Quarantine).unwrap().len(), 1);

    world.shadows(sent_back);
    world.sends_back(sent_back);
    world.waits_secs(5);
    let kept = world.calls(Call::Quarantine).unwrap();
    assert_eq!(told(&kept[0]), trapped(false, 65_000));
    let (who, version, why) = ("acme/taking-over", "0.2.0", "it brought the process down");
    assert_eq!(told(&kept[1]), (WayOut::SentBack, true, who.into(), Some(version.into()), why.into(), 5_000));
    assert_eq!(lift(&mut world, failed), kept[..1]);
    assert_eq!(lift(&mut world, sent_back), kept[1..]);
    let did = by_hand(&world);
    assert_eq!(
        did.iter().filter(|what| what.contains(&sent_back.short().to_string())).count(),
        2,
        "once each"
    );
    world.kills();
    world.starts();
    assert_eq!(world.calls(Call::Quarantine).unwrap(), []);
}

fn lift(world: &mut World, what: Digest) -> Vec<QuarantineView> {
    let request = LiftRequest { reason: reason("tested again"), cohort: None };
    world.calls(|reply| Call::Lift(ann(), what, request, reply)).unwrap().lifted
}

/// Reports come when something changes; how a device does meanwhile, its beats say. Nothing is decided on them.
#[test]
fn present_health_is_told_with_its_age_and_its_worth() {
    let mut world = fleet_of_three();
    let now = |world: &mut World| world.calls(Call::Fleet).unwrap().devices[0].health_now.unwrap();
    assert_eq!((now(&mut world).health, now(&mut world).signed), (Health::Good, true));
    world.waits_secs(30);
    world.feels("pump-1", 1, Health::Bad);
    world.waits_secs(5);
    let told = now(&mut world);
    assert_eq!((told.health, told.age_ms, told.signed), (Health::Bad, 5000, false));
    // A beat of another session, or one that comes again, says nothing.
    world.feels("pump-1", 1, Health::Good);
    assert_eq!(now(&mut world).health, Health::Bad);
    assert_eq!(world.calls(Call::Fleet).unwrap().devices[0].health, Some(Health::Good), "as it was signed");
    world.reports("pump-1", OLD, OLD, Standing::Settled);
    assert!(now(&mut world).signed);
}
