//! One connection with the broker, from the first packet to its end.
//!
//! Here: introducing ourselves, packets in and out, what they say of each other, and since when nothing came forward. Not here: what is
//! done about any of it (`link`), and what packets are made of (`packets`).
//!
//! The broker is held to MQTT 3.1.1: an answer to what nobody asked, or a packet that only a client sends, ends the connection. We
//! subscribe with no more than QoS 1, so QoS 2 is among these.

use std::{
    future::poll_fn,
    iter::repeat,
    task::Poll,
    time::{Duration, Instant},
};

use rumqttc::{
    Connect, ConnectReturnCode, LastWill, Login, Packet, PubAck, Publish, QoS, Subscribe, SubscribeFilter,
    SubscribeReasonCode,
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    flight::{Flight, Load},
    handle::{Message, Outgoing, Token},
    packets::Packets,
    settings::{Qos, Read, Settings, Will},
    socket::Socket,
    trouble::Trouble,
};

/// Two and a half keep alives without anything that had to come are a stall.
const STALL_HALF_KEEP_ALIVES: u32 = 5;

/// One connection, and what is under way on it.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    packets: Packets<S>,
    flight: Flight,
    /// When the broker last gave a sign of life.
    heard_at: Instant,
    /// When it is asked for one.
    ping_at: Instant,
    /// It was asked, and hasn't answered.
    is_asked: bool,
    keep_alive: Duration,
}

/// What the broker said.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message, and the number to acknowledge it by, if the broker wants that.
    Message(Message, Option<u16>),
    /// It has a publish of ours.
    Acked(Token),
    /// It answered a subscription: for each filter whether it lets us listen.
    Subscribed(Vec<(usize, bool)>),
    /// It is there.
    Alive,
}

/// What is next on a connection.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The broker said something, or the connection is over.
    Heard(Result<Heard, Trouble>),
    /// What was written has to go out: the broker is slow to take it, or it is time for that.
    Flush,
}

impl Connection<Socket> {
    /// Goes to the broker and introduces us; it has said yes when this returns.
    pub(crate) async fn begin(settings: &Settings, read: Read, will: Option<Will>) -> Result<Self, Trouble> {
        let socket = Socket::connect(settings.address.place(), read.tls).await?;
        Self::introduce(socket, settings, read.login, will).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// The same on a stream that leads to the broker.
    pub(crate) async fn introduce(
        stream: S,
        settings: &Settings,
        login: Option<(String, String)>,
        will: Option<Will>,
    ) -> Result<Self, Trouble> {
        // Whole seconds, as the broker is told.
        let seconds = u16::try_from(settings.keep_alive.0 / 1000).unwrap_or(u16::MAX);
        let mut packets = Packets::new(stream, settings.incoming_bytes_max);

        let mut connect = Connect::new(settings.client_id.clone());
        connect.keep_alive = seconds;
        connect.login = login.map(|(user, password)| Login::new(user, password));
        connect.last_will = will.map(|Will { topic, payload, retain, qos }| LastWill {
            topic,
            message: payload,
            qos: in_mqtt(qos),
            retain,
        });
        packets.write(&Packet::Connect(connect));
        if let Err(why) = packets.flush().await {
            // Who closes the connection may have said why before.
            return Err(packets.read().await.err().unwrap_or(why));
        }
        let first = packets.read().await?;
        let Packet::ConnAck(answer) = &first else { return Err(unexpected(&first)) };
        if answer.code != ConnectReturnCode::Success {
            return Err(Trouble::refused(answer.code));
        }
        let (now, keep_alive) = (Instant::now(), Duration::from_secs(seconds.into()));
        let flight = Flight::new(settings.in_flight_max);
        Ok(Self { packets, flight, heard_at: now, ping_at: now + keep_alive, is_asked: false, keep_alive })
    }

    /// The next that the broker says, as soon as it does. As long as it doesn't, what was written goes out. Nothing is lost if
    /// this is not waited for to its end.
    pub(crate) async fn turn(&mut self) -> Turn {
        poll_fn(|context| {
            if let Poll::Ready(read) = self.packets.poll_read(context) {
                return Poll::Ready(Turn::Heard(read.and_then(|packet| self.hear(packet))));
            }
            if self.packets.is_flushed() {
                return Poll::Pending;
            }
            match self.packets.poll_flush(context) {
                Poll::Ready(Ok(())) => Poll::Pending,
                Poll::Ready(Err(why)) => Poll::Ready(Turn::Heard(Err(why))),
                Poll::Pending => Poll::Ready(Turn::Flush),
            }
        })
        .await
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "MQTT's packets, of which a client hears four")]
    fn hear(&mut self, packet: Packet) -> Result<Heard, Trouble> {
        self.heard_at = Instant::now();
        match packet {
            Packet::Publish(Publish { qos, topic, payload, retain, pkid, .. }) if qos != QoS::ExactlyOnce => {
                let number = (qos == QoS::AtLeastOnce).then_some(pkid);
                Ok(Heard::Message(Message { topic, payload, retained: retain }, number))
            }
            Packet::PubAck(answer) => match self.flight.answered(answer.pkid) {
                Some(Load::Publish { token }) => Ok(Heard::Acked(token)),
                other => Err(unfitting(answer.pkid, other.is_some())),
            },
            Packet::SubAck(answer) => match self.flight.answered(answer.pkid) {
                Some(Load::Subscribe { filters }) => {
                    // Of what it says nothing, it didn't say yes.
                    let let_us = answer.return_codes.iter().map(|code| *code != SubscribeReasonCode::Failure);
                    Ok(Heard::Subscribed(filters.into_iter().zip(let_us.chain(repeat(false))).collect()))
                }
                other => Err(unfitting(answer.pkid, other.is_some())),
            },
            Packet::PingResp => {
                self.is_asked = false;
                Ok(Heard::Alive)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Says that a message was told. It goes out with the next flush.
    pub(crate) fn acknowledge(&mut self, number: u16) {
        self.packets.write(&Packet::PubAck(PubAck::new(number)));
    }

    /// Subscribes filters of the settings, by their places there.
    pub(crate) fn subscribe(&mut self, settings: &Settings, filters: &[usize]) {
        let wanted = filters.iter().filter_map(|filter| settings.filters.get(*filter));
        let wanted = wanted.map(|filter| SubscribeFilter::new(filter.topics.clone(), in_mqtt(filter.qos)));
        let mut subscribe = Subscribe::new_many(wanted);
        subscribe.pkid = self.flight.send(Load::Subscribe { filters: filters.to_vec() }, Instant::now());
        self.packets.write(&Packet::Subscribe(subscribe));
    }

    pub(crate) fn publish(&mut self, outgoing: Outgoing) {
        let Outgoing { topic, payload, qos, retain, token } = outgoing;
        let mut publish = Publish::from_bytes(topic, in_mqtt(qos), payload);
        publish.retain = retain;
        if qos == Qos::AtLeastOnce {
            publish.pkid = self.flight.send(Load::Publish { token }, Instant::now());
        }
        self.packets.write(&Packet::Publish(publish));
    }

    /// Asks the broker for a sign of life, if it is time for that. It was to answer the one before by now.
    pub(crate) fn ping(&mut self) -> Result<(), Trouble> {
        let now = Instant::now();
        if now < self.ping_at {
            return Ok(());
        }
        if self.is_asked {
            return Err(Trouble::Slow);
        }
        self.ping_at = now + self.keep_alive;
        self.is_asked = true;
        self.packets.write(&Packet::PingReq);
        Ok(())
    }

    /// Says goodbye: the broker then doesn't publish our will.
    pub(crate) fn leave(&mut self) {
        self.packets.write(&Packet::Disconnect);
    }

    /// Waits until all that was written is with the kernel.
    pub(crate) async fn flush(&mut self) -> Result<(), Trouble> {
        self.packets.flush().await
    }

    /// Whether one more publish may be under way.
    pub(crate) fn has_room(&self) -> bool {
        self.flight.has_room()
    }

    /// Whether all has been answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.flight.is_empty()
    }

    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Nothing was read for a while, by our own fault: nothing counts as late before it is so from now on.
    pub(crate) fn excuse(&mut self) {
        let now = Instant::now();
        self.heard_at = now;
        self.is_asked = false;
        self.flight.excuse(now);
    }

    /// For how long something should have come forward by now, if that is too long: since the broker's last sign of life, or since
    /// what waits longest was sent.
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        let waited = self.waits_since().elapsed();
        (waited >= self.stall()).then_some(waited)
    }

    /// When there is something to be done about it, or a ping to send.
    pub(crate) fn due_at(&self) -> Instant {
        (self.waits_since() + self.stall()).min(self.ping_at)
    }

    fn waits_since(&self) -> Instant {
        self.flight.since().map_or(self.heard_at, |since| since.min(self.heard_at))
    }

    fn stall(&self) -> Duration {
        self.keep_alive * STALL_HALF_KEEP_ALIVES / 2
    }
}

fn in_mqtt(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

fn unfitting(number: u16, was_sent: bool) -> Trouble {
    let how = if was_sent { "with what doesn't fit" } else { "which nobody sent" };
    Trouble::Protocol { what: format!("it answered packet {number}, {how}") }
}

/// Its kind alone is told: the rest may be large, and is the broker's word.
fn unexpected(packet: &Packet) -> Trouble {
    let what = match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck(_) => "a second CONNACK",
        Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => "a message with QoS 2",
        Packet::Publish(_) => "a message before CONNACK",
        Packet::PubAck(_) => "PUBACK before CONNACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK before CONNACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP before CONNACK",
        Packet::Disconnect => "DISCONNECT",
    };
    Trouble::Protocol { what: format!("it said {what}") }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::settings::Filter;

    fn settings() -> Settings {
        let mut settings = Settings::new("mqtt://broker".parse().unwrap(), "pump-7", 7);
        settings.filters =
            ["a", "b"].map(|topics| Filter { topics: topics.into(), qos: Qos::AtLeastOnce }).into();
        settings
    }

    /// A connection, and the broker's end of it, which has read CONNECT.
    async fn connected() -> (Connection<DuplexStream>, DuplexStream) {
        let (ours, mut broker) = duplex(1 << 20);
        broker.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        let connection = Connection::introduce(ours, &settings(), None, None).await.unwrap();
        let mut connect = [0; 20];
        broker.read_exact(&mut connect).await.unwrap();
        assert_eq!((connect[0], &connect[14..]), (0x10, &b"pump-7"[..]));
        (connection, broker)
    }

    async fn hears(
        connection: &mut Connection<DuplexStream>,
        bytes: &[u8],
        broker: &mut DuplexStream,
    ) -> Heard {
        broker.write_all(bytes).await.unwrap();
        match connection.turn().await {
            Turn::Heard(heard) => heard.unwrap(),
            Turn::Flush => panic!("the broker takes all"),
        }
    }

    async fn sends<const N: usize>(
        connection: &mut Connection<DuplexStream>,
        broker: &mut DuplexStream,
    ) -> [u8; N] {
        connection.flush().await.unwrap();
        let mut sent = [0; N];
        broker.read_exact(&mut sent).await.unwrap();
        sent
    }

    fn publish(qos: Qos) -> Outgoing {
        let payload = Bytes::from_static(b"x");
        Outgoing { topic: "b".into(), payload, qos, retain: false, token: Token(9) }
    }

    #[tokio::test]
    async fn what_is_answered_has_a_number_and_only_that_is_waited_for() {
        let (mut connection, mut broker) = connected().await;
        connection.publish(publish(Qos::AtMostOnce));
        assert_eq!(sends(&mut connection, &mut broker).await, [0x30, 4, 0, 1, b'b', b'x']);
        assert!(connection.is_idle(), "nobody answers this");

        connection.subscribe(&settings(), &[1]);
        assert_eq!(sends(&mut connection, &mut broker).await, [0x82, 6, 0, 1, 0, 1, b'b', 1]);
        connection.publish(publish(Qos::AtLeastOnce));
        assert_eq!(sends(&mut connection, &mut broker).await, [0x32, 6, 0, 1, b'b', 0, 2, b'x']);
        let heard = hears(&mut connection, &[0x40, 2, 0, 2], &mut broker).await;
        assert!(matches!(heard, Heard::Acked(Token(9))), "{heard:?}");
        assert!(!connection.is_idle());
        let heard = hears(&mut connection, &[0x90, 3, 0, 1, 1], &mut broker).await;
        assert!(matches!(&heard, Heard::Subscribed(answers) if *answers == [(1, true)]), "{heard:?}");
        assert!(connection.is_idle());

        let heard = hears(&mut connection, &[0x32, 6, 0, 1, b'a', 1, 2, b'y'], &mut broker).await;
        let Heard::Message(message, Some(number)) = heard else { panic!("{heard:?}") };
        assert_eq!((message.topic.as_str(), &*message.payload, number), ("a", &b"y"[..], 0x102));
        connection.acknowledge(number);
        assert_eq!(sends(&mut connection, &mut broker).await, [0x40, 2, 1, 2]);
    }

    /// Some brokers stop at the first filter that they don't like.
    #[tokio::test]
    async fn a_filter_without_an_answer_is_declined() {
        let (mut connection, mut broker) = connected().await;
        connection.subscribe(&settings(), &[0, 1]);
        let heard = hears(&mut connection, &[0x90, 3, 0, 1, 1], &mut broker).await;
        assert!(
            matches!(&heard, Heard::Subscribed(answers) if *answers == [(0, true), (1, false)]),
            "{heard:?}"
        );
    }

    /// It may go on to send messages for ever: who is to be asked whether it is there isn't.
    #[tokio::test]
    async fn a_broker_that_answers_no_ping_is_left_at_the_next() {
        let (mut connection, mut broker) = connected().await;
        connection.ping().unwrap();
        assert!(connection.packets.is_flushed(), "it isn't time for one");
        connection.ping_at = Instant::now();
        connection.ping().unwrap();
        assert_eq!(sends(&mut connection, &mut broker).await, [0xc0, 0]);
        hears(&mut connection, &[0xd0, 0], &mut broker).await;
        connection.ping_at = Instant::now();
        connection.ping().unwrap();
        hears(&mut connection, &[0x30, 4, 0, 1, b'a', b'y'], &mut broker).await;
        connection.ping_at = Instant::now();
        assert!(matches!(connection.ping(), Err(Trouble::Slow)));
    }

    #[tokio::test]
    async fn what_a_large_message_took_is_given_back() {
        let (mut connection, mut broker) = connected().await;
        let body = vec![b'z'; 60_000];
        let message = [&[0x30, 0xe3, 0xd4, 0x03, 0, 1, b'a'][..], &body].concat();
        let heard = hears(&mut connection, &message, &mut broker).await;
        assert!(
            matches!(&heard, Heard::Message(message, None) if message.payload.len() == 60_000),
            "{heard:?}"
        );
        drop(heard);
        hears(&mut connection, &[0xd0, 0], &mut broker).await;
        assert!(connection.packets.room() <= 4096, "{} bytes", connection.packets.room());
    }
}
