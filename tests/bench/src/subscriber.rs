//! The peers of a device's link, and who counts what they have: a bare socket that knows the few bytes of MQTT that it
//! needs, and rumqttc without anything around it.
//!
//! Both acknowledge, and compare what came with what was sent. Not here: the link itself, which each measurement starts as
//! it needs it.

use std::{
    net::Ipv4Addr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rumqttc::{AsyncClient, EventLoop, MqttOptions, QoS};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{Failure, Packet, acknowledge, connect, subscribe};

/// How long all devices may take to connect, and to have one message.
const PATIENCE: Duration = Duration::from_secs(120);

/// The kernel holds acknowledgements back for up to 200 ms.
const REST: Duration = Duration::from_millis(300);

/// Lets a round be over before the next. Who has nothing to do between two of them would otherwise have the kernel's
/// acknowledgements of the first in the second.
pub async fn rest() {
    sleep(REST).await;
}

/// Counts who has the message of this round, and when. A broker may send it twice, and one that has it twice is not two.
#[derive(Debug, Default)]
pub struct Arrival {
    awaited: Mutex<Awaited>,
    left: AtomicUsize,
    all: Notify,
}

#[derive(Debug, Default)]
struct Awaited {
    payload: Vec<u8>,
    /// By its number: when each had it.
    had_at: Vec<Option<Instant>>,
}

impl Arrival {
    /// From now on `devices`, with numbers from 0, are to have this.
    pub fn expect(&self, payload: &[u8], devices: usize) {
        let mut awaited = self.awaited();
        *awaited = Awaited { payload: payload.to_vec(), had_at: vec![None; devices] };
        self.left.store(devices, Ordering::SeqCst);
    }

    /// A device has a message. One of a round before doesn't count.
    pub fn came(&self, device: usize, payload: &[u8]) {
        let mut awaited = self.awaited();
        if awaited.payload != payload {
            return;
        }
        if let Some(had_at @ None) = awaited.had_at.get_mut(device) {
            *had_at = Some(Instant::now());
            if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.all.notify_one();
            }
        }
    }

    /// When each of them had it, by its number.
    ///
    /// # Errors
    /// If some don't get it within two minutes.
    pub async fn all(&self) -> Result<Vec<Instant>, Failure> {
        self.all_within(PATIENCE).await
    }

    /// The same with a patience of the caller's.
    ///
    /// # Errors
    /// If some don't get it in time.
    pub async fn all_within(&self, patience: Duration) -> Result<Vec<Instant>, Failure> {
        let left = || self.left.load(Ordering::SeqCst);
        let waited = timeout(patience, async {
            // It may have been told of a round that nobody waited for.
            while left() > 0 {
                self.all.notified().await;
            }
        });
        if waited.await.is_err() {
            return Err(format!("{} devices did not get the message", left()).into());
        }
        Ok(self.awaited().had_at.iter().copied().flatten().collect())
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that the broker has taken, with a subscription that was asked for.
///
/// # Errors
/// If the broker doesn't take it.
pub async fn join_socket(
    (host, port): (Ipv4Addr, u16),
    name: &str,
    topic: &str,
) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&connect(name)).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    if Packet::first(&answer).and_then(|packet| packet.agreed()) != Some(true) {
        return Err(format!("the broker answers {answer:?} to {name}").into());
    }
    // What it answers to this comes with the message; who gets the message has subscribed.
    stream.write_all(&subscribe(topic, 1)).await?;
    Ok(stream)
}

/// Reads what comes to it until the broker closes it.
pub async fn socket(mut stream: TcpStream, device: usize, arrival: &Arrival) {
    let (mut bytes, mut end) = (vec![0; 4096], 0);
    loop {
        let Some(room) = bytes.get_mut(end..).filter(|room| !room.is_empty()) else { return };
        match stream.read(room).await {
            Ok(read) if read > 0 => end += read,
            Ok(_) | Err(_) => return,
        }
        let mut begin = 0;
        while let Some(packet) = bytes.get(begin..end).and_then(Packet::first) {
            if let Some((number, payload)) = packet.published() {
                arrival.came(device, payload);
                if let Some(number) = number
                    && stream.write_all(&acknowledge(number)).await.is_err()
                {
                    return;
                }
            }
            begin += packet.length;
        }
        bytes.copy_within(begin..end, 0);
        end -= begin;
    }
}

/// The client library, connected, with a subscription that is on its way.
///
/// # Errors
/// If the broker doesn't take it.
pub async fn join_client(
    (host, port): (Ipv4Addr, u16),
    name: &str,
    topic: &str,
) -> Result<(AsyncClient, EventLoop), Failure> {
    let mut options = MqttOptions::new(name, host.to_string(), port);
    options.set_clean_session(true).set_keep_alive(Duration::from_secs(60));
    let (client, mut events) = AsyncClient::new(options, 16);
    let mut network = events.network_options();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    client.subscribe(topic, QoS::AtLeastOnce).await?;
    events.poll().await?;
    Ok((client, events))
}

/// Reads what comes to it until the connection ends.
pub async fn rumqttc(client: AsyncClient, mut events: EventLoop, device: usize, arrival: &Arrival) {
    while let Ok(event) = events.poll().await {
        if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = event {
            arrival.came(device, &publish.payload);
        }
    }
    drop(client);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_a_message_twice_does_not_stand_in_for_another() {
        let arrival = Arrival::default();
        arrival.expect(b"new", 2);
        for (device, payload) in [(0, &b"new"[..]), (0, b"new"), (1, b"old"), (7, b"new")] {
            arrival.came(device, payload);
        }
        let none = arrival.all_within(Duration::ZERO).await.unwrap_err().to_string();
        assert_eq!(none, "1 devices did not get the message");
        arrival.came(1, b"new");
        assert_eq!(arrival.all().await.unwrap().len(), 2);
    }
}
