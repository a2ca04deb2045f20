//! One of each event and of each cause, in the order of their numbers.

use backstay_model::{
    Action, BootId, Breaker, Came, Cause, CohortId, Decision, DeviceId, Digest, Direction, Equipped, Event,
    Excluded, Facts, Fence, Generation, Handover, HandoverStep, Infra, InfraKind, Memo, Millis, Mono, Name,
    Objective, Order, Outcome, Permille, PluginId, PluginRole, PluginUpgrade, Reach, Reason, Refused,
    ResetCause, RolloutId, Schema, Scope, Task, Ticket, Told, Transience, UpgradeStep, Window, Word,
};

use crate::samples::release;

fn name() -> Name {
    Name::parse("http").unwrap()
}

fn rollout() -> RolloutId {
    RolloutId::parse("r-12").unwrap()
}

fn decision() -> Decision {
    Decision { action: Action::Freeze, reasons: vec![Reason::new("no data".into())] }
}

fn failed() -> Outcome {
    Outcome::Failed { transience: Transience::Transient, why: "no space".into() }
}

fn facts() -> Facts {
    let window = Window { opened: Mono(1), span: Millis(600_000), samples: 10, bad: 1 };
    let objective = Objective {
        name: name(),
        critical: true,
        scope: Scope::Local,
        candidate: vec![window],
        baseline: vec![window],
    };
    Facts {
        now: Mono(2),
        release: release("1.5.0", 5),
        stage: Permille::ALL,
        on_trial: true,
        objectives: vec![objective],
        anomaly: Permille::new(5),
        infra: vec![Infra { kind: InfraKind::Disk, count: 1 }],
        attempts: 2,
        breaker: Breaker::Open { left: Millis(3) },
        schema: Schema::OneWay(4),
    }
}

pub(crate) fn causes() -> Vec<Cause> {
    vec![
        Cause::Policy { decision: decision() },
        Cause::Steering { rollout: rollout(), generation: Generation(3) },
        Cause::TrialFailed { after: Millis(4) },
        Cause::FellBack,
        Cause::LadderSpent { attempts: 5 },
        Cause::NoData,
        Cause::NoPolicy,
        Cause::BudgetSpent { switches: 2, span: Millis(86_400_000) },
        Cause::BreakerOpen { left: Millis(6) },
        Cause::IsCondemned,
        Cause::NoWayHome,
        Cause::EpochDown { floor: 7 },
        Cause::Locked,
        Cause::RunFailed { outcome: failed() },
        Cause::Operator { who: name() },
        Cause::CohortFailed { failed: 3, tried: 40 },
        Cause::Dependency { probe: name() },
        Cause::NotVetted { why: "other hardware".into() },
        Cause::Reconfigured,
        Cause::Lost,
    ]
}

pub(crate) fn cause_number(cause: &Cause) -> usize {
    match cause {
        Cause::Policy { .. } => 0,
        Cause::Steering { .. } => 1,
        Cause::TrialFailed { .. } => 2,
        Cause::FellBack => 3,
        Cause::LadderSpent { .. } => 4,
        Cause::NoData => 5,
        Cause::NoPolicy => 6,
        Cause::BudgetSpent { .. } => 7,
        Cause::BreakerOpen { .. } => 8,
        Cause::IsCondemned => 9,
        Cause::NoWayHome => 10,
        Cause::EpochDown { .. } => 11,
        Cause::Locked => 12,
        Cause::RunFailed { .. } => 13,
        Cause::Operator { .. } => 14,
        Cause::CohortFailed { .. } => 15,
        Cause::Dependency { .. } => 16,
        Cause::NotVetted { .. } => 17,
        Cause::Reconfigured => 18,
        Cause::Lost => 19,
    }
}

pub(crate) fn all() -> Vec<Event> {
    let (ticket, fence, cause) = (Ticket(21), Fence(22), Cause::NoData);
    let (old, new) = (release("1.4.0", 4), release("1.5.0", 5));
    let (generation, reach) = (Generation(3), Reach::ALL);
    let cohort = CohortId::parse("canary").unwrap();
    vec![
        Event::Started { boot: BootId(1), booted: new.clone(), confirmed: old.clone() },
        Event::Steered {
            rollout: rollout(),
            generation,
            direction: Direction::Home,
            release: new.clone(),
            reach,
        },
        Event::Refused(Refused { what: "topic".into(), why: "replayed".into(), count: 2 }),
        Event::Asked { ticket, facts: facts() },
        Event::Decided { ticket, decision: decision() },
        Event::Unanswered { ticket, why: "trapped".into() },
        Event::Restrained { wanted: Action::Proceed, rail: cause.clone() },
        Event::Ordered {
            order: Order { ticket, fence, task: Task::Install { release: new.clone() } },
            cause: cause.clone(),
        },
        Event::Ended { ticket, fence, outcome: failed() },
        Event::TrialBegan { release: new.clone(), back: old.clone(), needs: Millis(4) },
        Event::Confirmed { release: new.clone(), boot: BootId(1) },
        Event::Condemned { release: new.clone(), cause: cause.clone() },
        Event::CameHome { from: new, to: old, took: Millis(5), cause: cause.clone() },
        Event::Froze { cause: cause.clone() },
        Event::Thawed { cause: cause.clone() },
        Event::Excluded(Excluded {
            rollout: rollout(),
            until: Some(Mono(6)),
            attempts: 1,
            cause: cause.clone(),
        }),
        Event::Waits { attempts: 1, until: Mono(7) },
        Event::Cured { attempts: 2 },
        Event::WaveOpened { rollout: rollout(), wave: 1, share: Permille::ALL, reach },
        Event::Turned { cohort: cohort.clone(), rollout: rollout(), on_release: 8, cause },
        Event::Completed { rollout: rollout(), confirmed: 9, excluded: 1 },
        Event::BreakerOpened { until: Mono(10) },
        Event::BreakerClosed,
        Event::Enrolled { device: DeviceId::parse("pump-7").unwrap(), cohort, key: Digest([1; 32]) },
        Event::EffectBegan { ticket, ordinal: 1, what: "slot stage".into(), changes: true },
        Event::EffectEnded { ticket, ordinal: 1, outcome: vec![1, 2] },
        Event::Degraded { what: "journal".into() },
        Event::Override { who: name(), what: "thaw".into() },
        Event::Gap { after: 300, why: "torn tail".into() },
        Event::Told { sequence: 4, word: Word::Lift(Digest([5; 32])) },
        Event::Quarantined {
            plugin: PluginId::parse("acme/executor-pump").unwrap(),
            grant: Digest([6; 32]),
            strikes: 3,
            why: "trapped".into(),
        },
        Event::Equipped(Equipped {
            role: PluginRole::Policy,
            plugin: PluginId::parse("acme/policy-pump").unwrap(),
            version: "1.2.0".parse().unwrap(),
            grant: Digest([7; 32]),
            settings: vec![
                (name(), Told::Number(5)),
                (name(), Told::Text("a".into())),
                (name(), Told::Flag(true)),
                (name(), Told::Texts(vec!["b".into()])),
            ],
            withheld: vec![name()],
        }),
        Event::Consulted {
            ticket,
            grant: Digest([7; 32]),
            prior: Memo::Whole(vec![1, 2, 3]),
            came: Came::To(Digest([8; 32])),
        },
        Event::Stepped { ticket, grant: Digest([9; 32]), came: Came::Unlucky },
        Event::RunTaken { ticket, grant: Digest([6; 32]) },
        Event::Stranded { cause: Cause::NoWayHome, again: Mono(11) },
        handover(HandoverStep::Shadows { beside: Digest([8; 32]) }),
        Event::BroughtDown { plugin: PluginId::parse("acme/policy-pump").unwrap(), grant: Digest([7; 32]) },
        Event::Trusts { number: 2, keyring: Digest([8; 32]), revocation: Some(5) },
        upgrade(UpgradeStep::Confirmed),
        Event::Target(vec![1, 2, 3]),
        Event::Reset { boot: BootId(2), cause: ResetCause::Unknown, tries_left: Some(3) },
        Event::Captured { release: release("1.5.0", 5), files: 2, left: "pump.key: by its name".into() },
    ]
}

fn handover(step: HandoverStep) -> Event {
    let (plugin, version) = (PluginId::parse("acme/policy-pump").unwrap(), "2.0".parse().unwrap());
    Event::Handover(Handover { plugin, version, grant: Digest([7; 32]), step })
}

fn upgrade(step: UpgradeStep) -> Event {
    Event::Upgrade(PluginUpgrade { bundle: release("1.1.0", 7), step })
}

/// Every step of a device that is steered to a plugin, in the order of their numbers.
pub(crate) fn upgrades() -> Vec<Event> {
    let (generation, reach) = (Generation(3), Reach::ALL);
    let plugin = PluginId::parse("acme/policy-pump").unwrap();
    let (role, grant, back) = (PluginRole::Policy, Digest([6; 32]), Some(release("1.0.0", 6)));
    let steps = [
        UpgradeStep::Steered { rollout: rollout(), generation, direction: Direction::Forward, reach },
        UpgradeStep::TrialBegan { plugin, role, grant, back: back.clone() },
        UpgradeStep::Confirmed,
        UpgradeStep::Condemned { why: "it did not answer".into() },
        UpgradeStep::Left { to: back, cause: Cause::IsCondemned },
    ];
    steps.map(upgrade).into()
}

/// Every step of a plugin that takes over, in the order of their numbers.
pub(crate) fn handovers() -> Vec<Event> {
    let (digest, differed, windows) = (Digest([8; 32]), 1, 2);
    let steps = [
        HandoverStep::Shadows { beside: digest },
        HandoverStep::Differs { wanted: Some(Action::Freeze), other: None, differed, windows },
        HandoverStep::TakesOver { from: digest, differed, windows },
        HandoverStep::Settles { differed, windows },
        HandoverStep::Refused { back_to: digest, was_deciding: true, why: "it did not answer".into() },
    ];
    steps.map(handover).into()
}

pub(crate) fn number(event: &Event) -> usize {
    match event {
        Event::Started { .. } => 0,
        Event::Steered { .. } => 1,
        Event::Refused(_) => 2,
        Event::Asked { .. } => 3,
        Event::Decided { .. } => 4,
        Event::Unanswered { .. } => 5,
        Event::Restrained { .. } => 6,
        Event::Ordered { .. } => 7,
        Event::Ended { .. } => 8,
        Event::TrialBegan { .. } => 9,
        Event::Confirmed { .. } => 10,
        Event::Condemned { .. } => 11,
        Event::CameHome { .. } => 12,
        Event::Froze { .. } => 13,
        Event::Thawed { .. } => 14,
        Event::Excluded(_) => 15,
        Event::Waits { .. } => 16,
        Event::Cured { .. } => 17,
        Event::WaveOpened { .. } => 18,
        Event::Turned { .. } => 19,
        Event::Completed { .. } => 20,
        Event::BreakerOpened { .. } => 21,
        Event::BreakerClosed => 22,
        Event::Enrolled { .. } => 23,
        Event::EffectBegan { .. } => 24,
        Event::EffectEnded { .. } => 25,
        Event::Degraded { .. } => 26,
        Event::Override { .. } => 27,
        Event::Gap { .. } => 28,
        Event::Told { .. } => 29,
        Event::Quarantined { .. } => 30,
        Event::Equipped(_) => 31,
        Event::Consulted { .. } => 32,
        Event::Stepped { .. } => 33,
        Event::RunTaken { .. } => 34,
        Event::Stranded { .. } => 35,
        Event::Handover(_) => 36,
        Event::BroughtDown { .. } => 37,
        Event::Trusts { .. } => 38,
        Event::Upgrade(_) => 39,
        Event::Target(_) => 40,
        Event::Reset { .. } => 41,
        Event::Captured { .. } => 42,
    }
}
