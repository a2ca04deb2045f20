//! What others measure, as windows that a policy can be shown: Prometheus, Alertmanager, a pipeline's metrics, a look.
//!
//! Here: asking Prometheus, reading what Alertmanager and a pipeline send and what an executor saw, and turning numbers into
//! windows with the two sides kept apart. One rule holds in all of it: **no data is never good**. An answer that is missing, stale,
//! ambiguous, not a number or broken becomes [`NoData`], and a window without samples.
//!
//! Not here: what a window means (the policy), when a window closes and what follows (`core`), which queries there are
//! and where their credentials come from (the configuration, through whoever calls).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod alert;
mod burn;
mod firing;
mod instant;
mod metrics;
mod no_data;
mod number;
mod objective;
mod prometheus;
mod query;
mod readings;
mod resolver;
mod series;
#[cfg(feature = "testing")]
pub mod testing;

pub use alert::{
    Alert, AlertName, AlertState, AlertsError, Delivery, Fingerprint, Meaning, PassedOver, alerts,
};
pub use burn::{BurnRate, BurnRateError, BurnWindows};
pub use firing::Firing;
pub use metrics::{MetricName, MetricNameError, Metrics, MetricsError};
pub use no_data::{Answer, NoData};
pub use number::Finite;
pub use objective::{Answers, Burn, Limit, ObjectiveSpec, Part, Question, Ratio, Side, Source, Windows};
pub use prometheus::{Credential, Prometheus, PrometheusError, PrometheusSettings};
pub use query::{Query, QueryError};
pub use readings::{Readings, ReadingsError, SeenOut, readings};
pub use series::{Series, Taken};
