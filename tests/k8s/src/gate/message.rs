//! A request or an answer of HTTP/1.1 on its way through the gate: its head, and as much of its body as has to be known.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
};

/// The longest head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// What came so far.
pub(super) struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    /// Reads a head, and what came with it.
    pub(super) fn begin(from: &mut impl Read) -> io::Result<Self> {
        let (mut came, mut chunk) = (Vec::new(), vec![0; CHUNK]);
        loop {
            if let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") {
                let body = came.split_off(end + 4);
                let head = String::from_utf8(came).map_err(io::Error::other)?;
                return Ok(Self { head, body });
            }
            let read = from.read(&mut chunk)?;
            if read == 0 || came.len() > HEAD_BYTES_MAX {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            came.extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }

    /// Reads all of a request. One without a length has no body.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut message = Self::begin(from)?;
        let length = message.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if message.field("transfer-encoding").is_some() {
            return Err(io::Error::other("a request in pieces"));
        }
        let came = message.body.len();
        message.body.resize(length, 0);
        from.read_exact(message.body.get_mut(came..).unwrap_or_default())?;
        Ok(message)
    }

    /// Method and path of a request.
    pub(super) fn asks(&self) -> (&str, &str) {
        let mut words = self.head.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// The status of an answer.
    pub(super) fn code(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The request as the server gets it: nothing after it on this connection, and with this credential if it has none.
    pub(super) fn for_server(&self, host: &str, authorization: &str) -> Vec<u8> {
        let mut more = format!("host: {host}\r\nconnection: close\r\n");
        if self.field("authorization").is_none() {
            let _ = write!(more, "authorization: {authorization}\r\n");
        }
        [self.head_without(&["host", "connection"], &more).as_bytes(), &self.body].concat()
    }

    /// The answer as the client gets it: nothing after it on this connection.
    pub(super) fn for_client(&self) -> Vec<u8> {
        [self.head_without(&["connection"], "connection: close\r\n").as_bytes(), &self.body].concat()
    }

    /// What comes of an answer after its beginning, until the server ends it.
    pub(super) fn copies_rest(
        &self,
        from: &mut impl Read,
        to: &mut impl Write,
        chunk: usize,
    ) -> io::Result<()> {
        let mut left = self.field("content-length").and_then(|length| length.parse::<usize>().ok());
        left = left.map(|length| length.saturating_sub(self.body.len()));
        let mut chunk = vec![0; chunk];
        while left != Some(0) {
            let read = match from.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                // Some servers end TLS without a word.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
            to.write_all(chunk.get(..read).unwrap_or_default())?;
            left = left.map(|left| left.saturating_sub(read));
        }
        Ok(())
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields().find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.map(|(name, value)| (name, value.trim()))
    }

    fn head_without(&self, names: &[&str], more: &str) -> String {
        let mut head = format!("{}\r\n", self.head.lines().next().unwrap_or_default());
        for (name, value) in self.fields() {
            if !names.iter().any(|without| without.eq_ignore_ascii_case(name)) {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        head + more + "\r\n"
    }
}
