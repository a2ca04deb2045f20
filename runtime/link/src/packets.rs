//! MQTT's packets on a stream of bytes.
//!
//! Here: reading the next one and writing one, by rumqttc's codec. Not here: what a packet leads to (`connection`), and where the stream
//! comes from (`socket`).
//!
//! Nothing is lost when a wait is dropped: what came is in `came`, and what is still to go is in `goes`.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use rumqttc::{Packet, mqttbytes::Error};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::trouble::Trouble;

/// Room for what is read at once, in bytes. A larger packet gets more as it comes.
const ROOM: usize = 2048;
/// The most room that is made for what a packet only says of its length.
const ROOM_MAX: usize = 64 * 1024;

/// A stream that packets are read from and written to.
pub(crate) struct Packets<S> {
    stream: S,
    came: Buffer,
    goes: Buffer,
    /// All that was written is with the kernel.
    flushed: bool,
    incoming_bytes_max: usize,
}

/// Bytes on their way. What a large packet took is given back when it is through: a device may have one in a year.
#[derive(Default)]
struct Buffer {
    bytes: BytesMut,
    has_grown: bool,
}

impl Buffer {
    /// If nothing is in it any more.
    fn let_go(&mut self) {
        if self.has_grown && self.bytes.is_empty() {
            *self = Self::default();
        }
    }
}

/// Without what is in it: a password goes through here.
impl<S> fmt::Debug for Packets<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packets").finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Packets<S> {
    pub(crate) fn new(stream: S, incoming_bytes_max: usize) -> Self {
        let (came, goes) = (Buffer::default(), Buffer::default());
        Self { stream, came, goes, flushed: true, incoming_bytes_max }
    }

    /// The next packet that came whole.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Packet, Trouble>> {
        loop {
            let most = self.incoming_bytes_max;
            let missing = match Packet::read(&mut self.came.bytes, most) {
                Ok(packet) => return Poll::Ready(Ok(packet)),
                Err(Error::InsufficientBytes(missing)) => missing,
                Err(error) => return Poll::Ready(Err(Trouble::of(error, most))),
            };
            self.came.let_go();
            self.came.has_grown |= missing > ROOM;
            self.came.bytes.reserve(missing.clamp(ROOM, ROOM_MAX));
            match ready!(pin!(self.stream.read_buf(&mut self.came.bytes)).poll(context)) {
                Ok(0) => return Poll::Ready(Err(Trouble::Closed)),
                Ok(_) => {}
                Err(source) => return Poll::Ready(Err(Trouble::of_io(source))),
            }
        }
    }

    /// Writes a packet, which goes out with the next flush. How large it may be is asked before it comes to this.
    pub(crate) fn write(&mut self, packet: &Packet) {
        self.flushed = false;
        packet
            .write(&mut self.goes.bytes, usize::MAX)
            .expect("it has a number if it needs one, and MQTT's longest is longer");
        self.goes.has_grown |= self.goes.bytes.len() > ROOM;
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed
    }

    /// Hands what was written to the kernel, as far as it takes it.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        while !self.goes.bytes.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(context, &self.goes.bytes);
            match ready!(written).map_err(Trouble::of_io)? {
                0 => return Poll::Ready(Err(Trouble::of_io(io::ErrorKind::WriteZero.into()))),
                written => self.goes.bytes.advance(written),
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context)).map_err(Trouble::of_io)?;
        self.goes.let_go();
        self.flushed = true;
        Poll::Ready(Ok(()))
    }

    /// How many bytes are held to read into.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.came.bytes.capacity()
    }

    pub(crate) async fn read(&mut self) -> Result<Packet, Trouble> {
        poll_fn(|context| self.poll_read(context)).await
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Trouble> {
        poll_fn(|context| self.poll_flush(context)).await
    }
}
