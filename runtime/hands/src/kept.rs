//! Connections to an endpoint, and which of them are used again.
//!
//! Over a kept connection a request saves the two or three ways there and back that a handshake takes, and its arithmetic: on
//! one machine, over TLS 1.3 with a session that is resumed, it takes 1.0 ms in place of 1.7 (debug build, 40 KiB of answer). To
//! a server that is 20 ms away it saves 40. Not here: what is asked, and of whom (`endpoint`, `guarded`).
//!
//! A server may hang up on a kept connection at any time. The client looks for that before it uses one, so it doesn't see
//! only what happens in that very moment; a machine that went down without a word it never sees. Then a request fails that
//! would have gone through over a new connection, nobody knows whether it arrived, and the client doesn't ask again by itself.
//!
//! - What only looks may be asked twice (RFC 9110, 9.2.2). So it goes over kept connections, and where one of them ends before
//!   it has answered, once more over a new one.
//! - What changes something may not be asked twice by us: its run would have to look first, and to wait before it does. So
//!   it never goes over a kept connection, and what fails then has failed.

use std::{io, time::Duration};

use ureq::{Agent, http, tls::ClientCert};

use crate::{
    endpoint::Endpoint,
    http::{Roots, client_as},
};

/// How many connections of an endpoint are kept. The next request closes those that are idle for too long; until
/// there is one, they stay.
const KEPT_MAX: usize = 4;
/// How long a connection may have been idle and still be used. It spans the pauses of a run that waits for something, and
/// hardly a server or a load balancer hangs up sooner.
const KEPT_AGE: Duration = Duration::from_secs(10);

/// What comes of asking.
type Asked = Result<http::Response<ureq::Body>, ureq::Error>;

/// Whether a request only looks.
pub(crate) fn looks(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

/// What asks one endpoint.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Each time over a connection of its own.
    fresh: Agent,
    keeping: Agent,
}

impl Clients {
    pub(crate) fn new(endpoint: &Endpoint, certificate: Option<ClientCert>, roots: &Roots) -> Self {
        let timeout = Some(Duration::from_millis(endpoint.timeout.0));
        let keeping = client_as(certificate.clone(), roots, 0, |config| {
            config
                .timeout_global(timeout)
                .max_idle_connections(KEPT_MAX)
                .max_idle_connections_per_host(KEPT_MAX)
                .max_idle_age(KEPT_AGE)
        });
        Self { fresh: endpoint.client(certificate, roots), keeping }
    }

    /// A request to `endpoint`, ready to be made where it may block. One that looks may take twice its time.
    pub(crate) fn ask(
        &self,
        endpoint: &Endpoint,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        more: Option<(&str, http::HeaderValue)>,
    ) -> impl FnOnce() -> Asked + Send + use<> {
        let kept = looks(method).then(|| endpoint.ask(&self.keeping, method, path, body, more.clone()));
        let fresh = endpoint.ask(&self.fresh, method, path, body, more);
        move || match kept.map(|ask| ask()) {
            Some(Err(error)) if hung_up(&error) => fresh(),
            Some(asked) => asked,
            None => fresh(),
        }
    }
}

/// Whether a connection ended before there was an answer.
fn hung_up(error: &ureq::Error) -> bool {
    let ended = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::BrokenPipe,
    ];
    matches!(error, ureq::Error::Io(error) if ended.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeMap};

    use backstay_model::{Answer, Millis, Name, Outcome, Transience};

    use crate::{
        Content, Endpoint, GuardedEndpoint, GuardedEndpoints, HttpGrant, Roots,
        server::{Reply, Server},
    };

    fn endpoints(server: &Server) -> GuardedEndpoints {
        let endpoint = GuardedEndpoint {
            endpoint: Endpoint {
                base: server.url(""),
                headers: BTreeMap::new(),
                timeout: Millis::from_secs(30),
            },
            credential: None,
            certificate: None,
            grant: HttpGrant::new(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], &["/"]).unwrap(),
            response_bytes_max: 1000,
            content: Content::Any,
        };
        GuardedEndpoints::new(BTreeMap::from([(name(), endpoint)]), &Roots::none()).unwrap()
    }

    fn name() -> Name {
        Name::parse("api").unwrap()
    }

    async fn status(endpoints: &GuardedEndpoints, method: &str) -> u16 {
        let answer = endpoints.request(&name(), method, "/x", b"").await;
        let Answer::Response { status, .. } = answer else { panic!("{method}: {answer:?}") };
        status
    }

    #[tokio::test]
    async fn looks_share_a_connection_and_each_change_has_its_own() {
        let server = Server::start(|heard| match heard.starts_with("HEAD") {
            true => Reply::kept("200 OK", b""),
            false => Reply::kept("201 Created", b"as it is now"),
        });
        let endpoints = endpoints(&server);
        for method in ["GET", "PATCH", "GET", "HEAD", "PUT", "GET", "POST", "DELETE", "GET"] {
            status(&endpoints, method).await;
        }
        assert_eq!((server.heard().len(), server.connections()), (9, 1 + 4));
    }

    /// It says that it is up, and hangs up while it is being asked something else.
    #[tokio::test]
    async fn a_look_that_meets_a_dead_connection_is_asked_again() {
        let seen = Cell::new(0);
        let server = Server::start(move |_| {
            seen.set(seen.get() + 1);
            match seen.get() {
                2 | 4 => Reply::raw(Vec::new()),
                _ => Reply::kept("200 OK", b"up"),
            }
        });
        let endpoints = endpoints(&server);
        for _ in 0..3 {
            assert_eq!(status(&endpoints, "GET").await, 200);
        }
        // The new connection that answers is not one that is kept: the third look has one of its own again, which dies, too.
        assert_eq!((server.heard().len(), server.connections()), (5, 4));
    }

    /// Whatever it does to connections, a change is heard once, over a connection that nobody asked by before.
    #[tokio::test]
    async fn a_change_never_meets_a_dead_connection_and_is_never_asked_twice() {
        let server = Server::start(|heard| match heard.starts_with("GET") {
            true => Reply::kept("200 OK", b"up").then_hangs_up(),
            false => Reply::raw(Vec::new()),
        });
        let endpoints = endpoints(&server);
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert_eq!(status(&endpoints, "GET").await, 200);
            let answer = endpoints.request(&name(), method, "/x", b"").await;
            let Answer::Failed(Outcome::Failed { transience: Transience::Transient, .. }) = answer else {
                panic!("{method}: {answer:?}")
            };
            let heard = server.heard();
            assert_eq!(heard.iter().filter(|heard| heard.starts_with(method)).count(), 1);
        }
    }

    /// Its answer is whole, and then the line goes dead without a word: that is seen before the next look, which needs no
    /// second try.
    #[tokio::test]
    async fn a_connection_that_ended_meanwhile_is_not_used() {
        let server = Server::start(|_| Reply::kept("200 OK", b"up").then_hangs_up());
        let endpoints = endpoints(&server);
        for _ in 0..3 {
            assert_eq!(status(&endpoints, "GET").await, 200);
        }
        assert_eq!(server.connections(), 3);
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_on_everybody_is_asked_twice_and_no_more() {
        let server = Server::start(|_| Reply::raw(Vec::new()));
        let answer = endpoints(&server).request(&name(), "GET", "/x", b"").await;
        assert!(
            matches!(answer, Answer::Failed(Outcome::Failed { transience: Transience::Transient, .. })),
            "{answer:?}"
        );
        assert_eq!((server.heard().len(), server.connections()), (2, 2));
    }
}
