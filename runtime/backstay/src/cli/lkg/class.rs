//! Classes: which keys of a ConfigMap or Secret are configuration, and which are credentials.
//!
//! Here: the rules, in what order they count. A frozen copy of a credential that was changed since takes a service down, so a key is a
//! credential wherever there is doubt. Not here: what a credential looks like where no rule of a person's says (`core`: `credential`), and
//! what becomes of either (`document`).

use std::{fmt, str::FromStr};

use backstay_core::credential::{NAMES, fits, looks_like};
use serde::{Deserialize, Serialize, Serializer, de};

use super::object::{Kind, ObjectId};

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is restored exactly as it was, and taken away where it wasn't there.
    Configuration,
    /// It is never written down, never restored and never taken away.
    Credential,
}

impl Class {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Credential => "credential",
        }
    }
}

/// A rule: `credential:configmap/checkout/*.pem`. The kind, the name and the key are patterns in which `*` is any text; capital letters
/// are like small ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) class: Class,
    kind: String,
    name: String,
    /// Which keys.
    pub(crate) key: String,
}

impl Rule {
    fn fits(&self, object: &ObjectId, key: &str) -> bool {
        self.is_about(object) && fits(&self.key, key)
    }

    /// Whether it says anything of `object`.
    pub(crate) fn is_about(&self, object: &ObjectId) -> bool {
        fits(&self.kind, object.kind.as_str()) && fits(&self.name, &object.name)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, kind, name, key } = self;
        write!(f, "{}:{kind}/{name}/{key}", class.as_str())
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected configuration or credential, and which keys, like configuration:secret/checkout/app.*, found {text:?}"
            )
        };
        let (class, keys) = text.split_once(':').ok_or_else(wrong)?;
        let class = match class {
            "configuration" => Class::Configuration,
            "credential" => Class::Credential,
            _ => return Err(wrong()),
        };
        let mut parts = keys.split('/');
        let mut part = || parts.next().filter(|part| is_pattern(part)).map(str::to_owned).ok_or_else(wrong);
        let (kind, name, key) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(wrong());
        }
        if !Kind::ALL.iter().any(|known| fits(&kind, known.as_str())) {
            return Err(format!("{kind:?} is no kind that has keys: expected configmap, secret or *"));
        }
        Ok(Self { class, kind, name, key })
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// What can stand in a name or a key, and `*`.
fn is_pattern(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'*');
    (1..=253).contains(&text.len()) && text.bytes().all(allowed)
}

/// Rules in their order: the first that fits a key counts, and there is one for every key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Classes(Vec<Rule>);

/// Why a key is of its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A person said so.
    Rule(Rule),
    /// It is called like a credential.
    Name,
    /// It holds what looks like a credential: "a private key or a certificate".
    Looks(&'static str),
    /// So are all keys of a Secret, and no key of a ConfigMap, that nobody said more about.
    Kind,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "{rule}"),
            Self::Name => f.write_str("by its name"),
            Self::Looks(like) => write!(f, "it holds {like}"),
            Self::Kind => f.write_str("by its kind"),
        }
    }
}

impl Classes {
    /// A person's rules, and behind them those that hold where no person said more.
    pub(crate) fn of(said: &[Rule]) -> Self {
        let mut rules = said.to_vec();
        rules.extend(usual());
        Self(rules)
    }

    /// The class of a key by its name alone.
    pub(crate) fn of_name(&self, object: &ObjectId, key: &str) -> Class {
        // Without a rule, which a file that was written by hand may lack: where there is doubt, it is a credential.
        self.0.iter().find(|rule| rule.fits(object, key)).map_or(Class::Credential, |rule| rule.class)
    }

    /// The class of a key by its name and by what it holds, and why.
    pub(crate) fn of_value(&self, object: &ObjectId, key: &str, value: &[u8]) -> (Class, Why) {
        let said = self.0.len().saturating_sub(usual().count());
        if let Some(rule) = self.0.iter().take(said).find(|rule| rule.fits(object, key)) {
            return (rule.class, Why::Rule(rule.clone()));
        }
        match (self.of_name(object, key), object.kind) {
            (Class::Configuration, _) => match looks_like(value) {
                Some(like) => (Class::Credential, Why::Looks(like)),
                None => (Class::Configuration, Why::Kind),
            },
            (Class::Credential, Kind::ConfigMap) => (Class::Credential, Why::Name),
            (Class::Credential, Kind::Secret) => (Class::Credential, Why::Kind),
        }
    }

    /// Those that say something of `object`.
    pub(crate) fn about(&self, object: &ObjectId) -> impl Iterator<Item = &Rule> {
        self.0.iter().filter(move |rule| rule.is_about(object))
    }
}

/// The rules that hold where no person said more.
fn usual() -> impl Iterator<Item = Rule> {
    let rule =
        |class, kind: &str, key: &str| Rule { class, kind: kind.into(), name: "*".into(), key: key.into() };
    let named = NAMES.iter().map(move |key| rule(Class::Credential, Kind::ConfigMap.as_str(), key));
    let rest = [
        rule(Class::Credential, Kind::Secret.as_str(), "*"),
        rule(Class::Configuration, Kind::ConfigMap.as_str(), "*"),
    ];
    named.chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind) -> ObjectId {
        ObjectId { namespace: "prod".into(), kind, name: "checkout".into() }
    }

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in
            ["configuration:configmap/checkout/app.*", "credential:secret/*/*", "credential:*/*/a_b-C"]
        {
            assert_eq!(rule(text).to_string(), text);
        }
        for text in [
            "app.*",
            "configuration:app.*",
            "secret:secret/a/b",
            "credential:secret/a",
            "credential:secret/a/b/c",
            "credential:secret//b",
            "credential:deployment/a/b",
            "credential:secret/a/b c",
            "",
        ] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }

    /// A person's word goes before what it looks like, in both directions.
    #[test]
    fn the_first_rule_counts() {
        let said = [
            rule("configuration:configmap/checkout/password-rules.yaml"),
            rule("credential:configmap/*/app.license"),
            rule("configuration:secret/checkout/app.yaml"),
        ];
        let classes = Classes::of(&said);
        let class = |kind, key: &str| classes.of_name(&object(kind), key);
        assert_eq!(class(Kind::ConfigMap, "password-rules.yaml"), Class::Configuration);
        assert_eq!(class(Kind::ConfigMap, "db-password"), Class::Credential);
        assert_eq!(class(Kind::ConfigMap, "app.license"), Class::Credential);
        assert_eq!(class(Kind::ConfigMap, "app.yaml"), Class::Configuration);
        assert_eq!(class(Kind::Secret, "app.yaml"), Class::Configuration);
        assert_eq!(class(Kind::Secret, "anything"), Class::Credential);
        let (class, why) = classes.of_value(&object(Kind::Secret), "app.yaml", b"password: hunter2");
        assert_eq!((class, why), (Class::Configuration, Why::Rule(said[2].clone())));
        // A rule that says what holds anyhow is a person's word all the same.
        let all = [rule("configuration:configmap/*/*")];
        let (class, why) = Classes::of(&all).of_value(&object(Kind::ConfigMap), "tls.key", b"");
        assert_eq!((class, why), (Class::Configuration, Why::Rule(all[0].clone())));
    }

    #[test]
    fn what_looks_like_a_credential_is_one() {
        let classes = Classes::of(&[]);
        let class =
            |key: &str, value: &str| classes.of_value(&object(Kind::ConfigMap), key, value.as_bytes()).0;
        for (key, value) in [
            ("DB_PASSWORD", "x"),
            ("tls.key", ""),
            ("ca.crt", ""),
            ("id_ed25519", ""),
            ("bundle", "-----BEGIN CERTIFICATE-----\nMII...\n"),
            ("url", "postgres://shop:hunter2@db/shop"),
            ("app.properties", "mode=fast\nspring.datasource.password=hunter2\n"),
            ("app.yaml", "db:\n  password: \"hunter2\"\n"),
            ("app.json", "{\n  \"api_key\": \"abc\"\n}"),
            ("env", "AWS=AKIAIOSFODNN7EXAMPLE"),
            ("jwt", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"),
        ] {
            assert_eq!(class(key, value), Class::Credential, "{key}: {value}");
        }
        for (key, value) in [
            ("app.yaml", "db:\n  password: ${DB_PASSWORD}\n  passwordFile: /run/secrets/db\n"),
            ("app.properties", "password.min-length=12\ntoken.required=true\n"),
            ("url", "https://shop.example/a:b@c"),
            ("url", "postgres://shop:${PASSWORD}@db/shop"),
            ("mode", "fast"),
            ("empty", ""),
        ] {
            assert_eq!(class(key, value), Class::Configuration, "{key}: {value}");
        }
    }
}
