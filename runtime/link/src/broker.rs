//! A broker inside the server's process, for trying Backstay out on one machine (rumqttd 0.20).
//!
//! Here: plain MQTT 3.1.1 on one address, for as long as the value lives. Not here: TLS, passwords, an access
//! list, anything on disk. Whoever reaches the address may publish whatever it likes, and only signatures
//! stand against that; the broker of a real fleet is mosquitto, EMQX or the like.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use rumqttd::{ConnectionSettings, LinkType, Router, RouterConfig, Server, ServerSettings, protocol::v4::V4};
use tokio::{runtime, sync::oneshot};

/// Most clients at once. Whoever has more has a fleet.
const CLIENTS_MAX: usize = 256;
/// Largest payload in bytes.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// What one topic filter's log may hold: three segments of this many bytes. What is older is gone.
const SEGMENT_BYTES: usize = 1024 * 1024;
const SEGMENTS: usize = 3;
/// How often a free port is looked for when the system may choose it.
const TRIES: u32 = 5;

/// A broker inside this process. It ends when this is dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: Option<thread::JoinHandle<()>>,
}

/// The broker didn't start.
#[derive(Debug)]
pub enum BrokerError {
    /// The address can't be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system has no thread for it.
    Thread {
        /// Why.
        source: io::Error,
    },
    /// It ended as soon as it had begun.
    Ended {
        /// What it said.
        why: String,
    },
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, .. } => write!(f, "the built-in broker cannot listen on {address}"),
            Self::Thread { .. } => write!(f, "the built-in broker got no thread"),
            Self::Ended { why } => write!(f, "the built-in broker ended at once: {why}"),
        }
    }
}

impl std::error::Error for BrokerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::Thread { source } => Some(source),
            Self::Ended { .. } => None,
        }
    }
}

impl BrokerError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Listen { .. } => Some("stop what listens there, or use port 0 and let the system choose"),
            Self::Thread { .. } | Self::Ended { .. } => None,
        }
    }
}

impl Broker {
    /// What this broker doesn't keep, for people to read where they switch it on.
    pub const KEEPS_NOT: &str = "\
The built-in broker is for trying Backstay out. It keeps everything in memory: when this process ends, \
retained messages, subscriptions and queued messages are gone (the server publishes its steering again, and \
devices their state). A subscriber gets at most 100 retained messages for one filter at QoS 1, and the rest \
never. A slow subscriber loses what is older than about 3 MB per filter. It takes 256 clients, 256 KiB per \
message, no TLS and no passwords.";

    /// Starts a broker on `listen`; port 0 lets the system choose one.
    ///
    /// # Errors
    /// If it can't listen there.
    pub fn start(listen: SocketAddr) -> Result<Self, BrokerError> {
        let mut tries = if listen.port() == 0 { TRIES } else { 1 };
        loop {
            match Self::start_once(listen) {
                // rumqttd binds by itself, so between our choice of a port and that somebody may take it.
                Err(BrokerError::Ended { .. }) if tries > 1 => tries -= 1,
                done => return done,
            }
        }
    }

    fn start_once(listen: SocketAddr) -> Result<Self, BrokerError> {
        let failed = |source| BrokerError::Listen { address: listen, source };
        let address = TcpListener::bind(listen).and_then(|free| free.local_addr()).map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = mpsc::channel();
        let server = thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || {
                // Nobody listens once the broker has started; then there is nobody to tell.
                let _ = end.send(serve(address, stopped));
            })
            .map_err(|source| BrokerError::Thread { source })?;
        let broker = Self { address, stop: Some(stop), server: Some(server) };
        loop {
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Ok(broker);
            }
            // Also how long the next look is put off, so this doesn't turn for nothing.
            match ended.recv_timeout(Duration::from_millis(5)) {
                Ok(why) => return Err(BrokerError::Ended { why }),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(BrokerError::Ended { why: "it panicked".to_owned() });
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The other end may be gone already, and then there is nothing to stop.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.server.take().map(thread::JoinHandle::join);
    }
}

/// Runs until it is told to stop. All connections are tasks of this runtime and end with it.
fn serve(address: SocketAddr, stopped: oneshot::Receiver<()>) -> String {
    let router = Router::new(
        0,
        RouterConfig {
            max_connections: CLIENTS_MAX,
            max_outgoing_packet_count: 200,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
    )
    .spawn();
    let settings = ServerSettings {
        name: "broker".to_owned(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: PAYLOAD_BYTES_MAX,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let mut server = Server::new(settings, router, V4);
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error.to_string(),
    };
    runtime.block_on(async {
        tokio::select! {
            end = server.start(LinkType::Remote) => end.err().map(|error| error.to_string()).unwrap_or_default(),
            _ = stopped => "it was stopped".to_owned(),
        }
    })
}
