//! Playbooks and looks on the real control plane: what each mends, what it refuses, and what it costs to look.
//!
//! Evictions, budgets, resizes, autoscalers, garbage collection and rights are Kubernetes' own. No container runs: a crash, a want of
//! memory and a lost node are what the nodes of tests say of themselves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

#[path = "healing/clinic.rs"]
mod clinic;
#[path = "healing/cuts.rs"]
mod cuts;
#[path = "healing/drains.rs"]
mod drains;
#[path = "healing/looks.rs"]
mod looks;
#[path = "healing/memory.rs"]
mod memory;
#[path = "healing/restarts.rs"]
mod restarts;
#[path = "healing/settings.rs"]
mod settings;
