//! What an executor asks for: effects within bounds, granted, and none that is passed off as another.

use std::path::{Component, Path};

use backstay_host::testing::{step_to, stepped, steps};
use backstay_model::{Access, Deed, Name, Outcome, SlotDeed};
use backstay_trust::{Limits, Permissions};

use crate::{
    Came, as_they_are, is_told_text,
    memory::within,
    script::{EDITED, INSIDE, PLAIN, way},
};

/// What 2 KiB become, and what is made of them.
const HELD_MAX: usize = 1 << 20;
const LIMITS: Limits = Limits { state_bytes: 64, effects_per_step: 4, ..Limits::DEFAULT };

fn granted() -> Permissions {
    let it = || vec![Name::parse("it").unwrap()];
    Permissions { endpoints: it(), commands: it(), topics: it(), paths: vec!["/it".into()], slots: true }
}

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 3) {
        Some((PLAIN, rest)) => asks(rest.0),
        Some((EDITED, mut script)) => {
            let mut step = script.one(&steps()).clone();
            script.edit(&mut step);
            asks(&step)
        }
        // A path of any kind at an endpoint that is granted.
        Some((_, rest)) => std::str::from_utf8(rest.0).map_or(Came::Refused, |path| asks(&step_to(path))),
        None => Came::Refused,
    }
}

fn asks(bytes: &[u8]) -> Came {
    let permissions = granted();
    let Some(said) = within(HELD_MAX, || stepped(bytes, &LIMITS, &permissions)) else { return Came::Refused };
    let stepped = match said {
        Ok(stepped) => stepped,
        Err(why) => {
            is_told_text(&why);
            return Came::Refused;
        }
    };
    assert!(stepped.state.len() <= 64 && stepped.effects.len() <= 4);
    assert!(stepped.end.is_none() || stepped.effects.is_empty(), "a run that has ended asks for nothing");
    if let Some(Outcome::Failed { why, .. }) = &stepped.end {
        assert!(why.len() <= 256 && !why.contains(|c: char| c.is_control()));
    }
    let ordinals: Vec<u32> = stepped.effects.iter().map(|effect| effect.ordinal).collect();
    assert!(ordinals.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1])), "{ordinals:?}");
    for effect in &stepped.effects {
        is_granted(&effect.deed, effect.access);
    }
    Came::Taken
}

/// That an effect is what was granted, worked out in another way than by who granted it.
fn is_granted(deed: &Deed, access: Access) {
    let changes = access == Access::Changes;
    match deed {
        Deed::Http { endpoint, method, path, body } => {
            assert_eq!(endpoint.as_str(), "it");
            assert!(changes || ["GET", "HEAD"].contains(&method.as_str()), "{method} is no look");
            assert!(body.len() <= 64 << 10);
            stays_below(path);
        }
        Deed::Run { command, args } => {
            assert_eq!(command.as_str(), "it");
            assert!(args.len() <= 32 && args.iter().all(|arg| arg.len() <= 1024 && !arg.contains('\0')));
        }
        Deed::Slot(slot) => assert!(changes || *slot == SlotDeed::Status),
        Deed::File { path, content } => {
            assert!(changes || content.is_none());
            let path = Path::new(path);
            assert!(path.starts_with("/it"), "{path:?} is not below what was granted");
            let mut levels = path.components();
            assert_eq!(levels.next(), Some(Component::RootDir));
            assert!(levels.all(|level| matches!(level, Component::Normal(_))), "{path:?} leads elsewhere");
        }
        Deed::Publish { topic, payload } => {
            assert!(changes && topic.as_str() == "it" && payload.len() <= 4096);
        }
        Deed::Sleep { span } => assert!(span.0 <= 3_600_000),
        Deed::Attach { content, .. } => assert!(content.len() <= 4096),
    }
}

/// That no server finds a way out of the endpoint in a path, be it decoded never, once or twice.
fn stays_below(path: &str) {
    assert!(path.starts_with('/') && !path.starts_with("//"), "{path:?} names another server");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{path:?} is no path");
    let mut route = path.split(['?', '#']).next().unwrap_or_default().as_bytes().to_vec();
    for times in 0..3 {
        for level in route.split(|byte| matches!(byte, b'/' | b'\\')) {
            let name = level.split(|byte| *byte == b';').next().unwrap_or_default();
            assert!(
                !matches!(name, b"." | b".."),
                "{path:?} leads out of its endpoint, decoded {times} times"
            );
        }
        route = decoded(&route);
    }
}

/// RFC 3986, 2.1: what isn't `%` and two digits stands for itself.
fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path);
    while let Some((first, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            _ => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = as_they_are(steps());
    for path in ["/v1/it?all#/data/*", "/a%20b/c", "/a..b/.c/", "/a/%252e"] {
        seeds.push([&[INSIDE], path.as_bytes()].concat());
    }
    seeds
}
