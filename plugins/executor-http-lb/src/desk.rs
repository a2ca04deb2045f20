//! Asking HAProxy and the commands beside it.
//!
//! Here: the two requests that the statistics page takes, waits, and how much may be said in one run. Not here: what the
//! page says (`board`), and in which order anything is done.

use alloc::{format, string::String};
use core::cell::Cell;

use backstay_sdk::{
    deed,
    executor::{Ctx, Failed, Reply, Response, Transience, permanent, transient},
    readings::Readings,
    settings::{Setting, Text},
};

use crate::{
    board::{Board, Server},
    config::{BACKEND, ENDPOINT},
};

/// The most that page and commands may say in one run, in bytes. It is kept in the run's state, which has 64 KiB, together
/// with some 100 bytes for each effect; one look more than this has room.
const SAID_BYTES_MAX: usize = 54 * 1024;
/// How often a change that doesn't show is asked for.
const TRIES: u32 = 2;

/// What the page can do to a server: `action` of its form (management guide, 9; HAProxy's stats.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// No new sessions; the check goes on.
    Drain,
    /// Traffic as the check and the weight allow it.
    Ready,
}

/// One run's way to the load balancer.
pub(crate) struct Desk<'a> {
    ctx: &'a Ctx,
    said: Cell<usize>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(ctx: &'a Ctx) -> Self {
        Self { ctx, said: Cell::new(0) }
    }

    pub(crate) fn config(&self) -> &[Setting] {
        self.ctx.config()
    }

    /// `backend/server`, as HAProxy's runtime socket and people write it.
    pub(crate) fn path(&self, server: &str) -> String {
        format!("{}/{server}", BACKEND.of(self.config()))
    }

    /// Looks at the page.
    pub(crate) async fn board(&self) -> Result<Board, Failed> {
        let backend = BACKEND.of(self.config());
        // `scope` keeps other backends away, as long as their names don't hold this one.
        let page = deed::get(ENDPOINT.of(self.config()), &format!("/;csv?scope={backend}"));
        match self.ctx.look(page).await {
            Ok(Reply::Response(Response { status: 200, body })) => {
                self.hear(body.bytes.len())?;
                Board::parse(backend, body)
            }
            Ok(Reply::Response(Response { status, body })) => {
                self.hear(body.bytes.len())?;
                Err(transient(format!("the load balancer's page answers with status {status}")))
            }
            Ok(Reply::Done | Reply::Exited(_) | Reply::Content(_) | Reply::Slots(_)) => {
                Err(permanent("the answer says nothing of a page"))
            }
            Err(trouble) => Err(trouble.about("the load balancer's page")),
        }
    }

    /// Does something to a server until the page shows that it is `done`, and gives back what the page showed last. It
    /// can be asked for again at will: a drained server is not drained twice.
    pub(crate) async fn make(
        &self,
        server: &str,
        action: Action,
        done: impl Fn(&Server) -> bool,
    ) -> Result<Board, Failed> {
        let word = match action {
            Action::Drain => "drain",
            Action::Ready => "ready",
        };
        let form = format!("s={server}&action={word}&b={}", BACKEND.of(self.config()));
        let post = deed::http(ENDPOINT.of(self.config()), "POST", "/", form.into_bytes());
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.ctx.change(post.clone()).await {
                // It answers with a redirection (303), whose target says how it went. The look after it says it better.
                Ok(Reply::Response(Response { status: 200..400, body })) => self.hear(body.bytes.len())?,
                Ok(Reply::Response(Response { status, .. })) => {
                    let why = format!(
                        "the load balancer answers \"{word}\" with status {status}: is stats admin on?"
                    );
                    return Err(transient(why));
                }
                Ok(Reply::Done | Reply::Exited(_) | Reply::Content(_) | Reply::Slots(_)) => {
                    return Err(permanent("the answer says nothing of a request"));
                }
                Err(trouble) if trouble.may_be_done() => {}
                Err(trouble) => return Err(trouble.about("the load balancer")),
            }
            let board = self.board().await?;
            let it = board.server(server)?;
            if done(it) {
                return Ok(board);
            }
            last = it.told();
        }
        Err(transient(format!("asked {TRIES} times for \"{word}\", {} is {last}", self.path(server))))
    }

    /// Looks at once, after a quarter of `span` (in ms), and at its end, until it is `done`. `false`: it wasn't in time.
    /// One look that fails is passed over as long as others follow.
    pub(crate) async fn wait(&self, span: u64, done: impl Fn(&Board) -> bool) -> Result<bool, Failed> {
        let mut found = Ok(false);
        for pause in [0, span / 4, span - span / 4] {
            self.pause(pause).await?;
            found = self.board().await.map(|board| done(&board));
            match &found {
                Ok(false) => {}
                Err(failed) if failed.transience == Transience::Transient => {}
                Ok(true) | Err(_) => break,
            }
        }
        found
    }

    /// Waits for so many ms.
    pub(crate) async fn pause(&self, ms: u64) -> Result<(), Failed> {
        self.ctx.pause(ms).await
    }

    /// Looks with the command that `setting` names, which says yes by exit code 0. Without one there is nothing to ask.
    pub(crate) async fn check<const N: usize>(&self, setting: &Text, args: [&str; N]) -> Result<(), Failed> {
        match setting.of(self.config()) {
            "" => Ok(()),
            command => match self.ctx.look(deed::run(command, args)).await {
                Ok(reply) => self.ended(command, reply),
                Err(trouble) => Err(trouble.about(&format!("the command {command}"))),
            },
        }
    }

    /// Runs a command that changes something. `Ok` also where nobody knows whether it came to its end: the next look says
    /// what came of it.
    pub(crate) async fn run<const N: usize>(&self, command: &str, args: [&str; N]) -> Result<(), Failed> {
        match self.ctx.change(deed::run(command, args)).await {
            Ok(reply) => self.ended(command, reply),
            Err(trouble) if trouble.may_be_done() => Ok(()),
            Err(trouble) => Err(trouble.about(&format!("the command {command}"))),
        }
    }

    /// Tells the server what was seen.
    pub(crate) async fn attach(&self, readings: Readings) -> Result<(), Failed> {
        self.ctx.look(readings.deed()).await?;
        Ok(())
    }

    fn ended(&self, command: &str, reply: Reply) -> Result<(), Failed> {
        let exited = reply.exited()?;
        self.hear(exited.output.bytes.len())?;
        exited.well(command).map(|_| ())
    }

    fn hear(&self, bytes: usize) -> Result<(), Failed> {
        self.said.set(self.said.get() + bytes);
        if self.said.get() > SAID_BYTES_MAX {
            return Err(permanent(format!(
                "page and commands said more than {SAID_BYTES_MAX} bytes in one run"
            )));
        }
        Ok(())
    }
}
