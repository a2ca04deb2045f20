//! Runs that are cut off, answered late, twice, or in another order.

use alloc::{vec, vec::Vec};
use core::future;

use super::*;
use crate::{
    deed,
    settings::{Description, Setting, Value},
    testing::Run,
};

fn order() -> Order {
    Order { ticket: 7, fence: 1, task: Task::Heal("flush".into()) }
}

fn answer(ordinal: u32, answer: Answer) -> Event {
    Event::Answered(Answered { ordinal, answer })
}

fn exited(code: i32) -> Answer {
    Answer::Exited(Exited { code: Some(code), output: Output { bytes: b"ok".to_vec(), whole: None } })
}

fn nothing() -> Description {
    Description { about: "For a test.".into(), settings: Vec::new() }
}

/// Looks, and changes something if that went well.
struct Careful;
impl Executor for Careful {
    fn describe() -> Description {
        nothing()
    }
    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        ctx.look(deed::run("uptime", [])).await?.well()?;
        ctx.change(deed::run("flush", ["--all"])).await?.well()?;
        Ok(())
    }
}

#[test]
fn a_run_goes_on_where_it_stood() {
    let begun = step::<Careful>(&[], &[], Event::Begin(order())).unwrap();
    assert_eq!(begun.effects.len(), 1);
    assert_eq!(begun.effects[0].access, Access::Looks);
    let looked = step::<Careful>(&[], &begun.state, answer(0, exited(0))).unwrap();
    assert_eq!(looked.effects.len(), 1);
    assert_eq!((looked.effects[0].ordinal, looked.effects[0].access), (1, Access::Changes));
    assert_eq!(looked.end, None);
    let done = step::<Careful>(&[], &looked.state, answer(1, exited(0))).unwrap();
    assert_eq!((done.effects, done.end), (vec![], Some(Outcome::Done)));
}

#[test]
fn the_same_answer_twice_changes_nothing() {
    let begun = step::<Careful>(&[], &[], Event::Begin(order())).unwrap();
    let once = step::<Careful>(&[], &begun.state, answer(0, exited(0))).unwrap();
    let twice = step::<Careful>(&[], &once.state, answer(0, exited(9))).unwrap();
    assert_eq!(twice.state, once.state);
    assert_eq!((twice.effects, twice.end), (vec![], None));
}

#[test]
fn an_answer_to_nothing_is_refused() {
    let begun = step::<Careful>(&[], &[], Event::Begin(order())).unwrap();
    let refused = step::<Careful>(&[], &begun.state, answer(1, Answer::Done));
    assert!(matches!(refused, Err(Refusal::Unexpected(_))), "{refused:?}");
    let refused = step::<Careful>(&[], &begun.state, Event::Begin(order()));
    assert!(matches!(refused, Err(Refusal::Unexpected(_))), "{refused:?}");
}

#[test]
fn a_state_that_was_cut_or_altered_is_never_followed() {
    let begun = step::<Careful>(&[], &[], Event::Begin(order())).unwrap();
    let state = step::<Careful>(&[], &begun.state, answer(0, exited(0))).unwrap().state;
    for cut in 0..state.len() {
        // A cut at a frame's end is a shorter state: then the answer isn't asked for yet.
        let refused = step::<Careful>(&[], &state[..cut], answer(1, exited(0)));
        assert!(matches!(refused, Err(Refusal::Diverged(_) | Refusal::Unexpected(_))), "{cut}: {refused:?}");
    }
    for at in 0..state.len() {
        let mut altered = state.clone();
        altered[at] ^= 0x80;
        let _ = step::<Careful>(&[], &altered, answer(1, exited(0)));
    }
}

#[test]
fn a_changed_configuration_is_noticed() {
    let begun = step::<Careful>(&[], &[], Event::Begin(order())).unwrap();
    let config = [Setting { name: "a".into(), value: Value::Flag(true) }];
    let refused = step::<Careful>(&config, &begun.state, answer(0, exited(0)));
    assert_eq!(refused, Err(Refusal::Diverged("the configuration was changed in mid-run".into())));
}

/// Another version of `Careful`, which flushes less.
struct Changed;
impl Executor for Changed {
    fn describe() -> Description {
        nothing()
    }
    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        ctx.look(deed::run("uptime", ["--pretty"])).await?.well()?;
        Ok(())
    }
}

/// Asks for less than before.
struct Shortened;
impl Executor for Shortened {
    fn describe() -> Description {
        nothing()
    }
    async fn run(_: &Ctx, _: &Order) -> Result<(), Failed> {
        Ok(())
    }
}

#[test]
fn an_executor_that_was_changed_in_mid_run_is_noticed() {
    let begun = step::<Careful>(&[], &[], Event::Begin(order())).unwrap();
    let refused = step::<Changed>(&[], &begun.state, answer(0, exited(0)));
    assert!(matches!(refused, Err(Refusal::Diverged(_))), "{refused:?}");
    let refused = step::<Shortened>(&[], &begun.state, answer(0, exited(0)));
    assert!(matches!(refused, Err(Refusal::Diverged(_))), "{refused:?}");
}

#[test]
fn a_look_in_doubt_is_taken_again_but_not_for_ever() {
    let mut step_ = step::<Careful>(&[], &[], Event::Begin(order())).unwrap();
    for ordinal in 0..2 {
        step_ = step::<Careful>(&[], &step_.state, answer(ordinal, Answer::InDoubt)).unwrap();
        assert_eq!(step_.effects.len(), 1);
        assert_eq!(step_.effects[0].access, Access::Looks);
    }
    let end = step::<Careful>(&[], &step_.state, answer(2, Answer::InDoubt)).unwrap().end;
    assert_eq!(end, Some(Outcome::Failed(transient("the host went down in the middle"))));
}

/// Two chains at once, each of two commands: which is asked third depends on who is answered first.
struct Two;
impl Executor for Two {
    fn describe() -> Description {
        nothing()
    }
    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        let chain = async |name: &str| {
            ctx.look(deed::run(name, ["1"])).await?;
            ctx.look(deed::run(name, ["2"])).await
        };
        let (left, right) = both(chain("left"), chain("right")).await;
        left?;
        right?;
        let many = ["a", "b", "c"].map(|name| ctx.change(deed::run(name, [])));
        for reply in all(many.into_iter().collect()).await {
            reply?.well()?;
        }
        Ok(())
    }
}

#[test]
fn answers_in_any_order_lead_to_the_same_end() {
    // Which ordinal is answered next: always the first outstanding, the last, or by turns.
    for pick in 0..6_usize {
        let mut stepped = step::<Two>(&[], &[], Event::Begin(order())).unwrap();
        let (mut outstanding, mut asked) = (Vec::new(), Vec::new());
        for turn in 0.. {
            for effect in stepped.effects.drain(..) {
                assert_eq!(effect.ordinal as usize, asked.len());
                outstanding.push(effect.ordinal);
                asked.push(effect);
            }
            if stepped.end.is_some() {
                break;
            }
            let next = outstanding.remove((pick + turn * (pick / 3)) % outstanding.len());
            stepped = step::<Two>(&[], &stepped.state, answer(next, exited(0))).unwrap();
        }
        assert_eq!(stepped.end, Some(Outcome::Done));
        assert_eq!(asked.len(), 7);
        assert!(outstanding.is_empty());
    }
}

/// Forgets something that it has asked for.
struct Forgetful;
impl Executor for Forgetful {
    fn describe() -> Description {
        nothing()
    }
    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        let mut slow = core::pin::pin!(ctx.change(deed::run("slow", [])));
        future::poll_fn(|waker| {
            let _ = slow.as_mut().poll(waker);
            Poll::Ready(())
        })
        .await;
        Ok(())
    }
}

/// Waits a while, and then looks.
struct Patient;
impl Executor for Patient {
    fn describe() -> Description {
        nothing()
    }
    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        ctx.pause(0).await?;
        ctx.pause(5_000).await?;
        match ctx.look(deed::run("uptime", [])).await {
            Ok(reply) => reply.exited()?.well("uptime").map(|_| ()),
            Err(trouble) => Err(trouble.about("the command uptime")),
        }
    }
}

#[test]
fn a_pause_that_was_cut_off_has_lasted_long_enough() {
    for (cut, asked) in [(Answer::Done, 1), (Answer::TimedOut, 1), (Answer::InDoubt, 3)] {
        let mut run = Run::<Patient>::begin(&[], order());
        for _ in 0..asked {
            assert_eq!(run.asked(), [deed::sleep(5_000)]);
            run.answer(cut.clone());
        }
        assert_eq!(run.asked(), [deed::run("uptime", [])]);
    }
    let mut run = Run::<Patient>::begin(&[], order());
    run.answer(Answer::Refused("not here".into()));
    assert_eq!(run.failed(), Some(&permanent("refused: not here")));
}

#[test]
fn a_failure_names_what_was_asked_for() {
    let said = |code| {
        let output = Output { bytes: b"Starting\nno such unit\n".to_vec(), whole: None };
        Answer::Exited(Exited { code, output })
    };
    for (answer, failed) in [
        (said(Some(3)), transient("the command uptime ended with exit code 3: no such unit")),
        (said(None), transient("the command uptime was ended by a signal: no such unit")),
        (Answer::Done, permanent("the answer says nothing of a command")),
        (Answer::TimedOut, transient("the command uptime did not end in its time")),
        (Answer::Refused("no grant\n".into()), permanent("the command uptime was refused: no grant ")),
        (Answer::Failed(permanent("no disk")), permanent("the command uptime: no disk")),
    ] {
        let mut run = Run::<Patient>::begin(&[], order());
        run.answer(Answer::Done);
        run.answer(answer);
        assert_eq!(run.failed(), Some(&failed));
    }
}

/// Waits for what nobody will bring.
struct Stuck;
impl Executor for Stuck {
    fn describe() -> Description {
        nothing()
    }
    async fn run(_: &Ctx, _: &Order) -> Result<(), Failed> {
        future::pending().await
    }
}

#[test]
fn mistakes_of_an_author_are_named() {
    let refused = step::<Forgetful>(&[], &[], Event::Begin(order()));
    assert_eq!(refused, Err(Refusal::Bug("the run ended with 1 answers outstanding".into())));
    let refused = step::<Stuck>(&[], &[], Event::Begin(order()));
    assert_eq!(refused, Err(Refusal::Bug("the run waits and has asked for nothing".into())));
}

/// Reads one field of many things.
struct Reader;
impl Executor for Reader {
    fn describe() -> Description {
        nothing()
    }
    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        let list = deed::fields("api", "/items?limit=9", "/items/*/name");
        match ctx.look(list).await {
            Ok(Reply::Response(Response { body, .. })) => {
                Err(permanent(format!("{} bytes", body.bytes.len())))
            }
            _ => Err(permanent("no response")),
        }
    }
}

/// Half a document can't be read, so what was reduced to fields has eight times the room of other output.
#[test]
fn fields_of_an_answer_are_not_cut() {
    for (said, kept) in [(32 << 10, "32768 bytes"), (33 << 10, "32768 bytes"), (4097, "4097 bytes")] {
        let mut run = Run::<Reader>::begin(&[], order());
        assert_eq!(run.asked(), [deed::get("api", "/items?limit=9#/items/*/name")]);
        let body = Output { bytes: vec![b'x'; said], whole: None };
        run.answer(Answer::Response(Response { status: 200, body }));
        assert_eq!(run.failed(), Some(&permanent(kept)));
    }
}

/// Asks for the same thing for as long as it is let, and gives up where it is told that there is no room.
struct Chatty;
impl Executor for Chatty {
    fn describe() -> Description {
        nothing()
    }
    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        loop {
            ctx.look(deed::run("log", [])).await?;
        }
    }
}

#[test]
fn who_hears_more_than_there_is_room_for_is_told() {
    let mut run = Run::<Chatty>::begin(&[], order());
    for ordinal in 0.. {
        let huge = Output { bytes: vec![b'x'; 1 << 20], whole: None };
        run.answer(Answer::Content(huge));
        if let Some(failed) = run.failed() {
            // Of outputs of 4 KiB, which longer ones are cut to, with their frames.
            assert_eq!(ordinal, 14);
            let why = "its 4107 bytes find no room any more in what a run can keep";
            assert_eq!(failed, &permanent(why));
            assert!(run.state().len() <= 65_536);
            return;
        }
    }
}

/// Asks without an end, whatever it hears.
struct Endless;
impl Executor for Endless {
    fn describe() -> Description {
        nothing()
    }
    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        loop {
            let _ = ctx.look(deed::run("log", [])).await;
        }
    }
}

#[test]
fn a_state_has_an_end() {
    let mut stepped = step::<Endless>(&[], &[], Event::Begin(order())).unwrap();
    for ordinal in 0..10_000 {
        match step::<Endless>(&[], &stepped.state, answer(ordinal, Answer::Done)) {
            Ok(next) => stepped = next,
            Err(refusal) => {
                assert!(matches!(refusal, Refusal::Bug(why) if why.contains("65536")));
                return;
            }
        }
    }
    panic!("the state grew without an end: {}", stepped.state.len());
}
