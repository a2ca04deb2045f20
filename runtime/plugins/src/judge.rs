//! Asking the policies of an instance: the one that decides, the ones that stand behind it, and the one that is to take
//! over.
//!
//! Here: the calls, and what counts against whom. Not here: who is asked when (`core`: `Succession`, `Quarantine`), and
//! what an answer leads to.

use std::fmt;

use backstay_core::{Bench, Confidence, Move, Terms};
use backstay_host::{CallError, Decided, Policy};
use backstay_model::{
    Action, Came, Decision, Digest, Equipped, Event, Facts, Handover, HandoverStep, Memo, Mono, PluginId,
    Reason, Ticket, Version,
};
use backstay_trust::{GrantedPlugin, Keyring};

use crate::{
    Ready,
    load::{marked, taken_back},
    trace,
};

/// A policy, wherever it runs: in this process, or in one of its own.
pub trait Adviser {
    /// Which plugin.
    fn id(&self) -> &PluginId;

    /// Its version, for people.
    fn version(&self) -> &Version;

    /// The digest of the grant under which it runs.
    fn grant(&self) -> &Digest;

    /// What lets it run, which may be taken back.
    fn granted(&self) -> &GrantedPlugin;

    /// How it is configured, once it has said so: to be recorded before its first answer.
    fn equipped(&self) -> Option<&Equipped>;

    /// What is to be done. `prior` is the memo of the answer before, empty at first.
    ///
    /// # Errors
    /// It did not answer.
    fn decide(&mut self, now: Mono, facts: &Facts, prior: &[u8]) -> Result<Decided, CallError>;
}

impl Adviser for Ready<Policy> {
    fn id(&self) -> &PluginId {
        self.plugin.id()
    }

    fn version(&self) -> &Version {
        self.plugin.version()
    }

    fn grant(&self) -> &Digest {
        self.plugin.grant()
    }

    fn granted(&self) -> &GrantedPlugin {
        &self.granted
    }

    fn equipped(&self) -> Option<&Equipped> {
        Some(&self.equipped)
    }

    fn decide(&mut self, _: Mono, facts: &Facts, prior: &[u8]) -> Result<Decided, CallError> {
        let plugin = &self.plugin;
        let decide = || plugin.decide(&self.config, facts, prior);
        marked(self.mark.as_deref(), (plugin.id(), plugin.version(), plugin.grant()), decide)
    }
}

/// A policy, and what it remembers from its last answer.
struct Seat {
    adviser: Box<dyn Adviser + Send>,
    memo: Vec<u8>,
}

/// The policies of an instance.
pub struct Judge {
    /// Newest first.
    proven: Vec<Seat>,
    candidate: Option<Seat>,
    terms: Terms,
    consulted: Option<Consulted>,
}

/// The call that an answer came from, as it is to be recorded with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consulted {
    grant: Digest,
    prior: Memo,
    came: Came,
}

impl Consulted {
    /// The event, once it is known which question it was.
    #[must_use]
    pub fn about(self, ticket: Ticket) -> Event {
        let Self { grant, prior, came } = self;
        Event::Consulted { ticket, grant, prior, came }
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.seats().map(|seat| (seat.adviser.id(), seat.adviser.version()));
        f.debug_list().entries(names).finish()
    }
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The answer, or why there is none, in at most 256 bytes.
    pub answer: Result<Decision, String>,
    /// What happened on the way and is to be recorded.
    pub events: Vec<Event>,
}

/// What policies remember of one thing that they are asked about, by the grant under which each runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memos(Vec<(Digest, Vec<u8>)>);

/// One call of one policy.
struct Called {
    consulted: Consulted,
    came: Result<Decision, CallError>,
}

impl Called {
    fn is_of(&self, grant: &Digest) -> bool {
        self.consulted.grant == *grant
    }
}

impl Judge {
    /// Of policies that are ready to be asked, newest first.
    #[must_use]
    pub fn new<A: Adviser + Send + 'static>(proven: impl IntoIterator<Item = A>) -> Self {
        Self { proven: proven.into_iter().map(Seat::of).collect(), ..Self::empty() }
    }

    /// Of nobody yet: every question stays without an answer.
    #[must_use]
    pub fn empty() -> Self {
        Self { proven: Vec::new(), candidate: None, terms: Terms::default(), consulted: None }
    }

    /// With one that is to take over from the first of them, on these terms.
    #[must_use]
    pub fn with_candidate<A: Adviser + Send + 'static>(mut self, candidate: A, terms: Terms) -> Self {
        self.try_out(candidate, terms);
        self
    }

    /// From now on this one is to take over, on these terms, in the place of any other.
    pub fn try_out<A: Adviser + Send + 'static>(&mut self, candidate: A, terms: Terms) {
        self.candidate = Some(Seat::of(candidate));
        self.terms = terms;
    }

    /// Whoever runs under `grant` is asked first from now on, with what it remembers; the others stand behind it.
    pub fn promote(&mut self, grant: &Digest) {
        let is = |seat: &Seat| seat.adviser.grant() == grant;
        let at = self.proven.iter().position(is);
        let known = at.map(|at| self.proven.remove(at));
        let candidate = self.candidate.take_if(|seat| seat.adviser.grant() == grant);
        if let Some(seat) = candidate.or(known) {
            self.proven.insert(0, seat);
        }
    }

    /// A policy that is asked first at once, where there is none that it could be compared with.
    pub fn appoint<A: Adviser + Send + 'static>(&mut self, adviser: A) {
        self.proven.insert(0, Seat::of(adviser));
    }

    /// Whoever runs under `grant` is not asked any more: the one that is to take over, or else one that stands in the row.
    pub fn dismiss(&mut self, grant: &Digest) {
        if self.candidate.take_if(|seat| seat.adviser.grant() == grant).is_none() {
            self.proven.retain(|seat| seat.adviser.grant() != grant);
        }
    }

    /// Whether there is one, apart from the one that is to take over, that may be asked.
    #[must_use]
    pub fn decides(&self, confidence: &Confidence) -> bool {
        confidence.quarantine.choose(&self.proven_grants()).is_some()
    }

    /// The call that the last answer came from. None: nobody was called.
    pub fn consulted(&mut self) -> Option<Consulted> {
        self.consulted.take()
    }

    /// Gives them what they remember of what they are asked about next, and takes what they remembered before: an instance
    /// that asks about several things keeps these apart.
    pub fn exchange(&mut self, mut memos: Memos) -> Memos {
        let mut before = Memos::default();
        for seat in self.seats_mut() {
            let grant = *seat.adviser.grant();
            let known = memos.0.iter().position(|(of, _)| *of == grant);
            let memo = known.map(|at| memos.0.swap_remove(at).1).unwrap_or_default();
            let memo = std::mem::replace(&mut seat.memo, memo);
            if !memo.is_empty() {
                before.0.push((grant, memo));
            }
        }
        before
    }

    /// How each of them is configured: to be recorded at the start, before the first answer.
    pub fn equipped(&self) -> impl Iterator<Item = Event> {
        self.seats().filter_map(|seat| seat.adviser.equipped()).cloned().map(Event::Equipped)
    }

    /// What lets each of them run.
    pub fn granted(&self) -> impl Iterator<Item = &GrantedPlugin> {
        self.seats().map(|seat| seat.adviser.granted())
    }

    /// Asks only those any more that are `still` granted; the last good one takes over, or nobody.
    pub fn retain(&mut self, mut still: impl FnMut(&GrantedPlugin) -> bool) {
        self.proven.retain(|seat| still(seat.adviser.granted()));
        self.candidate.take_if(|seat| !still(seat.adviser.granted()));
    }

    /// Asks only those any more whom `keyring` still grants. What it gives is to be recorded.
    pub fn heed(&mut self, keyring: &Keyring) -> Vec<Event> {
        let mut events = Vec::new();
        self.retain(|granted| {
            let told = taken_back(keyring, granted);
            let stays = told.is_none();
            events.extend(told);
            stays
        });
        events
    }

    /// Holds what is remembered against who is here. To be called before the first question, and whenever somebody
    /// signed that a plugin may be tried again. What it gives is to be recorded.
    pub fn seat(&self, confidence: &mut Confidence) -> Option<Event> {
        let proven = self.proven_grants();
        let moved = confidence.succession.seat(self.bench(&proven), &self.terms, &confidence.quarantine);
        moved.and_then(|moved| self.told(&moved, None, None))
    }

    /// Asks whose turn it is. Whoever doesn't answer has the next one asked the same, so a question stays without an
    /// answer only if nobody has one. What counts against a plugin is counted in `confidence`.
    pub fn ask(&mut self, now: Mono, facts: &Facts, confidence: &mut Confidence) -> Asked {
        let proven = self.proven_grants();
        let turn = confidence.succession.turn(self.bench(&proven), &confidence.quarantine);
        let mut events = Vec::new();
        let mut called: Vec<Called> = Vec::new();
        for grant in turn.ask.iter().chain(&turn.beside) {
            // Who stands behind is called only where it has to be, who is asked beside always, and nobody twice.
            let beside = Some(grant) == turn.beside.as_ref();
            let answered = called.iter().any(|call| call.came.is_ok());
            if (answered && !beside) || called.iter().any(|call| call.is_of(grant)) {
                continue;
            }
            if let Some(seat) = self.seats_mut().find(|seat| seat.adviser.grant() == grant) {
                called.push(seat.call(now, facts, confidence, &mut events));
            }
        }
        let came = |grant: Option<&Digest>| called.iter().find(|call| grant.is_some_and(|of| call.is_of(of)));
        let action = |grant| came(grant).and_then(|call| call.came.as_ref().ok()).map(|said| &said.action);
        let (first, beside) = (action(turn.ask.first()), action(turn.beside.as_ref()));
        let moves = confidence.succession.heard(&self.terms, first, beside, &confidence.quarantine);
        events.extend(moves.iter().filter_map(|moved| self.told(moved, first, beside)));
        let asked = || turn.ask.iter().filter_map(|grant| came(Some(grant)));
        // The one that counts, or where none does the first: what it came to is to be made again.
        let counts = asked().find(|call| call.came.is_ok()).or_else(|| asked().next());
        let answer = match counts.map(|call| &call.came) {
            Some(Ok(decision)) => Ok(decision.clone()),
            Some(Err(error)) => Err(Reason::new(error.to_string()).0),
            None => Err("every policy is in quarantine or revoked".into()),
        };
        self.consulted = counts.map(|call| call.consulted.clone());
        Asked { answer, events }
    }

    fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.proven.iter().chain(&self.candidate)
    }

    fn seats_mut(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.proven.iter_mut().chain(&mut self.candidate)
    }

    fn proven_grants(&self) -> Vec<Digest> {
        self.proven.iter().map(|seat| *seat.adviser.grant()).collect()
    }

    fn bench<'a>(&'a self, proven: &'a [Digest]) -> Bench<'a> {
        Bench { candidate: self.candidate.as_ref().map(|seat| seat.adviser.grant()), proven }
    }

    /// A move as it is told. None: whom it is about is not here any more.
    fn told(&self, moved: &Move, first: Option<&Action>, beside: Option<&Action>) -> Option<Event> {
        let (candidate, step) = match moved {
            Move::Shadows { candidate, beside } => (candidate, HandoverStep::Shadows { beside: *beside }),
            Move::Differs { candidate, deciding, differed, windows } => {
                let (wanted, other) = if *deciding { (first, beside) } else { (beside, first) };
                let (wanted, other) = (wanted.cloned(), other.cloned());
                let (differed, windows) = (*differed, *windows);
                (candidate, HandoverStep::Differs { wanted, other, differed, windows })
            }
            Move::TakesOver { candidate, from, differed, windows } => {
                let (differed, windows) = (*differed, *windows);
                (candidate, HandoverStep::TakesOver { from: *from, differed, windows })
            }
            Move::Settles { candidate, differed, windows } => {
                (candidate, HandoverStep::Settles { differed: *differed, windows: *windows })
            }
            Move::Refused { candidate, back_to, was_deciding, why } => {
                let (back_to, was_deciding, why) = (*back_to, *was_deciding, why.to_string());
                (candidate, HandoverStep::Refused { back_to, was_deciding, why })
            }
        };
        let seat = self.seats().find(|seat| seat.adviser.grant() == candidate)?;
        let (plugin, version) = (seat.adviser.id().clone(), seat.adviser.version().clone());
        Some(Event::Handover(Handover { plugin, version, grant: *candidate, step }))
    }
}

impl Seat {
    fn of<A: Adviser + Send + 'static>(adviser: A) -> Self {
        Self { adviser: Box::new(adviser), memo: Vec::new() }
    }

    fn call(
        &mut self,
        now: Mono,
        facts: &Facts,
        confidence: &mut Confidence,
        events: &mut Vec<Event>,
    ) -> Called {
        let (grant, prior) = (*self.adviser.grant(), trace::memo(&self.memo));
        let decided = self.adviser.decide(now, facts, &self.memo);
        let consulted = Consulted { grant, prior, came: trace::came_of_decision(&decided) };
        let came = match decided {
            Ok(decided) => {
                self.memo = decided.memo;
                Ok(decided.decision)
            }
            Err(error) => {
                // It begins afresh: what it remembered may be what made it fail.
                self.memo.clear();
                if let Some(strike) = error.as_strike() {
                    let plugin = self.adviser.id().clone();
                    let why = Reason::new(strike.to_string()).0;
                    let strikes = confidence.quarantine.strike(now, grant);
                    events.extend(strikes.map(|strikes| Event::Quarantined { plugin, grant, strikes, why }));
                }
                Err(error)
            }
        };
        Called { consulted, came }
    }
}
