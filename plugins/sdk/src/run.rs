//! What an executor sees of a run: asking, waiting, several things at once.
//!
//! Not here: how a run is kept between two steps (`log`) and how it is taken up again ([`executor::step`]).
//!
//! [`executor::step`]: crate::executor::step

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    deed,
    executor::{
        Access, Answer, Deed, Effect, Exited, Failed, Output, Refusal, Response, SlotStatus, permanent,
        transient,
    },
    log, quote,
    settings::Setting,
};

/// How often something that only looks is asked again when the host went down in the middle of it.
const LOOKS_MAX: u32 = 3;

/// One run's way to the host: what it is set to, and how it asks.
pub struct Ctx {
    config: Vec<Setting>,
    desk: RefCell<Desk>,
}

struct Desk {
    /// Hashes of what was asked in the steps before, by ordinal.
    known: Vec<u64>,
    /// Answers by ordinal, until the run takes them. As long as what was asked in this step so far.
    answers: Vec<Slot>,
    /// What was asked for the first time.
    fresh: Vec<Effect>,
    /// The first ordinal at which something else was asked than before.
    diverged: Option<usize>,
}

enum Slot {
    Outstanding,
    Here(Box<Answer>),
    Taken,
}

/// What was asked in one step.
pub(crate) struct Fresh {
    pub(crate) fresh: Vec<Effect>,
    pub(crate) outstanding: usize,
}

impl Ctx {
    pub(crate) fn new(config: Vec<Setting>, known: Vec<u64>) -> Self {
        let desk = Desk { known, answers: Vec::new(), fresh: Vec::new(), diverged: None };
        Self { config, desk: RefCell::new(desk) }
    }

    /// The configuration, for [`settings`](crate::settings).
    #[must_use]
    pub fn config(&self) -> &[Setting] {
        &self.config
    }

    /// Asks for something that changes the target. Nothing is asked before it is first awaited.
    #[must_use = "nothing is asked before it is awaited"]
    pub fn change(&self, deed: Deed) -> Asked<'_> {
        self.ask(Access::Changes, deed)
    }

    /// Asks for something that only reads. Where the host went down in the middle it is simply asked again.
    /// Nothing is asked before it is first awaited.
    ///
    /// # Errors
    /// How it didn't work.
    pub async fn look(&self, deed: Deed) -> Result<Reply, Trouble> {
        for _ in 1..LOOKS_MAX {
            match self.ask(Access::Looks, deed.clone()).await {
                Err(Trouble::InDoubt) => {}
                Ok(reply) => return Ok(reply),
                Err(trouble) => return Err(trouble),
            }
        }
        self.ask(Access::Looks, deed).await
    }

    /// Waits for so many ms, at most an hour. A wait that was cut off has lasted long enough: it stands before a look, which
    /// will say. Who needs all of the time looks at [`deed::sleep`] instead.
    ///
    /// # Errors
    /// That the host doesn't wait.
    pub async fn pause(&self, ms: u64) -> Result<(), Failed> {
        if ms == 0 {
            return Ok(());
        }
        match self.look(deed::sleep(ms)).await {
            Ok(_) | Err(Trouble::InDoubt | Trouble::TimedOut) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    fn ask(&self, access: Access, deed: Deed) -> Asked<'_> {
        Asked { ctx: self, what: What::Unasked(access, Some(deed)) }
    }

    /// Gives the run an answer; `false` where it hasn't asked, or has the answer.
    pub(crate) fn reveal(&self, ordinal: u32, answer: Answer) -> bool {
        let mut desk = self.desk.borrow_mut();
        match desk.answers.get_mut(ordinal as usize) {
            Some(slot @ Slot::Outstanding) => {
                *slot = Slot::Here(Box::new(answer));
                true
            }
            Some(Slot::Here(_) | Slot::Taken) | None => false,
        }
    }

    /// What was asked, once the run has been polled for the last time in this step.
    pub(crate) fn finish(&self) -> Result<Fresh, Refusal> {
        let mut desk = self.desk.borrow_mut();
        let missing = (desk.answers.len() < desk.known.len()).then_some(desk.answers.len());
        if let Some(ordinal) = desk.diverged.or(missing) {
            let why = format!("effect {ordinal} isn't what it was when it was first asked for");
            return Err(Refusal::Diverged(why));
        }
        let outstanding = desk.answers.iter().filter(|slot| matches!(slot, Slot::Outstanding)).count();
        Ok(Fresh { fresh: core::mem::take(&mut desk.fresh), outstanding })
    }
}

impl Desk {
    fn ask(&mut self, access: Access, deed: Deed) -> usize {
        let at = self.answers.len();
        self.answers.push(Slot::Outstanding);
        let effect = Effect { ordinal: u32::try_from(at).unwrap_or(u32::MAX), access, deed };
        match self.known.get(at) {
            Some(&hash) if hash == log::hash(&effect) => {}
            Some(_) => self.diverged = self.diverged.or(Some(at)),
            None => self.fresh.push(effect),
        }
        at
    }
}

/// Something that is to be asked. It is when it is first awaited.
#[must_use = "nothing is asked before it is awaited"]
pub struct Asked<'a> {
    ctx: &'a Ctx,
    what: What,
}

enum What {
    Unasked(Access, Option<Deed>),
    Asked(usize),
}

impl Future for Asked<'_> {
    type Output = Result<Reply, Trouble>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let ctx = self.ctx;
        let mut desk = ctx.desk.borrow_mut();
        let at = match &mut self.what {
            What::Asked(at) => *at,
            What::Unasked(access, deed) => match deed.take() {
                Some(deed) => desk.ask(*access, deed),
                None => return Poll::Pending,
            },
        };
        self.what = What::Asked(at);
        match desk.answers.get_mut(at) {
            Some(slot @ Slot::Here(_)) => match core::mem::replace(slot, Slot::Taken) {
                Slot::Here(answer) => Poll::Ready(Reply::of(*answer)),
                Slot::Outstanding | Slot::Taken => Poll::Pending,
            },
            Some(Slot::Outstanding | Slot::Taken) | None => Poll::Pending,
        }
    }
}

/// An effect worked, or at least came back with something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done, with nothing to say.
    Done,
    /// A command ended: not always well.
    Exited(Exited),
    /// An endpoint answered: not always what was hoped for.
    Response(Response),
    /// What a file holds.
    Content(Output),
    /// What is in the slots.
    Slots(SlotStatus),
}

/// An effect didn't work. With `?` it ends the run as a failure that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It didn't work.
    Failed(Failed),
    /// It did not end in its time. It may have been done, or not, or half.
    TimedOut,
    /// The grant or the configuration doesn't have it. Nothing was done.
    Refused(String),
    /// The host went down in the middle: it may have been done, or not, or half. Look before deciding.
    InDoubt,
}

impl Reply {
    fn of(answer: Answer) -> Result<Self, Trouble> {
        match answer {
            Answer::Done => Ok(Self::Done),
            Answer::Exited(exited) => Ok(Self::Exited(exited)),
            Answer::Response(response) => Ok(Self::Response(response)),
            Answer::Content(output) => Ok(Self::Content(output)),
            Answer::Slots(slots) => Ok(Self::Slots(slots)),
            Answer::Failed(failed) => Err(Trouble::Failed(failed)),
            Answer::TimedOut => Err(Trouble::TimedOut),
            Answer::Refused(why) => Err(Trouble::Refused(why)),
            Answer::InDoubt => Err(Trouble::InDoubt),
        }
    }

    /// The output, if it went well: exit code 0, status 200 to 299, or nothing that could have gone ill.
    ///
    /// # Errors
    /// The exit code or the status.
    pub fn well(self) -> Result<Vec<u8>, Failed> {
        match self {
            Self::Done | Self::Slots(_) => Ok(Vec::new()),
            Self::Content(output) => Ok(output.bytes),
            Self::Exited(Exited { code: Some(0), output }) => Ok(output.bytes),
            Self::Exited(Exited { code: Some(code), .. }) => {
                Err(transient(format!("the command ended with exit code {code}")))
            }
            Self::Exited(Exited { code: None, .. }) => Err(transient("the command was ended by a signal")),
            Self::Response(Response { status: 200..300, body }) => Ok(body.bytes),
            Self::Response(Response { status, .. }) => {
                Err(transient(format!("the endpoint answered with status {status}")))
            }
        }
    }

    /// Whether it went well: as [`well`](Self::well) sees it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        match self {
            Self::Done | Self::Slots(_) | Self::Content(_) => true,
            Self::Exited(exited) => exited.code == Some(0),
            Self::Response(response) => matches!(response.status, 200..300),
        }
    }

    /// How a command ended, if that is what was asked for.
    ///
    /// # Errors
    /// That it was something else.
    pub fn exited(self) -> Result<Exited, Failed> {
        match self {
            Self::Exited(exited) => Ok(exited),
            Self::Done | Self::Response(_) | Self::Content(_) | Self::Slots(_) => {
                Err(permanent("the answer says nothing of a command"))
            }
        }
    }

    /// All that a file holds, if that is what was asked for.
    ///
    /// # Errors
    /// The file is longer than an answer can hold, so that only its end is known; or it was something else.
    pub fn content(self) -> Result<Vec<u8>, Failed> {
        match self {
            Self::Content(Output { bytes, whole: None }) => Ok(bytes),
            Self::Content(Output { whole: Some(_), .. }) => {
                Err(permanent("the file is longer than an answer can hold"))
            }
            Self::Done | Self::Exited(_) | Self::Response(_) | Self::Slots(_) => {
                Err(permanent("the answer says nothing of a file"))
            }
        }
    }

    /// The slots, if that is what was asked for.
    ///
    /// # Errors
    /// That it was something else.
    pub fn slots(self) -> Result<SlotStatus, Failed> {
        match self {
            Self::Slots(slots) => Ok(slots),
            Self::Done | Self::Exited(_) | Self::Response(_) | Self::Content(_) => {
                Err(permanent("the answer says nothing of slots"))
            }
        }
    }
}

impl Exited {
    /// What the command called `command` printed, if it ended with exit code 0.
    ///
    /// # Errors
    /// Its name, its exit code and the last line that it printed.
    pub fn well(self, command: &str) -> Result<Output, Failed> {
        let ended = match self.code {
            Some(0) => return Ok(self.output),
            Some(code) => format!("the command {command} ended with exit code {code}"),
            None => format!("the command {command} was ended by a signal"),
        };
        Err(transient(match quote::last_line(&self.output.bytes) {
            line if line.is_empty() => ended,
            line => format!("{ended}: {line}"),
        }))
    }
}

impl Trouble {
    /// The failure that says what was asked for, too: `what` is "the command restart", say.
    #[must_use]
    pub fn about(self, what: &str) -> Failed {
        match self {
            Self::Failed(failed) => Failed { why: format!("{what}: {}", quote::text(&failed.why)), ..failed },
            Self::TimedOut => transient(format!("{what} did not end in its time")),
            Self::Refused(why) => permanent(format!("{what} was refused: {}", quote::text(&why))),
            Self::InDoubt => transient(format!("the host went down in the middle of {what}")),
        }
    }

    /// Whether it may have been done, or half, all the same: then look before doing it again.
    #[must_use]
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::TimedOut | Self::InDoubt => true,
            Self::Failed(_) | Self::Refused(_) => false,
        }
    }
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(failed) => failed,
            Trouble::TimedOut => transient("it did not end in its time"),
            Trouble::Refused(why) => permanent(format!("refused: {why}")),
            Trouble::InDoubt => transient("the host went down in the middle"),
        }
    }
}

/// Two things at once; goes on when both are over.
pub async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut from_a, mut from_b) = (None, None);
    poll_fn(move |waker| {
        if from_a.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(waker)
        {
            from_a = Some(output);
        }
        if from_b.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(waker)
        {
            from_b = Some(output);
        }
        match (from_a.take(), from_b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (from_a, from_b) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// Several things at once; goes on when all are over, with their outputs in the order of `them`.
pub async fn all<F: Future>(them: Vec<F>) -> Vec<F::Output> {
    let mut them: Vec<_> = them.into_iter().map(|one| (Box::pin(one), None)).collect();
    poll_fn(move |waker| {
        let mut pending = false;
        for (one, output) in &mut them {
            if output.is_none() {
                match one.as_mut().poll(waker) {
                    Poll::Ready(out) => *output = Some(out),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(them.iter_mut().filter_map(|(_, output)| output.take()).collect())
    })
    .await
}
