//! Power cuts under a real file system: `rig` has the device, `log` what reached it, [`tried`] what is run on it.

mod log;
mod rig;
pub mod tried;
