//! What a server does, told as stories: the real state, in virtual time, with a broker that anybody may write to. In
//! `stories/`: what an old copy of the state leads to, what people lift and name, whose name a record has, plugins that are
//! steered, and whom the fleet trusts.

mod deeds;
mod people;
mod plugins;
mod restored;
mod trust;

use backstay_api::{Call, Kind, Operation, WordRequest};
use backstay_model::{Channel, Direction, Event, Standing, Word};
use backstay_trust::{DeviceKind, Freshness, SecretKey};
use backstay_wire::{Leaf, LogBatch, TopicKind};

use super::world::{Disk, NEW, OLD, World, ann, cohort, digest, topic, topics};

/// Three devices on the old release, and the new one published.
fn fleet_of_three() -> World {
    let mut world = World::new();
    three_join(&mut world);
    world
}

fn three_join(world: &mut World) {
    for name in ["pump-1", "pump-2", "pump-3"] {
        world.enrols(name, "canary");
        world.greets(name);
        world.reports(name, OLD, OLD, Standing::Settled);
    }
    world.publishes(OLD);
    world.publishes(NEW);
}

/// Those that steering reaches.
fn reached(world: &mut World) -> Vec<String> {
    let view = world.calls(Call::Fleet).unwrap();
    let wanted = view.devices.iter().filter(|device| device.wanted.is_some());
    wanted.map(|device| device.device.to_string()).collect()
}

/// The whole way: a token enrols, a device reports, a rollout starts, its waves open, everybody has it.
#[test]
fn a_release_goes_out_wave_by_wave() {
    let mut world = fleet_of_three();
    let started = world.pushes("canary", NEW).unwrap();
    let first = world.steer("canary").unwrap();
    assert_eq!((first.rollout.clone(), first.generation.0), (started.rollout.clone(), 1));
    assert_eq!(first.direction, Direction::Forward);
    let wave = reached(&mut world);
    assert_eq!(wave.len(), 2, "half of three, rounded up");
    for name in &wave {
        world.reports(name, NEW, NEW, Standing::Settled);
    }
    world.waits_secs(25);
    assert_eq!(reached(&mut world).len(), 3, "the next wave is open");
    assert!(world.steer("canary").unwrap().generation > first.generation);
    for name in ["pump-1", "pump-2", "pump-3"] {
        if !wave.contains(&name.to_owned()) {
            world.reports(name, NEW, NEW, Standing::Settled);
        }
    }
    world.waits_secs(25);
    let view = world.calls(|reply| Call::Cohort(cohort("canary"), Channel::Product, reply)).unwrap();
    assert_eq!((view.phase.as_str(), view.confirmed, view.frozen), ("complete", 3, false));
    let device = &world.calls(Call::Fleet).unwrap().devices[0];
    assert_eq!(device.confirmed.as_ref().unwrap().release.version.as_str(), NEW);
    let events = world.calls(|reply| Call::Events(0, reply)).unwrap();
    assert!(events.iter().any(|event| event.what.contains("is complete: 3 confirmed")), "{events:?}");
    assert_eq!(world.refused(), []);
}

/// One device condemns the release: the cohort is turned by one message, and the server refuses to go on.
#[test]
fn one_failure_too_many_turns_the_cohort() {
    let mut world = fleet_of_three();
    world.pushes("canary", NEW).unwrap();
    let wave = reached(&mut world);
    world.reports(&wave[0], NEW, OLD, Standing::OnTrial);
    world.reports(&wave[0], OLD, OLD, Standing::GoingHome);
    let home = world.order("canary").unwrap();
    let steer = world.steer("canary").unwrap();
    assert_eq!((steer.direction, steer.frozen), (Direction::Home, true));
    assert_eq!(home.stamp().expires, None, "home does not expire");
    let again = world.pushes("canary", NEW).unwrap_err();
    assert_eq!(again.kind, Kind::Refused);
    assert!(again.what.contains("frozen") && again.help.is_some(), "{again:?}");
}

/// Nothing is published that is not written down, except what only narrows.
#[test]
fn a_full_disk_holds_forward_back_and_lets_home_through() {
    let mut world = fleet_of_three();
    world.disk.set(Disk::Full);
    assert_eq!(world.pushes("canary", NEW).unwrap_err().kind, Kind::Unavailable);
    world.waits_secs(5);
    assert_eq!(world.steer("canary"), None, "forward waits");
    world.disk.set(Disk::Good);
    world.waits_secs(10);
    assert_eq!(world.steer("canary").unwrap().direction, Direction::Forward);
    world.disk.set(Disk::Full);
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Rollback, reply))
        .unwrap();
    assert_eq!(world.steer("canary").unwrap().direction, Direction::Home, "home does not wait");
    world.disk.set(Disk::Good);
    world.waits_secs(10);
    world.kills();
    world.starts();
    world.connects();
    assert_eq!(world.steer("canary").unwrap().direction, Direction::Home);
}

/// kill -9 at any moment: who is enrolled, what is published, where cohorts stand and which numbers were used.
#[test]
fn a_restart_loses_nothing() {
    let mut world = fleet_of_three();
    world.pushes("canary", NEW).unwrap();
    let wave = reached(&mut world);
    world.reports(&wave[0], NEW, OLD, Standing::OnTrial);
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Rollback, reply))
        .unwrap();
    let device = world.pumps["pump-1"].id.clone();
    let words = WordRequest { words: vec![Word::Hold] };
    assert_eq!(world.calls(|reply| Call::Tell(ann(), device.clone(), words, reply)).unwrap().sequence, 1);
    let before = world.order("canary").unwrap();
    // The broker loses everything, too.
    world.kills();
    world.broker.clear();
    world.starts();
    world.connects();
    let after = world.order("canary").unwrap();
    assert_eq!(
        (before.watermark(), after.watermark()),
        (after.watermark(), before.watermark()),
        "it says the same"
    );
    assert!(after.stamp().issued > before.stamp().issued, "signed afresh");
    assert_eq!(world.told("pump-1").words, [Word::Hold]);
    let view = world.calls(|reply| Call::Cohort(cohort("canary"), Channel::Product, reply)).unwrap();
    assert!(view.frozen && view.devices == 3, "{view:?}");
    assert_eq!(world.calls(Call::Releases).unwrap().len(), 2);
    assert_eq!(world.pushes("canary", NEW).unwrap_err().kind, Kind::Refused, "frozen");
    // The device has taken the hold: it isn't told again, and the next order has the next number.
    world.logs("pump-1", Event::Told { sequence: 1, word: Word::Hold }).unwrap();
    let words = WordRequest { words: vec![Word::Thaw] };
    assert_eq!(world.calls(|reply| Call::Tell(ann(), device, words, reply)).unwrap().sequence, 2);
    assert_eq!(world.told("pump-1").words, [Word::Thaw]);
}

/// The journal was lost or is from a backup: what the broker still holds, and devices have seen, is never covered
/// with something older.
#[test]
fn a_server_that_lost_its_journal_goes_on_from_the_largest_generation() {
    let mut world = fleet_of_three();
    world.pushes("canary", NEW).unwrap();
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Rollback, reply))
        .unwrap();
    let known = world.steer("canary").unwrap();
    world.kills();
    for lost in ["journal", "view", "beside"] {
        drop(std::fs::remove_dir_all(world.state().join(lost)));
    }
    world.starts();
    world.connects();
    assert_eq!(world.steer("canary").unwrap(), known, "it says the same");
    let view = world.calls(|reply| Call::Cohort(cohort("canary"), Channel::Product, reply)).unwrap();
    assert!(view.frozen && view.breaker_ms.is_some(), "{view:?}");
    assert_eq!(world.pushes("canary", NEW).unwrap_err().kind, Kind::Refused, "frozen");
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Thaw, reply))
        .unwrap();
    assert!(world.steer("canary").unwrap().generation > known.generation);
}

/// Forward is signed afresh before it expires; until then the same message is what a late device reads.
#[test]
fn forward_is_signed_afresh() {
    let mut world = fleet_of_three();
    world.pushes("canary", NEW).unwrap();
    for name in ["pump-1", "pump-2", "pump-3"] {
        world.reports(name, NEW, NEW, Standing::Settled);
    }
    world.waits_secs(40);
    let first = world.order("canary").unwrap();
    let expires = first.stamp().expires.unwrap();
    assert_eq!(expires.0 - first.stamp().issued.0, 3_600_000);
    world.waits_secs(3600);
    let fresh = world.order("canary").unwrap();
    assert!(fresh.stamp().expires.unwrap() > expires);
    assert_eq!(fresh.stamp().freshness(Some(expires)), Freshness::Fresh);
}

/// Somebody erases or replaces what the broker retains: it is put back, at most once a minute.
#[test]
fn what_is_put_over_our_words_is_covered_again() {
    let mut world = fleet_of_three();
    world.pushes("canary", NEW).unwrap();
    let place = "backstay/1/pumps/steer/canary/product";
    let old = world.broker[place].clone();
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Pause, reply))
        .unwrap();
    let hold = world.steer("canary").unwrap();
    assert_eq!(hold.direction, Direction::Hold);
    let published = world.published.len();
    for payload in [old, Vec::new(), vec![1; 100]] {
        for _ in 0..100 {
            world.broker.insert(place.into(), payload.clone());
            world.brings(place, payload.clone());
        }
    }
    world.waits_secs(5);
    assert_eq!(world.steer("canary").unwrap(), hold);
    assert!(world.published.len() <= published + 2, "300 messages cost one of ours");
}

/// Forged, replayed, misplaced: each is refused with its reason, and changes nothing.
#[test]
fn what_is_not_to_be_believed_changes_nothing() {
    let mut world = fleet_of_three();
    let report = world.broker[&topic("pump-1", Leaf::State)].clone();
    world.reports("pump-1", NEW, OLD, Standing::OnTrial);
    let before = world.calls(Call::Fleet).unwrap();

    // A replay of the older report.
    world.brings(&topic("pump-1", Leaf::State), report.clone());
    // The same bytes under another device's name.
    world.brings(&topic("pump-2", Leaf::State), report.clone());
    // One flipped bit.
    let mut flipped = world.broker[&topic("pump-2", Leaf::State)].clone();
    let last = flipped.len() - 1;
    flipped[last / 2] ^= 1;
    world.brings(&topic("pump-2", Leaf::State), flipped);
    // Signed with a key that is nobody's.
    let mut thief = world.pumps["pump-3"].clone();
    thief.key = SecretKey::from_random(&[99; 32]);
    let presence = backstay_wire::Presence { online: false, nonce: 5, at: backstay_model::Mono(9) };
    let (place, payload) = thief.signs(Leaf::Presence, DeviceKind::Presence, 9, &presence);
    world.brings(&place, payload);
    // A presence where a report should be; a stranger; records out of nowhere.
    let (_, payload) = world.pumps["pump-3"].signs(Leaf::State, DeviceKind::State, 9, &presence);
    world.brings(&topic("pump-3", Leaf::State), payload);
    world.brings(&topic("pump-9", Leaf::State), report);
    let batch = LogBatch { epoch: 1, first: 1, count: 1, records: vec![7; 64] };
    let (place, payload) = world.pumps["pump-3"].signs(Leaf::Log, DeviceKind::Log, 1, &batch);
    world.brings(&place, payload);

    assert_eq!(world.calls(Call::Fleet).unwrap().devices, before.devices);
    let refused = world.refused();
    let whys: Vec<&str> = refused.iter().map(|(_, why, _)| why.as_str()).collect();
    let parts = [
        "report 1 comes after report 2",
        "is for device pump-1",
        "does not bear a signature of key",
        "which is not trusted with it here",
        "a device report was expected, this is a presence",
        "no device pump-9 is enrolled",
        "the journal of pump-3 does not hold together",
    ];
    assert_eq!(whys.len(), parts.len(), "{whys:#?}");
    for (why, part) in whys.iter().zip(parts) {
        assert!(why.contains(part), "{why:?} has no {part:?}");
    }
    let told = world.calls(|reply| Call::Events(0, reply)).unwrap();
    assert!(told.iter().any(|event| event.what.contains("report 1 comes after report 2")));
}

/// Anybody may publish whatever they like: it costs a handful of records and no memory, and honest devices are heard.
#[test]
fn a_flood_of_garbage_drowns_nobody() {
    let mut world = fleet_of_three();
    world.pushes("canary", NEW).unwrap();
    let (steer, published) = (world.steer("canary").unwrap(), world.published.len());
    let written = world.written.borrow().len();
    let mut noise = digest("noise").0;
    for n in 0..1000_usize {
        for name in ["pump-1", "pump-99", &format!("made-up-{n}")] {
            for topic in topics(name) {
                noise = digest(&format!("{}{n}", noise[0])).0;
                let length = match n % 4 {
                    0 => 0,
                    1 => usize::from(noise[0]),
                    2 => usize::from(noise[0]) * 16,
                    _ => 130 * 1024,
                };
                let payload: Vec<u8> = noise.iter().copied().cycle().take(length).collect();
                world.brings(&topic, payload);
            }
        }
    }
    let refusals = &world.server().refusals;
    assert_eq!(refusals.total(), 36_000);
    assert!(refusals.kinds() <= 50, "{} kinds are counted", refusals.kinds());
    let records = world.written.borrow().len() - written;
    assert!(records < 400, "36,000 messages cost {records} records");
    assert_eq!(world.server().sightings.len(), 3, "only devices that are enrolled are remembered");
    assert_eq!(world.server().lanes.len(), 2, "one cohort, on both channels");
    assert_eq!(world.published.len(), published, "nothing was answered");
    let kinds: std::collections::BTreeSet<String> =
        world.refused().into_iter().map(|(what, ..)| what).collect();
    for topic in topics("pump-1") {
        assert!(kinds.contains(&topic), "nothing is told of {topic}, a {}", TopicKind::ALL.len());
    }
    // Who is honest is heard as before.
    world.reports("pump-1", NEW, OLD, Standing::OnTrial);
    world.beats("pump-1", 1);
    let fleet = world.calls(Call::Fleet).unwrap();
    assert_eq!(fleet.devices[0].standing, Some(Standing::OnTrial));
    assert_eq!(world.steer("canary").unwrap(), steer);
}

/// Records come in any order, twice, and with holes; only what is here without a gap has a receipt.
#[test]
fn a_receipt_is_signed_for_what_is_here() {
    let mut world = fleet_of_three();
    let event = || Event::Degraded { what: "a story".into() };
    assert_eq!(world.logs("pump-1", event()).unwrap().seq, 1);
    let mut ahead = world.pumps["pump-1"].clone();
    assert_eq!(world.logs("pump-1", event()).unwrap().seq, 2);
    world.kills();
    world.starts();
    world.connects();
    assert_eq!(world.logs("pump-1", event()).unwrap().seq, 3);
    // The same device with another history.
    std::mem::swap(world.pumps.get_mut("pump-1").unwrap(), &mut ahead);
    let receipts =
        |world: &World| world.published.iter().filter(|sent| sent.topic.ends_with("/receipt")).count();
    let before = receipts(&world);
    world.logs("pump-1", Event::Degraded { what: "another".into() });
    world.logs("pump-1", event());
    world.logs("pump-1", event());
    assert_eq!(world.refused().len(), 1, "{:?}", world.refused());
    assert_eq!(
        receipts(&world),
        before + 2,
        "what is here already is receipted again, what doesn't follow is not"
    );
    let device = ahead.id;
    let (key, records) = world.calls(|reply| Call::Evidence(device, reply)).unwrap();
    assert_eq!(key, ahead.key.public().to_string());
    let chain = backstay_evidence::Chain::new(&ahead.key.id().0.to_string());
    assert_eq!(chain.verify_bytes(&records, chain.genesis()).unwrap().seq, 3);
}

/// Without a token somebody has to say yes; a token is good for one device, once; a name is for one key.
#[test]
fn who_is_enrolled_is_said_by_somebody() {
    use backstay_api::EnrolAnswer;
    use backstay_model::{DeviceId, Hardware, Label};
    use backstay_trust::{EnrolRequest, EnrolToken};

    use super::world::{fleet, keyring};

    let mut world = World::new();
    let key = SecretKey::from_random(&[50; 32]);
    let ask = |key: &SecretKey, token: Option<&EnrolToken>| {
        EnrolRequest::sign(key, fleet(), Hardware::parse("pump").unwrap(), 1, token).unwrap()
    };
    let request = ask(&key, None);
    assert_eq!(world.calls(|reply| Call::Enrol(request.clone(), reply)).unwrap(), None);
    let pending = world.calls(Call::Pending).unwrap();
    let labels = vec![Label::parse("site=basel").unwrap()];
    let answer = EnrolAnswer { device: DeviceId::parse("pump-1").unwrap(), cohort: cohort("canary"), labels };
    let many = EnrolAnswer { labels: vec![answer.labels[0].clone(); 17], ..answer.clone() };
    let fingerprint = pending[0].fingerprint;
    assert_eq!(
        world.calls(|reply| Call::Accept(ann(), fingerprint, many, reply)).unwrap_err().kind,
        Kind::Usage
    );
    world.calls(|reply| Call::Accept(ann(), fingerprint, answer.clone(), reply)).unwrap();
    let signed = world.calls(|reply| Call::Enrol(request.clone(), reply)).unwrap().unwrap();
    let twice = world.calls(|reply| Call::Enrol(request.clone(), reply)).unwrap().unwrap();
    assert_eq!(signed, twice, "asking twice is asking once");
    assert_eq!(keyring().verify_enrolment(&signed, &key.id()).unwrap().enrolment().labels, answer.labels);
    // Somebody else with a token that isn't one; then garbage.
    let other = SecretKey::from_random(&[51; 32]);
    let guessed = ask(&other, Some(&EnrolToken::from_random([0; 16])));
    assert_eq!(world.calls(|reply| Call::Enrol(guessed, reply)).unwrap_err().kind, Kind::Denied);
    assert_eq!(world.calls(|reply| Call::Enrol(vec![1; 500], reply)).unwrap_err().kind, Kind::Untrusted);
    assert_eq!(
        world.calls(|reply| Call::Mint(ann(), answer, reply)).unwrap_err().kind,
        Kind::Refused,
        "the name is taken"
    );
    assert_eq!(
        world.written.borrow().iter().filter(|event| matches!(event, Event::Enrolled { .. })).count(),
        1
    );
}
