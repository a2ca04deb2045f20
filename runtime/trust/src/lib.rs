//! Who may say what, and the proofs that come of checking it.
//!
//! Here: keys, the one envelope that every signed statement has, the kinds of statement, and for each a type
//! that can be had only by verifying: a [`VerifiedOrder`], a [`VerifiedPlugin`], a [`VerifiedRelease`], a
//! [`VerifiedRevocation`], a [`VerifiedVerdict`], a [`VerifiedKnownGood`]; and how one [`Keyring`] follows another ([`Chain`]). Not here: what follows from a
//! statement (`core`), which sequence was accepted last (the caller keeps its [`Watermark`]s and [`Floor`]s),
//! randomness, files and a clock (whoever needs them brings them).
//!
//! The broker, and the server too, may be in other hands. What is refused here is the boundary.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod accepted;
mod bundle;
mod chain;
mod device;
mod domain;
mod enrolment;
mod envelope;
mod key;
mod keyring;
mod keyring_error;
mod known_good;
mod limits;
mod order;
mod permissions;
mod plugin;
mod plugin_error;
mod product;
mod refusal;
mod revocation;
mod statement;
mod text;
mod verdict;
mod verified_plugin;

pub use accepted::{Accepted, Floor};
pub use bundle::{Bundle, BundleError};
pub use chain::{Chain, ChainError, Claim, Step};
pub use device::{DeviceKind, VerifiedWord, sign_word, verify_word};
pub use domain::Domain;
pub use enrolment::{EnrolRequest, EnrolToken, Enrolment, VerifiedEnrolRequest, VerifiedEnrolment};
pub use envelope::{Audience, Freshness, Stamp};
pub use key::{KeyError, KeyId, PublicKey, SecretKey};
pub use keyring::{Keyring, KeyringParts, Role, Vendor};
pub use keyring_error::{KeyringError, RoleKind};
pub use known_good::{KnownGood, VerifiedKnownGood};
pub use limits::Limits;
pub use order::{
    Listener, OrderKind, Succession, VerifiedConsent, VerifiedOrder, Watermark, sign_consent, sign_order,
};
pub use permissions::{EffectKind, NotGranted, Permissions};
pub use plugin::{Artifact, Grant, PluginRelease, Want};
pub use plugin_error::{PluginError, PluginPart};
pub use product::{ProductRelease, VerifiedRelease};
pub use refusal::{Refusal, SignError};
pub use revocation::{OldestCompiler, OldestRelease, Revocation, RevocationError, VerifiedRevocation};
pub use statement::Statement;
pub use text::{EngineProfile, Target, TextError, World};
pub use verdict::{VerifiedVerdict, draft_verdict, sign_verdict};
pub use verified_plugin::{GrantedPlugin, VerifiedPlugin, VerifiedPluginRelease};
