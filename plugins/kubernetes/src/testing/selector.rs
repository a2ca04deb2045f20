//! Which objects a list is asked for: by labels and by fields, as a query says it.

use alloc::{format, string::String, vec::Vec};

use serde_json::Value;

/// `a=b,c!=d,e in (f,g),h,!i`, as far as labels are asked for here.
pub(super) fn selects(selector: &str, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key.trim()).and_then(Value::as_str);
    requirements(selector).all(|one| {
        if let Some((key, values)) = one.split_once(" notin ") {
            return !label(key).is_some_and(|value| listed(values, value));
        }
        if let Some((key, values)) = one.split_once(" in ") {
            return label(key).is_some_and(|value| listed(values, value));
        }
        if let Some((key, value)) = one.split_once("!=") {
            return label(key) != Some(value.trim());
        }
        if let Some((key, value)) = one.split_once('=') {
            return label(key) == Some(value.trim_start_matches('=').trim());
        }
        one.strip_prefix('!').map_or_else(|| label(one).is_some(), |key| label(key).is_none())
    })
}

fn listed(values: &str, value: &str) -> bool {
    values.trim().trim_matches(['(', ')']).split(',').any(|one| one.trim() == value)
}

/// Split at commas that stand in no brackets.
fn requirements(selector: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    selector
        .split(move |char| {
            match char {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            char == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|one| !one.is_empty())
}

/// `a.b=c,d!=e`, of fields.
pub(super) fn has_fields(selector: &str, object: &Value) -> bool {
    selector.split(',').all(|one| {
        let (key, value) = one.split_once("!=").map_or_else(
            || one.split_once('=').map_or((one, Ok("")), |(key, value)| (key, Ok(value))),
            |(key, value)| (key, Err(value)),
        );
        let found = match object.pointer(&format!("/{}", key.replace('.', "/"))) {
            Some(Value::String(text)) => text.as_str(),
            Some(Value::Bool(true)) => "true",
            // What isn't said is not so.
            Some(_) | None if matches!(value, Ok("true" | "false") | Err("true" | "false")) => "false",
            Some(_) | None => "",
        };
        match value {
            Ok(is) => found == is.trim_start_matches('='),
            Err(is_not) => found != is_not,
        }
    })
}

/// A part of a query, without its percent signs.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        match byte {
            b'%' => {
                bytes.extend(digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok()))
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
