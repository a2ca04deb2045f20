//! What requests do to objects in memory, as Kubernetes has it: a version for each change, a generation for each of the `spec`,
//! `status` as a part of its own, refusals, pages. Parts of it: patches (`patch`), and selectors (`selector`).
//!
//! Not here: admission, defaults, rules of kinds, and other parts than `status` (a test answers those itself).

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use serde_json::{Value, json};

use super::{
    patch::{merge, operate},
    selector::{decoded, has_fields, selects},
};

/// Objects by their path, `/apis/apps/v1/namespaces/prod/deployments/shop`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    all: BTreeMap<String, Value>,
    version: u64,
}

impl Objects {
    /// Puts an object at a path, as it is. What isn't said of `name`, `namespace`, `uid` and `generation` is filled in.
    ///
    /// # Panics
    /// Where it is no object.
    pub fn put(&mut self, path: &str, mut object: Value) {
        self.version += 1;
        let mut levels = path.rsplit('/');
        let name = levels.next().unwrap_or_default().to_string();
        let space = path.split("/namespaces/").nth(1).and_then(|rest| rest.split('/').next());
        let meta = object
            .as_object_mut()
            .and_then(|object| object.entry("metadata").or_insert_with(|| json!({})).as_object_mut())
            .expect("it is an object");
        meta.entry("name").or_insert_with(|| name.clone().into());
        if let Some(space) = space {
            meta.entry("namespace").or_insert_with(|| space.into());
        }
        meta.entry("uid").or_insert_with(|| format!("uid-of-{name}").into());
        meta.entry("generation").or_insert_with(|| 1.into());
        meta.insert("resourceVersion".into(), self.version.to_string().into());
        self.all.insert(path.into(), object);
    }

    /// Takes an object away.
    pub fn take(&mut self, path: &str) -> Option<Value> {
        self.version += 1;
        self.all.remove(path)
    }

    /// The object at `path`.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    #[track_caller]
    #[expect(clippy::panic, reason = "a test went wrong")]
    pub fn at(&self, path: &str) -> &Value {
        self.all.get(path).unwrap_or_else(|| panic!("there is no {path} among {:?}", self.all.keys()))
    }

    /// What stands at `pointer` (RFC 6901) of the object at `path`; `null` where there is nothing.
    ///
    /// # Panics
    /// Where there is no such object.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str, pointer: &str) -> Value {
        self.at(path).pointer(pointer).cloned().unwrap_or_default()
    }

    /// Whether there is an object at `path`.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.all.contains_key(path)
    }

    /// The paths that begin with `path`.
    #[must_use]
    pub fn below(&self, path: &str) -> Vec<String> {
        self.all.keys().filter(|at| at.starts_with(path)).cloned().collect()
    }

    /// Changes an object as a controller or a person would: its version moves, and its generation where the `spec` changed.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    pub fn edit(&mut self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.at(path).clone();
        change(&mut object);
        self.keep(path, object);
    }

    /// Grows with each change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Answers a request.
    pub(super) fn asked(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, Value) {
        let said = || serde_json::from_slice::<Value>(body).map_err(|_| (400, refusal(400, "it is no JSON")));
        let answer = match method {
            "GET" if self.all.contains_key(path) => Ok(self.at(path).clone()),
            "GET" => self.list(path, query),
            "POST" => said().and_then(|object| self.create(path, object)),
            "PUT" => said().and_then(|object| self.replace(path, object)),
            "PATCH" => said().and_then(|patch| self.patch(path, &patch)),
            "DELETE" => self.take(path).ok_or_else(|| missing(path)),
            _ => Err((405, refusal(405, "there is no such method"))),
        };
        let status = if method == "POST" { 201 } else { 200 };
        answer.map_or_else(|refused| refused, |value| (status, value))
    }

    fn list(&self, path: &str, query: &str) -> Result<Value, (u16, Value)> {
        // A list ends in a plural: nothing that is there has such a path, or everything below has.
        let (group, is_list) = (format!("{path}/"), !looks_like_an_object(path));
        if !is_list {
            return Err(missing(path));
        }
        let asked = |key: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).map(decoded)
        };
        let (labels, fields) = (asked("labelSelector"), asked("fieldSelector"));
        let limit = asked("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let after = asked("continue").unwrap_or_default();
        let (space, plural) = path.rsplit_once('/').unwrap_or_default();
        let of_all = |at: &str| {
            // `/api/v1/pods` holds the pods of all namespaces.
            let rest = at.strip_prefix(space).and_then(|rest| rest.strip_prefix("/namespaces/"));
            rest.is_some_and(|rest| {
                let levels: Vec<&str> = rest.split('/').collect();
                levels.len() == 3 && levels.get(1) == Some(&plural)
            })
        };
        let mut items: Vec<(&String, &Value)> = self
            .all
            .iter()
            .filter(|(at, _)| at.strip_prefix(&group).is_some_and(|name| !name.contains('/')) || of_all(at))
            .filter(|(at, _)| at.as_str() > after.as_str())
            .filter(|(_, object)| {
                labels.as_ref().is_none_or(|selector| selects(selector, &object["metadata"]["labels"]))
            })
            .filter(|(_, object)| fields.as_ref().is_none_or(|selector| has_fields(selector, object)))
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next =
            if more { items.last().map(|(at, _)| (*at).clone()).unwrap_or_default() } else { String::new() };
        let items: Vec<&Value> = items.into_iter().map(|(_, object)| object).collect();
        Ok(
            json!({ "metadata": { "continue": next, "resourceVersion": self.version.to_string() }, "items": items }),
        )
    }

    fn create(&mut self, path: &str, object: Value) -> Result<Value, (u16, Value)> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        let at = format!("{path}/{}", name.ok_or_else(|| (422, refusal(422, "it has no name")))?);
        if self.has(&at) {
            return Err((409, refusal(409, &format!("{at} already exists"))));
        }
        self.put(&at, object);
        Ok(self.at(&at).clone())
    }

    fn replace(&mut self, path: &str, object: Value) -> Result<Value, (u16, Value)> {
        let (path, part) = part(path);
        let old = self.all.get(path).ok_or_else(|| missing(path))?.clone();
        self.write(path, part, &old, object)
    }

    fn patch(&mut self, path: &str, patch: &Value) -> Result<Value, (u16, Value)> {
        let (path, part) = part(path);
        let old = self.all.get(path).ok_or_else(|| missing(path))?.clone();
        let mut new = old.clone();
        match patch {
            Value::Array(operations) => {
                for operation in operations {
                    operate(&mut new, operation).map_err(|why| (422, refusal(422, &why)))?;
                }
            }
            Value::Object(_) => merge(&mut new, patch),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err((400, refusal(400, "it is no patch")));
            }
        }
        self.write(path, part, &old, new)
    }

    fn write(&mut self, path: &str, part: Part, old: &Value, mut new: Value) -> Result<Value, (u16, Value)> {
        let meta = |of: &Value, key: &str| of["metadata"][key].as_str().map(String::from);
        if meta(&new, "uid").is_some_and(|uid| Some(uid) != meta(old, "uid")) {
            return Err((422, refusal(422, "metadata.uid: field is immutable")));
        }
        let version = meta(&new, "resourceVersion").filter(|version| !version.is_empty());
        if version.is_some_and(|version| Some(version) != meta(old, "resourceVersion")) {
            return Err((409, refusal(409, "the object has been modified")));
        }
        let mut kept = old.clone();
        match part {
            Part::Status => kept["status"] = new["status"].take(),
            // Each half is written by its own path where a kind has a `status` of its own.
            Part::Main if has_status(path) => {
                new["status"] = old["status"].clone();
                kept = new;
            }
            Part::Main => kept = new,
        }
        if old["status"].is_null() && kept["status"].is_null() {
            kept.as_object_mut().map(|object| object.remove("status"));
        }
        kept["metadata"]["uid"] = old["metadata"]["uid"].clone();
        kept["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        kept["metadata"]["generation"] = old["metadata"]["generation"].clone();
        self.keep(path, kept);
        Ok(self.at(path).clone())
    }

    /// What is the same as before is no change, and moves nothing.
    fn keep(&mut self, path: &str, mut object: Value) {
        let old = self.at(path);
        if *old == object {
            return;
        }
        if old["spec"] != object["spec"] {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or(1);
            object["metadata"]["generation"] = (generation + 1).into();
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.all.insert(path.into(), object);
    }
}

/// Which half of an object a path is.
#[derive(Clone, Copy)]
enum Part {
    Main,
    Status,
}

fn part(path: &str) -> (&str, Part) {
    path.strip_suffix("/status").map_or((path, Part::Main), |path| (path, Part::Status))
}

/// Of the kinds that we write: an Argo CD Application has its status in the object itself.
fn has_status(path: &str) -> bool {
    !path.contains("/applications/")
}

/// `/api/v1/nodes/a` and `/apis/g/v1/namespaces/n/things/a` do; what ends in a plural doesn't.
fn looks_like_an_object(path: &str) -> bool {
    let levels = path.split('/').skip(1).count();
    let base = if path.starts_with("/api/") { 2 } else { 3 };
    let spaced = if path.contains("/namespaces/") { 2 } else { 0 };
    levels > base + spaced + 1
}

fn missing(path: &str) -> (u16, Value) {
    let name = path.rsplit('/').next().unwrap_or_default();
    (404, refusal(404, &format!("{name:?} not found")))
}

fn refusal(status: u16, message: &str) -> Value {
    let reason = match status {
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "BadRequest",
    };
    json!({ "kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/apis/apps/v1/namespaces/n/deployments/a";

    fn objects() -> Objects {
        let mut objects = Objects::default();
        objects.put(
            PATH,
            json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "x": 1 }, "status": { "y": 1 } }),
        );
        objects
    }

    fn ask(objects: &mut Objects, method: &str, path: &str, body: &Value) -> u16 {
        objects.asked(method, path, "", &serde_json::to_vec(body).unwrap()).0
    }

    #[test]
    fn the_two_halves_of_an_object_are_written_each_by_its_path() {
        let mut objects = objects();
        assert_eq!(
            ask(&mut objects, "PATCH", PATH, &json!({ "spec": { "x": 2 }, "status": { "y": 2 } })),
            200
        );
        assert_eq!((objects.get(PATH, "/spec/x"), objects.get(PATH, "/status/y")), (json!(2), json!(1)));
        assert_eq!(objects.get(PATH, "/metadata/generation"), 2);
        let part = format!("{PATH}/status");
        assert_eq!(
            ask(&mut objects, "PATCH", &part, &json!({ "spec": { "x": 3 }, "status": { "y": 3 } })),
            200
        );
        assert_eq!((objects.get(PATH, "/spec/x"), objects.get(PATH, "/status/y")), (json!(2), json!(3)));
        let version = objects.version();
        assert_eq!(ask(&mut objects, "PATCH", &part, &json!({ "status": { "y": 3 } })), 200);
        assert_eq!((objects.version(), objects.get(PATH, "/metadata/generation")), (version, json!(2)));
    }

    #[test]
    fn a_patch_whose_test_fails_changes_nothing() {
        let mut objects = objects();
        let before = objects.clone();
        let test = |path: &str, value: Value| json!({ "op": "test", "path": path, "value": value });
        let add = json!({ "op": "add", "path": "/spec/z", "value": 1 });
        for refused in [test("/metadata/uid", json!("another")), test("/spec/nothing", Value::Null)] {
            assert_eq!(ask(&mut objects, "PATCH", PATH, &json!([add, refused])), 422);
        }
        assert_eq!(ask(&mut objects, "PATCH", PATH, &json!({ "metadata": { "resourceVersion": "7" } })), 409);
        assert_eq!(ask(&mut objects, "PATCH", PATH, &json!([{ "op": "remove", "path": "/spec/z" }])), 422);
        assert_eq!(ask(&mut objects, "PATCH", "/apis/apps/v1/namespaces/n/deployments/b", &json!({})), 404);
        assert_eq!(objects, before);
        assert_eq!(
            ask(&mut objects, "PATCH", PATH, &json!([test("/metadata/uid", json!("uid-of-a")), add])),
            200
        );
        assert_eq!(objects.get(PATH, "/spec"), json!({ "x": 1, "z": 1 }));
    }

    #[test]
    fn lists_are_selected_and_come_in_pages() {
        let mut objects = objects();
        for name in ["b", "c"] {
            let labels = json!({ "app": name });
            objects.put(
                &format!("/apis/apps/v1/namespaces/n/deployments/{name}"),
                json!({ "metadata": { "labels": labels } }),
            );
        }
        let names = |query: &str| -> Vec<String> {
            let (status, list) =
                objects.clone().asked("GET", "/apis/apps/v1/namespaces/n/deployments", query, b"");
            assert_eq!(status, 200);
            let items = list["items"].as_array().unwrap().iter();
            items.map(|item| item["metadata"]["name"].as_str().unwrap().into()).collect()
        };
        assert_eq!(names("labelSelector=app%20in%20%28a%2Cc%29"), ["a", "c"]);
        assert_eq!(names("labelSelector=app%3Db"), ["b"]);
        assert_eq!(names("fieldSelector=metadata.name%21%3Db"), ["a", "c"]);
        assert_eq!(names("limit=2"), ["a", "b"]);
        assert_eq!(names(&format!("limit=2&continue={PATH}")), ["b", "c"]);
    }
}
