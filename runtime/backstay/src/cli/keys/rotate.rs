//! `keys rotate`, `sign-keyring` and `follow`: from one keyring to the next.

use std::path::{Path, PathBuf};

use backstay_model::UnixMs;
use backstay_trust::{Chain, ChainError, Domain, Keyring, KeyringParts, Role, Statement, Step};
use clap::Args;

use super::{
    cosign::Cosigned,
    role::{RoleKeys, RoleName},
    show::{Shown, claim},
};
use crate::{
    Desk, Exit, Failure,
    file::{self, Access},
    signer::{Signer, Signing},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The newest keyring
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: PathBuf,
    /// Who has a role from now on, by their public keys; K of them have to sign. Roles that aren't named stay
    #[arg(long = "role", value_name = "ROLE=K:FILE,FILE")]
    pub(super) roles: Vec<RoleKeys>,
    /// A role that nobody has any more: revoker, verdict, device or vendor/PREFIX
    #[arg(long = "without", value_name = "ROLE")]
    pub(super) without: Vec<RoleName>,
    /// After so many days it lets no new grant in; what runs goes on
    #[arg(long, value_name = "N")]
    pub(super) expires_days: Option<u64>,
    #[command(flatten)]
    pub(super) signing: Signing,
    /// Where the link goes
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SignKeyring {
    /// The link to the next keyring
    pub(super) link: PathBuf,
    /// The newest keyring
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: PathBuf,
    #[command(flatten)]
    pub(super) signing: Signing,
    /// Where the result goes; over the link if it is left out
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// The keyring to begin from
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: PathBuf,
    /// The links, in their order
    #[arg(required = true)]
    pub(super) links: Vec<PathBuf>,
    /// Where the keyring goes that they lead to
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

impl Rotate {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let newest = file::read_keyring(&self.keyring)?;
        let mut parts = newest.parts().clone();
        parts = KeyringParts { number: parts.number + 1, before: Some(*newest.digest()), ..parts };
        for name in &self.without {
            name.set(&mut parts, Role::none());
        }
        for role in &self.roles {
            role.name.set(&mut parts, role.read()?);
        }
        if parts.root.keys.is_empty() {
            return Err(Failure::new(Exit::Usage, "a keyring without root keys is the last one")
                .help("name roots with --role root=K:FILE,FILE"));
        }
        let next = Keyring::new(parts).map_err(|why| {
            let help = why.help();
            Failure::new(Exit::Usage, "cannot make the next keyring").why(why).maybe_help(help)
        })?;
        let issued = file::now();
        let expires = self.expires_days.map(|days| UnixMs(issued.0.saturating_add(days * DAY_MS)));
        let mut link = next.link(issued, expires).map_err(|why| {
            let help = why.help();
            Failure::new(Exit::Trouble, "cannot make the link").why(why).maybe_help(help)
        })?;
        add(&self.signing.signer()?, &mut link, &newest, &next)?;
        let bytes = written(&link)?;
        file::write_new(&self.out, &bytes, Access::Public)?;
        told(desk, &link, &bytes, &newest, &self.out)
    }
}

impl SignKeyring {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let newest = file::read_keyring(&self.keyring)?;
        let mut link = file::read_statement(&self.link)?;
        if link.domain() != Domain::Keyring {
            let what = format!("{} is a {}, not a link to a keyring", self.link.display(), link.domain());
            return Err(
                Failure::new(Exit::Usage, what).help("sign other statements with: backstay keys cosign")
            );
        }
        let bytes = written(&link)?;
        let claim = claim(&bytes, &self.link)?;
        if claim.number != newest.parts().number + 1 || claim.before != Some(*newest.digest()) {
            let what = format!(
                "{} leads to keyring {}, which does not follow keyring {} here",
                self.link.display(),
                claim.number,
                newest.parts().number
            );
            return Err(Failure::new(Exit::Untrusted, what)
                .help("compare keyrings with who made the link, by their digests"));
        }
        let next = Keyring::decode(link.payload()).map_err(|why| {
            let help = why.help();
            Failure::new(Exit::Untrusted, "the next keyring is not one to trust").why(why).maybe_help(help)
        })?;
        add(&self.signing.signer()?, &mut link, &newest, &next)?;
        let bytes = written(&link)?;
        let out = self.out.as_deref().unwrap_or(&self.link);
        file::write(out, &bytes)?;
        told(desk, &link, &bytes, &newest, out)
    }
}

impl Follow {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let mut chain = Chain::new(file::read_keyring(&self.keyring)?);
        for path in &self.links {
            let bytes = file::read(path, Domain::Keyring.bytes_max())?;
            match chain.follow(&bytes).map_err(|why| not_followed(path, why))? {
                Step::To(next) => desk.printer.say(format_args!("keyring {} follows", next.parts().number)),
                Step::Same => desk.printer.say(format_args!("{} leads nowhere new", path.display())),
            }
        }
        file::write_new(&self.out, &chain.newest().encode(), Access::Public)?;
        let shown = Shown::keyring(chain.newest());
        desk.printer.show("keys", &shown, || shown.table())?;
        Ok(Exit::Done)
    }
}

fn not_followed(path: &Path, why: ChainError) -> Failure {
    let help = why.help();
    Failure::new(Exit::Untrusted, format!("{} is not followed", path.display())).why(why).maybe_help(help)
}

/// Adds the signature of a root of one of the two.
fn add(signer: &Signer, link: &mut Statement, newest: &Keyring, next: &Keyring) -> Result<(), Failure> {
    let public = signer.public();
    let is_root = |keyring: &Keyring| keyring.parts().root.keys.contains(&public);
    if !is_root(newest) && !is_root(next) {
        let what = format!("key {} is a root of neither keyring", signer.id());
        return Err(Failure::new(Exit::Refused, what).help("only roots say which keyring follows"));
    }
    signer.sign(link)
}

fn written(link: &Statement) -> Result<Vec<u8>, Failure> {
    link.encode().map_err(|why| {
        let help = why.help();
        Failure::new(Exit::Trouble, "cannot write the link").why(why).maybe_help(help)
    })
}

/// Says who has signed, and whether devices would follow.
fn told(desk: &Desk, link: &Statement, bytes: &[u8], newest: &Keyring, out: &Path) -> Result<Exit, Failure> {
    Cosigned::of(link, newest, out).show(desk)?;
    match Chain::new(newest.clone()).follow(bytes) {
        Ok(_) => {
            let out = out.display();
            desk.printer.say(format_args!(
                "devices follow it. next: backstay keys publish {out}, and backstay keys follow {out}"
            ));
        }
        // Signatures are missing, which was said; anything else is said here, and not found out by every device.
        Err(ChainError::Signatures { .. }) => {}
        Err(why) => return Err(not_followed(out, why)),
    }
    Ok(Exit::Done)
}
