//! What bytes to the broker go through: TCP, TLS over it, or a socket in the file system.
//!
//! Here: getting there, and which of them it is. Not here: what the bytes are (`packets`), how long all of it may take (`link`), and what
//! TLS is told (`files`).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{address::Place, settings::SettingsError, trouble::Trouble};

/// How long an address of a name may take, if there is another. A route that leads nowhere says nothing.
const ADDRESS: Duration = Duration::from_secs(5);

/// A connection, without a word of MQTT yet.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    /// Boxed: its state is a hundred times as large as the others, which most devices inside of a plant have.
    Tls(Box<TlsStream<TcpStream>>),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Socket {
    /// Goes there. Of several addresses of a name each has its turn, until one takes us.
    pub(crate) async fn connect(place: &Place, tls: Option<Arc<ClientConfig>>) -> Result<Self, Trouble> {
        match place {
            Place::Plain { host, port } => Ok(Self::Plain(tcp(host, *port).await.map_err(Trouble::of_io)?)),
            Place::Tls { host, port } => {
                let config = tls.ok_or(Trouble::Files { source: SettingsError::NoCa })?;
                let name = ServerName::try_from(host.clone());
                let name = name.map_err(|source| Trouble::Tls { source: source.into() })?;
                let stream = tcp(host, *port).await.map_err(Trouble::of_io)?;
                let stream =
                    TlsConnector::from(config).connect(name, stream).await.map_err(Trouble::of_io)?;
                Ok(Self::Tls(Box::new(stream)))
            }
            #[cfg(unix)]
            Place::Socket { path } => {
                Ok(Self::Unix(tokio::net::UnixStream::connect(path).await.map_err(Trouble::of_io)?))
            }
            #[cfg(not(unix))]
            Place::Socket { .. } => Err(Trouble::of_io(io::ErrorKind::Unsupported.into())),
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = lookup_host((host, port)).await?.peekable();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(address) = addresses.next() {
        let connects = TcpStream::connect(address);
        let connected = match addresses.peek() {
            Some(_) => {
                timeout(ADDRESS, connects).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
            None => connects.await,
        };
        match connected {
            Ok(stream) => {
                // Packets are small, and each is waited for.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(why) => failed = why,
        }
    }
    Err(failed)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
