//! A device's ears: bytes from a broker in, what they mean to the core out, as the agent's uplink has it.
//!
//! Size, signature, content, in this order, and what fails at one says so. Here: steering of the product and words for one
//! device, by the keyring that is trusted by now; and where a device stands, for whoever has to see that nothing moved it. Not
//! here: what a message leads to (the core), and what is done to messages (who has the broker).

use backstay_core::{Device, Freshness, Heights, Input, Second, Steered, Watermarks};
use backstay_model::{Channel, CohortId, DeviceId, Order, Refused, Release, Standing, Steer, UnixMs, causes};
use backstay_trust::{Keyring, Listener, OrderKind, VerifiedOrder};
use backstay_wire::{Body, DeviceOrder, Topic, TopicKind, decode};

/// What stands between a device and the broker.
#[derive(Debug)]
pub struct Ears {
    keyring: Keyring,
    cohort: CohortId,
    device: DeviceId,
    /// The latest times that were signed for, by the keys that did.
    attested: Heights,
}

impl Ears {
    /// Of a device that trusts `keyring`.
    #[must_use]
    pub fn new(keyring: Keyring, cohort: CohortId, device: DeviceId) -> Self {
        Self { keyring, cohort, device, attested: Heights::default() }
    }

    /// Each key that may steer has signed for this time.
    pub fn attest(&mut self, now: UnixMs) {
        for key in self.keyring.directors() {
            self.attested.note(key, now.0);
        }
    }

    /// Another keyring is trusted. What has to be told to the core.
    pub fn trust(&mut self, keyring: Keyring) -> Input {
        let directors = keyring.directors();
        self.attested.trust(0, &directors);
        self.keyring = keyring;
        Input::Trusts { directors }
    }

    /// What is to be told to the core of a message.
    pub fn hear(&mut self, topic: &str, payload: &[u8]) -> Input {
        let refused = |why| Input::Refused(Refused { what: topic.into(), why, count: 1 });
        self.understand(topic, payload).unwrap_or_else(refused)
    }

    fn understand(&mut self, topic: &str, payload: &[u8]) -> Result<Input, String> {
        let topic = Topic::parse(topic).map_err(|error| causes::in_one_line(&error))?;
        if payload.is_empty() {
            return Err("it is empty".into());
        }
        if payload.len() > topic.bytes_max() {
            let (has, max) = (payload.len(), topic.bytes_max());
            return Err(format!("{has} bytes are more than the {max} that it may have"));
        }
        match (&topic, topic.kind()) {
            (Topic::Steer { channel: Channel::Product, .. }, _) => {
                let order = self.verify(payload, OrderKind::SteerProduct)?;
                let steer: Steer = read(&order)?;
                if steer.generation.0 != order.stamp().sequence {
                    return Err("its generation is another than that of its envelope".into());
                }
                let freshness = match order.freshness() {
                    backstay_trust::Freshness::Fresh => Freshness::Fresh,
                    backstay_trust::Freshness::Expired { .. } => Freshness::Expired,
                };
                let second = if order.is_seconded() { Second::Given } else { Second::Missing };
                let (digest, by) = (*order.content(), order.key().0);
                Ok(Input::Steered(Steered { steer, digest, freshness, second, by }))
            }
            (_, TopicKind::Order) => {
                let order = self.verify(payload, OrderKind::DeviceOrder)?;
                let DeviceOrder { sequence, words } = read(&order)?;
                if sequence != order.stamp().sequence {
                    return Err("its sequence is another than that of its envelope".into());
                }
                Ok(Input::Told { sequence, words, by: order.key().0 })
            }
            _ => Err("nobody here listens to that".into()),
        }
    }

    fn verify(&mut self, payload: &[u8], kind: OrderKind) -> Result<VerifiedOrder, String> {
        let listener = Listener { cohort: Some(&self.cohort), device: Some(&self.device) };
        let latest = Some(UnixMs(self.attested.highest())).filter(|latest| latest.0 > 0);
        let order = self.keyring.verify_order(payload, kind, listener, latest);
        let order = order.map_err(|error| causes::in_one_line(&error))?;
        self.attested.note(order.key().0, order.stamp().issued.0);
        Ok(order)
    }
}

fn read<T: Body>(order: &VerifiedOrder) -> Result<T, String> {
    decode(order.payload(), usize::MAX).map_err(|error| causes::in_one_line(&error))
}

/// Where a device stands: all but how many messages it did not believe.
#[derive(Clone, Debug, PartialEq)]
pub struct Stands {
    /// What runs.
    pub runs: Release,
    /// What a restart brings back.
    pub confirmed: Release,
    /// What it says of itself.
    pub standing: Standing,
    /// What it goes by.
    pub steering: Option<Steer>,
    /// What only ever grows.
    pub watermarks: Watermarks,
    /// The run that is open.
    pub order: Option<Order>,
}

impl Stands {
    /// By now.
    #[must_use]
    pub fn of(device: &Device) -> Self {
        Self {
            runs: device.running().clone(),
            confirmed: device.confirmed().clone(),
            standing: device.standing(),
            steering: device.steering().cloned(),
            watermarks: device.watermarks(),
            order: device.order().cloned(),
        }
    }
}
