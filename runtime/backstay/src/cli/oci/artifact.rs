//! What a plugin bundle looks like as an OCI artifact: an image manifest with the type of bundles, the empty
//! configuration, and the bundle as it is in its only layer.
//!
//! Here: making such a manifest, and reading one that somebody made. The annotations are for people and for lists in a
//! registry; they are written from what the bundle says of itself, and nothing here reads them again. Not here: where
//! it is kept (`layout`, `registry`).
//!
//! The same bundle always makes the same manifest, byte for byte, so doing it twice is doing it once.

use std::collections::HashMap;

use backstay_model::Digest;
use backstay_trust::{Bundle, Domain, Grant, PluginRelease, Statement};
use oci_spec::image::{
    ANNOTATION_TITLE, ANNOTATION_VERSION, Descriptor, ImageManifest, ImageManifestBuilder, MediaType,
    SCHEMA_VERSION, Sha256Digest,
};
use serde::Serialize;

use super::place::SHA256;
use crate::{Exit, Failure, file, text};

/// The type of the artifact, and of its layer.
pub(super) const BUNDLE: &str = "application/vnd.backstay.plugin.bundle.v1";
/// The type of its manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The largest manifest, in bytes. Ours have about 1.5 KB.
pub(super) const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The configuration of an artifact that has none, as the image specification writes it.
const EMPTY: &[u8] = b"{}";

/// What a bundle says of itself. Nothing of it was checked.
#[derive(Debug, Serialize)]
pub(crate) struct Claim {
    pub(crate) id: String,
    pub(crate) version: String,
    world: String,
    fleet: String,
    release: Digest,
    release_sequence: u64,
    grant: Digest,
    grant_sequence: u64,
}

impl Claim {
    /// Reads release and grant of a bundle, and believes neither.
    pub(crate) fn of(bundle: &Bundle<'_>) -> Result<Self, Failure> {
        let release = statement(bundle.release, Domain::PluginRelease)?;
        let grant = statement(bundle.grant, Domain::Grant)?;
        let said: PluginRelease = body(&release)?;
        let granted: Grant = body(&grant)?;
        if granted.release != release.digest() {
            let what = "the grant in the bundle is about another release than the one beside it";
            return Err(
                Failure::new(Exit::Untrusted, what).help("make the bundle anew: backstay plugin grant")
            );
        }
        Ok(Self {
            id: said.id.to_string(),
            version: said.version.to_string(),
            world: said.world.to_string(),
            fleet: grant.audience().fleet().map(ToString::to_string).unwrap_or_default(),
            release: release.digest(),
            release_sequence: release.stamp().sequence,
            grant: grant.digest(),
            grant_sequence: grant.stamp().sequence,
        })
    }

    /// The name of the file that other tools write the layer to.
    fn file(&self) -> String {
        format!("{}-{}.bundle", self.id.replace('/', "-"), self.version)
    }

    fn annotations(&self) -> HashMap<String, String> {
        let said = [
            (ANNOTATION_TITLE, self.id.clone()),
            (ANNOTATION_VERSION, self.version.clone()),
            ("io.backstay.plugin.id", self.id.clone()),
            ("io.backstay.plugin.version", self.version.clone()),
            ("io.backstay.plugin.world", self.world.clone()),
            ("io.backstay.plugin.fleet", self.fleet.clone()),
            ("io.backstay.plugin.release.digest", format!("{SHA256}{}", self.release)),
            ("io.backstay.plugin.release.sequence", self.release_sequence.to_string()),
            ("io.backstay.plugin.grant.digest", format!("{SHA256}{}", self.grant)),
            ("io.backstay.plugin.grant.sequence", self.grant_sequence.to_string()),
        ];
        said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn statement(bytes: &[u8], domain: Domain) -> Result<Statement, Failure> {
    let what = || format!("the {} in the bundle can't be read", domain.name());
    let statement = Statement::read(bytes).map_err(|why| Failure::untrusted(what(), why))?;
    if statement.domain() == domain {
        return Ok(statement);
    }
    Err(Failure::new(Exit::Untrusted, what()).why(format!("it is a {}", statement.domain().name())))
}

fn body<T: serde::de::DeserializeOwned>(statement: &Statement) -> Result<T, Failure> {
    postcard::from_bytes(statement.payload()).map_err(|why| {
        Failure::new(
            Exit::Untrusted,
            format!("the {} in the bundle can't be read", statement.domain().name()),
        )
        .why(why)
        .help("was the bundle made by a newer backstay?")
    })
}

/// One piece of an artifact, under its digest.
#[derive(Clone, Copy)]
pub(super) struct Blob<'a> {
    pub(super) digest: Digest,
    pub(super) bytes: &'a [u8],
}

impl<'a> Blob<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { digest: file::digest_of(bytes), bytes }
    }

    fn descriptor(&self, kind: MediaType) -> Descriptor {
        let digest: Sha256Digest = self.digest.to_string().parse().expect("64 hexadecimal digits are one");
        Descriptor::new(kind, self.bytes.len() as u64, digest)
    }
}

/// A bundle as an artifact.
pub(super) struct Artifact<'a> {
    manifest: Vec<u8>,
    bundle: &'a [u8],
}

impl<'a> Artifact<'a> {
    /// Of a bundle's bytes, and of what it says.
    pub(super) fn of(bundle: &'a [u8], claim: &Claim) -> Result<Self, Failure> {
        let mut config = Blob::of(EMPTY).descriptor(MediaType::EmptyJSON);
        // "{}", in base 64, as the image specification has it: who reads the descriptor needs no blob.
        config.set_data(Some("e30=".into()));
        let mut layer = Blob::of(bundle).descriptor(MediaType::from(BUNDLE));
        layer.set_annotations(Some([(ANNOTATION_TITLE.to_owned(), claim.file())].into()));
        let cannot = |why: String| Failure::new(Exit::Trouble, "cannot write the manifest").why(why);
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .artifact_type(MediaType::from(BUNDLE))
            .config(config)
            .layers([layer])
            .annotations(claim.annotations())
            .build()
            .map_err(|why| cannot(why.to_string()))?;
        // By way of a value, whose fields are in the order of their names: a hash map has another order each time.
        let manifest = serde_json::to_value(manifest).and_then(|value| serde_json::to_vec(&value));
        Ok(Self { manifest: manifest.map_err(|why| cannot(why.to_string()))?, bundle })
    }

    pub(super) fn manifest(&self) -> Blob<'_> {
        Blob::of(&self.manifest)
    }

    /// How others point to its manifest.
    pub(super) fn descriptor(&self) -> Descriptor {
        let mut descriptor = self.manifest().descriptor(MediaType::ImageManifest);
        descriptor.set_artifact_type(Some(MediaType::from(BUNDLE)));
        descriptor
    }

    /// What has to be there before the manifest.
    pub(super) fn blobs(&self) -> [Blob<'_>; 2] {
        [Blob::of(EMPTY), Blob::of(self.bundle)]
    }
}

/// The bundle that a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    /// At most [`Bundle::BYTES_MAX`].
    pub(super) bytes: u64,
}

impl Layer {
    /// Reads a manifest, whose bytes are already known to be those that were asked for. `place` is what is told.
    pub(super) fn of(manifest: &[u8], place: &str) -> Result<Self, Failure> {
        let no_manifest = |why: String| {
            Failure::new(Exit::Untrusted, format!("{place} has no manifest that can be read"))
                .why(why)
                .help("does it name an OCI artifact?")
        };
        // An index and older kinds of manifest have other fields; what they are is told before that.
        let kind: Kind = serde_json::from_slice(manifest).map_err(|why| no_manifest(why.to_string()))?;
        if let Some(other) = kind.media_type.filter(|kind| kind != MANIFEST) {
            return Err(not_a_bundle(place, &other));
        }
        let manifest: ImageManifest =
            serde_json::from_slice(manifest).map_err(|why| no_manifest(why.to_string()))?;
        // Where there is no type of the artifact, that of its configuration is it.
        let kind = manifest.artifact_type().as_ref().unwrap_or(manifest.config().media_type());
        if kind.as_ref() != BUNDLE {
            return Err(not_a_bundle(place, kind.as_ref()));
        }
        let broken = |what: String| {
            Failure::new(Exit::Untrusted, format!("{place} is no bundle as it should be: {what}"))
                .help("push it anew: backstay plugin push")
        };
        let [layer] = manifest.layers().as_slice() else {
            return Err(broken(format!("it has {} layers, and one was expected", manifest.layers().len())));
        };
        if layer.media_type().as_ref() != BUNDLE {
            return Err(broken(format!("its layer is of type {}", layer.media_type())));
        }
        let digest = layer.as_digest_sha256().and_then(|digits| digits.parse().ok());
        let digest = digest.ok_or_else(|| broken(format!("its layer is named by {}", layer.digest())))?;
        let (bytes, max) = (layer.size(), Bundle::BYTES_MAX as u64);
        if bytes > max {
            let most = text::bytes(max);
            return Err(broken(format!(
                "it says that it has {bytes} bytes, and a bundle has at most {most}"
            )));
        }
        Ok(Self { digest, bytes })
    }
}

/// The one field that manifests of all kinds share.
#[derive(serde::Deserialize)]
struct Kind {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
}

fn not_a_bundle(place: &str, kind: &str) -> Failure {
    Failure::new(Exit::Untrusted, format!("{place} is no plugin bundle"))
        .why(format!("it is of type {kind}, and a bundle is of type {BUNDLE}"))
        .help("name a bundle that was pushed by backstay plugin push")
}
