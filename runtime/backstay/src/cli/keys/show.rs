//! `keys show`: what a keyring, a key or a signed statement says. Never a secret.

use std::path::{Path, PathBuf};

use backstay_model::{Digest, FleetId, Steer};
use backstay_trust::{Claim, Domain, Keyring, PublicKey, Role, Statement};
use backstay_wire::decode;
use clap::Args;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{Desk, Exit, Failure, file, key_file, passphrase::Passphrase, table::Table};

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// A keyring, a key in PEM, a file with "ed25519:...", or anything that was signed
    file: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Show {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let shown = Shown::read(&self.file, &self.passphrase)?;
        desk.printer.show("keys", &shown, || shown.table())?;
        Ok(Exit::Done)
    }
}

/// What is shown of keys.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<Said>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<FleetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Digest>,
    keys: Vec<Line>,
}

/// What a statement says of itself. Nothing of it was checked.
#[derive(Debug, Serialize)]
pub(super) struct Said {
    kind: &'static str,
    audience: String,
    sequence: u64,
    digest: Digest,
    /// What an order says, for whoever is asked to sign it, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<String>,
    signed_with: Vec<Digest>,
}

fn says(statement: &Statement) -> Option<String> {
    if statement.domain() != Domain::SteerProduct {
        return None;
    }
    let steer: Steer = decode(statement.payload(), usize::MAX).ok()?;
    let Steer { rollout, direction, release, back, generation, .. } = steer;
    let back = back.map_or_else(|| "each device's last known good".into(), |back| back.to_string());
    Some(format!("{direction}, rollout {rollout} of {release}, back: {back}; generation {}", generation.0))
}

impl Said {
    pub(super) fn of(statement: &Statement) -> Self {
        Self {
            kind: statement.domain().name(),
            audience: statement.audience().to_string(),
            sequence: statement.stamp().sequence,
            digest: statement.digest(),
            says: says(statement),
            signed_with: statement.signers().map(|key| key.0).collect(),
        }
    }

    pub(super) fn tell(&self, list: &mut Table) {
        list.say("statement", format_args!("{} {}", self.kind, self.sequence));
        list.say("for", &self.audience);
        list.say("digest", self.digest);
        if let Some(says) = &self.says {
            list.say("says", says);
        }
        let signers: Vec<_> = self.signed_with.iter().map(ToString::to_string).collect();
        list.say("signed with", if signers.is_empty() { "nothing".into() } else { signers.join(", ") });
    }
}

#[derive(Debug, Serialize)]
struct Line {
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<u8>,
    key: PublicKey,
    fingerprint: String,
}

impl Shown {
    pub(super) fn key(role: &str, key: PublicKey) -> Self {
        let line = Line { role: role.into(), needs: None, key, fingerprint: key.id().0.to_string() };
        Self { statement: None, fleet: None, number: None, digest: None, before: None, keys: vec![line] }
    }

    pub(super) fn keyring(keyring: &Keyring) -> Self {
        let parts = keyring.parts();
        let vendors = parts.vendors.iter().map(|vendor| (format!("vendor {}", vendor.prefix), &vendor.role));
        let roles = parts.roles().into_iter().map(|(kind, role)| (kind.to_string(), role)).chain(vendors);
        let lines = |(name, role): (String, &Role)| -> Vec<Line> {
            let line = |key: &PublicKey| Line {
                role: name.clone(),
                needs: Some(role.threshold),
                key: *key,
                fingerprint: key.id().0.to_string(),
            };
            role.keys.iter().map(line).collect()
        };
        Self {
            statement: None,
            fleet: Some(parts.fleet.clone()),
            number: Some(parts.number),
            digest: Some(keyring.digest().to_string()),
            before: parts.before,
            keys: roles.flat_map(lines).collect(),
        }
    }

    fn statement(statement: &Statement) -> Self {
        let keyring = match statement.domain() {
            Domain::Keyring => Keyring::decode(statement.payload()).ok(),
            Domain::PluginRelease
            | Domain::Grant
            | Domain::ProductRelease
            | Domain::SteerProduct
            | Domain::SteerPlugins
            | Domain::DeviceOrder
            | Domain::TrustFloor
            | Domain::Receipt
            | Domain::Consent
            | Domain::EnrolRequest
            | Domain::Enrolment
            | Domain::DeviceState
            | Domain::DevicePlugins
            | Domain::DevicePresence
            | Domain::DeviceLog
            | Domain::Revocation
            | Domain::Verdict
            | Domain::KnownGood => None,
        };
        let empty =
            Self { statement: None, fleet: None, number: None, digest: None, before: None, keys: Vec::new() };
        let shown = keyring.as_ref().map_or(empty, Self::keyring);
        Self { statement: Some(Said::of(statement)), ..shown }
    }

    pub(super) fn read(path: &Path, passphrase: &Passphrase) -> Result<Self, Failure> {
        let bytes = Zeroizing::new(file::read(path, Statement::BYTES_MAX)?);
        match std::str::from_utf8(&bytes).map(str::trim) {
            Ok(text) if key_file::is_secret(text) => {
                Ok(Self::key("secret key", key_file::read_secret(path, passphrase)?.public()))
            }
            Ok(text) if text.starts_with("ed25519:") => {
                Ok(Self::key("public key", key_file::read_public(path, passphrase)?))
            }
            Ok(_) | Err(_) if bytes.starts_with(b"bks") => Ok(Self::statement(&file::read_statement(path)?)),
            Ok(_) | Err(_) => Ok(Self::keyring(&file::read_keyring(path)?)),
        }
    }

    pub(super) fn table(&self) -> String {
        let mut list = Table::list();
        if let Some(statement) = &self.statement {
            statement.tell(&mut list);
        }
        if let (Some(fleet), Some(number), Some(digest)) = (&self.fleet, self.number, &self.digest) {
            list.say("fleet", fleet);
            list.say("keyring", format_args!("number {number}, {digest}"));
        }
        if let Some(before) = &self.before {
            list.say("follows", before);
        }
        if self.keys.is_empty() {
            return list.to_string();
        }
        let mut keys = Table::new(["ROLE", "NEEDS", "PUBLIC KEY", "FINGERPRINT"]);
        for line in &self.keys {
            let needs = line.needs.map_or_else(|| "-".into(), |needs| needs.to_string());
            keys.row([line.role.clone(), needs, line.key.to_string(), line.fingerprint.clone()]);
        }
        format!("{list}{keys}")
    }
}

/// The claim of a link, for who looks at what it changes.
pub(super) fn claim(bytes: &[u8], path: &Path) -> Result<Claim, Failure> {
    Claim::of(bytes).map_err(|why| {
        let help = why.help();
        Failure::new(Exit::Usage, format!("{} is no link to a keyring", path.display()))
            .why(why)
            .maybe_help(help)
    })
}
