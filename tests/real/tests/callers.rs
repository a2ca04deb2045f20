//! 64 callers order the same at once, of a real server that is killed now and then in the middle of it. Each time there is one
//! effect, and a server that is started again ends what was begun.
//!
//! `BACKSTAY_TRIALS` says how many trials. `BACKSTAY_SEED` says when the server is killed in every twentieth of them, as a share of the
//! time that a trial usually takes. docs/faults.md has what ten thousand came to.
//!
//! Not here: how a server is set up and what is done by its commands (`shop`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

#[path = "callers/shop.rs"]
mod shop;

use std::{
    env,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use backstay_core::Rng;
use backstay_test_real::{Caller, Sshd};
use shop::{Base, Shop, Works};

/// How many order the same at once.
const CALLERS: usize = 64;
/// Of so many trials the last is across a kill.
const KILL_EVERY: u64 = 20;
/// So often a server is killed whose command leaves the work to another process: at moments that are as far from each other.
const KILLS: u32 = 3;
/// A target may be changed 64 times in an hour, so a server sees fewer trials than that.
const TRIALS_OF_A_SERVER: u64 = 60;

/// Where a server was with what was ordered when it was killed, as far as callers and the target know.
#[derive(Default)]
struct Kills {
    /// Nobody had an answer.
    before_the_answer: usize,
    /// One caller had been told that it is begun.
    before_the_effect: usize,
    /// It was done, and perhaps written down as well.
    after_the_effect: usize,
    /// From the start of the new process until it answered.
    answered: Vec<Duration>,
    /// The same, until the run had ended.
    ended: Vec<Duration>,
}

#[test]
fn many_callers_have_one_effect() {
    let trials = number("BACKSTAY_TRIALS").unwrap_or(TRIALS_OF_A_SERVER);
    let seed = number("BACKSTAY_SEED").unwrap_or_else(|| std::process::id().into());
    println!("BACKSTAY_SEED={seed}");
    let (base, mut rng, began) = (Base::makes(), Rng::new(seed), Instant::now());
    let (mut done, mut took, mut kills) = (0, Vec::new(), Kills::default());
    while done < trials {
        let mut shop = Shop::opens(&base, &Works::Itself);
        let mut callers: Vec<_> = (0..CALLERS).map(|_| shop.caller()).collect();
        for _ in 0..TRIALS_OF_A_SERVER.min(trials - done) {
            done += 1;
            let told = format!("seed {seed}, trial {done}");
            shop.lets_out(&told);
            if done % KILL_EVERY == 0 {
                let after = moment(&mut rng, &took);
                across_a_kill(&mut shop, &mut callers, after, &mut kills, &told);
            } else {
                took.push(undisturbed(&mut shop, &mut callers, &told));
            }
            shop.has_one_effect_for_each(&told);
        }
        shop.is_killed();
        // What a command did that outlived its server would be seen now.
        shop.has_one_effect_for_each(&format!("seed {seed}, after trial {done}"));
        println!("{done} trials, {:.0} s", began.elapsed().as_secs_f64());
    }
    let Kills { before_the_answer, before_the_effect, after_the_effect, answered, ended } = kills;
    println!(
        "summary: {trials} trials of {CALLERS} callers, {} of them across a kill, seed {seed}: one effect in each; {:.0} s; \
         without a kill a trial took {}",
        ended.len(),
        began.elapsed().as_secs_f64(),
        spread(took),
    );
    println!(
        "summary: killed before a caller had been told that it is begun {before_the_answer}, before the effect {before_the_effect}, \
         after it {after_the_effect} times; from the start of the new process to its first answer {}, to the end of the run {}",
        spread(answered),
        spread(ended),
    );
}

/// A command that is killed with its server leaves the process at work that it had started. That one is ended before the run goes on:
/// until then it may do its work, which is seen then, and later it can't.
#[test]
fn what_commands_had_started_has_one_effect_across_kills() {
    killed_again_and_again(&Works::ByOffspring);
}

/// Over there it ends with the connection, and that with the server.
#[test]
fn what_commands_had_started_by_ssh_has_one_effect_across_kills() {
    if let Some(sshd) = Sshd::start() {
        killed_again_and_again(&Works::ByOffspringOf(&sshd));
    }
}

fn killed_again_and_again(works: &Works<'_>) {
    let (base, mut kills) = (Base::makes(), Kills::default());
    let mut shop = Shop::opens(&base, works);
    let mut callers = [shop.caller()];
    shop.lets_out("the first");
    let took = undisturbed(&mut shop, &mut callers, "the first");
    for kill in 0..KILLS {
        let after = took * kill / KILLS;
        let told = format!("killed {after:?} after the order");
        shop.lets_out(&told);
        across_a_kill(&mut shop, &mut callers, after, &mut kills, &told);
        shop.has_one_effect_for_each(&told);
    }
    let Kills { before_the_answer, before_the_effect, after_the_effect, answered, .. } = kills;
    println!(
        "killed before the answer {before_the_answer}, before the effect {before_the_effect}, after it {after_the_effect} times; \
         from the start of the new process to its first answer {}; {} times it ended what was left",
        spread(answered),
        shop.told_of_leftovers(),
    );
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// All order it, one begins it, the others are refused. Gives how long it took, until the run had ended.
fn undisturbed(shop: &mut Shop, callers: &mut [Caller], told: &str) -> Duration {
    let (begun, all) = (AtomicUsize::new(0), Barrier::new(callers.len() + 1));
    let ordered = thread::scope(|scope| {
        for caller in callers {
            scope.spawn(|| orders(caller, &all, &begun, told));
        }
        all.wait();
        Instant::now()
    });
    assert_eq!(begun.into_inner(), 1, "{told}: so many were told that they began it");
    shop.until_it_ended(told);
    ordered.elapsed()
}

/// The same, and some time after the order the server is killed and started again. Who was cut off orders it again.
fn across_a_kill(shop: &mut Shop, callers: &mut [Caller], after: Duration, kills: &mut Kills, told: &str) {
    let (begun, all) = (AtomicUsize::new(0), Barrier::new(callers.len() + 1));
    thread::scope(|scope| {
        for caller in callers {
            scope.spawn(|| orders(caller, &all, &begun, told));
        }
        all.wait();
        thread::sleep(after);
        shop.is_killed();
        let at = match (shop.came_home(), begun.load(Ordering::SeqCst)) {
            (true, _) => &mut kills.after_the_effect,
            (false, 0) => &mut kills.before_the_answer,
            (false, _) => &mut kills.before_the_effect,
        };
        *at += 1;
        let started = Instant::now();
        shop.starts();
        shop.until_it_answers(told);
        kills.answered.push(started.elapsed());
        shop.until_it_ended(told);
        kills.ended.push(started.elapsed());
    });
    // Whose order was written down when the server was killed need not have heard so.
    assert!(begun.into_inner() <= 1, "{told}: more than one were told that they began it");
    shop.had_one_run(told);
}

fn orders(caller: &mut Caller, all: &Barrier, begun: &AtomicUsize, told: &str) {
    all.wait();
    let order = r#"{"reason":"customers see empty carts"}"#;
    match caller.insists("POST", "/v1/targets/shop/rollback", order) {
        (200, _) => drop(begun.fetch_add(1, Ordering::SeqCst)),
        (409, _) => {}
        (code, answer) => panic!("{told}: {code} {answer}"),
    }
}

/// When to kill: any time until a trial usually ends.
fn moment(rng: &mut Rng, took: &[Duration]) -> Duration {
    let mut took = took.to_vec();
    took.sort();
    let usual = took.get(took.len() / 2).map_or(0, |usual| u64::try_from(usual.as_micros()).unwrap());
    Duration::from_micros(rng.below(usual))
}

/// In a few words: the middle, p99, and the most.
fn spread(mut spans: Vec<Duration>) -> String {
    spans.sort();
    let ms = |at: usize| spans.get(at).map_or(0, Duration::as_millis);
    let (middle, p99, most) = (spans.len() / 2, spans.len() * 99 / 100, spans.len().saturating_sub(1));
    format!("{} ms (p99 {} ms, most {} ms)", ms(middle), ms(p99), ms(most))
}
