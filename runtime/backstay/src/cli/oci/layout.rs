//! An image layout: the folder that `skopeo`, `oras` and others write artifacts to, and read them from.
//!
//! ```text
//! oci-layout          which version of the format this is
//! index.json          the manifests, each under the name that its annotation `org.opencontainers.image.ref.name` says
//! blobs/sha256/...    every part under its digest
//! ```
//!
//! A file is written beside its place and then moved there, the index last: who reads while somebody writes, or after a
//! power cut, sees what was before or what is after. Nothing is ever taken out. Not here: whether the bytes are what
//! their digest says, when they are read for somebody (`oci`).

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use backstay_model::Digest;
use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageIndexBuilder, MediaType, OciLayout, OciLayoutBuilder,
    SCHEMA_VERSION,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Artifact, Blob, Found, Store,
    artifact::BUNDLE,
    place::{At, SHA256},
};
use crate::{Exit, Failure, file};

/// The version of the format.
const VERSION: &str = "1.0.0";
/// The largest index, in bytes: some ten thousand names.
const INDEX_BYTES_MAX: usize = 4 << 20;
/// How many names are told to whoever asked for one that isn't there.
const NAMES_MAX: usize = 10;

/// An image layout.
pub(crate) struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// One that is there.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let layout = Self { folder: folder.into() };
        let marker = layout.marker();
        if !marker.is_file() {
            let what = format!("{} is no OCI image layout", folder.display());
            return Err(Failure::new(Exit::NotFound, what)
                .why(format!("there is no file {}", marker.display()))
                .help("an image layout is made by backstay plugin push, or by skopeo and oras"));
        }
        let said: OciLayout = read_json(&marker, 4096)?;
        if said.image_layout_version() == VERSION {
            return Ok(layout);
        }
        let what = format!("{} is an image layout of another version", folder.display());
        Err(Failure::new(Exit::Untrusted, what)
            .why(format!("it says {}, and {VERSION} is known here", said.image_layout_version())))
    }

    /// One that is there, or else a new one in a folder with nothing in it.
    pub(super) fn make(folder: &Path) -> Result<Self, Failure> {
        let layout = Self { folder: folder.into() };
        let cannot = |why| Failure::new(Exit::Trouble, format!("cannot make {}", folder.display())).why(why);
        fs::create_dir_all(folder).map_err(cannot)?;
        let lock = layout.lock()?;
        if !layout.marker().exists() {
            if fs::read_dir(folder).map_err(cannot)?.next().is_some() {
                let what = format!("{} holds something, and is no OCI image layout", folder.display());
                return Err(Failure::new(Exit::Refused, what)
                    .help("name an empty folder, or one that isn't there yet"));
            }
            let said = OciLayoutBuilder::default().image_layout_version(VERSION).build();
            let said = said.map_err(|why| Failure::new(Exit::Trouble, "cannot write a layout").why(why))?;
            write_json(&layout.marker(), &said)?;
        }
        fs::create_dir_all(layout.folder.join("blobs/sha256")).map_err(cannot)?;
        drop(lock);
        Self::open(folder)
    }

    /// One writer at a time: two who push at once would each write the index without the other's name. The lock goes with
    /// what is returned, and with the process.
    fn lock(&self) -> Result<File, Failure> {
        let lock = File::open(&self.folder).and_then(|folder| folder.lock().map(|()| folder));
        lock.map_err(|why| {
            Failure::new(Exit::Trouble, format!("cannot lock {}", self.folder.display())).why(why)
        })
    }

    fn keep(&self, blob: &Blob<'_>) -> Result<(), Failure> {
        file::write(&self.file_of(&blob.digest), blob.bytes)
    }

    /// The names of the bundles in it, in order. Other artifacts are left out.
    pub(crate) fn bundles(&self) -> Result<Vec<String>, Failure> {
        let index = self.index()?;
        let kind = MediaType::from(BUNDLE);
        let ours = index.manifests().iter().filter(|found| found.artifact_type().as_ref() == Some(&kind));
        let mut names: Vec<_> = ours.filter_map(name_of).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn marker(&self) -> PathBuf {
        self.folder.join("oci-layout")
    }

    fn index_file(&self) -> PathBuf {
        self.folder.join("index.json")
    }

    fn file_of(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.to_string())
    }

    fn index(&self) -> Result<ImageIndex, Failure> {
        read_json(&self.index_file(), INDEX_BYTES_MAX)
    }

    /// The digest of the manifest that has this name.
    fn named(&self, tag: &str) -> Result<Digest, Failure> {
        let index = self.index()?;
        let found: Vec<_> =
            index.manifests().iter().filter(|descriptor| name_of(descriptor) == Some(tag)).collect();
        let none = |what: String| Failure::new(Exit::NotFound, what);
        let Some(first) = found.first() else {
            let names: Vec<_> = index.manifests().iter().filter_map(name_of).take(NAMES_MAX).collect();
            let there = if names.is_empty() { "nothing".into() } else { names.join(", ") };
            let failure = none(format!("there is no {tag} in {}", self.name()));
            return Err(failure.help(format!("it has {there}")));
        };
        // The format allows it. Which of them is meant, nobody can tell.
        if found.iter().any(|other| other.digest() != first.digest()) {
            let what = format!("{} has several artifacts with the name {tag}", self.name());
            return Err(Failure::new(Exit::Refused, what)
                .help(format!("name one by its digest: {}@{SHA256}...", self.name())));
        }
        first.as_digest_sha256().and_then(|digits| digits.parse().ok()).ok_or_else(|| {
            none(format!(
                "{tag} in {} is named by {}, and only {SHA256} is taken",
                self.name(),
                first.digest()
            ))
        })
    }

    fn open_file(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Failure> {
        let path = self.file_of(digest);
        let file = File::open(&path).map_err(|why| {
            let missing = why.kind() == io::ErrorKind::NotFound;
            let exit = if missing { Exit::NotFound } else { Exit::Trouble };
            Failure::new(exit, format!("{} lacks {SHA256}{digest}", self.name()))
                .why(why)
                .help("copy the layout again, or push the bundle anew")
        })?;
        Ok(Box::new(file))
    }
}

impl Store for Layout {
    fn name(&self) -> Cow<'_, str> {
        format!("oci:{}", self.folder.display()).into()
    }

    fn manifest(&self, at: &At) -> Result<Found<'_>, Failure> {
        let digest = match at {
            At::Tag(tag) => self.named(tag)?,
            At::Digest(digest) => *digest,
        };
        Ok(Found { bytes: self.open_file(&digest)?, digest: Some(digest) })
    }

    fn blob(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Failure> {
        self.open_file(digest)
    }

    fn broke_off(&self, why: io::Error) -> Failure {
        Failure::new(Exit::Trouble, format!("cannot read {}", self.name())).why(why)
    }

    fn has(&self, blob: &Blob<'_>) -> Result<bool, Failure> {
        // What is there and damaged counts as missing, so that to push again is to mend.
        let there = file::digest(&self.file_of(&blob.digest));
        Ok(there.is_ok_and(|(digest, length)| digest == blob.digest && length == blob.bytes.len() as u64))
    }

    fn put(&self, blob: &Blob<'_>) -> Result<(), Failure> {
        let _lock = self.lock()?;
        self.keep(blob)
    }

    fn tag(&self, artifact: &Artifact<'_>, tag: &str) -> Result<(), Failure> {
        let _lock = self.lock()?;
        let mut index = match self.index() {
            Ok(index) => index,
            Err(failure) if failure.exit() == Exit::NotFound => empty()?,
            Err(failure) => return Err(failure),
        };
        let mut descriptor = artifact.descriptor();
        descriptor.set_annotations(Some([(ANNOTATION_REF_NAME.to_owned(), tag.to_owned())].into()));
        let mut manifests = index.manifests().clone();
        manifests.retain(|other| name_of(other) != Some(tag));
        manifests.push(descriptor);
        index.set_manifests(manifests);
        self.keep(&artifact.manifest())?;
        write_json(&self.index_file(), &index)
    }
}

fn empty() -> Result<ImageIndex, Failure> {
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests([])
        .build();
    index.map_err(|why| Failure::new(Exit::Trouble, "cannot write an index").why(why))
}

fn name_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(ANNOTATION_REF_NAME).map(String::as_str)
}

fn read_json<T: DeserializeOwned>(path: &Path, max: usize) -> Result<T, Failure> {
    let bytes = file::read(path, max)?;
    serde_json::from_slice(&bytes).map_err(|why| {
        Failure::new(Exit::Untrusted, format!("{} can't be read", path.display()))
            .why(why)
            .help("the image layout is damaged: copy it again, or push to another folder")
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let bytes = serde_json::to_value(value).and_then(|value| serde_json::to_vec(&value));
    let bytes = bytes.map_err(|why| Failure::new(Exit::Trouble, "cannot write JSON").why(why))?;
    file::write(path, &bytes)
}
