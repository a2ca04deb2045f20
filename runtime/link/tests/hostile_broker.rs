//! The link against brokers that do what no broker should. Each is a few lines of bytes on a socket.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a failed assumption fails the test, and a test waits for one thing among many"
)]

use std::time::Duration;

use backstay_link::{
    Bytes, Filter, Handle, Happening, Incoming, Link, Outgoing, PublishError, Qos, Settings, SettingsError,
    Token, Trouble,
};
use backstay_model::Millis;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];

async fn listen() -> (TcpListener, Settings) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let mut settings = Settings::new(url.parse().unwrap(), "pump-7", 7);
    settings.filters.push(Filter { topics: "a".into(), qos: Qos::AtLeastOnce });
    settings.reconnect_within = Millis(100);
    settings.keep_alive = Millis::from_secs(1);
    (listener, settings)
}

fn publish(token: u64) -> Outgoing {
    let payload = Bytes::from_static(b"x");
    Outgoing { topic: "b".into(), payload, qos: Qos::AtLeastOnce, retain: false, token: Token(token) }
}

async fn next(incoming: &mut Incoming) -> Happening {
    timeout(PATIENCE, incoming.next()).await.expect("something happens").expect("the link goes on")
}

/// One packet of the client: its type and its body.
async fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((kind >> 4, body))
}

/// Takes one connection and says yes to everything but publishes, until the client ends it. Returns how many
/// publishes came.
async fn agreeable_but_silent(listener: &TcpListener) -> usize {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut publishes = 0;
    while let Some((kind, body)) = packet(&mut stream).await {
        let answer: &[u8] = match kind {
            1 => &CONNACK,
            8 => &[0x90, 3, body[0], body[1], 1],
            12 => &PINGRESP,
            3 => {
                publishes += 1;
                &[]
            }
            _ => &[],
        };
        if stream.write_all(answer).await.is_err() {
            break;
        }
    }
    publishes
}

async fn connected(settings: Settings) -> (Handle, Incoming) {
    let (handle, mut incoming) = Link::start(settings).unwrap();
    assert!(matches!(next(&mut incoming).await, Happening::Connected));
    (handle, incoming)
}

/// Pings are answered and publishes never are.
#[tokio::test]
async fn a_broker_that_acknowledges_nothing_is_left() {
    let (listener, mut settings) = listen().await;
    settings.in_flight_max = 4;
    settings.queue_max = 8;
    let broker = tokio::spawn(async move { (agreeable_but_silent(&listener).await, listener) });
    let (handle, mut incoming) = connected(settings).await;
    let taken = (0..100).take_while(|n| handle.publish(publish(*n)).is_ok()).count();
    assert_eq!(taken, 8, "the queue has an end");
    assert_eq!(handle.publish(publish(100)), Err(PublishError::Full));
    match next(&mut incoming).await {
        Happening::Lost { why: Trouble::Stalled { span }, .. } => assert!(span >= Millis(2500)),
        other => panic!("{other:?}"),
    }
    assert_eq!(handle.publish(publish(1)), Err(PublishError::Offline));
    let (publishes, listener) = broker.await.unwrap();
    assert_eq!(publishes, 4, "no more than may be under way");

    // The next connection begins with nothing of this.
    let broker = tokio::spawn(async move { agreeable_but_silent(&listener).await });
    assert!(matches!(next(&mut incoming).await, Happening::Connected));
    drop(incoming);
    assert_eq!(broker.await.unwrap(), 0);
}

/// Whatever comes after CONNACK, or instead of it, the link is there for the next connection.
#[tokio::test]
async fn nonsense_ends_a_connection_and_never_the_link() {
    let mut nonsense: Vec<Vec<u8>> = vec![
        vec![],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0x20, 2, 0, 5],                       // CONNACK: not authorised
        vec![0x20, 2, 0, 99],                      // CONNACK with a code that there isn't
        vec![0x20, 0],                             // CONNACK without a body
        vec![0xff; 64],                            // a length that never ends
        [&CONNACK[..], &CONNACK].concat(),         // a second CONNACK
        [&CONNACK[..], &[0x40, 2, 0, 9]].concat(), // an answer to what nobody asked
        [&CONNACK[..], &[0x40, 2, 0xff, 0xff]].concat(),
        [&CONNACK[..], &[0x40, 0]].concat(),
        [&CONNACK[..], &[0x90, 2, 0, 1]].concat(), // SUBACK without codes
        [&CONNACK[..], &[0x30, 1, 0]].concat(),    // a topic's length cut off
        [&CONNACK[..], &[0x30, 2, 0xff, 0xff]].concat(), // a topic longer than the packet
        [&CONNACK[..], &[0x32, 3, 0, 1, b'a']].concat(), // QoS 1 without a packet number
        [&CONNACK[..], &[0x32, 5, 0, 1, b'a', 0, 0]].concat(), // packet number 0
        [&CONNACK[..], &[0x36, 5, 0, 1, b'a', 0, 1]].concat(), // QoS 3
        [&CONNACK[..], &[0x30, 4, 0, 2, 0xc3, 0x28]].concat(), // a topic that is no UTF-8
        [&CONNACK[..], &[0x10, 2, 0, 0]].concat(), // CONNECT, from the broker
        [&CONNACK[..], &[0x62, 2, 0, 7]].concat(), // PUBREL out of nowhere
        [&CONNACK[..], &[0x30, 0xff, 0xff, 0xff, 0x7f]].concat(), // 256 MB, it says
    ];
    let mut random = 1_u64;
    for length in 1..60 {
        let mut bytes = CONNACK.to_vec();
        bytes.extend((0..length).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random.to_be_bytes()[0]
        }));
        nonsense.push(bytes);
    }
    let mut links = tokio::task::JoinSet::new();
    for some in nonsense.chunks(6) {
        links.spawn(outlive(some.to_vec()));
    }
    links.join_all().await;
}

/// One link that is sent each of these on a connection of its own.
async fn outlive(nonsense: Vec<Vec<u8>>) {
    let (listener, settings) = listen().await;
    let connections = nonsense.len();
    let broker = tokio::spawn(async move {
        for bytes in nonsense {
            let (mut stream, _) =
                timeout(PATIENCE, listener.accept()).await.expect("the link tries again").unwrap();
            packet(&mut stream).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            // Our end is closed for writing; the client is left to read what there is and to go.
            stream.shutdown().await.unwrap();
            while packet(&mut stream).await.is_some() {}
        }
        agreeable_but_silent(&listener).await
    });
    let (_handle, mut incoming) = Link::start(settings).unwrap();
    for _ in 0..connections {
        loop {
            match next(&mut incoming).await {
                Happening::Lost { .. } | Happening::Unreachable { .. } => break,
                Happening::Connected
                | Happening::Message(_)
                | Happening::Acked { .. }
                | Happening::Declined { .. }
                | Happening::Poisoned { .. }
                | Happening::Cured { .. } => {}
            }
        }
    }
    loop {
        if matches!(next(&mut incoming).await, Happening::Connected) {
            break;
        }
    }
    drop(incoming);
    broker.await.unwrap();
}

#[tokio::test]
async fn a_filter_that_the_broker_declines_is_named() {
    let (listener, settings) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some((kind, body)) = packet(&mut stream).await {
            let answer: &[u8] = match kind {
                1 => &CONNACK,
                8 => &[0x90, 3, body[0], body[1], 0x80],
                12 => &PINGRESP,
                _ => &[],
            };
            stream.write_all(answer).await.unwrap();
        }
    });
    let (_handle, mut incoming) = connected(settings).await;
    match next(&mut incoming).await {
        Happening::Declined { topics } => assert_eq!(topics, "a"),
        other => panic!("{other:?}"),
    }
}

/// What was read together with the packet that ended the connection is told all the same.
#[tokio::test]
async fn a_message_in_front_of_a_poisoned_one_is_not_lost() {
    let (listener, settings) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        packet(&mut stream).await.unwrap();
        let good = [0x30, 4, 0, 1, b'a', b'!'];
        let large = [0x30, 0xff, 0xff, 0xff, 0x7f];
        stream.write_all(&[&CONNACK[..], &good, &large].concat()).await.unwrap();
        while packet(&mut stream).await.is_some() {}
    });
    let (_handle, mut incoming) = connected(settings).await;
    match next(&mut incoming).await {
        Happening::Message(message) => assert_eq!(&*message.payload, b"!"),
        other => panic!("{other:?}"),
    }
    match next(&mut incoming).await {
        Happening::Lost { why: Trouble::Oversize { bytes, limit }, .. } => {
            assert_eq!((bytes, limit), (268_435_455, 65_536));
        }
        other => panic!("{other:?}"),
    }
}

/// All of it is in the socket at once, and there is room for one.
#[tokio::test]
async fn who_takes_one_at_a_time_has_all_in_order_and_each_is_acknowledged() {
    const MESSAGES: u8 = 50;
    let (listener, mut settings) = listen().await;
    settings.queue_max = 1;
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut acknowledged = Vec::new();
        while let Some((kind, body)) = packet(&mut stream).await {
            match kind {
                1 => stream.write_all(&CONNACK).await.unwrap(),
                4 => acknowledged.push(body[1]),
                8 => {
                    let suback = vec![0x90, 3, body[0], body[1], 1];
                    let messages = (1..=MESSAGES).flat_map(|n| [0x32, 6, 0, 1, b'a', 0, n, n]);
                    stream.write_all(&[suback, messages.collect()].concat()).await.unwrap();
                }
                _ => {}
            }
            if acknowledged.len() == usize::from(MESSAGES) {
                break;
            }
        }
        acknowledged
    });
    let (_handle, mut incoming) = connected(settings).await;
    for n in 1..=MESSAGES {
        match next(&mut incoming).await {
            Happening::Message(message) => assert_eq!(&*message.payload, [n]),
            other => panic!("{other:?}"),
        }
    }
    // The last are acknowledged while the next is waited for.
    let ended = async { while !matches!(incoming.next().await, None | Some(Happening::Lost { .. })) {} };
    timeout(PATIENCE, ended).await.expect("the broker goes when it has all");
    assert_eq!(broker.await.unwrap(), (1..=MESSAGES).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_can_not_be_published_is_refused_before_it_is_queued() {
    let (listener, settings) = listen().await;
    let broker = tokio::spawn(async move { agreeable_but_silent(&listener).await });
    let (handle, incoming) = connected(settings).await;
    let large = Outgoing { payload: vec![0; 65_536].into(), ..publish(1) };
    assert!(matches!(handle.publish(large), Err(PublishError::Large { limit: 65_536, .. })));
    for topic in ["", "a/+", "a/#", "a\0b"] {
        let outgoing = Outgoing { topic: topic.into(), ..publish(1) };
        assert_eq!(handle.publish(outgoing), Err(PublishError::Topic { topic: topic.into() }));
    }
    drop(incoming);
    assert_eq!(broker.await.unwrap(), 0);
}

/// Nobody listens. The signed steering widens the window while the link is at it.
#[tokio::test]
async fn the_window_can_be_changed_at_run_time() {
    let (listener, settings) = listen().await;
    drop(listener);
    let (handle, mut incoming) = Link::start(settings).unwrap();
    for _ in 0..5 {
        match next(&mut incoming).await {
            Happening::Unreachable { why: Trouble::Network { .. }, again } => assert!(again <= Millis(800)),
            other => panic!("{other:?}"),
        }
    }
    handle.reconnect_within(Millis::from_secs(3600));
    match next(&mut incoming).await {
        Happening::Unreachable { again, .. } => assert!(again > Millis(800), "{again}"),
        other => panic!("{other:?}"),
    }
    // It would sleep for hours now, and leaves all the same.
    handle.leave();
    assert!(timeout(PATIENCE, incoming.next()).await.expect("it leaves").is_none());
}

#[test]
fn without_a_runtime_there_is_no_link_and_it_says_so() {
    let mut settings = Settings::new("mqtt://127.0.0.1".parse().unwrap(), "pump-7", 7);
    settings.filters.push(Filter { topics: "a".into(), qos: Qos::AtMostOnce });
    assert!(matches!(Link::start(settings), Err(SettingsError::NoRuntime)));
}
