//! What is asked about: the usual facts, and as many random ones as it takes to trust that all give the same answers.

use backstay_model::{
    Facts, Infra, InfraKind, Millis, Mono, Name, Objective, Permille, Schema, Scope, Window,
};

use crate::asked::{self, Asked};

/// The same facts for ours and for the peers.
pub struct Case {
    pub facts: Facts,
    pub asked: Asked,
}

impl Case {
    /// Eight objectives of four windows, all of them kept.
    pub fn usual() -> Self {
        Self::of(backstay_test_bench::facts())
    }

    /// Facts that are the same for the same seed, and lead to any action.
    pub fn random(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut facts = backstay_test_bench::facts();
        // Mostly well, or nothing but roll-backs would be seen.
        let trouble = dice.below(4);
        let objectives = dice.below(6);
        facts.objectives = (0..objectives).map(|n| objective(n, trouble, &mut dice)).collect();
        facts.stage = Permille::new(dice.below(1001) as u16).unwrap();
        facts.on_trial = dice.below(2) == 0;
        facts.anomaly = (dice.below(3) == 0).then(|| Permille::new(dice.below(1001) as u16).unwrap());
        if dice.below(2) == 0 {
            let kinds = [InfraKind::Network, InfraKind::Disk, InfraKind::ProcessExited];
            let mut infra = || Infra { kind: kinds[dice.below(3) as usize], count: 1 };
            facts.infra = vec![infra(), infra()];
        }
        facts.attempts = dice.below(5) as u32;
        facts.schema = [Schema::Unknown, Schema::Compatible(3), Schema::OneWay(4)][dice.below(3) as usize];
        Self::of(facts)
    }

    fn of(facts: Facts) -> Self {
        let window = |window: &Window| asked::Window {
            opened: window.opened.0 as i64,
            samples: window.samples.into(),
            bad: window.bad.into(),
        };
        let objective = |objective: &Objective| asked::Objective {
            name: objective.name.to_string(),
            critical: objective.critical,
            own: objective.scope == Scope::Local,
            candidate: objective.candidate.iter().map(window).collect(),
        };
        let kind = |kind| match kind {
            InfraKind::Network => "network",
            InfraKind::Disk => "disk",
            InfraKind::ProcessExited => "process-exited",
            InfraKind::OutOfMemory | InfraKind::MachineLost => unreachable!("no case has it"),
        };
        let asked = Asked {
            stage: facts.stage.get().into(),
            on_trial: facts.on_trial,
            objectives: facts.objectives.iter().map(objective).collect(),
            anomaly: facts.anomaly.map_or(0, |score| score.get().into()),
            infra: facts
                .infra
                .iter()
                .map(|infra| asked::Infra { kind: kind(infra.kind).into(), count: infra.count.into() })
                .collect(),
            attempts: facts.attempts.into(),
            one_way: matches!(facts.schema, Schema::OneWay(_)),
        };
        Self { facts, asked }
    }
}

fn objective(n: u64, trouble: u64, dice: &mut Dice) -> Objective {
    let windows = dice.below(5);
    let candidate = (0..windows).map(|at| {
        let samples = if dice.below(8) < trouble { 0 } else { 10 };
        // The limit of a broken window is 2 of 10.
        let bad = if dice.below(6) < trouble { dice.below(11) as u32 } else { dice.below(2) as u32 };
        Window { opened: Mono(at * 60_000), span: Millis(60_000), samples, bad: bad.min(samples) }
    });
    Objective {
        candidate: candidate.collect(),
        name: Name::parse(&format!("objective-{n}")).unwrap(),
        critical: dice.below(3) > 0,
        scope: if dice.below(2) == 0 { Scope::Local } else { Scope::Dependency },
        baseline: Vec::new(),
    }
}

/// Numbers that are the same in every run (splitmix64).
struct Dice(u64);

impl Dice {
    /// One of 0 to `end`, without `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
