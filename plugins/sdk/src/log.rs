//! The state of a run: its order, what was asked, what was answered. Append-only.
//!
//! Frames, each with its length before it (u32, little endian): first the head (format, hash of the
//! configuration, order), then for each thing asked its hash, and for each answer its ordinal and what it says.
//! What was asked is not kept itself: the run asks the same again, and the hash is the proof.

use alloc::{format, string::String, vec::Vec};

use crate::{
    executor::{
        Access, Answer, Answered, Attach, Deed, Effect, Exited, Failed, File, Http, Order, Output, Publish,
        Refusal, Release, Response, Run, Slot, SlotStatus, Task, Transience,
    },
    settings::{Setting, Value},
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

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, number: u8) {
        self.0.push(number);
    }
    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
    fn bytes(&mut self, bytes: &[u8]) {
        // In a 32-bit memory no length is larger; natively, `close` refuses such a state.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
    }
    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
    fn option<T>(&mut self, option: Option<&T>, some: impl FnOnce(&mut Self, &T)) {
        self.u8(option.is_some().into());
        if let Some(value) = option {
            some(self, value);
        }
    }
    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => {
                self.u8(0);
                self.text(text);
            }
            Value::Number(number) => {
                self.u8(1);
                self.u64(number.cast_unsigned());
            }
            Value::Flag(flag) => {
                self.u8(2);
                self.u8((*flag).into());
            }
            Value::Texts(texts) => {
                self.u8(3);
                self.u32(u32::try_from(texts.len()).unwrap_or(u32::MAX));
                texts.iter().for_each(|text| self.text(text));
            }
        }
    }
    fn release(&mut self, release: &Release) {
        self.text(&release.version);
        self.text(&release.digest);
        self.u64(release.length);
        self.u32(release.security_epoch);
    }
    fn order(&mut self, order: &Order) {
        self.u64(order.ticket);
        self.u64(order.fence);
        match &order.task {
            Task::Install(release) => {
                self.u8(0);
                self.release(release);
            }
            Task::Confirm(release) => {
                self.u8(1);
                self.release(release);
            }
            Task::GoHome(release) => {
                self.u8(2);
                self.release(release);
            }
            Task::Heal(playbook) => {
                self.u8(3);
                self.text(playbook);
            }
        }
    }
    fn effect(&mut self, effect: &Effect) {
        self.u8(match effect.access {
            Access::Looks => 0,
            Access::Changes => 1,
        });
        match &effect.deed {
            Deed::Http(Http { endpoint, method, path, body }) => {
                self.u8(0);
                self.text(endpoint);
                self.text(method);
                self.text(path);
                self.bytes(body);
            }
            Deed::Run(Run { command, args }) => {
                self.u8(1);
                self.text(command);
                args.iter().for_each(|arg| self.text(arg));
            }
            Deed::Slot(Slot::Status) => self.u8(2),
            Deed::Slot(Slot::Stage(release)) => {
                self.u8(3);
                self.release(release);
            }
            Deed::Slot(Slot::TryNext(release)) => {
                self.u8(4);
                self.release(release);
            }
            Deed::Slot(Slot::Confirm(release)) => {
                self.u8(5);
                self.release(release);
            }
            Deed::Slot(Slot::GoHome(release)) => {
                self.u8(6);
                self.release(release);
            }
            Deed::File(File { path, content }) => {
                self.u8(7);
                self.text(path);
                self.option(content.as_ref(), |to, content| to.bytes(content));
            }
            Deed::Publish(Publish { topic, payload }) => {
                self.u8(8);
                self.text(topic);
                self.bytes(payload);
            }
            Deed::Sleep(ms) => {
                self.u8(9);
                self.u64(*ms);
            }
            Deed::Attach(Attach { name, content }) => {
                self.u8(10);
                self.text(name);
                self.bytes(content);
            }
        }
    }
    fn output(&mut self, output: &Output) {
        self.bytes(&output.bytes);
        self.option(output.whole.as_ref(), |to, digest| to.text(digest));
    }
    fn answered(&mut self, answered: &Answered) {
        self.u32(answered.ordinal);
        match &answered.answer {
            Answer::Done => self.u8(0),
            Answer::Exited(Exited { code, output }) => {
                self.u8(1);
                self.option(code.as_ref(), |to, code| to.u32(code.cast_unsigned()));
                self.output(output);
            }
            Answer::Response(Response { status, body }) => {
                self.u8(2);
                self.u32((*status).into());
                self.output(body);
            }
            Answer::Content(output) => {
                self.u8(3);
                self.output(output);
            }
            Answer::Slots(SlotStatus { booted, confirmed, other, trying }) => {
                self.u8(4);
                self.release(booted);
                self.release(confirmed);
                self.option(other.as_ref(), Self::release);
                self.option(trying.as_ref(), Self::release);
            }
            Answer::Failed(Failed { transience, why }) => {
                self.u8(match transience {
                    Transience::Transient => 5,
                    Transience::Permanent => 6,
                });
                self.text(why);
            }
            Answer::TimedOut => self.u8(7),
            Answer::Refused(why) => {
                self.u8(8);
                self.text(why);
            }
            Answer::InDoubt => self.u8(9),
        }
    }
}

/// Takes from the front; `None` where there isn't what is wanted.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        let (bytes, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        Some(bytes)
    }
    fn text(&mut self) -> Option<String> {
        core::str::from_utf8(self.bytes()?).ok().map(String::from)
    }
    fn option<T>(&mut self, some: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => some(self).map(Some),
            _ => None,
        }
    }
    fn release(&mut self) -> Option<Release> {
        let (version, digest) = (self.text()?, self.text()?);
        Some(Release { version, digest, length: self.u64()?, security_epoch: self.u32()? })
    }
    fn order(&mut self) -> Option<Order> {
        let (ticket, fence) = (self.u64()?, self.u64()?);
        let task = match self.u8()? {
            0 => Task::Install(self.release()?),
            1 => Task::Confirm(self.release()?),
            2 => Task::GoHome(self.release()?),
            3 => Task::Heal(self.text()?),
            _ => return None,
        };
        Some(Order { ticket, fence, task })
    }
    fn output(&mut self) -> Option<Output> {
        Some(Output { bytes: self.bytes()?.to_vec(), whole: self.option(Self::text)? })
    }
    fn answered(&mut self) -> Option<Answered> {
        let ordinal = self.u32()?;
        let answer = match self.u8()? {
            0 => Answer::Done,
            1 => {
                let code = self.option(Self::u32)?.map(u32::cast_signed);
                Answer::Exited(Exited { code, output: self.output()? })
            }
            2 => {
                let status = u16::try_from(self.u32()?).ok()?;
                Answer::Response(Response { status, body: self.output()? })
            }
            3 => Answer::Content(self.output()?),
            4 => Answer::Slots(SlotStatus {
                booted: self.release()?,
                confirmed: self.release()?,
                other: self.option(Self::release)?,
                trying: self.option(Self::release)?,
            }),
            5 => Answer::Failed(Failed { transience: Transience::Transient, why: self.text()? }),
            6 => Answer::Failed(Failed { transience: Transience::Permanent, why: self.text()? }),
            7 => Answer::TimedOut,
            8 => Answer::Refused(self.text()?),
            9 => Answer::InDoubt,
            _ => return None,
        };
        Some(Answered { ordinal, answer })
    }
}
