//! Where each tool goes back to after a random history, and where ours does.
//!
//! `BACKSTAY_HISTORIES` says how many of each kind there are on the models; 10,000 if nobody says anything. `BACKSTAY_TRIALS` says how many
//! of each kind are played on a real API server as well, and `BACKSTAY_SEED` from which seed on. Not here: what a history is, and what a
//! model does (`backstay_test_k8s::histories`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

#[path = "histories/ours.rs"]
mod ours;

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write as _},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use backstay_test_k8s::{
    ControlPlane,
    histories::{Answer, Chosen, Count, History, Kind, Tool, Verdict, live::Stage},
};

/// So many of each kind on the models.
const HISTORIES: u64 = 10_000;
/// So many of each kind on the API server.
const PLAYED: u64 = 40;
/// And every so manyth of them once more, for ours to go home.
const OURS_EVERY: u64 = 3;
/// So many are played at once.
const AT_ONCE: usize = 4;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Past the test's own output, which nobody sees where it went well.
fn say(text: &str) {
    writeln!(io::stdout().lock(), "{text}").unwrap();
}

/// Who was asked, and how often in a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Ours,
    Theirs(Tool, usize),
}

impl Who {
    fn told(self) -> String {
        match self {
            Self::Ours => "Backstay".into(),
            Self::Theirs(tool, 1) => tool.told().into(),
            Self::Theirs(tool, _) => format!("the same, twice: {}", tool.told()),
        }
    }
}

type Counts = BTreeMap<Who, Count>;

fn table(title: &str, counts: &Counts) {
    say(&format!("\n{title:<52} histories  right  other  wrong  unsound  nothing moved  refused",));
    for (who, it) in counts {
        say(&format!(
            "  {:<50} {:>9} {:>6} {:>6} {:>6} {:>8} {:>14} {:>8}",
            who.told(),
            it.histories,
            it.right,
            it.other,
            it.wrong,
            it.unsound,
            it.stayed,
            it.refused
        ));
    }
}

/// What a tool makes of a history by its model, once and twice.
fn modelled(history: &History, tool: Tool) -> [Answer; 2] {
    let mut model = history.model.clone();
    [model.asks(&history.product, tool), model.asks(&history.product, tool)]
}

fn count(counts: &mut Counts, history: &History, tool: Tool, answers: [Answer; 2]) {
    for times in [1, 2] {
        let verdict = history.truth.weighs(&history.product, &answers[..times]);
        *counts.entry(Who::Theirs(tool, times)).or_default() += verdict;
    }
}

/// The release that ours goes back to is never one that failed, was sent back, or is being left, whatever went on before.
#[test]
fn of_random_histories_ours_never_goes_back_to_a_bad_release() {
    let histories = number("BACKSTAY_HISTORIES").unwrap_or(HISTORIES);
    for kind in Kind::ALL {
        let (mut counts, mut whys, mut tries) = (Counts::new(), BTreeMap::<String, u32>::new(), 0);
        for seed in 0..histories {
            let history = History::of(kind, seed);
            for &tool in kind.tools() {
                count(&mut counts, &history, tool, modelled(&history, tool));
            }
            let confirmed = &history.truth.confirmed;
            let verdict = history.truth.weighs(&history.product, &[history.answer()]);
            *counts.entry(Who::Ours).or_default() += verdict;
            tries += u32::from(history.chosen.len() > 1);
            assert_ne!(verdict, Verdict::Wrong, "seed {seed}: {history:#?}");
            assert!(history.home.is_none_or(|home| confirmed.contains(&home)), "seed {seed}: {history:#?}");
            if verdict == Verdict::Refused {
                let why = match history.chosen.last() {
                    Some(Chosen::Nothing(why)) if why.contains("paused") => "somebody else paused it",
                    Some(Chosen::Nothing(_)) => "no whole revision of the good release is kept",
                    Some(Chosen::Stays | Chosen::Revision(_)) | None => "no release is known to be good",
                };
                *whys.entry(why.into()).or_default() += 1;
            }
        }
        let ours = counts[&Who::Ours];
        assert!(ours.right > ours.histories / 2, "who never goes anywhere is never wrong: {ours:?}");
        for (who, it) in counts.iter().filter(|(who, _)| **who != Who::Ours) {
            assert!(it.wrong > it.histories / 20, "{}: histories that nobody goes wrong with", who.told());
        }
        table(&format!("{} (models, seeds 0..{histories})", kind.told()), &counts);
        say(&format!("  Backstay refused because {whys:?}; in {tries} a first revision didn't come up"));
    }
}

/// Plays histories, as many at once as the machine bears, and says of each what was wrong with it.
fn play(what: &str, all: &[(Kind, u64)], each: impl Fn(&History) -> Result<(), String> + Sync) {
    let (began, next, wrong) = (Instant::now(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(&(kind, seed)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let history = History::of(kind, seed);
                    if let Err(why) = each(&history) {
                        say(&format!("{what}: {kind:?}, seed {seed}: {why}\n{history:#?}"));
                        wrong.lock().unwrap().push((kind, seed));
                    }
                }
            });
        }
    });
    say(&format!("{what}: {} histories played in {} s", all.len(), began.elapsed().as_secs()));
    assert_eq!(wrong.into_inner().unwrap(), [], "{what}");
}

fn sample() -> impl Iterator<Item = (Kind, u64)> {
    let (played, first) = (number("BACKSTAY_TRIALS").unwrap_or(PLAYED), number("BACKSTAY_SEED").unwrap_or(0));
    (first..first + played).flat_map(|seed| Kind::ALL.map(|kind| (kind, seed)))
}

/// What was modelled is what happens: on each history of a sample a tool asks for the very template that its model says, and all that its
/// controller and Helm keep on the way there is as the model has it. What ours chooses is what our executors do.
#[test]
fn the_models_are_what_the_real_ones_do() {
    let Some(cluster) = ControlPlane::start() else { return };
    let all: Vec<_> = sample().collect();
    let counts = Mutex::new(Counts::new());
    play("tools", &all, |history| {
        // A tool that was asked has changed the history, so each history is for one.
        let tools = history.kind.tools();
        let tool = tools[usize::try_from(history.seed / 2).unwrap() % tools.len()];
        let mut stage = Stage::plays(&cluster, history)?;
        let answers = [stage.asks(tool)?, stage.asks(tool)?];
        count(&mut counts.lock().unwrap(), history, tool, answers);
        Ok(())
    });
    table("played on the API server", &counts.into_inner().unwrap());
    // What has to be tried twice waits for the workload's own deadline: minutes.
    let is_quick = |(kind, seed): &(Kind, u64)| History::of(*kind, *seed).chosen.len() == 1;
    let ours: Vec<_> =
        all.into_iter().filter(|(_, seed)| seed.is_multiple_of(OURS_EVERY)).filter(is_quick).collect();
    play("ours", &ours, |history| ours::goes_home(&cluster, history));
}
