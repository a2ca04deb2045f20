//! The link against a real mosquitto: what it carries, and what it survives.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a failed assumption fails the test, and a test waits for one thing among many"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use backstay_link::{
    Bytes, Filter, Handle, Happening, Identity, Incoming, Link, Message, Outgoing, PublishError, Qos,
    Settings, Tls, Token, Trouble, Will,
};
use backstay_model::Millis;
use backstay_test_real::Mosquitto;
use tokio::time::timeout;

/// How long anything may take. Far more than it takes, on a machine with time for it.
const PATIENCE: Duration = Duration::from_secs(120);

fn settings(url: &str, id: &str, filters: &[&str]) -> Settings {
    let mut settings = Settings::new(url.parse().unwrap(), id, 7);
    settings.filters = filters.iter().map(|filter| at_least_once(filter)).collect();
    settings.reconnect_within = Millis(100);
    settings
}

fn at_least_once(filter: &str) -> Filter {
    Filter { topics: filter.to_owned(), qos: Qos::AtLeastOnce }
}

fn url(broker: &Mosquitto) -> String {
    format!("mqtt://127.0.0.1:{}", broker.port())
}

/// One side of the link, with words for what a test wants to hear.
struct Peer {
    handle: Handle,
    incoming: Incoming,
    tokens: u64,
}

impl Peer {
    fn start(settings: Settings) -> Self {
        let (handle, incoming) = Link::start(settings).unwrap();
        Self { handle, incoming, tokens: 0 }
    }

    async fn connected(settings: Settings) -> Self {
        let mut peer = Self::start(settings);
        peer.hears("the connection", |h| matches!(h, Happening::Connected).then_some(())).await;
        peer
    }

    /// Passes by all that is not `wanted`.
    async fn hears<T>(&mut self, what: &str, mut wanted: impl FnMut(Happening) -> Option<T>) -> T {
        let search = async {
            loop {
                let happening = self.incoming.next().await.expect("the link goes on");
                if let Some(found) = wanted(happening) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("{what} did not come"))
    }

    async fn hears_message(&mut self, topic: &str) -> Message {
        self.hears(topic, |h| match h {
            Happening::Message(message) if message.topic == topic => Some(message),
            _ => None,
        })
        .await
    }

    /// Publishes, and waits until the broker has it.
    async fn publishes(&mut self, topic: &str, payload: impl Into<Bytes>, retain: bool) {
        self.tokens += 1;
        let token = Token(self.tokens);
        let (topic, payload) = (topic.to_owned(), payload.into());
        self.handle.publish(Outgoing { topic, payload, qos: Qos::AtLeastOnce, retain, token }).unwrap();
        let acked = |h| matches!(h, Happening::Acked { token: t } if t == token).then_some(());
        self.hears("the broker's answer", acked).await;
    }
}

#[tokio::test]
async fn what_the_broker_keeps_is_delivered_on_subscribing() {
    let Some(broker) = Mosquitto::start() else { return };
    let mut server = Peer::connected(settings(&url(&broker), "server", &["none"])).await;
    server.publishes("steer/pumps", "forward", true).await;

    let mut device = Peer::connected(settings(&url(&broker), "pump-7", &["steer/pumps"])).await;
    let kept = device.hears_message("steer/pumps").await;
    assert_eq!((&*kept.payload, kept.retained), (&b"forward"[..], true));

    server.publishes("steer/pumps", "home", true).await;
    let live = device.hears_message("steer/pumps").await;
    assert_eq!((&*live.payload, live.retained), (&b"home"[..], false));
}

/// A device's outbox is emptied through two kills of the broker. The broker acknowledges records that then
/// reach nobody, because nobody is subscribed yet when it is back; only the server's own receipt counts.
#[tokio::test]
async fn kills_of_the_broker_lose_nothing_that_the_outbox_still_has() {
    const RECORDS: u64 = 300;
    let Some(mut broker) = Mosquitto::start() else { return };
    let mut server = Peer::connected(settings(&url(&broker), "server", &["log"])).await;
    let mut device = Peer::connected(settings(&url(&broker), "pump-7", &["receipt"])).await;

    // The server answers until the device is done: a receipt may get lost, and then the record comes again.
    let servers_handle = server.handle.clone();
    let serve = tokio::spawn(async move {
        let mut seen = BTreeSet::new();
        while let Some(happening) = server.incoming.next().await {
            let Happening::Message(message) = happening else { continue };
            let number: u64 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
            seen.insert(number);
            let (topic, payload) = ("receipt".to_owned(), message.payload);
            let receipt =
                Outgoing { topic, payload, qos: Qos::AtLeastOnce, retain: false, token: Token(number) };
            // A receipt that isn't taken is one that the device asks for again, by sending again.
            let _ = server.handle.publish(receipt);
        }
        seen
    });

    let mut outbox: BTreeMap<u64, Bytes> = (0..RECORDS).map(|n| (n, n.to_string().into())).collect();
    let mut kills = vec![RECORDS / 3, RECORDS * 2 / 3];
    let (mut lost, mut sent) = (0, 0_u64);
    let mut unsent: Vec<u64> = outbox.keys().copied().collect();
    let empty_it = async {
        while !outbox.is_empty() {
            while let Some(number) = unsent.pop() {
                let Some(payload) = outbox.get(&number).cloned() else { continue };
                let (topic, token) = ("log".to_owned(), Token(number));
                let record = Outgoing { topic, payload, qos: Qos::AtLeastOnce, retain: false, token };
                match device.handle.publish(record) {
                    Ok(()) => sent += 1,
                    Err(PublishError::Full | PublishError::Offline) => {
                        unsent.push(number);
                        break;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            // Nothing for a second: a receipt is missing, so send again what has none.
            let Ok(happening) = timeout(Duration::from_secs(1), device.incoming.next()).await else {
                unsent = outbox.keys().copied().collect();
                continue;
            };
            match happening.expect("the link goes on") {
                Happening::Connected => unsent = outbox.keys().copied().collect(),
                Happening::Lost { .. } => lost += 1,
                Happening::Message(receipt) => {
                    outbox.remove(&std::str::from_utf8(&receipt.payload).unwrap().parse().unwrap());
                    if kills.first().is_some_and(|at| RECORDS - outbox.len() as u64 >= *at) {
                        kills.remove(0);
                        broker.kill();
                        broker.restart();
                    }
                }
                _ => {}
            }
        }
    };
    timeout(PATIENCE, empty_it).await.expect("the outbox is emptied");
    assert_eq!(lost, 2, "both kills were noticed");
    assert!(sent >= RECORDS);
    servers_handle.leave();
    let seen = timeout(PATIENCE, serve).await.unwrap().unwrap();
    assert_eq!(seen, (0..RECORDS).collect());
}

#[tokio::test]
async fn a_device_that_vanishes_leaves_its_will_and_one_that_says_goodbye_does_not() {
    let Some(broker) = Mosquitto::start() else { return };
    let mut server = Peer::connected(settings(&url(&broker), "server", &["presence/+"])).await;
    let with_will = |id: &str| {
        let mut settings = settings(&url(&broker), id, &["none"]);
        let topic = format!("presence/{id}");
        let payload = Bytes::from_static(b"offline");
        settings.will = Some(Will { topic, payload, retain: true, qos: Qos::AtLeastOnce });
        settings
    };
    let vanishing = Peer::connected(with_will("pump-7")).await;
    drop(vanishing);
    assert_eq!(&*server.hears_message("presence/pump-7").await.payload, b"offline");

    let mut polite = Peer::connected(with_will("pump-8")).await;
    let last = Outgoing {
        topic: "presence/pump-8".into(),
        payload: "bye".into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        token: Token(1),
    };
    polite.handle.publish(last).unwrap();
    polite.handle.leave();
    let rest = async { while polite.incoming.next().await.is_some() {} };
    timeout(PATIENCE, rest).await.expect("the link ends");
    assert_eq!(polite.handle.publish(outgoing("none")), Err(PublishError::Offline));
    assert_eq!(&*server.hears_message("presence/pump-8").await.payload, b"bye", "sent before goodbye");

    // If goodbye had not been said, the will would have come before this.
    drop(Peer::connected(with_will("pump-9")).await);
    let next = server.hears("a presence", |h| match h {
        Happening::Message(message) => Some(message.topic),
        _ => None,
    });
    assert_eq!(next.await, "presence/pump-9");
}

fn outgoing(topic: &str) -> Outgoing {
    let payload = Bytes::from_static(b"x");
    Outgoing { topic: topic.into(), payload, qos: Qos::AtLeastOnce, retain: false, token: Token(0) }
}

/// One retained message of 1 MB would cut off, for good, whoever reads 64 KiB at most. The filter is left
/// out, the others go on, and it comes back once the message is erased.
#[tokio::test]
async fn a_retained_message_that_is_too_large_costs_its_own_filter_only() {
    let Some(broker) = Mosquitto::start() else { return };
    let mut attacker = settings(&url(&broker), "attacker", &["none"]);
    attacker.outgoing_bytes_max = 2 << 20;
    let mut attacker = Peer::connected(attacker).await;
    attacker.publishes("order/pump-7", vec![b'x'; 1 << 20], true).await;
    attacker.publishes("steer/pumps", "forward", true).await;
    attacker.publishes("trust", "keys", true).await;

    let mut device = settings(&url(&broker), "pump-7", &["trust", "order/pump-7", "steer/pumps"]);
    device.poison_retry = Millis(1500);
    let mut device = Peer::start(device);
    let mut oversize = 0;
    let poisoned = device.hears("the poisoned filter", |h| match h {
        Happening::Lost { why: Trouble::Oversize { bytes, limit }, .. } => {
            assert!(bytes > 1 << 20 && limit == 64 << 10);
            oversize += 1;
            None
        }
        Happening::Poisoned { topics, .. } => Some(topics),
        _ => None,
    });
    assert_eq!(poisoned.await, "order/pump-7");
    assert_eq!(oversize, 2, "found on the second connection");
    assert_eq!(&*device.hears_message("steer/pumps").await.payload, b"forward");
    attacker.publishes("steer/pumps", "home", true).await;
    assert_eq!(&*device.hears_message("steer/pumps").await.payload, b"home");

    attacker.publishes("order/pump-7", "", true).await;
    let cured = device.hears("the cure", |h| match h {
        Happening::Cured { topics } => Some(topics),
        _ => None,
    });
    assert_eq!(cured.await, "order/pump-7");
    attacker.publishes("order/pump-7", "hold", true).await;
    assert_eq!(&*device.hears_message("order/pump-7").await.payload, b"hold");
}

/// The broker stands still with its connections open, as behind a cable that was pulled.
#[cfg(unix)]
#[tokio::test]
async fn a_broker_that_stands_still_is_left_and_found_again() {
    let Some(broker) = Mosquitto::start() else { return };
    let mut device = settings(&url(&broker), "pump-7", &["a"]);
    device.keep_alive = Millis::from_secs(1);
    let mut device = Peer::connected(device).await;
    broker.freeze(true);
    device
        .hears("the loss", |h| match h {
            Happening::Lost { why: Trouble::Slow | Trouble::Stalled { .. }, .. } => Some(()),
            Happening::Lost { why, .. } => panic!("{why}"),
            _ => None,
        })
        .await;
    broker.freeze(false);
    device.hears("the next connection", |h| matches!(h, Happening::Connected).then_some(())).await;
    device.publishes("b", "x", false).await;
}

/// What a test needs of an authority: its own certificate, and one that it signs.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "a fleet's own CA");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// Certificate and key for `name`, as PEM.
    fn signs(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn tls_trusts_the_operators_own_ca_and_nobody_else() {
    let (ours, other) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let ca = file("ca.pem", &ours.pem);
    let (server, client) = (ours.signs("localhost"), ours.signs("pump-7"));
    let stranger = other.signs("pump-7");
    let parts = [
        ("cafile", ca.clone()),
        ("certfile", file("server.pem", &server.0)),
        ("keyfile", file("server.key", &server.1)),
    ];
    let tls_part = parts.map(|(word, path)| format!("{word} {}\n", path.display())).concat();
    let Some(broker) = Mosquitto::start_with(|_, port| {
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\n{tls_part}")
    }) else {
        return;
    };
    let with = |host: &str, ca: &PathBuf, (certificate, key): &(String, String)| {
        let url = format!("mqtts://{host}:{}", broker.port());
        let mut settings = settings(&url, "pump-7", &["a"]);
        settings.tls = Some(Tls { ca: ca.clone() });
        let (certificate, key) = (file("client.pem", certificate), file("client.key", key));
        settings.identity = Identity::Certificate { certificate, key };
        settings
    };
    let refusal = |h| match h {
        Happening::Unreachable { why, .. } | Happening::Lost { why, .. } => Some(why),
        _ => None,
    };

    let mut trusted = Peer::connected(with("localhost", &ca, &client)).await;
    trusted.publishes("a", "x", false).await;
    drop(trusted);

    let mut wrong_ca = Peer::start(with("localhost", &file("other.pem", &other.pem), &client));
    assert!(matches!(wrong_ca.hears("a refusal", refusal).await, Trouble::Tls { .. }));
    let mut wrong_name = Peer::start(with("127.0.0.1", &ca, &client));
    assert!(matches!(wrong_name.hears("a refusal", refusal).await, Trouble::Tls { .. }));
    // With TLS 1.3 the broker's refusal of our certificate may come as a mere end of the connection.
    let mut unknown = Peer::start(with("localhost", &ca, &stranger));
    unknown.hears("a refusal", refusal).await;
}

#[tokio::test]
async fn a_broker_that_wants_a_password_says_so_and_gets_it_from_a_file() {
    let Some(passwd) = backstay_test_real::program("mosquitto_passwd") else { return };
    let Some(broker) = Mosquitto::start_with(|dir, port| {
        let file = dir.join("passwords");
        let made = std::process::Command::new(&passwd)
            .arg("-b")
            .arg("-c")
            .arg(&file)
            .args(["pump", "s3cret"])
            .status();
        assert!(made.unwrap().success());
        format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n", file.display())
    }) else {
        return;
    };
    let mut device = Peer::start(settings(&url(&broker), "pump-7", &["a"]));
    let why = device.hears("a refusal", |h| match h {
        Happening::Unreachable { why, .. } => Some(why.to_string()),
        _ => None,
    });
    assert_eq!(why.await, "the broker refused the connection: not authorised");

    let file = broker.dir().join("password");
    fs::write(&file, "wrong\n").unwrap();
    let mut with_password = settings(&url(&broker), "pump-8", &["a"]);
    with_password.identity = Identity::Password { user: "pump".into(), file: file.clone() };
    let mut device = Peer::start(with_password);
    device.hears("a refusal", |h| matches!(h, Happening::Unreachable { .. }).then_some(())).await;
    // The password is exchanged while the link runs.
    fs::write(&file, "s3cret\n").unwrap();
    device.hears("the connection", |h| matches!(h, Happening::Connected).then_some(())).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_in_the_file_system_works_as_well() {
    let Some(broker) = Mosquitto::start_with(|dir, port| {
        let socket = dir.join("mq.sock");
        format!("listener {port} 127.0.0.1\nlistener 0 {}\nallow_anonymous true\n", socket.display())
    }) else {
        return;
    };
    let socket = format!("unix://{}", broker.dir().join("mq.sock").display());
    let mut device = Peer::connected(settings(&socket, "pump-7", &["a"])).await;
    device.publishes("a", "x", false).await;
}

/// The broker that is built in for trying out carries the same things, in memory.
#[tokio::test]
async fn the_built_in_broker_keeps_messages_and_wills() {
    let broker = backstay_link::Broker::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("mqtt://{}", broker.address());
    let mut server = Peer::connected(settings(&url, "server", &["presence/+"])).await;
    server.publishes("steer/pumps", "forward", true).await;

    let mut device = settings(&url, "pump-7", &["steer/pumps"]);
    let (topic, payload) = ("presence/pump-7".to_owned(), Bytes::from_static(b"offline"));
    device.will = Some(Will { topic, payload, retain: true, qos: Qos::AtLeastOnce });
    let mut device = Peer::connected(device).await;
    let kept = device.hears_message("steer/pumps").await;
    assert_eq!((&*kept.payload, kept.retained), (&b"forward"[..], true));
    drop(device);
    assert_eq!(&*server.hears_message("presence/pump-7").await.payload, b"offline");

    let address = broker.address();
    drop(broker);
    server.hears("the loss", |h| matches!(h, Happening::Lost { .. }).then_some(())).await;
    assert!(std::net::TcpStream::connect(address).is_err(), "it is gone");
}
