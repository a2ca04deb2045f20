//! Holds, aborts and brings back a Rollout of Argo Rollouts, and mends what runs.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;
