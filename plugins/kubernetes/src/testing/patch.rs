//! What patches do to an object in memory.

use alloc::{
    format,
    string::{String, ToString as _},
};

use serde_json::{Map, Value};

/// A merge patch (RFC 7386).
pub(super) fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let Some(members) = into.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// An operation of a JSON patch (RFC 6902), as far as they are asked for here. An error says which, and changes nothing.
pub(super) fn operate(on: &mut Value, operation: &Value) -> Result<(), String> {
    let word = |key: &str| operation[key].as_str().unwrap_or_default().to_string();
    let (op, path) = (word("op"), word("path"));
    let (parent, key) = path.rsplit_once('/').ok_or_else(|| format!("{path:?} is no path"))?;
    let key = key.replace("~1", "/").replace("~0", "~");
    if op == "test" {
        let found = on.pointer(&path).ok_or_else(|| format!("testing path {path}: it isn't there"))?;
        return if *found == operation["value"] {
            Ok(())
        } else {
            Err(format!("testing value {path} failed"))
        };
    }
    let parent = on.pointer_mut(parent).ok_or_else(|| format!("{op} {path}: there is nothing to hold it"))?;
    match (op.as_str(), parent) {
        ("add", Value::Object(members)) => {
            members.insert(key, operation["value"].clone());
        }
        ("replace", Value::Object(members)) if members.contains_key(&key) => {
            members.insert(key, operation["value"].clone());
        }
        ("remove", Value::Object(members)) if members.contains_key(&key) => {
            members.remove(&key);
        }
        ("add", Value::Array(elements)) if key == "-" => elements.push(operation["value"].clone()),
        ("replace", Value::Array(elements)) => {
            let at: usize = key.parse().map_err(|_| format!("{path}: no number"))?;
            *elements.get_mut(at).ok_or_else(|| format!("{path}: no such element"))? =
                operation["value"].clone();
        }
        _ => return Err(format!("{op} {path}: there is nothing to do that to")),
    }
    Ok(())
}
