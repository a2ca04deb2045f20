//! Whom the fleet trusts: what is published, announced, handed out, and signed by operators, too.

use backstay_api::{Call, Kind, Operation, TrustView};
use backstay_model::{Channel, Digest, Direction, Event, Standing, UnixMs};
use backstay_trust::{
    Audience, Keyring, KeyringParts, Listener, OrderKind, Revocation, Role, SecretKey, Stamp, Statement,
    sign_order,
};
use backstay_wire::{TrustFloor, decode, encode};

use super::fleet_of_three;
use crate::serve::world::{NEW, World, ann, cohort, digest, fleet, key, keyring};

const PLACE: &str = "backstay/1/pumps/trust";

/// What the broker has, read as a device that trusts `by` reads it.
fn announced(world: &World, by: &Keyring) -> TrustFloor {
    let listener = Listener { cohort: None, device: None };
    let order = by.verify_order(&world.broker[PLACE], OrderKind::TrustFloor, listener, None).unwrap();
    let floor: TrustFloor = decode(order.payload(), usize::MAX).unwrap();
    assert_eq!(floor.sequence, order.stamp().sequence);
    floor
}

/// The keyring after `last` with another director, and the link to it.
pub(super) fn next(last: &Keyring, director: u8) -> (Keyring, Vec<u8>) {
    let parts = last.parts().clone();
    let (number, before) = (parts.number + 1, Some(*last.digest()));
    let director = Role { keys: vec![key(3).public(), key(director).public()], ..parts.director.clone() };
    let next = Keyring::new(KeyringParts { number, before, director, ..parts }).unwrap();
    (next.clone(), signed(&next))
}

fn signed(keyring: &Keyring) -> Vec<u8> {
    let mut link = keyring.link(UnixMs(1), None).unwrap();
    link.sign(&key(4)).unwrap();
    link.encode().unwrap()
}

fn revocation(of: Revocation, by: &SecretKey, sequence: u64) -> Vec<u8> {
    of.sign(by, fleet(), Stamp { sequence, issued: UnixMs(1), expires: None }).unwrap()
}

fn publishes(world: &mut World, statement: &[u8]) -> Result<TrustView, Kind> {
    world.calls(|reply| Call::Heed(ann(), statement.to_vec(), reply)).map_err(|error| {
        assert!(error.help.is_some(), "{error:?}");
        error.kind
    })
}

fn hands_out(world: &mut World, digest: Digest) -> Result<Vec<u8>, Kind> {
    world.calls(|reply| Call::Statement(digest, reply)).map_err(|error| error.kind)
}

/// What devices are told is announced from the first day on, and what it names can be fetched, also after a restart.
#[test]
fn what_is_published_is_announced_and_handed_out() {
    let mut world = World::new();
    let image = keyring();
    let first = announced(&world, &image);
    assert_eq!((first.keyring, first.revocation), (*image.digest(), None));
    assert_eq!(hands_out(&mut world, *image.digest()), Err(Kind::NotFound), "it is in the image");

    let (two, to_two) = next(&image, 6);
    let view = publishes(&mut world, &to_two).unwrap();
    assert_eq!((view.number, view.keyring, view.director), (2, *two.digest(), true));
    let floor = announced(&world, &two);
    assert_eq!(floor.keyring, *two.digest());
    assert!(floor.sequence > first.sequence);
    assert_eq!(hands_out(&mut world, *two.digest()).unwrap(), to_two);

    let lost = Revocation { keys: vec![key(2).id()], ..Revocation::default() };
    let bytes = revocation(lost, &key(5), 1);
    let view = publishes(&mut world, &bytes).unwrap();
    let heeded = view.revocation.unwrap();
    assert_eq!(heeded.sequence, 1);
    let after = announced(&world, &two);
    assert!(after.sequence > floor.sequence && after.revocation == Some(heeded.digest));
    assert_eq!(hands_out(&mut world, heeded.digest).unwrap(), bytes);

    world.kills();
    world.broker.clear();
    world.starts();
    world.connects();
    assert_eq!(announced(&world, &two), after, "it says the same");
    assert_eq!(hands_out(&mut world, *two.digest()).unwrap(), to_two);
    let written = world.written.borrow();
    let trusts = |event: &&Event| matches!(event, Event::Trusts { .. });
    assert_eq!(written.iter().filter(trusts).count(), 2);
}

/// Published twice, out of order, by the wrong key, for nobody: each has its answer, and nothing changes.
#[test]
fn what_does_not_hold_is_not_published() {
    let mut world = World::new();
    let image = keyring();
    let (two, to_two) = next(&image, 6);
    let (_, to_three) = next(&two, 6);
    let mut forged = two.link(UnixMs(1), None).unwrap();
    forged.sign(&key(3)).unwrap();
    let forged = forged.encode().unwrap();
    let lost = || Revocation { keys: vec![key(2).id()], ..Revocation::default() };
    let before = announced(&world, &image);
    for (statement, kind) in [
        (to_three, Kind::Untrusted),
        (forged, Kind::Untrusted),
        (revocation(lost(), &key(3), 1), Kind::Untrusted),
        (revocation(lost(), &key(5), 1 << 32), Kind::Usage),
        (b"nothing".to_vec(), Kind::Untrusted),
        (world.broker[PLACE].clone(), Kind::Usage),
    ] {
        assert_eq!(publishes(&mut world, &statement), Err(kind));
        assert_eq!(announced(&world, &image), before);
    }
    publishes(&mut world, &to_two).unwrap();
    let published = world.published.len();
    publishes(&mut world, &to_two).unwrap();
    assert_eq!(world.published.len(), published, "twice is once");
}

/// A release key was stolen: what it signed is not begun with any more.
#[test]
fn a_revocation_reaches_the_releases_that_are_here() {
    let mut world = fleet_of_three();
    let low = Revocation { security_floor: 1, ..Revocation::default() };
    publishes(&mut world, &revocation(low, &key(5), 1)).unwrap();
    assert_eq!(world.pushes("canary", NEW).unwrap_err().kind, Kind::NotFound);
    assert_eq!(world.calls(Call::Releases).unwrap(), []);
}

/// The server's disk was lost. What it would announce is older than what the fleet has heard, so it says nothing and
/// asks for the statements; once it has them it goes on.
#[test]
fn an_older_announcement_does_not_cover_a_newer_one() {
    let mut world = World::new();
    let (two, to_two) = next(&keyring(), 6);
    publishes(&mut world, &to_two).unwrap();
    let before = world.broker[PLACE].clone();
    world.kills();
    std::fs::remove_dir_all(world.state().join("trust")).unwrap();
    world.starts();
    world.connects();
    world.waits_secs(3600);
    assert_eq!(world.broker[PLACE], before, "it was not covered");
    let told =
        world.written.borrow().iter().filter(|event| event.to_string().contains("keys publish")).count();
    assert_eq!(told, 1, "said once");
    publishes(&mut world, &to_two).unwrap();
    assert_ne!(world.broker[PLACE], before, "signed afresh");
    assert_eq!(announced(&world, &two).keyring, *two.digest());
}

/// Another of the director's keys is in other hands, and announces what comes after everything: this server is not silenced.
#[test]
fn an_announcement_with_another_key_silences_nobody() {
    let mut world = World::new();
    let (two, to_two) = next(&keyring(), 6);
    publishes(&mut world, &to_two).unwrap();
    let floor = announced(&world, &two);
    let last = TrustFloor { sequence: u64::MAX, keyring: Digest([9; 32]), ..floor };
    let stamp = Stamp { sequence: last.sequence, issued: UnixMs(u64::MAX), expires: None };
    let audience = Audience::Fleet(fleet());
    let payload = encode(&last).unwrap();
    let thiefs = sign_order(&key(6), OrderKind::TrustFloor, audience, stamp, &payload).unwrap();
    world.broker.insert(PLACE.into(), thiefs.clone());
    world.brings(PLACE, thiefs);
    world.waits_secs(120);
    assert_eq!(announced(&world, &two), floor);
}

/// Somebody puts an old announcement back, or erases it.
#[test]
fn what_is_put_over_the_announcement_is_covered_again() {
    let mut world = World::new();
    let old = world.broker[PLACE].clone();
    let (two, to_two) = next(&keyring(), 6);
    publishes(&mut world, &to_two).unwrap();
    let floor = announced(&world, &two);
    for payload in [old, Vec::new(), vec![7; 100]] {
        world.broker.insert(PLACE.into(), payload.clone());
        world.brings(PLACE, payload);
        world.waits_secs(120);
        assert_eq!(announced(&world, &two), floor);
    }
}

/// What has long been good is left backwards only with the operators' word: they sign what the server says, and that is
/// what devices get, for as long as the server says it.
#[test]
fn an_order_that_operators_have_signed_is_the_one_that_is_said() {
    let mut world = fleet_of_three();
    let asks = |world: &mut World| world.calls(|reply| Call::Order(cohort("canary"), reply));
    assert_eq!(asks(&mut world).unwrap_err().kind, Kind::Refused, "nobody is sent home");
    world.pushes("canary", NEW).unwrap();
    world.reports("pump-1", NEW, NEW, Standing::Settled);
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Rollback, reply))
        .unwrap();
    assert!(!world.order("canary").unwrap().is_seconded());
    let alone = asks(&mut world).unwrap();
    assert_eq!(publishes(&mut world, &alone), Err(Kind::Refused), "operators have not signed");
    let with = |signer: &SecretKey, order: &[u8]| {
        let mut statement = Statement::read(order).unwrap();
        statement.sign(signer).unwrap();
        statement.encode().unwrap()
    };
    assert_eq!(publishes(&mut world, &with(&key(2), &alone)), Err(Kind::Refused), "a release key is none");
    let view = publishes(&mut world, &with(&key(1), &alone)).unwrap();
    assert_eq!(view.seconded, [cohort("canary")]);
    let order = world.order("canary").unwrap();
    assert!(order.is_seconded());
    assert_eq!(world.steer("canary").unwrap().direction, Direction::Home);

    // Signed afresh it would lose their word, so it is said as it is, also after a restart.
    world.waits_secs(3600);
    world.kills();
    world.broker.clear();
    world.starts();
    world.connects();
    assert_eq!(world.order("canary").unwrap(), order);

    // The server says something else: their word was for what it said then.
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Product, Operation::Thaw, reply))
        .unwrap();
    assert!(!world.order("canary").unwrap().is_seconded());
    assert_eq!(publishes(&mut world, &with(&key(1), &alone)).unwrap_err(), Kind::Refused);
    world.publishes("3.0.0");
    world.pushes("canary", "3.0.0").unwrap();
    assert_eq!(world.steer("canary").unwrap().release.digest, digest("3.0.0"));
}
