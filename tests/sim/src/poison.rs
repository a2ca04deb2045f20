//! Messages that nobody we trust had signed: the real bytes of a steering message, really signed, and then changed, cut,
//! handed to another cohort, or signed with another key. What the real reader makes of them is what the device hears.

use backstay_core::Rng;
use backstay_model::{CohortId, DeviceId, FleetId, Refused, Steer, UnixMs};
use backstay_trust::{
    Audience, Keyring, KeyringParts, Listener, OrderKind, Role, SecretKey, Stamp, sign_order,
};

fn key(of: u8) -> SecretKey {
    SecretKey::from_random(&[of; 32])
}

fn fleet() -> FleetId {
    FleetId::parse("pumps").unwrap()
}

fn keyring() -> Keyring {
    let role = |of| Role::of(key(of).public());
    Keyring::new(KeyringParts::first(fleet(), role(1), role(2), role(3))).unwrap()
}

/// The message as the server would send it.
fn sealed(steer: &Steer, key: &SecretKey, cohort: &CohortId) -> Vec<u8> {
    let payload = backstay_wire::encode(steer).unwrap();
    let stamp = Stamp { sequence: steer.generation.0, issued: UnixMs(1), expires: None };
    let audience = Audience::Cohort(fleet(), cohort.clone());
    sign_order(key, OrderKind::SteerProduct, audience, stamp, &payload).unwrap()
}

/// What a device makes of these bytes.
fn read(bytes: &[u8], steer: &Steer, device: &DeviceId) -> Result<Box<Steer>, Refused> {
    let refuse = |why: String| Refused { what: format!("steering of {}", steer.cohort), why, count: 1 };
    let listener = Listener { cohort: Some(&steer.cohort), device: Some(device) };
    let order = keyring()
        .verify_order(bytes, OrderKind::SteerProduct, listener, None)
        .map_err(|why| refuse(why.to_string()))?;
    let limit = order.payload().len();
    backstay_wire::decode(order.payload(), limit).map(Box::new).map_err(|why| refuse(why.to_string()))
}

/// What becomes of a message like `steer` that was tampered with.
pub(crate) fn refused(steer: &Steer, device: &DeviceId, rng: &mut Rng) -> Result<Box<Steer>, Refused> {
    let mut bytes = match rng.below(6) {
        0 => sealed(steer, &key(9), &steer.cohort),
        1 => sealed(steer, &key(3), &CohortId::parse("elsewhere").unwrap()),
        _ => sealed(steer, &key(3), &steer.cohort),
    };
    let honest = bytes == sealed(steer, &key(3), &steer.cohort);
    let at = rng.below(bytes.len() as u64) as usize;
    match rng.below(3) {
        _ if !honest => {}
        0 => bytes.truncate(at),
        1 => bytes.extend_from_within(at..),
        _ => bytes[at] ^= 1 << rng.below(8),
    }
    read(&bytes, steer, device)
}

#[cfg(test)]
mod tests {
    use backstay_model::{
        Digest, Direction, Generation, Millis, Reach, Release, RolloutId, Selector, Version,
    };

    use super::*;

    fn steer() -> Steer {
        Steer {
            rollout: RolloutId::parse("r-1").unwrap(),
            generation: Generation(7),
            cohort: CohortId::parse("cohort-0").unwrap(),
            selector: Selector::All,
            release: Release {
                version: Version::parse("1.1.0").unwrap(),
                digest: Digest([1; 32]),
                length: 9,
                security_epoch: 1,
            },
            back: None,
            reach: Reach::ALL,
            direction: Direction::Forward,
            frozen: false,
            policies: Vec::new(),
            reconnect_window: Millis(0),
        }
    }

    #[test]
    fn what_nobody_touched_is_read_and_nothing_else() {
        let (steer, device) = (steer(), DeviceId::parse("pump-1").unwrap());
        let bytes = sealed(&steer, &key(3), &steer.cohort);
        assert_eq!(read(&bytes, &steer, &device).as_deref(), Ok(&steer));
        let mut rng = Rng::new(1);
        for _ in 0..300 {
            assert!(refused(&steer, &device, &mut rng).is_err());
        }
    }
}
