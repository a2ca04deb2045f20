//! What a build asks before it deploys, as it is said on the command line: which service, which build, which release, and
//! what the pipeline measured itself.
//!
//! Here: asking it, each time with a nonce of its own. Not here: whether the answer is to be believed, and what follows
//! from it (`gate`, and `core` behind it).

use std::{path::PathBuf, time::Duration};

use backstay_api::{SignedVerdict, VerdictRequest};
use backstay_config::Span;
use backstay_core::Asked;
use backstay_model::{BuildId, Digest, Nonce, Permille, SchemaRange, TargetId, Version};
use backstay_signals::Metrics;
use clap::Args;

use crate::{Desk, Exit, Failure, client::Client, file, text};

/// The longest that the server is given for an answer: it gives up by itself after 60 s.
const TIMEOUT_MAX: Duration = Duration::from_secs(70);

/// One question, which may be asked again.
#[derive(Clone, Debug, Args)]
pub(crate) struct Question {
    /// The service that is about to be changed, as the server's targets call it
    #[arg(long, env = "BACKSTAY_SERVICE")]
    service: TargetId,
    /// What the pipeline calls this run of itself: the same build never asks for two deployments
    #[arg(long, env = "BACKSTAY_BUILD")]
    build: BuildId,
    /// The release that is about to be deployed, by its digest
    #[arg(long)]
    digest: Option<Digest>,
    /// The same by its name
    #[arg(long, conflicts_with = "digest")]
    version: Option<Version>,
    /// How much of the traffic it is to get next; after a roll-back only a small stage is let through
    #[arg(long, value_name = "PERCENT", value_parser = text::share)]
    stage: Option<Permille>,
    /// The versions of shared data that the release can live with, like 7..8: it is asked about before it goes out
    #[arg(long, value_name = "FROM..TO", value_parser = text::schemas)]
    schema: Option<SchemaRange>,
    /// What the pipeline measured itself: a JSON object of names and numbers, or a line for each, like "error_rate 0.004"
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// How long the server may take for one answer, at most 70s
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = Span::parse)]
    timeout: Span,
}

impl Question {
    /// What an answer to this question, asked with `nonce`, has to be about.
    pub(crate) fn asked(&self, nonce: Nonce) -> Asked {
        let Self { service, build, digest, version, .. } = self.clone();
        Asked { service, build, digest, version, nonce }
    }

    /// The way to the server, for as long as one answer may take.
    pub(crate) fn client(&self, desk: &Desk) -> Result<Client, Failure> {
        desk.client_within(self.timeout.duration().min(TIMEOUT_MAX))
    }

    /// Asks with `nonce`. Nothing in the answer is believed yet.
    pub(crate) fn ask(&self, client: &Client, nonce: Nonce) -> Result<SignedVerdict, Failure> {
        let metrics = self.metrics.as_ref().map(|path| {
            let document = file::read(path, Metrics::BYTES_MAX)?;
            Metrics::read(&document).map_err(|why| {
                let help = why.help();
                Failure::new(Exit::Configuration, format!("{} holds no metrics", path.display()))
                    .why(why)
                    .maybe_help(help)
            })
        });
        let Self { service, build, digest, version, stage, schema, .. } = self.clone();
        let metrics = metrics.transpose()?;
        let request = VerdictRequest { build, digest, version, stage, schema, nonce, metrics };
        let document = client.post_for_bytes(
            &format!("/v1/targets/{service}/verdict"),
            &request,
            SignedVerdict::BYTES_MAX,
        )?;
        SignedVerdict::read(&document).map_err(|why| {
            let help = why.help();
            Failure::new(Exit::NoVerdict, "the server's answer is no verdict").why(why).maybe_help(help)
        })
    }
}

/// A nonce that nobody has seen.
pub(crate) fn nonce() -> Result<Nonce, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|why| {
        Failure::new(Exit::Trouble, "the system gives no random bytes").why(why.to_string())
    })?;
    Ok(Nonce(random))
}
