//! Plugin bundles as OCI artifacts: in an image layout on disk, or in a registry.
//!
//! Here: how an artifact gets there and back whole, and the two kinds of [`Store`] that it can be in. Everything that
//! comes out is read up to a bound, whatever length it claims, and held against its digest: the manifest against the
//! digest that was asked for, the bundle against the manifest. Not here: whether a bundle may run. That is as unknown
//! behind a digest as before it; a keyring says it, and whatever loads a bundle asks one.

mod artifact;
#[cfg(test)]
mod conversation;
mod credentials;
mod layout;
mod place;
mod registry;
mod session;
mod token;

use std::{
    borrow::Cow,
    io::{self, Read},
};

use backstay_model::Digest;

pub(crate) use self::{
    artifact::Claim,
    layout::Layout,
    place::{At, Place, layout_folder},
    session::Access,
};
use self::{
    artifact::{Artifact, Blob, Layer, MANIFEST_BYTES_MAX},
    credentials::Sources,
    place::SHA256,
    registry::Registry,
    session::Purpose,
};
use crate::{Exit, Failure, file};

/// Something that keeps artifacts.
trait Store {
    /// How it is told.
    fn name(&self) -> Cow<'_, str>;
    /// The manifest, and the digest that the store itself says it has.
    fn manifest(&self, at: &At) -> Result<Found<'_>, Failure>;
    /// The bytes that are kept under a digest.
    fn blob(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Failure>;
    /// What it means that reading these broke off.
    fn broke_off(&self, why: io::Error) -> Failure;
    /// Whether it has these bytes.
    fn has(&self, blob: &Blob<'_>) -> Result<bool, Failure>;
    /// Takes bytes in.
    fn put(&self, blob: &Blob<'_>) -> Result<(), Failure>;
    /// Takes a manifest in, whose parts it has, and gives it a name. Another one loses the name, and nothing else.
    fn tag(&self, artifact: &Artifact<'_>, tag: &str) -> Result<(), Failure>;
}

struct Found<'a> {
    bytes: Box<dyn Read + 'a>,
    digest: Option<Digest>,
}

/// What came of a push.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// Names the artifact, for good.
    pub(crate) digest: Digest,
    /// What wasn't there before, in bytes: parts and manifest.
    pub(crate) sent: u64,
    /// What had the name before, if that was something else.
    pub(crate) replaced: Option<Digest>,
    /// Whether anything was changed.
    pub(crate) changed: bool,
}

/// A bundle as it came, whole and unbelieved.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

/// Brings a bundle to a place. What is there already isn't sent again.
pub(crate) fn push(bundle: &[u8], claim: &Claim, to: &Place, access: &Access) -> Result<Pushed, Failure> {
    let artifact = Artifact::of(bundle, claim)?;
    let by_digest = || {
        Failure::new(Exit::Usage, format!("{to} names no tag"))
            .help("a digest comes of what is pushed; name a tag, as in registry.example/team/pump:1.0.0")
    };
    match to {
        Place::Layout(folder, At::Tag(tag)) => push_to(&Layout::make(folder)?, &artifact, tag),
        Place::Registry(repository, At::Tag(tag)) => push_to(
            &Registry::new(repository, Purpose::Push, access, Sources::environment())?,
            &artifact,
            tag,
        ),
        Place::Layout(_, At::Digest(_)) | Place::Registry(_, At::Digest(_)) => Err(by_digest()),
    }
}

fn push_to(store: &impl Store, artifact: &Artifact<'_>, tag: &str) -> Result<Pushed, Failure> {
    let mut sent = 0;
    for blob in artifact.blobs() {
        if !store.has(&blob)? {
            store.put(&blob)?;
            sent += blob.bytes.len() as u64;
        }
    }
    let manifest = artifact.manifest();
    // Not by what the store says of itself, but by the bytes: they are few.
    let before = match manifest_of(store, &At::Tag(tag.into())) {
        Ok((digest, _)) => Some(digest),
        Err(failure) if matches!(failure.exit(), Exit::NotFound | Exit::Untrusted) => None,
        Err(failure) => return Err(failure),
    };
    if before != Some(manifest.digest) {
        store.tag(artifact, tag)?;
        sent += manifest.bytes.len() as u64;
    }
    let replaced = before.filter(|digest| *digest != manifest.digest);
    Ok(Pushed { digest: manifest.digest, sent, replaced, changed: sent > 0 })
}

/// Fetches a bundle. It is what the place names, and nobody has looked into it.
pub(crate) fn pull(from: &Place, access: &Access) -> Result<Pulled, Failure> {
    match from {
        Place::Layout(folder, at) => pull_from(&Layout::open(folder)?, at),
        Place::Registry(repository, at) => {
            pull_from(&Registry::new(repository, Purpose::Pull, access, Sources::environment())?, at)
        }
    }
}

fn pull_from(store: &impl Store, at: &At) -> Result<Pulled, Failure> {
    let place = format!("{}{at}", store.name());
    let (digest, manifest) = manifest_of(store, at)?;
    let layer = Layer::of(&manifest, &place)?;
    let bytes = read(store, store.blob(&layer.digest)?, layer.bytes, "bundle")?;
    let (has, says) = (bytes.len() as u64, layer.bytes);
    if has != says {
        return Err(Failure::new(Exit::Untrusted, format!("the bundle of {place} is not whole"))
            .why(format!("it has {has} bytes, and its manifest says {says}"))
            .help("pull it again; if it stays so, push it anew"));
    }
    holds("bundle", &place, &layer.digest, &file::digest_of(&bytes))?;
    Ok(Pulled { digest, bytes })
}

/// A manifest with its digest, which is the one that was asked for.
fn manifest_of(store: &impl Store, at: &At) -> Result<(Digest, Vec<u8>), Failure> {
    let place = format!("{}{at}", store.name());
    let found = store.manifest(at)?;
    let said = found.digest;
    let bytes = read(store, found.bytes, MANIFEST_BYTES_MAX, "manifest")?;
    let digest = file::digest_of(&bytes);
    let named = match at {
        At::Digest(digest) => Some(*digest),
        At::Tag(_) => said,
    };
    if let Some(named) = named {
        holds("manifest", &place, &named, &digest)?;
    }
    Ok((digest, bytes))
}

fn holds(what: &str, place: &str, named: &Digest, has: &Digest) -> Result<(), Failure> {
    if named == has {
        return Ok(());
    }
    Err(Failure::new(Exit::Untrusted, format!("the {what} of {place} is not what its digest says"))
        .why(format!("it has {SHA256}{has}, and {SHA256}{named} was named"))
        .help("nothing of it was kept; pull it again, and if it stays so, tell whoever keeps the place"))
}

/// Reads up to `max` bytes, and one more to see that there is none. No length that anybody claims is believed.
fn read(store: &impl Store, from: impl Read, max: u64, what: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    from.take(max + 1).read_to_end(&mut bytes).map_err(|why| store.broke_off(why))?;
    if bytes.len() as u64 <= max {
        return Ok(bytes);
    }
    Err(Failure::new(
        Exit::Untrusted,
        format!("the {what} from {} goes on behind its {max} bytes", store.name()),
    )
    .help("nothing of it was kept; does the reference name a plugin bundle?"))
}

#[cfg(test)]
mod tests;
