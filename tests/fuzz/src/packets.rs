//! What a broker says, from its first byte on.
//!
//! What has to hold: what is heard is the same in whatever pieces it comes; little memory is taken, whatever a packet says of its length; an
//! answer is to something that was asked, and comes once; and why the connection ended is told.

use std::sync::OnceLock;

use backstay_link::{
    Token, Trouble,
    testing::{Said, listen},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Came, as_they_are, is_told,
    memory::within,
    script::{EDITED, PLAIN, way},
};

/// The least that a link can be told to read at most.
const PACKET_MAX: usize = 8 * 1024;
/// A packet, the room for the next, and what is heard of the longest input, twice.
const HELD_MAX: usize = 256 * 1024;

const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const SUBACK: &[u8] = &[0x90, 3, 0, 1, 1];
const PUBACK: &[u8] = &[0x40, 2, 0, 2];
const PINGRESP: &[u8] = &[0xd0, 0];
/// With QoS 1, kept.
const MESSAGE: &[u8] = &[0x33, 9, 0, 3, b'a', b'/', b'b', 0, 7, b'h', b'i'];

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 2) {
        Some((PLAIN, rest)) => hears(rest.0),
        Some((EDITED, mut script)) => {
            let mut bytes = usual();
            script.edit(&mut bytes);
            hears(&bytes)
        }
        Some(_) | None => Came::Refused,
    }
}

fn usual() -> Vec<u8> {
    [CONNACK, SUBACK, MESSAGE, PUBACK, PINGRESP, MESSAGE].concat()
}

fn hears(bytes: &[u8]) -> Came {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().build().unwrap());
    let heard = |piece| within(HELD_MAX, || runtime.block_on(listen(bytes, piece, PACKET_MAX)).unwrap());
    let (said, why) = heard(bytes.len());
    is_told(&why);
    for piece in [1, 7] {
        let (again, other) = heard(piece);
        assert_eq!((&again, other.to_string()), (&said, why.to_string()), "in pieces of {piece}");
    }
    assert!(
        matches!(
            why,
            Trouble::Closed | Trouble::Refused { .. } | Trouble::Oversize { .. } | Trouble::Protocol { .. }
        ),
        "{why}"
    );

    for token in [1, 2].map(Token) {
        assert!(said.iter().filter(|said| **said == Said::Acked(token)).count() <= 1, "{said:?}");
    }
    let answers: Vec<_> = said.iter().filter(|said| matches!(said, Said::Subscribed(_))).collect();
    assert!(answers.len() <= 1, "{answers:?}");
    for said in &said {
        match said {
            Said::Message(message, _) => assert!(message.payload.len() < bytes.len()),
            Said::Acked(token) => assert!([1, 2].map(Token).contains(token)),
            Said::Subscribed(lets_us) => assert_eq!(lets_us.len(), 1),
            Said::Alive => {}
        }
    }
    if said.is_empty() { Came::Refused } else { Came::Taken }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let declined = [CONNACK, &[0x90, 3, 0, 1, 0x80], MESSAGE].concat();
    let large = [CONNACK, MESSAGE, &[0x30, 0xff, 0xff, 0xff, 0x7f]].concat();
    let twice = [CONNACK, MESSAGE, &[0x34, 9, 0, 3, b'a', b'/', b'b', 0, 7, b'h', b'i']].concat();
    let mut seeds = as_they_are([usual(), declined, large, twice]);
    seeds.push(vec![EDITED]);
    seeds
}
