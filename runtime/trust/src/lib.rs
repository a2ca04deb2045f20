//! Who may say what, and the proofs that come of checking it.
//!
//! Here: keys, the one envelope that every signed statement has, the kinds of statement, and for each a type
//! that can be had only by verifying: a [`VerifiedOrder`], a [`VerifiedPlugin`], a [`VerifiedRelease`]. Not
//! here: what follows from a statement (`core`), which sequence was accepted last (the caller keeps its
//! [`Watermark`]s), randomness, files and a clock (whoever needs them brings them).
//!
//! The broker, and the server too, may be in other hands. What is refused here is the boundary.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod bundle;
mod device;
mod enrolment;
mod envelope;
mod key;
mod keyring;
mod limits;
mod order;
mod permissions;
mod plugin;
mod plugin_error;
mod product;
mod refusal;
mod text;

pub use bundle::{Bundle, BundleError};
pub use device::{DeviceKind, VerifiedWord, sign_word, verify_word};
pub use enrolment::{EnrolRequest, EnrolToken, Enrolment, VerifiedEnrolRequest, VerifiedEnrolment};
pub use envelope::{Audience, Domain, Freshness, Stamp};
pub use key::{KeyError, KeyId, PublicKey, SecretKey};
pub use keyring::{Keyring, KeyringError, KeyringParts, Role, RoleKind, Vendor};
pub use limits::Limits;
pub use order::{
    Listener, OrderKind, Succession, VerifiedConsent, VerifiedOrder, Watermark, sign_consent, sign_order,
};
pub use permissions::{EffectKind, NotGranted, Permissions};
pub use plugin::{
    Artifact, Grant, GrantedPlugin, PluginRelease, VerifiedPlugin, VerifiedPluginRelease, Want,
};
pub use plugin_error::PluginError;
pub use product::{ProductRelease, VerifiedRelease};
pub use refusal::{Refusal, SignError};
pub use text::{EngineProfile, Target, TextError, World};
