//! Reading what a configured endpoint has, for a command line that is no server.
//!
//! It is asked as effects ask it, with the same address, credential, grant and bounds: what a person reads by this, an executor can
//! read, too. Not here: what the answers mean.

use std::{error::Error, path::Path};

use backstay_config::Problem;
use backstay_model::{Answer, Name};
use backstay_targets::Targets;

use super::{setup, targets::guarded};

/// Reads `paths` of `endpoint`, one after the other.
///
/// # Errors
/// [`Problems`](backstay_config::Problems) if the configuration is wrong, or has no such endpoint.
pub(crate) fn get(config: &Path, endpoint: &Name, paths: &[String]) -> Result<Vec<Answer>, Box<dyn Error>> {
    let document = setup::document(config)?;
    let targets = Targets::load(&document)?;
    let key = format!("endpoints.{endpoint}");
    let wrong = |below: &str, why: String| -> Problem { document.problem(&format!("{key}{below}"), why) };
    let written = targets.shared().endpoints.get(endpoint);
    let written = written.ok_or_else(|| wrong("", "is missing: expected it to be configured".into()))?;
    let endpoints = guarded(endpoint, written).map_err(|(below, why)| wrong(below, why))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let mut answers = Vec::new();
        for path in paths {
            answers.push(endpoints.request(endpoint, "GET", path, b"").await);
        }
        answers
    }))
}
