//! Who has a role, as it is said on the command line: `operator=2:ann.pub,ben.pub,cy.pub`.

use std::{path::PathBuf, str::FromStr};

use backstay_model::Name;
use backstay_trust::{KeyringParts, Role, Vendor};

use crate::{Failure, key_file, passphrase::Passphrase};

/// A role by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RoleName {
    Root,
    Operator,
    Release,
    Director,
    Revoker,
    Verdict,
    Device,
    Vendor(Name),
}

impl RoleName {
    /// Those that are one each.
    pub(super) const FIXED: [(&'static str, Self); 7] = [
        ("root", Self::Root),
        ("operator", Self::Operator),
        ("release", Self::Release),
        ("director", Self::Director),
        ("revoker", Self::Revoker),
        ("verdict", Self::Verdict),
        ("device", Self::Device),
    ];

    /// Puts `role` in the place of whoever had it. Without keys, a vendor is gone.
    pub(super) fn set(&self, parts: &mut KeyringParts, role: Role) {
        match self {
            Self::Root => parts.root = role,
            Self::Operator => parts.operator = role,
            Self::Release => parts.release = role,
            Self::Director => parts.director = role,
            Self::Revoker => parts.revoker = role,
            Self::Verdict => parts.verdict = role,
            Self::Device => parts.device = role,
            Self::Vendor(prefix) => {
                parts.vendors.retain(|vendor| vendor.prefix != *prefix);
                if !role.keys.is_empty() {
                    parts.vendors.push(Vendor { prefix: prefix.clone(), role });
                }
            }
        }
    }
}

impl FromStr for RoleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(prefix) = text.strip_prefix("vendor/") {
            return Name::parse(prefix).map(Self::Vendor).map_err(|why| why.to_string());
        }
        let found = Self::FIXED.into_iter().find(|(name, _)| *name == text).map(|(_, role)| role);
        found.ok_or_else(|| {
            let all = Self::FIXED.map(|(name, _)| name).join(", ");
            format!("{text:?} is no role: expected {all} or vendor/PREFIX")
        })
    }
}

/// A role and who has it, by the files of their public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleKeys {
    pub(super) name: RoleName,
    threshold: u8,
    files: Vec<PathBuf>,
}

impl RoleKeys {
    /// Reads the keys.
    pub(super) fn read(&self) -> Result<Role, Failure> {
        // A secret key under a passphrase would be asked for: its public half is beside it.
        let read = |path: &PathBuf| key_file::read_public(path, &Passphrase::default());
        let keys = self.files.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Role { threshold: self.threshold, keys })
    }
}

impl FromStr for RoleKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected ROLE=K:FILE,FILE..., found {text:?}");
        let (name, rest) = text.split_once('=').ok_or_else(expected)?;
        let (threshold, files) = rest.split_once(':').ok_or_else(expected)?;
        let threshold = threshold.parse().map_err(|_| expected())?;
        let files: Vec<PathBuf> = files.split(',').filter(|file| !file.is_empty()).map(Into::into).collect();
        if files.is_empty() {
            return Err(expected());
        }
        Ok(Self { name: name.parse()?, threshold, files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_said_in_one_word() {
        let role: RoleKeys = "operator=2:ann.pub,ben.pub".parse().unwrap();
        assert_eq!(role.name, RoleName::Operator);
        assert_eq!((role.threshold, role.files.len()), (2, 2));
        let vendor: RoleKeys = "vendor/acme=1:a.pub".parse().unwrap();
        assert_eq!(vendor.name, RoleName::Vendor(Name::parse("acme").unwrap()));
        for odd in ["operator", "operator=2", "operator=x:a", "operator=1:", "boss=1:a", "vendor/=1:a"] {
            assert!(odd.parse::<RoleKeys>().is_err(), "{odd}");
        }
    }
}
