//! Facts by dice: as they may be, and as they had better not be. The same seed, the same facts.

use backstay_model::{
    Breaker, Digest, Facts, Infra, InfraKind, Millis, Mono, Name, Objective, Permille, Release, Schema,
    Scope, WINDOWS_MAX, Window,
};

/// Numbers that are the same in every run (splitmix64).
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of 0 to `end`, without `end`; 0 where there is nothing to choose from.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(end).unwrap_or(0)
    }

    fn count(&mut self, end: u64) -> u32 {
        u32::try_from(self.below(end)).unwrap_or(u32::MAX)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn permille(&mut self) -> Permille {
        let share = u16::try_from(self.below(1001)).unwrap_or(0);
        Permille::new(share).unwrap_or(Permille::ALL)
    }
}

/// Facts by dice. One in sixteen is as large as facts can be.
#[must_use]
pub fn facts(dice: &mut Dice) -> Facts {
    let huge = dice.below(16) == 0;
    let objectives = if huge { 32 } else { dice.below(6) };
    let objectives = (0..objectives)
        .map(|n| Objective {
            name: Name::parse(&format!("objective-{n}")).expect("it is written down as a name"),
            critical: dice.below(3) > 0,
            scope: if dice.below(3) > 0 { Scope::Local } else { Scope::Dependency },
            candidate: windows(dice, huge),
            baseline: windows(dice, huge),
        })
        .collect();
    let kinds = [
        InfraKind::ProcessExited,
        InfraKind::OutOfMemory,
        InfraKind::MachineLost,
        InfraKind::Disk,
        InfraKind::Network,
    ];
    let infra = kinds.into_iter().filter_map(|kind| {
        let count = if dice.below(6) == 0 { 1 + dice.count(4) } else { 0 };
        (count > 0).then_some(Infra { kind, count })
    });
    Facts {
        infra: infra.collect(),
        now: Mono(dice.below(if huge { u64::MAX } else { 1 << 40 })),
        release: Release {
            version: "1.5.0".parse().expect("it is written down as a version"),
            digest: Digest([5; 32]),
            length: dice.below(u64::MAX),
            security_epoch: dice.count(9),
        },
        stage: dice.permille(),
        on_trial: dice.coin(),
        objectives,
        anomaly: dice.coin().then(|| dice.permille()),
        attempts: dice.count(5),
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

fn windows(dice: &mut Dice, huge: bool) -> Vec<Window> {
    let count = if huge { WINDOWS_MAX as u64 } else { dice.below(5) };
    let most = if huge { 1 << 32 } else { 40 };
    (0..count)
        .map(|n| {
            let samples = if dice.below(5) == 0 { 0 } else { dice.count(most) };
            let bad = if dice.coin() { 0 } else { dice.count(u64::from(samples) + 1) };
            Window { opened: Mono(n * 60_000), span: Millis(60_000), samples, bad }
        })
        .collect()
}
