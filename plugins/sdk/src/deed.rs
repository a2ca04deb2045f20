//! What can be asked of the host, in a word each.

use alloc::{format, string::String, vec::Vec};

use crate::executor::{Attach, Deed, File, Http, Publish, Release, Run, Slot};

/// The command that the configuration calls `command`, with further arguments.
#[must_use]
pub fn run<const N: usize>(command: &str, args: [&str; N]) -> Deed {
    Deed::Run(Run { command: command.into(), args: args.into_iter().map(String::from).collect() })
}

/// A GET of `path` from the endpoint that the configuration calls `endpoint`.
#[must_use]
pub fn get(endpoint: &str, path: &str) -> Deed {
    http(endpoint, "GET", path, Vec::new())
}

/// A GET of `path`, and of the JSON that answers it only what `mask` names: `/metadata/continue,/items/*/metadata/name`.
///
/// The keys of a field have `/` before them, and `*` is each element or member. In a key `~1` is `/`, `~0` is `~`, and what would
/// end it or an address can't hold is written as `%2C`. What is kept may have 32 KiB. The endpoint is one with `json = true`.
#[must_use]
pub fn fields(endpoint: &str, path: &str, mask: &str) -> Deed {
    get(endpoint, &format!("{path}#{mask}"))
}

/// A request to the endpoint that the configuration calls `endpoint`.
#[must_use]
pub fn http(endpoint: &str, method: &str, path: &str, body: Vec<u8>) -> Deed {
    Deed::Http(Http { endpoint: endpoint.into(), method: method.into(), path: path.into(), body })
}

/// What a file holds.
#[must_use]
pub fn read(path: &str) -> Deed {
    Deed::File(File { path: path.into(), content: None })
}

/// Replace a file in one go.
#[must_use]
pub fn write(path: &str, content: Vec<u8>) -> Deed {
    Deed::File(File { path: path.into(), content: Some(content) })
}

/// A message to the topic that the configuration calls `topic`.
#[must_use]
pub fn publish(topic: &str, payload: Vec<u8>) -> Deed {
    Deed::Publish(Publish { topic: topic.into(), payload })
}

/// Wait for `ms` milliseconds, at most an hour.
#[must_use]
pub fn sleep(ms: u64) -> Deed {
    Deed::Sleep(ms)
}

/// Keep something as evidence.
#[must_use]
pub fn attach(name: &str, content: Vec<u8>) -> Deed {
    Deed::Attach(Attach { name: name.into(), content })
}

/// What is in the device's slots.
#[must_use]
pub fn slot_status() -> Deed {
    Deed::Slot(Slot::Status)
}

/// Fetch, verify and write `release` into the slot that doesn't run.
#[must_use]
pub fn stage(release: &Release) -> Deed {
    Deed::Slot(Slot::Stage(release.clone()))
}

/// Run `release`, in the other slot, next, on trial.
#[must_use]
pub fn try_next(release: &Release) -> Deed {
    Deed::Slot(Slot::TryNext(release.clone()))
}

/// Make `release`, which runs, the one that a restart brings back.
#[must_use]
pub fn confirm(release: &Release) -> Deed {
    Deed::Slot(Slot::Confirm(release.clone()))
}

/// Make `release`, in the other slot, the one that runs next and stays.
#[must_use]
pub fn go_home(release: &Release) -> Deed {
    Deed::Slot(Slot::GoHome(release.clone()))
}
