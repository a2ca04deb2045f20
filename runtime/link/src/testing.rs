//! A broker that is nothing but bytes: what a connection hears of them, whatever they are.
//!
//! Not here: sockets, waiting, and what the link does about what it hears.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use backstay_model::Millis;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    Bytes, Filter, Message, Outgoing, Qos, Settings, SettingsError, Token, Trouble,
    connection::{Connection, Heard, Turn},
};

/// What a connection heard, as it is told to the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A message, and whether it is to be acknowledged.
    Message(Message, bool),
    /// It has a publish of ours.
    Acked(Token),
    /// For each filter that we asked for, whether it lets us listen.
    Subscribed(Vec<bool>),
    /// It answered a ping.
    Alive,
}

/// What was heard until the connection ended, and why it did.
///
/// The broker says all of `bytes`, in pieces of `piece` bytes (at least 1), reads whatever it is told, and hangs up. Meanwhile we have
/// subscribed one filter and published twice, as packets 1 to 3. At most `incoming_bytes_max` bytes of a packet are read.
///
/// # Errors
/// If no link can work with that bound.
pub async fn listen(
    bytes: &[u8],
    piece: usize,
    incoming_bytes_max: usize,
) -> Result<(Vec<Said>, Trouble), SettingsError> {
    let address = "mqtt://broker".parse().expect("it is an address");
    let mut settings = Settings::new(address, "pump-7", 7);
    settings.filters.push(Filter { topics: "a".into(), qos: Qos::AtLeastOnce });
    settings.keep_alive = Millis::from_secs(30);
    settings.incoming_bytes_max = incoming_bytes_max;
    settings.check()?;
    let mut said = Vec::new();
    let why = converse(Broker { says: bytes, piece: piece.max(1) }, &settings, &mut said).await;
    Ok((said, why.expect_err("a broker that hangs up is heard")))
}

async fn converse(broker: Broker<'_>, settings: &Settings, said: &mut Vec<Said>) -> Result<(), Trouble> {
    let mut connection = Connection::introduce(broker, settings, None, None).await?;
    connection.subscribe(settings, &[0]);
    for token in [1, 2].map(Token) {
        let payload = Bytes::from_static(b"x");
        let outgoing = Outgoing { topic: "b".into(), payload, qos: Qos::AtLeastOnce, retain: false, token };
        connection.publish(outgoing);
    }
    loop {
        let heard = match connection.turn().await {
            Turn::Heard(heard) => heard?,
            Turn::Flush => {
                connection.flush().await?;
                continue;
            }
        };
        said.push(match heard {
            Heard::Message(message, number) => {
                if let Some(number) = number {
                    connection.acknowledge(number);
                }
                Said::Message(message, number.is_some())
            }
            Heard::Acked(token) => Said::Acked(token),
            Heard::Subscribed(answers) => {
                Said::Subscribed(answers.into_iter().map(|(_, lets_us)| lets_us).collect())
            }
            Heard::Alive => Said::Alive,
        });
    }
}

struct Broker<'a> {
    says: &'a [u8],
    piece: usize,
}

impl AsyncRead for Broker<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let broker = self.get_mut();
        let now = broker.says.len().min(broker.piece).min(into.remaining());
        let (now, later) = broker.says.split_at(now);
        into.put_slice(now);
        broker.says = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Broker<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
