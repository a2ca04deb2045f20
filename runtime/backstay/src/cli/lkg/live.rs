//! Where live objects are read: in what `kubectl get -o json` printed, or on the API server as the server itself asks it.
//!
//! Not here: what is in them (`object`).

use std::{
    error::Error,
    io::{self, Read},
    path::PathBuf,
};

use backstay_model::{Answer, Name, Outcome};
use clap::Args;

use super::object::{Live, ObjectId};
use crate::{Exit, Failure, Serve, file};

/// The largest file of objects, in bytes: some hundred ConfigMaps of their greatest size don't fit, and nobody has them.
const BYTES_MAX: usize = 64 << 20;

/// What of an object is asked for.
const FIELDS: &str =
    "/kind,/metadata/name,/metadata/namespace,/metadata/resourceVersion,/immutable,/data,/binaryData";

/// Where live objects are.
#[derive(Clone, Debug, Args)]
pub(super) struct Source {
    /// What "kubectl get -o json" printed, of one object or several; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "endpoint")]
    from: Vec<PathBuf>,
    /// Ask the API server, through this endpoint of the server's configuration: with its address, credential and paths
    #[arg(long, value_name = "NAME")]
    endpoint: Option<Name>,
    /// The server's configuration, for --endpoint
    #[arg(long, value_name = "FILE", default_value = "/etc/backstay/backstay.toml", env = "BACKSTAY_CONFIG")]
    config: PathBuf,
}

impl Source {
    #[cfg(test)]
    pub(super) fn files(from: &[PathBuf]) -> Self {
        Self { from: from.to_vec(), endpoint: None, config: PathBuf::new() }
    }

    #[cfg(test)]
    pub(super) fn endpoint(name: &str) -> Self {
        Self { from: Vec::new(), endpoint: Name::parse(name).ok(), config: "backstay.toml".into() }
    }

    /// Whether one was named.
    pub(super) fn is_named(&self) -> bool {
        !self.from.is_empty() || self.endpoint.is_some()
    }

    /// The objects of these names that are there; of files all that are in them, where nothing is named.
    pub(super) fn read(&self, named: &[ObjectId], serve: Serve) -> Result<Vec<Live>, Failure> {
        let Some(endpoint) = &self.endpoint else { return self.read_files(named) };
        let path = |id: &ObjectId| {
            format!("/api/v1/namespaces/{}/{}/{}#{FIELDS}", id.namespace, id.kind.plural(), id.name)
        };
        let paths: Vec<String> = named.iter().map(path).collect();
        let cannot = |why: Box<dyn Error>| {
            Failure::new(Exit::Configuration, format!("cannot ask by {}", self.config.display()))
                .why(why)
                .help(
                    "name the server's configuration with --config, or read what kubectl prints with --from",
                )
        };
        let answers = (serve.get)(&self.config, endpoint, &paths).map_err(cannot)?;
        let mut all = Vec::new();
        for (id, answer) in named.iter().zip(answers) {
            all.extend(here(id, answer)?);
        }
        Ok(all)
    }

    fn read_files(&self, named: &[ObjectId]) -> Result<Vec<Live>, Failure> {
        let mut all: Vec<Live> = Vec::new();
        for path in &self.from {
            let bytes =
                if path.as_os_str() == "-" { standard_input()? } else { file::read(path, BYTES_MAX)? };
            let wrong = |why: String| {
                Failure::new(Exit::Usage, format!("{} holds no ConfigMaps and Secrets", path.display()))
                    .why(why)
                    .help("it has to be what \"kubectl get configmap,secret -o json\" prints")
            };
            let value = serde_json::from_slice(&bytes).map_err(|why| wrong(why.to_string()))?;
            for live in Live::all_of(value).map_err(wrong)? {
                if all.iter().any(|other| other.id == live.id) {
                    let what = format!("{} is there twice", live.id);
                    return Err(Failure::new(Exit::Usage, what).help("give each object once"));
                }
                all.push(live);
            }
        }
        if !named.is_empty() {
            all.retain(|live| named.contains(&live.id));
        }
        Ok(all)
    }
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let read = io::stdin().lock().take(limit).read_to_end(&mut bytes);
    read.map_err(|why| Failure::new(Exit::Trouble, "cannot read standard input").why(why))?;
    Ok(bytes)
}

/// The object, if it is there.
fn here(id: &ObjectId, answer: Answer) -> Result<Option<Live>, Failure> {
    let cannot = |exit, why: String| Failure::new(exit, format!("cannot read {id}")).why(why);
    match answer {
        Answer::Response { status: 200..300, body } => {
            let value = serde_json::from_slice(&body.bytes)
                .map_err(|why| cannot(Exit::Unreachable, format!("the answer is no JSON: {why}")))?;
            let live = Live::of(value).map_err(|why| cannot(Exit::Unreachable, why))?;
            Ok(Some(live))
        }
        Answer::Response { status: 404, .. } => Ok(None),
        Answer::Response { status, body } => {
            let said = String::from_utf8_lossy(&body.bytes).into_owned();
            let failure =
                cannot(Exit::Refused, format!("the API server answered with status {status}: {said}"));
            Err(failure.help("the credential of the endpoint needs the verb get for it"))
        }
        Answer::Refused(why) => Err(cannot(Exit::Refused, why)
            .help("the endpoint's paths and methods have to allow it, and json = true")),
        Answer::Failed(Outcome::Failed { why, .. }) => Err(cannot(Exit::Unreachable, why)),
        Answer::TimedOut => Err(cannot(Exit::TimedOut, "no answer in the endpoint's time".into())),
        Answer::Done
        | Answer::Failed(Outcome::Done)
        | Answer::Exited { .. }
        | Answer::Content(_)
        | Answer::Slots(_)
        | Answer::InDoubt => Err(cannot(Exit::Trouble, "the answer says nothing of a request".into())),
    }
}
