//! What the host keeps of a JSON answer: the double of its field masks.
//!
//! Not here: what a mask that can't be read means. The host refuses it; a test fails here.

use alloc::{string::String, vec::Vec};

use serde_json::{Map, Value};

/// One level of a path: a key, or `None` for every member or element.
type Step = Option<String>;

/// `value` with the fields that `mask` names.
pub(super) fn kept(value: &Value, mask: &str) -> Value {
    let paths: Vec<Vec<Step>> = mask.split(',').map(steps).collect();
    let paths: Vec<&[Step]> = paths.iter().map(Vec::as_slice).collect();
    pick(value, &paths).unwrap_or_default()
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = path.split('/');
    assert_eq!(steps.next(), Some(""), "{path} doesn't begin with /");
    steps
        .map(|step| match step {
            "*" => None,
            key => Some(decoded(key).replace("~1", "/").replace("~0", "~")),
        })
        .collect()
}

fn decoded(key: &str) -> String {
    let mut parts = key.split('%');
    let mut decoded: String = parts.next().unwrap_or_default().into();
    for part in parts {
        let (code, rest) = part.split_at(2);
        decoded.extend(u8::from_str_radix(code, 16).map(char::from));
        decoded.push_str(rest);
    }
    decoded
}

fn pick(value: &Value, paths: &[&[Step]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    let below = |key: Option<&str>| -> Vec<&[Step]> {
        paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter(|(step, _)| step.is_none() || step.as_deref() == key)
            .map(|(_, rest)| rest)
            .collect()
    };
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter_map(|(key, member)| {
                let paths = below(Some(key));
                (!paths.is_empty()).then(|| (key.clone(), pick(member, &paths).unwrap_or_default()))
            });
            Some(Value::Object(kept.collect::<Map<_, _>>()))
        }
        Value::Array(elements) => {
            let paths = below(None);
            let kept = elements.iter().map(|element| pick(element, &paths).unwrap_or_default());
            Some(if paths.is_empty() { Value::Array(Vec::new()) } else { Value::Array(kept.collect()) })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_named_is_kept_in_its_place() {
        let value = json!({ "a": [{ "b": 1, "c": 2 }, { "c": 3 }], "d": { "e/f": "g", "h": 4 }, "i": 5 });
        assert_eq!(kept(&value, "/a/*/b,/d/e~1f"), json!({ "a": [{ "b": 1 }, {}], "d": { "e/f": "g" } }));
        assert_eq!(kept(&value, "/d/x,/a/b"), json!({ "a": [], "d": {} }));
        assert_eq!(kept(&value, "/i,/d/*"), json!({ "d": { "e/f": "g", "h": 4 }, "i": 5 }));
        assert_eq!(kept(&value, "/d/*/-"), json!({ "d": { "e/f": null, "h": null } }));
        assert_eq!(kept(&json!({ "a,b": 1, "*": 2, "c": 3 }), "/a%2Cb,/%2A"), json!({ "a,b": 1, "*": 2 }));
    }
}
