//! The API's door: connections come in here, bounded in number, size and time, with TLS or without.
//!
//! Who is slow, says nothing or says too much costs one place for a while, and never more than a place. Not here: what
//! is asked (`api`), and which address and certificate (`config`, `setup`).

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at a time. Who comes beyond waits outside.
    pub(crate) connections_max: usize,
    /// How long the handshake of TLS may take.
    pub(crate) handshake: Duration,
    /// How long the head of a request may take, from its first byte or from the end of the request before.
    pub(crate) head: Duration,
    /// How long nothing may move, in either direction.
    pub(crate) stall: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // Devices fetch a release at about the same time, and each with one connection.
            connections_max: 1024,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(15),
            // A call may take a minute, and all that time nothing moves.
            stall: Duration::from_secs(90),
        }
    }
}

/// The most bytes of a request's head, which is also the buffer of a connection.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header fields of a request.
const FIELDS_MAX: usize = 64;
/// How long the door waits when there is no descriptor left for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// The API's door.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    bounds: Bounds,
}

impl Door {
    /// Lets in who comes to `listener`; with `tls` only who speaks it.
    pub(crate) fn new(listener: TcpListener, tls: Option<Arc<ServerConfig>>, bounds: Bounds) -> Self {
        Self { listener, tls, bounds }
    }

    /// Serves until `asked` comes; then nobody else is let in, and who is inside is waited for.
    pub(crate) async fn serve(self, router: Router, asked: impl Future<Output = ()>) {
        let Self { listener, tls, bounds } = self;
        let (tls, places) = (tls.map(TlsAcceptor::from), Arc::new(Semaphore::new(bounds.connections_max)));
        let graceful = GracefulShutdown::new();
        let mut asked = pin!(asked);
        loop {
            let comes = async {
                // A place first: who waits outside waits in the kernel's queue, which is bounded, too.
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                comes = comes => comes,
                () = &mut asked => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_of_the_caller(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "the API can't take a connection; it tries again");
                    sleep(EXHAUSTED_PAUSE).await;
                    continue;
                }
            };
            let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
            tokio::spawn(async move {
                let _place = place;
                welcome(stream, tls, router, bounds, watcher).await;
            });
        }
        drop(listener);
        graceful.shutdown().await;
    }
}

async fn welcome(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    bounds: Bounds,
    watcher: Watcher,
) {
    // Answers are small and whole; there is nothing to wait for.
    drop(stream.set_nodelay(true));
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(bounds.stall));
    stream.set_write_timeout(Some(bounds.stall));
    let stream = Box::pin(stream);
    match tls {
        None => talk(stream, router, bounds, watcher).await,
        Some(tls) => match timeout(bounds.handshake, tls.accept(stream)).await {
            Ok(Ok(stream)) => talk(stream, router, bounds, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "a caller did not get through TLS"),
            Err(_) => tracing::debug!("a caller took too long over TLS"),
        },
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    bounds: Bounds,
    watcher: Watcher,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection to the API ended early");
    }
}

/// Whether an error is about the one who came, and not about us.
fn is_of_the_caller(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::{body::Bytes, extract::DefaultBodyLimit, routing::post};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::oneshot,
        task::JoinHandle,
    };
    use tokio_rustls::TlsConnector;

    use super::*;

    /// Short enough for a test to see them over, and no test is about how short.
    const HASTY: Bounds = Bounds {
        connections_max: 2,
        handshake: Duration::from_millis(200),
        head: Duration::from_millis(200),
        stall: Duration::from_millis(400),
    };

    struct House {
        at: SocketAddr,
        stop: oneshot::Sender<()>,
        door: JoinHandle<()>,
    }

    async fn open(tls: Option<Arc<ServerConfig>>, bounds: Bounds) -> House {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let echo = post(|body: Bytes| async move { body }).layer(DefaultBodyLimit::max(1024));
        let router = Router::new().route("/", echo.get(|| async { "hello" }));
        let (stop, stopped) = oneshot::channel();
        let door = Door::new(listener, tls, bounds);
        let door = tokio::spawn(door.serve(router, async { drop(stopped.await) }));
        House { at, stop, door }
    }

    /// Everything that comes back until the other side closes.
    async fn all(stream: &mut (impl AsyncRead + Unpin)) -> String {
        let mut bytes = Vec::new();
        // A connection that was reset has said what it had to say.
        drop(stream.read_to_end(&mut bytes).await);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn says(at: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        // Who says too much may be cut off before the end of it.
        drop(stream.write_all(text.as_bytes()).await);
        all(&mut stream).await
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    #[tokio::test]
    async fn too_much_is_refused() {
        let house = open(None, Bounds::default()).await;
        assert!(says(house.at, GET).await.ends_with("hello"));
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
        assert!(says(house.at, &long).await.starts_with("HTTP/1.1 431 "));
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(100));
        assert!(says(house.at, &many).await.starts_with("HTTP/1.1 431 "));
        let large = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4096\r\n\r\n{}",
            "x".repeat(4096)
        );
        assert!(says(house.at, &large).await.starts_with("HTTP/1.1 413 "));
        assert!(says(house.at, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    }

    /// Two places, and two who hold them and say nothing, or say it one letter after the other. They are shown out, and
    /// the next one is let in.
    #[tokio::test]
    async fn who_is_slow_is_shown_out() {
        let house = open(None, HASTY).await;
        let mut silent = TcpStream::connect(house.at).await.unwrap();
        let mut slow = TcpStream::connect(house.at).await.unwrap();
        slow.write_all(b"GET / HT").await.unwrap();
        assert!(says(house.at, GET).await.ends_with("hello"), "somebody else had a place after all");
        assert!(all(&mut silent).await.is_empty());
        assert!(!all(&mut slow).await.contains("hello"));
        // A body that never comes to its end.
        let body = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf";
        assert!(!says(house.at, body).await.contains("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn who_is_inside_is_waited_for() {
        let house = open(None, Bounds::default()).await;
        let mut inside = TcpStream::connect(house.at).await.unwrap();
        inside.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo").await.unwrap();
        // Only what was accepted is inside, and an answer to another one shows that the first was.
        assert!(says(house.at, GET).await.ends_with("hello"));
        house.stop.send(()).unwrap();
        inside.write_all(b"dy").await.unwrap();
        assert!(all(&mut inside).await.ends_with("body"));
        house.door.await.unwrap();
        assert!(TcpStream::connect(house.at).await.is_err());
    }

    #[tokio::test]
    async fn with_tls_nobody_is_understood_without_it() {
        let provider = || Arc::new(rustls::crypto::ring::default_provider());
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["backstay.example".into()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (certificate, key) = (file("cert.pem", certificate.pem()), file("key.pem", key.serialize_pem()));
        let config = crate::serve::setup::tls(&certificate, &key).unwrap();
        let house = open(Some(config), HASTY).await;

        let client = |roots: RootCertStore| {
            let config =
                ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
            let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
        let name = || ServerName::try_from("backstay.example").unwrap();
        let stream = TcpStream::connect(house.at).await.unwrap();
        let mut stream = client(roots.clone()).connect(name(), stream).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        assert!(all(&mut stream).await.ends_with("hello"));

        assert!(!says(house.at, GET).await.contains("hello"), "without TLS");
        let stream = TcpStream::connect(house.at).await.unwrap();
        assert!(
            client(RootCertStore::empty()).connect(name(), stream).await.is_err(),
            "a stranger's certificate"
        );
        let stream = TcpStream::connect(house.at).await.unwrap();
        let other = ServerName::try_from("other.example").unwrap();
        assert!(client(roots).connect(other, stream).await.is_err(), "another name");
        let mut silent = TcpStream::connect(house.at).await.unwrap();
        assert!(all(&mut silent).await.is_empty(), "a handshake has an end");

        // A key that is another's, and files that hold neither.
        let stranger = file("stranger.pem", KeyPair::generate().unwrap().serialize_pem());
        for (certificate, key) in [(&certificate, &stranger), (&key, &key), (&certificate, &certificate)] {
            let why = crate::serve::setup::tls(certificate, key).unwrap_err();
            assert!(why.contains(".pem"), "{why}");
        }
        assert!(PrivateKeyDer::from_pem_file(&key).is_ok());
    }
}
