//! The note on a pod, or on a workload, of how far its memory was raised: `{"app":{"to":"192Mi","steps":1,"for":"2026-11-28T02:45:01Z"}}`.
//!
//! It is written before the limit is raised, so that a raise without a note can't be. `for` says which end of the container was answered
//! by it: the same end never raises a limit twice, and a look doesn't count it again. Not here: raising anything (`resize`).

use alloc::{
    collections::BTreeMap,
    string::{String, ToString as _},
};

use serde_json::{Map, Value, json};

use crate::{
    api::{number, text},
    clock::Time,
    quantity::Memory,
};

/// What a container's limit was raised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raise {
    /// To this.
    pub(crate) to: Memory,
    /// In so many steps.
    pub(crate) steps: u32,
    /// Because it ended then, for want of memory.
    pub(crate) answers: Time,
}

/// What was raised, by container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raised(BTreeMap<String, Raise>);

impl Raised {
    /// Reads an annotation. What nobody of us wrote is no note.
    pub(crate) fn read(annotation: &str) -> Self {
        let note: Map<String, Value> = serde_json::from_str(annotation).unwrap_or_default();
        let raise = |value: &Value| {
            let steps = u32::try_from(number(value, "/steps")?).ok()?;
            Some(Raise {
                to: Memory::parse(text(value, "/to"))?,
                steps,
                answers: Time::parse(text(value, "/for"))?,
            })
        };
        Self(note.into_iter().filter_map(|(name, value)| Some((name, raise(&value)?))).collect())
    }

    /// As it is written.
    pub(crate) fn written(&self) -> String {
        let entry = |(name, raise): (&String, &Raise)| {
            let value =
                json!({ "to": raise.to.written(), "steps": raise.steps, "for": raise.answers.written() });
            (name.clone(), value)
        };
        Value::Object(self.0.iter().map(entry).collect()).to_string()
    }

    /// What was noted of a container.
    pub(crate) fn of(&self, container: &str) -> Option<Raise> {
        self.0.get(container).copied()
    }

    /// The same with one more.
    pub(crate) fn with(&self, container: &str, raise: Raise) -> Self {
        let mut all = self.0.clone();
        all.insert(container.into(), raise);
        Self(all)
    }

    /// The same as it was before the last raise of a container from `limit`, which came to nothing: its end isn't answered.
    pub(crate) fn without(&self, container: &str, limit: Memory) -> Self {
        let mut all = self.0.clone();
        match all.remove(container) {
            Some(raise) if raise.steps > 1 => {
                let before =
                    Raise { to: limit, steps: raise.steps - 1, answers: raise.answers.second_before() };
                all.insert(container.into(), before);
            }
            Some(_) | None => {}
        }
        Self(all)
    }

    /// Whether an end at that time was answered, of whichever container it was.
    pub(crate) fn answers(&self, at: Time) -> bool {
        self.0.values().any(|raise| raise.answers >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let at = |text| Time::parse(text).unwrap();
        let raise = |to, steps, answers| Raise { to: Memory::parse(to).unwrap(), steps, answers };
        let noted = at("2026-11-28T02:45:01Z");
        let raised =
            Raised::default().with("app", raise("128Mi", 1, noted)).with("app", raise("192Mi", 2, noted));
        assert_eq!(raised.written(), r#"{"app":{"for":"2026-11-28T02:45:01Z","steps":2,"to":"192Mi"}}"#);
        assert_eq!(Raised::read(&raised.written()), raised);
        assert_eq!((raised.of("app").map(|raise| raise.steps), raised.of("web")), (Some(2), None));
        assert!(raised.answers(noted) && !raised.answers(at("2026-11-28T02:45:02Z")));
    }

    #[test]
    fn a_raise_that_came_to_nothing_answers_nothing() {
        let memory = |text| Memory::parse(text).unwrap();
        let end = Time::parse("2026-11-28T02:45:01Z").unwrap();
        let one = Raised::default().with("app", Raise { to: memory("192Mi"), steps: 1, answers: end });
        assert_eq!(one.without("app", memory("128Mi")), Raised::default());
        assert_eq!(one.without("web", memory("128Mi")), one);
        let two = one.with("app", Raise { to: memory("288Mi"), steps: 2, answers: end });
        let undone = two.without("app", memory("192Mi"));
        assert_eq!(undone.of("app").map(|raise| (raise.to, raise.steps)), Some((memory("192Mi"), 1)));
        assert!(!undone.answers(end));
    }

    #[test]
    fn what_we_did_not_write_is_no_note() {
        for text in ["", "{", "[]", "1", r#"{"app":1}"#, r#"{"app":{"to":"x","steps":1,"for":"y"}}"#] {
            assert_eq!(Raised::read(text), Raised::default(), "{text}");
        }
    }
}
