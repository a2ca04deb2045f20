//! Making every recorded call again, and saying where it comes to something else than it did.
//!
//! Here: following a journal from record to record, the calls among them, and the comparison. A policy is shown the
//! recorded facts and memo again; an executor is taken through its run again with the recorded outcomes. Not here:
//! whether the records are all there and unchanged (`evidence`), reading them, and the rails (`core`).
//!
//! A call can't always be made again: its beginning was pruned, or the machine ran out of time. Each such call is
//! counted under its reason, so that nobody takes "no difference" for more than was compared.

use std::collections::BTreeMap;
use std::fmt;

use backstay_evidence::{Frame, FrameError};
use backstay_host::{Config, Event as RunEvent, Executor, Stepped};
use backstay_model::{
    Access, Answer, Came, Decision, Digest, Effect, Equipped, Event, Facts, Memo, Mono, Name, Order, Outcome,
    PluginId, PluginRole, Ticket, Told,
};
use backstay_plugins::{Next, Run, Steps, trace};
use backstay_wire::{Body as _, Entry, decode};
use serde::{Deserialize, Serialize};

use crate::Shelf;

/// The most differences that are kept. More are counted.
const DIFFERENCES_MAX: usize = 100;
/// The most characters of one side of a difference.
const SIDE_CHARS_MAX: usize = 2000;

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Records that were read.
    pub records: u64,
    /// Records that this version can't read.
    pub unreadable: u64,
    /// Questions to policies.
    pub decisions: Calls,
    /// Steps of executors.
    pub steps: Calls,
    /// Runs that were seen from their beginning to their end, and came to the same end.
    pub runs: u64,
    /// Runs that the runtime ended, and not their executor: at their limit, say.
    pub let_go: u64,
    /// What came out different, in the order of the records. At most 100.
    pub differences: Vec<Difference>,
    /// How many came out different.
    pub different: u64,
    /// Calls that could not be made again, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// Grants that were named and are not at hand, with the plugins that they are for.
    pub missing: BTreeMap<Digest, String>,
    /// Settings that were withheld from the records, by plugin.
    pub withheld: BTreeMap<String, Vec<Name>>,
}

/// How many calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// That were recorded.
    pub recorded: u64,
    /// That were made again.
    pub again: u64,
}

/// A call that came to something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The record that says what it came to then.
    pub seq: u64,
    /// When, on the instance's clock, in ms.
    pub at_ms: u64,
    /// The plugin, if it is known.
    pub plugin: String,
    /// What was compared: "the decision", "effect 3".
    pub what: String,
    /// What was recorded.
    pub then: String,
    /// What it came to now.
    pub now: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, at_ms, plugin, what, then, now } = self;
        write!(f, "record {seq} ({at_ms} ms), {plugin}: {what}\n  then: {then}\n  now:  {now}")
    }
}

/// How a replay ended, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// What could be made again came to the same, and that is what there is to make again.
    Same,
    /// Something came to something else.
    Different,
    /// No difference was found, and something is missing that would be needed to look.
    Incomplete,
}

impl Replayed {
    /// In a word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let (recorded, again) =
            (self.decisions.recorded + self.steps.recorded, self.decisions.again + self.steps.again);
        if self.different > 0 {
            Verdict::Different
        } else if !self.missing.is_empty() || !self.withheld.is_empty() || (recorded > 0 && again == 0) {
            Verdict::Incomplete
        } else {
            Verdict::Same
        }
    }
}

/// Makes the calls again that the records of one journal tell of. `records`: encoded, one behind the other, oldest
/// first. `settings`: what to put in the place of settings that were withheld, by plugin.
///
/// # Errors
/// Bytes that are no record end the reading.
pub fn replay(
    records: &[u8],
    shelf: &Shelf,
    settings: &BTreeMap<PluginId, Vec<(Name, Told)>>,
) -> Result<Replayed, FrameError> {
    let mut replay = Replay {
        shelf,
        given: settings,
        equipped: BTreeMap::new(),
        asked: BTreeMap::new(),
        decided: BTreeMap::new(),
        runs: BTreeMap::new(),
        out: Replayed::default(),
        at: (0, Mono(0)),
    };
    let mut rest = records;
    while !rest.is_empty() {
        let frame = Frame::read(rest)?;
        replay.out.records += 1;
        match decode::<Entry>(frame.body, Entry::BYTES_MAX) {
            Ok(entry) => {
                replay.at = (frame.seq, entry.at);
                replay.take(entry.event);
            }
            Err(_) => replay.out.unreadable += 1,
        }
        rest = rest.get(frame.encoded_len()..).unwrap_or_default();
    }
    replay.leave_out_rest();
    Ok(replay.out)
}

struct Replay<'a> {
    shelf: &'a Shelf,
    given: &'a BTreeMap<PluginId, Vec<(Name, Told)>>,
    equipped: BTreeMap<Digest, Equipped>,
    asked: BTreeMap<Ticket, Facts>,
    decided: BTreeMap<Ticket, Option<Decision>>,
    runs: BTreeMap<Ticket, Trail<'a>>,
    out: Replayed,
    at: (u64, Mono),
}

/// A run as far as the records have told of it.
struct Trail<'a> {
    order: Order,
    answers: Vec<(u32, Answer)>,
    /// Under which grant it was taken, and how that executor is configured for it, if that is known: others of its runs may be
    /// told other things.
    taken: Option<(Digest, Option<Equipped>)>,
    /// Under which grant, and the run itself.
    made: Option<(Digest, Again<'a>)>,
    /// It can't be followed any further, or need not be.
    lost: bool,
}

/// A run that is made again.
struct Again<'a> {
    executor: Ready<'a>,
    run: Option<Run>,
    came: Came,
    end: Option<Outcome>,
}

struct Ready<'a> {
    executor: &'a Executor,
    config: Config,
}

impl Steps for Ready<'_> {
    fn step(&self, state: &[u8], event: &RunEvent) -> Result<Stepped, backstay_host::CallError> {
        self.executor.step(&self.config, state, event)
    }
}

impl Again<'_> {
    fn answer(&mut self, ordinal: u32, answer: Answer) {
        let Some(run) = &mut self.run else { return };
        match run.answer(&self.executor, ordinal, answer) {
            Ok(next) => {
                self.came = run.came();
                if let Next::End(outcome) = next {
                    self.end = Some(outcome);
                }
            }
            Err(stuck) => (self.came, self.end) = (stuck.came(), Some(stuck.outcome())),
        }
    }
}

/// Why a call is not made again.
enum LeftOut {
    /// Nobody could, for the sake of the records.
    Because(&'static str),
    /// Said already, under `missing` or `withheld`.
    Wanting(&'static str),
}

impl<'a> Replay<'a> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "few of the many kinds of event are about calls")]
    fn take(&mut self, event: Event) {
        match event {
            Event::Equipped(equipped) => drop(self.equipped.insert(equipped.grant, equipped)),
            Event::Asked { ticket, facts } => {
                self.decided.remove(&ticket);
                self.asked.insert(ticket, facts);
            }
            Event::Decided { ticket, decision } => self.answered(ticket, Some(decision)),
            Event::Unanswered { ticket, .. } => self.answered(ticket, None),
            Event::Consulted { ticket, grant, prior, came } => self.consulted(ticket, grant, &prior, came),
            Event::Ordered { order, .. } => {
                let (answers, order) = (Vec::new(), order.clone());
                let ticket = order.ticket;
                self.runs.insert(ticket, Trail { order, answers, taken: None, made: None, lost: false });
            }
            Event::RunTaken { ticket, grant } => {
                if let Some(trail) = self.runs.get_mut(&ticket) {
                    trail.taken = Some((grant, self.equipped.get(&grant).cloned()));
                }
            }
            Event::Stepped { ticket, grant, came } => self.stepped(ticket, grant, came),
            Event::EffectBegan { ticket, ordinal, what, changes } => {
                self.began(ticket, ordinal, &what, changes);
            }
            Event::EffectEnded { ticket, ordinal, outcome } => {
                let Some(trail) = self.runs.get_mut(&ticket) else { return };
                // As the agent takes it: an answer that can't be read any more is one that isn't known.
                let answer: Answer = postcard::from_bytes(&outcome).unwrap_or(Answer::InDoubt);
                trail.answers.push((ordinal, answer.clone()));
                if let Some((_, again)) = &mut trail.made {
                    again.answer(ordinal, answer);
                }
            }
            Event::Ended { ticket, outcome, .. } => self.ended(ticket, &outcome),
            // Whatever was under way may have gone on in what was lost.
            Event::Gap { .. } => {
                self.asked.clear();
                self.runs.values_mut().for_each(|trail| trail.lost = true);
            }
            _ => {}
        }
    }

    fn answered(&mut self, ticket: Ticket, decision: Option<Decision>) {
        self.out.decisions.recorded += 1;
        self.decided.insert(ticket, decision);
        // The call that it came from is told right behind it. One that never is was recorded before calls were.
        while self.decided.len() > 64 {
            self.decided.pop_first();
            self.leave_out(LeftOut::Because("the records do not say which plugin answered"));
        }
    }

    fn consulted(&mut self, ticket: Ticket, grant: Digest, prior: &Memo, came: Came) {
        let Some(decision) = self.decided.remove(&ticket) else {
            return self.leave_out(LeftOut::Because("the answer is not in these records"));
        };
        let Some(facts) = self.asked.remove(&ticket) else {
            return self.leave_out(LeftOut::Because("what was asked is not in these records"));
        };
        let Memo::Whole(prior) = prior else {
            return self
                .leave_out(LeftOut::Because("what the policy remembered was too long to be recorded"));
        };
        if came == Came::Unlucky {
            return self
                .leave_out(LeftOut::Because("the machine had a part in it: it ran out of time or room"));
        }
        let (policy, config) = match self.policy(&grant) {
            Ok(found) => found,
            Err(why) => return self.leave_out(why),
        };
        let again = policy.decide(&config, &facts, prior);
        let now = trace::came_of_decision(&again);
        if now == Came::Unlucky {
            return self.leave_out(LeftOut::Because("this machine ran out of time or room for it"));
        }
        self.out.decisions.again += 1;
        let told = |decision: Option<&Decision>, came: Came| match decision {
            Some(decision) => {
                let reasons: Vec<_> = decision.reasons.iter().map(|reason| reason.0.as_str()).collect();
                format!("{}: {} ({})", decision.action, reasons.join("; "), short(came))
            }
            None => format!("no answer ({})", short(came)),
        };
        let decided = again.as_ref().ok().map(|decided| &decided.decision);
        if now != came || decided != decision.as_ref() {
            let then = told(decision.as_ref(), came);
            let mut now = told(decided, now);
            if let Err(error) = &again {
                now = format!("{now}: {error}");
            }
            self.differ(&grant, "the decision".into(), then, now);
        }
    }

    fn stepped(&mut self, ticket: Ticket, grant: Digest, came: Came) {
        self.out.steps.recorded += 1;
        let Some(mut trail) = self.runs.remove(&ticket) else {
            return self.leave_out(LeftOut::Because("the beginning of the run is not in these records"));
        };
        self.step(&mut trail, grant, came);
        self.runs.insert(ticket, trail);
    }

    fn step(&mut self, trail: &mut Trail<'a>, grant: Digest, came: Came) {
        if trail.lost {
            return self.leave_out(LeftOut::Because("records of the run were lost"));
        }
        if came == Came::Unlucky {
            // What follows is another attempt, by another executor perhaps: it begins from what was recorded.
            trail.made = None;
            return self
                .leave_out(LeftOut::Because("the machine had a part in it: it ran out of time or room"));
        }
        let followed = trail.made.as_ref().is_some_and(|(of, _)| *of == grant);
        if !followed {
            let equipped = match &trail.taken {
                Some((of, equipped)) if *of == grant => equipped.clone(),
                Some(_) | None => self.equipped.get(&grant).cloned(),
            };
            let executor = match self.executor(&grant, equipped.as_ref()) {
                Ok((executor, config)) => Ready { executor, config },
                Err(why) => return self.leave_out(why),
            };
            trail.made = Some((grant, begin(executor, trail.order.clone(), &trail.answers)));
        }
        let Some((_, again)) = &trail.made else { return };
        let (now, run) = (again.came, again.run.as_ref());
        if now == Came::Unlucky {
            trail.made = None;
            return self.leave_out(LeftOut::Because("this machine ran out of time or room for it"));
        }
        self.out.steps.again += 1;
        if now != came {
            let what = format!("a step of run {} ({})", trail.order.ticket, trail.order.task);
            let now = match (&again.end, run) {
                (Some(outcome), _) => format!("ended: {outcome} ({})", short(now)),
                (None, Some(run)) => format!("asks for {} ({})", asked(run.open()), short(now)),
                (None, None) => short(now),
            };
            self.differ(&grant, what, short(came), now);
            trail.lost = true;
        }
    }

    fn began(&mut self, ticket: Ticket, ordinal: u32, what: &str, changes: bool) {
        let Some(trail) = self.runs.get_mut(&ticket) else { return };
        let Some((grant, again)) = trail.made.as_ref().filter(|_| !trail.lost) else { return };
        let effect = again.run.as_ref().and_then(|run| run.open().find(|effect| effect.ordinal == ordinal));
        let kind = |changes: bool| if changes { "changes" } else { "looks" };
        let now = effect.map_or_else(
            || "nothing".into(),
            |effect| {
                let told = backstay_model::Reason::new(effect.deed.to_string()).0;
                format!("{told} ({})", kind(effect.access == Access::Changes))
            },
        );
        let then = format!("{what} ({})", kind(changes));
        if now != then {
            trail.lost = true;
            let (grant, what) = (*grant, format!("effect {ordinal} of run {ticket}"));
            self.differ(&grant, what, then, now);
        }
    }

    fn ended(&mut self, ticket: Ticket, outcome: &Outcome) {
        let Some(trail) = self.runs.remove(&ticket) else { return };
        let Some((grant, again)) = trail.made.filter(|_| !trail.lost) else { return };
        let then = outcome.to_string();
        match &again.end {
            Some(now) if now.to_string() == then => self.out.runs += 1,
            Some(now) => {
                let now = now.to_string();
                self.differ(&grant, format!("the end of run {ticket}"), then, now);
            }
            // The runtime may end a run that an executor would go on with. It never says for it that it is done.
            None => match outcome {
                Outcome::Failed { .. } => self.out.let_go += 1,
                Outcome::Done => {
                    self.differ(&grant, format!("the end of run {ticket}"), then, "it goes on".into());
                }
            },
        }
    }

    fn policy(&mut self, grant: &Digest) -> Result<(&'a backstay_host::Policy, Config), LeftOut> {
        let shelf = self.shelf;
        let found = shelf.policy(grant).ok_or_else(|| self.lacks(grant, PluginRole::Policy))?;
        let equipped = self.equipped.get(grant).cloned();
        Ok((found, self.config(equipped.as_ref())?))
    }

    fn executor(
        &mut self,
        grant: &Digest,
        equipped: Option<&Equipped>,
    ) -> Result<(&'a Executor, Config), LeftOut> {
        let shelf = self.shelf;
        let found = shelf.executor(grant).ok_or_else(|| self.lacks(grant, PluginRole::Executor))?;
        Ok((found, self.config(equipped)?))
    }

    fn lacks(&mut self, grant: &Digest, role: PluginRole) -> LeftOut {
        let named = self.equipped.get(grant);
        let plugin =
            named.map_or_else(|| format!("an unnamed {role}"), |of| format!("{} {}", of.plugin, of.version));
        self.out.missing.insert(*grant, plugin);
        LeftOut::Wanting("its plugin is not at hand")
    }

    fn config(&mut self, equipped: Option<&Equipped>) -> Result<Config, LeftOut> {
        let unknown = LeftOut::Because("how the plugin was configured is not in these records");
        let Some(equipped) = equipped else { return Err(unknown) };
        let given = self.given.get(&equipped.plugin).map_or(&[][..], Vec::as_slice);
        let lacking = |name: &&Name| !given.iter().any(|(has, _)| has == *name);
        let lacking: Vec<Name> = equipped.withheld.iter().filter(lacking).cloned().collect();
        if !lacking.is_empty() {
            self.out.withheld.insert(equipped.plugin.to_string(), lacking);
            return Err(LeftOut::Wanting("a setting was withheld from the records"));
        }
        let withheld = given.iter().filter(|(name, _)| equipped.withheld.contains(name));
        let withheld = withheld.map(|(name, told)| (name.clone(), trace::value(told)));
        let mut all: Vec<_> = trace::settings(equipped).chain(withheld).collect();
        // In the order of a configuration file's: a plugin sees the order.
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Config::new(all).map_err(|_| LeftOut::Because("the configuration that was recorded is none"))
    }

    fn leave_out(&mut self, why: LeftOut) {
        let (LeftOut::Because(why) | LeftOut::Wanting(why)) = why;
        *self.out.left_out.entry(why.into()).or_default() += 1;
    }

    fn leave_out_rest(&mut self) {
        for _ in std::mem::take(&mut self.decided) {
            self.leave_out(LeftOut::Because("the records do not say which plugin answered"));
        }
    }

    fn differ(&mut self, grant: &Digest, what: String, then: String, now: String) {
        self.out.different += 1;
        if self.out.differences.len() == DIFFERENCES_MAX {
            return;
        }
        let clip = |side: String| side.chars().take(SIDE_CHARS_MAX).collect();
        let plugin = match self.equipped.get(grant) {
            Some(equipped) => {
                format!("{} {} (grant {})", equipped.plugin, equipped.version, equipped.grant.short())
            }
            None => format!("grant {}", grant.short()),
        };
        let (seq, Mono(at_ms)) = self.at;
        let difference = Difference { seq, at_ms, plugin, what, then: clip(then), now: clip(now) };
        self.out.differences.push(difference);
    }
}

fn begin<'a>(executor: Ready<'a>, order: Order, answers: &[(u32, Answer)]) -> Again<'a> {
    match Run::begin(&executor, order) {
        Err(stuck) => {
            let (came, end) = (stuck.came(), Some(stuck.outcome()));
            Again { executor, run: None, came, end }
        }
        Ok((run, next)) => {
            let end = if let Next::End(outcome) = next { Some(outcome) } else { None };
            let mut again = Again { executor, came: run.came(), run: Some(run), end };
            answers.iter().for_each(|(ordinal, answer)| again.answer(*ordinal, answer.clone()));
            again
        }
    }
}

fn asked<'a>(effects: impl Iterator<Item = &'a Effect>) -> String {
    let all: Vec<_> = effects.map(|effect| format!("effect {}: {}", effect.ordinal, effect.deed)).collect();
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}

fn short(came: Came) -> String {
    match came {
        Came::To(digest) => format!("answer {}", digest.short()),
        Came::Nothing => "no answer, by the plugin's own doing".into(),
        Came::Unlucky => "no answer on this machine".into(),
    }
}
