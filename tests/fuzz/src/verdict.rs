//! The document with a verdict that a pipeline goes by, and the question that it answers.
//!
//! What has to hold: a document is believed only if it says, field by field, what the verdict keys signed.

use std::sync::OnceLock;

use backstay_api::{SignedVerdict, VerdictError, VerdictRequest};
use backstay_trust::Keyring;

use crate::{
    Came, as_they_are, is_told,
    memory::within,
    script::{EDITED, PLAIN, Script, way},
    world::{Kind, World},
};

/// A document, and its parts.
const HELD_MAX: usize = 256 * 1024;

struct Made {
    keyring: Keyring,
    document: SignedVerdict,
    text: Vec<u8>,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let world = World::new();
        let (keyring, statement) = (world.with_verdicts(), world.statement(Kind::Verdict));
        let document = SignedVerdict::new(&keyring.verify_verdict(&statement).unwrap(), &statement);
        let text = serde_json::to_vec(&document).unwrap();
        Made { keyring, document, text }
    })
}

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 3) {
        Some((PLAIN, rest)) => {
            asks(rest.0);
            is_believed(rest.0)
        }
        Some((EDITED, mut script)) => {
            let mut text = made().text.clone();
            script.edit(&mut text);
            is_believed(&text)
        }
        Some((_, script)) => is_believed(&with_other_fields(script)),
        None => Came::Refused,
    }
}

/// The document with some fields gone, twice, or with a value of any kind.
fn with_other_fields(mut script: Script<'_>) -> Vec<u8> {
    let serde_json::Value::Object(fields) = serde_json::to_value(&made().document).unwrap() else {
        panic!("a document is an object");
    };
    let mut fields: Vec<(String, String)> =
        fields.into_iter().map(|(name, value)| (name, value.to_string())).collect();
    for _ in 0..4 {
        if script.is_empty() || fields.is_empty() {
            break;
        }
        let at = script.below(fields.len());
        match script.byte() % 4 {
            0 => drop(fields.remove(at)),
            1 => fields.push(fields[at].clone()),
            2 => fields[at].1 = serde_json::to_string(&script.text()).unwrap(),
            _ => fields[at].1 = script.text(),
        }
    }
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

fn is_believed(text: &[u8]) -> Came {
    let Made { keyring, document: honest, .. } = made();
    let believed = within(HELD_MAX, || {
        let document = SignedVerdict::read(text)?;
        document.verify(keyring).map(|verified| (document, verified))
    });
    match believed {
        Ok((document, verified)) => {
            assert_eq!(&document, honest, "the document says what nobody signed");
            assert_eq!(verified.verdict().action, honest.action);
            Came::Taken
        }
        Err(error) => {
            // What serde says of a text may quote it.
            if !matches!(error, VerdictError::Malformed(_)) {
                is_told(&error);
            }
            assert!(error.help().is_some(), "{error}: what to do?");
            Came::Refused
        }
    }
}

/// A question is read as it can be asked again.
fn asks(text: &[u8]) {
    if let Ok(asked) = within(HELD_MAX, || serde_json::from_slice::<VerdictRequest>(text)) {
        let again = serde_json::to_string(&asked).unwrap();
        assert_eq!(serde_json::from_str::<VerdictRequest>(&again).unwrap(), asked, "{again}");
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = as_they_are([&made().text]);
    seeds.push(vec![EDITED]);
    seeds.push(vec![2]);
    seeds
}
