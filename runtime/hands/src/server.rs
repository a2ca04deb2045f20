//! A server that answers as a test wants it to. It says everything that it heard.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What is sent back, byte for byte; then the connection is closed, held open in silence, or asked by again.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(PartialEq)]
enum Then {
    Close,
    Hold,
    Keep,
}

impl Reply {
    pub(crate) fn ok(body: &[u8]) -> Self {
        Self::with("200 OK", &format!("Content-Length: {}", body.len()), body)
    }

    pub(crate) fn head(status: &str, header: &str) -> Self {
        Self::with(status, &format!("Content-Length: 0\r\n{header}"), b"")
    }

    pub(crate) fn with(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n\r\n");
        Self::raw([head.as_bytes(), body].concat())
    }

    pub(crate) fn raw(bytes: Vec<u8>) -> Self {
        Self { bytes, then: Then::Close }
    }

    /// The connection may be used again.
    pub(crate) fn kept(status: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        Self { bytes: [head.as_bytes(), body].concat(), then: Then::Keep }
    }

    /// No word of an end, and yet it is the end.
    pub(crate) fn then_hangs_up(self) -> Self {
        Self { then: Then::Close, ..self }
    }

    /// The connection may be used again, whatever was said.
    pub(crate) fn then_keeps(self) -> Self {
        Self { then: Then::Keep, ..self }
    }

    /// Nothing follows, and no end.
    pub(crate) fn then_holds(self) -> Self {
        Self { then: Then::Hold, ..self }
    }

    pub(crate) fn silence() -> Self {
        Self { bytes: Vec::new(), then: Then::Hold }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (all, count) = (Arc::clone(&heard), Arc::clone(&connections));
        let answer = Arc::new(Mutex::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                std::thread::spawn(move || serve(stream, &*answer, &all));
            }
        });
        Self { address, heard, connections }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Answers what comes over one connection, until it ends.
fn serve(mut stream: TcpStream, answer: &Mutex<impl Fn(&str) -> Reply>, heard: &Mutex<Vec<String>>) {
    while let Some(request) = request(&mut stream) {
        let reply = answer.lock().unwrap()(&request);
        heard.lock().unwrap().push(request);
        // Who asked may have gone away in the middle; that is its right.
        let _ = stream.write_all(&reply.bytes);
        match reply.then {
            Then::Close => return,
            Then::Hold => loop {
                std::thread::park();
            },
            Then::Keep => {}
        }
    }
}

/// Head and body, as far as the head says that there is one.
fn request(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    }
}
