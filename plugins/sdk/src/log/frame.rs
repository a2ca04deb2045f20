//! How what a run keeps is written as bytes, and read again: numbers little endian, what has a length with that before it.
//!
//! Not here: which frames there are, and how much is kept of an answer (`log`).

use alloc::{string::String, vec::Vec};

use crate::{
    executor::{
        Access, Answer, Answered, Attach, Deed, Effect, Exited, Failed, File, Http, Order, Output, Publish,
        Release, Response, Run, Slot, SlotStatus, Task, Transience,
    },
    settings::Value,
};

/// Puts at the end.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, number: u8) {
        self.0.push(number);
    }
    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
    pub(super) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        // In a 32-bit memory no length is larger; natively, `close` refuses such a state.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
    }
    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
    fn option<T>(&mut self, option: Option<&T>, some: impl FnOnce(&mut Self, &T)) {
        self.u8(option.is_some().into());
        if let Some(value) = option {
            some(self, value);
        }
    }
    pub(super) fn value(&mut self, value: &Value) {
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
    pub(super) fn order(&mut self, order: &Order) {
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
    pub(super) fn effect(&mut self, effect: &Effect) {
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
    pub(super) fn answered(&mut self, answered: &Answered) {
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
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        let (bytes, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        Some(bytes)
    }
    pub(super) fn text(&mut self) -> Option<String> {
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
    pub(super) fn order(&mut self) -> Option<Order> {
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
    pub(super) fn answered(&mut self) -> Option<Answered> {
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
