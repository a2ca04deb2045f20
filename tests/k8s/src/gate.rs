//! A gate before the API server: whoever is to be watched asks here, and can be stopped at any of its requests.
//!
//! It passes on each request as it came, counts it, and holds the one that a test has named: before the API server hears of it, or
//! after it was done and before whoever asked hears of that. The test does then what would be bad at that moment, and lets go.
//! What was held goes on only if whoever asked is still there: a request of a process that was killed is gone before the server
//! has it, and done after it had.
//!
//! Not here: what happens at that moment (the tests), and who asks (`plant`).

use std::{
    fmt,
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::Api;

mod message;

use message::Message;

/// What is read of an answer at once.
const CHUNK: usize = 64 * 1024;

/// On which side of the API server somebody is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The API server has not heard of the request.
    Before,
    /// It has done what was asked. Whoever asked has not heard of it.
    After,
    /// Whoever asked has the answer, since a moment.
    Answered,
}

/// One request that came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// `GET`, `PATCH` and the like.
    pub method: String,
    /// Where, with what is behind `?`.
    pub path: String,
    /// How the API server answered; 0 while it has not.
    pub code: u16,
}

impl Passed {
    /// Whether it was to change anything: by its method, and a review only asks.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS") && !self.path.contains("reviews")
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.method, self.path, self.code)
    }
}

/// An HTTP server on a port of 127.0.0.1, for as long as the test runs. Clones are the same one.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    port: u16,
    /// Where the API server is.
    server: String,
    /// What who brings no credential of their own is let in with.
    authorization: String,
    tls: Arc<ClientConfig>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Which request is to be stopped.
enum Wanted {
    /// The first that comes of which this is true.
    First(Box<dyn FnMut(&Passed) -> bool + Send>, Moment),
    /// The one with this number has come.
    Came(usize, Moment),
}

#[derive(Default)]
struct State {
    passed: Vec<Passed>,
    stop: Option<Wanted>,
    /// Somebody is stopped, and so is everybody who comes.
    closed: bool,
}

impl Gate {
    /// Opens one before the API server of `api`, whose certificate goes back to `ca`.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn open(api: &Api, ca: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no port: {e}"));
        let port = listener.local_addr().unwrap_or_else(|e| panic!("no port: {e}")).port();
        let ca = CertificateDer::from_pem_file(ca).unwrap_or_else(|e| panic!("not a certificate: {e}"));
        let mut roots = RootCertStore::empty();
        roots.add(ca).unwrap_or_else(|e| panic!("not an authority: {e}"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.unwrap_or_else(|e| panic!("no TLS: {e}")).with_root_certificates(roots);
        let gate = Self(Arc::new(Inner {
            port,
            server: api.server().trim_start_matches("https://").to_owned(),
            authorization: api.authorization().to_owned(),
            tls: Arc::new(tls.with_no_client_auth()),
            state: Mutex::default(),
            changed: Condvar::new(),
        }));
        let stands = gate.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let gate = stands.clone();
                // Whoever breaks off has no answer, and that is all.
                thread::spawn(move || drop(gate.passes(stream)));
            }
        });
        gate
    }

    /// Its address: `http://127.0.0.1:...`
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// A configuration for `helm` and `kubectl` that leads through here.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "gate", "cluster": {"server": self.base()}}],
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": ""}}],
            "current-context": "gate",
        })
        .to_string()
    }

    /// What came through since the last [`Gate::counts_anew`], in the order in which it came.
    #[must_use]
    pub fn passed(&self) -> Vec<Passed> {
        self.state().passed.clone()
    }

    /// Forgets what came through.
    pub fn counts_anew(&self) {
        self.state().passed.clear();
    }

    /// From now on the first request that is `wanted` is stopped at this moment, and everybody who comes after that.
    pub fn stops(&self, wanted: impl FnMut(&Passed) -> bool + Send + 'static, moment: Moment) -> Stop<'_> {
        let mut state = self.state();
        state.stop = Some(Wanted::First(Box::new(wanted), moment));
        state.closed = false;
        Stop(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request, and its answer. Nobody asks twice by one connection, so that an answer ends with it.
    fn passes(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let request = Message::read(&mut client)?;
        let number = self.comes(&request);
        self.is_stopped(number, Moment::Before, &client)?;
        let request = request.for_server(&self.0.server, &self.0.authorization);
        let mut server = self.connects()?;
        server.write_all(&request)?;
        server.flush()?;
        let answer = Message::begin(&mut server)?;
        if let Some(passed) = self.state().passed.get_mut(number) {
            passed.code = answer.code();
        }
        self.is_stopped(number, Moment::After, &client)?;
        client.write_all(&answer.for_client())?;
        // What is followed may have no end: each piece goes on as it comes.
        answer.copies_rest(&mut server, &mut client, CHUNK)?;
        drop(client);
        self.closes(&mut self.state(), number, Moment::Answered);
        Ok(())
    }

    /// Counts a request.
    fn comes(&self, request: &Message) -> usize {
        let (method, path) = request.asks();
        let passed = Passed { method: method.into(), path: path.into(), code: 0 };
        let mut state = self.state();
        let number = state.passed.len();
        if let Some(Wanted::First(wanted, moment)) = &mut state.stop
            && wanted(&passed)
        {
            state.stop = Some(Wanted::Came(number, *moment));
        }
        state.passed.push(passed);
        number
    }

    fn connects(&self) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.0.tls), name).map_err(io::Error::other)?;
        let stream = TcpStream::connect(&self.0.server)?;
        stream.set_nodelay(true)?;
        Ok(StreamOwned::new(connection, stream))
    }

    /// Waits here while somebody is stopped. An error if whoever asked has gone meanwhile.
    fn is_stopped(&self, number: usize, moment: Moment, client: &TcpStream) -> io::Result<()> {
        let mut state = self.state();
        self.closes(&mut state, number, moment);
        if !state.closed {
            return Ok(());
        }
        while state.closed {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        is_there(client)
    }

    /// Nobody passes any more, if this is the request that was wanted.
    fn closes(&self, state: &mut State, number: usize, moment: Moment) {
        if let Some(Wanted::Came(came, at)) = state.stop
            && (came, at) == (number, moment)
        {
            state.stop = None;
            state.closed = true;
            self.0.changed.notify_all();
        }
    }
}

/// Somebody is to be stopped. When this is dropped, whoever still is there goes on.
#[must_use]
pub struct Stop<'a>(&'a Gate);

impl Stop<'_> {
    /// Waits until somebody is, or until `gives_up` says that nobody will be. Whether somebody was.
    pub fn is_reached(&self, mut gives_up: impl FnMut() -> bool) -> bool {
        /// How often is asked whether it is in vain.
        const LOOK_AGAIN: Duration = Duration::from_millis(100);
        let mut asked = Instant::now();
        let mut state = self.0.state();
        while !state.closed {
            if asked.elapsed() >= LOOK_AGAIN {
                drop(state);
                if gives_up() {
                    return false;
                }
                asked = Instant::now();
                state = self.0.state();
                continue;
            }
            let wait = self.0.0.changed.wait_timeout(state, LOOK_AGAIN);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.stop = None;
        state.closed = false;
        self.0.0.changed.notify_all();
    }
}

/// Whether whoever asked still waits for an answer.
fn is_there(client: &TcpStream) -> io::Result<()> {
    client.set_nonblocking(true)?;
    let peeked = client.peek(&mut [0]);
    client.set_nonblocking(false)?;
    match peeked {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
