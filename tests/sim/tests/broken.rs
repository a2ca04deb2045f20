//! Each invariant can fail: a core that is broken in one way breaks just what was meant for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a bug is about one thing that can be said, of many")]

use backstay_core::{CohortEffect, Effect};
use backstay_model::{
    Cause, Digest, Direction, Event, Fence, Generation, Millis, Mono, Name, Order, Outcome, Reach, Release,
    RolloutId, Standing, Task, Ticket, Transience, Version,
};
use backstay_test_sim::{
    Fleet, Sabotage,
    Sabotage::{Cohort, Device, Forgetful, Mute, Stuck},
    Size, invariants,
};

/// Seeds that are tried until one finds the bug.
const SEEDS: u64 = 60;

fn product(n: u8) -> Release {
    let mut digest = [0x5a; 32];
    digest[..4].copy_from_slice(&u32::from(n).to_be_bytes());
    Release {
        version: Version::parse(&format!("1.{n}.0")).unwrap(),
        digest: Digest(digest),
        length: 1000,
        security_epoch: 1,
    }
}

/// Changes each record; `true` keeps it.
fn records(effects: &mut Vec<Effect>, mut change: impl FnMut(&mut Event) -> bool) {
    effects.retain_mut(|effect| match effect {
        Effect::Record(event) => change(event),
        _ => true,
    });
}

/// Appends records after each one of which something follows.
fn after(effects: &mut Vec<Effect>, follows: impl Fn(&Event) -> Vec<Event>) {
    let before = std::mem::take(effects);
    for effect in before {
        let more = if let Effect::Record(event) = &effect { follows(event) } else { Vec::new() };
        effects.push(effect);
        effects.extend(more.into_iter().map(Effect::Record));
    }
}

fn publishes(effects: &mut [CohortEffect], change: impl Fn(&mut backstay_model::Steer)) {
    for effect in effects {
        if let CohortEffect::Publish(steer) = effect {
            change(steer);
        }
    }
}

fn notes(effects: &mut Vec<CohortEffect>, mut change: impl FnMut(&mut Event) -> bool) {
    effects.retain_mut(|effect| match effect {
        CohortEffect::Record(event) => change(event),
        _ => true,
    });
}

fn notes_after(effects: &mut Vec<CohortEffect>, follows: impl Fn(&Event) -> Vec<Event>) {
    let before = std::mem::take(effects);
    for effect in before {
        let more = if let CohortEffect::Record(event) = &effect { follows(event) } else { Vec::new() };
        effects.push(effect);
        effects.extend(more.into_iter().map(CohortEffect::Record));
    }
}

fn order(number: u64, task: Task) -> Order {
    Order { ticket: Ticket(1 << 40 | number), fence: Fence(1 << 40 | number), task }
}

fn steered(rollout: &RolloutId, generation: Generation) -> Cause {
    Cause::Steering { rollout: rollout.clone(), generation }
}

fn installs(release: &Release, rollout: &RolloutId, generation: Generation) -> Event {
    let task = Task::Install { release: release.clone() };
    Event::Ordered { order: order(1, task), cause: steered(rollout, generation) }
}

fn heal() -> Task {
    Task::Heal { playbook: Name::parse("restart").unwrap() }
}

/// A bug for each invariant, or several.
const BUGS: &[(&str, Sabotage)] = &[
    ("recorded-first", Device(|out, _| records(out, |event| !matches!(event, Event::Ordered { .. })))),
    (
        "one-run",
        Device(|out, _| {
            after(out, |event| match event {
                Event::Ordered { .. } => vec![event.clone()],
                _ => vec![],
            })
        }),
    ),
    (
        "one-executor",
        Device(|out, _| {
            after(out, |event| match event {
                Event::RunTaken { ticket, .. } => {
                    vec![Event::RunTaken { ticket: *ticket, grant: Digest([9; 32]) }]
                }
                _ => vec![],
            })
        }),
    ),
    (
        "frozen-stands",
        Device(|out, _| {
            after(out, |event| match event {
                Event::Froze { cause } => {
                    vec![Event::Ordered { order: order(1, heal()), cause: cause.clone() }]
                }
                _ => vec![],
            })
        }),
    ),
    (
        "slowly",
        Device(|out, _| {
            after(out, |event| match event {
                Event::Stranded { .. } => vec![event.clone()],
                _ => vec![],
            })
        }),
    ),
    (
        "attempts-capped",
        Device(|out, _| {
            after(out, |event| match event {
                Event::Ordered { order: first, cause } if matches!(first.task, Task::Heal { .. }) => {
                    let mut events = vec![];
                    for n in 1..12 {
                        let (ticket, fence) = (first.ticket, first.fence);
                        events.push(Event::Ended { ticket, fence, outcome: Outcome::Done });
                        let order = Order {
                            ticket: Ticket(ticket.0 + n),
                            fence: Fence(fence.0 + n),
                            task: first.task.clone(),
                        };
                        events.push(Event::Ordered { order, cause: cause.clone() });
                    }
                    events
                }
                _ => vec![],
            })
        }),
    ),
    (
        "condemned-stays-out",
        Device(|out, _| {
            after(out, |event| match event {
                Event::Condemned { release, .. } => {
                    vec![installs(release, &RolloutId::parse("r-1").unwrap(), Generation(1))]
                }
                _ => vec![],
            })
        }),
    ),
    (
        "home-is-final",
        Device(|out, _| {
            after(out, |event| match event {
                Event::Steered { rollout, generation, direction: Direction::Home, release, .. } => {
                    vec![installs(release, rollout, *generation)]
                }
                _ => vec![],
            })
        }),
    ),
    (
        "no-one-way-door",
        Device(|out, _| {
            records(out, |event| {
                if let Event::Ordered { order: Order { task: Task::GoHome { release }, .. }, .. } = event {
                    release.digest = Digest([7; 32]);
                }
                true
            })
        }),
    ),
    (
        "switch-budget",
        Device(|out, _| {
            after(out, |event| match event {
                Event::TrialBegan { .. } => vec![event.clone(); 9],
                _ => vec![],
            })
        }),
    ),
    (
        "updated-is-earned",
        Device(|out, _| {
            after(out, |event| match event {
                Event::TrialBegan { release, .. } => {
                    vec![Event::Confirmed { release: release.clone(), boot: backstay_model::BootId(1) }]
                }
                _ => vec![],
            })
        }),
    ),
    (
        "home-has-a-reason",
        Device(|out, _| {
            after(out, |event| match event {
                Event::Started { booted, .. } => {
                    vec![Event::Condemned { release: booted.clone(), cause: Cause::NoData }]
                }
                _ => vec![],
            })
        }),
    ),
    (
        "home-has-a-reason",
        Device(|out, _| {
            records(out, |event| {
                if let Event::CameHome { cause, .. } = event {
                    *cause = Cause::FellBack;
                }
                true
            })
        }),
    ),
    (
        "steered-home",
        Device(|out, _| {
            records(out, |event| {
                if let Event::Ordered { order: Order { task, .. }, .. } = event
                    && let Task::Install { release } = task
                {
                    *task = Task::GoHome { release: release.clone() };
                }
                true
            })
        }),
    ),
    (
        "generation-grows",
        Device(|out, _| {
            records(out, |event| {
                if let Event::Steered { generation, .. } = event {
                    *generation = Generation(0);
                }
                true
            })
        }),
    ),
    (
        "reports-grow",
        Device(|out, _| {
            for effect in out {
                if let Effect::Report(report) = effect {
                    report.sequence = 1;
                }
            }
        }),
    ),
    (
        "true-word",
        Device(|out, _| {
            for effect in out {
                if let Effect::Report(report) = effect {
                    report.booted.length += 1;
                    report.confirmed.length += 1;
                }
            }
        }),
    ),
    // It says how it does only where there is something to write down, too.
    (
        "true-word",
        Device(|out, _| {
            if !out.iter().any(|effect| matches!(effect, Effect::Record(_))) {
                out.retain(|effect| !matches!(effect, Effect::Report(_)));
            }
        }),
    ),
    // It says too early that it is settled.
    (
        "true-word",
        Device(|out, _| {
            for effect in out {
                if let Effect::Report(report) = effect
                    && report.standing == Standing::Frozen
                    && report.booted == report.confirmed
                {
                    report.standing = Standing::Settled;
                }
            }
        }),
    ),
    (
        "only-the-meant",
        Device(|out, _| {
            records(out, |event| {
                if let Event::Ordered { cause: Cause::Steering { generation, .. }, .. } = event {
                    generation.0 += 1000;
                }
                true
            })
        }),
    ),
    (
        "exclusion-respected",
        Device(|out, _| {
            records(out, |event| {
                if let Event::Excluded(excluded) = event {
                    excluded.until = None;
                }
                true
            })
        }),
    ),
    (
        "epoch-floor",
        Device(|out, _| {
            after(out, |event| match event {
                Event::Confirmed { release, .. } if release.security_epoch > 1 => {
                    vec![installs(&product(0), &RolloutId::parse("r-1").unwrap(), Generation(1))]
                }
                _ => vec![],
            })
        }),
    ),
    (
        "built-for-it",
        Device(|out, _| {
            records(out, |event| {
                if let Event::Ordered { order: Order { task: Task::Install { release }, .. }, .. } = event {
                    release.digest = Digest([7; 32]);
                }
                true
            })
        }),
    ),
    (
        "confirmed-first",
        Device(|out, _| {
            after(out, |event| match event {
                Event::TrialBegan { release, .. } => {
                    vec![installs(release, &RolloutId::parse("r-1").unwrap(), Generation(1))]
                }
                _ => vec![],
            })
        }),
    ),
    (
        "for-good-is-for-good",
        Device(|out, _| {
            records(out, |event| {
                if let Event::Ended { outcome: Outcome::Failed { transience, .. }, .. } = event {
                    *transience = Transience::Permanent;
                }
                true
            })
        }),
    ),
    (
        "waits-bounded",
        Device(|out, _| {
            records(out, |event| {
                if let Event::Waits { until, .. } = event {
                    *until = until.after(Millis::from_secs(360_000));
                }
                true
            })
        }),
    ),
    ("run-limit", Device(|out, _| out.retain(|effect| !matches!(effect, Effect::Abandon { .. })))),
    ("effect-once", Forgetful),
    (
        "words-grow",
        Device(|out, _| {
            records(out, |event| {
                if let Event::Told { sequence, .. } = event {
                    *sequence = 1000 - *sequence;
                }
                true
            })
        }),
    ),
    (
        "slot-left",
        Device(|out, _| {
            for effect in out {
                if let Effect::Report(report) = effect
                    && report.standing != Standing::Settled
                {
                    report.confirmed.digest = Digest([7; 32]);
                }
            }
        }),
    ),
    ("deadline-passes", Stuck),
    (
        "empty-is-nobody",
        Device(|out, _| {
            after(out, |event| match event {
                Event::Steered { rollout, generation, direction: Direction::Forward, release, .. } => {
                    vec![installs(release, rollout, *generation)]
                }
                _ => vec![],
            })
        }),
    ),
    (
        "generations-given",
        Cohort(|out| {
            publishes(out, |steer| steer.generation = Generation(1));
            notes(out, |event| {
                if let Event::Steered { generation, .. } = event {
                    *generation = Generation(1);
                }
                true
            });
        }),
    ),
    ("published-after-record", Cohort(|out| notes(out, |event| !matches!(event, Event::Steered { .. })))),
    (
        "one-turn",
        Cohort(|out| {
            notes_after(out, |event| match event {
                Event::Turned { .. } => vec![event.clone()],
                _ => vec![],
            })
        }),
    ),
    ("never-forward-again", Cohort(|out| publishes(out, |steer| steer.direction = Direction::Forward))),
    ("blast-radius", Cohort(|out| publishes(out, |steer| steer.reach = Reach::ALL))),
    (
        "breaker-holds",
        Cohort(|out| {
            notes(out, |event| {
                if let Event::BreakerOpened { until } = event {
                    *until = until.after(Millis::from_secs(3_600_000));
                }
                true
            })
        }),
    ),
    ("half-open-is-small", Cohort(|out| notes(out, |event| !matches!(event, Event::BreakerClosed)))),
    ("turn-opens-breaker", Cohort(|out| notes(out, |event| !matches!(event, Event::BreakerOpened { .. })))),
    (
        "quarantine-holds",
        Cohort(|out| {
            notes_after(out, |event| match event {
                Event::Steered { .. } => {
                    (1..9).map(|n| Event::Condemned { release: product(n), cause: Cause::NoData }).collect()
                }
                _ => vec![],
            })
        }),
    ),
    (
        "reach-grows",
        Cohort(|out| {
            let later = |effect: &CohortEffect| {
                matches!(effect, CohortEffect::Record(Event::WaveOpened { wave: 1.., .. }))
            };
            if out.iter().any(later) {
                publishes(out, |steer| steer.reach = Reach::NONE);
            }
        }),
    ),
    (
        "waves-earned",
        Cohort(|out| {
            notes_after(out, |event| match event {
                Event::WaveOpened { wave: 0, .. } => vec![event.clone()],
                _ => vec![],
            })
        }),
    ),
    (
        "true-turn",
        Cohort(|out| {
            notes(out, |event| {
                if let Event::Turned { cause, .. } = event {
                    *cause = Cause::NoData;
                }
                true
            })
        }),
    ),
    (
        "held-stands",
        Cohort(|out| {
            let asks = out.iter().any(|effect| matches!(effect, CohortEffect::Ask { .. }));
            if asks {
                out.push(CohortEffect::Record(Event::Thawed { cause: Cause::NoData }));
            }
        }),
    ),
    (
        "true-completion",
        Cohort(|out| {
            notes(out, |event| {
                if let Event::Completed { confirmed, .. } = event {
                    *confirmed += 1000;
                }
                true
            })
        }),
    ),
    ("progress", Device(|out, _| out.retain(|effect| !matches!(effect, Effect::Vet { .. })))),
    ("true-view", Mute),
    ("cohort-ends", Cohort(|out| out.retain(|effect| !matches!(effect, CohortEffect::Ask { .. })))),
];

/// What no core can break: bytes are refused before they get there, and `poison` tries it on bytes. And what `reference.rs` breaks.
const ELSEWHERE: &[&str] = &["signed-only", "as-the-reference-says"];

#[test]
fn every_invariant_has_its_bug() {
    for invariant in invariants::ALL {
        let has_one = BUGS.iter().any(|(name, _)| *name == invariant.name);
        assert_ne!(has_one, ELSEWHERE.contains(&invariant.name), "{}", invariant.name);
    }
}

/// A third of them each, so that the machine's cores share the work.
fn each_is_found(third: usize) {
    let mut missed = Vec::new();
    for (name, sabotage) in BUGS.iter().skip(third).step_by(3) {
        let found = (1..=SEEDS).any(|seed| {
            let fleet = Fleet::new(seed, Size::of(24, 2.0)).with_people().broken_by(*sabotage);
            fleet.run().is_err_and(|failure| failure.broken.invariant.name == *name)
        });
        if !found {
            missed.push(*name);
        }
    }
    assert!(missed.is_empty(), "no seed found the bug of {missed:?}");
}

#[test]
fn each_bug_of_the_first_third_is_found() {
    each_is_found(0);
}

#[test]
fn each_bug_of_the_second_third_is_found() {
    each_is_found(1);
}

#[test]
fn each_bug_of_the_last_third_is_found() {
    each_is_found(2);
}

/// And a core that is not broken breaks nothing in the same runs.
#[test]
fn a_whole_core_breaks_nothing() {
    for seed in 1..=SEEDS / 2 {
        let fleet = Fleet::new(seed, Size::of(24, 0.5)).with_people();
        fleet.run().unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn a_bug_is_no_reproduction_on_a_command_line() {
    let broken =
        Device(|out: &mut Vec<Effect>, _: Mono| out.retain(|effect| !matches!(effect, Effect::Vet { .. })));
    let ran = (1..=SEEDS)
        .find_map(|seed| Fleet::new(seed, Size::of(24, 0.5)).with_people().broken_by(broken).run().err());
    assert!(ran.unwrap().to_string().ends_with("again: the test that told it"));
}
