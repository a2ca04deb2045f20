//! The names under which messages go through a broker, and what each kind of them may cost.
//!
//! Here: text to topic and back, sizes, quality of service, who sends it. Not here: a connection (`link`), and
//! whether the sender was who the topic says (`trust`: a broker may put anything anywhere).

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use backstay_model::{Beat, Channel, CohortId, DeviceId, FleetId, NameError, PluginReport, Report, Steer};

use crate::{Body, DeviceOrder, LogBatch, Presence, Receipt, TrustFloor};

/// The version of the whole tree of topics.
const ROOT: &str = "backstay/1";

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// One message for a whole cohort.
    Steer {
        /// Of this fleet.
        fleet: FleetId,
        /// For this cohort.
        cohort: CohortId,
        /// About this.
        channel: Channel,
    },
    /// What the fleet trusts.
    Trust {
        /// Of this fleet.
        fleet: FleetId,
    },
    /// Something for or of one device.
    Device {
        /// Of this fleet.
        fleet: FleetId,
        /// For or of this device.
        device: DeviceId,
        /// What.
        leaf: Leaf,
    },
}

/// What there is for, and of, one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaf {
    /// Instructions.
    Order,
    /// The server's word on how far it has the journal.
    Receipt,
    /// What it runs and how far that is proven.
    State,
    /// Which plugins it has, and how far those are proven.
    Plugins,
    /// Whether it is connected.
    Presence,
    /// A sign of life.
    Beat,
    /// Journal records.
    Log,
}

impl Leaf {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Order, Self::Receipt, Self::State, Self::Plugins, Self::Presence, Self::Beat, Self::Log];

    /// As a topic level.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Receipt => "receipt",
            Self::State => "state",
            Self::Plugins => "plugins",
            Self::Presence => "presence",
            Self::Beat => "beat",
            Self::Log => "log",
        }
    }

    /// The kind of message.
    #[must_use]
    pub const fn kind(self) -> TopicKind {
        match self {
            Self::Order => TopicKind::Order,
            Self::Receipt => TopicKind::Receipt,
            Self::State => TopicKind::State,
            Self::Plugins => TopicKind::Plugins,
            Self::Presence => TopicKind::Presence,
            Self::Beat => TopicKind::Beat,
            Self::Log => TopicKind::Log,
        }
    }
}

/// What a message is, without whom it is for or of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKind {
    /// [`Steer`], in an envelope of the director.
    Steer,
    /// [`TrustFloor`], in an envelope of the director.
    Trust,
    /// [`DeviceOrder`], in an envelope of the director.
    Order,
    /// [`Receipt`], in an envelope of the director.
    Receipt,
    /// [`Report`], in an envelope of the device.
    State,
    /// [`PluginReport`], in an envelope of the device.
    Plugins,
    /// [`Presence`], in an envelope of the device.
    Presence,
    /// [`Beat`], in none: it can only show that something is there.
    Beat,
    /// [`LogBatch`], in an envelope of the device.
    Log,
}

/// How often a message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Once or never.
    AtMostOnce,
    /// Once or several times: the receiver tells repeats by sequence.
    AtLeastOnce,
}

/// Whether a broker keeps the last message for those who come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// It does.
    Keep,
    /// It doesn't.
    Drop,
}

/// Who may send a message; what a broker's access list should allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The server.
    Server,
    /// The device that the topic names.
    Device,
}

/// The most bytes that an envelope adds to its payload: names, counters, times, and signatures: the sender's, and
/// those of operators who second it.
const ENVELOPE_BYTES_MAX: usize = 1024;

impl TopicKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Steer,
        Self::Trust,
        Self::Order,
        Self::Receipt,
        Self::State,
        Self::Plugins,
        Self::Presence,
        Self::Beat,
        Self::Log,
    ];

    /// The most bytes of a message with its envelope. Both sides set their packet limits to the most of what
    /// they receive; a client that gets more than its limit drops the connection, and a retained one does so
    /// for ever.
    #[must_use]
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Steer => Steer::BYTES_MAX + ENVELOPE_BYTES_MAX,
            Self::Trust => TrustFloor::BYTES_MAX + ENVELOPE_BYTES_MAX,
            Self::Order => DeviceOrder::BYTES_MAX + ENVELOPE_BYTES_MAX,
            Self::Receipt => Receipt::BYTES_MAX + ENVELOPE_BYTES_MAX,
            Self::State => Report::BYTES_MAX + ENVELOPE_BYTES_MAX,
            Self::Plugins => PluginReport::BYTES_MAX + ENVELOPE_BYTES_MAX,
            Self::Presence => Presence::BYTES_MAX + ENVELOPE_BYTES_MAX,
            Self::Beat => Beat::BYTES_MAX,
            Self::Log => LogBatch::BYTES_MAX + ENVELOPE_BYTES_MAX,
        }
    }

    /// How often it arrives.
    #[must_use]
    pub const fn qos(self) -> Qos {
        match self {
            Self::Beat => Qos::AtMostOnce,
            Self::Steer
            | Self::Trust
            | Self::Order
            | Self::Receipt
            | Self::State
            | Self::Plugins
            | Self::Presence
            | Self::Log => Qos::AtLeastOnce,
        }
    }

    /// Whether a broker keeps the last one.
    #[must_use]
    pub const fn retain(self) -> Retain {
        match self {
            Self::Steer | Self::Trust | Self::Order | Self::State | Self::Plugins | Self::Presence => {
                Retain::Keep
            }
            Self::Receipt | Self::Beat | Self::Log => Retain::Drop,
        }
    }

    /// Who sends it.
    #[must_use]
    pub const fn sender(self) -> Sender {
        match self {
            Self::Steer | Self::Trust | Self::Order | Self::Receipt => Sender::Server,
            Self::State | Self::Plugins | Self::Presence | Self::Beat | Self::Log => Sender::Device,
        }
    }

    /// The most bytes of a message that the other side of `sender` has to take.
    #[must_use]
    pub fn bytes_max_from(sender: Sender) -> usize {
        let kinds = Self::ALL.iter().filter(|kind| kind.sender() == sender);
        kinds.map(|kind| kind.bytes_max()).max().unwrap_or(0)
    }
}

impl Topic {
    /// The longest topic, in bytes.
    pub const BYTES_MAX: usize = 256;

    /// What kind of message goes there.
    #[must_use]
    pub const fn kind(&self) -> TopicKind {
        match self {
            Self::Steer { .. } => TopicKind::Steer,
            Self::Trust { .. } => TopicKind::Trust,
            Self::Device { leaf, .. } => leaf.kind(),
        }
    }

    /// Whose fleet it is in.
    #[must_use]
    pub const fn fleet(&self) -> &FleetId {
        match self {
            Self::Steer { fleet, .. } | Self::Trust { fleet } | Self::Device { fleet, .. } => fleet,
        }
    }

    /// The most bytes of a message there, with its envelope.
    #[must_use]
    pub const fn bytes_max(&self) -> usize {
        self.kind().bytes_max()
    }

    /// Reads a topic as a broker gives it.
    ///
    /// # Errors
    /// If it isn't one of ours, or of another version, or holds a name that is none.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        if text.len() > Self::BYTES_MAX {
            return Err(TopicError::TooLong { bytes: text.len() });
        }
        let foreign = || TopicError::Foreign { topic: text.into() };
        let name = |source| TopicError::Name { topic: text.into(), source };
        let levels = text.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/')).ok_or_else(foreign)?;
        let levels: Vec<&str> = levels.split('/').collect();
        let fleet = |text| FleetId::parse(text).map_err(name);
        match *levels.as_slice() {
            [f, "trust"] => Ok(Self::Trust { fleet: fleet(f)? }),
            [f, "steer", cohort, channel] => {
                let channel = channel.parse().map_err(|_| foreign())?;
                let cohort = CohortId::parse(cohort).map_err(name)?;
                Ok(Self::Steer { fleet: fleet(f)?, cohort, channel })
            }
            [f, "device", device, leaf] => {
                let leaf = Leaf::ALL.into_iter().find(|known| known.as_str() == leaf).ok_or_else(foreign)?;
                let device = DeviceId::parse(device).map_err(name)?;
                Ok(Self::Device { fleet: fleet(f)?, device, leaf })
            }
            _ => Err(foreign()),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steer { fleet, cohort, channel } => {
                write!(f, "{ROOT}/{fleet}/steer/{cohort}/{}", channel.as_str())
            }
            Self::Trust { fleet } => write!(f, "{ROOT}/{fleet}/trust"),
            Self::Device { fleet, device, leaf } => {
                write!(f, "{ROOT}/{fleet}/device/{device}/{}", leaf.as_str())
            }
        }
    }
}

/// A text that is no topic of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// "topic of 70000 bytes is longer than the 256 that ours have"
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// "topic a/b is none of ours"
    Foreign {
        /// The topic.
        topic: String,
    },
    /// "topic backstay/1/f/device/X/beat names nothing that could exist"; [`NameError`] is the `source()`.
    Name {
        /// The topic.
        topic: String,
        /// Which name, and what was expected.
        source: NameError,
    },
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "topic of {bytes} bytes is longer than the {} that ours have", Topic::BYTES_MAX)
            }
            Self::Foreign { topic } => write!(f, "topic {topic:?} is none of ours"),
            Self::Name { topic, .. } => write!(f, "topic {topic:?} names nothing that could exist"),
        }
    }
}

impl core::error::Error for TopicError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Name { source, .. } => Some(source),
            Self::TooLong { .. } | Self::Foreign { .. } => None,
        }
    }
}

impl TopicError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLong { .. } | Self::Foreign { .. } => Some(
                "the broker is shared with something else, or with another major version: check its access list",
            ),
            Self::Name { .. } => Some("see who may write to this topic: no released Backstay does"),
        }
    }
}

/// What to subscribe to: all the topics of one kind that somebody cares for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFilter {
    text: String,
    kind: TopicKind,
}

impl TopicFilter {
    /// What a device in `cohort` listens to. Each is a topic of its own without a wildcard, so that one that a
    /// poisonous message sits in can be left out.
    #[must_use]
    pub fn for_device(fleet: &FleetId, device: &DeviceId, cohort: &CohortId) -> Vec<Self> {
        let (f, d, c) = (fleet.clone(), device.clone(), cohort.clone());
        let steer = |channel| Topic::Steer { fleet: f.clone(), cohort: c.clone(), channel };
        let own = |leaf| Topic::Device { fleet: f.clone(), device: d.clone(), leaf };
        let topics = [
            steer(Channel::Product),
            steer(Channel::Plugins),
            Topic::Trust { fleet: f.clone() },
            own(Leaf::Order),
            own(Leaf::Receipt),
        ];
        topics.iter().map(|topic| Self { text: format!("{topic}"), kind: topic.kind() }).collect()
    }

    /// What a server of `fleet` listens to: what devices say, and what was retained of its own words, which is
    /// how it learns where it stood.
    #[must_use]
    pub fn for_server(fleet: &FleetId) -> Vec<Self> {
        let filter = |kind, rest: &str| Self { text: format!("{ROOT}/{fleet}/{rest}"), kind };
        let of_devices = [Leaf::State, Leaf::Plugins, Leaf::Presence, Leaf::Beat, Leaf::Log, Leaf::Order];
        let of_devices =
            of_devices.into_iter().map(|leaf| filter(leaf.kind(), &format!("device/+/{}", leaf.as_str())));
        [filter(TopicKind::Steer, "steer/+/+"), filter(TopicKind::Trust, "trust")]
            .into_iter()
            .chain(of_devices)
            .collect()
    }

    /// As a broker takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What comes through it.
    #[must_use]
    pub const fn kind(&self) -> TopicKind {
        self.kind
    }

    /// Whether a message to `topic` comes through it.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let topic = format!("{topic}");
        self.text.split('/').count() == topic.split('/').count()
            && self
                .text
                .split('/')
                .zip(topic.split('/'))
                .all(|(wanted, level)| wanted == "+" || wanted == level)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn topics() -> Vec<Topic> {
        let fleet = FleetId::parse("pumps").unwrap();
        let device = DeviceId::parse("pump-7").unwrap();
        let cohort = CohortId::parse("canary").unwrap();
        let of_device =
            Leaf::ALL.map(|leaf| Topic::Device { fleet: fleet.clone(), device: device.clone(), leaf });
        let steer = [Channel::Product, Channel::Plugins].map(|channel| Topic::Steer {
            fleet: fleet.clone(),
            cohort: cohort.clone(),
            channel,
        });
        of_device.into_iter().chain(steer).chain([Topic::Trust { fleet: fleet.clone() }]).collect()
    }

    #[test]
    fn a_topic_is_read_as_it_is_written() {
        for topic in topics() {
            assert_eq!(Topic::parse(&topic.to_string()), Ok(topic));
        }
        assert_eq!(topics()[0].to_string(), "backstay/1/pumps/device/pump-7/order");
        assert_eq!(topics()[7].to_string(), "backstay/1/pumps/steer/canary/product");
    }

    #[test]
    fn other_topics_are_refused() {
        for text in [
            "",
            "backstay",
            "backstay/1",
            "backstay/1/",
            "backstay/1/pumps",
            "backstay/2/pumps/trust",
            "backstay/1/pumps/trust/",
            "/backstay/1/pumps/trust",
            "backstay/1/pumps/steer/canary",
            "backstay/1/pumps/steer/canary/firmware",
            "backstay/1/pumps/device/pump-7/orders",
            "backstay/1/pumps/device/+/beat",
            "backstay/1/pumps/device/Pump/beat",
            "backstay/1//device/pump-7/beat",
            &"backstay/1/".repeat(100),
        ] {
            assert!(Topic::parse(text).is_err(), "{text}");
        }
    }

    /// Every message has exactly one reader side, and each reader gets only what it may be sent.
    #[test]
    fn what_one_side_sends_the_other_hears_once() {
        let fleet = FleetId::parse("pumps").unwrap();
        let device = DeviceId::parse("pump-7").unwrap();
        let cohort = CohortId::parse("canary").unwrap();
        let of_device = TopicFilter::for_device(&fleet, &device, &cohort);
        let of_server = TopicFilter::for_server(&fleet);
        for topic in topics() {
            let heard = |by: &[TopicFilter]| by.iter().filter(|filter| filter.matches(&topic)).count();
            match topic.kind().sender() {
                Sender::Server => assert_eq!(heard(&of_device), 1, "{topic}"),
                Sender::Device => assert_eq!((heard(&of_device), heard(&of_server)), (0, 1), "{topic}"),
            }
        }
        let other = Topic::Device { fleet, device: DeviceId::parse("pump-8").unwrap(), leaf: Leaf::Order };
        assert!(!of_device.iter().any(|filter| filter.matches(&other)));
    }

    /// The receiver's packet limits: a device that has 10 KiB, a server that has 128 KiB.
    #[test]
    fn messages_fit_the_limits_of_common_clients_and_brokers() {
        assert!(TopicKind::bytes_max_from(Sender::Server) + Topic::BYTES_MAX < 10 * 1024);
        assert!(TopicKind::bytes_max_from(Sender::Device) + Topic::BYTES_MAX < 128 * 1024);
    }
}
