//! A device's life, recorded as the agent records it, and made again: the same in both engines; one changed outcome, one
//! changed answer, another configuration or another version is found, and named.
#![expect(clippy::wildcard_enum_match_arm, reason = "a story is about the kinds that it names")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod wasm;

use std::{collections::BTreeMap, sync::OnceLock};

use backstay_evidence::{Chain, Record};
use backstay_host::{Config, Value};
use backstay_kit::{Dice, Kind, Replayed, Shelf, Trial, Verdict, facts, replay};
use backstay_model::{
    Access, Action, Answer, Came, Cause, Decision, Event, Fence, Mono, Name, Order, PluginRole, Reason,
    SlotDeed, SlotStatus, Task, Ticket, Told,
};
use backstay_plugins::{Next, Run, Steps, trace};
use backstay_trust::Keyring;
use backstay_wire::{Entry, encode};

fn plugins() -> &'static [Trial; 2] {
    static PLUGINS: OnceLock<[Trial; 2]> = OnceLock::new();
    PLUGINS.get_or_init(|| ["policy-tree", "executor-ota"].map(|package| wasm::trial(package, "0.1.0")))
}

fn shelf(kind: Kind, trials: &[&Trial]) -> Shelf {
    let (mut shelf, engine) = (Shelf::default(), kind.engine().unwrap());
    for trial in trials {
        shelf.add(&engine, &Keyring::decode(&trial.keyring).unwrap(), &trial.bundle).unwrap();
    }
    shelf
}

struct Bound<'a>(&'a backstay_host::Executor, &'a Config);

impl Steps for Bound<'_> {
    fn step(
        &self,
        state: &[u8],
        event: &backstay_host::Event,
    ) -> Result<backstay_host::Stepped, backstay_host::CallError> {
        self.0.step(self.1, state, event)
    }
}

/// What the agent writes down: plugins, a few decisions, and an installation in the middle of which it went down.
fn life() -> Vec<Event> {
    let [policy_trial, executor_trial] = plugins();
    let shelf = shelf(Kind::Native, &[policy_trial, executor_trial]);
    let policy = shelf.policy(&policy_trial.grant).unwrap();
    let executor = shelf.executor(&executor_trial.grant).unwrap();
    let config = Config::new([(Name::parse("consecutive").unwrap(), Value::Number(3))]).unwrap();
    let plain = Config::default();
    let of = |role, id, version, grant, config, said| {
        Event::Equipped(trace::equipped(role, (id, version, grant), config, said))
    };
    let mut events = vec![
        of(
            PluginRole::Policy,
            policy.id(),
            policy.version(),
            policy.grant(),
            &config,
            &policy.describe().unwrap(),
        ),
        of(
            PluginRole::Executor,
            executor.id(),
            executor.version(),
            executor.grant(),
            &plain,
            &executor.describe().unwrap(),
        ),
    ];
    let mut dice = Dice::new(7);
    for n in 1..=20 {
        let (ticket, facts) = (Ticket(n), facts(&mut dice));
        let decided = policy.decide(&config, &facts, &[]);
        let came = trace::came_of_decision(&decided);
        events.push(Event::Asked { ticket, facts });
        events.push(Event::Decided { ticket, decision: decided.unwrap().decision });
        events.push(Event::Consulted { ticket, grant: *policy.grant(), prior: trace::memo(&[]), came });
    }
    let (old, new) = (release("1.4.0"), release("1.5.0"));
    let mut slots = SlotStatus { booted: old.clone(), confirmed: old, other: None, trying: None };
    let ticket = Ticket(30);
    let order = Order { ticket, fence: Fence(1), task: Task::Install { release: new } };
    events.push(Event::Ordered { order: order.clone(), cause: Cause::NoData });
    let bound = Bound(executor, &plain);
    let (mut run, mut next) = Run::begin(&bound, order.clone()).unwrap();
    let mut answers: Vec<(u32, Answer)> = Vec::new();
    loop {
        events.push(Event::Stepped { ticket, grant: *executor.grant(), came: run.came() });
        let effects = match next {
            Next::End(outcome) => {
                events.push(Event::Ended { ticket, fence: Fence(1), outcome });
                return events;
            }
            Next::Do(effects) => effects,
        };
        let [effect] = &effects[..] else { panic!("{effects:?}") };
        let (what, changes) = (Reason::new(effect.deed.to_string()).0, effect.access == Access::Changes);
        let ordinal = effect.ordinal;
        events.push(Event::EffectBegan { ticket, ordinal, what, changes });
        let stage = matches!(&effect.deed, backstay_model::Deed::Slot(SlotDeed::Stage(_)));
        let answer = match &effect.deed {
            backstay_model::Deed::Slot(SlotDeed::Status) => Answer::Slots(slots.clone()),
            backstay_model::Deed::Slot(SlotDeed::Stage(release)) => {
                slots.other = Some(release.clone());
                // The agent went down here: the outcome isn't known.
                Answer::InDoubt
            }
            backstay_model::Deed::Slot(SlotDeed::TryNext(release)) => {
                slots.trying = Some(release.clone());
                Answer::Done
            }
            _ => {
                slots.booted = slots.trying.clone().unwrap();
                Answer::Exited { code: Some(0), output: Default::default() }
            }
        };
        let outcome = postcard::to_allocvec(&answer).unwrap();
        events.push(Event::EffectEnded { ticket, ordinal, outcome });
        answers.push((ordinal, answer.clone()));
        if stage {
            (run, next) = Run::resume(&bound, order.clone(), answers.iter().cloned()).unwrap();
        } else {
            next = run.answer(&bound, ordinal, answer).unwrap();
        }
    }
}

fn release(version: &str) -> backstay_model::Release {
    backstay_kit::release(&version.parse().unwrap())
}

fn records(events: &[Event]) -> Vec<u8> {
    let chain = Chain::new("device");
    let mut head = chain.genesis();
    let mut bytes = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let seq = n as u64 + 1;
        let body = encode(&Entry { at: Mono(seq * 1000), event: event.clone(), snapshot: None }).unwrap();
        let record = Record { seq, epoch: 1, prev: head.hash, body };
        head = chain.head_of(&record.frame());
        bytes.extend(record.encode());
    }
    bytes
}

fn again(events: &[Event], kind: Kind) -> Replayed {
    let [policy, executor] = plugins();
    replay(&records(events), &shelf(kind, &[policy, executor]), &BTreeMap::new()).unwrap()
}

#[test]
fn a_life_is_made_again_without_a_difference_in_both_engines() {
    let life = life();
    let native = again(&life, Kind::Native);
    assert_eq!(native.verdict(), Verdict::Same, "{native:#?}");
    assert_eq!((native.decisions.recorded, native.decisions.again), (20, 20));
    assert!(native.steps.recorded > 5 && native.steps.again == native.steps.recorded, "{:?}", native.steps);
    assert_eq!((native.runs, native.left_out.len()), (1, 0));
    assert_eq!(again(&life, Kind::Portable), native);
}

#[test]
fn one_changed_outcome_is_found_and_named() {
    let mut life = life();
    let at = life.iter().position(|event| matches!(event, Event::EffectEnded { ordinal: 0, .. })).unwrap();
    let Event::EffectEnded { outcome, .. } = &mut life[at] else { unreachable!() };
    let Answer::Slots(mut slots) = postcard::from_bytes(outcome).unwrap() else { unreachable!() };
    slots.booted = release("1.5.0");
    *outcome = postcard::to_allocvec(&Answer::Slots(slots)).unwrap();
    let replayed = again(&life, Kind::Native);
    assert_eq!(replayed.verdict(), Verdict::Different);
    let first = &replayed.differences[0];
    // The step that follows the outcome is the first that can show it.
    assert_eq!(first.seq, at as u64 + 2, "{first}");
    assert!(first.plugin.starts_with("backstay/executor-ota 0.1.0 "), "{first}");
    assert!(first.now.contains("ended: done") && first.then.starts_with("answer "), "{first}");
}

#[test]
fn one_changed_answer_is_found_with_both_sides() {
    let mut life = life();
    let decides = |event: &Event| matches!(event, Event::Decided { decision, .. } if decision.action != Action::Proceed);
    let at = life.iter().position(decides).unwrap();
    let Event::Decided { decision, .. } = &mut life[at] else { unreachable!() };
    let was = decision.action.to_string();
    *decision = Decision { action: Action::Proceed, reasons: vec![Reason::new("all is well".into())] };
    let replayed = again(&life, Kind::Native);
    assert_eq!((replayed.verdict(), replayed.different), (Verdict::Different, 1));
    let first = &replayed.differences[0];
    assert_eq!(first.what, "the decision");
    assert!(first.then.starts_with("proceed: all is well") && first.now.starts_with(&was), "{first}");
}

/// Two targets share an executor, and each tells it other things: what counts is how it was set up when it took the run.
#[test]
fn a_run_is_made_again_as_its_executor_was_set_up_when_it_took_it() {
    let mut life = life();
    let at = life.iter().position(|event| matches!(event, Event::Ordered { .. })).unwrap();
    let Event::Ordered { order, .. } = &life[at] else { unreachable!() };
    let ticket = order.ticket;
    let is_executor =
        |event: &&Event| matches!(event, Event::Equipped(of) if of.role == PluginRole::Executor);
    let Event::Equipped(own) = life.iter().find(is_executor).unwrap().clone() else { unreachable!() };
    let grant = own.grant;
    let mut other = own;
    other.settings.push((Name::parse("restart").unwrap(), Told::Text("restart-other".into())));
    let between = [Event::RunTaken { ticket, grant }, Event::Equipped(other)];
    life.splice(at + 1..at + 1, between.clone());
    assert_eq!(again(&life, Kind::Native).verdict(), Verdict::Same);
    // Taken under the other setup it would have asked for another command.
    life.swap(at + 1, at + 2);
    assert_eq!(again(&life, Kind::Native).verdict(), Verdict::Different);
    // How it was set up then was pruned: what is told of another run of it says nothing of this one.
    life.swap(at + 1, at + 2);
    life.retain(|event| !matches!(event, Event::Equipped(of) if of.grant == grant && of.settings.is_empty()));
    let replayed = again(&life, Kind::Native);
    assert!(replayed.differences.is_empty(), "{:#?}", replayed.differences);
    assert_eq!(replayed.steps.again, 0);
}

#[test]
fn another_configuration_is_found() {
    let mut life = life();
    let Event::Equipped(equipped) = &mut life[0] else { unreachable!() };
    equipped.settings[0].1 = Told::Number(1);
    let replayed = again(&life, Kind::Native);
    assert_eq!(replayed.verdict(), Verdict::Different);
    assert!(replayed.differences[0].plugin.starts_with("backstay/policy-tree"));
}

#[test]
fn another_version_does_not_stand_in_for_the_one_that_ran() {
    let [policy, _] = plugins();
    let newer = wasm::trial("executor-ota", "0.2.0");
    let shelf = shelf(Kind::Native, &[policy, &newer]);
    let replayed = replay(&records(&life()), &shelf, &BTreeMap::new()).unwrap();
    assert_eq!(replayed.verdict(), Verdict::Incomplete);
    let missing: Vec<_> = replayed.missing.values().map(String::as_str).collect();
    assert_eq!(missing, ["backstay/executor-ota 0.1.0"]);
    assert_eq!((replayed.different, replayed.decisions.again, replayed.steps.again), (0, 20, 0));
}

#[test]
fn what_can_not_be_made_again_is_counted_with_its_reason() {
    let life = life();
    // Written before plugins were recorded.
    let plain = |event: &&Event| {
        !matches!(event, Event::Equipped(_) | Event::Consulted { .. } | Event::Stepped { .. })
    };
    let before: Vec<Event> = life.iter().filter(plain).cloned().collect();
    let replayed = again(&before, Kind::Native);
    assert_eq!((replayed.verdict(), replayed.decisions.again), (Verdict::Incomplete, 0));
    assert_eq!(
        replayed.left_out,
        BTreeMap::from([("the records do not say which plugin answered".into(), 20)])
    );

    // A journal that was pruned begins in the middle of a run.
    let at = life.iter().position(|event| matches!(event, Event::Ordered { .. })).unwrap();
    let mut late = life[..2].to_vec();
    late.extend_from_slice(&life[at + 3..]);
    let replayed = again(&late, Kind::Native);
    assert!(replayed.steps.recorded > 0 && replayed.steps.again == 0);
    assert!(
        replayed.left_out.contains_key("the beginning of the run is not in these records"),
        "{replayed:?}"
    );

    // The machine ran out of time: what it would have answered nobody knows.
    let mut slow = life.clone();
    for event in &mut slow {
        if let Event::Consulted { ticket: Ticket(3), came, .. } = event {
            *came = Came::Unlucky;
        }
    }
    let replayed = again(&slow, Kind::Native);
    assert_eq!((replayed.verdict(), replayed.decisions.again), (Verdict::Same, 19));
    assert_eq!(replayed.left_out.values().sum::<u64>(), 1);
}

#[test]
fn a_setting_that_was_withheld_is_asked_for_and_can_be_given() {
    let mut life = life();
    let Event::Equipped(equipped) = &mut life[0] else { unreachable!() };
    equipped.withheld = equipped.settings.drain(..).map(|(name, _)| name).collect();
    let (records, [policy, executor]) = (records(&life), plugins());
    let shelf = shelf(Kind::Native, &[policy, executor]);
    let without = replay(&records, &shelf, &BTreeMap::new()).unwrap();
    assert_eq!((without.verdict(), without.decisions.again), (Verdict::Incomplete, 0));
    assert_eq!(without.withheld["backstay/policy-tree"], [Name::parse("consecutive").unwrap()]);
    let given = vec![(Name::parse("consecutive").unwrap(), Told::Number(3))];
    let given = BTreeMap::from([("backstay/policy-tree".parse().unwrap(), given)]);
    let with = replay(&records, &shelf, &given).unwrap();
    assert_eq!((with.verdict(), with.decisions.again), (Verdict::Same, 20));
}

#[test]
fn records_that_are_none_end_the_reading() {
    let mut bytes = records(&life());
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let [policy, executor] = plugins();
    assert!(replay(&bytes, &shelf(Kind::Native, &[policy, executor]), &BTreeMap::new()).is_err());
}
