//! What any policy has to stand, whatever it judges by.
//!
//! Here: the cases. Not here: whether it judges well, which only a vendor's vectors can say, and the rails, which hold
//! whatever a policy says (`core`).

use std::collections::BTreeMap;

use backstay_host::{Description, Kind};
use backstay_model::{Action, Facts, Told};

use crate::{
    CaseCame, CaseReport, Class,
    calls::{Decides, Settings, Tried},
    fuzz::{Dice, facts},
};

/// What a policy did with facts by dice.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Answers {
    /// How often each action was the answer.
    pub actions: BTreeMap<String, u64>,
    /// How often it refused to judge, by its own word or because of its configuration.
    pub refused: u64,
}

struct Bench<'a> {
    subject: &'a dyn Decides,
    settings: &'a Settings,
    description: Option<Description>,
    seed: u64,
    count: u32,
}

/// Tries a policy in every case. `count` facts are made from `seed`.
pub fn judging<P: Decides>(
    tried: &Tried<P>,
    settings: &Settings,
    seed: u64,
    count: u32,
) -> (Vec<CaseReport>, Answers) {
    let description = tried.describe().ok();
    let bench = Bench { subject: tried, settings, description, seed, count };
    let mut answers = Answers::default();
    let mut reports = vec![
        report(
            "describes-itself",
            Class::Work,
            "it says what it is and what can be set, each with a help",
            bench.describes(),
        ),
        report(
            "takes-its-defaults",
            Class::Work,
            "what it says holds where nobody sets anything, it accepts",
            bench.defaults(),
        ),
        report(
            "takes-its-bounds",
            Class::Work,
            "both ends of every number's range are accepted, and it still answers",
            bench.bounds(),
        ),
        report(
            "any-facts",
            Class::Garbage,
            "facts by dice, also as large as they can be, are answered or refused, and never a trap",
            bench.any_facts(&mut answers),
        ),
        report(
            "no-facts",
            Class::Garbage,
            "without a single objective it neither traps nor goes home",
            bench.no_facts(),
        ),
        report(
            "any-memo",
            Class::State,
            "a memo of another version, cut short or damaged, is started afresh from, and never a trap",
            bench.any_memo(),
        ),
        report(
            "memo-comes-back",
            Class::State,
            "what it remembers it can be shown again, fifty times over",
            bench.memo(),
        ),
        report(
            "reasons-have-words",
            Class::Work,
            "every decision has a reason that is not empty",
            bench.reasons(),
        ),
    ];
    let came = match tried.fickle() {
        None => CaseCame::Passed,
        Some(_) => CaseCame::Failed("the same call came to something else the second time".into()),
    };
    let proves =
        "the same arguments get the same answer: all that it was asked in the other cases, asked twice";
    reports.push(CaseReport { name: "deterministic", class: Class::State, proves, came });
    (reports, answers)
}

fn report(name: &'static str, class: Class, proves: &'static str, found: Result<(), String>) -> CaseReport {
    let came = match found {
        Ok(()) => CaseCame::Passed,
        Err(why) => CaseCame::Failed(why),
    };
    CaseReport { name, class, proves, came }
}

impl Bench<'_> {
    fn describes(&self) -> Result<(), String> {
        let description = self.description.as_ref().ok_or("it does not say what it is")?;
        if description.about.trim().is_empty() {
            return Err("what it is about is empty".into());
        }
        match description.settings.iter().find(|info| info.help.trim().is_empty()) {
            Some(info) => Err(format!("setting {} has no help", info.name)),
            None => Ok(()),
        }
    }

    fn defaults(&self) -> Result<(), String> {
        let problems = self.subject.validate(self.settings).map_err(|why| why.to_string())?;
        problems.first().map_or(Ok(()), |problem| Err(problem.to_string()))
    }

    fn bounds(&self) -> Result<(), String> {
        let settings = self.description.iter().flat_map(|description| &description.settings);
        for info in settings.filter(|info| info.kind == Kind::Number) {
            let Some(range) = &info.range else { continue };
            for end in [*range.start(), *range.end()] {
                let others = self.settings.iter().filter(|(name, _)| *name != info.name);
                let mut settings: Settings = others.cloned().collect();
                settings.push((info.name.clone(), Told::Number(end)));
                let told = |why: String| format!("with {} = {end}: {why}", info.name);
                let problems = self.subject.validate(&settings).map_err(|why| told(why.to_string()))?;
                if let Some(problem) = problems.first() {
                    return Err(told(problem.to_string()));
                }
                let mut dice = Dice::new(self.seed);
                for _ in 0..8 {
                    self.ask(&settings, &facts(&mut dice), &[]).map_err(told)?;
                }
            }
        }
        Ok(())
    }

    /// Asks; a strike is an error, and a refusal is none.
    fn ask(
        &self,
        settings: &Settings,
        facts: &Facts,
        prior: &[u8],
    ) -> Result<Option<backstay_host::Decided>, String> {
        match self.subject.decide(settings, facts, prior) {
            Ok(decided) => Ok(Some(decided)),
            Err(error) => match error.as_strike() {
                // That facts can't be judged is a policy's good right; that it counts against it, the operator sees.
                Some(strike) if strike.kind == backstay_host::StrikeKind::Refused => Ok(None),
                Some(strike) => Err(strike.to_string()),
                None => Err(error.to_string()),
            },
        }
    }

    fn any_facts(&self, answers: &mut Answers) -> Result<(), String> {
        let mut dice = Dice::new(self.seed);
        for n in 0..self.count {
            let facts = facts(&mut dice);
            match self
                .ask(self.settings, &facts, &[])
                .map_err(|why| format!("facts {n} of seed {}: {why}", self.seed))?
            {
                Some(decided) => {
                    let word = word(&decided.decision.action);
                    *answers.actions.entry(word.into()).or_default() += 1;
                }
                None => answers.refused += 1,
            }
        }
        Ok(())
    }

    fn no_facts(&self) -> Result<(), String> {
        let mut facts = facts(&mut Dice::new(self.seed));
        (facts.objectives, facts.infra, facts.anomaly) = (Vec::new(), Vec::new(), None);
        for on_trial in [true, false] {
            facts.on_trial = on_trial;
            let decided = self.ask(self.settings, &facts, &[])?;
            if let Some(Action::RollBack { .. }) = decided.map(|decided| decided.decision.action) {
                return Err("it goes home although it was shown nothing".into());
            }
        }
        Ok(())
    }

    fn any_memo(&self) -> Result<(), String> {
        let mut dice = Dice::new(self.seed);
        let facts = facts(&mut dice);
        let own = self.ask(self.settings, &facts, &[])?.map(|decided| decided.memo).unwrap_or_default();
        let mut memos = vec![vec![0], vec![0xff; 64], vec![b'{'; 4096]];
        memos.extend((0..own.len()).step_by(own.len().div_ceil(64).max(1)).map(|end| own[..end].to_vec()));
        memos.extend((0..own.len()).step_by(own.len().div_ceil(64).max(1)).map(|at| {
            let mut damaged = own.clone();
            damaged[at] ^= 0x41;
            damaged
        }));
        for memo in memos {
            self.ask(self.settings, &facts, &memo)
                .map_err(|why| format!("with a memo of {} odd bytes: {why}", memo.len()))?;
        }
        Ok(())
    }

    fn memo(&self) -> Result<(), String> {
        let (mut dice, mut memo) = (Dice::new(self.seed), Vec::new());
        for n in 0..50 {
            let decided = self
                .ask(self.settings, &facts(&mut dice), &memo)
                .map_err(|why| format!("the {n}th time: {why}"))?;
            memo = decided.map(|decided| decided.memo).unwrap_or_default();
        }
        Ok(())
    }

    fn reasons(&self) -> Result<(), String> {
        let mut dice = Dice::new(self.seed.wrapping_add(1));
        for _ in 0..self.count.min(100) {
            let Some(decided) = self.ask(self.settings, &facts(&mut dice), &[])? else { continue };
            if decided.decision.reasons.iter().any(|reason| reason.0.trim().is_empty()) {
                return Err(format!("\"{}\" has a reason without words", decided.decision.action));
            }
        }
        Ok(())
    }
}

/// An action in the word that vectors use.
#[must_use]
pub fn word(action: &Action) -> &'static str {
    match action {
        Action::Proceed => "proceed",
        Action::Slow { .. } => "slow",
        Action::Heal { .. } => "heal",
        Action::RollBack { .. } => "roll-back",
        Action::Freeze => "freeze",
        Action::Pause => "pause",
    }
}
