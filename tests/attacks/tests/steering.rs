//! Steering messages that a broker in the wrong hands could hand out: each is refused with its reason, which is written
//! down, and the device stands where it stood.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use backstay_model::{CohortId, Direction, Event, Generation, Steer, UnixMs};
use backstay_test_attacks::{Keys, Stands, Target, cohort, fleet, signed, steer};
use backstay_trust::{Audience, OrderKind, SecretKey, Stamp, sign_order};
use backstay_wire::encode;

/// A device that goes by generation 5.
fn steered() -> (Keys, Target) {
    let (keys, mut device) = (Keys::new(), Target::new());
    device.hears(&signed(&keys, &Steer { direction: Direction::Hold, ..steer(5, "1.5.0") }, None));
    assert!(matches!(device.events.as_slice(), [Event::Steered { .. }]));
    device.events.clear();
    (keys, device)
}

/// Hears `message`, stands where it stood, does nothing, and says why.
fn refuses(device: &mut Target, message: &[u8]) -> String {
    let before: Stands = device.stands();
    assert_eq!(device.hears(message), []);
    assert_eq!(device.stands(), before);
    let [Event::Refused(refused)] = device.events.as_slice() else { panic!("{:?}", device.events) };
    let why = refused.why.clone();
    device.events.clear();
    why
}

fn sign_as(keys: &SecretKey, kind: OrderKind, audience: Audience, steer: &Steer) -> Vec<u8> {
    let stamp = Stamp { sequence: steer.generation.0, issued: UnixMs(1_000), expires: None };
    sign_order(keys, kind, audience, stamp, &encode(steer).unwrap()).unwrap()
}

/// The key is stolen, and the thief has used up all generations. Once a keyring has another director, what that one says is heard
/// whatever its number; nothing that the stolen key signed comes again, nor what the new one said before.
#[test]
fn who_has_counted_to_the_end_is_out_with_the_key() {
    let (keys, mut device) = steered();
    let honest = SecretKey::from_random(&[8; 32]);
    let says = |generation, direction| {
        let steer = Steer { direction, ..steer(generation, "1.5.0") };
        sign_as(&honest, OrderKind::SteerProduct, Audience::Cohort(fleet(), cohort()), &steer)
    };
    let thiefs = signed(&keys, &Steer { direction: Direction::Hold, ..steer(u64::MAX, "1.5.0") }, None);
    device.hears(&thiefs);
    assert_eq!(device.stands().watermarks.generation, Generation(u64::MAX));
    device.follows(keys.expiring(UnixMs(u64::MAX)));
    assert_eq!(device.stands().watermarks.generation, Generation(u64::MAX), "the key is still there");
    device.events.clear();

    device.follows(keys.with_director(&honest));
    assert_eq!((device.stands().watermarks.generation, device.stands().steering), (Generation(0), None));
    let [Event::Refused(refused)] = device.events.as_slice() else { panic!("{:?}", device.events) };
    assert!(refused.why.contains(&u64::MAX.to_string()), "{}", refused.why);
    device.events.clear();
    device.hears(&says(6, Direction::Hold));
    device.hears(&says(7, Direction::Hold));
    assert_eq!(device.stands().watermarks.generation, Generation(7));
    device.events.clear();
    assert!(refuses(&mut device, &thiefs).ends_with("which is not trusted with it here"));
    assert!(refuses(&mut device, &says(7, Direction::Home)).starts_with("another message already came"));
    device.hears(&says(6, Direction::Hold));
    assert_eq!(device.stands().watermarks.generation, Generation(7));
}

/// The thief has signed for a time at the end of all times, and all that expires had expired.
#[test]
fn the_time_that_a_thief_has_signed_for_is_out_with_the_key() {
    let (keys, mut device) = steered();
    let honest = SecretKey::from_random(&[8; 32]);
    let audience = || Audience::Cohort(fleet(), cohort());
    let at = |key: &SecretKey, generation, direction, issued, expires| {
        let stamp = Stamp { sequence: generation, issued: UnixMs(issued), expires };
        let steer = Steer { direction, ..steer(generation, "1.5.0") };
        sign_order(key, OrderKind::SteerProduct, audience(), stamp, &encode(&steer).unwrap()).unwrap()
    };
    device.hears(&at(&keys.director, 6, Direction::Hold, u64::MAX, None));
    let starts = |done: &[backstay_core::Effect]| {
        done.iter().any(|effect| matches!(effect, backstay_core::Effect::Vet { .. }))
    };
    let forward = |key, generation| at(key, generation, Direction::Forward, 2_000, Some(UnixMs(5_000)));
    assert!(!starts(&device.hears(&forward(&keys.director, 7))), "nothing is in time any more");
    device.follows(keys.with_director(&honest));
    assert!(starts(&device.hears(&forward(&honest, 8))));
}

/// Recorded once, in good faith, and handed out again later.
#[test]
fn a_replayed_message_is_of_the_past() {
    let (keys, mut device) = steered();
    let why = refuses(&mut device, &signed(&keys, &steer(4, "1.5.0"), None));
    assert_eq!(why, "generation 4 is older than 5");
}

/// The same message again is no attack: a broker delivers it with every connection. It changes nothing either.
#[test]
fn the_same_message_again_changes_nothing_and_is_not_complained_about() {
    let (keys, mut device) = steered();
    let before = device.stands();
    let same = signed(&keys, &Steer { direction: Direction::Hold, ..steer(5, "1.5.0") }, None);
    assert_eq!(device.hears(&same), []);
    assert_eq!((device.stands(), device.events.len()), (before, 0));
}

#[test]
fn two_messages_of_one_generation_are_an_alarm() {
    let (keys, mut device) = steered();
    let why = refuses(&mut device, &signed(&keys, &steer(5, "6.6.6"), None));
    assert_eq!(why, "another message already came as generation 5");
}

/// Kept back until its time was over. What it says is noted, and nothing is begun because of it: neither vetted nor run.
#[test]
fn an_expired_message_starts_nothing() {
    let (keys, mut device) = steered();
    device.attests(UnixMs(5_000));
    let before = device.stands();
    let done = device.hears(&signed(&keys, &steer(6, "1.5.0"), Some(UnixMs(5_000))));
    assert!(done.iter().all(|effect| matches!(effect, backstay_core::Effect::Report(_))), "{done:?}");
    assert!(matches!(device.events.as_slice(), [Event::Steered { generation: Generation(6), .. }]));
    let now = device.stands();
    assert_eq!((&now.runs, now.standing, &now.order), (&before.runs, before.standing, &before.order));
    // A millisecond before, it would have.
    let (keys, mut device) = steered();
    device.attests(UnixMs(4_999));
    let done = device.hears(&signed(&keys, &steer(6, "1.5.0"), Some(UnixMs(5_000))));
    assert!(done.iter().any(|effect| matches!(effect, backstay_core::Effect::Vet { .. })), "{done:?}");
}

#[test]
fn a_message_for_another_cohort_is_not_listened_to() {
    let (keys, mut device) = steered();
    let other = CohortId::parse("field").unwrap();
    let why =
        refuses(&mut device, &signed(&keys, &Steer { cohort: other.clone(), ..steer(6, "1.5.0") }, None));
    assert_eq!(why, "product steering is for cohort field of fleet pumps");
    // Addressed to this cohort, it speaks of another.
    let crossed = Steer { cohort: other, ..steer(6, "1.5.0") };
    let audience = Audience::Cohort(fleet(), cohort());
    let why = refuses(&mut device, &sign_as(&keys.director, OrderKind::SteerProduct, audience, &crossed));
    assert_eq!(why, "this device belongs to canary");
}

#[test]
fn a_message_of_another_fleet_is_not_listened_to() {
    let (keys, mut device) = steered();
    let audience = Audience::Cohort(backstay_model::FleetId::parse("valves").unwrap(), cohort());
    let why =
        refuses(&mut device, &sign_as(&keys.director, OrderKind::SteerProduct, audience, &steer(6, "1.5.0")));
    assert_eq!(why, "product steering is for cohort canary of fleet valves, this is fleet pumps");
}

/// A key that somebody made, and keys that are trusted with other things.
#[test]
fn only_the_director_steers() {
    let keys = Keys::new();
    let stranger = SecretKey::from_random(&[66; 32]);
    for key in [&stranger, &keys.operator, &keys.vendor] {
        // A device of its own each: of refusals of a kind only the first, second, fourth... are written down.
        let (_, mut device) = steered();
        let audience = Audience::Cohort(fleet(), cohort());
        let why = refuses(&mut device, &sign_as(key, OrderKind::SteerProduct, audience, &steer(6, "1.5.0")));
        let key = key.public().id();
        assert_eq!(
            why,
            format!("product steering is signed with key {key}, which is not trusted with it here")
        );
    }
}

/// Signed by the director, but as something else.
#[test]
fn a_statement_of_another_kind_does_not_steer() {
    let (keys, mut device) = steered();
    let audience = Audience::Cohort(fleet(), cohort());
    let why =
        refuses(&mut device, &sign_as(&keys.director, OrderKind::SteerPlugins, audience, &steer(6, "1.5.0")));
    assert_eq!(why, "a product steering was expected, this is a plugin steering");
}

#[test]
fn a_generation_other_than_that_of_the_envelope_is_refused() {
    let (keys, mut device) = steered();
    let stamp = Stamp { sequence: 9, issued: UnixMs(1_000), expires: None };
    let (audience, payload) = (Audience::Cohort(fleet(), cohort()), encode(&steer(6, "1.5.0")).unwrap());
    let message = sign_order(&keys.director, OrderKind::SteerProduct, audience, stamp, &payload).unwrap();
    assert_eq!(refuses(&mut device, &message), "its generation is another than that of its envelope");
}

/// Well signed, and no steering inside: nothing, garbage, or another thing.
#[test]
fn what_is_signed_and_makes_no_sense_is_refused() {
    let says = |payload: &[u8]| {
        let (keys, mut device) = steered();
        let stamp = Stamp { sequence: 6, issued: UnixMs(1_000), expires: None };
        let audience = Audience::Cohort(fleet(), cohort());
        let message = sign_order(&keys.director, OrderKind::SteerProduct, audience, stamp, payload).unwrap();
        refuses(&mut device, &message)
    };
    assert_eq!(says(b""), "item ends after 0 of 10 bytes");
    let garbage = [0xa5; 64];
    assert_eq!(says(&garbage), "2779096495 bytes are more than the 4096 that are allowed");
    let beat = backstay_model::Beat { nonce: 1, count: 1, health: backstay_model::Health::Good };
    assert_eq!(says(&encode(&beat).unwrap()), "a steering message was expected, this is a beat");
}

#[test]
fn an_empty_message_is_refused() {
    let (_, mut device) = steered();
    assert_eq!(refuses(&mut device, b""), "it is empty");
}

/// A megabyte is refused by its length: nothing of it is looked at, copied or hashed.
#[test]
fn a_megabyte_is_refused_unread() {
    let (keys, mut device) = steered();
    let mut message = signed(&keys, &steer(6, "1.5.0"), None);
    message.resize(1 << 20, 0);
    assert_eq!(refuses(&mut device, &message), "1048576 bytes are more than the 5120 that it may have");
}

#[test]
fn garbage_is_refused() {
    let (_, mut device) = steered();
    assert_eq!(refuses(&mut device, b"hello"), "product steering ends before its end");
    assert_eq!(refuses(&mut device, &[0xa5; 100]), "product steering can't be read: its format is malformed");
}

/// A flood of refused messages is counted, and written down ever more seldom.
#[test]
fn a_flood_of_garbage_fills_no_journal() {
    let (_, mut device) = steered();
    let before = device.stands();
    for _ in 0..10_000 {
        assert_eq!(device.hears(b"hello"), []);
    }
    assert_eq!(device.stands(), before);
    assert_eq!(device.events.len(), 14, "1, 2, 4, up to 8192");
}
