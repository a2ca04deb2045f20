//! A bundle in its folder, and what it takes to believe it.
//!
//! Not here: what is in its file (`document`), and making it (`capture`, `sign`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use backstay_config::Span;
use backstay_model::UnixMs;
use backstay_trust::{Domain, Keyring, KnownGood, Refusal, RevocationError};
use clap::Args;

use super::document::{Document, DocumentError};
use crate::{Exit, Failure, file, text};

/// Has Git leave bytes as they are: they are what was signed.
const ATTRIBUTES: &str = "* -text\n";

/// The folder of a bundle.
#[derive(Clone, Debug, Args)]
pub(super) struct Folder {
    /// The bundle's folder in a Git checkout
    #[arg(id = "bundle", long = "bundle", value_name = "FOLDER")]
    path: PathBuf,
}

impl Folder {
    #[cfg(test)]
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the objects were.
    pub(super) fn file(&self) -> PathBuf {
        self.path.join("lkg.json")
    }

    /// What the release keys say of it.
    pub(super) fn signature(&self) -> PathBuf {
        self.path.join("lkg.signature")
    }

    /// All that a bundle has.
    pub(super) const FILES: [&str; 3] = [".gitattributes", "lkg.json", "lkg.signature"];

    /// The file's bytes, and what it says. Nobody has vouched for it.
    pub(super) fn read(&self) -> Result<(Vec<u8>, Document), Failure> {
        let bytes = file::read(&self.file(), Document::BYTES_MAX)?;
        let document = Document::read(&bytes).map_err(|why| unreadable(&self.file(), why))?;
        Ok((bytes, document))
    }

    /// Puts a new file in the place of the one before, which nobody has vouched for yet.
    pub(super) fn write(&self, document: &Document) -> Result<(), Failure> {
        let cannot = |path: &Path, why: io::Error| {
            Failure::new(Exit::Trouble, format!("cannot write to {}", path.display())).why(why)
        };
        fs::create_dir_all(&self.path).map_err(|why| cannot(&self.path, why))?;
        file::write(&self.path.join(".gitattributes"), ATTRIBUTES.as_bytes())?;
        file::write(&self.file(), document.write().as_bytes())?;
        match fs::remove_file(self.signature()) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(cannot(&self.signature(), why)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn unreadable(path: &Path, why: DocumentError) -> Failure {
    let help = why.help();
    Failure::new(Exit::Untrusted, format!("{} is no bundle's file", path.display())).why(why).help(help)
}

/// A bundle that somebody wants to believe.
#[derive(Clone, Debug, Args)]
pub(super) struct Believed {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Whom to believe: the fleet's keyring, whose release role has to have signed
    #[arg(long, value_name = "FILE", env = "BACKSTAY_KEYRING")]
    keyring: PathBuf,
    /// What was revoked: the newest file that "keys revoke" wrote
    #[arg(long, value_name = "FILE")]
    revocation: Option<PathBuf>,
    /// Refuse it if it was signed longer ago
    #[arg(long, value_name = "SPAN", value_parser = Span::parse)]
    max_age: Option<Span>,
}

/// A bundle that is to be believed.
pub(super) struct Checked {
    pub(super) document: Document,
    /// For how many milliseconds it has been signed.
    pub(super) age_ms: u64,
}

impl Believed {
    #[cfg(test)]
    pub(super) fn of(folder: PathBuf, keyring: PathBuf) -> Self {
        Self { folder: Folder::of(folder), keyring, revocation: None, max_age: None }
    }

    #[cfg(test)]
    pub(super) fn within(self, span: &str) -> Self {
        Self { max_age: Some(Span::parse(span).unwrap()), ..self }
    }

    #[cfg(test)]
    pub(super) fn heeding(self, revocation: PathBuf) -> Self {
        Self { revocation: Some(revocation), ..self }
    }

    /// Checks it.
    pub(super) fn check(&self) -> Result<Checked, Failure> {
        let path = self.folder.file();
        let untrusted = |what: &str, why: Refusal| {
            Failure::untrusted(format!("the bundle in {} {what}", self.folder.path().display()), why)
        };
        let file = file::read(&path, Document::BYTES_MAX)?;
        let signature = file::read(&self.folder.signature(), Domain::KnownGood.bytes_max());
        let signature = signature.map_err(|failure| {
            if failure.exit() != Exit::NotFound {
                return failure;
            }
            Failure::new(Exit::Untrusted, format!("{} is not signed", path.display()))
                .help("look at it and sign it: backstay lkg sign")
        })?;
        let proof = self.keyring()?.verify_known_good(&signature, file);
        let proof = proof.map_err(|why| untrusted("is not to be believed", why))?;
        let document = Document::read(proof.file()).map_err(|why| unreadable(&path, why))?;
        let KnownGood { service, version, release, .. } = proof.known_good();
        if (&document.service, &document.release.version, &document.release.digest)
            != (service, version, release)
        {
            let what = format!("{} and its signature are of different releases", path.display());
            return Err(Failure::new(Exit::Untrusted, what).help("sign it anew: backstay lkg sign"));
        }
        let UnixMs(now) = file::now();
        let age_ms = now.saturating_sub(proof.stamp().issued.0);
        if let Some(most) = self.max_age
            && age_ms > most.millis().0
        {
            let what = format!(
                "the bundle was signed {} ago, {} are allowed",
                text::age(age_ms),
                text::age(most.millis().0)
            );
            return Err(
                Failure::new(Exit::Refused, what).help("capture it anew, or give it more with --max-age")
            );
        }
        Ok(Checked { document, age_ms })
    }

    /// The keyring, with what was revoked.
    pub(super) fn keyring(&self) -> Result<Keyring, Failure> {
        let keyring = file::read_keyring(&self.keyring)?;
        let Some(path) = &self.revocation else { return Ok(keyring) };
        let bytes = file::read(path, Domain::Revocation.bytes_max())?;
        let revocation = keyring.verify_revocation(&bytes).map_err(|why: RevocationError| {
            let help = why.help();
            Failure::new(Exit::Untrusted, format!("{} is no revocation to heed", path.display()))
                .why(why)
                .maybe_help(help)
        })?;
        Ok(keyring.revoking(Some(revocation)))
    }
}
