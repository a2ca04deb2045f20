//! The server's voice: what it says to devices, signed with the director key and on the right topic.
//!
//! It only *picks* among what the release keys allowed; each device checks that itself. Not here: what is said
//! (`core`, `orders`, `archive`), and when (`server`).

use std::fmt;

use backstay_link::{Outgoing, Qos, Token};
use backstay_model::{Channel, CohortId, DeviceId, Direction, FleetId, Millis, Steer, UnixMs};
use backstay_trust::{Audience, Enrolment, Keyring, OrderKind, SecretKey, SignError, Stamp, sign_order};
use backstay_wire::{
    DeviceOrder, EncodeError, Leaf, Qos as WireQos, Receipt, Retain, Topic, TrustFloor, encode,
};

use super::{lane::Lane, register::Member};

/// What the broker acknowledges is a hint only, so nobody asks which it was.
const TOKEN: Token = Token(0);

/// The director's key and what it is trusted with.
#[derive(Debug)]
pub(crate) struct Director {
    keyring: Keyring,
    key: SecretKey,
    steer_expires: Millis,
}

/// Something that can't be said, because no device would take it.
#[derive(Debug)]
pub(crate) enum Unsaid {
    /// It has no bytes.
    Encode(EncodeError),
    /// It can't be signed.
    Sign(SignError),
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::Sign(error) => error.fmt(f),
        }
    }
}

impl Director {
    /// The director of the keyring's fleet, if the keyring says that this key is.
    pub(crate) fn new(keyring: Keyring, key: SecretKey, steer_expires: Millis) -> Option<Self> {
        let director = Self { keyring, key, steer_expires };
        director.is_trusted().then_some(director)
    }

    /// Follows the fleet to another keyring.
    pub(crate) fn trust(&mut self, keyring: Keyring) {
        self.keyring = keyring;
    }

    /// Whether this key is still the director's. Who has followed to a keyring in which it isn't doesn't listen.
    pub(crate) fn is_trusted(&self) -> bool {
        self.keyring.parts().director.keys.contains(&self.key.public())
    }

    /// The fleet.
    pub(crate) fn fleet(&self) -> &FleetId {
        self.keyring.fleet()
    }

    /// What is trusted.
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Whose voice it is.
    pub(crate) fn key(&self) -> &SecretKey {
        &self.key
    }

    /// An order to a cohort that was signed before, by others as well.
    pub(crate) fn seconded(&self, cohort: &CohortId, signed: Vec<u8>) -> Outgoing {
        outgoing(&self.steering(&Lane::new(cohort, Channel::Product)), signed)
    }

    /// Says whom the fleet trusts.
    pub(crate) fn floor(&self, floor: &TrustFloor, at: UnixMs) -> Result<Outgoing, Unsaid> {
        let stamp = Stamp { sequence: floor.sequence, issued: at, expires: None };
        let payload = encode(floor).map_err(Unsaid::Encode)?;
        let fleet = self.fleet().clone();
        let topic = Topic::Trust { fleet: fleet.clone() };
        self.say(OrderKind::TrustFloor, Audience::Fleet(fleet), stamp, &payload, &topic)
    }

    /// Steers a lane. Forward expires, so that a mailbox that is held back moves nobody; home and hold don't.
    pub(crate) fn steer(&self, channel: Channel, steer: &Steer, at: UnixMs) -> Result<Outgoing, Unsaid> {
        let expires = match steer.direction {
            Direction::Forward => Some(UnixMs(at.0.saturating_add(self.steer_expires.0))),
            Direction::Hold | Direction::Home => None,
        };
        let stamp = Stamp { sequence: steer.generation.0, issued: at, expires };
        let payload = encode(steer).map_err(Unsaid::Encode)?;
        let audience = Audience::Cohort(self.fleet().clone(), steer.cohort.clone());
        let kind = match channel {
            Channel::Product => OrderKind::SteerProduct,
            Channel::Plugins => OrderKind::SteerPlugins,
        };
        self.say(kind, audience, stamp, &payload, &self.steering(&Lane::new(&steer.cohort, channel)))
    }

    /// Tells one device something.
    pub(crate) fn order(
        &self,
        device: &DeviceId,
        order: &DeviceOrder,
        at: UnixMs,
    ) -> Result<Outgoing, Unsaid> {
        let payload = encode(order).map_err(Unsaid::Encode)?;
        self.say_to(device, OrderKind::DeviceOrder, order.sequence, at, &payload, Leaf::Order)
    }

    /// Says how far the server has a device's journal.
    pub(crate) fn receipt(
        &self,
        device: &DeviceId,
        receipt: &Receipt,
        at: UnixMs,
    ) -> Result<Outgoing, Unsaid> {
        let payload = encode(receipt).map_err(Unsaid::Encode)?;
        self.say_to(device, OrderKind::Receipt, receipt.seq, at, &payload, Leaf::Receipt)
    }

    /// Says who a device is. Signed again it is the same statement, so that asking twice is asking once: there is
    /// no time in it.
    pub(crate) fn enrolment(&self, member: &Member) -> Result<Vec<u8>, Unsaid> {
        let stamp = Stamp { sequence: member.sequence, issued: UnixMs(0), expires: None };
        let enrolment = Enrolment {
            device: member.device.clone(),
            key: member.key_id(),
            cohort: member.cohort.clone(),
            labels: member.labels.clone(),
        };
        enrolment.sign(&self.key, self.fleet().clone(), stamp).map_err(Unsaid::Sign)
    }

    /// Where a lane is steered.
    fn steering(&self, lane: &Lane) -> Topic {
        let Lane { cohort, channel } = lane.clone();
        Topic::Steer { fleet: self.fleet().clone(), cohort, channel }
    }

    fn say_to(
        &self,
        device: &DeviceId,
        kind: OrderKind,
        sequence: u64,
        at: UnixMs,
        payload: &[u8],
        leaf: Leaf,
    ) -> Result<Outgoing, Unsaid> {
        let stamp = Stamp { sequence, issued: at, expires: None };
        let (fleet, device) = (self.fleet().clone(), device.clone());
        let audience = Audience::Device(fleet.clone(), device.clone());
        self.say(kind, audience, stamp, payload, &Topic::Device { fleet, device, leaf })
    }

    fn say(
        &self,
        kind: OrderKind,
        audience: Audience,
        stamp: Stamp,
        payload: &[u8],
        topic: &Topic,
    ) -> Result<Outgoing, Unsaid> {
        let signed = sign_order(&self.key, kind, audience, stamp, payload).map_err(Unsaid::Sign)?;
        Ok(outgoing(topic, signed))
    }
}

fn outgoing(topic: &Topic, signed: Vec<u8>) -> Outgoing {
    let kind = topic.kind();
    Outgoing {
        topic: topic.to_string(),
        payload: signed.into(),
        qos: match kind.qos() {
            WireQos::AtMostOnce => Qos::AtMostOnce,
            WireQos::AtLeastOnce => Qos::AtLeastOnce,
        },
        retain: kind.retain() == Retain::Keep,
        token: TOKEN,
    }
}
