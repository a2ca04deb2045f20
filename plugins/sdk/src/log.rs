//! The state of a run: its order, what was asked, what was answered. Append-only.
//!
//! Frames, each with its length before it (u32, little endian): first the head (format, hash of the
//! configuration, order), then for each thing asked its hash, and for each answer its ordinal and what it says.
//! What was asked is not kept itself: the run asks the same again, and the hash is the proof.

mod frame;

use alloc::{format, vec::Vec};

use self::frame::{Reader, Writer};
use crate::{
    executor::{Answer, Answered, Effect, Exited, Failed, Order, Output, Refusal, Response, Transience},
    settings::Setting,
};

/// The first byte of the head. Another layout gets another number.
const FORMAT: u8 = 1;
/// The most that the state can hold, as the contract has it.
const STATE_BYTES_MAX: usize = 65_536;
/// So much of it is kept free of long answers: for what a run asks and hears on its way to its end.
const SPARE_BYTES: usize = 4096;
/// An answer that is no longer is kept wherever it fits: it may say what became of a change.
const SMALL_BYTES_MAX: usize = 512;
/// The most that is kept of one output. The host keeps to the same; this guards against one that doesn't.
const OUTPUT_BYTES_MAX: usize = 4096;
/// The most that is kept of an endpoint's answer, which may have been reduced to fields.
const RESPONSE_BYTES_MAX: usize = 32 * 1024;

const HEAD: u8 = 0;
const ASKED: u8 = 1;
const ANSWERED: u8 = 2;

/// A run's state, open.
pub(crate) struct Log {
    bytes: Vec<u8>,
    order: Order,
    asked: Vec<u64>,
    answers: Vec<Answered>,
}

impl Log {
    pub(crate) fn begin(order: Order, config: &[Setting]) -> Self {
        let mut head = Writer::default();
        head.u8(HEAD);
        head.u8(FORMAT);
        head.u64(hash_of_config(config));
        head.order(&order);
        let mut log = Self { bytes: Vec::new(), order, asked: Vec::new(), answers: Vec::new() };
        log.push(&head.0);
        log
    }

    pub(crate) fn read(state: &[u8], config: &[Setting]) -> Result<Self, Refusal> {
        let torn = || Refusal::Diverged("the state can't be read: it was written by something else".into());
        let mut frames = Reader(state);
        let mut head = Reader(frames.bytes().ok_or_else(torn)?);
        if (head.u8(), head.u8()) != (Some(HEAD), Some(FORMAT)) {
            return Err(torn());
        }
        if head.u64() != Some(hash_of_config(config)) {
            return Err(Refusal::Diverged("the configuration was changed in mid-run".into()));
        }
        let order = head.order().ok_or_else(torn)?;
        let (mut asked, mut answers) = (Vec::new(), Vec::new());
        while !frames.0.is_empty() {
            let mut frame = Reader(frames.bytes().ok_or_else(torn)?);
            match frame.u8() {
                Some(ASKED) => asked.push(frame.u64().ok_or_else(torn)?),
                Some(ANSWERED) => answers.push(frame.answered().ok_or_else(torn)?),
                Some(_) | None => return Err(torn()),
            }
            if !frame.0.is_empty() {
                return Err(torn());
            }
        }
        Ok(Self { bytes: state.to_vec(), order, asked, answers })
    }

    /// Writes an answer down. One that is there already changes nothing: an answer may come twice.
    pub(crate) fn answered(&mut self, mut answered: Answered) -> Result<(), Refusal> {
        let ordinal = answered.ordinal;
        if ordinal as usize >= self.asked.len() {
            return Err(Refusal::Unexpected(format!("effect {ordinal} was never asked for")));
        }
        if self.answers.iter().any(|known| known.ordinal == ordinal) {
            return Ok(());
        }
        match &mut answered.answer {
            Answer::Exited(Exited { output, .. }) | Answer::Content(output) => cut(output, OUTPUT_BYTES_MAX),
            Answer::Response(Response { body, .. }) => cut(body, RESPONSE_BYTES_MAX),
            Answer::Done
            | Answer::Slots(_)
            | Answer::Failed(_)
            | Answer::TimedOut
            | Answer::Refused(_)
            | Answer::InDoubt => {}
        }
        let mut frame = framed(&answered);
        // Whoever asked is told, and the run ends in its own words: it isn't a bug of the executor that others say much.
        if frame.0.len() > SMALL_BYTES_MAX && self.bytes.len() + frame.0.len() > STATE_BYTES_MAX - SPARE_BYTES
        {
            let why = format!("its {} bytes find no room any more in what a run can keep", frame.0.len());
            answered.answer = Answer::Failed(Failed { transience: Transience::Permanent, why });
            frame = framed(&answered);
        }
        self.push(&frame.0);
        self.answers.push(answered);
        Ok(())
    }

    pub(crate) fn order(&self) -> &Order {
        &self.order
    }

    pub(crate) fn take_asked(&mut self) -> Vec<u64> {
        core::mem::take(&mut self.asked)
    }

    pub(crate) fn take_answers(&mut self) -> Vec<Answered> {
        core::mem::take(&mut self.answers)
    }

    /// The state, with what was asked for the first time.
    pub(crate) fn close(mut self, fresh: &[Effect]) -> Result<Vec<u8>, Refusal> {
        for effect in fresh {
            let mut frame = Writer::default();
            frame.u8(ASKED);
            frame.u64(hash(effect));
            self.push(&frame.0);
        }
        if self.bytes.len() > STATE_BYTES_MAX {
            let why = format!("the run's state has {} bytes of {STATE_BYTES_MAX}", self.bytes.len());
            return Err(Refusal::Bug(why));
        }
        Ok(self.bytes)
    }

    fn push(&mut self, frame: &[u8]) {
        let mut bytes = Writer(core::mem::take(&mut self.bytes));
        bytes.bytes(frame);
        self.bytes = bytes.0;
    }
}

fn framed(answered: &Answered) -> Writer {
    let mut frame = Writer::default();
    frame.u8(ANSWERED);
    frame.answered(answered);
    frame
}

/// Keeps the end.
fn cut(output: &mut Output, bytes_max: usize) {
    let over = output.bytes.len().saturating_sub(bytes_max);
    output.bytes.drain(..over);
}

/// What an effect is, in eight bytes: FNV-1a. It finds mistakes, not enemies: a plugin can only fool itself.
pub(crate) fn hash(effect: &Effect) -> u64 {
    let mut bytes = Writer::default();
    bytes.effect(effect);
    fnv(&bytes.0)
}

fn hash_of_config(config: &[Setting]) -> u64 {
    let mut bytes = Writer::default();
    for Setting { name, value } in config {
        bytes.text(name);
        bytes.value(value);
    }
    fnv(&bytes.0)
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
