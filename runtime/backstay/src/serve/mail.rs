//! What a message from the broker says, after everything about it was checked: size, topic, sender, signature,
//! content, in this order. The broker may put anything anywhere.
//!
//! Not here: what follows from it (`hearing`), and counting what is refused (`refusals`).

use backstay_link::Message;
use backstay_model::{Beat, Channel, CohortId, DeviceId, Digest, PluginReport, Report, Steer};
use backstay_trust::{DeviceKind, KeyId, Listener, OrderKind, VerifiedOrder, VerifiedWord, verify_word};
use backstay_wire::{Body, DeviceOrder, Leaf, LogBatch, Presence, Topic, TopicKind, TrustFloor, decode};

use super::{
    director::Director,
    lane::Lane,
    refusals::{Ground, Refusal},
    register::{Member, Register},
};

/// A message that was understood.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A device's signed word on what it runs, and the digest of what it says.
    Report(Member, Box<Report>, Digest),
    /// A device's signed word on its plugins, and the digest of what it says.
    PluginReport(Member, Box<PluginReport>, Digest),
    /// A device's signed word on its session.
    Presence(Member, Presence),
    /// A sign of life. Anybody can have sent it.
    Beat(Member, Beat),
    /// Signed records of a device's journal.
    Log(Member, LogBatch),
    /// A steering message of this director, as the broker has it.
    Steer(Lane, Box<Steer>),
    /// An order of this director, as the broker has it.
    Order(DeviceId, u64),
    /// Whom the fleet trusts, as the broker has it from a director, and with which of the director's keys it was signed.
    Trust(TrustFloor, KeyId),
}

/// A message that was not.
#[derive(Debug)]
pub(crate) struct Junk {
    /// What kind of topic it came to, if it is one of ours.
    pub(crate) kind: Option<TopicKind>,
    /// Why.
    pub(crate) refusal: Refusal,
}

/// Reads a message.
///
/// # Errors
/// At what it failed.
pub(crate) fn read(message: &Message, director: &Director, register: &Register) -> Result<Mail, Junk> {
    let foreign = |why: String| Junk { kind: None, refusal: Refusal::new(Ground::Foreign, why) };
    let topic = Topic::parse(&message.topic).map_err(|error| foreign(error.to_string()))?;
    if topic.fleet() != director.fleet() {
        return Err(foreign(format!("it is of fleet {}, this is {}", topic.fleet(), director.fleet())));
    }
    let (payload, kind) = (&message.payload, topic.kind());
    let content = || {
        if payload.is_empty() {
            return Err(Refusal::new(Ground::Empty, "it is empty"));
        }
        let (bytes, max) = (payload.len(), topic.bytes_max());
        if bytes > max {
            return Err(Refusal::new(
                Ground::Oversize,
                format!("{bytes} bytes are more than the {max} it may have"),
            ));
        }
        match &topic {
            Topic::Steer { cohort, channel, .. } => steer(payload, cohort, *channel, director),
            Topic::Trust { .. } => {
                let listener = Listener { cohort: None, device: None };
                let order = order(payload, OrderKind::TrustFloor, listener, director)?;
                Ok(Mail::Trust(content(order.payload())?, order.key()))
            }
            Topic::Device { device, leaf, .. } => of_device(payload, device, *leaf, director, register),
        }
    };
    content().map_err(|refusal| Junk { kind: Some(kind), refusal })
}

fn of_device(
    payload: &[u8],
    device: &DeviceId,
    leaf: Leaf,
    director: &Director,
    register: &Register,
) -> Result<Mail, Refusal> {
    let member = || {
        let stranger = || Refusal::new(Ground::Stranger, format!("no device {device} is enrolled"));
        register.member(device).cloned().ok_or_else(stranger)
    };
    match leaf {
        Leaf::State => {
            let member = member()?;
            let word = word(payload, DeviceKind::State, &member, director)?;
            let report: Report = content(word.payload())?;
            agrees(&word, &member, report.sequence, &report.cohort)?;
            Ok(Mail::Report(member, Box::new(report), word.watermark().digest))
        }
        Leaf::Plugins => {
            let member = member()?;
            let word = word(payload, DeviceKind::Plugins, &member, director)?;
            let report: PluginReport = content(word.payload())?;
            agrees(&word, &member, report.sequence, &report.cohort)?;
            Ok(Mail::PluginReport(member, Box::new(report), word.watermark().digest))
        }
        Leaf::Presence => {
            let member = member()?;
            let presence = content(word(payload, DeviceKind::Presence, &member, director)?.payload())?;
            Ok(Mail::Presence(member, presence))
        }
        Leaf::Beat => Ok(Mail::Beat(member()?, content(payload)?)),
        Leaf::Log => {
            let member = member()?;
            let batch = content(word(payload, DeviceKind::Log, &member, director)?.payload())?;
            Ok(Mail::Log(member, batch))
        }
        Leaf::Order => {
            let listener = Listener { cohort: None, device: Some(device) };
            let order = order(payload, OrderKind::DeviceOrder, listener, director)?;
            let said: DeviceOrder = content(order.payload())?;
            if said.sequence != order.stamp().sequence {
                return Err(Refusal::new(
                    Ground::Contradiction,
                    "its sequence is another than that of its envelope",
                ));
            }
            Ok(Mail::Order(device.clone(), said.sequence))
        }
        Leaf::Receipt => Err(Refusal::new(Ground::Foreign, "the server sends receipts and listens to none")),
    }
}

fn steer(payload: &[u8], cohort: &CohortId, channel: Channel, director: &Director) -> Result<Mail, Refusal> {
    let kind = match channel {
        Channel::Product => OrderKind::SteerProduct,
        Channel::Plugins => OrderKind::SteerPlugins,
    };
    let order = order(payload, kind, Listener { cohort: Some(cohort), device: None }, director)?;
    let steer: Steer = content(order.payload())?;
    if steer.generation.0 != order.stamp().sequence {
        return Err(Refusal::new(
            Ground::Contradiction,
            "its generation is another than that of its envelope",
        ));
    }
    if steer.cohort != *cohort {
        return Err(Refusal::new(Ground::Contradiction, format!("it steers cohort {}", steer.cohort)));
    }
    Ok(Mail::Steer(Lane::new(cohort, channel), Box::new(steer)))
}

/// A report that says the same as its envelope, and as its device's enrolment.
fn agrees(word: &VerifiedWord, member: &Member, sequence: u64, cohort: &CohortId) -> Result<(), Refusal> {
    if sequence != word.stamp().sequence {
        let why = "its sequence is another than that of its envelope";
        return Err(Refusal::new(Ground::Contradiction, why));
    }
    if *cohort != member.cohort {
        let why = format!("it is of cohort {cohort}, its device is enrolled in {}", member.cohort);
        return Err(Refusal::new(Ground::Contradiction, why));
    }
    Ok(())
}

fn word(
    payload: &[u8],
    kind: DeviceKind,
    member: &Member,
    director: &Director,
) -> Result<VerifiedWord, Refusal> {
    verify_word(payload, kind, director.fleet(), &member.device, &member.key)
        .map_err(|error| Refusal::new(Ground::Untrusted, error))
}

fn order(
    payload: &[u8],
    kind: OrderKind,
    listener: Listener<'_>,
    director: &Director,
) -> Result<VerifiedOrder, Refusal> {
    let verified = director.keyring().verify_order(payload, kind, listener, None);
    verified.map_err(|error| Refusal::new(Ground::Untrusted, error))
}

fn content<T: Body>(bytes: &[u8]) -> Result<T, Refusal> {
    decode(bytes, usize::MAX).map_err(|error| Refusal::new(Ground::Unreadable, error))
}
