//! The peers: who reads beats and does nothing with them but count.
//!
//! A reader is one only once the broker has agreed to its subscription; one that failed to start is an error, and never a
//! reader that reads nothing.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use backstay_test_bench::{Failure, Packet, connect, subscribe};
use rumqttc::{Client, Event, MqttOptions, QoS};

/// How long all beats of a round may take to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A bare subscriber on a thread of its own, to the beats of a fleet of its own.
pub struct Reader {
    fleet: &'static str,
    expect: Sender<usize>,
    /// When the last of those that were expected came.
    done: Receiver<Instant>,
}

impl Reader {
    /// One that has a socket and nothing else.
    pub fn socket(port: u16) -> Result<Self, Failure> {
        let fleet = "sock";
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        for (packet, length) in [(connect("socket"), 4), (subscribe(&beats_of(fleet), 0), 5)] {
            stream.write_all(&packet)?;
            let mut answer = vec![0; length];
            stream.read_exact(&mut answer)?;
            if Packet::first(&answer).and_then(|packet| packet.agreed()) != Some(true) {
                return Err(format!("the broker answers {answer:?} to a reader").into());
            }
        }
        stream.set_read_timeout(None)?;
        let (mut bytes, mut begin, mut end) = (vec![0; 256 * 1024], 0, 0);
        Ok(Self::start(fleet, move || {
            loop {
                if let Some(packet) = bytes.get(begin..end).and_then(Packet::first) {
                    begin += packet.length;
                    if packet.published().is_some() {
                        return Ok(());
                    }
                    continue;
                }
                bytes.copy_within(begin..end, 0);
                (begin, end) = (0, end - begin);
                let read = stream.read(bytes.get_mut(end..).unwrap_or_default())?;
                if read == 0 {
                    return Err("the broker has closed a reader's connection".into());
                }
                end += read;
            }
        }))
    }

    /// One that has rumqttc and nothing else.
    pub fn client(port: u16) -> Result<Self, Failure> {
        let fleet = "rmqt";
        let mut options = MqttOptions::new("client", "127.0.0.1", port);
        options.set_clean_session(true).set_max_packet_size(256 * 1024, 256 * 1024);
        let (client, mut events) = Client::new(options, 16);
        client.subscribe(beats_of(fleet), QoS::AtMostOnce)?;
        loop {
            match events.recv_timeout(PATIENCE).map_err(|_| "the broker does not answer a reader")?? {
                Event::Incoming(rumqttc::Packet::SubAck(answer)) => {
                    let agreed = |code: &rumqttc::SubscribeReasonCode| {
                        matches!(code, rumqttc::SubscribeReasonCode::Success(_))
                    };
                    if !answer.return_codes.iter().all(agreed) {
                        return Err("the broker does not let a reader listen".into());
                    }
                    break;
                }
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
        Ok(Self::start(fleet, move || {
            let _alive = &client;
            loop {
                match events.recv().map_err(|_| "a reader's client has ended")?? {
                    Event::Incoming(rumqttc::Packet::Publish(_)) => return Ok(()),
                    Event::Incoming(_) | Event::Outgoing(_) => {}
                }
            }
        }))
    }

    /// Counts on a thread of its own, which ends with the reader or with the first trouble.
    fn start(fleet: &'static str, mut next: impl FnMut() -> Result<(), Failure> + Send + 'static) -> Self {
        let (expect, expected) = mpsc::channel::<usize>();
        let (tell, done) = mpsc::channel();
        thread::spawn(move || {
            while let Ok(beats) = expected.recv() {
                for _ in 0..beats {
                    if let Err(why) = next() {
                        eprintln!("a reader ended: {why}");
                        return;
                    }
                }
                if tell.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
        Self { fleet, expect, done }
    }

    /// Whose beats it reads.
    pub fn fleet(&self) -> &'static str {
        self.fleet
    }

    /// So many beats are coming.
    pub fn expect(&self, beats: usize) -> Result<(), Failure> {
        self.expect.send(beats).map_err(|_| "a reader has ended".into())
    }

    /// When the last of them came.
    pub fn done(&self) -> Result<Instant, Failure> {
        self.done.recv_timeout(PATIENCE).map_err(|_| "a reader did not get all beats".into())
    }
}

fn beats_of(fleet: &str) -> String {
    format!("backstay/1/{fleet}/device/+/beat")
}
