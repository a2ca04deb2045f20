//! A fleet of real processes under fire: programs killed, a broker's memory gone, disks, descriptors and clocks that fail.
//!
//! Here: devices that are busy (`herd`), what a process stands on (`surroundings`), and what is compared in the end (`account`).
//! Not here: who is killed when (the tests), and how processes are started and ended (`backstay_test_fleet`).

pub mod account;
pub mod herd;
pub mod surroundings;
