//! The JSON schema of the two kinds of file: for editors that complete and check, and for pipelines.
//!
//! It is generated from the types that read the files, so it can't say something else. Rules across keys are only in the code:
//! what a schema accepts can still be refused by `backstay check`, never the other way round.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::file::TargetFile;

macro_rules! names {
    ($($(#[$doc:meta])* $vis:vis $name:ident, $pattern:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
        $vis struct $name(());

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )*};
}

names! {
    /// In a schema: a [`backstay_model::Name`], or an id of the same shape.
    pub NameText, "^[a-z0-9][a-z0-9-]{0,63}$";
    /// In a schema: a [`backstay_model::Version`].
    pub(crate) VersionText, "^[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}$";
}

/// The schema of a target's file.
#[must_use]
pub fn target_schema() -> Value {
    schemars::schema_for!(TargetFile).to_value()
}

/// The schema of a file whose top-level keys two types read: `one`'s own words, and the keys of both.
#[must_use]
pub fn merged<A: JsonSchema, B: JsonSchema>() -> Value {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let other = generator.root_schema_for::<B>().to_value();
    let mut one = generator.root_schema_for::<A>().to_value();
    for key in ["properties", "$defs"] {
        let more = other.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        match one.get_mut(key).and_then(Value::as_object_mut) {
            Some(object) => object.extend(more),
            None => one[key] = Value::Object(more),
        }
    }
    one
}
