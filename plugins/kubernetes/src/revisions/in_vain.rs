//! Which revisions were tried as a way home and did not come up.
//!
//! A ReplicaSet whose pods are gone doesn't say so, and a run knows nothing of the one before it. So the number of a revision that is left
//! because it gave up stands in an annotation of the object with the template, written together with the next template. A revision gets a
//! new number whenever its template is taken again, whoever does: what is said of it ends by itself. Not here: what follows from it
//! (`choose`).

use alloc::{format, string::String, vec::Vec};

use backstay_sdk::executor::Release;
use serde_json::{Value, json};

use super::{Now, Revision};
use crate::api::text;

/// The annotation.
pub const IN_VAIN: &str = "backstay.dev/in-vain";
/// The same, as a field.
pub const IN_VAIN_FIELD: &str = "/metadata/annotations/backstay.dev~1in-vain";

/// The numbers that an object says it of.
#[must_use]
pub fn read(seen: &Value) -> Vec<u64> {
    text(seen, IN_VAIN_FIELD).split(' ').filter_map(|number| number.parse().ok()).collect()
}

/// The operation of a JSON patch that says it of the present one, if that runs the release that is wanted and gave up; of those that
/// aren't kept any more it is said no longer. `seen` is of the object that is patched. Where that has no annotations none could be added,
/// and the whole patch would be refused: then nothing is said.
#[must_use]
pub fn noting(seen: &Value, revisions: &[Revision], release: &Release, now: &Now<'_>) -> Option<Value> {
    seen.pointer("/metadata/annotations")?.as_object().filter(|annotations| !annotations.is_empty())?;
    let is_left = |it: &&Revision| now.gave_up && now.current == Some(&it.hash) && it.runs(release);
    let left = revisions.iter().find(is_left)?;
    let is_kept = |number: &u64| revisions.iter().any(|it| it.number == *number);
    let numbers: Vec<String> = read(seen)
        .into_iter()
        .filter(|number| is_kept(number) && *number != left.number)
        .chain([left.number])
        .map(|number| format!("{number}"))
        .collect();
    Some(json!({ "op": "add", "path": IN_VAIN_FIELD, "value": numbers.join(" ") }))
}
