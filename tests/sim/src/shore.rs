//! The server's side of one cohort: the real core, what of it is durable, and what is remembered of it to hold its
//! next effects against.
//!
//! Not here: the way of a message (`fleet`).
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of all that can be recorded, a witness looks at what an invariant is about"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use backstay_core::{Cohort, CohortEffect, CohortInput, Helm, Plan, Reply, Rollout, Roster, Stage, Wish};
use backstay_model::{
    Action, Cause, CohortId, Digest, Direction, Event, Generation, Millis, Mono, Name, Permille, Reach,
    RolloutId, Steer, Ticket,
};

use crate::{
    invariants::{self as rule, Broken, holds},
    policy,
    sky::Sky,
    unit::Unit,
    weather::Mark,
};

/// All messages of a cohort by their generation: more than one only where the server forgot what it had said.
pub(crate) type Published = BTreeMap<u64, Vec<Steer>>;

/// The longest that an answer takes, in ms.
const ANSWER_MAX: u64 = 1000;

const LOG_MAX: usize = 40;

pub(crate) struct Shore {
    pub(crate) number: usize,
    pub(crate) id: CohortId,
    pub(crate) cohort: Cohort,
    durable: (Helm, Mono),
    saved: Roster,
    base: Mono,
    since: u64,
    /// Whether it runs, and from when on it does if not.
    pub(crate) down_until: Option<u64>,
    /// Cut off from the broker until then.
    pub(crate) cut_until: u64,
    /// Whether it connects again when that is over.
    pub(crate) greets: bool,
    /// It has connected and listens until then: what the broker has newer must not be covered.
    pub(crate) speaks_at: Option<u64>,
    pub(crate) scheduled: u64,
    /// When the newest message that is on its way to it arrives.
    pub(crate) arrived: u64,
    /// All messages, ever.
    pub(crate) published: Published,
    /// The newest generation that it can know of: what it forgot, it can't go on from.
    newest: u64,
    turned: BTreeSet<RolloutId>,
    turns: u64,
    known: Known,
    /// What there is to be brought back from.
    copy: Option<Box<Copied>>,
    /// Answers that are on their way.
    answers: Vec<(u64, Ticket, Option<Reply>)>,
    pub(crate) log: VecDeque<(u64, Event)>,
    wished: bool,
    /// It is held for a lack of data since then, with everybody there, and nobody has said anything.
    waits_since: Option<Mono>,
}

/// A copy: what was decided and when, what the server knew, its newest generation, and what it had turned.
type Copied = (Helm, Mono, Known, u64, BTreeSet<RolloutId>);

/// What a server can be held to, because it can still know it.
#[derive(Clone, Debug, Default)]
struct Known {
    breaker_until: Option<Mono>,
    shares: BTreeMap<RolloutId, (Permille, u32)>,
    /// What the cohort was turned from.
    quarantined: BTreeSet<Digest>,
    /// The largest reach that a rollout was published forward with.
    reaches: BTreeMap<RolloutId, Reach>,
    /// When the newest wave of a rollout opened.
    opened: BTreeMap<RolloutId, Mono>,
}

/// How cohorts are steered here.
pub(crate) fn plan(beat: Millis) -> Plan {
    Plan {
        good_windows: 2,
        silence: Millis(beat.0 * 5),
        patience: Millis::from_secs(2 * 3600),
        windows_max: 40,
        ..Plan::default()
    }
}

/// Who wishes.
pub(crate) fn who() -> Name {
    Name::parse("ana").unwrap()
}

impl Shore {
    pub(crate) fn new(number: usize) -> Self {
        let id = CohortId::parse(&format!("cohort-{number}")).unwrap();
        let cohort = Cohort::new(id.clone());
        Self {
            number,
            durable: (cohort.helm().clone(), Mono(0)),
            saved: Roster::default(),
            cohort,
            id,
            base: Mono(0),
            since: 0,
            down_until: None,
            cut_until: 0,
            greets: true,
            speaks_at: None,
            scheduled: u64::MAX,
            arrived: 0,
            published: Published::new(),
            newest: 0,
            turned: BTreeSet::new(),
            turns: 0,
            known: Known::default(),
            copy: None,
            answers: Vec::new(),
            log: VecDeque::new(),
            wished: false,
            waits_since: None,
        }
    }

    pub(crate) fn mono(&self, now: u64) -> Mono {
        self.base.after(Millis(now - self.since))
    }

    /// Whether messages reach it.
    pub(crate) fn hears(&self, now: u64) -> bool {
        self.down_until.is_none() && self.cut_until <= now
    }

    /// Whether what it says goes out.
    pub(crate) fn speaks(&self, now: u64) -> bool {
        self.hears(now) && !self.greets && self.speaks_at.is_none()
    }

    pub(crate) fn due(&self) -> u64 {
        if let Some(until) = self.down_until {
            return until;
        }
        let greets = if self.greets { self.cut_until } else { u64::MAX };
        let greets = greets.min(self.speaks_at.unwrap_or(u64::MAX));
        let deadline = self.cohort.deadline().map_or(u64::MAX, |at| self.since + at.since(self.base).0);
        self.answers.iter().map(|answer| answer.0).fold(deadline.min(greets), u64::min)
    }

    /// Does what is due. Gives the messages that it wants to publish.
    pub(crate) fn wakes(&mut self, sky: &mut Sky, units: &[Unit]) -> Result<Vec<Steer>, Broken> {
        let mut out = Vec::new();
        if self.down_until.is_some() {
            return Ok(out);
        }
        while let Some(at) = self.answers.iter().position(|answer| answer.0 <= sky.now) {
            let (_, ticket, reply) = self.answers.remove(at);
            if let Some(reply) = reply {
                out.extend(self.give(CohortInput::Policy { ticket, reply }, sky, units)?);
            }
        }
        if self.cohort.deadline().is_some_and(|at| at <= self.mono(sky.now)) {
            out.extend(self.give(CohortInput::Tick, sky, units)?);
            let deadline = self.cohort.deadline();
            holds(rule::NO_SPIN, deadline.is_none_or(|at| at > self.mono(sky.now)), || {
                format!("the cohort's is {deadline:?}")
            })?;
        }
        Ok(out)
    }

    /// Gives the core an input. Gives the messages that are to be published.
    pub(crate) fn give(
        &mut self,
        input: CohortInput,
        sky: &mut Sky,
        units: &[Unit],
    ) -> Result<Vec<Steer>, Broken> {
        let now = self.mono(sky.now);
        self.wished = matches!(input, CohortInput::Operator { .. });
        // Signs of life that went on all the while and the policy's answers say nothing new.
        if !matches!(input, CohortInput::Beat { .. } | CohortInput::Policy { .. } | CohortInput::Tick) {
            self.waits_since = None;
        }
        if let CohortInput::Operator { wish: Wish::Lift(release), .. } = &input {
            self.known.quarantined.remove(release);
        }
        let mut effects = self.cohort.step(now, input);
        if let Some(sabotage) = sky.sabotage {
            sabotage.cohort(&mut effects);
        }
        if effects.is_empty() {
            return Ok(Vec::new());
        }
        self.sees(now, &effects, units)?;
        if effects.iter().any(|effect| matches!(effect, CohortEffect::Record(_))) {
            self.durable = (self.cohort.helm().clone(), now);
            if sky.weather.has(Mark::OldCopy) && sky.rng.below(16) == 0 {
                let helm = self.cohort.helm().clone();
                let newest = helm.generation().0;
                self.copy = Some(Box::new((helm, now, self.known.clone(), newest, self.turned.clone())));
            }
        }
        let mut out = Vec::new();
        for effect in effects {
            match effect {
                CohortEffect::Record(event) => self.notes(sky, event),
                CohortEffect::Publish(steer) => {
                    let said = self.published.entry(steer.generation.0).or_default();
                    if !said.contains(&steer) {
                        said.push(steer.clone());
                    }
                    self.newest = steer.generation.0;
                    out.push(steer);
                }
                CohortEffect::Ask { ticket, facts } => {
                    let reply = if sky.strikes(Mark::Trap) {
                        (sky.rng.below(2) == 0).then(|| Reply::Unanswered { why: "it trapped".into() })
                    } else {
                        Some(Reply::Decided(policy::decide(&facts)))
                    };
                    self.answers.push((sky.now + sky.rng.below(ANSWER_MAX), ticket, reply));
                }
            }
        }
        Ok(out)
    }

    fn notes(&mut self, sky: &mut Sky, event: Event) {
        if matches!(event, Event::Asked { .. }) {
            return;
        }
        sky.events += 1;
        sky.mix(u64::MAX - self.number as u64);
        sky.mix_text(&event);
        if self.log.len() == LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back((sky.now, event));
    }

    fn sees(&mut self, now: Mono, effects: &[CohortEffect], units: &[Unit]) -> Result<(), Broken> {
        let (mut recorded, mut sent, mut homes) = (Generation(0), false, 0);
        for effect in effects {
            match effect {
                CohortEffect::Record(event) => {
                    if let Event::Steered { generation, .. } = event {
                        recorded = *generation;
                    }
                    self.hears_event(now, event, units)?;
                }
                CohortEffect::Publish(steer) => {
                    self.reads(now, steer, recorded, units)?;
                    sent = true;
                    homes += u32::from(steer.direction == Direction::Home);
                }
                CohortEffect::Ask { .. } => {}
            }
        }
        let records = |is: fn(&Event) -> bool| {
            effects.iter().any(|effect| matches!(effect, CohortEffect::Record(event) if is(event)))
        };
        if records(|event| matches!(event, Event::Turned { .. })) {
            let trips = records(|event| matches!(event, Event::BreakerOpened { .. }))
                && records(|event| matches!(event, Event::Condemned { .. }));
            holds(rule::TURN_TRIPS, trips && homes == 1, || format!("{effects:?}"))?;
        }
        if recorded.0 > self.newest && !sent {
            // Words of its own that it had forgotten and found at the broker. They have to be what it said once; what a broker lost in between nobody can know.
            let said = self.published.get(&recorded.0);
            let ours = self.cohort.helm().steer();
            let is_said = said.zip(ours.as_ref()).is_some_and(|(said, ours)| said.contains(ours));
            holds(rule::GENERATIONS_GIVEN, is_said, || {
                format!("{} was taken over as {ours:?}, and had said {said:?}", recorded.0)
            })?;
            self.newest = recorded.0;
            if let Some(steer) = ours.as_ref().filter(|steer| steer.direction == Direction::Home) {
                self.turned.insert(steer.rollout.clone());
            }
            if let Some(steer) = ours.filter(|steer| steer.direction == Direction::Forward) {
                // Its waves were judged in the time that is forgotten.
                self.known.reaches.insert(steer.rollout.clone(), steer.reach);
                self.known.opened.insert(steer.rollout, now);
                self.known.breaker_until = None;
            }
        }
        holds(rule::ONE_TURN, homes <= 1, || format!("{homes} home messages in one step"))
    }

    fn hears_event(&mut self, now: Mono, event: &Event, units: &[Unit]) -> Result<(), Broken> {
        let mine = || units.iter().filter(|unit| unit.cohort == self.number);
        match event {
            Event::WaveOpened { rollout, share, .. } => {
                let steer = self.cohort.helm().steer();
                let release = steer.as_ref().map(|steer| steer.release.digest);
                let is_new = !self.known.opened.contains_key(rollout);
                let barred = release.is_some_and(|release| self.known.quarantined.contains(&release));
                holds(rule::QUARANTINE, !(is_new && barred), || format!("{rollout} begins"))?;
                if let Some(before) = self.known.opened.insert(rollout.clone(), now) {
                    let plan = plan(Millis(1));
                    // The window in which a wave opens counts, and an answer takes up to a second.
                    let windows = plan.window.0 * u64::from(plan.good_windows);
                    let span = now.since(before).0 + ANSWER_MAX >= windows;
                    let any =
                        mine().any(|unit| release.is_some_and(|release| unit.witness.has_passed(&release)));
                    holds(rule::WAVES_EARNED, span && any, || {
                        format!("{rollout} at {now:?} after {before:?}; somebody confirmed it: {any}")
                    })?;
                }
                let open = self.known.breaker_until.is_some_and(|until| now < until);
                holds(rule::BREAKER_HOLDS, !open, || {
                    format!("{rollout} at {now:?}: {:?}", self.known.breaker_until)
                })?;
                self.known.shares.insert(rollout.clone(), (*share, plan(Millis(1)).devices_min));
            }
            Event::BreakerOpened { until } => self.known.breaker_until = Some(*until),
            Event::Condemned { release, .. } => {
                self.known.quarantined.insert(release.digest);
            }
            Event::BreakerClosed => self.known.breaker_until = None,
            Event::Froze { cause: Cause::NoData } => {
                let seen = self.cohort.overview(now);
                self.waits_since = (seen.live == seen.devices).then_some(now);
            }
            Event::Thawed { cause: Cause::NoData } => {
                let plan = plan(Millis(1));
                let least = plan.window.0 * u64::from(plan.windows_max);
                let waited = self.waits_since.is_none_or(|since| now.since(since).0 >= least);
                holds(rule::HELD_STANDS, waited, || {
                    format!("it goes on at {now:?}, held since {:?} without a word", self.waits_since)
                })?;
            }
            Event::Turned { rollout, cause, .. } => {
                self.turns += 1;
                holds(rule::ONE_TURN, self.turned.insert(rollout.clone()), || {
                    format!("{rollout} was turned")
                })?;
                match cause {
                    Cause::CohortFailed { failed, .. } => {
                        let release = self.cohort.helm().steer().map(|steer| steer.release.digest);
                        let failures = mine()
                            .filter(|unit| {
                                release.is_some_and(|release| unit.witness.failed.contains(&release))
                            })
                            .count();
                        holds(rule::TRUE_TURN, failures >= *failed as usize, || {
                            format!("it counts {failed}, and {failures} are so")
                        })?;
                    }
                    Cause::Policy { decision } => {
                        let back = matches!(decision.action, Action::RollBack { .. });
                        holds(rule::TRUE_TURN, back, || format!("{decision}"))?;
                    }
                    Cause::Operator { .. } => {
                        holds(rule::TRUE_TURN, self.wished, || "nobody wished it".into())?;
                    }
                    cause => holds(rule::TRUE_TURN, false, || format!("it turned for {cause}"))?,
                }
            }
            Event::Completed { rollout, confirmed, .. } => {
                let release = self.cohort.helm().steer().map(|steer| steer.release.digest);
                let truly = mine()
                    .filter(|unit| release.is_some_and(|release| unit.witness.has_passed(&release)))
                    .count();
                holds(rule::TRUE_COMPLETION, truly >= *confirmed as usize, || {
                    format!("{rollout} says {confirmed}, and {truly} are so")
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn reads(
        &mut self,
        now: Mono,
        steer: &Steer,
        recorded: Generation,
        units: &[Unit],
    ) -> Result<(), Broken> {
        let generation = steer.generation.0;
        match self.published.get(&generation) {
            Some(known) if generation == self.newest => {
                holds(rule::GENERATIONS_GIVEN, known.contains(steer), || {
                    format!("{generation} said {known:?}, and now {steer:?}")
                })?;
            }
            Some(_) | None => {
                let newest = self.newest;
                holds(rule::GENERATIONS_GIVEN, generation > newest, || {
                    format!("{generation} came after {newest}")
                })?;
                holds(rule::PUBLISHED_LATE, steer.generation == recorded, || {
                    format!("{generation} was sent, and {} recorded", recorded.0)
                })?;
            }
        }
        if steer.direction != Direction::Forward {
            return Ok(());
        }
        holds(rule::NEVER_FORWARD_AGAIN, !self.turned.contains(&steer.rollout), || {
            format!("{} was, by generation {generation}", steer.rollout)
        })?;
        let meant =
            units.iter().filter(|unit| unit.cohort == self.number && steer.selector.means(unit.labels()));
        let reach = self.known.reaches.entry(steer.rollout.clone()).or_insert(steer.reach);
        holds(rule::REACH_GROWS, steer.reach >= *reach, || format!("{:?} after {reach:?}", steer.reach))?;
        *reach = steer.reach;
        let (mut all, mut held) = (0_usize, 0_usize);
        for unit in meant {
            all += 1;
            held += usize::from(Reach::to_hold(&steer.rollout, unit.id()) <= steer.reach);
        }
        let (share, fewest) = self.known.shares.get(&steer.rollout).copied().unwrap_or((Permille::NONE, 0));
        let most = (all * usize::from(share.get())).div_ceil(1000).max(fewest as usize);
        holds(rule::BLAST_RADIUS, held <= most, || {
            format!("{held} of {all} are held, and {most} are allowed")
        })?;
        if self.known.breaker_until.is_some_and(|until| now >= until) {
            holds(rule::HALF_OPEN, held <= fewest as usize, || {
                format!("{held} are held, and {fewest} are allowed")
            })?;
        }
        Ok(())
    }

    /// It is cut off from the broker.
    pub(crate) fn is_cut_off(&mut self, until: u64) {
        self.cut_until = self.cut_until.max(until);
        (self.greets, self.speaks_at) = (true, None);
    }

    /// The server goes down.
    pub(crate) fn crashes(&mut self, until: u64) {
        if self.down_until.is_none() && self.number.is_multiple_of(2) {
            self.saved = self.cohort.roster().clone();
        }
        self.down_until = Some(until);
        self.answers.clear();
    }

    /// The server is up again, with what it knows.
    pub(crate) fn starts(
        &mut self,
        memory: Memory,
        sky: &mut Sky,
        units: &[Unit],
    ) -> Result<Vec<Steer>, Broken> {
        (self.down_until, self.greets, self.speaks_at) = (None, true, None);
        self.since = sky.now;
        self.base = self.durable.1;
        let roster = match memory {
            Memory::Whole => self.saved.clone(),
            Memory::NoRoster | Memory::Old | Memory::None => Roster::default(),
        };
        // What it forgot it knows again once the broker has said so. Devices know it all the while.
        if let Some(copy) = self.copy.clone().filter(|_| memory == Memory::Old) {
            let (helm, at, mut known, newest, turned) = *copy;
            known.shares.clone_from(&self.known.shares);
            self.turned = turned;
            (self.durable, self.known, self.newest) = ((helm, at), known, newest);
            self.base = at;
        }
        if memory == Memory::None {
            // A clock that starts at nothing, too.
            self.base = Mono(0);
            self.cohort = Cohort::new(self.id.clone());
            self.durable = (self.cohort.helm().clone(), self.base);
            let shares = std::mem::take(&mut self.known.shares);
            (self.known, self.newest, self.copy) = (Known { shares, ..Known::default() }, 0, None);
            self.turned.clear();
        } else {
            self.cohort = Cohort::restore(self.durable.0.clone(), roster);
        }
        let mut out = Vec::new();
        let number = self.number;
        for unit in units.iter().filter(|unit| unit.cohort == number) {
            let (device, labels) = (unit.id().clone(), unit.labels().to_vec());
            out.extend(self.give(CohortInput::Enrolled { device, labels }, sky, units)?);
        }
        if memory != Memory::None {
            out.extend(self.give(CohortInput::Restarted, sky, units)?);
        }
        Ok(out)
    }

    /// Whether its rollout is under way or held.
    pub(crate) fn is_open(&self, now: u64) -> bool {
        matches!(self.cohort.overview(self.mono(now)).stage, Stage::Forward | Stage::Held)
    }

    pub(crate) const fn turns(&self) -> u64 {
        self.turns
    }

    /// The input that begins `rollout`.
    pub(crate) fn rollout(&self, rollout: Rollout) -> CohortInput {
        CohortInput::Start { who: who(), rollout }
    }
}

/// What a server still knows when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// All that was written down.
    Whole,
    /// What was decided, and no devices but those that are enrolled.
    NoRoster,
    /// What was so when it was copied last.
    Old,
    /// Nothing but who is enrolled.
    None,
}
