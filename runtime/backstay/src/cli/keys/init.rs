//! `keys init` and `keys new`: keys that were not there before.

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_model::{FleetId, Name};
use backstay_trust::{Keyring, KeyringParts, Role, SecretKey};
use clap::Args;
use zeroize::Zeroizing;

use super::{
    role::{RoleKeys, RoleName},
    show::Shown,
};
use crate::{
    Desk, Exit, Failure,
    file::{self, Access},
    key_file,
    passphrase::Passphrase,
};

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The name of the fleet
    #[arg(long)]
    pub(super) fleet: FleetId,
    /// The folder for the files; made if it isn't there
    #[arg(long)]
    pub(super) dir: PathBuf,
    /// The first half of the names of the plugins that the vendor key may sign
    #[arg(long, value_name = "PREFIX", default_value = "backstay")]
    pub(super) vendor_prefix: Name,
    /// A role whose keys others hold: K of these have to sign. No key is made for it
    #[arg(long = "role", value_name = "ROLE=K:FILE,FILE")]
    pub(super) roles: Vec<RoleKeys>,
    /// Put the keys under a passphrase, all but the director's, which the server has to read by itself
    #[arg(long)]
    pub(super) encrypt: bool,
    #[command(flatten)]
    pub(super) passphrase: Passphrase,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// Where the secret key goes; its public half goes beside it, as .pub
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Put it under a passphrase
    #[arg(long)]
    pub(super) encrypt: bool,
    #[command(flatten)]
    pub(super) passphrase: Passphrase,
}

/// What each key is for, in the order in which they are told.
const USES: [(&str, &str); 7] = [
    ("root", "keep it offline, best in two places: it says who is trusted after this"),
    ("operator", "keep it offline: it lets plugins run"),
    ("release", "keep it offline: it releases the product"),
    ("revoker", "keep it at hand, offline: it takes trust back when a key was stolen"),
    ("verdict", "signs verdicts for pipelines"),
    ("director", "goes to the server"),
    ("vendor", "signs plugins"),
];

impl Init {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let keyring = self.make()?;
        let dir = self.dir.display();
        desk.printer.say(format_args!("made the keys of fleet {} in {dir}", self.fleet));
        for (name, use_of) in USES.into_iter().filter(|(name, _)| self.makes(name)) {
            desk.printer.say(format_args!("  {:<13} {use_of}", format!("{name}.pem")));
        }
        desk.printer.say("  keyring       goes into the image of every device, and to the server");
        let shown = Shown::keyring(&keyring);
        desk.printer.show("keys", &shown, || shown.table())?;
        Ok(Exit::Done)
    }

    /// Whether nobody else holds the keys of this role.
    fn makes(&self, name: &str) -> bool {
        !self.roles.iter().any(|role| match (&role.name, name) {
            (RoleName::Vendor(prefix), "vendor") => *prefix == self.vendor_prefix,
            (role, name) => RoleName::FIXED.iter().any(|(of, fixed)| *of == name && fixed == role),
        })
    }

    pub(super) fn make(&self) -> Result<Keyring, Failure> {
        let mut parts = KeyringParts::first(self.fleet.clone(), Role::none(), Role::none(), Role::none());
        let mut secrets: Vec<(PathBuf, SecretKey, &str)> = Vec::new();
        for (name, _) in USES.into_iter().filter(|(name, _)| self.makes(name)) {
            let key = key_file::draw()?;
            let role = match name {
                "vendor" => RoleName::Vendor(self.vendor_prefix.clone()),
                name => name.parse().expect("the uses are those of roles"),
            };
            role.set(&mut parts, Role::of(key.public()));
            secrets.push((self.dir.join(format!("{name}.pem")), key, name));
        }
        for role in &self.roles {
            role.name.set(&mut parts, role.read()?);
        }
        let keyring = Keyring::new(parts).map_err(|why| {
            let help = why.help();
            Failure::new(Exit::Usage, "cannot make a keyring").why(why).maybe_help(help)
        })?;
        // Before anything is written: half of an old set of keys and half of a new one would fit nothing.
        let ring = self.dir.join("keyring");
        let publics: Vec<_> = secrets.iter().map(|(path, ..)| path.with_extension("pub")).collect();
        let all = secrets.iter().map(|(path, ..)| path).chain(&publics).chain([&ring]);
        if let Some(there) = all.into_iter().find(|path| path.exists()) {
            return Err(file::exists(there));
        }
        let passphrase = sealed(self.encrypt, &self.passphrase, "the keys of the fleet")?;
        fs::create_dir_all(&self.dir).map_err(|why| {
            Failure::new(Exit::Trouble, format!("cannot make {}", self.dir.display())).why(why)
        })?;
        for ((path, key, name), public) in secrets.iter().zip(&publics) {
            let passphrase = passphrase.as_ref().filter(|_| *name != "director");
            write(path, public, key, passphrase)?;
        }
        file::write_new(&ring, &keyring.encode(), Access::Public)?;
        Ok(keyring)
    }
}

impl New {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let public = self.out.with_extension("pub");
        if public == self.out {
            return Err(Failure::new(Exit::Usage, "a secret key can't be called .pub")
                .help("its public half gets that name"));
        }
        if let Some(there) = [&self.out, &public].into_iter().find(|path| path.exists()) {
            return Err(file::exists(there));
        }
        let key = key_file::draw()?;
        let passphrase = sealed(self.encrypt, &self.passphrase, &self.out.display().to_string())?;
        write(&self.out, &public, &key, passphrase.as_ref())?;
        desk.printer.say(format_args!("made {}; hand on {}", self.out.display(), public.display()));
        let shown = Shown::key("new key", key.public());
        desk.printer.show("keys", &shown, || shown.table())?;
        Ok(Exit::Done)
    }
}

/// The passphrase for new keys, if they are to have one.
fn sealed(encrypt: bool, passphrase: &Passphrase, what: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    if encrypt { passphrase.to_seal(what).map(Some) } else { passphrase.given() }
}

fn write(
    path: &Path,
    public: &Path,
    key: &SecretKey,
    passphrase: Option<&Zeroizing<String>>,
) -> Result<(), Failure> {
    key_file::write_secret(path, key, passphrase.map(|passphrase| passphrase.as_str()))?;
    file::write_new(public, format!("{}\n", key.public()).as_bytes(), Access::Public)
}
