//! How an object differs from what it was when it was known to be good.
//!
//! Here: which of its own keys were changed, are missing, or are too many. Not here: putting them back, which an executor does by the
//! same rule.

use serde::Serialize;

use super::{
    class::{Class, Classes},
    document::{Held, Object},
    object::Live,
};

/// By keys. Credentials are never part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// Hold something else.
    pub(crate) changed: Vec<String>,
    /// Aren't there any more.
    pub(crate) missing: Vec<String>,
    /// Weren't there.
    pub(crate) surplus: Vec<String>,
    /// Weren't there, and stay: by their names they are credentials.
    pub(crate) left_alone: Vec<String>,
}

impl Difference {
    /// What has become of `good`.
    pub(crate) fn of(good: &Object, classes: &Classes, live: &Live) -> Self {
        let mut difference = Self::default();
        for (key, Held(wanted)) in &good.configuration {
            match live.keys.get(key) {
                Some(found) if found == wanted => {}
                Some(_) => difference.changed.push(key.clone()),
                None => difference.missing.push(key.clone()),
            }
        }
        let known = |key: &String| good.configuration.contains_key(key) || good.credentials.contains(key);
        for key in live.keys.keys().filter(|key| !known(key)) {
            match classes.of_name(&good.id, key) {
                Class::Configuration => difference.surplus.push(key.clone()),
                Class::Credential => difference.left_alone.push(key.clone()),
            }
        }
        difference
    }

    /// Whether there is nothing to put back.
    pub(crate) fn is_none(&self) -> bool {
        let Self { changed, missing, surplus, left_alone: _ } = self;
        changed.is_empty() && missing.is_empty() && surplus.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            document::tests::{classes, document, live, text},
            object::{Content, Kind},
        },
        *,
    };

    #[test]
    fn a_difference_is_of_configuration_alone() {
        let classes = classes();
        let document = document(&classes);
        let config = |keys: &[(&str, Content)]| {
            Difference::of(&document.objects[0], &classes, &live(Kind::ConfigMap, keys))
        };
        let good = [
            ("app.properties", text("mode=safe\ntimeout=5\n")),
            ("logo.png", Content::Bytes(vec![0x89, 0xff])),
            ("mode", text("safe")),
        ];
        assert!(config(&good).is_none(), "a credential that is gone is none");
        let rotated = [&good[..], &[("db-password", text("hunter4")), ("new-token", text("x"))]].concat();
        let difference = config(&rotated);
        assert!(difference.is_none());
        assert_eq!(difference.left_alone, ["new-token"]);
        let drifted = [
            ("app.properties", text("mode=fast\n")),
            ("mode", Content::Bytes(b"safe".to_vec())),
            ("x", text("")),
        ];
        let Difference { changed, missing, surplus, left_alone } = config(&drifted);
        assert_eq!(
            (changed, missing),
            (vec!["app.properties".into(), "mode".into()], vec!["logo.png".into()])
        );
        assert_eq!((surplus, left_alone), (vec!["x".to_owned()], vec![]));
    }

    /// Of a Secret only what a person called configuration is compared; nothing else is too much in it.
    #[test]
    fn of_a_secret_only_named_keys_count() {
        let classes = classes();
        let document = document(&classes);
        let keys = [("app.yaml", text("a: 2")), ("other", text("x"))];
        let difference = Difference::of(&document.objects[1], &classes, &live(Kind::Secret, &keys));
        assert_eq!(difference.changed, ["app.yaml"]);
        assert_eq!((difference.surplus.len(), difference.left_alone), (0, vec!["other".to_owned()]));
    }
}
