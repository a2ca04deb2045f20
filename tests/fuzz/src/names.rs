//! Names, versions, digests and the like: what becomes a topic level, a file name or a line for people.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use backstay_config::Span;
use backstay_model::{
    BuildId, CohortId, DeviceId, Digest, FleetId, Hardware, Label, Name, Nonce, PluginId, RolloutId,
    TargetId, Version,
};
use backstay_trust::{EngineProfile, EnrolToken, Target, World};
use backstay_wire::{Topic, TopicFilter};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Came, as_they_are, is_told, memory::within};

/// The text once or twice, and an error around it.
const HELD_MAX: usize = 4096;

pub(crate) fn run(input: &[u8]) -> Came {
    let Some(text) = input.get(1..).and_then(|text| std::str::from_utf8(text).ok()) else {
        return Came::Refused;
    };
    let names = [
        one::<FleetId>(text),
        one::<CohortId>(text),
        one::<DeviceId>(text),
        one::<TargetId>(text),
        one::<RolloutId>(text),
        one::<Hardware>(text),
        one::<Name>(text),
    ];
    if names.contains(&Came::Taken) {
        is_safe(text, "-");
    }
    let versions = [one::<Version>(text), one::<BuildId>(text)];
    if versions.contains(&Came::Taken) {
        is_safe(text, "-+._");
        assert!(!text.starts_with('.'), "a version is no hidden file");
    }
    if one::<PluginId>(text) == Came::Taken {
        let (vendor, name) = text.split_once('/').unwrap();
        is_safe(vendor, "-");
        is_safe(name, "-");
    }
    if one::<Label>(text) == Came::Taken {
        let (key, value) = text.split_once('=').unwrap();
        is_safe(key, "-");
        is_safe(value, "-+._");
    }
    let others = [one::<Digest>(text), one::<Nonce>(text), topic(text), span(text), texts(text)];
    let all = names.into_iter().chain(versions).chain(others);
    all.into_iter().find(|came| *came == Came::Taken).unwrap_or(Came::Refused)
}

/// That a name of this kind is read as it is written, by itself and in JSON, and in no other way.
fn one<T>(text: &str) -> Came
where
    T: FromStr + Display + Debug + PartialEq + Serialize + DeserializeOwned,
    T::Err: std::error::Error,
{
    let quoted = serde_json::to_string(text).unwrap();
    let read = within(HELD_MAX, || T::from_str(text));
    let in_json = serde_json::from_str::<T>(&quoted).ok();
    match read {
        Ok(name) => {
            assert_eq!(name.to_string(), text, "a name has one form");
            assert_eq!(serde_json::to_string(&name).unwrap(), quoted);
            assert_eq!(in_json, Some(name));
            Came::Taken
        }
        Err(error) => {
            is_told(&error);
            assert_eq!(in_json, None, "{text:?} is a name in JSON only");
            Came::Refused
        }
    }
}

/// That nobody who reads it as something else finds anything in it.
fn is_safe(text: &str, also: &str) {
    assert!((1..=64).contains(&text.len()), "{text:?} has a name's length");
    assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c)), "{text:?} is a plain name");
    assert!(!text.starts_with('-'), "{text:?} is no option");
}

fn topic(text: &str) -> Came {
    match within(HELD_MAX, || Topic::parse(text)) {
        Ok(topic) => {
            assert_eq!(topic.to_string(), text, "a topic has one form");
            assert!(!text.contains(['+', '#']), "a topic is no filter");
            let fleet = topic.fleet();
            let theirs = TopicFilter::for_server(fleet);
            let heard = theirs.iter().filter(|filter| filter.matches(&topic)).count();
            assert!(heard <= 1, "{text} comes once");
            Came::Taken
        }
        Err(error) => {
            is_told(&error);
            assert!(error.help().is_some());
            Came::Refused
        }
    }
}

fn span(text: &str) -> Came {
    match Span::parse(text) {
        Ok(span) => {
            let ms = span.millis().0;
            assert!((1..=366 * 86_400_000).contains(&ms));
            assert_eq!(Span::parse(&format!("{ms}ms")), Ok(span));
            Came::Taken
        }
        Err(why) => {
            assert!(why.starts_with("expected a span"), "{why}");
            Came::Refused
        }
    }
}

/// What only `trust` has names for.
fn texts(text: &str) -> Came {
    let target = Target::parse(text).map(|read| assert_eq!(read.as_str(), text));
    let engine = EngineProfile::parse(text).map(|read| assert_eq!(read.as_str(), text));
    let world = World::parse(text).map(|read| assert_eq!(read.as_str(), text));
    for error in [&target, &engine, &world].into_iter().filter_map(|read| read.as_ref().err()) {
        is_told(error);
    }
    let token = EnrolToken::parse(text).map(|token| assert_eq!(token.to_text().as_str(), text));
    let taken = target.is_ok() || engine.is_ok() || world.is_ok() || token.is_ok();
    if taken { Came::Taken } else { Came::Refused }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (digest, nonce) = ("05".repeat(32), "07".repeat(16));
    let token = crate::world::token().to_text();
    as_they_are([
        "pump-7",
        "2.0.0-rc.1+b7",
        "acme/executor-pump",
        "site=basel.3",
        "backstay/1/pumps/device/pump-7/order",
        "backstay/1/pumps/steer/canary/product",
        "backstay/1/pumps/trust",
        "30s",
        "366d",
        "x86_64-unknown-linux-gnu",
        "backstay:executor/executor@1.0.0",
        digest.as_str(),
        nonce.as_str(),
        token.as_str(),
    ])
}
