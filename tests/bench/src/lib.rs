//! What the measurements share: their command line, figures, the table, where it was measured, and the other side of MQTT.
//!
//! Each measurement is a program of its own that runs its peers in the same run, by turns, because a machine's figures
//! differ more from hour to hour than the programs do. Not here: what is measured, and against which budget (`bin/`).
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed assumption fails the test"))]

mod arguments;
mod broker;
mod figures;
mod machine;
mod mqtt;
#[cfg(feature = "plugins")]
mod policy;
mod report;
mod steering;
mod subscriber;

pub use arguments::{Arguments, Count, run};
pub use broker::{broker, broker_at, open_files};
pub use figures::{Rank, Spread, median, micros, percentile};
pub use machine::{Machine, Versions, processor_seconds, real_time, times_asleep};
pub use mqtt::{Kind, Packet, Publisher, acknowledge, connect, publish, subscribe};
#[cfg(feature = "plugins")]
pub use policy::{Signed, code_bytes, component, facts};
pub use report::{Budget, Cell, Column, Output, Report};
pub use steering::{Director, fleet};
pub use subscriber::{Arrival, join_client, join_socket, rest, rumqttc, socket};

/// Why something could not be measured.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
