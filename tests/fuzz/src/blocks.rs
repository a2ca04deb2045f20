//! The index of an artifact's blocks, and what is stored of a block: whoever has the file may have written both.
//!
//! What has to hold: only bytes that are whole and about this artifact are an index; what it says lies one behind the other behind
//! it and asks for no more than a block; nothing passes for a block that hasn't the key that the index has for it; and a plan
//! takes from here only what was found here, and fetches each byte once.

use std::{io::Cursor, sync::OnceLock};

use backstay_blocks::{Found, HISTORY_BYTES, Index, Place, Plan, Search, Shape, Step, write};
use backstay_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    Came, is_told,
    memory::within,
    script::{EDITED, INSIDE, PLAIN, Script, way},
};

/// The shortest artifact that has blocks: its index is the shortest.
const LENGTH: u64 = 1 << 20;
/// An index as it came, and once more; and what is unpacked.
const HELD_MAX: usize = 256 * 1024;
/// The digest of what an index of ours is about begins here, and its sum is the last of it.
const DIGEST_AT: usize = 8;
const SUM_BYTES: usize = 32;

/// An artifact in which blocks are alike and others aren't, and its file of blocks.
struct Sample {
    artifact: Vec<u8>,
    digest: Digest,
    file: Vec<u8>,
    index_bytes: usize,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let byte =
            |at: u64| if at & 0x4000 == 0 { at as u8 } else { (at.wrapping_mul(0x9E37_79B9) >> 13) as u8 };
        let artifact: Vec<u8> = (0..LENGTH).map(byte).collect();
        let mut file = Cursor::new(Vec::new());
        write(&mut artifact.as_slice(), LENGTH, &mut file).unwrap();
        let digest = Digest(Sha256::digest(&artifact).into());
        let index_bytes = Shape::of(LENGTH).unwrap().index_bytes();
        Sample { artifact, digest, file: file.into_inner(), index_bytes }
    })
}

pub(crate) fn run(input: &[u8]) -> Came {
    let Sample { file, index_bytes, .. } = sample();
    let honest = &file[..*index_bytes];
    match way(input, 3) {
        Some((PLAIN, rest)) => reads(rest.0.to_vec(), &[]),
        // Somewhere in it something is another: its own sum finds that.
        Some((EDITED, mut script)) => {
            let mut bytes = honest.to_vec();
            script.edit(&mut bytes);
            if bytes != honest {
                let read = Index::read(bytes, &sample().digest, LENGTH);
                is_told(&read.expect_err("a damaged index was read"));
                return Came::Refused;
            }
            reads(bytes, &[])
        }
        // Whoever lies makes the sum anew. What is stored of a block is behind that.
        Some((INSIDE, mut script)) => {
            let mut bytes = honest.to_vec();
            let mut edits = Script(script.bytes());
            edits.edit(&mut bytes);
            bytes.resize(*index_bytes, 0);
            let (told, sum) = bytes.split_at_mut(index_bytes - SUM_BYTES);
            sum.copy_from_slice(&Sha256::digest(&*told));
            reads(bytes, script.0)
        }
        _ => Came::Refused,
    }
}

fn reads(bytes: Vec<u8>, rest: &[u8]) -> Came {
    let Sample { artifact, digest, file, index_bytes } = sample();
    let told = bytes.get(DIGEST_AT..DIGEST_AT + 32).map(<[u8]>::to_vec);
    let index = match within(HELD_MAX, || Index::read(bytes, digest, LENGTH)) {
        Ok(index) => index,
        Err(why) => {
            is_told(&why);
            return Came::Refused;
        }
    };
    assert_eq!(told.as_deref(), Some(digest.0.as_slice()), "it is about another artifact");
    let (shape, mut at) = (index.shape(), *index_bytes as u64);
    for block in 0..shape.blocks() {
        let place = index.place(block..block + 1);
        assert_eq!((place.start, place.end), (at, at + index.stored(block) as u64), "block {block}");
        assert!(index.stored(block) <= 64 * 1024, "block {block}");
        at = place.end;
    }
    assert_eq!((index.stored(shape.blocks()), index.stored(u32::MAX)), (0, 0), "there is no such block");

    let mut script = Script(rest);
    is_planned(&index, artifact, &mut script);
    let block = script.below(shape.blocks() as usize) as u32;
    let place = shape.place(block);
    let (from, end) = (place.start as usize, place.end as usize);
    let history = from.min(HISTORY_BYTES);
    let mut stored = file.get(index.place(block..block + 1).start as usize..).unwrap_or_default().to_vec();
    stored.truncate(index.stored(block));
    script.edit(&mut stored);
    let mut buffer = artifact[from - history..from].to_vec();
    buffer.resize(history + end - from, 0);
    match within(HELD_MAX, || index.unpack(block, &stored, &mut buffer, history)) {
        Ok(()) => {
            assert!(index.is_block(block, &buffer[history..]), "block {block} isn't what its key says");
            let right = &artifact[from..end];
            let has_its_key = index.is_block(block, right);
            assert!(!has_its_key || buffer[history..] == *right, "block {block} passes for the right one");
        }
        Err(why) => is_told(&why),
    }
    assert_eq!(buffer[..history], artifact[from - history..from], "what went before was written over");
    Came::Taken
}

/// The way to the artifact for whoever has some blocks of it: from block to block, and nothing is here that wasn't found.
fn is_planned(index: &Index, artifact: &[u8], script: &mut Script<'_>) {
    let (shape, blocks) = (index.shape(), index.shape().blocks());
    let (found, old) = found(index, artifact, script);
    let from = script.below(blocks as usize + 1) as u32;
    let plan = within(HELD_MAX, || Plan::new(index, &found, from));
    let (mut at, mut carried, mut requests) = (from, 0, 0);
    for step in &plan.steps {
        let (Step::Here(of) | Step::Fetch(of)) = step;
        assert!(of.start == at && of.start < of.end, "{step:?} follows block {at}");
        at = of.end;
        if let Step::Fetch(of) = step {
            let place = index.place(of.clone());
            (carried, requests) = (carried + (place.end - place.start), requests + 1);
            continue;
        }
        for block in of.clone() {
            let is_here = match found.place(block) {
                Place::Nowhere => false,
                Place::Zeros => index.is_block(block, &vec![0; shape.block_bytes()]),
                Place::Old(number) => index.is_block(block, old[number as usize]),
            };
            assert!(is_here, "block {block} isn't here");
        }
    }
    assert_eq!((at, plan.carried, plan.requests), (blocks, carried, requests));
}

/// What is found of an index in some blocks of the artifact, and those blocks.
fn found<'a>(index: &Index, artifact: &'a [u8], script: &mut Script<'_>) -> (Found, Vec<&'a [u8]>) {
    let mut search = Search::new(index);
    let mut old = Vec::new();
    for number in 0..u32::from(script.byte() % 8) {
        let place = index.shape().place(u32::from(script.byte()));
        let block = &artifact[place.start as usize..place.end as usize];
        search.look(number, block);
        old.push(block);
    }
    (search.end(), old)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let Sample { file, index_bytes, .. } = sample();
    let plain = [&[PLAIN], &file[..*index_bytes]].concat();
    // No edit of the index, two blocks that are here already, the way from the first on, and then a block: the first, one that
    // is packed, one that isn't.
    let blocks = [0, 3, 5, 255].map(|block| vec![INSIDE, 0, 2, 5, 9, 0, 0, block]);
    [plain, vec![EDITED]].into_iter().chain(blocks).collect()
}
