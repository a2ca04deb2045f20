//! ConfigMaps and Secrets: which one, and what is in one that was read.
//!
//! Here: their names, and the JSON that Kubernetes has for them. Not here: where that comes from (`live`), and which of their keys are
//! configuration (`class`).

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize, Serializer, de};

/// The longest name, and the longest key, as Kubernetes has it.
const NAME_BYTES_MAX: usize = 253;

/// What has keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::ConfigMap, Self::Secret];

    /// As it is written in the name of an object.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }

    /// As Kubernetes has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// As it is called in paths.
    pub(crate) const fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }
}

/// Which object: `prod/configmap/checkout`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    pub(crate) namespace: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind.as_str(), self.name)
    }
}

impl FromStr for ObjectId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected namespace/configmap/name or namespace/secret/name, found {text:?}");
        let parts: Vec<&str> = text.split('/').collect();
        let [namespace, kind, name] = parts[..] else { return Err(wrong()) };
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(wrong)?;
        if !is_name(namespace) || !is_name(name) {
            return Err(wrong());
        }
        Ok(Self { namespace: namespace.into(), kind, name: name.into() })
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Whether `text` can name an object (RFC 1123).
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label)
}

/// Whether `text` can be a key of either.
pub(crate) fn is_key(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && text != "."
        && !text.starts_with("..")
}

/// What a key holds. A ConfigMap keeps texts and bytes apart; a Secret has bytes only, and those that are a text are one here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

impl Content {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// An object as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) id: ObjectId,
    /// It changes with each change of the object.
    pub(crate) resource_version: String,
    pub(crate) immutable: bool,
    pub(crate) keys: BTreeMap<String, Content>,
}

#[derive(Deserialize)]
struct Read {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    immutable: bool,
    data: Option<BTreeMap<String, String>>,
    #[serde(rename = "binaryData")]
    binary_data: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    #[serde(rename = "resourceVersion")]
    resource_version: Option<String>,
}

impl Live {
    /// Reads an object as `kubectl get -o json` and the API server give it.
    ///
    /// # Errors
    /// Says what it is that isn't one.
    pub(crate) fn of(value: serde_json::Value) -> Result<Self, String> {
        let read: Read =
            serde_json::from_value(value).map_err(|why| format!("it is no object with keys: {why}"))?;
        let Read {
            kind,
            metadata: Metadata { name, namespace, resource_version },
            immutable,
            data,
            binary_data,
        } = read;
        let told = format!("{kind} {name}");
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
        let kind = kind.ok_or_else(|| format!("{told} is neither a ConfigMap nor a Secret"))?;
        let namespace = namespace.ok_or_else(|| format!("{told} says no namespace"))?;
        let id: ObjectId = format!("{namespace}/{}/{name}", kind.as_str()).parse()?;
        let bytes = |(key, value): (String, String)| {
            let bytes = Base64::decode_vec(&value).map_err(|_| format!("key {key} of {id} is no base64"))?;
            Ok((key, bytes))
        };
        let (data, binary_data) =
            (data.unwrap_or_default().into_iter(), binary_data.unwrap_or_default().into_iter());
        let keys: Result<BTreeMap<String, Content>, String> = match kind {
            Kind::ConfigMap => data
                .map(|(key, text)| Ok((key, Content::Text(text))))
                .chain(binary_data.map(|entry| bytes(entry).map(|(key, bytes)| (key, Content::Bytes(bytes)))))
                .collect(),
            Kind::Secret => {
                data.map(|entry| bytes(entry).map(|(key, bytes)| (key, text_or_bytes(bytes)))).collect()
            }
        };
        Ok(Self { resource_version: resource_version.unwrap_or_default(), immutable, keys: keys?, id })
    }

    /// Reads an object, or a list of them.
    ///
    /// # Errors
    /// As [`Live::of`].
    pub(crate) fn all_of(mut value: serde_json::Value) -> Result<Vec<Self>, String> {
        match value.get_mut("items").map(serde_json::Value::take) {
            Some(serde_json::Value::Array(items)) => items.into_iter().map(Self::of).collect(),
            Some(_) | None => Ok(vec![Self::of(value)?]),
        }
    }
}

fn text_or_bytes(bytes: Vec<u8>) -> Content {
    String::from_utf8(bytes).map_or_else(|why| Content::Bytes(why.into_bytes()), Content::Text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_named_as_it_is_read() {
        let id: ObjectId = "prod/configmap/checkout.v1".parse().unwrap();
        assert_eq!(id.to_string(), "prod/configmap/checkout.v1");
        for text in [
            "checkout",
            "prod/checkout",
            "prod/pod/x",
            "prod/configmap/",
            "prod/configmap/A",
            "a/secret/b/c",
            "a/secret/..",
        ] {
            assert!(text.parse::<ObjectId>().is_err(), "{text}");
        }
        assert!(["a", ".env", "app.yaml", "A_b-c"].into_iter().all(is_key));
        assert!(!["", ".", "..", "..data", "a/b", "a b", "ä"].into_iter().any(is_key));
    }

    #[test]
    fn both_kinds_are_read_as_kubernetes_writes_them() {
        let metadata = json!({ "name": "checkout", "namespace": "prod", "resourceVersion": "7", "uid": "u" });
        let list = json!({ "kind": "List", "items": [
            { "kind": "ConfigMap", "metadata": metadata, "data": { "a": "1" }, "binaryData": { "b": "/w==" }, "immutable": true },
            { "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": { "a": "MQ==", "b": "/w==" } },
            { "kind": "ConfigMap", "metadata": metadata },
        ] });
        let all = Live::all_of(list).unwrap();
        let keys = BTreeMap::from([
            ("a".into(), Content::Text("1".into())),
            ("b".into(), Content::Bytes(vec![255])),
        ]);
        assert_eq!((&all[0].keys, all[0].immutable, all[0].resource_version.as_str()), (&keys, true, "7"));
        assert_eq!((&all[1].keys, all[1].id.to_string().as_str()), (&keys, "prod/secret/checkout"));
        assert!(all[2].keys.is_empty());
    }

    #[test]
    fn what_has_no_keys_is_told() {
        let told = |value| Live::all_of(value).unwrap_err();
        let metadata = json!({ "name": "x", "namespace": "prod" });
        assert_eq!(
            told(json!({ "kind": "Pod", "metadata": metadata })),
            "Pod x is neither a ConfigMap nor a Secret"
        );
        assert_eq!(
            told(json!({ "kind": "Secret", "metadata": { "name": "x" } })),
            "Secret x says no namespace"
        );
        let secret = json!({ "kind": "Secret", "metadata": metadata, "data": { "k": "?" } });
        assert_eq!(told(secret), "key k of prod/secret/x is no base64");
        assert!(told(json!([])).starts_with("it is no object with keys"));
    }
}
