//! Steering as a device hears it from a broker that anybody may write to: one message after the other, in any order, again,
//! damaged, and signed by others.
//!
//! What has to hold: what is accepted was signed by the director for this cohort, generations only grow, two histories are told
//! apart, and nobody is meant by silence.

use backstay_model::{CohortId, Digest, Direction, Generation, Label, Reach, Release, Selector, Steer};
use backstay_trust::{Audience, OrderKind, Succession, Watermark, sign_order};
use backstay_wire::{decode, encode};

use crate::{
    Came,
    memory::within,
    script::Script,
    words,
    world::{World, stamp},
};

/// The most messages of one input.
const MESSAGES_MAX: usize = 6;
/// A message taken apart.
const HELD_MAX: usize = 64 * 1024;

pub(crate) fn run(input: &[u8]) -> Came {
    thread_local! {
        static WORLD: World = World::new();
    }
    WORLD.with(|world| hears(world, Script(input)))
}

fn hears(world: &World, mut script: Script<'_>) -> Came {
    let mut came = Came::Refused;
    let mut last: Option<(Watermark, Steer)> = None;
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for _ in 0..MESSAGES_MAX {
        if script.is_empty() {
            break;
        }
        let how = script.byte();
        let mut bytes = match how % 4 {
            // One that was sent before, once more.
            3 if !sent.is_empty() => script.one(&sent).clone(),
            _ => said(world, &mut script),
        };
        let mut honest = true;
        if how & 0x80 != 0 {
            let before = bytes.clone();
            script.edit(&mut bytes);
            honest = bytes == before;
        }
        let heard = within(HELD_MAX, || {
            world.keyring.verify_order(&bytes, OrderKind::SteerProduct, world.listener(), None)
        });
        let Ok(order) = heard else { continue };
        assert!(honest, "nobody signed that");
        assert_eq!(order.key(), world.director.id());
        let ours = [world.cohort_audience(), Audience::Fleet(world.fleet.clone())];
        assert!(ours.contains(order.audience()), "it is for {}", order.audience());
        let Ok(steer) = within(HELD_MAX, || decode::<Steer>(order.payload(), usize::MAX)) else { continue };
        let mark = order.watermark();
        match mark.after(last.as_ref().map(|(mark, _)| mark)) {
            Succession::Newer => {
                assert!(last.as_ref().is_none_or(|(before, _)| mark.sequence > before.sequence));
                is_meant_in_words(&steer, world);
                last = Some((mark, steer));
                came = Came::Taken;
            }
            Succession::Same => assert_eq!(last.as_ref().map(|(_, before)| before), Some(&steer)),
            Succession::Forked => {
                let (before, said) = last.as_ref().unwrap();
                assert_eq!(before.sequence, mark.sequence);
                assert_ne!(before.digest, mark.digest, "{said:?} is no other history");
            }
            Succession::Older => assert!(last.as_ref().unwrap().0.sequence > mark.sequence),
        }
        sent.push(bytes);
    }
    came
}

/// A message of the director, or of somebody who isn't.
fn said(world: &World, script: &mut Script<'_>) -> Vec<u8> {
    let generation = script.wide() % 8;
    let release = |byte| Release { digest: Digest([byte; 32]), ..words::release("1.5.0", 5) };
    let labels = ["site=basel", "line=a", "line=b"].map(|label| Label::parse(label).unwrap());
    let selector = match script.byte() % 4 {
        0 => Selector::Nobody,
        1 => Selector::All,
        _ => Selector::Labelled((0..script.byte() % 17).map(|_| script.one(&labels).clone()).collect()),
    };
    let steer = Steer {
        generation: Generation(generation),
        selector,
        release: release(script.byte()),
        back: script.flip().then(|| release(script.byte())),
        reach: Reach::new(script.wide() as u32).unwrap_or(Reach::ALL),
        direction: *script.one(&[Direction::Forward, Direction::Hold, Direction::Home]),
        frozen: script.flip(),
        policies: (0..script.byte() % 9).map(|byte| Digest([byte; 32])).collect(),
        ..words::steer()
    };
    let payload = match script.byte() {
        // Something that is signed, and no steering.
        255 => script.bytes().to_vec(),
        _ => encode(&steer).unwrap(),
    };
    let key = if script.byte() % 8 == 7 { &world.operator } else { &world.director };
    let fleet = world.fleet.clone();
    let audience = match script.byte() % 8 {
        6 => Audience::Fleet(fleet),
        7 => Audience::Cohort(fleet, CohortId::parse("another").unwrap()),
        _ => world.cohort_audience(),
    };
    sign_order(key, OrderKind::SteerProduct, audience, stamp(generation), &payload).unwrap()
}

/// That a device is meant by words alone, and a wider reach leaves nobody out.
fn is_meant_in_words(steer: &Steer, world: &World) {
    match &steer.selector {
        Selector::Labelled(labels) => {
            assert!(!steer.selector.means(&[]), "nobody is meant by silence");
            assert_eq!(steer.selector.means(labels), !labels.is_empty());
        }
        Selector::Nobody => assert!(!steer.selector.means(&[])),
        Selector::All => assert!(steer.selector.means(&[])),
    }
    let held = Reach::to_hold(&steer.rollout, &world.device);
    assert!(held > Reach::NONE && held <= Reach::ALL, "somebody is within no reach, or within none");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let said = |generation: u8| {
        let reach = [1, 2, 3, 0, 0, 0, 0, 0];
        [&[0, generation][..], &[0; 7], &[2, 2, 0, 1], &[5, 1, 4], &reach, &[0, 0, 1, 0, 0, 0]].concat()
    };
    let again = vec![3, 0];
    vec![said(1), [said(1), said(2)].concat(), [said(2), said(1), again].concat(), {
        let mut damaged = said(3);
        damaged[0] = 0x80;
        [said(1), damaged, vec![0, 9, 1]].concat()
    }]
}
