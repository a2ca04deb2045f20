//! `backstay release`: what devices run, as the release key vouches for it, and handed to the server.
//!
//! Signing happens where the release key is, which has no network. Publishing happens where the network is, and
//! needs no key: the server checks the statement, and so does every device.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use backstay_api::{ReleaseView, make_blocks};
use backstay_blocks::{WriteError, Written};
use backstay_model::{Digest, Hardware, Release as Product, SchemaRange, Version, WayHome};
use backstay_trust::{Domain, ProductRelease, Refusal, SignError, Stamp};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{Desk, Exit, Failure, file, signer::Signing, table::Table, text};

/// Releases of the product.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "a process has one command line")]
pub(crate) enum Release {
    /// Sign that a file is a release of the product
    #[command(
        after_help = "Example:\n  backstay release sign --artifact app-2.0.0.img --version 2.0.0 \\\n      \
        --hardware pump-mk2 --home 1.4.0=app-1.4.0.img \\\n      \
        --key keys/release.pem --keyring keys/keyring --out app-2.0.0.release"
    )]
    Sign(Sign),
    /// Hand a release and its artifact to the server
    #[command(
        after_help = "Example:\n  backstay release publish --statement app-2.0.0.release --artifact app-2.0.0.img"
    )]
    Publish(Publish),
    /// Make the file of blocks that lies beside an artifact on a mirror, so that devices fetch only what they don't have
    #[command(
        after_help = "Example:\n  backstay release blocks --artifact app-2.0.0.img --out mirror/v1/artifacts\n\n\
        The server makes them itself, for what is published there."
    )]
    Blocks(Blocks),
    /// What the server can hand out
    #[command(after_help = "Example:\n  backstay release ls --output json")]
    Ls,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// What devices are to run
    #[arg(long, value_name = "FILE")]
    artifact: PathBuf,
    /// Its version, for people
    #[arg(long)]
    version: Version,
    /// The machines that it runs on
    #[arg(long, required = true, value_name = "ID")]
    hardware: Vec<Hardware>,
    /// A release that a device may go back to from this one, as digest or as VERSION=FILE; without one there is no way
    /// back
    #[arg(long, value_name = "DIGEST|VERSION=FILE")]
    home: Vec<Home>,
    /// Grows where going below would open a hole that is known
    #[arg(long, value_name = "N", default_value_t = 0)]
    security_epoch: u32,
    /// The schemas of shared data that it can live with: one, or a range like 6..8
    #[arg(long, value_name = "FROM..TO", default_value = "0", value_parser = text::schemas)]
    schemas: SchemaRange,
    /// Grows with each statement of the release key; the time in milliseconds if it is left out
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
    #[command(flatten)]
    signing: Signing,
    /// The fleet's keyring
    #[arg(long, value_name = "FILE")]
    keyring: PathBuf,
    /// Where the statement goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// What `release sign` wrote
    #[arg(long, value_name = "FILE")]
    statement: PathBuf,
    /// The file that it is about
    #[arg(long, value_name = "FILE")]
    artifact: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Blocks {
    /// What devices are to run
    #[arg(long, value_name = "FILE")]
    artifact: PathBuf,
    /// The folder that the file is put into, by the artifact's digest
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// One way home.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Home {
    Digest(Digest),
    File(PathBuf),
}

impl std::str::FromStr for Home {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((version, file)) => {
                Version::parse(version).map_err(|why| why.to_string())?;
                Ok(Self::File(file.into()))
            }
            None => text
                .parse()
                .map(Self::Digest)
                .map_err(|why| format!("{why}; a file is named as VERSION=FILE")),
        }
    }
}

impl Home {
    fn digest(&self) -> Result<Digest, Failure> {
        match self {
            Self::Digest(digest) => Ok(*digest),
            Self::File(path) => Ok(file::digest(path)?.0),
        }
    }
}

#[derive(Serialize)]
struct Signed<'a> {
    release: &'a Product,
    hardware: &'a [Hardware],
    home: &'a [Digest],
    statement: &'a Path,
}

#[derive(Serialize)]
struct Made<'a> {
    digest: Digest,
    length: u64,
    blocks: &'a Path,
    bytes: u64,
}

#[derive(Serialize)]
struct Releases {
    releases: Vec<ReleaseView>,
}

impl Release {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        match self {
            Self::Sign(sign) => sign.run(desk),
            Self::Publish(publish) => publish.run(desk),
            Self::Blocks(blocks) => blocks.run(desk),
            Self::Ls => {
                let all = Releases { releases: desk.client()?.get("/v1/releases")? };
                desk.printer.show("releases", &all, || table(&all.releases))?;
                Ok(Exit::Done)
            }
        }
    }
}

impl Sign {
    fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let signer = self.signing.signer()?;
        let keyring = file::read_keyring(&self.keyring)?;
        let (digest, length) = file::digest(&self.artifact)?;
        let home = WayHome(self.home.iter().map(Home::digest).collect::<Result<_, _>>()?);
        let (version, security_epoch) = (self.version.clone(), self.security_epoch);
        let release = Product { version, digest, length, security_epoch };
        let product =
            ProductRelease { release, hardware: self.hardware.clone(), schemas: self.schemas, home };
        let issued = file::now();
        let stamp = Stamp { sequence: self.sequence.unwrap_or(issued.0), issued, expires: None };
        let cannot = |why: SignError| {
            let help = why.help();
            Failure::new(Exit::Usage, "cannot sign this release").why(why).maybe_help(help)
        };
        let mut statement = product.draft(keyring.fleet().clone(), stamp).map_err(cannot)?;
        signer.sign(&mut statement)?;
        let statement = statement.encode().map_err(cannot)?;
        // Better here than on every device; where others have to sign as well, they look again.
        let missing = match keyring.verify_release(&statement, None) {
            Ok(_) => None,
            Err(Refusal::TooFew { has, needs, .. }) => Some((has, needs)),
            Err(why) => return Err(Failure::untrusted("nobody would believe this release", why)),
        };
        file::write(&self.out, &statement)?;
        let ProductRelease { release, hardware, home, .. } = &product;
        let signed = Signed { release, hardware, home: &home.0, statement: &self.out };
        desk.printer.show("release", &signed, || {
            let mut list = Table::list();
            list.say("release", release);
            list.say("digest", release.digest);
            list.say("length", text::bytes(release.length));
            list.say("hardware", join(hardware));
            list.say(
                "home",
                if home.0.is_empty() { "none: who installs it stays".into() } else { join(&home.0) },
            );
            list.say("statement", self.out.display());
            list.to_string()
        })?;
        let (statement, artifact) = (self.out.display(), self.artifact.display());
        if let Some((has, needs)) = missing {
            desk.printer.say(format_args!(
                "it has {has} of {needs} signatures. next: backstay keys cosign {statement}, by another holder"
            ));
            return Ok(Exit::Done);
        }
        desk.printer.say(format_args!(
            "next: backstay release publish --statement {statement} --artifact {artifact}"
        ));
        Ok(Exit::Done)
    }
}

impl Publish {
    fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let statement = file::read(&self.statement, Domain::ProductRelease.bytes_max())?;
        let (digest, length) = file::digest(&self.artifact)?;
        let artifact = File::open(&self.artifact).map_err(|why| {
            Failure::new(Exit::Trouble, format!("cannot read {}", self.artifact.display())).why(why)
        })?;
        let client = desk.client()?;
        desk.printer.say(format_args!("uploading {} ({})", self.artifact.display(), text::bytes(length)));
        client.put_file(&format!("/v1/artifacts/{digest}"), &artifact)?;
        let view: ReleaseView = client.post_bytes("/v1/releases", &statement)?;
        if view.release.digest != digest {
            let what =
                format!("the statement is about {}, and the artifact is {digest}", view.release.digest);
            return Err(Failure::new(Exit::Untrusted, what).help(
                "name the file that was signed; the release is published, and nothing can install it yet",
            ));
        }
        let all = Releases { releases: vec![view] };
        desk.printer.show("releases", &all, || table(&all.releases))?;
        Ok(Exit::Done)
    }
}

impl Blocks {
    fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let what = || format!("cannot make the blocks of {}", self.artifact.display());
        // Whatever else has a length has another one than what can be read of it, and a pipe might never open.
        if !file::about(&self.artifact)?.is_file() {
            return Err(Failure::new(Exit::Usage, what()).why("it is no file"));
        }
        if !file::about(&self.out)?.is_dir() {
            return Err(Failure::new(Exit::Usage, format!("{} is no folder", self.out.display()))
                .help("name the folder that the file is put into, by --out"));
        }
        let (path, Written { digest, length, bytes }) =
            make_blocks(&self.artifact, &self.out).map_err(|why| {
                let none = matches!(why, WriteError::NoShape { .. });
                let exit = if none { Exit::Usage } else { Exit::Trouble };
                let help = none.then_some("put it on the mirror as it is: devices fetch all of it");
                Failure::new(exit, what()).why(why).maybe_help(help)
            })?;
        let made = Made { digest, length, blocks: &path, bytes };
        desk.printer.show("blocks", &made, || {
            let mut list = Table::list();
            list.say("digest", digest);
            list.say("length", text::bytes(length));
            list.say("blocks", path.display());
            list.say("size", text::bytes(bytes));
            list.to_string()
        })?;
        let file = path.file_name().unwrap_or_default().display();
        desk.printer.say(format_args!(
            "next: put it on the mirror as /v1/artifacts/{file}, and the artifact as /v1/artifacts/{digest}"
        ));
        Ok(Exit::Done)
    }
}

fn join<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn table(releases: &[ReleaseView]) -> String {
    let mut table = Table::new(["VERSION", "DIGEST", "SIZE", "EPOCH", "HARDWARE", "HOME", "ARTIFACT"]);
    for view in releases {
        let home: Vec<_> = view.home.iter().map(|digest| digest.short().to_string()).collect();
        table.row([
            view.release.version.to_string(),
            view.release.digest.short().to_string(),
            text::bytes(view.release.length),
            view.release.security_epoch.to_string(),
            join(&view.hardware),
            if home.is_empty() { "-".into() } else { home.join(", ") },
            if view.artifact { "here" } else { "missing" }.into(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_home_is_a_digest_or_a_file_with_its_version() {
        assert!(matches!("1.4.0=app.img".parse(), Ok(Home::File(_))));
        assert!(matches!("ab".repeat(32).parse(), Ok(Home::Digest(_))));
        for text in ["app.img", "=app.img", "../x=app.img", ""] {
            assert!(text.parse::<Home>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn releases_are_told_in_columns() {
        let digest = Digest([0xab; 32]);
        let release =
            Product { version: Version::parse("2.0.0").unwrap(), digest, length: 1536, security_epoch: 1 };
        let hardware = vec![Hardware::parse("pump-mk2").unwrap()];
        let view = ReleaseView { release, hardware, home: vec![Digest([0xcd; 32])], artifact: true };
        assert_eq!(
            table(&[view]),
            "VERSION  DIGEST    SIZE     EPOCH  HARDWARE  HOME      ARTIFACT\n\
             2.0.0    abababab  1.5 KiB  1      pump-mk2  cdcdcdcd  here\n"
        );
    }
}
