//! Runs of an executor that was written with the SDK, whose author or whose host got something wrong.
//!
//! It is called natively: what the SDK refuses, it refuses on every machine.

use std::sync::atomic::{AtomicU32, Ordering};

use backstay_sdk::{
    deed,
    executor::{
        Answer, Answered, Ctx, Event, Executor, Exited, Failed, Order, Output, Refusal, Stepped, Task, both,
        step,
    },
    settings::{Description, Setting, Value},
};
use serde::Deserialize;

use super::Verdict;

/// A run that asks for two commands, one after the other.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Run {
    /// What its author does: `counts-its-calls`, `leaves-an-answer-outstanding`, `waits-for-nothing`, `asks-for-too-much`.
    author: Option<String>,
    /// What its host does before the second step: `begins-again`, `answers-what-was-not-asked`, `changes-the-settings`,
    /// `shows-another-version's-state`, `shows-half-a-state`, `shows-a-longer-state`.
    host: Option<String>,
}

/// How often an executor was called that has no business to know.
static CALLS: AtomicU32 = AtomicU32::new(0);

struct Tried;

impl Executor for Tried {
    fn describe() -> Description {
        Description { about: "Something that is tried.".into(), settings: vec![] }
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let author = match &order.task {
            Task::Heal(author) => author.as_str(),
            Task::Install(_) | Task::Confirm(_) | Task::GoHome(_) => "",
        };
        match author {
            "counts-its-calls" => {
                let calls = CALLS.fetch_add(1, Ordering::Relaxed).to_string();
                ctx.change(deed::run("one", [&calls])).await?;
            }
            "leaves-an-answer-outstanding" => {
                // Polled once and then dropped: asked for, and nobody waits for what comes of it.
                let mut one = Box::pin(ctx.change(deed::run("one", [])));
                std::future::poll_fn(|waker| {
                    let _ = one.as_mut().poll(waker);
                    std::task::Poll::Ready(())
                })
                .await;
                return Ok(());
            }
            "waits-for-nothing" => std::future::pending().await,
            "asks-for-too-much" => {
                let much = || async {
                    for n in 0..3000 {
                        ctx.look(deed::sleep(n)).await?;
                    }
                    Ok::<_, Failed>(())
                };
                let (one, other) = both(much(), much()).await;
                one.and(other)?;
            }
            _ => {
                ctx.change(deed::run("one", [])).await?;
            }
        }
        ctx.change(deed::run("two", [])).await?;
        Ok(())
    }
}

impl Run {
    pub(super) fn tried(&self) -> Verdict {
        match self.go() {
            Ok(stepped) => Verdict::Accepted(format!("{:?}", stepped.effects)),
            Err(Refusal::Configuration(problems)) => Verdict::word(format!("configuration: {problems:?}")),
            Err(Refusal::Diverged(why)) => Verdict::word(format!("diverged: {why}")),
            Err(Refusal::Unexpected(why)) => Verdict::word(format!("unexpected: {why}")),
            Err(Refusal::Bug(why)) => Verdict::word(format!("bug: {why}")),
        }
    }

    fn go(&self) -> Result<Stepped, Refusal> {
        let task = Task::Heal(self.author.clone().unwrap_or_default());
        let begin = || Event::Begin(Order { ticket: 1, fence: 1, task: task.clone() });
        let mut config = vec![Setting { name: "tries".into(), value: Value::Number(3) }];
        let mut stepped = step::<Tried>(&config, &[], begin())?;
        let mut answered = 0;
        let output = Output { bytes: b"well".to_vec(), whole: None };
        let answer = |ordinal| {
            let output = output.clone();
            Event::Answered(Answered { ordinal, answer: Answer::Exited(Exited { code: Some(0), output }) })
        };
        let mut event = answer(0);
        match self.host.as_deref() {
            None => {}
            Some("begins-again") => event = begin(),
            Some("answers-what-was-not-asked") => event = answer(1),
            Some("changes-the-settings") => config[0].value = Value::Number(4),
            // The first frame is the head: its length, its kind, and the version of what follows.
            Some("shows-another-version's-state") => stepped.state[5] += 1,
            Some("shows-half-a-state") => stepped.state.truncate(stepped.state.len() / 2),
            Some("shows-a-longer-state") => stepped.state.push(0),
            Some(host) => panic!("there is no {host}"),
        }
        // Answers until it ends: what only shows after thousands of them is looked for, too.
        loop {
            stepped = step::<Tried>(&config, &stepped.state, event)?;
            if stepped.end.is_some() {
                return Ok(stepped);
            }
            answered += 1;
            event = answer(answered);
        }
    }
}
