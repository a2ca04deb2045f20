//! Thousands of random steps, and what has to hold after each of them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use backstay_model::{
    Action, Beat, BootId, Breaker, Cause, CohortId, Direction, Event, Generation, Health, How, Millis, Mono,
    Reach, Report, RolloutId, Selector, Standing, Steer, Ticket,
};

use super::{
    Cohort, CohortEffect, CohortInput, Contact, Plan, Reply, Rollout, Wish,
    world::{decision, device, release, rollout_id, who},
};
use crate::Rng;

const STEPS: u64 = 4_000;
const DEVICES: u64 = 12;
const ROLLOUTS: u64 = 40;

/// What the walk remembers, to hold against what it sees.
#[derive(Default)]
struct Witness {
    newest: Generation,
    /// The newest that was written down, said here or taken over.
    recorded: Generation,
    turned: BTreeSet<RolloutId>,
    reaches: BTreeMap<RolloutId, Reach>,
    last: Option<Steer>,
    with_data: BTreeSet<Ticket>,
    asked: Option<Ticket>,
    forwards: u32,
    turns: u32,
    holds: u32,
    completions: u32,
}

impl Witness {
    fn sees(&mut self, now: Mono, cohort: &Cohort, effects: &[CohortEffect], is_rollback: bool) {
        let mut homes = 0;
        for effect in effects {
            match effect {
                CohortEffect::Record(event) => {
                    if let Event::Steered { generation, .. } = event {
                        self.recorded = *generation;
                    }
                    self.hears(event, is_rollback);
                }
                CohortEffect::Publish(steer) => {
                    homes += u32::from(steer.direction == Direction::Home);
                    self.reads(now, cohort, steer);
                }
                CohortEffect::Ask { ticket, facts } => {
                    self.asked = Some(*ticket);
                    let window = facts.objectives[0].candidate.last().unwrap();
                    assert!(facts.objectives.iter().all(|objective| {
                        objective.candidate.iter().all(|window| window.bad <= window.samples)
                    }));
                    if window.samples > 0 {
                        self.with_data.insert(*ticket);
                    }
                }
            }
        }
        assert!(homes <= 1, "one message turns a cohort");
    }

    fn hears(&mut self, event: &Event, is_rollback: bool) {
        if let Event::Turned { rollout, cause, .. } = event {
            self.turns += 1;
            assert!(self.turned.insert(rollout.clone()), "{rollout} was turned twice");
            let asked = self.asked.is_some_and(|asked| self.with_data.contains(&asked));
            let is_allowed = if let Cause::CohortFailed { failed, tried } = cause {
                *failed > 1 && failed <= tried
            } else {
                (matches!(cause, Cause::Operator { .. }) && is_rollback)
                    || (matches!(cause, Cause::Policy { .. }) && asked)
            };
            assert!(is_allowed, "{cause:?} turned a cohort");
        }
        if let Event::Completed { confirmed, .. } = event {
            self.completions += 1;
            assert!(*confirmed > 0);
        }
        self.holds += u32::from(matches!(event, Event::Froze { .. }));
    }

    fn reads(&mut self, now: Mono, cohort: &Cohort, steer: &Steer) {
        if steer.generation == self.newest {
            assert_eq!(self.last.as_ref(), Some(steer), "the same generation says the same");
        } else {
            assert!(steer.generation > self.newest, "generations only grow");
            assert_eq!(steer.generation, self.recorded, "a message is written down before it is sent");
        }
        let reach = self.reaches.entry(steer.rollout.clone()).or_default();
        if steer.direction == Direction::Forward {
            self.forwards += 1;
            assert!(!self.turned.contains(&steer.rollout), "{} went forward after home", steer.rollout);
            let breaker = cohort.helm().breaker().at(now);
            assert!(!matches!(breaker, Breaker::Open { .. }), "forward with an open breaker");
            assert!(!steer.frozen);
            assert!(*reach <= steer.reach, "reach shrinks");
        }
        *reach = steer.reach;
        self.newest = steer.generation;
        self.last = Some(steer.clone());
    }
}

struct Walk {
    rng: Rng,
    now: Mono,
    cohort: Cohort,
    witness: Witness,
    sequences: BTreeMap<u64, u64>,
    tickets: Vec<Ticket>,
    inclined: u64,
}

impl Walk {
    fn rollout(&mut self) -> Rollout {
        let n = self.rng.below(ROLLOUTS);
        let selector = match self.rng.below(8) {
            0 => Selector::Nobody,
            1 => Selector::Labelled(vec![]),
            _ => Selector::All,
        };
        let plan = Plan {
            good_windows: 1 + self.rng.below(2) as u32,
            window: Millis(4000),
            silence: Millis(60_000),
            patience: Millis(self.rng.below(60_000)),
            windows_max: 20,
            thaw_windows: self.rng.below(4) as u32,
            breaker: Millis(20_000),
            ..Plan::default()
        };
        Rollout {
            rollout: rollout_id(&alloc::format!("r-{n}")),
            release: release(["1.5.0", "1.6.0", "1.7.0"][n as usize % 3]),
            back: Some(release("1.4.0")),
            selector,
            policies: vec![],
            plan,
        }
    }

    fn report(&mut self, n: u64) -> CohortInput {
        let steer = self.cohort.helm().steer();
        let wanted = steer.as_ref().map_or_else(|| release("1.5.0"), |steer| steer.release.clone());
        // Where nothing is to fail, most devices do as they are told.
        let steady = if self.inclined == 0 { 40 } else { 4 };
        let on = self.rng.below(steady) > 0;
        let settled = self.rng.below(steady) > 0;
        let failed = self.rng.below(100) < self.inclined;
        let home = release("1.4.0");
        let sequence = self.sequences.entry(n).or_default();
        // Now and then one that came before, or comes late.
        *sequence += 1;
        let sequence = sequence.saturating_sub(self.rng.below(5) / 4 * 3);
        let standing = [
            Standing::Settled,
            Standing::OnTrial,
            Standing::Installing,
            Standing::GoingHome,
            Standing::Frozen,
            Standing::Excluded,
            Standing::Stranded,
        ][if settled { 0 } else { self.rng.below(7) as usize }];
        let (booted, confirmed) = match (on && !failed, settled) {
            (true, true) => (wanted.clone(), wanted.clone()),
            (true, false) => (wanted.clone(), home),
            (false, _) => (home.clone(), home),
        };
        let report = Report {
            sequence,
            at: self.now,
            boot: BootId(0),
            cohort: CohortId::parse(if self.rng.below(50) == 0 { "other" } else { "canary" }).unwrap(),
            steered: steer.map(|steer| {
                let lead = if self.rng.below(200) == 0 { self.rng.below(1 << 40) } else { 0 };
                (steer.rollout, Generation(steer.generation.0.saturating_add(lead)))
            }),
            booted,
            confirmed,
            standing,
            health: [Health::Good, Health::Bad, Health::Unknown][self.rng.below(3) as usize],
            condemned: if failed { vec![wanted.digest] } else { vec![] },
            journal: 0,
        };
        CohortInput::Report { device: device(n as usize), report, labels: vec![] }
    }

    /// Words of ours that were lost here, as the broker brings them; now and then from very far ahead.
    fn words(&mut self) -> CohortInput {
        let direction = [Direction::Forward, Direction::Hold, Direction::Home][self.rng.below(3) as usize];
        let newest = self.cohort.helm().generation().0;
        let generation = Generation(newest.saturating_add(self.rng.next_u64() >> (20 + self.rng.below(44))));
        let frozen = direction != Direction::Forward && self.rng.below(2) == 0;
        let reach = Reach::new(self.rng.below(1_000_001) as u32).unwrap();
        let Rollout { rollout, release, back, selector, policies, plan } = self.rollout();
        let steer = match self.cohort.helm().steer() {
            Some(steer) if self.rng.below(2) == 0 => Steer { generation, direction, frozen, reach, ..steer },
            Some(_) | None => Steer {
                rollout,
                generation,
                cohort: self.cohort.helm().cohort().clone(),
                selector,
                release,
                back,
                reach,
                direction,
                frozen,
                policies,
                reconnect_window: plan.reconnect_window,
            },
        };
        CohortInput::OwnWords { steer, plan }
    }

    fn input(&mut self) -> CohortInput {
        let n = self.rng.below(DEVICES);
        let id = device(n as usize);
        match self.rng.below(100) {
            0..=39 => self.report(n),
            40..=49 => {
                let contact = if self.rng.below(3) == 0 { Contact::Offline } else { Contact::Online };
                let nonce = self.rng.below(3) + self.now.0 / 10_000;
                CohortInput::Presence { device: id, nonce, began: Mono(nonce), contact }
            }
            50..=59 => {
                let (nonce, count) = (self.rng.below(3) + self.now.0 / 10_000, self.rng.next_u64());
                CohortInput::Beat { device: id, beat: Beat { nonce, count, health: Health::Bad } }
            }
            60..=61 => CohortInput::Left { device: id },
            62..=64 => CohortInput::Enrolled { device: id, labels: vec![] },
            65..=66 => {
                let rollout = self.rollout();
                CohortInput::Start { who: who(), rollout }
            }
            67 => {
                let wish = match self.rng.below(12) {
                    0 => Wish::Pause,
                    1..=2 => Wish::Resume,
                    3 => Wish::Abort,
                    4 => Wish::Rollback,
                    5..=8 => Wish::Thaw,
                    9..=10 => {
                        Wish::Lift(release(["1.5.0", "1.6.0", "1.7.0"][self.rng.below(3) as usize]).digest)
                    }
                    _ => Wish::CloseBreaker,
                };
                CohortInput::Operator { who: who(), wish, reason: None }
            }
            68 => self.words(),
            69 => CohortInput::Restarted,
            70..=84 => {
                let newest = self.tickets.len() as u64;
                let back = (self.rng.below(8) / 7).min(newest.saturating_sub(1));
                let ticket = self.tickets.get((newest - back).saturating_sub(1) as usize).copied();
                let reply = match self.rng.below(if self.inclined == 0 { 300 } else { 30 }) {
                    0 => Reply::Unanswered { why: "it trapped".into() },
                    1 => Reply::Decided(decision(Action::RollBack { how: How::AbortCanary })),
                    2 => Reply::Decided(decision(Action::Freeze)),
                    3 => Reply::Decided(decision(Action::Slow { windows: 1 + self.rng.below(100) as u32 })),
                    4 => Reply::Decided(decision(Action::Heal { playbook: None })),
                    _ => Reply::Decided(decision(Action::Proceed)),
                };
                CohortInput::Policy { ticket: ticket.unwrap_or_default(), reply }
            }
            _ => {
                let until = self.cohort.deadline().filter(|_| self.rng.below(2) == 0);
                let later = self.now.after(Millis(self.rng.below(600)));
                self.now = until.map_or(later, |at| at.max(self.now));
                CohortInput::Tick
            }
        }
    }

    fn run(seed: u64) -> Witness {
        let mut rng = Rng::new(seed);
        let inclined = [0, 2, 30][rng.below(3) as usize];
        let mut walk = Self {
            rng,
            now: Mono(1),
            cohort: Cohort::new(CohortId::parse("canary").unwrap()),
            witness: Witness::default(),
            sequences: BTreeMap::new(),
            tickets: vec![],
            inclined,
        };
        for _ in 0..STEPS {
            let input = walk.input();
            let is_rollback = matches!(&input, CohortInput::Operator { wish: Wish::Rollback, .. });
            if input == CohortInput::Restarted {
                walk.cohort = Cohort::restore(walk.cohort.helm().clone(), walk.cohort.roster().clone());
            }
            let effects = walk.cohort.clone().step(walk.now, input.clone());
            assert_eq!(effects, walk.cohort.step(walk.now, input), "the same input has the same effects");
            walk.tickets.extend(effects.iter().filter_map(|effect| match effect {
                CohortEffect::Ask { ticket, .. } => Some(*ticket),
                CohortEffect::Record(_) | CohortEffect::Publish(_) => None,
            }));
            walk.witness.sees(walk.now, &walk.cohort, &effects, is_rollback);
            // Whoever follows the deadlines never misses one, and never spins.
            if walk.cohort.deadline().is_some_and(|at| at <= walk.now) {
                panic!("seed {seed}: a deadline that was reached still stands");
            }
        }
        walk.witness
    }
}

#[test]
fn rails_hold_on_any_way() {
    let (mut forwards, mut turns, mut holds, mut completions) = (0, 0, 0, 0);
    for seed in 0..60 {
        let witness = Walk::run(seed);
        forwards += witness.forwards;
        turns += witness.turns;
        holds += witness.holds;
        completions += witness.completions;
    }
    // A walk that never gets anywhere proves nothing.
    assert!(
        forwards > 800 && turns > 100 && holds > 400 && completions > 15,
        "{forwards} forwards, {turns} turns, {holds} holds, {completions} completions"
    );
}
