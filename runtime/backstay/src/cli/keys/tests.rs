//! Keys as several people meet them: each has a key of their own, and files go from one to the next.

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_model::{FleetId, Hardware, Name, UnixMs, Version};
use backstay_trust::{
    Keyring, ProductRelease, PublicKey, Refusal, RevocationError, SecretKey, Stamp, Statement,
};
use tempfile::TempDir;

use super::{
    cosign::{Cosign, shares},
    init::{Init, New},
    revoke::{Lost, Revoke},
    rotate::{Follow, Rotate, SignKeyring},
    show::Shown,
};
use crate::{Desk, Exit, Failure, file, key_file, passphrase::Passphrase, signer::Signing};

/// A folder in which everybody works.
struct Office {
    dir: TempDir,
}

impl Office {
    /// The fleet's keys, all in one hand.
    fn new() -> Self {
        let office = Self { dir: tempfile::tempdir().unwrap() };
        office.init(&[]).make().unwrap();
        office
    }

    /// Ann, Ben and Cy: two of the three are the operators, the releasers and the roots.
    fn of_three() -> Self {
        let office = Self { dir: tempfile::tempdir().unwrap() };
        let mut roles = Vec::new();
        for role in ["root", "operator", "release"] {
            let keys = ["ann", "ben", "cy"].map(|who| {
                let key = office.path(&format!("{role}-{who}.pem"));
                New { out: key.clone(), encrypt: false, passphrase: Passphrase::default() }
                    .run(&Desk::quiet())
                    .unwrap();
                key.with_extension("pub").display().to_string()
            });
            roles.push(format!("{role}=2:{}", keys.join(",")));
        }
        office.init(&roles).make().unwrap();
        office
    }

    fn init(&self, roles: &[String]) -> Init {
        Init {
            fleet: FleetId::parse("acme").unwrap(),
            dir: self.path("keys"),
            vendor_prefix: Name::parse("backstay").unwrap(),
            roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
            encrypt: false,
            passphrase: Passphrase::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keyring(&self) -> Keyring {
        file::read_keyring(&self.path("keys/keyring")).unwrap()
    }

    fn key(&self, name: &str) -> SecretKey {
        key_file::read_secret(&self.path(name), &Passphrase::default()).unwrap()
    }

    /// The next keyring, begun by `key`.
    fn rotate(&self, key: &str, roles: &[&str]) -> Result<PathBuf, Failure> {
        let out = self.path("next.link");
        let rotate = Rotate {
            keyring: self.path("keys/keyring"),
            roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
            without: Vec::new(),
            expires_days: None,
            signing: Signing::of(self.path(key)),
            out: out.clone(),
        };
        rotate.run(&Desk::quiet())?;
        Ok(out)
    }

    fn sign_keyring(&self, link: &Path, key: &str) -> Result<(), Failure> {
        let signing = Signing::of(self.path(key));
        let keyring = self.path("keys/keyring");
        let sign = SignKeyring { link: link.into(), keyring, signing, out: None };
        sign.run(&Desk::quiet()).map(drop)
    }

    fn follow(&self, link: &Path) -> Result<Keyring, Failure> {
        let out = self.path("keys/keyring-2");
        let (keyring, links) = (self.path("keys/keyring"), vec![link.into()]);
        Follow { keyring, links, out: out.clone() }.run(&Desk::quiet())?;
        file::read_keyring(&out)
    }

    fn cosign(&self, statement: &Path, key: &str) -> Result<(), Failure> {
        let (keyring, signing) = (self.path("keys/keyring"), Signing::of(self.path(key)));
        Cosign { statement: statement.into(), keyring, signing, out: None }.run(&Desk::quiet()).map(drop)
    }

    fn revoke(&self, keys: &[Lost], after: Option<&Path>, out: &str) -> Result<PathBuf, Failure> {
        let out = self.path(out);
        let revoke = Revoke {
            keyring: self.path("keys/keyring"),
            after: after.map(Into::into),
            keys: keys.to_vec(),
            digests: Vec::new(),
            releases: Vec::new(),
            compilers: Vec::new(),
            security_floor: None,
            sequence: None,
            signing: Signing::of(self.path("keys/revoker.pem")),
            out: out.clone(),
        };
        revoke.run(&Desk::quiet())?;
        Ok(out)
    }
}

#[test]
fn a_new_fleet_gets_a_key_for_each_role_and_a_keyring_that_knows_them() {
    let office = Office::new();
    let keyring = office.keyring();
    for (kind, role) in keyring.parts().roles() {
        let path = office.path(&format!("keys/{kind}.pem"));
        if role.keys.is_empty() {
            assert!(!path.exists(), "{kind}");
            continue;
        }
        let key = key_file::read_secret(&path, &Passphrase::default()).unwrap();
        assert_eq!(role.keys, [key.public()], "{kind}");
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        assert_eq!(public.trim().parse(), Ok(key.public()));
        let shown = Shown::read(&path, &Passphrase::default()).unwrap().table();
        assert!(shown.contains(&key.public().to_string()), "{shown}");
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }
    assert_eq!(keyring.parts().vendors.len(), 1);
}

#[test]
fn no_key_is_ever_overwritten() {
    for there in ["root.pem", "operator.pem", "vendor.pub", "keyring"] {
        let office = Office { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(office.path("keys")).unwrap();
        fs::write(office.path("keys").join(there), "mine").unwrap();
        let failure = office.init(&[]).make().unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused, "{there}");
        let count = fs::read_dir(office.path("keys")).unwrap().count();
        assert_eq!(count, 1, "nothing else was made beside {there}");
        assert_eq!(fs::read_to_string(office.path("keys").join(there)).unwrap(), "mine");
    }
}

/// The server has to read its key by itself; nobody types a passphrase there at night.
#[test]
fn all_keys_but_the_directors_are_put_under_a_passphrase() {
    let office = Office { dir: tempfile::tempdir().unwrap() };
    fs::write(office.path("passphrase"), "open sesame\n").unwrap();
    let passphrase = Passphrase::of(office.path("passphrase"));
    let init = Init { encrypt: true, passphrase: passphrase.clone(), ..office.init(&[]) };
    let keyring = init.make().unwrap();
    for name in ["root", "operator", "release", "revoker", "vendor"] {
        let path = office.path(&format!("keys/{name}.pem"));
        assert!(fs::read_to_string(&path).unwrap().contains("ENCRYPTED"), "{name}");
        assert!(key_file::read_secret(&path, &passphrase).is_ok(), "{name}");
    }
    assert_eq!(keyring.parts().director.keys, [office.key("keys/director.pem").public()]);
}

/// Ann signs, Ben signs after her, and only then do devices believe it.
#[test]
fn two_of_three_sign_a_release_by_handing_it_on() {
    let office = Office::of_three();
    assert!(!office.path("keys/release.pem").exists(), "the keys are theirs");
    let keyring = office.keyring();
    let product = ProductRelease {
        release: backstay_model::Release {
            version: Version::parse("2.0.0").unwrap(),
            digest: backstay_model::Digest([5; 32]),
            length: 1,
            security_epoch: 0,
        },
        hardware: vec![Hardware::parse("pump-mk2").unwrap()],
        schemas: backstay_model::SchemaRange { from: 0, to: 0 },
        home: Default::default(),
    };
    let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
    let ann = office.key("release-ann.pem");
    let statement = office.path("app.release");
    fs::write(&statement, product.sign(&ann, keyring.fleet().clone(), stamp).unwrap()).unwrap();
    let verify = || keyring.verify_release(&fs::read(&statement).unwrap(), None).map(drop);
    assert!(matches!(verify(), Err(Refusal::TooFew { has: 1, needs: 2, .. })));
    // Ann again, and somebody who has no say.
    office.cosign(&statement, "release-ann.pem").unwrap();
    assert!(matches!(verify(), Err(Refusal::TooFew { has: 1, needs: 2, .. })));
    let failure = office.cosign(&statement, "operator-ben.pem").unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused, "{failure}");
    office.cosign(&statement, "release-ben.pem").unwrap();
    assert_eq!(verify(), Ok(()));
    let signed = file::read_statement(&statement).unwrap();
    let [share] = &shares(&signed, &keyring)[..] else { panic!("one role signs a release") };
    assert_eq!(share.to_string(), "2 of 2 signatures of release");
}

#[test]
fn the_roots_of_both_keyrings_sign_the_next_one() {
    let office = Office::of_three();
    let new = office.path("new.pem");
    New { out: new, encrypt: false, passphrase: Passphrase::default() }.run(&Desk::quiet()).unwrap();
    let new_director = format!("director=1:{}", office.path("new.pub").display());
    let failure = office.rotate("operator-ann.pem", &[&new_director]).unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused, "{failure}");
    let link = office.rotate("root-ann.pem", &[&new_director]).unwrap();
    let failure = office.follow(&link).unwrap_err();
    assert_eq!(failure.exit(), Exit::Untrusted, "{failure}");
    assert!(failure.to_string().contains("1 of the 2 signatures"), "{failure}");
    let failure = office.sign_keyring(&link, "operator-ben.pem").unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused, "{failure}");
    office.sign_keyring(&link, "root-ben.pem").unwrap();
    let next = office.follow(&link).unwrap();
    let text = fs::read_to_string(office.path("new.pub")).unwrap();
    assert_eq!(next.parts().director.keys, [text.trim().parse::<PublicKey>().unwrap()]);
    assert_eq!((next.parts().number, next.parts().before), (2, Some(*office.keyring().digest())));
    // Whoever has another keyring would sign something else than they think.
    fs::rename(office.path("keys/keyring-2"), office.path("keys/keyring")).unwrap();
    let failure = office.sign_keyring(&link, "root-cy.pem").unwrap_err();
    assert!(failure.to_string().contains("does not follow keyring 2 here"), "{failure}");
}

#[test]
fn a_revocation_adds_to_the_last_one_and_roots_are_not_revoked() {
    let office = Office::new();
    let keyring = office.keyring();
    let stolen = |name: &str| Lost::File(office.path(&format!("keys/{name}.pub")));
    let first = office.revoke(&[stolen("vendor")], None, "1.revocation").unwrap();
    let heeded = keyring.verify_revocation(&fs::read(&first).unwrap()).unwrap();
    assert_eq!(heeded.revocation().keys, [office.key("keys/vendor.pem").id()]);
    let second = office.revoke(&[stolen("operator")], Some(&first), "2.revocation").unwrap();
    let keyring = keyring.revoking(Some(heeded));
    let both = keyring.verify_revocation(&fs::read(second).unwrap()).unwrap();
    assert_eq!(both.revocation().keys.len(), 2);
    assert_eq!(both.stamp().sequence, 2);
    // Begun anew it would be of the same number, and take the first one back.
    let anew = office.revoke(&[stolen("operator")], None, "anew.revocation").unwrap();
    let refused = keyring.verify_revocation(&fs::read(anew).unwrap());
    assert!(matches!(refused, Err(RevocationError::Forked { sequence: 1 })));
    let failure = office.revoke(&[stolen("root")], None, "root.revocation").unwrap_err();
    assert_eq!(failure.exit(), Exit::Usage, "{failure}");
    assert_eq!(office.revoke(&[], None, "none.revocation").unwrap_err().exit(), Exit::Usage);
}

#[test]
fn what_was_signed_is_shown_with_who_signed_it() {
    let office = Office::new();
    let link = office.rotate("keys/root.pem", &[]).unwrap();
    let shown = Shown::read(&link, &Passphrase::default()).unwrap().table();
    for said in [
        "keyring 2",
        "fleet acme",
        &office.key("keys/root.pem").id().0.to_string(),
        &office.key("keys/director.pem").public().to_string(),
        &office.keyring().digest().to_string(),
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let link = Statement::read(&fs::read(link).unwrap()).unwrap();
    assert_eq!(link.signers().count(), 1);
    let json =
        serde_json::to_value(Shown::read(&office.path("keys/keyring"), &Passphrase::default()).unwrap());
    assert_eq!(json.unwrap()["keys"][0]["needs"], 1);
}
