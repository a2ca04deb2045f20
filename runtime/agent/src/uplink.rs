//! The device's side of the mailbox: what it listens to, what it believes, and what it says.
//!
//! Here: bytes from the broker become inputs for the core, or a refusal with its reason; reports, presence,
//! beats and journal records become signed messages. Not here: what steering leads to (`core`), the
//! connection itself (`link`), and what has a receipt (`memory`).

use std::{collections::BTreeMap, error::Error};

use backstay_config::Broker;
use backstay_core::{Freshness, Heights, Input, Second, Steered};
use backstay_link::{
    Filter, Happening, Incoming, Link, Message, Outgoing, Qos, Settings, Token, Trouble, Will,
};
use backstay_model::{Beat, Channel, Health, Millis, Mono, PluginReport, Refused, Report, UnixMs, causes};
use backstay_trust::{
    DeviceKind, Enrolment, Keyring, Listener, OrderKind, SecretKey, Stamp, VerifiedOrder, Watermark,
    sign_word,
};
use backstay_wire::{
    Body, DeviceOrder, Leaf, LogBatch, Presence, Receipt, Retain, Sender, Topic, TopicFilter, TopicKind,
    TrustFloor, decode, encode,
};

/// Tokens of what the broker acknowledges. They are hints, so one for each kind is enough.
const TOKEN: Token = Token(0);

/// The largest packet that a device reads or writes: the largest message of each side, and its topic.
const PACKET_BYTES_MAX: usize = 256 * 1024;

/// The connection of an enrolled device.
#[derive(Debug)]
pub struct Uplink {
    handle: backstay_link::Handle,
    incoming: Incoming,
    voice: Voice,
    /// Until when the records that were sent are waited for, before they are sent again.
    log_due: Option<Mono>,
    beats: u64,
    connected: bool,
    /// The latest times that the server has signed for.
    attested: Heights,
    /// The last of what the broker keeps, as it came, of each kind: what another keyring makes of it is another matter.
    newest: BTreeMap<(TopicKind, Option<Channel>), Message>,
    /// When the first session began, on the device's clock.
    began: Mono,
}

/// What it takes to speak for a device.
#[derive(Debug)]
struct Voice {
    key: SecretKey,
    keyring: Keyring,
    enrolment: Enrolment,
    nonce: u64,
}

/// What came of something that happened on the link.
#[derive(Debug)]
pub enum Came {
    /// For the core.
    Input(Box<Input>),
    /// For the core of plugins' upgrades.
    Plugins(Box<Steered>),
    /// The server has records; ask memory.
    Receipt(Receipt),
    /// What the fleet trusts from now on.
    Trust(Box<Floor>),
    /// A new connection: say everything again.
    Connected,
    /// Nothing for anybody.
    Nothing,
}

/// A verified word on what the fleet trusts.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// What it names.
    pub floor: TrustFloor,
    /// To compare with the last one.
    pub mark: Watermark,
    /// When it was signed.
    pub issued: UnixMs,
}

/// How long records may be without a receipt before they are sent again.
const RECEIPT_PATIENCE: Millis = Millis::from_secs(20);

impl Uplink {
    /// Starts connecting. `seed` is for the spreading of tries, `nonce` for the session.
    ///
    /// # Errors
    /// If the configuration of the broker is one that no link can work with.
    pub fn start(
        broker: &Broker,
        key: SecretKey,
        keyring: Keyring,
        enrolment: Enrolment,
        now: Mono,
        attested: Heights,
        (seed, nonce): (u64, u64),
    ) -> Result<Self, Box<dyn Error>> {
        let voice = Voice { key, keyring, enrolment, nonce };
        let (fleet, device) = (voice.keyring.fleet().clone(), voice.enrolment.device.clone());
        let mut settings = Settings::of(broker, client_id(&voice), seed)?;
        settings.incoming_bytes_max = PACKET_BYTES_MAX;
        settings.outgoing_bytes_max = PACKET_BYTES_MAX;
        let filters = TopicFilter::for_device(&fleet, &device, &voice.enrolment.cohort);
        settings.filters = filters
            .into_iter()
            .map(|filter| Filter { topics: filter.as_str().into(), qos: Qos::AtLeastOnce })
            .collect();
        settings.will = Some(voice.will(now)?);
        let (handle, incoming) = Link::start(settings)?;
        Ok(Self {
            handle,
            incoming,
            voice,
            log_due: None,
            beats: 0,
            connected: false,
            attested,
            newest: BTreeMap::new(),
            began: now,
        })
    }

    /// The next thing that happens on the link. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Happening> {
        self.incoming.next().await
    }

    /// What a happening means.
    pub fn take(&mut self, happening: Happening) -> Came {
        match happening {
            Happening::Connected => {
                self.connected = true;
                self.log_due = None;
                Came::Connected
            }
            Happening::Lost { why, again } => {
                self.connected = false;
                self.begin_session();
                tracing::info!(why = causes::in_one_line(&why), help = why.help(), %again, "lost the broker");
                oversized(&why)
            }
            Happening::Unreachable { why, again } => {
                tracing::debug!(why = causes::in_one_line(&why), help = why.help(), %again, "cannot reach the broker");
                oversized(&why)
            }
            Happening::Message(message) => self.hear(message),
            Happening::Acked { .. } => Came::Nothing,
            Happening::Declined { topics } => refused(&topics, "the broker does not let this device listen"),
            Happening::Poisoned { topics, .. } => {
                // A name of its own: repeats are counted by it, and what else is refused of the topic says nothing of this.
                refused(&format!("what is kept under {topics}"), "it is too large to be read")
            }
            Happening::Cured { topics } => {
                tracing::info!(topics, "listens again");
                Came::Nothing
            }
        }
    }

    /// The next connection is another session: the will of this one, however late, says nothing of that.
    fn begin_session(&mut self) {
        self.voice.nonce = self.voice.nonce.wrapping_add(1);
        self.beats = 0;
        match self.voice.will(self.began) {
            Ok(will) => {
                if let Err(error) = self.handle.make_will(will) {
                    tracing::error!(%error, "the broker keeps the will of the session before");
                }
            }
            Err(why) => tracing::error!(why, "the broker keeps the will of the session before"),
        }
    }

    /// Says where the device stands.
    pub fn report(&self, report: &Report) {
        let sequence = report.sequence;
        self.say(Leaf::State, DeviceKind::State, sequence, encode(report), Keep::Retained);
    }

    /// Says which plugins the device has.
    pub fn report_plugins(&self, report: &PluginReport) {
        let sequence = report.sequence;
        self.say(Leaf::Plugins, DeviceKind::Plugins, sequence, encode(report), Keep::Retained);
    }

    /// Says that the device is there.
    pub fn greet(&self, now: Mono) {
        if let Ok(payload) = self.voice.presence(now, Online::Yes) {
            self.publish(Leaf::Presence, payload, Keep::Retained, Qos::AtLeastOnce);
        }
    }

    /// Gives a sign of life.
    pub fn beat(&mut self, health: Health) {
        self.beats += 1;
        if let Ok(payload) = encode(&Beat { nonce: self.voice.nonce, count: self.beats, health }) {
            self.publish(Leaf::Beat, payload, Keep::Passing, Qos::AtMostOnce);
        }
    }

    /// Whether records may be sent now: none are under way, or their time is up.
    #[must_use]
    pub fn wants_log(&self, now: Mono) -> bool {
        self.connected && self.log_due.is_none_or(|due| due <= now)
    }

    /// Sends records that have no receipt.
    pub fn log(&mut self, now: Mono, batch: &LogBatch) {
        self.log_due = Some(now.after(RECEIPT_PATIENCE));
        self.say(Leaf::Log, DeviceKind::Log, batch.first, encode(batch), Keep::Passing);
    }

    /// The receipt came: the next records may go.
    pub fn log_received(&mut self) {
        self.log_due = None;
    }

    /// When something is due here.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.log_due.filter(|_| self.connected)
    }

    /// Spreads the next tries to connect, as steering says.
    pub fn reconnect_within(&self, window: Millis) {
        self.handle.reconnect_within(window);
    }

    /// Believes what these keys sign from now on. The time that another one has signed for is not known for certain any more.
    pub fn trust(&mut self, keyring: Keyring) {
        self.attested.trust(0, &keyring.directors());
        self.voice.keyring = keyring;
    }

    /// Says goodbye and ends.
    pub async fn leave(mut self, now: Mono) {
        if let Ok(payload) = self.voice.presence(now, Online::No) {
            self.publish(Leaf::Presence, payload, Keep::Retained, Qos::AtLeastOnce);
        }
        self.handle.leave();
        while self.incoming.next().await.is_some() {}
    }

    /// What the broker has kept and brought, once more: it means something else to another keyring.
    pub fn hear_again(&mut self) -> Vec<Came> {
        // In the order of their kinds, which is none of time; nor is that in which a broker brings them.
        let newest = std::mem::take(&mut self.newest);
        newest.into_values().map(|message| self.hear(message)).collect()
    }

    /// The latest times that the server has signed for.
    #[must_use]
    pub fn attested(&self) -> &Heights {
        &self.attested
    }

    fn hear(&mut self, message: Message) -> Came {
        let came = match self.voice.understand(&message, &mut self.attested) {
            Ok(came) => came,
            Err(why) => refused(&message.topic, &why),
        };
        if let Ok(topic) = Topic::parse(&message.topic)
            && topic.kind().retain() == Retain::Keep
            && message.payload.len() <= topic.bytes_max()
        {
            let channel = if let Topic::Steer { channel, .. } = topic { Some(channel) } else { None };
            self.newest.insert((topic.kind(), channel), message);
        }
        came
    }

    fn say<E: std::fmt::Display>(
        &self,
        leaf: Leaf,
        kind: DeviceKind,
        sequence: u64,
        payload: Result<Vec<u8>, E>,
        keep: Keep,
    ) {
        let signed = payload
            .map_err(|error| error.to_string())
            .and_then(|payload| self.voice.sign(kind, sequence, &payload));
        match signed {
            Ok(payload) => self.publish(leaf, payload, keep, Qos::AtLeastOnce),
            Err(why) => tracing::error!(why, "cannot say {}", leaf.as_str()),
        }
    }

    fn publish(&self, leaf: Leaf, payload: Vec<u8>, keep: Keep, qos: Qos) {
        let topic = self.voice.topic(leaf);
        let retain = matches!(keep, Keep::Retained);
        // Offline or full is no loss: everything that matters is said again on the next connection.
        if let Err(error) =
            self.handle.publish(Outgoing { topic, payload: payload.into(), qos, retain, token: TOKEN })
        {
            tracing::debug!(%error, "did not publish {}", leaf.as_str());
        }
    }
}

#[derive(Clone, Copy)]
enum Keep {
    Retained,
    Passing,
}

#[derive(Clone, Copy)]
enum Online {
    Yes,
    No,
}

impl Voice {
    fn topic(&self, leaf: Leaf) -> String {
        let (fleet, device) = (self.keyring.fleet().clone(), self.enrolment.device.clone());
        Topic::Device { fleet, device, leaf }.to_string()
    }

    fn sign(&self, kind: DeviceKind, sequence: u64, payload: &[u8]) -> Result<Vec<u8>, String> {
        let stamp = Stamp { sequence, issued: UnixMs(0), expires: None };
        let (fleet, device) = (self.keyring.fleet().clone(), self.enrolment.device.clone());
        sign_word(&self.key, kind, fleet, device, stamp, payload).map_err(|error| error.to_string())
    }

    fn presence(&self, at: Mono, online: Online) -> Result<Vec<u8>, String> {
        let presence = Presence { online: matches!(online, Online::Yes), nonce: self.nonce, at };
        let payload = encode(&presence).map_err(|error| error.to_string())?;
        self.sign(DeviceKind::Presence, at.0, &payload)
    }

    fn will(&self, at: Mono) -> Result<Will, String> {
        let payload = self.presence(at, Online::No)?.into();
        Ok(Will { topic: self.topic(Leaf::Presence), payload, retain: true, qos: Qos::AtLeastOnce })
    }

    /// Size, topic, signature, content: in this order, and what fails at one says so.
    fn understand(&self, message: &Message, attested: &mut Heights) -> Result<Came, String> {
        let topic = Topic::parse(&message.topic).map_err(|error| error.to_string())?;
        if message.payload.is_empty() {
            return Err("it is empty".into());
        }
        if message.payload.len() > topic.bytes_max() {
            return Err(format!(
                "{} bytes are more than the {} that it may have",
                message.payload.len(),
                topic.bytes_max()
            ));
        }
        let mut order = |kind| self.verify(&message.payload, kind, attested);
        match (&topic, topic.kind()) {
            (Topic::Steer { channel: Channel::Product, .. }, TopicKind::Steer) => {
                let steered = steered(&order(OrderKind::SteerProduct)?)?;
                Ok(Came::Input(Box::new(Input::Steered(steered))))
            }
            (Topic::Steer { channel: Channel::Plugins, .. }, TopicKind::Steer) => {
                Ok(Came::Plugins(Box::new(steered(&order(OrderKind::SteerPlugins)?)?)))
            }
            (_, TopicKind::Order) => {
                let order = order(OrderKind::DeviceOrder)?;
                let told: DeviceOrder = read(&order)?;
                if told.sequence != order.stamp().sequence {
                    return Err("its sequence is another than that of its envelope".into());
                }
                let DeviceOrder { sequence, words } = told;
                let by = order.key().0;
                Ok(Came::Input(Box::new(Input::Told { sequence, words, by })))
            }
            (_, TopicKind::Receipt) => Ok(Came::Receipt(read(&order(OrderKind::Receipt)?)?)),
            (_, TopicKind::Trust) => {
                let order = order(OrderKind::TrustFloor)?;
                let floor: TrustFloor = read(&order)?;
                if floor.sequence != order.stamp().sequence {
                    return Err("its sequence is another than that of its envelope".into());
                }
                let (mark, issued) = (order.watermark(), order.stamp().issued);
                Ok(Came::Trust(Box::new(Floor { floor, mark, issued })))
            }
            (
                _,
                TopicKind::Steer
                | TopicKind::State
                | TopicKind::Plugins
                | TopicKind::Presence
                | TopicKind::Beat
                | TopicKind::Log,
            ) => {
                debug_assert_eq!(topic.kind().sender(), Sender::Device);
                Err("devices send it, and this is one".into())
            }
        }
    }

    /// A signature of the server is also the latest time that is known for certain; it never goes back.
    fn verify(
        &self,
        payload: &[u8],
        kind: OrderKind,
        attested: &mut Heights,
    ) -> Result<VerifiedOrder, String> {
        let listener =
            Listener { cohort: Some(&self.enrolment.cohort), device: Some(&self.enrolment.device) };
        let order = self
            .keyring
            .verify_order(payload, kind, listener, latest(attested))
            .map_err(|error| error.to_string())?;
        attested.note(order.key().0, order.stamp().issued.0);
        Ok(order)
    }
}

/// The latest time that is known for certain: a signature attests it. Whoever steals a key can sign any, so that is kept for
/// each key apart.
#[must_use]
pub fn latest(attested: &Heights) -> Option<UnixMs> {
    Some(UnixMs(attested.highest())).filter(|latest| latest.0 > 0)
}

fn steered(order: &VerifiedOrder) -> Result<Steered, String> {
    let steer: backstay_model::Steer = read(order)?;
    if steer.generation.0 != order.stamp().sequence {
        return Err("its generation is another than that of its envelope".into());
    }
    let freshness = match order.freshness() {
        backstay_trust::Freshness::Fresh => Freshness::Fresh,
        backstay_trust::Freshness::Expired { .. } => Freshness::Expired,
    };
    let second = if order.is_seconded() { Second::Given } else { Second::Missing };
    Ok(Steered { steer, digest: *order.content(), freshness, second, by: order.key().0 })
}

fn read<T: Body>(order: &VerifiedOrder) -> Result<T, String> {
    decode(order.payload(), usize::MAX).map_err(|error| error.to_string())
}

/// A message that was too large to be read costs the connection, and nobody can tell its topic. It came to this device all
/// the same, so it is refused like any other.
#[expect(clippy::wildcard_enum_match_arm, reason = "of all that ends a connection one kind is a message")]
fn oversized(why: &Trouble) -> Came {
    match why {
        Trouble::Oversize { .. } => refused("a message from the broker", &why.to_string()),
        _ => Came::Nothing,
    }
}

fn refused(what: &str, why: &str) -> Came {
    let clip = |text: &str| backstay_model::Reason::new(text.into()).0;
    Came::Input(Box::new(Input::Refused(Refused { what: clip(what), why: clip(why), count: 1 })))
}

/// A client id that every broker takes: digits of the key's digest, which are the device's alone.
fn client_id(voice: &Voice) -> String {
    let digits: String = voice.key.id().0.to_string().chars().take(16).collect();
    format!("backstay-{digits}")
}
