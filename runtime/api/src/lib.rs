//! The server's HTTP API: the types that both sides speak, and the routes.
//!
//! Here: which paths there are, who may call them, how large a body may be, and what an error looks like. Not
//! here: what a call does. Each becomes a [`Call`] to whoever holds the state, who answers it.
//!
//! Two kinds of caller. *Devices* fetch what is named by its digest and ask to be enrolled; everything they
//! get is signed or checked by its digest, so they need no token. *Operators* show the token.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod call;
mod error;
mod front;
mod route;
mod routes;
mod shelf;
mod target_routes;
mod targets;
mod token;
mod types;
mod verdict;

pub use call::{Call, Calls, Reply};
pub use error::{ApiError, Kind};
pub use routes::{calls, deeds, routes};
pub use shelf::{Shelf, ShelfError, make_blocks};
pub use targets::{
    AlertsTaken, Deployment, DryRunView, IncidentStory, IncidentView, JudgedView, LastStep, MarkRequest,
    MigrationView, OperateRequest, OutView, PageBody, Planned, PlannedEffect, TargetCall, TargetOperation,
    TargetView,
};
pub use token::{Role, Tokens};
pub use types::{
    Because, BreakerState, BreakerView, CloseRequest, Closed, CohortView, DeviceView, EnrolAnswer, EventView,
    FleetView, HealthView, KeptOut, LiftRequest, Lifted, MintedToken, Operation, PendingView, PlanView,
    PluginView, PluginsView, Proof, QuarantineView, Quarantined, Recorded, ReleaseView, Revoked,
    StartRollout, Started, Told, TrustView, WayOut, WordRequest,
};
pub use verdict::{SignedVerdict, VerdictError, VerdictRequest};
