//! `backstay keys`: the keys of a new fleet, and what a key or a keyring says.
//!
//! Four roles, four keys: one theft is one role. Operator and release key belong offline; the director's goes to the
//! server; the vendor's to whoever builds the plugins. The keyring goes into the image of every device.

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_model::{FleetId, Name};
use backstay_trust::{Keyring, KeyringParts, PublicKey, Role, SecretKey, Vendor};
use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    Desk, Exit, Failure,
    file::{self, Access},
    table::Table,
};

/// Keys and keyrings.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make the keys of a new fleet, and keyring number 1
    #[command(after_help = "Example:\n  backstay keys init --fleet acme --dir keys")]
    Init(Init),
    /// Show what a keyring, a public key or a key file says; never a secret
    #[command(after_help = "Example:\n  backstay keys show keys/keyring")]
    Show {
        /// A keyring, a key in PEM, or a file with "ed25519:..."
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The name of the fleet
    #[arg(long)]
    fleet: FleetId,
    /// The folder for the five files; made if it isn't there
    #[arg(long)]
    dir: PathBuf,
    /// The first half of the names of the plugins that the vendor key may sign
    #[arg(long, value_name = "PREFIX", default_value = "backstay")]
    vendor_prefix: Name,
}

impl Keys {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let shown = match self {
            Self::Init(init) => {
                let keyring = init.run()?;
                let dir = init.dir.display();
                desk.printer.say(format_args!("made the keys of fleet {} in {dir}", init.fleet));
                desk.printer.say("  operator.pem  keep it offline: it lets plugins run");
                desk.printer.say("  release.pem   keep it offline: it releases the product");
                desk.printer.say("  director.pem  goes to the server");
                desk.printer.say("  vendor.pem    signs plugins");
                desk.printer.say("  keyring       goes into the image of every device, and to the server");
                Shown::keyring(&keyring)
            }
            Self::Show { file } => Shown::read(file)?,
        };
        desk.printer.show("keys", &shown, || shown.table())?;
        Ok(Exit::Done)
    }
}

impl Init {
    fn run(&self) -> Result<Keyring, Failure> {
        let [operator, release, director, vendor] = [draw()?, draw()?, draw()?, draw()?];
        let parts = KeyringParts {
            number: 1,
            fleet: self.fleet.clone(),
            operator: Role::of(operator.public()),
            release: Role::of(release.public()),
            director: Role::of(director.public()),
            vendors: vec![Vendor { prefix: self.vendor_prefix.clone(), role: Role::of(vendor.public()) }],
        };
        let keyring = Keyring::new(parts)
            .map_err(|why| Failure::new(Exit::Trouble, "cannot make a keyring").why(why))?;
        let path = |name: &str| self.dir.join(name);
        let secrets = [
            (path("operator.pem"), operator),
            (path("release.pem"), release),
            (path("director.pem"), director),
            (path("vendor.pem"), vendor),
        ];
        // Before anything is written: half of an old set of keys and half of a new one would fit nothing.
        let ring = path("keyring");
        if let Some(there) = secrets.iter().map(|(path, _)| path).chain([&ring]).find(|path| path.exists()) {
            return Err(file::exists(there));
        }
        fs::create_dir_all(&self.dir).map_err(|why| {
            Failure::new(Exit::Trouble, format!("cannot make {}", self.dir.display())).why(why)
        })?;
        for (path, key) in &secrets {
            file::write_new(path, key.to_pem().as_bytes(), Access::Secret)?;
        }
        file::write_new(&ring, &keyring.encode(), Access::Public)?;
        Ok(keyring)
    }
}

fn draw() -> Result<SecretKey, Failure> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut_slice()).map_err(|why| {
        Failure::new(Exit::Trouble, "the system gives no randomness for keys").why(why.to_string())
    })?;
    Ok(SecretKey::from_random(&random))
}

/// What is shown of keys.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<FleetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    keys: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    role: String,
    key: PublicKey,
    fingerprint: String,
}

impl Line {
    fn new(role: impl Into<String>, key: PublicKey) -> Self {
        Self { role: role.into(), key, fingerprint: key.id().0.to_string() }
    }
}

impl Shown {
    fn keyring(keyring: &Keyring) -> Self {
        let parts = keyring.parts();
        let vendors = parts.vendors.iter().map(|vendor| (format!("vendor {}", vendor.prefix), &vendor.role));
        let roles =
            [("operator", &parts.operator), ("release", &parts.release), ("director", &parts.director)];
        let roles = roles.into_iter().map(|(name, role)| (name.to_owned(), role)).chain(vendors);
        Self {
            fleet: Some(parts.fleet.clone()),
            number: Some(parts.number),
            digest: Some(keyring.digest().to_string()),
            keys: roles
                .flat_map(|(name, role)| role.keys.iter().map(move |key| Line::new(name.clone(), *key)))
                .collect(),
        }
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = Zeroizing::new(file::read(path, Keyring::BYTES_MAX)?);
        let of = |role: &str, key| Self {
            fleet: None,
            number: None,
            digest: None,
            keys: vec![Line::new(role, key)],
        };
        match std::str::from_utf8(&bytes).map(str::trim) {
            Ok(text) if text.starts_with("-----BEGIN") => {
                Ok(of("secret key", file::read_key(path)?.public()))
            }
            Ok(text) if text.starts_with("ed25519:") => {
                let key = text.parse::<PublicKey>();
                let what = || format!("{} holds no public key", path.display());
                Ok(of("public key", key.map_err(|why| Failure::new(Exit::Usage, what()).why(why))?))
            }
            Ok(_) | Err(_) => Ok(Self::keyring(&file::read_keyring(path)?)),
        }
    }

    fn table(&self) -> String {
        let mut list = Table::list();
        if let (Some(fleet), Some(number), Some(digest)) = (&self.fleet, self.number, &self.digest) {
            list.say("fleet", fleet);
            list.say("keyring", format_args!("number {number}, {digest}"));
        }
        let mut keys = Table::new(["ROLE", "PUBLIC KEY", "FINGERPRINT"]);
        for line in &self.keys {
            keys.row([line.role.clone(), line.key.to_string(), line.fingerprint.clone()]);
        }
        format!("{list}{keys}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(dir: &Path) -> Init {
        let (fleet, vendor_prefix) = (FleetId::parse("acme").unwrap(), Name::parse("backstay").unwrap());
        Init { fleet, dir: dir.into(), vendor_prefix }
    }

    #[test]
    fn a_new_fleet_gets_four_keys_and_a_keyring_that_knows_them() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = init(dir.path()).run().unwrap();
        assert_eq!(keyring, file::read_keyring(&dir.path().join("keyring")).unwrap());
        let operator = file::read_key(&dir.path().join("operator.pem")).unwrap();
        assert_eq!(keyring.parts().operator.keys, [operator.public()]);
        let shown = Shown::read(&dir.path().join("operator.pem")).unwrap().table();
        assert!(shown.contains(&operator.public().to_string()), "{shown}");
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }

    #[test]
    fn no_key_is_ever_overwritten() {
        for there in ["operator.pem", "release.pem", "director.pem", "vendor.pem", "keyring"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(there), "mine").unwrap();
            let failure = init(dir.path()).run().unwrap_err();
            assert_eq!(failure.exit(), Exit::Refused, "{there}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else was made beside {there}");
            assert_eq!(fs::read_to_string(dir.path().join(there)).unwrap(), "mine");
        }
    }
}
