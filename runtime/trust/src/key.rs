//! Keys. Not here: which of them is trusted with what (`keyring`), and where a secret one is kept.

use alloc::{format, string::String};
use core::{cmp::Ordering, fmt, hash, str::FromStr};

use backstay_model::Digest;
use ed25519_dalek::{
    Signature, Signer, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Which key: the SHA-256 digest of the 32 bytes of the public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.short().fmt(f)
    }
}

/// What a public key looks like where people read it.
const PREFIX: &str = "ed25519:";

/// The public half of a key. Written as `ed25519:` and 64 hexadecimal digits, so people can compare two.
#[derive(Clone, Copy)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key that these 32 bytes are.
    ///
    /// # Errors
    /// If they are no point of the curve, or one under which a signature proves nothing.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NoPoint)?;
        if key.is_weak() { Err(KeyError::NoPoint) } else { Ok(Self(key)) }
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// What it is called in envelopes.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest(Sha256::digest(self.as_bytes()).into()))
    }

    /// Whether `signature` over `message` was made with the secret half. Strict: of one message there is one
    /// form of a signature only.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl hash::Hash for PublicKey {
    fn hash<H: hash::Hasher>(&self, to: &mut H) {
        self.as_bytes().hash(to);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", Digest(*self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.strip_prefix(PREFIX).ok_or(KeyError::NotText)?;
        let bytes: Digest = digits.parse().map_err(|_| KeyError::NotText)?;
        Self::from_bytes(&bytes.0)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { self.as_bytes().serialize(to) }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?.parse().map_err(de::Error::custom)
        } else {
            Self::from_bytes(&<[u8; 32]>::deserialize(from)?).map_err(de::Error::custom)
        }
    }
}

/// The secret half. It is wiped from memory when it is dropped, and never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key that 32 random bytes are. They have to come from the system's source for keys, and be wiped.
    #[must_use]
    pub fn from_random(random: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(random))
    }

    /// Reads a PKCS#8 private key in PEM, as `openssl genpkey -algorithm ed25519` and [`SecretKey::to_pem`]
    /// write it.
    ///
    /// # Errors
    /// If it is anything else. The text is not quoted.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(text).map(Self).map_err(|_| KeyError::NotPem)
    }

    /// As a PKCS#8 private key in PEM. The text is wiped when it is dropped.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.0.to_pkcs8_pem(LineEnding::LF).expect("a key of 32 bytes fits the fixed layout of PKCS#8")
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// What it is called in envelopes.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.public().id()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("SecretKey(of {})", self.public()))
    }
}

/// Something that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The text isn't `ed25519:` and 64 digits.
    NotText,
    /// The bytes are no usable point of the curve.
    NoPoint,
    /// The text isn't a PKCS#8 private key of ed25519 in PEM.
    NotPem,
    /// The text isn't a one-time token.
    NotToken,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotText => "a public key is ed25519: and 64 lower-case hexadecimal digits",
            Self::NoPoint => "these 32 bytes are no usable ed25519 public key",
            Self::NotToken => "a one-time token is 32 lower-case hexadecimal digits",
            Self::NotPem => "this is no ed25519 private key in PKCS#8 PEM",
        })
    }
}

impl core::error::Error for KeyError {}

impl KeyError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NotText | Self::NoPoint => {
                Some("copy the whole key from the output of the one who made it")
            }
            Self::NotToken => Some("have the server make a new token, and copy all of it"),
            Self::NotPem => Some(
                "it begins with -----BEGIN PRIVATE KEY-----; a key under a passphrase is for the command line only",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    fn key() -> SecretKey {
        SecretKey::from_random(&[7; 32])
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        assert_eq!(key().public().to_string().parse(), Ok(key().public()));
        assert_eq!(SecretKey::from_pem(&key().to_pem()).unwrap().public(), key().public());
        let bytes = postcard::to_allocvec(&key().public()).unwrap();
        assert_eq!(bytes, key().public().as_bytes());
        assert_eq!(postcard::from_bytes::<PublicKey>(&bytes), Ok(key().public()));
    }

    /// As written by `openssl genpkey -algorithm ed25519`: without the public half.
    #[test]
    fn a_key_that_another_tool_made_is_read() {
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n\
                   -----END PRIVATE KEY-----\n";
        assert_eq!(SecretKey::from_pem(pem).unwrap().public(), key().public());
    }

    #[test]
    fn a_secret_key_is_never_printed() {
        let secret = Digest([7; 32]).to_string();
        assert!(!format!("{:?}", key()).contains(&secret));
        assert!(!format!("{:?}", key()).contains("7, 7, 7"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!("ed25519:00".parse::<PublicKey>(), Err(KeyError::NotText));
        assert_eq!(key().public().to_string()[8..].parse::<PublicKey>(), Err(KeyError::NotText));
        // The neutral element: under it, anybody can "sign" anything.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(PublicKey::from_bytes(&neutral), Err(KeyError::NoPoint));
        assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(KeyError::NoPoint));
        let broken = key().to_pem().replace("PRIVATE", "PUBLIC");
        assert_eq!(SecretKey::from_pem(&broken).unwrap_err(), KeyError::NotPem);
    }
}
