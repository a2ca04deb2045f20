//! A server that answers as a test wants it to. It says everything that it heard.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// What is sent back, byte for byte; then the connection is closed, or held open in silence.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(PartialEq)]
enum Then {
    Close,
    Hold,
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

    pub(crate) fn silence() -> Self {
        Self { bytes: Vec::new(), then: Then::Hold }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = request(&mut stream) else { continue };
                let reply = answer(&request);
                all.lock().unwrap().push(request);
                // Who asked may have gone away in the middle; that is its right.
                let _ = stream.write_all(&reply.bytes);
                if reply.then == Then::Hold {
                    held.push(stream);
                }
            }
        });
        Self { address, heard }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
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
