//! Slots behind a real boot loader: the same promises as plain files keep, with somebody else's switch.
//!
//! Here: what is asked of a boot loader ([`Switch`]) and how [`UBoot`], [`SdBoot`] and RAUC ([`RaucSwitch`]) answer; who
//! puts images into slots ([`Write`]: [`Raw`], [`RaucWriter`], [`SwUpdate`]); and [`Backend`], which joins one of each with a
//! ledger of its own. Not here: whether a release may run (`trust`, `core`), where its bytes come from (`hands`).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod backend;
pub mod device;
pub mod environment;
mod finding;
pub mod fw_env;
mod ledger;
mod overtaken;
#[cfg(test)]
mod power_cut;
mod rauc;
mod rauc_switch;
mod sdboot;
#[cfg(test)]
mod stories;
mod switch;
#[cfg(test)]
mod testing;
mod tool;
mod uboot;
#[cfg(test)]
mod world;
mod write;

pub use backend::{Backend, Running};
pub use finding::Finding;
pub use ledger::{BootId, Image};
pub use rauc::Rauc;
pub use rauc_switch::RaucSwitch;
pub use sdboot::{Folder, SdBoot};
pub use switch::{Standing, Switch, SwitchError};
pub use tool::ToolError;
pub use uboot::{LOCK, OpenError, UBoot};
pub use write::{RaucWriter, Raw, SwUpdate, Write};
