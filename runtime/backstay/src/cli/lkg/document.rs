//! The file of a bundle: what a service's ConfigMaps and Secrets were when a release was known to be good.
//!
//! Here: its form, which is one only for each content, and what has to hold of it. Not here: who vouches for it (`trust`, by the statement
//! beside it), and what becomes of a difference (`difference`, and the executor).
//!
//! It is JSON that people can read in a review: keys in their order, a text of several lines as a list of lines. Of a credential it
//! holds the key's name and nothing of its value: not a digest either, which a short password can be guessed by.

use std::{collections::BTreeMap, error::Error, fmt};

use backstay_model::{Digest, TargetId, Version};
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize, Serializer, de};
use serde_json::json;

use super::{
    class::{Class, Classes, Why},
    object::{Content, Kind, Live, ObjectId, is_key},
};

/// What the file is, and in which version. Another form has another number.
const SCHEMA: &str = "backstay.io/lkg/v1";

/// The most objects.
const OBJECTS_MAX: usize = 64;

/// A bundle's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    schema: String,
    /// Whose configuration it is.
    pub(crate) service: TargetId,
    /// The release that it was good with.
    pub(crate) release: Known,
    /// When it was read, in milliseconds since 1970.
    pub(crate) captured_at_ms: u64,
    /// Which keys are what.
    pub(crate) classes: Classes,
    /// In the order of their names, none twice.
    pub(crate) objects: Vec<Object>,
}

/// A release, by its name and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    pub(crate) version: Version,
    pub(crate) digest: Digest,
}

/// One object as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Object {
    /// Which.
    #[serde(rename = "object")]
    pub(crate) id: ObjectId,
    /// Whether Kubernetes lets nobody change it.
    pub(crate) immutable: bool,
    /// The version that was read: evidence, and nothing is decided by it.
    pub(crate) resource_version: String,
    /// What is restored.
    pub(crate) configuration: BTreeMap<String, Held>,
    /// What is left alone, in order.
    pub(crate) credentials: Vec<String>,
}

/// What a key holds, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held(pub(crate) Content);

/// The three forms of it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Line(String),
    Lines(Vec<String>),
    Bytes(Bytes),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bytes {
    base64: String,
}

impl Serialize for Held {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Content::Text(text) if text.contains('\n') => {
                Form::Lines(text.split('\n').map(str::to_owned).collect()).serialize(to)
            }
            Content::Text(text) => Form::Line(text.clone()).serialize(to),
            Content::Bytes(bytes) => {
                Form::Bytes(Bytes { base64: Base64::encode_string(bytes) }).serialize(to)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match Form::deserialize(from)? {
            Form::Line(text) => Content::Text(text),
            Form::Lines(lines) => Content::Text(lines.join("\n")),
            Form::Bytes(Bytes { base64 }) => Content::Bytes(
                Base64::decode_vec(&base64)
                    .map_err(|_| de::Error::custom("expected base64 with its padding"))?,
            ),
        }))
    }
}

/// A key of an object, of which class it is, and why.
pub(crate) type Classed = (ObjectId, String, Class, Why);

impl Document {
    /// The longest file, in bytes.
    pub(crate) const BYTES_MAX: usize = 4 << 20;

    /// What `live` holds, with each key in its class.
    pub(crate) fn capture(
        service: TargetId,
        release: Known,
        captured_at_ms: u64,
        classes: Classes,
        live: Vec<Live>,
    ) -> (Self, Vec<Classed>) {
        let mut classed = Vec::new();
        let mut objects: Vec<Object> = Vec::new();
        for Live { id, resource_version, immutable, keys } in live {
            let (mut configuration, mut credentials) = (BTreeMap::new(), Vec::new());
            for (key, content) in keys {
                let (class, why) = classes.of_value(&id, &key, content.bytes());
                classed.push((id.clone(), key.clone(), class, why));
                match class {
                    Class::Configuration => drop(configuration.insert(key, Held(content))),
                    Class::Credential => credentials.push(key),
                }
            }
            objects.push(Object { id, immutable, resource_version, configuration, credentials });
        }
        objects.sort_by(|one, other| one.id.cmp(&other.id));
        (Self { schema: SCHEMA.into(), service, release, captured_at_ms, classes, objects }, classed)
    }

    /// Reads a file, to its last byte.
    ///
    /// # Errors
    /// What it is that isn't one, or what in it doesn't go together.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let malformed = |why: serde_json::Error| DocumentError::Malformed(why.to_string());
        let Head { schema } = serde_json::from_slice(bytes).map_err(malformed)?;
        if schema != SCHEMA {
            return Err(DocumentError::Schema(schema));
        }
        let document: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if let Some(what) = document.unfit() {
            return Err(DocumentError::Inconsistent(what));
        }
        // There is one form only: nothing in it is read by one program and overlooked by another.
        if document.write().as_bytes() == bytes { Ok(document) } else { Err(DocumentError::OtherForm) }
    }

    /// The file.
    pub(crate) fn write(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// What doesn't go together.
    pub(crate) fn unfit(&self) -> Option<String> {
        if !(1..=OBJECTS_MAX).contains(&self.objects.len()) {
            return Some(format!("it has {} objects, 1 to {OBJECTS_MAX} are allowed", self.objects.len()));
        }
        let pairs = self.objects.iter().zip(self.objects.iter().skip(1));
        if let Some((one, _)) = pairs.clone().find(|(one, next)| one.id >= next.id) {
            return Some(format!("{} is there twice, or in the wrong place", one.id));
        }
        self.objects.iter().find_map(|object| object.unfit(&self.classes))
    }

    /// One of its objects.
    pub(crate) fn object(&self, id: &ObjectId) -> Option<&Object> {
        self.objects.iter().find(|object| object.id == *id)
    }

    /// What an executor has to know of one of its objects, as compact JSON. `data` and `binaryData` are as Kubernetes has them.
    pub(crate) fn wanted(&self, object: &Object) -> String {
        let (mut data, mut binary) = (BTreeMap::new(), BTreeMap::new());
        for (key, Held(content)) in &object.configuration {
            match (object.id.kind, content) {
                (Kind::ConfigMap, Content::Text(text)) => drop(data.insert(key, text.clone())),
                (Kind::ConfigMap, Content::Bytes(bytes)) => {
                    drop(binary.insert(key, Base64::encode_string(bytes)))
                }
                (Kind::Secret, content) => drop(data.insert(key, Base64::encode_string(content.bytes()))),
            }
        }
        let rules = self.classes.about(&object.id);
        let classes: Vec<_> = rules.map(|rule| format!("{}:{}", rule.class.as_str(), rule.key)).collect();
        let wanted = json!({
            "schema": "backstay.io/lkg-object/v1",
            "service": self.service,
            "release": self.release,
            "captured_at_ms": self.captured_at_ms,
            "object": object.id,
            "immutable": object.immutable,
            "classes": classes,
            "data": data,
            "binaryData": binary,
            "credentials": object.credentials,
        });
        wanted.to_string()
    }
}

impl Object {
    fn unfit(&self, classes: &Classes) -> Option<String> {
        let Self { id, configuration, credentials, .. } = self;
        let keys = configuration.keys().chain(credentials);
        if let Some(key) = keys.into_iter().find(|key| !is_key(key)) {
            return Some(format!("{id} can have no key {key:?}"));
        }
        if credentials.iter().zip(credentials.iter().skip(1)).any(|(one, next)| one >= next) {
            return Some(format!("the credentials of {id} are not in order"));
        }
        if let Some(key) = credentials.iter().find(|key| configuration.contains_key(*key)) {
            return Some(format!("key {key} of {id} is both"));
        }
        // Whoever changes a rule without taking the value out would sign a credential.
        let named = configuration.keys().find(|key| classes.of_name(id, key) == Class::Credential);
        named.map(|key| format!("key {key} of {id} is a credential by its rules, and its value is there"))
    }
}

/// A file that is no bundle's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DocumentError {
    /// It is no JSON, or not of this form.
    Malformed(String),
    /// It is of another schema.
    Schema(String),
    /// Something in it doesn't go together.
    Inconsistent(String),
    /// It says the same in other bytes.
    OtherForm,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "it can't be read: {why}"),
            Self::Schema(schema) => write!(f, "it is of schema {schema:?}, and {SCHEMA} is known here"),
            Self::Inconsistent(what) => f.write_str(what),
            Self::OtherForm => f.write_str("it is not set out as it is written here"),
        }
    }
}

impl Error for DocumentError {}

impl DocumentError {
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Inconsistent(_) | Self::OtherForm => {
                "capture it anew: no tool may set it out again, and nobody edits it by hand"
            }
            Self::Schema(_) => "use the version of backstay that captured it, or capture it anew",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn live(kind: Kind, keys: &[(&str, Content)]) -> Live {
        let id = ObjectId { namespace: "prod".into(), kind, name: "checkout".into() };
        let keys = keys.iter().map(|(key, content)| ((*key).to_owned(), content.clone())).collect();
        Live { id, resource_version: "812".into(), immutable: false, keys }
    }

    pub(crate) fn text(text: &str) -> Content {
        Content::Text(text.into())
    }

    pub(crate) fn known() -> Known {
        Known { version: Version::parse("2.1.0").unwrap(), digest: Digest([5; 32]) }
    }

    pub(crate) fn document(classes: &Classes) -> Document {
        let config = [
            ("app.properties", text("mode=safe\ntimeout=5\n")),
            ("db-password", text("hunter2")),
            ("logo.png", Content::Bytes(vec![0x89, 0xff])),
            ("mode", text("safe")),
        ];
        let secret = [("app.yaml", text("a: 1")), ("token", text("hunter3"))];
        let all = vec![live(Kind::Secret, &secret), live(Kind::ConfigMap, &config)];
        Document::capture(TargetId::parse("checkout").unwrap(), known(), 1_000, classes.clone(), all).0
    }

    pub(crate) fn classes() -> Classes {
        Classes::of(&["configuration:secret/checkout/app.yaml".parse().unwrap()])
    }

    #[test]
    fn a_file_is_read_as_it_is_written_and_holds_no_credential() {
        let document = document(&classes());
        let written = document.write();
        assert_eq!(Document::read(written.as_bytes()), Ok(document.clone()));
        assert!(!written.contains("hunter"), "{written}");
        assert!(written.contains("\"app.properties\": [\n          \"mode=safe\",\n"), "{written}");
        assert_eq!(document.objects[0].credentials, ["db-password"]);
        assert_eq!(document.objects[1].credentials, ["token"]);
    }

    #[test]
    fn a_file_that_says_it_otherwise_is_refused() {
        let written = document(&classes()).write();
        let read = |text: &str| Document::read(text.as_bytes()).unwrap_err();
        let compact: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read(&compact.to_string()), DocumentError::OtherForm);
        assert_eq!(read(&format!("{written}\n")), DocumentError::OtherForm);
        // Two keys of one name: one reader takes the first, another one the last.
        let twice =
            written.replacen("\"mode\": \"safe\"", "\"mode\": \"fast\",\n        \"mode\": \"safe\"", 1);
        assert_ne!(twice, written);
        assert_eq!(read(&twice), DocumentError::OtherForm);
        assert!(matches!(read(&written.replace("lkg/v1", "lkg/v2")), DocumentError::Schema(_)));
        assert!(matches!(
            read(&written.replace("\"immutable\"", "\"mutable\"")),
            DocumentError::Malformed(_)
        ));
        assert!(matches!(read("{}"), DocumentError::Malformed(_)));
    }

    #[test]
    fn a_file_in_which_things_do_not_go_together_is_refused() {
        let unfit = |change: fn(&mut Document)| {
            let mut document = document(&classes());
            change(&mut document);
            let DocumentError::Inconsistent(what) = Document::read(document.write().as_bytes()).unwrap_err()
            else {
                panic!("it is refused for another reason")
            };
            what
        };
        assert!(unfit(|document| document.objects.clear()).contains("0 objects"));
        assert!(unfit(|document| document.objects.reverse()).contains("in the wrong place"));
        assert!(
            unfit(|document| document.objects[0].credentials.push("../x".into())).contains("can have no key")
        );
        assert!(unfit(|document| document.objects[0].credentials.push("a".into())).contains("not in order"));
        assert!(unfit(|document| document.objects[0].credentials.push("mode".into())).contains("is both"));
        let smuggled = |document: &mut Document| {
            let configuration = &mut document.objects[0].configuration;
            configuration.insert("db-password".into(), Held(text("hunter2")));
            document.objects[0].credentials.clear();
        };
        assert!(unfit(smuggled).contains("is a credential by its rules"));
    }

    #[test]
    fn an_executor_gets_what_kubernetes_has() {
        let document = document(&classes());
        let wanted = |at: usize| -> serde_json::Value {
            serde_json::from_str(&document.wanted(&document.objects[at])).unwrap()
        };
        let (config, secret) = (wanted(0), wanted(1));
        assert_eq!(config["data"], json!({ "app.properties": "mode=safe\ntimeout=5\n", "mode": "safe" }));
        assert_eq!(config["binaryData"], json!({ "logo.png": "if8=" }));
        assert_eq!(config["credentials"], json!(["db-password"]));
        assert_eq!(secret["data"], json!({ "app.yaml": "YTogMQ==" }));
        assert_eq!(secret["classes"], json!(["configuration:app.yaml", "credential:*"]));
        assert!(config["classes"].as_array().unwrap().contains(&json!("credential:*password*")));
    }
}
