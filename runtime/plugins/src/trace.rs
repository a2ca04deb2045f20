//! What is written down of calls, so that each can be made again.
//!
//! Here: the digests of answers, and what of a configuration may be recorded. Recorder and replay both come here, so
//! they can't disagree. Not here: making a call again (`kit`).

use std::collections::BTreeMap;

use backstay_config::Plugin;
use backstay_host::{CallError, Config, Decided, Description, StrikeKind, Value};
use backstay_model::{
    Came, Digest, Effect, Equipped, Memo, Name, Outcome, PluginId, PluginRole, Told, Version,
};
use sha2::{Digest as _, Sha256};

fn digest_of(value: &impl serde::Serialize) -> Digest {
    // Writing to memory doesn't fail, and these types have all a length that postcard knows.
    let bytes = postcard::to_allocvec(value).unwrap_or_default();
    Digest(Sha256::digest(&bytes).into())
}

/// What came of asking a policy.
#[must_use]
pub fn came_of_decision(decided: &Result<Decided, CallError>) -> Came {
    match decided {
        Ok(Decided { decision, memo }) => Came::To(digest_of(&(decision, memo))),
        Err(error) => came_of_failure(error),
    }
}

/// What came of a step: the state, all that is asked for and not answered, and the end if it is one. Where a run is
/// taken up again after a stop it comes to the same.
pub(crate) fn came_of_step(state: &[u8], open: &BTreeMap<u32, Effect>, end: Option<&Outcome>) -> Came {
    Came::To(digest_of(&(state, open.values().collect::<Vec<_>>(), end)))
}

/// What came of a call without an answer.
#[must_use]
pub fn came_of_failure(error: &CallError) -> Came {
    match error {
        CallError::Strike(strike) => match strike.kind {
            // How fast a machine is, and how much of the stack one call takes, is not the plugin's doing.
            StrikeKind::OutOfTime | StrikeKind::OutOfStack => Came::Unlucky,
            // Nor what becomes of the process that it ran in: a replay has another.
            StrikeKind::BroughtDown | StrikeKind::Hung => Came::Unlucky,
            StrikeKind::Trapped | StrikeKind::OutOfMemory | StrikeKind::BadOutput | StrikeKind::Refused => {
                Came::Nothing
            }
        },
        CallError::Configuration { .. }
        | CallError::Diverged { .. }
        | CallError::Unexpected { .. }
        | CallError::TooLarge { .. } => Came::Nothing,
        CallError::Host { .. } => Came::Unlucky,
    }
}

/// A memo as it is recorded.
#[must_use]
pub fn memo(bytes: &[u8]) -> Memo {
    if bytes.len() <= Memo::BYTES_MAX {
        Memo::Whole(bytes.to_vec())
    } else {
        Memo::Long(Digest(Sha256::digest(bytes).into()))
    }
}

/// Which plugin is ready, and how it is configured. What `description` calls secret is withheld, and what doesn't fit any more.
#[must_use]
pub fn equipped(
    role: PluginRole,
    (plugin, version, grant): (&PluginId, &Version, &Digest),
    config: &Config,
    description: &Description,
) -> Equipped {
    let (mut settings, mut withheld, mut left) = (Vec::new(), Vec::new(), Plugin::SETTINGS_BYTES_MAX);
    for (name, value) in config.iter() {
        let secret = description.settings.iter().any(|info| info.secret && info.name == name);
        let bytes = match &value {
            Value::Text(text) => text.len(),
            Value::Texts(texts) => texts.iter().map(|text| text.len() + 4).sum(),
            Value::Number(_) | Value::Flag(_) => 8,
        };
        match left.checked_sub(bytes + name.as_str().len()).filter(|_| !secret) {
            Some(rest) => {
                left = rest;
                settings.push((name, told(value)));
            }
            None => withheld.push(name),
        }
    }
    let (plugin, version, grant) = (plugin.clone(), version.clone(), *grant);
    Equipped { role, plugin, version, grant, settings, withheld }
}

/// How a plugin is configured, as a digest: two that are the same are told the same, but for what is withheld.
#[must_use]
pub fn setup(equipped: &Equipped) -> Digest {
    digest_of(equipped)
}

fn told(value: Value) -> Told {
    match value {
        Value::Text(text) => Told::Text(text),
        Value::Number(number) => Told::Number(number),
        Value::Flag(flag) => Told::Flag(flag),
        Value::Texts(texts) => Told::Texts(texts),
    }
}

/// The settings that were recorded, as a plugin takes them.
pub fn settings(equipped: &Equipped) -> impl Iterator<Item = (Name, Value)> {
    equipped.settings.iter().map(|(name, told)| (name.clone(), value(told)))
}

/// A setting that was recorded, as a plugin takes it.
#[must_use]
pub fn value(told: &Told) -> Value {
    match told {
        Told::Text(text) => Value::Text(text.clone()),
        Told::Number(number) => Value::Number(*number),
        Told::Flag(flag) => Value::Flag(*flag),
        Told::Texts(texts) => Value::Texts(texts.clone()),
    }
}

#[cfg(test)]
mod tests {
    use backstay_host::{Kind, SettingInfo};

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn what_is_secret_or_too_long_is_named_and_not_told() {
        let info = |called: &str, secret| SettingInfo {
            name: name(called),
            kind: Kind::Text,
            default: None,
            range: None,
            secret,
            help: String::new(),
        };
        let description =
            Description { about: String::new(), settings: vec![info("password", true), info("site", false)] };
        let long = Value::Texts(vec!["x".repeat(1024); 17]);
        let config = Config::new([
            (name("password"), Value::Text("hunter2".into())),
            (name("long"), long),
            (name("site"), Value::Text("basel".into())),
        ])
        .unwrap();
        let id = PluginId::parse("acme/pump").unwrap();
        let version = Version::parse("1.0.0").unwrap();
        let told = equipped(PluginRole::Executor, (&id, &version, &Digest([1; 32])), &config, &description);
        assert_eq!(told.withheld, [name("password"), name("long")]);
        assert_eq!(told.settings, [(name("site"), Told::Text("basel".into()))]);
        let back: Vec<_> = settings(&told).collect();
        assert_eq!(back, [(name("site"), Value::Text("basel".into()))]);
    }

    /// Whoever checks a configuration counts as the recorder does.
    #[test]
    fn as_much_as_a_target_may_have_is_told_whole() {
        use backstay_config::Setting;
        let text = |bytes: usize| Setting::Text("x".repeat(bytes));
        let mut written: BTreeMap<Name, Setting> =
            ["a", "b", "c"].into_iter().map(|called| (name(called), text(4096))).collect();
        written.insert(name("texts"), Setting::Texts(vec!["y".repeat(1000); 4]));
        written.insert(name("number"), Setting::Number(-1));
        let left = Plugin::SETTINGS_BYTES_MAX - Setting::bytes_of(&written) - "rest".len();
        written.insert(name("rest"), text(left));
        assert_eq!(Setting::bytes_of(&written), Plugin::SETTINGS_BYTES_MAX);
        let withheld = |written: &BTreeMap<Name, Setting>| {
            let config = Config::new(crate::load::values(written)).unwrap();
            let (id, version) = (PluginId::parse("acme/pump").unwrap(), Version::parse("1.0.0").unwrap());
            let description = Description { about: String::new(), settings: Vec::new() };
            let which = (&id, &version, &Digest([1; 32]));
            equipped(PluginRole::Executor, which, &config, &description).withheld
        };
        assert_eq!(withheld(&written), []);
        written.insert(name("rest"), text(left + 1));
        assert_eq!(withheld(&written).len(), 1);
    }

    #[test]
    fn a_memo_that_is_long_is_told_by_its_digest() {
        assert_eq!(memo(&[7; 4096]), Memo::Whole(vec![7; 4096]));
        assert!(matches!(memo(&[7; 4097]), Memo::Long(_)));
    }
}
