//! The few bytes of MQTT 3.1.1 that a bare peer speaks: no client library, no state, nothing sent again.
//!
//! Here: packets, and a publisher over a plain socket. Not here: reading what comes (each measurement does that in its
//! own way), and anything that a device relies on.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::Failure;

/// How long a broker may take to answer before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the broker keeps a message, and answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// QoS 0: sent, and nothing comes back.
    Loose,
    /// QoS 1, kept for those who subscribe later; acknowledged.
    Kept,
}

/// CONNECT with a clean session.
#[must_use]
pub fn connect(client: &str) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
    text(&mut body, client);
    packet(0x10, &body)
}

/// SUBSCRIBE to one filter, as packet 1.
#[must_use]
pub fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    text(&mut body, filter);
    body.push(qos);
    packet(0x82, &body)
}

/// PUBLISH, as packet 1 if it is numbered.
#[must_use]
pub fn publish(topic: &str, payload: &[u8], kind: Kind) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    text(&mut body, topic);
    let head = match kind {
        Kind::Loose => 0x30,
        Kind::Kept => {
            body.extend([0, 1]);
            0x33
        }
    };
    body.extend(payload);
    packet(head, &body)
}

/// PUBACK for a packet of this number.
#[must_use]
pub fn acknowledge([high, low]: [u8; 2]) -> [u8; 4] {
    [0x40, 2, high, low]
}

/// A packet as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    head: u8,
    body: &'a [u8],
    /// Its bytes, head and all.
    pub length: usize,
}

impl<'a> Packet<'a> {
    /// The first packet in `bytes`, if it is there whole.
    #[must_use]
    pub fn first(bytes: &'a [u8]) -> Option<Self> {
        let (&head, rest) = bytes.split_first()?;
        let (mut length, mut at) = (0_usize, 0);
        loop {
            let byte = *rest.get(at)?;
            length |= usize::from(byte & 0x7f) << (7 * at);
            at += 1;
            // The longest length has four bytes; mosquitto sends no other.
            if byte & 0x80 == 0 || at == 4 {
                break;
            }
        }
        let body = rest.get(at..at + length)?;
        Some(Self { head, body, length: 1 + at + length })
    }

    /// If it is a PUBLISH: its number, if it wants to be acknowledged, and its payload.
    #[must_use]
    pub fn published(&self) -> Option<(Option<[u8; 2]>, &'a [u8])> {
        if self.head >> 4 != 3 {
            return None;
        }
        let (length, rest) = self.body.split_first_chunk::<2>()?;
        let rest = rest.get(usize::from(u16::from_be_bytes(*length))..)?;
        match self.head & 0x06 {
            0 => Some((None, rest)),
            _ => rest.split_first_chunk::<2>().map(|(number, payload)| (Some(*number), payload)),
        }
    }

    /// What a broker answers to CONNECT or SUBSCRIBE: whether it says yes.
    #[must_use]
    pub fn agreed(&self) -> Option<bool> {
        match (self.head >> 4, self.body) {
            (2, [_, code]) => Some(*code == 0),
            (9, [_, _, codes @ ..]) => Some(!codes.is_empty() && codes.iter().all(|code| *code < 0x80)),
            _ => None,
        }
    }
}

/// Publishes over a plain socket.
#[derive(Debug)]
pub struct Publisher {
    stream: TcpStream,
}

impl Publisher {
    /// Connects, and is connected when this returns.
    ///
    /// # Errors
    /// If the broker does not take it.
    pub fn start(port: u16, client: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut publisher = Self { stream };
        publisher.send(&connect(client))?;
        let mut answer = [0; 4];
        publisher.stream.read_exact(&mut answer)?;
        match Packet::first(&answer).and_then(|packet| packet.agreed()) {
            Some(true) => Ok(publisher),
            Some(false) | None => Err(format!("the broker answers {answer:?} to a publisher").into()),
        }
    }

    /// Sends bytes that are packets.
    ///
    /// # Errors
    /// If the broker takes no more.
    pub fn send(&mut self, packets: &[u8]) -> io::Result<()> {
        self.stream.write_all(packets)
    }

    /// Publishes a message that is kept, and waits until the broker has it.
    ///
    /// # Errors
    /// If the broker doesn't acknowledge it.
    pub fn keep(&mut self, topic: &str, payload: &[u8]) -> Result<(), Failure> {
        self.send(&publish(topic, payload, Kind::Kept))?;
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer)?;
        if answer == acknowledge([0, 1]) {
            Ok(())
        } else {
            Err(format!("no acknowledgement: {answer:?}").into())
        }
    }

    /// The same beside whoever listens, who gets the publisher back. A broker acknowledges when it has sent to all, so who
    /// waited for that on the thread that reads would read nothing until then.
    pub fn keep_beside(mut self, topic: String, payload: Vec<u8>) -> JoinHandle<Result<Self, Failure>> {
        spawn_blocking(move || self.keep(&topic, &payload).map(|()| self))
    }
}

fn text(body: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    body.extend(length.to_be_bytes());
    body.extend(text.as_bytes());
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![head];
    let mut left = body.len();
    loop {
        let more = left > 0x7f;
        packet.push((left & 0x7f) as u8 | if more { 0x80 } else { 0 });
        left >>= 7;
        if !more {
            break;
        }
    }
    packet.extend(body);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_as_it_was_written() {
        let payload = [7; 300];
        for (kind, number) in [(Kind::Loose, None), (Kind::Kept, Some([0, 1]))] {
            let bytes = publish("a/b", &payload, kind);
            let read = Packet::first(&bytes).unwrap();
            assert_eq!((read.length, read.published()), (bytes.len(), Some((number, &payload[..]))));
            assert_eq!(Packet::first(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(connect("me"), b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02me");
        assert_eq!(subscribe("a/+", 1), b"\x82\x08\x00\x01\x00\x03a/+\x01");
    }

    #[test]
    fn a_broker_that_says_no_is_understood() {
        let agreed = |bytes: &[u8]| Packet::first(bytes).unwrap().agreed();
        assert_eq!(agreed(&[0x20, 2, 0, 0]), Some(true));
        assert_eq!(agreed(&[0x20, 2, 0, 5]), Some(false));
        assert_eq!(agreed(&[0x90, 3, 0, 1, 1]), Some(true));
        assert_eq!(agreed(&[0x90, 3, 0, 1, 0x80]), Some(false));
        assert_eq!(agreed(&[0x40, 2, 0, 1]), None);
    }
}
