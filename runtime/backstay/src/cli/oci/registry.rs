//! A registry: the few requests of the OCI distribution specification that a push and a pull take.
//!
//! Not here: how a request is sent and who is told who asks (`session`), and reading what comes up to a bound and holding
//! it against its digest (`oci`).

use std::{borrow::Cow, io};

use backstay_model::Digest;
use ureq::{
    Body,
    http::{Method, Response, StatusCode, header::LOCATION},
};

use super::{
    Access, Artifact, Blob, Found, Sources, Store,
    artifact::MANIFEST,
    credentials,
    place::{At, Repository, SHA256, read_digest},
    session::{Purpose, Session, told},
};
use crate::{Exit, Failure};

/// What a manifest may be. The kinds that are no bundle are asked for, too, so that they can be told from nothing.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
const BYTES: &str = "application/octet-stream";

/// One repository of a registry.
pub(super) struct Registry {
    session: Session,
    repository: Repository,
}

impl Registry {
    pub(super) fn new(
        repository: &Repository,
        purpose: Purpose,
        access: &Access,
        sources: Sources,
    ) -> Result<Self, Failure> {
        let session = Session::new(repository, purpose, access, sources)?;
        Ok(Self { session, repository: repository.clone() })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.session.origin(), self.repository.name)
    }

    /// What an answer means that is not the one that was hoped for.
    fn refused(&self, what: &str, mut answer: Response<Body>) -> Failure {
        let status = answer.status();
        let why = format!("{} answered {}", self.repository.registry, told(&mut answer));
        let (exit, help) = match status {
            StatusCode::NOT_FOUND => (Exit::NotFound, "is the reference right?"),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (Exit::Refused, credentials::HELP),
            StatusCode::METHOD_NOT_ALLOWED => (Exit::Refused, "is the registry read-only?"),
            StatusCode::PAYLOAD_TOO_LARGE => {
                (Exit::Refused, "ask whoever keeps the registry to allow for more")
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => (Exit::TimedOut, "do it again"),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
                (Exit::Unreachable, "wait a while, and do it again")
            }
            _ => (Exit::Trouble, "is it a registry of OCI artifacts, and its name right?"),
        };
        Failure::new(exit, what).why(why).help(help)
    }

    /// Where an answer says that it goes on: an address of its own, or a path.
    fn next(&self, answer: &Response<Body>) -> Option<String> {
        let next = answer.headers().get(LOCATION)?.to_str().ok()?;
        if next.starts_with('/') {
            Some(format!("{}{next}", self.session.origin()))
        } else {
            Some(next.to_owned())
        }
    }
}

impl Store for Registry {
    fn name(&self) -> Cow<'_, str> {
        self.repository.to_string().into()
    }

    fn manifest(&self, at: &At) -> Result<Found<'_>, Failure> {
        let which = match at {
            At::Tag(tag) => tag.clone(),
            At::Digest(digest) => format!("{SHA256}{digest}"),
        };
        let answer =
            self.session.ask(Method::GET, &self.url(&format!("manifests/{which}")), MANIFESTS, &[])?;
        if answer.status() != StatusCode::OK {
            return Err(self.refused(&format!("cannot get {}{at}", self.name()), answer));
        }
        let said = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        let digest = said.and_then(|text| read_digest(text).ok());
        Ok(Found { bytes: Box::new(answer.into_body().into_reader()), digest })
    }

    fn blob(&self, digest: &Digest) -> Result<Box<dyn io::Read + '_>, Failure> {
        let answer =
            self.session.ask(Method::GET, &self.url(&format!("blobs/{SHA256}{digest}")), BYTES, &[])?;
        if answer.status() != StatusCode::OK {
            return Err(self.refused(&format!("cannot get {SHA256}{digest} of {}", self.name()), answer));
        }
        Ok(Box::new(answer.into_body().into_reader()))
    }

    fn broke_off(&self, why: io::Error) -> Failure {
        let why = ureq::Error::from(why);
        if matches!(why, ureq::Error::Timeout(_) | ureq::Error::BodyStalled) {
            return self.session.unreachable(why);
        }
        Failure::new(Exit::Unreachable, format!("the answer of {} broke off", self.repository.registry))
            .why(why)
            .help("nothing of it was kept: do it again")
    }

    fn has(&self, blob: &Blob<'_>) -> Result<bool, Failure> {
        let answer = self.session.ask(
            Method::HEAD,
            &self.url(&format!("blobs/{SHA256}{}", blob.digest)),
            BYTES,
            &[],
        )?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused(&format!("cannot look into {}", self.name()), answer)),
        }
    }

    fn put(&self, blob: &Blob<'_>) -> Result<(), Failure> {
        let cannot = || format!("cannot push to {}", self.name());
        let answer = self.session.ask(Method::POST, &self.url("blobs/uploads/"), BYTES, &[])?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(self.refused(&cannot(), answer));
        }
        let Some(next) = self.next(&answer) else {
            return Err(Failure::new(Exit::Trouble, cannot()).why("it doesn't say where the bytes go"));
        };
        let and = if next.contains('?') { '&' } else { '?' };
        let address = format!("{next}{and}digest={SHA256}{}", blob.digest);
        let answer = self.session.ask(Method::PUT, &address, BYTES, blob.bytes)?;
        if answer.status().is_success() { Ok(()) } else { Err(self.refused(&cannot(), answer)) }
    }

    fn tag(&self, artifact: &Artifact<'_>, tag: &str) -> Result<(), Failure> {
        let manifest = artifact.manifest();
        let address = self.url(&format!("manifests/{tag}"));
        let answer = self.session.ask(Method::PUT, &address, MANIFEST, manifest.bytes)?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(self.refused(&format!("cannot push to {}:{tag}", self.name()), answer))
    }
}
