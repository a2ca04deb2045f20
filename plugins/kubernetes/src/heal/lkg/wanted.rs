//! What an object has to be, as the command shows it: in parts, each of a run's room, put together and checked.
//!
//! Not here: whether it is to be believed. The command has checked the signatures before it printed anything.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use backstay_sdk::{
    executor::{Exited, Failed, Release, permanent, transient},
    quote,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    api::{is_true, text},
    heal::named,
    resource::{CONFIG_MAPS, Kind, SECRETS, is_dns_name},
};

/// What the answer is, and in which version.
const SCHEMA: &str = "backstay.io/lkg-object/v1";
/// The most parts: more never fit into a run.
const PARTS_MAX: usize = 16;

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
    fn read(id: &Id, whole: &str) -> Result<Self, Failed> {
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
/// `backstay lkg` as well, which says it to whoever writes patterns.
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

/// The parts of an answer, asked for one after the other.
#[derive(Debug)]
pub(super) struct Parts {
    id: Id,
    /// How many there are, and the digest of the whole; known with the first.
    head: Option<(usize, String)>,
    taken: usize,
    text: String,
}

impl Parts {
    pub(super) fn of(id: Id) -> Self {
        Self { id, head: None, taken: 0, text: String::new() }
    }

    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    /// The number of the one to ask for next; none is left where all are there.
    pub(super) fn next(&self) -> Option<usize> {
        let all = self.head.as_ref().is_some_and(|(count, _)| self.taken >= *count);
        (!all).then_some(self.taken + 1)
    }

    /// How long the whole is, in bytes, as far as it is known: parts are of one length, but for the last.
    pub(super) fn length(&self) -> usize {
        match &self.head {
            Some((count, _)) if self.taken < *count => self.text.len() / self.taken.max(1) * count,
            Some(_) | None => self.text.len(),
        }
    }

    /// Takes what the command printed.
    pub(super) fn take(&mut self, command: &str, exited: Exited) -> Result<(), Failed> {
        let told = self.id.told();
        let Exited { code, output } = exited;
        if code != Some(0) {
            return Err(refused(command, code, &output.bytes));
        }
        let wrong = |what: &str| permanent(format!("the command {command} prints no part of {told}: {what}"));
        if output.whole.is_some() {
            return Err(wrong("it is longer than 4 KiB"));
        }
        let printed = core::str::from_utf8(&output.bytes).map_err(|_| wrong("it is no text"))?;
        let (head, text) = printed.split_once('\n').ok_or_else(|| wrong("it is one line"))?;
        let (number, count, digest) = read(head).ok_or_else(|| wrong(&quote::text(head)))?;
        if number != self.taken + 1 || count > PARTS_MAX {
            return Err(wrong(&format!("part {number} of {count}")));
        }
        match &self.head {
            None => self.head = Some((count, digest.into())),
            Some((known, of)) if (*known, of.as_str()) == (count, digest) => {}
            Some(_) => return Err(changed(&told)),
        }
        self.taken = number;
        self.text.push_str(text);
        Ok(())
    }

    /// The whole, once all parts are there.
    pub(super) fn whole(self) -> Result<Wanted, Failed> {
        let digest: String =
            Sha256::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        match &self.head {
            Some((_, wanted)) if *wanted == digest => Wanted::read(&self.id, &self.text),
            Some(_) | None => Err(changed(&self.id.told())),
        }
    }
}

/// The line before a part: `part 2 of 3 of <digest>`.
fn read(head: &str) -> Option<(usize, usize, &str)> {
    let rest = head.strip_prefix("part ")?;
    let (number, rest) = rest.split_once(" of ")?;
    let (count, digest) = rest.split_once(" of ")?;
    Some((number.parse().ok()?, count.parse().ok().filter(|count| *count > 0)?, digest))
}

fn changed(told: &str) -> Failed {
    transient(format!("the bundle was changed while it was read: {told}"))
}

/// Why the command shows nothing. What its exit codes mean beyond that is in its own help.
fn refused(command: &str, code: Option<i32>, said: &[u8]) -> Failed {
    let said = String::from_utf8_lossy(said);
    // It says what, why and what to do, a line each.
    let what = said.lines().find_map(|line| line.strip_prefix("error: ")).map(quote::text);
    let what = what.unwrap_or_else(|| quote::last_line(said.as_bytes()));
    match code {
        // Wrong usage, no such object, too old, not to be believed, a wrong configuration: the next try is no better.
        Some(code @ (2..=5 | 64)) => {
            permanent(format!("the command {command} ended with exit code {code}: {what}"))
        }
        Some(code) => transient(format!("the command {command} ended with exit code {code}: {what}")),
        None => transient(format!("the command {command} was ended by a signal")),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use backstay_sdk::executor::{Output, Transience};

    use super::*;

    fn id() -> Id {
        Id::parse("prod", "configmap/shop").unwrap()
    }

    fn printed(text: &str) -> Exited {
        Exited { code: Some(0), output: Output { bytes: text.into(), whole: None } }
    }

    fn digest(text: &str) -> String {
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What `backstay lkg show` prints of a ConfigMap, with a change in it.
    fn shown(change: impl Fn(&mut Value)) -> String {
        let mut value = serde_json::json!({
            "schema": SCHEMA, "service": "shop", "object": "prod/configmap/shop", "immutable": false, "captured_at_ms": 1,
            "release": { "version": "2.1.0", "digest": "ab" },
            "classes": ["configuration:password-rules", "credential:*password*", "configuration:*"],
            "data": { "mode": "safe" }, "binaryData": { "logo": "if8=" }, "credentials": ["odd"],
        });
        change(&mut value);
        value.to_string()
    }

    fn whole(text: &str) -> Result<Wanted, Failed> {
        let mut parts = Parts::of(id());
        parts.take("lkg-show", printed(&format!("part 1 of 1 of {}\n{text}", digest(text))))?;
        assert_eq!(parts.next(), None);
        parts.whole()
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
        let wanted = whole(&shown(|_| {})).unwrap();
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
            let failed = whole(&shown(change)).unwrap_err();
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

    #[test]
    fn parts_are_of_one_whole() {
        let text = shown(|_| {});
        let (one, two) = text.split_at(100);
        let part = |number: usize, count: usize, digest: &str, text: &str| {
            printed(&format!("part {number} of {count} of {digest}\n{text}"))
        };
        let all = digest(&text);
        let take = |them: Vec<Exited>| {
            let mut parts = Parts::of(id());
            for one in them {
                parts.take("lkg-show", one)?;
            }
            parts.whole()
        };
        assert!(take(vec![part(1, 2, &all, one), part(2, 2, &all, two)]).is_ok());
        let between = take(vec![part(1, 2, &all, one), part(2, 2, "other", two)]).unwrap_err();
        assert!(
            between.transience == Transience::Transient && between.why.contains("was changed"),
            "{between:?}"
        );
        let altered = take(vec![part(1, 2, &all, one), part(2, 2, &all, &two[1..])]).unwrap_err();
        assert!(altered.why.contains("was changed"), "{altered:?}");
        assert!(take(vec![part(2, 2, &all, two)]).unwrap_err().why.contains("part 2 of 2"));
        assert!(take(vec![part(1, 17, &all, one)]).unwrap_err().why.contains("part 1 of 17"));
        for odd in ["", "\n", "{}\n", "part 1 of 0 of x\n", "part one of 1 of x\n"] {
            assert!(
                take(vec![printed(odd)]).unwrap_err().why.contains("prints no part of ConfigMap prod/shop"),
                "{odd:?}"
            );
        }
    }

    #[test]
    fn why_nothing_is_shown_is_told() {
        let ended = |code, said: &str| refused("lkg-show", Some(code), said.as_bytes());
        let failed = ended(5, "error: the bundle in lkg is not to be believed\n  because: x\n  help:    y\n");
        assert_eq!(
            failed.why,
            "the command lkg-show ended with exit code 5: the bundle in lkg is not to be believed"
        );
        assert_eq!(failed.transience, Transience::Permanent);
        assert_eq!(ended(1, "a disk").transience, Transience::Transient);
        assert_eq!(ended(64, "x").transience, Transience::Permanent);
    }
}
