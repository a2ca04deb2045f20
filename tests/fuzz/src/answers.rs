//! What an endpoint answers to an executor, and the fields of it that are kept.
//!
//! What has to hold: what is kept is JSON and was in the answer, at its place; and the credential is in none of it.

use backstay_hands::testing::fields;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::{Came, is_told_text, memory::within, script::Script};

/// At most so many bytes are kept, here.
const KEPT_MAX: usize = 512;
/// A value at a time, the mask, and what is kept.
const HELD_MAX: usize = 512 * 1024;

pub(crate) fn run(input: &[u8]) -> Came {
    let mut script = Script(input);
    let credential = match script.byte() % 3 {
        0 => None,
        1 => Some("s3cret/\"\\x"),
        _ => Some("12345"),
    };
    let (mask, answer) = (script.text(), script.0);
    match within(HELD_MAX, || fields(&mask, credential, answer, KEPT_MAX)) {
        Ok(Some(kept)) => {
            assert!(kept.len() <= KEPT_MAX);
            let is_json = serde_json::from_slice::<IgnoredAny>(&kept);
            assert!(is_json.is_ok(), "{:?} is no JSON", String::from_utf8_lossy(&kept));
            // Numbers beyond what fits, and texts that aren't Unicode, are JSON that not everybody reads.
            let (value, of) = (serde_json::from_slice(&kept), serde_json::from_slice(answer));
            match credential {
                Some(credential) => has_none(&kept, &value.unwrap_or_default(), credential),
                None => {
                    if let (Ok(value), Ok(of)) = (&value, &of) {
                        was_there(value, of);
                    }
                    let again = fields(&mask, None, &kept, KEPT_MAX);
                    assert_eq!(again, Ok(Some(kept)), "what is kept of what was kept is all of it");
                }
            }
            Came::Taken
        }
        Ok(None) => Came::Refused,
        Err(why) => {
            is_told_text(&why);
            Came::Refused
        }
    }
}

/// That a value is what was kept of another, with `null` where nothing was wanted.
fn was_there(kept: &Value, of: &Value) {
    match (kept, of) {
        (Value::Object(kept), Value::Object(of)) => {
            for (key, value) in kept {
                was_there(value, of.get(key).unwrap_or_else(|| panic!("{key:?} was not in the answer")));
            }
        }
        (Value::Array(kept), Value::Array(of)) => {
            assert!(kept.is_empty() || kept.len() == of.len(), "each element is in its place");
            kept.iter().zip(of).for_each(|(kept, of)| was_there(kept, of));
        }
        (Value::Null, _) => {}
        (kept, of) => assert_eq!(kept, of),
    }
}

/// That a credential is nowhere in what was kept, as it is or as JSON writes it.
fn has_none(kept: &[u8], value: &Value, credential: &str) {
    let bytes = credential.as_bytes();
    assert!(!kept.windows(bytes.len()).any(|window| window == bytes), "the credential was kept");
    let mut values = vec![value];
    while let Some(value) = values.pop() {
        match value {
            Value::String(text) => assert!(!text.contains(credential), "the credential was kept"),
            Value::Array(items) => values.extend(items),
            Value::Object(members) => {
                assert!(members.keys().all(|key| !key.contains(credential)), "the credential is a key");
                values.extend(members.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let answer = r#"{"a":{"b":[1,{"c":"x"},2.50,null],"d/e":true},"f":"12345 \"s3cret/","g":-1e9}"#;
    let of = |credential: u8, mask: &str| {
        [&[credential, mask.len() as u8], mask.as_bytes(), answer.as_bytes()].concat()
    };
    ["/a/b", "/a/b/*/c,/f", "/*/-", "/a/d~1e", "/g"]
        .into_iter()
        .flat_map(|mask| [of(0, mask), of(1, mask), of(2, mask)])
        .collect()
}
