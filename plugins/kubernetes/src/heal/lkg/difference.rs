//! How an object differs from what it was, and the patch that undoes it.
//!
//! Here: an object as it was looked at, its own keys against those that are wanted. Not here: asking for either (`lkg`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};

use backstay_sdk::executor::{Failed, permanent};
use serde_json::{Value, json};

use super::wanted::Wanted;
use crate::api::{escaped, is_true};

/// How long the fields of one look may be: with the path before them they have 1 KiB.
const FIELDS_BYTES_MAX: usize = 512;

/// An object as it is: the names of its keys, and what those hold that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Live {
    uid: Value,
    /// It changes with each change of the object.
    pub(super) version: Value,
    pub(super) immutable: bool,
    /// What labels and annotations say of who keeps it.
    pub(super) marks: Value,
    /// The names of all keys, in `data` and `binaryData`.
    names: [BTreeSet<String>; 2],
    /// What configuration holds.
    values: [BTreeMap<String, String>; 2],
}

const SECTIONS: [&str; 2] = ["data", "binaryData"];

impl Live {
    /// What is asked for first. Of keys only the names: a value that is asked for stays in the run's state, and a credential has no place there.
    pub(super) const FIELDS: [&'static str; 11] = [
        "/metadata/uid",
        "/metadata/resourceVersion",
        "/metadata/annotations/argocd.argoproj.io~1tracking-id",
        "/metadata/annotations/kustomize.toolkit.fluxcd.io~1reconcile",
        "/metadata/labels/kustomize.toolkit.fluxcd.io~1name",
        "/metadata/labels/kustomize.toolkit.fluxcd.io~1namespace",
        "/metadata/labels/helm.toolkit.fluxcd.io~1name",
        "/metadata/labels/helm.toolkit.fluxcd.io~1namespace",
        "/immutable",
        "/data/*/-",
        "/binaryData/*/-",
    ];

    pub(super) fn of(mut found: Value) -> Self {
        let names = SECTIONS.map(|section| {
            let keys = found.get(section).and_then(Value::as_object);
            keys.map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
        });
        let mut take = |at: &str| found.pointer_mut(at).map(Value::take).unwrap_or_default();
        Self {
            uid: take("/metadata/uid"),
            version: take("/metadata/resourceVersion"),
            marks: json!({ "annotations": take("/metadata/annotations"), "labels": take("/metadata/labels") }),
            immutable: is_true(&found, "/immutable"),
            names,
            values: Default::default(),
        }
    }

    /// The fields that hold what is wanted and there, in as many looks as it takes.
    pub(super) fn batches(&self, wanted: &Wanted) -> Vec<Vec<String>> {
        const VERSION: &str = "/metadata/resourceVersion";
        let mut batches: Vec<Vec<String>> = Vec::new();
        let mut length = usize::MAX;
        for ((section, keys), names) in wanted.sections.iter().zip(&self.names) {
            for key in keys.keys().filter(|key| names.contains(*key)) {
                let field = format!("/{section}/{}", escaped(key));
                if length.saturating_add(field.len()) > FIELDS_BYTES_MAX {
                    batches.push([VERSION.to_string()].into());
                    length = VERSION.len();
                }
                length += field.len() + 1;
                if let Some(batch) = batches.last_mut() {
                    batch.push(field);
                }
            }
        }
        batches
    }

    /// Takes what a look found; `false` where the object is another one by now.
    pub(super) fn take(&mut self, mut found: Value) -> bool {
        if found.pointer("/metadata/resourceVersion") != Some(&self.version) {
            return false;
        }
        for (section, values) in SECTIONS.iter().zip(&mut self.values) {
            if let Some(Value::Object(keys)) = found.get_mut(section).map(Value::take) {
                values.extend(keys.into_iter().filter_map(|(key, value)| match value {
                    Value::String(text) => Some((key, text)),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                        None
                    }
                }));
            }
        }
        true
    }
}

/// What differs, by keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// In each section: what is to be set, be it there or not.
    set: [Vec<String>; 2],
    /// In each section: what is to be taken away.
    removed: [Vec<String>; 2],
    /// What wasn't there, and stays.
    pub(super) left_alone: Vec<String>,
}

impl Difference {
    /// Between what is wanted and what is.
    pub(super) fn of(wanted: &Wanted, live: &Live) -> Result<Self, Failed> {
        if !live.uid.is_string() || !live.version.is_string() {
            return Err(permanent(format!("{} has no uid: the endpoint shows no objects", wanted.id.told())));
        }
        let mut difference = Self::default();
        let Self { set, removed, left_alone } = &mut difference;
        let here = wanted.sections.iter().zip(&live.names).zip(&live.values).zip(set.iter_mut().zip(removed));
        for ((((_, keys), names), values), (set, removed)) in here {
            set.extend(
                keys.iter()
                    .filter(|(key, value)| values.get(*key) != Some(value))
                    .map(|(key, _)| key.clone()),
            );
            for key in names.iter().filter(|key| !keys.contains_key(*key)) {
                if wanted.is_credential(key) {
                    left_alone.push(key.clone())
                } else {
                    removed.push(key.clone())
                }
            }
        }
        Ok(difference)
    }

    pub(super) fn is_none(&self) -> bool {
        self.count() == 0
    }

    /// How many keys it is.
    pub(super) fn count(&self) -> usize {
        self.set.iter().chain(&self.removed).map(Vec::len).sum()
    }

    /// Whether there are keys that have to go: who applies a manifest leaves these where they are.
    pub(super) fn takes_away(&self) -> bool {
        self.removed.iter().any(|keys| !keys.is_empty())
    }

    /// In words, keys and no value.
    pub(super) fn told(&self) -> String {
        let mut parts = Vec::new();
        for (what, keys) in [("set", self.set.concat()), ("took away", self.removed.concat())] {
            if !keys.is_empty() {
                parts.push(format!("{what} {}", keys.join(", ")));
            }
        }
        parts.join(", ")
    }

    /// The patch. It is of this object in this version, and of no other.
    pub(super) fn operations(&self, wanted: &Wanted, live: &Live) -> Vec<Value> {
        let mut operations = Vec::from([
            json!({ "op": "test", "path": "/metadata/uid", "value": live.uid }),
            json!({ "op": "test", "path": "/metadata/resourceVersion", "value": live.version }),
        ]);
        // A key is in one section only: what has to go goes first.
        for (section, keys) in SECTIONS.iter().zip(&self.removed) {
            let remove =
                |key: &String| json!({ "op": "remove", "path": format!("/{section}/{}", escaped(key)) });
            operations.extend(keys.iter().map(remove));
        }
        for (((section, keys), names), set) in wanted.sections.iter().zip(&live.names).zip(&self.set) {
            if set.is_empty() {
                continue;
            }
            if names.is_empty() {
                operations.push(json!({ "op": "add", "path": format!("/{section}"), "value": keys }));
                continue;
            }
            let add = |key: &String| json!({ "op": "add", "path": format!("/{section}/{}", escaped(key)), "value": keys.get(key) });
            operations.extend(set.iter().map(add));
        }
        operations
    }
}
