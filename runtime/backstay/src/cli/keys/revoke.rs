//! `keys revoke`: trust is taken back, for ever.

use std::{path::PathBuf, str::FromStr};

use backstay_model::{Digest, PluginId, Version};
use backstay_trust::{
    Domain, KeyId, OldestCompiler, OldestRelease, Revocation, RevocationError, Stamp, Target,
};
use clap::Args;

use super::cosign::Cosigned;
use crate::{
    Desk, Exit, Failure,
    file::{self, Access},
    key_file,
    passphrase::Passphrase,
    signer::Signing,
};

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The fleet's keyring
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: PathBuf,
    /// The last revocation, to which this one adds; needed if there is one
    #[arg(long, value_name = "FILE")]
    pub(super) after: Option<PathBuf>,
    /// A key that is not to be trusted any more: a file with it, or its fingerprint
    #[arg(long = "stolen", value_name = "FILE|FINGERPRINT")]
    pub(super) keys: Vec<Lost>,
    /// A plugin's release, grant, component or code, or a release of the product, by its digest
    #[arg(long = "digest", value_name = "DIGEST")]
    pub(super) digests: Vec<Digest>,
    /// The oldest release of a plugin that may run, by its sequence
    #[arg(long = "oldest-release", value_name = "PLUGIN=SEQUENCE")]
    pub(super) releases: Vec<Release>,
    /// The oldest compiler whose code may run on a CPU
    #[arg(long = "oldest-compiler", value_name = "TARGET=VERSION")]
    pub(super) compilers: Vec<Compiler>,
    /// The lowest security epoch of the product that may be installed
    #[arg(long, value_name = "EPOCH")]
    pub(super) security_floor: Option<u32>,
    /// Grows with each revocation; one more than the last if it is left out
    #[arg(long, value_name = "N")]
    pub(super) sequence: Option<u64>,
    #[command(flatten)]
    pub(super) signing: Signing,
    /// Where the revocation goes
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

/// A key that was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Fingerprint(KeyId),
    File(PathBuf),
}

impl FromStr for Lost {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), |digest| Self::Fingerprint(KeyId(digest))))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release(OldestRelease);

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected PLUGIN=SEQUENCE, found {text:?}");
        let (plugin, sequence) = text.split_once('=').ok_or_else(expected)?;
        let plugin = PluginId::parse(plugin).map_err(|why| why.to_string())?;
        Ok(Self(OldestRelease { plugin, sequence: sequence.parse().map_err(|_| expected())? }))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler(OldestCompiler);

impl FromStr for Compiler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected TARGET=VERSION, found {text:?}");
        let (target, compiler) = text.split_once('=').ok_or_else(expected)?;
        let target = Target::parse(target).map_err(|why| why.to_string())?;
        let compiler = Version::parse(compiler).map_err(|why| why.to_string())?;
        Ok(Self(OldestCompiler { target, compiler }))
    }
}

impl Revoke {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let mut keyring = file::read_keyring(&self.keyring)?;
        let refused = |what: String, why: RevocationError| {
            let help = why.help();
            Failure::new(Exit::Untrusted, what).why(why).maybe_help(help)
        };
        let mut revocation = Revocation::default();
        let mut last = 0;
        if let Some(path) = &self.after {
            let bytes = file::read(path, Domain::Revocation.bytes_max())?;
            let verified = keyring
                .verify_revocation(&bytes)
                .map_err(|why| refused(format!("{} is no revocation to add to", path.display()), why))?;
            (revocation, last) = (verified.revocation().clone(), verified.stamp().sequence);
            keyring = keyring.revoking(Some(verified));
        }
        for key in &self.keys {
            let id = match key {
                Lost::Fingerprint(id) => *id,
                Lost::File(path) => key_file::read_public(path, &Passphrase::default())?.id(),
            };
            if keyring.parts().root.keys.iter().any(|root| root.id() == id) {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("key {id} is a root, and roots are not revoked"),
                )
                .help("make a keyring without it: backstay keys rotate --role root=..."));
            }
            if !revocation.keys.contains(&id) {
                revocation.keys.push(id);
            }
        }
        for digest in &self.digests {
            if !revocation.digests.contains(digest) {
                revocation.digests.push(*digest);
            }
        }
        for Release(oldest) in &self.releases {
            revocation.plugins.retain(|known| known.plugin != oldest.plugin);
            revocation.plugins.push(oldest.clone());
        }
        for Compiler(oldest) in &self.compilers {
            revocation.compilers.retain(|known| known.target != oldest.target);
            revocation.compilers.push(oldest.clone());
        }
        revocation.security_floor = self.security_floor.unwrap_or(revocation.security_floor);
        if revocation == Revocation::default() {
            return Err(Failure::new(Exit::Usage, "nothing is named that is to be revoked")
                .help("see --stolen, --digest, --oldest-release, --oldest-compiler and --security-floor"));
        }
        let sequence = self.sequence.unwrap_or(last + 1);
        let stamp = Stamp { sequence, issued: file::now(), expires: None };
        let mut statement = revocation.draft(keyring.fleet().clone(), stamp).map_err(|why| {
            let help = why.help();
            Failure::new(Exit::Usage, "cannot revoke this").why(why).maybe_help(help)
        })?;
        let signer = self.signing.signer()?;
        signer.sign(&mut statement)?;
        let bytes = statement.encode().map_err(|why| {
            let help = why.help();
            Failure::new(Exit::Trouble, "cannot write the revocation").why(why).maybe_help(help)
        })?;
        // Better here than on every device; where signatures are missing, the others look again.
        match keyring.verify_revocation(&bytes) {
            Ok(_) => {}
            Err(RevocationError::Refused(backstay_trust::Refusal::TooFew { .. })) => {}
            Err(why) => return Err(refused("no device would heed this revocation".into(), why)),
        }
        file::write_new(&self.out, &bytes, Access::Public)?;
        Cosigned::of(&statement, &keyring, &self.out).show(desk)?;
        desk.printer.say(format_args!("next: backstay keys publish {}", self.out.display()));
        Ok(Exit::Done)
    }
}
