//! Where pages go: whatever is posted is kept. The first is refused, so that it has to be tried again.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// It listens on a free port of 127.0.0.1 for as long as the test runs.
#[derive(Clone)]
pub struct Pager {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Pager {
    /// Starts one.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no port: {e}"));
        let port = listener.local_addr().unwrap_or_else(|e| panic!("no port: {e}")).port();
        let pager = Self { port, heard: Arc::default() };
        let kept = pager.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (mut text, mut chunk) = (String::new(), [0; 4096]);
                // The body is one small JSON object: it ends with its brace.
                while let Ok(read @ 1..) = stream.read(&mut chunk) {
                    text.push_str(&String::from_utf8_lossy(chunk.get(..read).unwrap_or_default()));
                    if text.ends_with('}') {
                        break;
                    }
                }
                let mut heard = kept.heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push(text);
                let status = if heard.len() == 1 { "503 Service Unavailable" } else { "204 No Content" };
                drop(heard);
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
        pager
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All requests so far, as they came, the refused one with them.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
