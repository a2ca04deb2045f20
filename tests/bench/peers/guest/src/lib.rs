//! The decision tree as a plug-in for extism: the very code of policy-tree behind extism's interface instead of ours.
//!
//! extism gives a guest its input and takes its output through functions that it imports. Facts come as postcard, which is
//! the cheapest that serde has; the answer is the action as one word.
#![cfg(target_arch = "wasm32")]
#![no_std]
#![expect(unsafe_code, reason = "the interface of extism is functions that a guest imports")]

extern crate alloc;

#[path = "../../src/asked.rs"]
mod asked;

use alloc::vec::Vec;

use backstay_sdk::policy::Policy;
use policy_tree::Tree;

use crate::asked::{Asked, word};

#[link(wasm_import_module = "extism:host/env")]
unsafe extern "C" {
    fn input_length() -> u64;
    fn input_load_u8(at: u64) -> u32;
    fn input_load_u64(at: u64) -> u64;
    fn alloc(bytes: u64) -> u64;
    fn store_u8(at: u64, byte: u32);
    fn output_set(at: u64, bytes: u64);
}

/// Takes facts, answers with a word: 0, or 1 if they can't be read.
#[unsafe(no_mangle)]
pub extern "C" fn judge() -> i32 {
    let Ok(asked) = postcard::from_bytes::<Asked>(&input()) else { return 1 };
    let Ok(decided) = Tree::decide(&[], &asked.facts(), &[]) else { return 1 };
    output(word(&decided.decision.action).as_bytes());
    0
}

fn input() -> Vec<u8> {
    // SAFETY: these only read the input, and what lies beyond its end is answered with 0.
    let (length, load) = (unsafe { input_length() }, |at| unsafe { input_load_u64(at) });
    let mut bytes = Vec::with_capacity(length as usize + 8);
    let mut at = 0;
    while at + 8 <= length {
        bytes.extend(load(at).to_le_bytes());
        at += 8;
    }
    while at < length {
        // SAFETY: as above.
        bytes.push(unsafe { input_load_u8(at) } as u8);
        at += 1;
    }
    bytes
}

fn output(bytes: &[u8]) {
    // SAFETY: as many bytes are written as were asked for.
    unsafe {
        let place = alloc(bytes.len() as u64);
        for (at, byte) in bytes.iter().enumerate() {
            store_u8(place + at as u64, u32::from(*byte));
        }
        output_set(place, bytes.len() as u64);
    }
}
