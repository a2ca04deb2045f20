//! Files that hold a plugin.

use backstay_model::Digest;
use backstay_trust::Bundle;

use crate::{
    Came, as_they_are, is_told,
    memory::within,
    script::{EDITED, PLAIN, Script, way},
    world::{ARTIFACT, Kind, World},
};

/// A list of at most 16 artifacts, and nothing of the parts is copied.
const HELD_MAX: usize = 2048;

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 2) {
        Some((PLAIN, rest)) => reads(rest.0),
        Some((_, script)) => is_made(script),
        None => Came::Refused,
    }
}

fn reads(bytes: &[u8]) -> Came {
    let read = within(HELD_MAX, || Bundle::decode(bytes));
    match read {
        Ok(bundle) => {
            assert_eq!(bundle.encode().unwrap(), bytes, "a bundle has one form");
            let named: Vec<&Digest> = bundle.artifacts().collect();
            assert!(named.len() <= 16);
            assert!(named.iter().all(|digest| bundle.artifact(digest).is_some()));
            Came::Taken
        }
        Err(error) => {
            is_told(&error);
            assert!(error.help().is_some(), "{error}: what to do?");
            Came::Refused
        }
    }
}

/// A bundle of any parts is read as it was made, and not if anything is missing of it or behind it.
fn is_made(mut script: Script<'_>) -> Came {
    let (release, grant) = (script.bytes(), script.bytes());
    let artifacts: Vec<&[u8]> = (0..script.below(17)).map(|_| script.bytes()).collect();
    let bundle = Bundle::new(release, grant, &artifacts);
    let mut bytes = bundle.encode().unwrap();
    assert_eq!(Bundle::decode(&bytes).as_ref(), Ok(&bundle));
    for artifact in &artifacts {
        assert_eq!(bundle.artifact(&Bundle::digest(artifact)), Some(*artifact));
    }
    let end = script.below(bytes.len());
    assert!(Bundle::decode(&bytes[..end]).is_err(), "its first {end} bytes are no bundle");
    bytes.push(script.byte());
    assert!(Bundle::decode(&bytes).is_err(), "a byte behind the end is none of it");
    bytes.pop();
    script.edit(&mut bytes);
    reads(&bytes);
    Came::Taken
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let world = World::new();
    let (release, grant) = (world.statement(Kind::PluginRelease), world.statement(Kind::Grant));
    let whole = Bundle::new(&release, &grant, &[ARTIFACT, b"code for another"]).encode().unwrap();
    let bare = Bundle::new(b"release", b"grant", &[]).encode().unwrap();
    let mut seeds = as_they_are([whole, bare]);
    seeds.push([&[EDITED, 3][..], b"abc", &[2], b"de", &[1, 4], b"code"].concat());
    seeds
}
