//! Whoever asks a server, over one connection that is kept.
//!
//! For tests that ask often, or need to know whether there was an answer. Not here: the command line, which asks anew each time.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long somebody waits who was cut off, before they ask again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// One of them.
pub struct Caller {
    server: SocketAddr,
    token: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Caller {
    /// Somebody with this token, who has not asked yet.
    #[must_use]
    pub fn new(server: SocketAddr, token: String) -> Self {
        Self { server, token, connection: None }
    }

    /// Asks until there is an answer, whatever becomes of the server meanwhile. Gives its status and its body.
    ///
    /// # Panics
    /// If there is none in a minute.
    pub fn insists(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.asks(method, path, body) {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(Instant::now() < until, "{method} {path} finds nobody: {error}");
                    thread::park_timeout(ASK_AGAIN);
                }
            }
        }
    }

    /// Asks once.
    ///
    /// # Errors
    /// If there is no answer. It may have been done.
    pub fn asks(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let answer = self.exchanges(method, path, body);
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    fn exchanges(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let stream = TcpStream::connect(self.server)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                none.insert(BufReader::new(stream))
            }
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        connection.get_mut().write_all(request.as_bytes())?;
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let before = head.len();
            if connection.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = head.get(before..).unwrap_or_default().trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut answer = vec![0; length];
        connection.read_exact(&mut answer)?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.ok_or_else(|| io::Error::other(format!("no answer of HTTP: {head}")))?;
        Ok((code, String::from_utf8_lossy(&answer).into_owned()))
    }
}
