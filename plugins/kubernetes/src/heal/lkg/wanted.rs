//! What an object has to be, as the command shows it.
//!
//! Not here: how that comes in parts (`parts`), and whether it is to be believed. The command has checked the signatures before it printed
//! anything.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use backstay_sdk::executor::{Failed, Release, permanent};
use serde_json::Value;

use crate::{
    api::{is_true, text},
    heal::named,
    resource::{CONFIG_MAPS, Kind, SECRETS, is_dns_name},
};

/// What the answer is, and in which version.
const SCHEMA: &str = "backstay.io/lkg-object/v1";

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Id {
    /// Reads `configmap/NAME` or `secret/NAME`.
    pub(super) fn parse(namespace: &str, text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('/')?;
        let kind =
            [CONFIG_MAPS, SECRETS].into_iter().find(|known| known.kind.to_ascii_lowercase() == kind)?;
        is_dns_name(name).then(|| Self { kind, namespace: namespace.into(), name: name.into() })
    }

    /// "ConfigMap prod/checkout", for people.
    pub(super) fn told(&self) -> String {
        format!("{} {}/{}", self.kind.kind, named(&self.namespace), named(&self.name))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind.kind.to_ascii_lowercase(), self.name)
    }
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Configuration,
    Credential,
}

/// An object as it was known to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: Id,
    /// The release that it was good with.
    pub(super) release: Release,
    pub(super) immutable: bool,
    /// How long all of this was, in bytes.
    pub(super) length: usize,
    /// Which keys are what, by patterns; the first that fits counts.
    classes: Vec<(Class, String)>,
    /// `data` and `binaryData`: what configuration holds, as Kubernetes has it.
    pub(super) sections: [(&'static str, BTreeMap<String, String>); 2],
    /// What was there and is no configuration.
    credentials: Vec<String>,
}

impl Wanted {
    pub(super) fn read(id: &Id, whole: &str) -> Result<Self, Failed> {
        let wrong =
            |what: &str| permanent(format!("what the bundle has of {} can't be read: {what}", id.told()));
        let value: Value = serde_json::from_str(whole).map_err(|_| wrong("it is no JSON"))?;
        if text(&value, "/schema") != SCHEMA {
            return Err(wrong("it is of another version"));
        }
        if text(&value, "/object") != id.to_string() {
            return Err(wrong("it is another object"));
        }
        let texts = |at: &str| -> Option<Vec<String>> {
            value.pointer(at)?.as_array()?.iter().map(|text| text.as_str().map(String::from)).collect()
        };
        let keys = |section: &str| -> Option<BTreeMap<String, String>> {
            let keys = value.get(section)?.as_object()?;
            keys.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.into()))).collect()
        };
        let class = |rule: &String| {
            let (class, key) = rule.split_once(':')?;
            let class = match class {
                "configuration" => Class::Configuration,
                "credential" => Class::Credential,
                _ => return None,
            };
            Some((class, key.to_string()))
        };
        let classes = texts("/classes").and_then(|rules| rules.iter().map(class).collect());
        let (Some(data), Some(binary)) = (keys("data"), keys("binaryData")) else {
            return Err(wrong("its keys"));
        };
        let (Some(classes), Some(credentials)) = (classes, texts("/credentials")) else {
            return Err(wrong("its classes"));
        };
        let release = Release {
            version: text(&value, "/release/version").into(),
            digest: text(&value, "/release/digest").into(),
            length: 0,
            security_epoch: 0,
        };
        if release.version.is_empty() || release.digest.is_empty() {
            return Err(wrong("its release"));
        }
        let sections = [("data", data), ("binaryData", binary)];
        let (id, immutable, length) = (id.clone(), is_true(&value, "/immutable"), whole.len());
        let wanted = Self { id, release, immutable, length, classes, sections, credentials };
        // Whoever made it was to take care that this can't be. It would be written.
        match wanted.sections.iter().flat_map(|(_, keys)| keys.keys()).find(|key| wanted.is_credential(key)) {
            Some(key) => Err(wrong(&format!("key {} is a credential", named(key)))),
            None => Ok(wanted),
        }
    }

    /// Whether a key is never to be touched.
    pub(super) fn is_credential(&self, key: &str) -> bool {
        let rule = || self.classes.iter().find(|(_, pattern)| fits(pattern, key));
        self.credentials.iter().any(|known| known == key)
            || rule().is_none_or(|(class, _)| *class == Class::Credential)
    }

    /// Whether all of it can't be made of what is known.
    pub(super) fn has_credentials(&self) -> bool {
        self.id.kind == SECRETS || !self.credentials.is_empty()
    }
}

/// Whether a key is as `pattern` has it: `*` is any text, and capital letters are like small ones. `patterns.txt` is read by the tests of
/// the runtime's `core` as well, by which `backstay lkg` says it to whoever writes patterns.
fn fits(pattern: &str, key: &str) -> bool {
    let (pattern, key) = (pattern.as_bytes(), key.as_bytes());
    let (mut at, mut read, mut star) = (0, 0, None);
    while let Some(byte) = key.get(read) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(wanted) if wanted.eq_ignore_ascii_case(byte) => (at, read) = (at + 1, read + 1),
            Some(_) | None => {
                let Some((back, taken)) = star else { return false };
                star = Some((back, taken + 1));
                (at, read) = (back + 1, taken + 1);
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
pub(super) mod tests {
    use backstay_sdk::executor::Transience;

    use super::*;

    pub(in super::super) fn id() -> Id {
        Id::parse("prod", "configmap/shop").unwrap()
    }

    /// What `backstay lkg show` prints of a ConfigMap, with a change in it.
    pub(in super::super) fn shown(change: impl Fn(&mut Value)) -> String {
        let mut value = serde_json::json!({
            "schema": SCHEMA, "service": "shop", "object": "prod/configmap/shop", "immutable": false, "captured_at_ms": 1,
            "release": { "version": "2.1.0", "digest": "ab" },
            "classes": ["configuration:password-rules", "credential:*password*", "configuration:*"],
            "data": { "mode": "safe" }, "binaryData": { "logo": "if8=" }, "credentials": ["odd"],
        });
        change(&mut value);
        value.to_string()
    }

    #[test]
    fn keys_fit_patterns_as_the_command_has_it() {
        let lines = include_str!("patterns.txt").lines().map(str::trim);
        let cases: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert!(cases.len() > 40, "{} cases", cases.len());
        for case in cases {
            let words: Vec<&str> = case.split_whitespace().map(|word| word.trim_matches('"')).collect();
            let [expected, pattern, key] = words[..] else { panic!("{case}") };
            assert!(matches!(expected, "yes" | "no"), "{case}");
            assert_eq!(fits(pattern, key), expected == "yes", "{case}");
        }
    }

    #[test]
    fn what_is_shown_is_read() {
        let wanted = Wanted::read(&id(), &shown(|_| {})).unwrap();
        let [(_, data), (_, binary)] = &wanted.sections;
        assert_eq!((data["mode"].as_str(), binary["logo"].as_str()), ("safe", "if8="));
        assert_eq!(wanted.release.version, "2.1.0");
        assert!(wanted.is_credential("odd") && wanted.is_credential("DB_PASSWORD"));
        assert!(!wanted.is_credential("password-rules") && !wanted.is_credential("mode"));
        assert!(wanted.has_credentials());
    }

    #[test]
    fn what_is_odd_about_it_ends_the_run() {
        let told = |change: fn(&mut Value)| {
            let failed = Wanted::read(&id(), &shown(change)).unwrap_err();
            assert_eq!(failed.transience, Transience::Permanent);
            failed.why
        };
        assert!(told(|value| value["schema"] = "x/v2".into()).ends_with("it is of another version"));
        assert!(
            told(|value| value["object"] = "prod/configmap/cart".into()).ends_with("it is another object")
        );
        assert!(told(|value| value["data"] = Value::Null).ends_with("its keys"));
        assert!(told(|value| value["classes"] = serde_json::json!(["secret:x"])).ends_with("its classes"));
        assert!(told(|value| value["release"] = Value::Null).ends_with("its release"));
        // Signed or not: a credential in a bundle is never written.
        let smuggled = |value: &mut Value| value["data"]["db-password"] = "hunter2".into();
        assert!(told(smuggled).ends_with("key db-password is a credential"));
        assert!(told(|value| value["data"]["odd"] = "x".into()).ends_with("key odd is a credential"));
        // A key that no rule says anything of is one, too.
        assert!(told(|value| value["classes"] = serde_json::json!([])).ends_with("is a credential"));
    }
}
