//! Pod templates: which release one runs, and what one was before a controller wrote its marks into it.
//!
//! A release is a digest. An image that is pinned by one says which release it is; any other says only a version, by its tag, or by a
//! label where the tag is no version. Not here: where templates are kept (`revisions`), and which of them is wanted.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use backstay_sdk::{
    executor::Release,
    readings::Readings,
    settings::{Setting, Text},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    api::{escaped, text},
    settings::{CONTAINER, NAME},
};

/// Which label of the pods says the version.
pub const VERSION_LABEL: Text = Text {
    name: "version-label",
    default: "",
    help: "The label of the pods that says the version. Empty: the image's tag does, or app.kubernetes.io/version where there is no tag, or only latest.",
};
/// What says the version where no tag does.
const USUAL_LABEL: &str = "app.kubernetes.io/version";
/// A tag that says nothing: what it stands for changes.
const LATEST: &str = "latest";

/// What a template says of the release that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The image of the container that is the product.
    pub image: String,
    /// The version, where anything says one.
    pub version: Option<String>,
    /// What pins the image.
    pub pin: Pin,
}

/// What pins an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Nothing: its tag may stand for something else tomorrow.
    #[default]
    None,
    /// The SHA-256 digest of its content, in hexadecimal digits.
    Sha256(String),
    /// Something that no release is known by.
    Other,
}

/// The fields of a template that [`Told::of`] reads; `at` is where the template is, like `/spec/template`.
#[must_use]
pub fn fields(at: &str, config: &[Setting]) -> [String; 3] {
    [
        format!("{at}/spec/containers/*/name"),
        format!("{at}/spec/containers/*/image"),
        format!("{at}/metadata/labels/{}", escaped(label(config))),
    ]
}

fn label(config: &[Setting]) -> &str {
    match VERSION_LABEL.of(config) {
        "" => USUAL_LABEL,
        label => label,
    }
}

impl Told {
    /// What `template` says. `None`: it has no such container.
    #[must_use]
    pub fn of(template: &Value, config: &[Setting]) -> Option<Self> {
        let containers = template.pointer("/spec/containers")?.as_array()?;
        let called = |name: &str| containers.iter().find(|it| text(it, "/name") == name);
        let container = match (CONTAINER.of(config), containers.as_slice()) {
            ("", [only]) => only,
            ("", [first, ..]) => called(NAME.of(config)).unwrap_or(first),
            (name, _) => called(name)?,
        };
        let image = text(container, "/image");
        let (tag, pin) = read(image);
        let labels = template.pointer("/metadata/labels");
        let label = labels.and_then(|labels| labels.get(label(config))).and_then(Value::as_str);
        let version = if VERSION_LABEL.of(config).is_empty() { tag.or(label) } else { label };
        Some(Self { image: image.to_string(), version: version.map(String::from), pin })
    }

    /// Whether it is this release. One that is pinned to another digest isn't, whatever version it says; but of a release that
    /// was told without a digest the version is all that anybody knows.
    #[must_use]
    pub fn is(&self, release: &Release) -> bool {
        let is_version = self.version.as_ref().is_some_and(|version| is_same(version, &release.version));
        match &self.pin {
            Pin::Sha256(digest) if *digest == release.digest => true,
            Pin::Sha256(_) | Pin::Other => is_version && is_of_version(release),
            Pin::None => is_version,
        }
    }

    /// Tells which release it is: `out-version` and `out-digest`, as far as they are known.
    pub fn say(&self, readings: &mut Readings) {
        if let Some(version) = &self.version {
            readings.say("out-version", version);
        }
        if let Pin::Sha256(digest) = &self.pin {
            readings.say("out-digest", digest);
        }
    }
}

/// Neither a tag nor a label can hold a `+`; who has one in a version writes `_` for it there.
fn is_same(told: &str, version: &str) -> bool {
    told == version || told == version.replace('+', "_")
}

/// Whether the release's digest is only that of its version's text: it was told without one.
fn is_of_version(release: &Release) -> bool {
    let digest = Sha256::digest(release.version.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex == release.digest
}

/// The tag of an image, if it says anything, and what pins it: `registry:5000/a/b:tag@sha256:digest`.
fn read(image: &str) -> (Option<&str>, Pin) {
    let (named, pin) = match image.split_once('@') {
        None => (image, Pin::None),
        Some((named, digest)) => match digest.strip_prefix("sha256:") {
            Some(hex) if is_sha256(hex) => (named, Pin::Sha256(hex.into())),
            Some(_) | None => (named, Pin::Other),
        },
    };
    // A colon before the last slash is that of a port.
    let last = named.rsplit('/').next().unwrap_or(named);
    let tag = last.split_once(':').map(|(_, tag)| tag).filter(|tag| !tag.is_empty() && *tag != LATEST);
    (tag, pin)
}

fn is_sha256(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What controllers write into the template of a ReplicaSet that its workload's doesn't have. Restored with any of it, the template
/// would be a new one, and be rolled out from the first step on, with pods of its own.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// The label that tells the ReplicaSet's pods from others.
    pub hash_label: &'a str,
    /// What Argo Rollouts put on canary or stable pods, as it noted it on the ReplicaSet: `{"labels":{...},"annotations":{...}}`. Empty:
    /// nothing.
    pub ephemeral: &'a str,
}

impl Marks<'_> {
    /// The template without them.
    #[must_use]
    pub fn taken_off(&self, mut template: Value) -> Value {
        if let Some(meta) = template.get_mut("metadata") {
            // An object that was never made has no such time; who writes it says `null`.
            forget(meta, |key, value| key == "creationTimestamp" && value.is_null());
            let ephemeral: Value = serde_json::from_str(self.ephemeral).unwrap_or_default();
            for part in ["labels", "annotations"] {
                let noted = ephemeral.get(part);
                if let Some(part) = meta.get_mut(part) {
                    forget(part, |key, _| {
                        key == self.hash_label || noted.is_some_and(|noted| noted.get(key).is_some())
                    });
                }
                forget(meta, |key, value| key == part && is_empty(value));
            }
        }
        // Argo Rollouts keeps canary and stable pods apart by a term that names a hash, and nobody else does.
        if let Some(terms) = template.pointer_mut("/spec/affinity/podAntiAffinity") {
            for (list, selector) in [
                ("requiredDuringSchedulingIgnoredDuringExecution", "/labelSelector"),
                ("preferredDuringSchedulingIgnoredDuringExecution", "/podAffinityTerm/labelSelector"),
            ] {
                if let Some(Value::Array(list)) = terms.get_mut(list) {
                    list.retain(|term| !self.names_hash(term.pointer(selector)));
                }
                forget(terms, |key, value| key == list && is_empty(value));
            }
            forget_empty(&mut template, "/spec/affinity", "podAntiAffinity");
            forget_empty(&mut template, "/spec", "affinity");
        }
        template
    }

    fn names_hash(&self, selector: Option<&Value>) -> bool {
        let expressions =
            selector.and_then(|selector| selector.get("matchExpressions")).and_then(Value::as_array);
        expressions.is_some_and(|them| them.iter().any(|one| text(one, "/key") == self.hash_label))
    }
}

fn forget_empty(value: &mut Value, at: &str, key: &str) {
    if let Some(parent) = value.pointer_mut(at) {
        forget(parent, |member, value| member == key && is_empty(value));
    }
}

fn forget(value: &mut Value, is_wanted_gone: impl Fn(&str, &Value) -> bool) {
    if let Some(members) = value.as_object_mut() {
        members.retain(|key, value| !is_wanted_gone(key, value));
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What is wrong with the settings of templates.
#[must_use]
pub fn problems(config: &[Setting]) -> Vec<backstay_sdk::settings::Problem> {
    let label = VERSION_LABEL.of(config);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/');
    let is_key = label.len() <= 317 && label.bytes().all(allowed);
    let why = "a label is called by A-Z, a-z, 0-9, -, _ and ., and may have a domain with / before it";
    if is_key { Vec::new() } else { [backstay_sdk::settings::problem(VERSION_LABEL.name, why)].into() }
}

#[cfg(test)]
mod tests;
