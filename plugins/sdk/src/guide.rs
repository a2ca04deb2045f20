//! What an author has to know, a page each. There is no code here.

#[doc = include_str!("../guide/determinism.md")]
pub mod determinism {}

#[doc = include_str!("../guide/in-doubt.md")]
pub mod in_doubt {}

#[doc = include_str!("../guide/idempotency.md")]
pub mod idempotency {}

#[doc = include_str!("../guide/state.md")]
pub mod state {}
