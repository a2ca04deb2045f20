//! A server whose disk is from an old copy: what the broker and the devices know better.

use backstay_api::{Call, Operation};
use backstay_model::{Channel, Direction, Event, Generation, Standing, Steer};
use backstay_trust::{Audience, OrderKind, Stamp, sign_order};
use backstay_wire::{Leaf, encode};

use super::{fleet_of_three, reached};
use crate::serve::world::{NEW, OLD, World, ann, cohort, fleet, key, topic};

const PLACE: &str = "backstay/1/pumps/steer/canary/product";

/// Forward is under way, a copy is made, and what comes then is not in it.
fn forward_and_a_copy() -> (World, tempfile::TempDir) {
    let mut world = fleet_of_three();
    world.pushes("canary", NEW).unwrap();
    let wave = reached(&mut world);
    for name in &wave {
        world.reports(name, NEW, NEW, Standing::Settled);
    }
    let copy = world.copies();
    (world, copy)
}

/// The cohort was called home after the copy. Devices speak first, and have seen more than the copy: still the old
/// forward is never said again.
#[test]
fn home_is_not_covered_by_a_server_that_forgot_it() {
    let (mut world, copy) = forward_and_a_copy();
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Rollback, reply))
        .unwrap();
    for name in ["pump-1", "pump-2", "pump-3"] {
        world.reports(name, OLD, OLD, Standing::Settled);
    }
    let home = world.steer("canary").unwrap();
    world.is_brought_back(&copy);
    world.starts();
    let said = world.published.len();
    world.connects();
    world.waits_secs(300);
    assert_eq!(world.steer("canary").unwrap(), home);
    let forward = world.published[said..].iter().filter(|sent| sent.topic == PLACE).count();
    assert!(forward > 0, "it is signed afresh");
    let view = world.calls(|reply| Call::Cohort(cohort("canary"), Channel::Product, reply)).unwrap();
    assert!(view.frozen && view.breaker_ms.is_some(), "{view:?}");
    assert_eq!(world.calls(Call::Quarantine).unwrap().len(), 1);
    let events = world.calls(|reply| Call::Events(0, reply)).unwrap();
    assert!(events.iter().any(|event| event.what.contains("it is taken over")), "{events:?}");
    // It is written down: the next start needs no broker to know.
    world.kills();
    world.broker.clear();
    world.starts();
    world.connects();
    assert_eq!(world.steer("canary").unwrap(), home);
}

/// The next wave was opened after the copy: the rollout goes on from there.
#[test]
fn a_newer_forward_is_taken_over() {
    let (mut world, copy) = forward_and_a_copy();
    world.waits_secs(25);
    let wide = world.steer("canary").unwrap();
    assert!(reached(&mut world).len() == 3 && wide.direction == Direction::Forward);
    world.is_brought_back(&copy);
    world.starts();
    world.connects();
    assert_eq!(world.steer("canary").unwrap(), wide);
    assert_eq!(reached(&mut world).len(), 3);
    for name in ["pump-1", "pump-2", "pump-3"] {
        world.reports(name, NEW, NEW, Standing::Settled);
    }
    world.waits_secs(60);
    let view = world.calls(|reply| Call::Cohort(cohort("canary"), Channel::Product, reply)).unwrap();
    assert_eq!((view.phase.as_str(), view.confirmed), ("complete", 3));
}

/// What is not signed with the director key is no word of ours, whatever its generation: it is told, and covered.
#[test]
fn a_forged_generation_is_told_and_not_taken_over() {
    let (mut world, copy) = forward_and_a_copy();
    let ours = world.steer("canary").unwrap();
    let home = Steer { generation: Generation(90), direction: Direction::Home, frozen: true, ..ours.clone() };
    let stamp = Stamp { sequence: 90, issued: backstay_model::UnixMs(1), expires: None };
    let audience = Audience::Cohort(fleet(), cohort("canary"));
    // Signed with the operator's key, which the keyring knows, and not as director.
    let forged =
        sign_order(&key(1), OrderKind::SteerProduct, audience, stamp, &encode(&home).unwrap()).unwrap();
    world.broker.insert(PLACE.into(), forged);
    world.is_brought_back(&copy);
    world.starts();
    let before = world.refused().len();
    world.connects();
    world.waits_secs(5);
    let refused = world.refused();
    assert!(refused.len() > before, "{refused:?}");
    assert!(refused[before].1.contains("not trusted with it here"), "{refused:?}");
    assert_eq!(world.steer("canary").unwrap(), ours, "ours is there again");
}

/// The archive is from the copy, too, and the device dropped what it has receipts for. It is not stuck: what it has
/// is taken, and told from there on.
#[test]
fn a_device_that_is_past_the_archive_goes_on() {
    let mut world = fleet_of_three();
    let event = |n: u32| Event::Degraded { what: format!("story {n}") };
    assert_eq!(world.logs("pump-1", event(1)).unwrap().seq, 1);
    let copy = world.copies();
    assert_eq!(world.logs("pump-1", event(2)).unwrap().seq, 2);
    assert_eq!(world.logs("pump-1", event(3)).unwrap().seq, 3);
    world.is_brought_back(&copy);
    world.starts();
    world.connects();
    assert_eq!(world.logs("pump-1", event(4)).unwrap().seq, 4);
    assert_eq!(world.logs("pump-1", event(5)).unwrap().seq, 5);
    let view = world.calls(Call::Fleet).unwrap().devices[0].clone();
    assert_eq!((view.journal_from, view.journal), (4, 5));
    let events = world.calls(|reply| Call::Events(0, reply)).unwrap();
    let told = events.iter().filter(|event| event.what.contains("goes on at record 4, and those after 1"));
    assert_eq!(told.count(), 1, "{events:?}");
    assert_eq!(world.refused(), []);
    let device = world.pumps["pump-1"].id.clone();
    let (_, records) = world.calls(|reply| Call::Evidence(device, reply)).unwrap();
    let frame = backstay_evidence::Frame::read(&records).unwrap();
    assert_eq!(frame.seq, 4, "what is handed out begins there");
}

/// The server starts anew, and whoever writes to the broker has put an old report back. The device's own newest word,
/// brought again, is no alarm.
#[test]
fn a_report_of_long_ago_is_not_taken_for_the_newest() {
    let mut world = fleet_of_three();
    let place = topic("pump-1", Leaf::State);
    let old = world.broker[&place].clone();
    world.reports("pump-1", NEW, OLD, Standing::OnTrial);
    world.stops();
    world.starts();
    world.connects();
    assert_eq!(world.refused(), [], "the newest is what it was");
    world.stops();
    world.broker.insert(place, old);
    world.starts();
    world.connects();
    let refused = world.refused();
    assert!(refused.len() == 1 && refused[0].1 == "report 1 comes after report 2", "{refused:?}");
    assert_eq!(world.calls(Call::Fleet).unwrap().devices[0].booted, None);
    world.reports("pump-1", NEW, NEW, Standing::Settled);
    assert_eq!(world.calls(Call::Fleet).unwrap().devices[0].standing, Some(Standing::Settled));
}

/// A server that runs for long writes it down by itself.
#[test]
fn how_far_reports_were_heard_outlives_a_kill() {
    let mut world = fleet_of_three();
    let place = topic("pump-1", Leaf::State);
    let old = world.broker[&place].clone();
    world.reports("pump-1", NEW, OLD, Standing::OnTrial);
    world.waits_secs(601);
    world.kills();
    world.broker.insert(place, old);
    world.starts();
    world.connects();
    assert_eq!(world.refused().len(), 1);
}
