//! The plugins that ship, built, compiled, signed, verified and called: they answer as their sources do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod common;

use backstay_host::{
    CallError, Config, Engine, Event, Machine, Plugin, StrikeKind, Value, compile_component, world_of,
};
use backstay_model as model;
use backstay_model::{
    Action, Answer, Breaker, Deed, Facts, Fence, How, Infra, InfraKind, Millis, Mono, Name, Objective, Order,
    Outcome, Permille, Release, Schema, Scope, SlotDeed, SlotStatus, Task, Ticket, Window,
};
use backstay_sdk::{executor as sdk_executor, policy as sdk, policy::Policy as _};
use backstay_trust::Permissions;
use common::Dice;

fn release(n: u64) -> Release {
    Release {
        version: format!("1.{n}.0").parse().unwrap(),
        digest: model::Digest([n as u8; 32]),
        length: 1000 + n,
        security_epoch: 1,
    }
}

/// Facts as they may be, and as they had better not be.
fn facts(dice: &mut Dice) -> Facts {
    let objectives = (0..dice.below(6))
        .map(|n| Objective {
            name: Name::parse(&format!("objective-{n}")).unwrap(),
            critical: dice.below(3) > 0,
            scope: if dice.below(3) > 0 { Scope::Local } else { Scope::Dependency },
            candidate: windows(dice),
            baseline: windows(dice),
        })
        .collect();
    let infra = (0..dice.below(3).saturating_sub(1))
        .map(|_| {
            let kinds = [
                InfraKind::ProcessExited,
                InfraKind::OutOfMemory,
                InfraKind::MachineLost,
                InfraKind::Disk,
                InfraKind::Network,
            ];
            Infra { kind: kinds[dice.below(5) as usize], count: dice.below(5) as u32 }
        })
        .collect();
    Facts {
        now: Mono(dice.below(u64::MAX)),
        release: release(dice.below(9)),
        stage: Permille::new(dice.below(1001) as u16).unwrap(),
        on_trial: dice.coin(),
        objectives,
        anomaly: dice.coin().then(|| Permille::new(dice.below(1001) as u16).unwrap()),
        infra,
        attempts: dice.below(5) as u32,
        breaker: match dice.below(3) {
            0 => Breaker::Closed,
            1 => Breaker::Open { left: Millis(dice.below(u64::MAX)) },
            _ => Breaker::HalfOpen,
        },
        schema: match dice.below(6) {
            0 => Schema::OneWay(7),
            1 => Schema::Compatible(7),
            _ => Schema::Unknown,
        },
    }
}

fn windows(dice: &mut Dice) -> Vec<Window> {
    let count = dice.below(5);
    (0..count)
        .map(|n| {
            let samples = if dice.below(5) == 0 { 0 } else { dice.below(40) as u32 };
            let bad = if dice.coin() { 0 } else { dice.below(u64::from(samples) + 1) as u32 };
            Window { opened: Mono(n * 60_000), span: Millis(60_000), samples, bad }
        })
        .collect()
}

/// The same facts in the words of the SDK.
fn native(facts: &Facts) -> sdk::Facts {
    let windows = |windows: &[Window]| {
        let window =
            |w: &Window| sdk::Window { opened: w.opened.0, span: w.span.0, samples: w.samples, bad: w.bad };
        windows.iter().map(window).collect()
    };
    sdk::Facts {
        now: facts.now.0,
        release: native_release(&facts.release),
        stage: facts.stage.get(),
        on_trial: facts.on_trial,
        objectives: facts
            .objectives
            .iter()
            .map(|objective| sdk::Objective {
                name: objective.name.to_string(),
                critical: objective.critical,
                scope: match objective.scope {
                    Scope::Local => sdk::Scope::Local,
                    Scope::Dependency => sdk::Scope::Dependency,
                },
                candidate: windows(&objective.candidate),
                baseline: windows(&objective.baseline),
            })
            .collect(),
        anomaly: facts.anomaly.map(Permille::get),
        infra: facts
            .infra
            .iter()
            .map(|infra| sdk::Infra {
                kind: match infra.kind {
                    InfraKind::ProcessExited => sdk::InfraKind::ProcessExited,
                    InfraKind::OutOfMemory => sdk::InfraKind::OutOfMemory,
                    InfraKind::MachineLost => sdk::InfraKind::MachineLost,
                    InfraKind::Disk => sdk::InfraKind::Disk,
                    InfraKind::Network => sdk::InfraKind::Network,
                },
                count: infra.count,
            })
            .collect(),
        attempts: facts.attempts,
        breaker: match facts.breaker {
            Breaker::Closed => sdk::Breaker::Closed,
            Breaker::Open { left } => sdk::Breaker::Open(left.0),
            Breaker::HalfOpen => sdk::Breaker::HalfOpen,
        },
        schema: match facts.schema {
            Schema::Unknown => sdk::Schema::Unknown,
            Schema::Compatible(version) => sdk::Schema::Compatible(version),
            Schema::OneWay(version) => sdk::Schema::OneWay(version),
        },
    }
}

fn native_release(release: &Release) -> sdk::Release {
    sdk::Release {
        version: release.version.to_string(),
        digest: release.digest.to_string(),
        length: release.length,
        security_epoch: release.security_epoch,
    }
}

fn action(native: &sdk::Action) -> Action {
    match native {
        sdk::Action::Proceed => Action::Proceed,
        sdk::Action::Slow(windows) => Action::Slow { windows: *windows },
        sdk::Action::Heal(playbook) => {
            Action::Heal { playbook: playbook.as_deref().map(|name| Name::parse(name).unwrap()) }
        }
        sdk::Action::RollBack(sdk::How::AbortCanary) => Action::RollBack { how: How::AbortCanary },
        sdk::Action::RollBack(sdk::How::SwitchAndFreeze) => Action::RollBack { how: How::SwitchAndFreeze },
        sdk::Action::Freeze => Action::Freeze,
        sdk::Action::Pause => Action::Pause,
    }
}

#[test]
fn a_policy_decides_in_the_sandbox_as_it_does_outside() {
    let engine = Engine::new().unwrap();
    let component = common::component("policy-tree");
    let policy =
        common::load(&engine, &component, Permissions::default(), common::PATIENT).into_policy().unwrap();
    let mut dice = Dice(1);
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..600 {
        let facts = facts(&mut dice);
        let outside = policy_tree::Tree::decide(&[], &native(&facts), &[]).unwrap();
        let inside = policy.decide(&Config::default(), &facts, &[]).unwrap();
        assert_eq!(inside.decision.action, action(&outside.decision.action), "{facts:?}");
        let reasons: Vec<_> = inside.decision.reasons.iter().map(|reason| &reason.0).collect();
        let outside: Vec<_> = outside.decision.reasons.iter().collect();
        assert_eq!(reasons, outside, "{facts:?}");
        assert!(inside.memo.is_empty());
        let kind = format!("{:?}", inside.decision.action);
        *seen.entry(kind.split(' ').next().unwrap().into()).or_default() += 1;
    }
    // The facts were such that every kind of decision came up.
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn a_plugin_says_what_can_be_set_and_holds_a_configuration_against_it() {
    let engine = Engine::new().unwrap();
    let component = common::component("policy-tree");
    let policy =
        common::load(&engine, &component, Permissions::default(), common::PATIENT).into_policy().unwrap();
    let description = policy.describe().unwrap();
    assert!(description.settings.iter().any(|setting| setting.name.as_str() == "consecutive"));
    let name = |text: &str| Name::parse(text).unwrap();
    let config = Config::new([
        (name("consecutive"), Value::Number(17)),
        (name("breach-permille-of"), Value::Texts(vec!["http".into()])),
    ])
    .unwrap();
    let problems: Vec<_> = policy.validate(&config).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "consecutive: 17 isn't within 1 to 16",
            "breach-permille-of: \"http\" isn't name=permille with a share of 1 to 1000: write \"http=50\"",
        ]
    );
    let config = Config::new([(name("consecutive"), Value::Number(1))]).unwrap();
    assert_eq!(policy.validate(&config).unwrap(), []);
}

/// A device in two slots, told in answers.
struct Device {
    slots: SlotStatus,
}

impl Device {
    fn does(&mut self, deed: &Deed) -> Answer {
        match deed {
            Deed::Slot(SlotDeed::Status) => return Answer::Slots(self.slots.clone()),
            Deed::Slot(SlotDeed::Stage(release)) => self.slots.other = Some(release.clone()),
            Deed::Slot(SlotDeed::TryNext(release)) => self.slots.trying = Some(release.clone()),
            Deed::Run { .. } => {
                let before = self.slots.booted.clone();
                self.slots.booted = self.slots.trying.clone().unwrap();
                self.slots.other = Some(before);
                return Answer::InDoubt;
            }
            Deed::Slot(_)
            | Deed::Http { .. }
            | Deed::File { .. }
            | Deed::Publish { .. }
            | Deed::Sleep { .. }
            | Deed::Attach { .. } => {}
        }
        Answer::Done
    }
}

fn install() -> Event {
    let task = Task::Install { release: release(5) };
    Event::Begin(Order { ticket: Ticket(1), fence: Fence(1), task })
}

#[test]
fn an_executor_runs_in_the_sandbox_step_by_step() {
    let engine = Engine::new().unwrap();
    let component = common::component("executor-ota");
    let granted = common::permissions(&["restart"], true);
    let executor = common::load(&engine, &component, granted, common::PATIENT).into_executor().unwrap();
    let mut device =
        Device { slots: SlotStatus { booted: release(4), confirmed: release(4), other: None, trying: None } };
    let config = Config::default();
    let mut stepped = executor.step(&config, &[], &install()).unwrap();
    // The state in the sandbox is the state outside: a run can be replayed anywhere.
    let task = sdk_executor::Task::Install(native_release(&release(5)));
    let begin = sdk_executor::Event::Begin(sdk_executor::Order { ticket: 1, fence: 1, task });
    let outside = sdk_executor::step::<executor_ota::Ota>(&[], &[], begin).unwrap();
    assert_eq!(stepped.state, outside.state);
    let mut deeds = 0;
    while stepped.end.is_none() {
        let [effect] = &stepped.effects[..] else { panic!("{stepped:?}") };
        let answer = device.does(&effect.deed);
        let event = Event::Answered { ordinal: effect.ordinal, answer };
        stepped = executor.step(&config, &stepped.state, &event).unwrap();
        deeds += 1;
        assert!(deeds < 50, "{stepped:?}");
    }
    assert_eq!(stepped.end, Some(Outcome::Done));
    assert_eq!(device.slots.booted, release(5));
}

#[test]
fn what_is_not_granted_is_a_strike_that_names_it() {
    let engine = Engine::new().unwrap();
    let component = common::component("executor-ota");
    let executor =
        common::load(&engine, &component, Permissions::default(), common::PATIENT).into_executor().unwrap();
    let error = executor.step(&Config::default(), &[], &install()).unwrap_err();
    let strike = error.as_strike().unwrap();
    assert_eq!((strike.kind, strike.why.as_str()), (StrikeKind::BadOutput, "effect 0: slot is not granted"));
    assert!(error.help().is_some());
}

#[test]
fn a_state_that_is_not_its_own_is_no_strike() {
    let engine = Engine::new().unwrap();
    let component = common::component("executor-ota");
    let granted = common::permissions(&["restart"], true);
    let executor = common::load(&engine, &component, granted, common::PATIENT).into_executor().unwrap();
    let answered = Event::Answered { ordinal: 0, answer: Answer::Done };
    let config = Config::default();
    let begun = executor.step(&config, &[], &install()).unwrap();
    for cut in 0..begun.state.len() {
        let error = executor.step(&config, &begun.state[..cut], &answered).unwrap_err();
        assert!(matches!(error, CallError::Diverged { .. } | CallError::Unexpected { .. }), "{cut}: {error}");
    }
    let error = executor.step(&config, &begun.state, &install()).unwrap_err();
    assert!(matches!(error, CallError::Unexpected { .. }), "{error}");
    let error = executor.step(&config, &[0; (64 << 10) + 1], &answered).unwrap_err();
    assert!(matches!(error, CallError::TooLarge { has: 65537, most: 65536, .. }), "{error}");
}

#[test]
fn a_component_is_compiled_for_every_machine_and_runs_on_its_own() {
    let component = common::component("policy-tree");
    assert_eq!(world_of(&component).unwrap(), backstay_host::world_policy());
    let engine = Engine::new().unwrap();
    for kind in Machine::ALL {
        let compiled = compile_component(&component, kind).unwrap();
        assert_eq!(compiled.target, kind.target());
        if kind == common::here() {
            continue;
        }
        // Signed as if it were for this machine, which an operator's mistake could make of it.
        let mixed = backstay_host::Compiled { target: backstay_host::machine(), ..compiled };
        let verified = common::sign(&component, &mixed, Permissions::default(), common::PATIENT);
        let error = Plugin::load(&engine, &verified).unwrap_err();
        assert_eq!(error.to_string(), "the code of plugin backstay/tested can't be loaded");
    }
}
