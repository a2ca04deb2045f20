//! Keys in files: PKCS#8 in PEM, plain or under a passphrase, and public keys as text.
//!
//! A key under a passphrase has the form that other tools read and write, too: PBES2 with PBKDF2-HMAC-SHA-256 and
//! AES-256-CBC. Forms of others with scrypt are read. Not here: where the passphrase comes from (`passphrase`).

use std::path::Path;

use backstay_trust::{KeyError, PublicKey, SecretKey};
use pkcs8::{
    EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument, der::pem::PemLabel, pkcs5::pbes2,
};
use zeroize::Zeroizing;

use crate::{
    Exit, Failure,
    file::{self, Access},
    passphrase::Passphrase,
};

/// The largest key file, in bytes.
const BYTES_MAX: usize = 4096;

/// How often a passphrase is hashed. More costs whoever guesses, and everybody who signs a fraction of a second.
const ITERATIONS: u32 = 600_000;

const PLAIN: &str = "-----BEGIN PRIVATE KEY-----";
const SEALED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// 32 random bytes as a key.
pub(crate) fn draw() -> Result<SecretKey, Failure> {
    let mut random = Zeroizing::new([0; 32]);
    fill(random.as_mut_slice())?;
    Ok(SecretKey::from_random(&random))
}

fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    getrandom::fill(bytes).map_err(|why| {
        Failure::new(Exit::Trouble, "the system gives no randomness for keys").why(why.to_string())
    })
}

/// The secret key in a file; asks for its passphrase if it has one.
pub(crate) fn read_secret(path: &Path, passphrase: &Passphrase) -> Result<SecretKey, Failure> {
    let bytes = Zeroizing::new(file::read(path, BYTES_MAX)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| no_key(path, KeyError::NotPem))?;
    if !text.trim_start().starts_with(SEALED) {
        return SecretKey::from_pem(text).map_err(|why| no_key(path, why));
    }
    let typed = passphrase.to_open(&path.display().to_string())?;
    open(text, &typed).map_err(|why| match why {
        Closed::Passphrase => {
            Failure::new(Exit::Refused, format!("the passphrase does not open {}", path.display())).help(
                "type it again; a key whose passphrase is lost has to be replaced: backstay keys rotate",
            )
        }
        Closed::Form(why) => Failure::new(Exit::Usage, format!("{} holds no key", path.display()))
            .why(why)
            .help("keys under a passphrase have to be PKCS#8 with PBES2, AES, and PBKDF2 or scrypt"),
        Closed::Key(why) => no_key(path, why),
    })
}

/// The public key in a file: of a secret key, or as text.
pub(crate) fn read_public(path: &Path, passphrase: &Passphrase) -> Result<PublicKey, Failure> {
    let bytes = Zeroizing::new(file::read(path, BYTES_MAX)?);
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok(text) if text.starts_with("ed25519:") => text.parse().map_err(|why: KeyError| no_key(path, why)),
        Ok(_) | Err(_) => Ok(read_secret(path, passphrase)?.public()),
    }
}

fn no_key(path: &Path, why: KeyError) -> Failure {
    let help = why.help();
    Failure::new(Exit::Usage, format!("{} holds no key", path.display())).why(why).maybe_help(help)
}

/// Writes a new secret key, under a passphrase if there is one.
pub(crate) fn write_secret(path: &Path, key: &SecretKey, passphrase: Option<&str>) -> Result<(), Failure> {
    let pem = match passphrase {
        None => key.to_pem(),
        Some(passphrase) => seal(key, passphrase)?,
    };
    file::write_new(path, pem.as_bytes(), Access::Secret)
}

/// Why a key under a passphrase could not be had.
#[derive(Debug)]
enum Closed {
    Passphrase,
    Form(String),
    Key(KeyError),
}

fn open(text: &str, passphrase: &str) -> Result<SecretKey, Closed> {
    let form = |why: &dyn std::fmt::Display| Closed::Form(why.to_string());
    let (label, document) = SecretDocument::from_pem(text.trim()).map_err(|why| form(&why))?;
    EncryptedPrivateKeyInfo::validate_pem_label(label).map_err(|why| form(&why))?;
    let sealed = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|why| form(&why))?;
    if sealed.encryption_algorithm.pbes2().is_none() {
        return Err(Closed::Form("its encryption is an old one".into()));
    }
    // With a wrong passphrase the padding is wrong, or, one time in some hundred, what comes out is no key.
    let plain = sealed.decrypt(passphrase).map_err(|_| Closed::Passphrase)?;
    let pem = plain.to_pem(PrivateKeyInfo::PEM_LABEL, LineEnding::LF).map_err(|why| form(&why))?;
    SecretKey::from_pem(&pem).map_err(Closed::Key)
}

fn seal(key: &SecretKey, passphrase: &str) -> Result<Zeroizing<String>, Failure> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    fill(&mut salt)?;
    fill(&mut iv)?;
    let sealed = || {
        let (_, plain) = SecretDocument::from_pem(&key.to_pem())?;
        let parameters =
            pbes2::Parameters::pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, &iv).map_err(pkcs8::Error::from)?;
        let plain = PrivateKeyInfo::try_from(plain.as_bytes())?;
        let sealed = plain.encrypt_with_params(parameters, passphrase)?;
        Ok(sealed.to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF)?)
    };
    sealed().map_err(|why: pkcs8::Error| {
        Failure::new(Exit::Trouble, "cannot put the key under a passphrase").why(why.to_string())
    })
}

/// Whether a file looks like a secret key.
pub(crate) fn is_secret(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with(PLAIN) || text.starts_with(SEALED)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// `openssl pkcs8 -topk8` of the key of 32 bytes of 7, with the passphrase "sesame".
    const OF_OPENSSL: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
        MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhn2ORXzVWLiQICCAAw\n\
        DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEPbPqRWe/duosaoYtSh7OeIEQNiA\n\
        vGN5E4cvw+8nMoEQBIZ+QhqDUrCSOm/DXTRBaM4lP339zm6guE0R6Mm/tKkyiWRu\n\
        zP8U6wECFTHC+8VRtB4=\n\
        -----END ENCRYPTED PRIVATE KEY-----\n";

    fn key() -> SecretKey {
        SecretKey::from_random(&[7; 32])
    }

    fn under(passphrase: &str) -> (tempfile::TempDir, Passphrase) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        fs::write(&path, passphrase).unwrap();
        (dir, Passphrase::of(path))
    }

    #[test]
    fn a_key_under_a_passphrase_comes_back_with_it_and_not_without() {
        let (dir, sesame) = under("sesame\n");
        let path = dir.path().join("key.pem");
        write_secret(&path, &key(), Some("sesame")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(SEALED), "{text}");
        assert_eq!(read_secret(&path, &sesame).unwrap().public(), key().public());
        assert_eq!(read_public(&path, &sesame).unwrap(), key().public());
        let (_dir, other) = under("simsim");
        let failure = read_secret(&path, &other).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused, "{failure}");
        assert!(failure.to_string().contains("the passphrase does not open"), "{failure}");
    }

    #[test]
    fn a_key_that_another_tool_put_under_a_passphrase_is_read() {
        let (dir, sesame) = under("sesame");
        let path = dir.path().join("key.pem");
        fs::write(&path, OF_OPENSSL).unwrap();
        assert_eq!(read_secret(&path, &sesame).unwrap().public(), key().public());
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let (dir, sesame) = under("sesame");
        let path = dir.path().join("key.pem");
        let cut = OF_OPENSSL.replace("zP8U6wECFTHC+8VRtB4=\n", "");
        for text in ["", "ed25519:00", PLAIN, SEALED, &cut] {
            fs::write(&path, text).unwrap();
            let failure = read_public(&path, &sesame).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{text:?}: {failure}");
        }
        fs::write(&path, format!("{}\n", key().public())).unwrap();
        assert_eq!(read_public(&path, &sesame).unwrap(), key().public());
    }
}
