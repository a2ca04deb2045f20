//! Where a Prometheus is: its address as it is written, or its name looked up now and then.
//!
//! ureq looks a name up for each question, over a connection that is open as well, and makes a thread for it, for an address too.
//! At 27 questions a second that was two fifths of what asking took (`runtime/decisions/0025`). Not here: connections.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// How long an address is good for. A connection that is open stays where it is for as long as that anyway.
const KEPT: Duration = Duration::from_secs(30);

/// Looks up one host, and keeps what it found for [`KEPT`].
#[derive(Debug, Default)]
pub(crate) struct OfOneHost {
    asking: DefaultResolver,
    found: Mutex<Option<(Instant, ResolvedSocketAddrs)>>,
}

impl Resolver for OfOneHost {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        if let Some(address) = written(uri) {
            let mut one = self.empty();
            one.push(address);
            return Ok(one);
        }
        let kept = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, addresses)) = kept.filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(addresses);
        }
        let addresses = self.asking.resolve(uri, config, timeout)?;
        let found = Some((Instant::now(), addresses.clone()));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(addresses)
    }
}

/// The address that stands in `uri`, if it is one and not a name.
fn written(uri: &Uri) -> Option<SocketAddr> {
    let usual = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(address, uri.port_u16().unwrap_or(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_it_is_written() {
        let address = |uri: &str| written(&uri.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(address("http://127.0.0.1:9090/api").as_deref(), Some("127.0.0.1:9090"));
        assert_eq!(address("https://[::1]/api").as_deref(), Some("[::1]:443"));
        assert_eq!(address("http://10.1.2.3/").as_deref(), Some("10.1.2.3:80"));
        assert_eq!(address("http://localhost:9090/"), None);
        assert_eq!(address("http://1.2.3:9090/"), None);
    }
}
