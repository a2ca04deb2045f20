//! A double of a flag server: it answers evaluations as OFREP says, and changes a flag on `PUT /flags/KEY`.
//!
//! A double, because flag servers are heavy and the part of the protocol that counts is one request. What it answers is
//! `evaluationSuccess` and `flagNotFound` of service/openapi.yaml of github.com/open-feature/protocol. It takes a body only if the
//! request says that it is JSON, as the strictest of them do.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread,
};

/// A server on a free port of 127.0.0.1, for as long as the test runs.
#[derive(Clone)]
pub struct FlagsDouble {
    port: u16,
    flags: Arc<Mutex<BTreeMap<String, bool>>>,
    /// Held to read by whoever acts on what it has seen.
    acting: Arc<RwLock<()>>,
}

impl FlagsDouble {
    /// Starts one that knows these flags, all of them off.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start<const N: usize>(keys: [&str; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no port: {e}"));
        let port = listener.local_addr().unwrap_or_else(|e| panic!("no port: {e}")).port();
        let flags = Arc::new(Mutex::new(keys.map(|key| (key.to_owned(), false)).into()));
        let double = Self { port, flags, acting: Arc::default() };
        let serves = double.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Whoever breaks off has no answer, and that is all.
                let _ = serves.answer(stream);
            }
        });
        double
    }

    /// Its address.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether a flag is on, as code with a flag client of its own sees it.
    #[must_use]
    pub fn is_on(&self, key: &str) -> bool {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or(false)
    }

    /// Does something that goes by flags.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let _acting = self.acting.read().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Waits until nobody acts any more on what a flag was.
    pub fn settle(&self) {
        drop(self.acting.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Turns a flag past everybody, as somebody at the flag server's own page would.
    pub fn turn(&self, key: &str, on: bool) {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner).insert(key.into(), on);
    }

    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        let (mut length, mut is_json) = (0, false);
        while reader.read_line(&mut head)? > 2 {
            let line = head.lines().last().unwrap_or_default().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if let Some(value) = line.strip_prefix("content-type:") {
                is_json = value.trim() == "application/json";
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (status, said) = match is_json {
            true => self.said(method, path, &String::from_utf8_lossy(&body)),
            false => ("415 Unsupported Media Type", String::new()),
        };
        let length = said.len();
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{said}"
        )
    }

    fn said(&self, method: &str, path: &str, body: &str) -> (&'static str, String) {
        let mut flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |key| ("404 Not Found", format!(r#"{{"key":"{key}","errorCode":"FLAG_NOT_FOUND"}}"#));
        if let Some(key) = path.strip_prefix("/ofrep/v1/evaluate/flags/").filter(|_| method == "POST") {
            return match flags.get(key) {
                Some(value) => {
                    let variant = if *value { "on" } else { "off" };
                    let said = format!(
                        r#"{{"key":"{key}","reason":"STATIC","variant":"{variant}","value":{value}}}"#
                    );
                    ("200 OK", said)
                }
                None => missing(key),
            };
        }
        let Some(key) = path.strip_prefix("/flags/").filter(|_| method == "PUT") else { return missing("") };
        match (flags.get_mut(key), body) {
            (Some(flag), r#"{"enabled":true}"#) => *flag = true,
            (Some(flag), r#"{"enabled":false}"#) => *flag = false,
            (Some(_), _) => return ("400 Bad Request", String::new()),
            (None, _) => return missing(key),
        }
        ("204 No Content", String::new())
    }
}
