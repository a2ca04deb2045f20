//! Where an artifact is, as it is typed: `oci:FOLDER:TAG`, or `REGISTRY/REPOSITORY:TAG`; with a digest in the place of
//! the tag, `oci:FOLDER@sha256:...`.
//!
//! Nothing is added to what was typed: no registry, no namespace, no tag `latest`. Where a name is short for another one
//! elsewhere, two people would mean two things by it. Not here: whether there is anything at the place.

use std::{fmt, path::PathBuf, str::FromStr};

use backstay_model::Digest;

/// How a digest of the only kind that is taken begins.
pub(super) const SHA256: &str = "sha256:";
/// What a folder is typed with.
const LAYOUT: &str = "oci:";
/// The longest name of a repository, in characters: what clients agree on.
const REPOSITORY_MAX: usize = 255;
/// Docker Hub is the one registry whose name is not that of the machine that answers.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";
/// The longest tag, in characters: what the distribution specification allows.
const TAG_MAX: usize = 128;

/// Where an artifact is, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In an image layout on disk.
    Layout(PathBuf, At),
    /// In a registry.
    Registry(Repository, At),
}

/// One repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// As it is typed: `registry.example:5000`.
    pub(super) registry: String,
    /// Who answers for it: the same, but for Docker Hub.
    pub(super) host: String,
    pub(super) name: String,
}

/// Which of the artifacts there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Whichever has this name now.
    Tag(String),
    /// This one, whatever its name.
    Digest(Digest),
}

impl Place {
    /// The same place, and there this one: what is printed for whoever wants no other.
    pub(crate) fn pinned(&self, digest: &Digest) -> Self {
        let at = At::Digest(*digest);
        match self {
            Self::Layout(folder, _) => Self::Layout(folder.clone(), at),
            Self::Registry(repository, _) => Self::Registry(repository.clone(), at),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(folder, at) => write!(f, "{LAYOUT}{}{at}", folder.display()),
            Self::Registry(repository, at) => write!(f, "{repository}{at}"),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{SHA256}{digest}"),
        }
    }
}

/// A text that names no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceError {
    /// It isn't of the form of a reference.
    NotAReference,
    /// A part of it was left out.
    Short,
    /// A digest of another kind than SHA-256, or none.
    Digest,
    /// No tag has this form.
    Tag,
    /// There is a folder's name missing.
    Folder,
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAReference => {
                "a reference looks like registry.example/team/pump:1.0.0 or oci:FOLDER:1.0.0"
            }
            Self::Short => {
                "it has to name all of registry, repository and tag (or digest), as \
                 registry.example/team/pump:1.0.0 does"
            }
            Self::Digest => "a digest is sha256: and 64 lower-case hexadecimal digits",
            Self::Tag => "a tag is 1 to 128 letters, digits, dots, hyphens and underscores, and begins with none of . and -",
            Self::Folder => "it names no folder: oci:FOLDER:1.0.0",
        })
    }
}

impl std::error::Error for PlaceError {}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.strip_prefix(LAYOUT) {
            Some(rest) => layout(rest),
            None => registry(text),
        }
    }
}

fn layout(text: &str) -> Result<Place, PlaceError> {
    let (folder, at) = match text.rsplit_once('@') {
        Some((folder, digest)) if digest.starts_with(SHA256) => (folder, At::Digest(read_digest(digest)?)),
        Some(_) | None => {
            let (folder, tag) = text.rsplit_once(':').ok_or(PlaceError::Short)?;
            (folder, At::Tag(read_tag(tag)?))
        }
    };
    if folder.is_empty() { Err(PlaceError::Folder) } else { Ok(Place::Layout(folder.into(), at)) }
}

fn registry(text: &str) -> Result<Place, PlaceError> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(read_digest(digest)?)),
        None => (text, None),
    };
    // A colon before the last slash is a port's.
    let tag = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
    let (name, tag) = match tag {
        Some((name, tag)) => (name, Some(read_tag(tag)?)),
        None => (name, None),
    };
    let (registry, repository) = name.split_once('/').ok_or(PlaceError::Short)?;
    // `acme/pump` is a repository, and which registry's is not said: a registry is known by its dot, or by its port.
    if !registry.contains(['.', ':']) && registry != "localhost" {
        return Err(if is_repository(name) { PlaceError::Short } else { PlaceError::NotAReference });
    }
    if !is_registry(registry) || !is_repository(repository) {
        return Err(PlaceError::NotAReference);
    }
    let host = if registry == HUB { HUB_HOST } else { registry };
    if registry == HUB && !repository.contains('/') {
        return Err(PlaceError::Short);
    }
    let at = match (digest, tag) {
        // A digest says exactly which; a tag beside it is for people.
        (Some(digest), _) => At::Digest(digest),
        (None, Some(tag)) => At::Tag(tag),
        (None, None) => return Err(PlaceError::Short),
    };
    let repository = Repository { registry: registry.into(), host: host.into(), name: repository.into() };
    Ok(Place::Registry(repository, at))
}

/// A host by its name or its IPv4 address, and perhaps a port.
fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let letter = |c: char| c.is_ascii_alphanumeric();
    let label = |label: &str| {
        label.starts_with(letter) && label.ends_with(letter) && label.chars().all(|c| letter(c) || c == '-')
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// As the distribution specification has it: lower-case words, with `.`, `_`, `__` or hyphens between them, in parts with
/// `/` between those.
fn is_repository(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between = |text: &str| matches!(text, "." | "_" | "__") || text.chars().all(|c| c == '-');
    let part = |part: &str| {
        let ends = part.starts_with(letter) && part.ends_with(letter);
        ends && part.split(letter).filter(|text| !text.is_empty()).all(between)
    };
    text.len() <= REPOSITORY_MAX && text.split('/').all(part)
}

/// The folder of `oci:FOLDER`, where all of its artifacts are meant.
pub(crate) fn layout_folder(text: &str) -> Option<PathBuf> {
    text.strip_prefix(LAYOUT).filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

pub(super) fn read_digest(text: &str) -> Result<Digest, PlaceError> {
    text.strip_prefix(SHA256).and_then(|digits| digits.parse().ok()).ok_or(PlaceError::Digest)
}

fn read_tag(text: &str) -> Result<String, PlaceError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = text.len() <= TAG_MAX
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || matches!(c, '.' | '-'));
    if good { Ok(text.into()) } else { Err(PlaceError::Tag) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for text in [
            "oci:shelf:1.0.0",
            "oci:/srv/a:b/shelf:latest",
            &format!("oci:shelf@{DIGEST}"),
            "registry.example/pump:1.0.0",
            "registry.example:5000/team/acme/pump:v1",
            &format!("127.0.0.1:5000/pump@{DIGEST}"),
            "docker.io/acme/pump:1",
            "localhost/pump:1",
            "Registry.example/a.b_c__d---e/f0:1",
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        let both = format!("registry.example/pump:1@{DIGEST}").parse::<Place>().unwrap();
        assert_eq!(both.to_string(), format!("registry.example/pump@{DIGEST}"), "the digest is what counts");
    }

    #[test]
    fn nothing_is_guessed() {
        for (text, why) in [
            ("pump", PlaceError::Short),
            ("pump:1.0.0", PlaceError::Short),
            ("acme/pump:1.0.0", PlaceError::Short),
            ("docker.io/pump:1.0.0", PlaceError::Short),
            ("registry.example/pump", PlaceError::Short),
            ("oci:shelf", PlaceError::Short),
            ("", PlaceError::Short),
            ("https://registry.example/pump:1", PlaceError::NotAReference),
            ("registry.example/Pump:1", PlaceError::NotAReference),
            ("registry.example/../pump:1", PlaceError::NotAReference),
            ("registry.example//pump:1", PlaceError::NotAReference),
            ("registry.example/pump/:1", PlaceError::NotAReference),
            ("registry.example/pu___mp:1", PlaceError::NotAReference),
            ("registry.example/pump?x=1:1", PlaceError::NotAReference),
            ("registry.example:0/pump:1", PlaceError::NotAReference),
            ("registry.example:port/pump:1", PlaceError::NotAReference),
            ("registry..example/pump:1", PlaceError::NotAReference),
            ("-registry.example/pump:1", PlaceError::NotAReference),
            ("[::1]:5000/pump:1", PlaceError::NotAReference),
            ("../pump:1", PlaceError::NotAReference),
            ("user:password@registry.example/pump:1", PlaceError::Digest),
            ("oci::1.0.0", PlaceError::Folder),
            ("oci:shelf:", PlaceError::Tag),
            ("oci:shelf:-1", PlaceError::Tag),
            ("oci:shelf:a/b", PlaceError::Tag),
            ("oci:shelf@sha256:44136", PlaceError::Digest),
        ] {
            assert_eq!(text.parse::<Place>(), Err(why), "{text:?}");
        }
        let long = format!("oci:shelf:{}", "a".repeat(129));
        assert_eq!(long.parse::<Place>(), Err(PlaceError::Tag));
        let other = format!("registry.example/pump@sha512:{}", "a".repeat(128));
        assert_eq!(other.parse::<Place>(), Err(PlaceError::Digest));
    }
}
