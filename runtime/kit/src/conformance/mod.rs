//! What any executor has to stand, whatever it brings back.
//!
//! Here: the cases by class, and telling what came of each. A case plays runs on a machine in memory (`world`), goes
//! wrong in one way (`play`), and looks whether the run ended, by its own word, and whether that word is true. No case
//! knows the executor: what it is asked for and what that should come to, a run on which nothing goes wrong tells.
//! Not here: the tests of a vendor's own (`vectors`).

mod cut;
mod failing;
mod garbage;
mod moving;
mod play;
mod state;
mod work;
mod world;

use std::fmt;

use backstay_host::Description;
use backstay_model::{Effect, Name, Task};
use backstay_trust::{EffectKind, Limits, Permissions};
use serde::Serialize;

use crate::calls::{Settings, Steps, Tried};
use play::{Bound, Fate, Played, order, play};
use world::{World, release};

/// The playbook that nobody has.
pub const UNKNOWN_PLAYBOOK: &str = "no-such-playbook";

/// The most playbooks that an executor is asked to heal by.
const PLAYBOOKS_MAX: usize = 4;

/// What kind of thing goes wrong in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Nothing: what it says of itself, and that it does its work.
    Work,
    /// The same is asked for again.
    Again,
    /// The host or the machine goes down.
    Cut,
    /// A run is left, and another begun.
    Aborted,
    /// Effects fail.
    Failing,
    /// Answers are odd.
    Garbage,
    /// Time passes otherwise than expected.
    Time,
    /// The machine is changed by somebody else.
    Moving,
    /// States and events don't fit.
    State,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Work => "work",
            Self::Again => "again",
            Self::Cut => "cut",
            Self::Aborted => "aborted",
            Self::Failing => "failing",
            Self::Garbage => "garbage",
            Self::Time => "time",
            Self::Moving => "moving",
            Self::State => "state",
        })
    }
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "came", content = "why")]
pub enum CaseCame {
    /// As it has to.
    Passed,
    /// Not as it has to: this is what was seen.
    Failed(String),
    /// It says nothing of this executor, for this reason.
    NotApplicable(String),
}

/// A case, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// Its name.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// What it proves.
    pub proves: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub came: CaseCame,
}

/// A case that is not passed.
pub(crate) enum Miss {
    Failed(String),
    NotApplicable(String),
}

impl From<String> for Miss {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

type Found = Result<(), Miss>;

pub(crate) struct Case {
    name: &'static str,
    class: Class,
    proves: &'static str,
    run: fn(&Bench<'_>) -> Found,
}

const fn case(name: &'static str, class: Class, proves: &'static str, run: fn(&Bench<'_>) -> Found) -> Case {
    Case { name, class, proves, run }
}

/// A task with the machine that it is for, and what it comes to undisturbed.
pub(crate) struct Scene {
    pub(crate) task: Task,
    pub(crate) before: World,
    pub(crate) after: Played,
}

impl Scene {
    fn name(&self) -> &'static str {
        match self.task {
            Task::Install { .. } => "install",
            Task::Confirm { .. } => "confirm",
            Task::GoHome { .. } => "go home",
            Task::Heal { .. } => "heal",
        }
    }
}

/// What a case has to work with.
pub(crate) struct Bench<'a> {
    pub(crate) subject: &'a dyn Steps,
    pub(crate) settings: &'a Settings,
    pub(crate) description: Option<Description>,
    pub(crate) wants: &'a [EffectKind],
    pub(crate) limits: Limits,
    /// Those of the tasks that it does when nothing goes wrong.
    pub(crate) scenes: Vec<Scene>,
    /// What the others came to.
    pub(crate) refused: Vec<Scene>,
}

impl Bench<'_> {
    pub(crate) fn bound(&self) -> Bound<'_> {
        Bound { subject: self.subject, settings: self.settings }
    }

    /// Plays a scene, with the fate of each effect.
    pub(crate) fn play(
        &self,
        scene: &Scene,
        mut fate: impl FnMut(usize, &Effect, &mut World) -> Fate,
    ) -> Played {
        play(&self.bound(), order(&scene.task, 7), scene.before.clone(), &mut fate)
    }

    /// Looks at what a run came to: it has ended by its own word, and if that word is "done", it is.
    pub(crate) fn honest(&self, scene: &Scene, played: &Played, when: &str) -> Result<(), String> {
        let told = |why: String| format!("{} {when}: {why}", scene.name());
        played.ended().map_err(told)?;
        if let Some(why) = &played.refolded {
            return Err(told(why.clone()));
        }
        if played.says_done() {
            let by_slots = scene.after.by_slots();
            let has = played.world.has(&scene.task, &scene.after.world, by_slots);
            has.map_err(|why| told(format!("it says done, and {why}")))?;
        }
        Ok(())
    }

    /// Does something with each scene, once for each effect of its undisturbed run.
    pub(crate) fn each_effect(&self, look: impl Fn(&Scene, usize, &Effect) -> Result<(), String>) -> Found {
        for scene in &self.scenes {
            for (at, (effect, _)) in scene.after.log.iter().enumerate() {
                look(scene, at, effect)?;
            }
        }
        Ok(())
    }

    /// Plays each scene with one fate for every effect that `which` chooses, and looks whether it is honest.
    pub(crate) fn all_honest(
        &self,
        when: &str,
        fate: impl Fn(&Effect) -> Fate,
        further: impl Fn(&Scene, &Played) -> Result<(), String>,
    ) -> Found {
        for scene in &self.scenes {
            let played = self.play(scene, |_, effect, _| fate(effect));
            self.honest(scene, &played, when)?;
            further(scene, &played).map_err(|why| format!("{} {when}: {why}", scene.name()))?;
        }
        Ok(())
    }

    pub(crate) fn scene(&self, which: impl Fn(&Task) -> bool) -> Option<&Scene> {
        self.scenes.iter().find(|scene| which(&scene.task))
    }

    pub(crate) fn needs(&self, which: impl Fn(&Task) -> bool, what: &str) -> Result<&Scene, Miss> {
        let none = || Miss::NotApplicable(format!("it does not {what}, and says so"));
        self.scene(which).ok_or_else(none)
    }

    pub(crate) fn by_slots(&self) -> Result<(), Miss> {
        if self.scenes.iter().any(|scene| scene.after.by_slots()) {
            return Ok(());
        }
        Err(Miss::NotApplicable("it does not work with slots".into()))
    }
}

/// What is known of an executor that is to be tried.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// How it is configured.
    pub settings: Settings,
    /// The kinds of effect that its manifest says it wants.
    pub wants: Vec<EffectKind>,
    /// What it is granted.
    pub permissions: Permissions,
    /// The playbooks that it is asked to heal by; none: the commands that it is granted.
    pub playbooks: Vec<Name>,
    /// What it is held to.
    pub limits: Limits,
}

/// Tries an executor in every case.
pub fn conformance<P: Steps>(tried: &Tried<P>, conditions: &Conditions) -> Vec<CaseReport> {
    let (mut scenes, mut refused) = (Vec::new(), Vec::new());
    let bound = Bound { subject: tried, settings: &conditions.settings };
    for (task, before) in tasks(&conditions.permissions, &conditions.playbooks) {
        let after = play(&bound, order(&task, 7), before.clone(), &mut |_, _, _| Fate::Done);
        let scene = Scene { task, before, after };
        if scene.after.says_done() { scenes.push(scene) } else { refused.push(scene) }
    }
    let bench = Bench {
        subject: tried,
        settings: &conditions.settings,
        description: tried.describe().ok(),
        wants: &conditions.wants,
        limits: conditions.limits,
        scenes,
        refused,
    };
    let mut reports: Vec<CaseReport> = all().map(|case| case.report(&bench)).collect();
    // Last, because it is about every call that the others made.
    let came = match tried.fickle() {
        None => CaseCame::Passed,
        Some(call) => {
            CaseCame::Failed(format!("the same call came to something else the second time: {}", told(&call)))
        }
    };
    let proves =
        "the same arguments get the same answer: all that it was asked in the other cases, asked twice";
    reports.push(CaseReport { name: "deterministic", class: Class::State, proves, came });
    reports
}

/// How many cases there are.
#[must_use]
pub fn case_count() -> usize {
    all().count() + 1
}

fn all() -> impl Iterator<Item = Case> {
    [work::CASES, cut::CASES, failing::CASES, garbage::CASES, moving::CASES, state::CASES]
        .into_iter()
        .flat_map(|cases| cases.iter())
        .map(|case| Case { ..*case })
}

fn told(call: &crate::Call) -> String {
    let told = format!("{call:?}");
    told.chars().take(200).collect()
}

impl Case {
    fn report(&self, bench: &Bench<'_>) -> CaseReport {
        let came = match (self.run)(bench) {
            Ok(()) => CaseCame::Passed,
            Err(Miss::Failed(why)) => CaseCame::Failed(why),
            Err(Miss::NotApplicable(why)) => CaseCame::NotApplicable(why),
        };
        CaseReport { name: self.name, class: self.class, proves: self.proves, came }
    }
}

/// What an executor can be asked for, each with a machine on which it makes sense.
fn tasks(permissions: &Permissions, playbooks: &[Name]) -> Vec<(Task, World)> {
    let (old, new) = (release("1.4.0"), release("1.5.0"));
    let playbooks = if playbooks.is_empty() { &permissions.commands } else { playbooks };
    let known = playbooks.iter().filter(|name| name.as_str() != UNKNOWN_PLAYBOOK);
    let mut tasks = vec![
        (Task::Install { release: new.clone() }, World::on("1.4.0").other("1.3.0")),
        (Task::Confirm { release: new }, World::on("1.4.0").on_trial("1.5.0")),
        (Task::GoHome { release: old }, World::on("1.4.0").on_trial("1.5.0")),
    ];
    let heals = known.take(PLAYBOOKS_MAX).map(|playbook| Task::Heal { playbook: playbook.clone() });
    tasks.extend(heals.map(|heal| (heal, World::on("1.5.0").other("1.4.0"))));
    tasks
}

/// The kinds of effect that an executor asks for, each with the first of it in words: in runs of each task on which
/// nothing goes wrong, and on which everything does. What it might ask for in other places is not seen.
///
/// # Errors
/// It did not answer, or not well: it asked for what isn't granted, say.
pub fn asks<P: Steps>(
    tried: &Tried<P>,
    settings: &Settings,
    permissions: &Permissions,
    playbooks: &[Name],
) -> Result<std::collections::BTreeMap<EffectKind, String>, String> {
    let bound = Bound { subject: tried, settings };
    let mut asked = std::collections::BTreeMap::new();
    let fates: [fn() -> Fate; 3] = [
        || Fate::Done,
        || Fate::Instead(backstay_model::Answer::InDoubt),
        || Fate::Instead(world::failed(backstay_model::Transience::Transient, "not now")),
    ];
    for (task, before) in tasks(permissions, playbooks) {
        for fate in fates {
            let played = play(&bound, order(&task, 7), before.clone(), &mut |_, _, _| fate());
            played.ended()?;
            for (effect, _) in &played.log {
                if let Some(kind) = work::kind(&effect.deed) {
                    asked.entry(kind).or_insert_with(|| effect.deed.to_string());
                }
            }
        }
    }
    Ok(asked)
}
