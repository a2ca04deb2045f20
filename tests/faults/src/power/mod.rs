//! Power that is cut at every write, over all that a device has on its disk.
//!
//! A course is run once by a program of its own while `strace` writes down each call ([`recorded`]). From that any state
//! can be made that a cut may leave (`disk`). The device starts on each, and what it said before the cut is held against
//! what it finds, and how it ends against how it ends without a cut ([`cuts`]).

mod calls;
pub mod course;
pub mod cuts;
mod disk;
mod found;
pub mod harmed;
mod pump;
pub mod recorded;
mod work;

pub use found::End;
