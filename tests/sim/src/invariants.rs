//! What has to hold after every event: a name and a sentence each. Where it is checked: `witness` for devices,
//! `shore` for cohorts, `progress` for what is demanded once the faults have stopped.

use std::{cell::RefCell, fmt};

/// Something that always holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// For people who look for it.
    pub name: &'static str,
    /// What holds.
    pub says: &'static str,
    /// What it is excused by, if by anything: what nothing durable could have told.
    pub unless: Option<&'static str>,
    number: usize,
}

/// How often each invariant was held against something, and how often it was excused, in the order of [`ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks(Vec<(u64, u64)>);

impl Default for Checks {
    fn default() -> Self {
        Self(vec![(0, 0); ALL.len()])
    }
}

impl Checks {
    /// How often.
    #[must_use]
    pub fn of(&self, invariant: Invariant) -> u64 {
        self.0[invariant.number].0
    }

    /// How often of these it did not hold, and was excused.
    #[must_use]
    pub fn excused(&self, invariant: Invariant) -> u64 {
        self.0[invariant.number].1
    }

    /// What another run looked at, too.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum = (sum.0 + more.0, sum.1 + more.1);
        }
    }
}

thread_local! {
    // A run stays on its thread. Handing a counter through every call would hide what the calls are about.
    static CHECKS: RefCell<Checks> = RefCell::default();
}

/// What was checked on this thread since it was taken last.
pub(crate) fn take_checks() -> Checks {
    CHECKS.take()
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// What was seen instead.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; but {}", self.invariant.name, self.invariant.says, self.what)
    }
}

macro_rules! invariants {
    (@unless) => { None };
    (@unless $unless:literal) => { Some($unless) };
    ($($id:ident = $name:literal: $says:literal $(, unless $unless:literal)?;)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "they number the constants")]
        enum Number { $($id,)* }

        $(pub(crate) const $id: Invariant = Invariant {
            name: $name,
            says: $says,
            unless: invariants!(@unless $($unless)?),
            number: Number::$id as usize,
        };)*

        /// All of them.
        pub const ALL: &[Invariant] = &[$($id,)*];
    };
}

invariants! {
    // A device.
    RECORDED_FIRST = "recorded-first": "a run begins only after exactly one record of its order";
    ONE_RUN = "one-run": "one run at a time, each under larger numbers than all before it";
    ONE_EXECUTOR = "one-executor": "a run is gone on with by the executor that took it, or by nobody";
    FROZEN_STANDS = "frozen-stands": "a frozen device gives no order before somebody thaws it";
    SLOWLY = "slowly": "where nothing is left to try, it is all tried again no sooner than after the longest wait";
    ATTEMPTS_CAPPED = "attempts-capped": "nothing is tried more often than its cap, over restarts, too, until all of it begins again slowly";
    CONDEMNED_STAYS_OUT = "condemned-stays-out": "what failed here is not run again before somebody lifts it";
    NO_WAY_BACK_FORWARD = "home-is-final": "after home a rollout never goes forward again";
    NO_ONE_WAY_DOOR = "no-one-way-door": "a device runs only what may be left for what it came from, and goes back only where that is allowed";
    BUDGET = "switch-budget": "switches stay within the budget, but for the way home from a trial";
    EARNED = "updated-is-earned": "confirmed only after a full trial in health; settled only on what is confirmed";
    OWN_REASON = "home-has-a-reason": "nobody condemns, mends or goes home by themselves without a local failure: missing data and a failing dependency move nobody",
        unless "a full disk and a power cut took all records of how it left what it remembers to run, which it had not condemned: it may say in that start that the boot fell back";
    STEERED_HOME = "steered-home": "nobody is steered home but by a home message that the server published";
    GENERATION_GROWS = "generation-grows": "the steering that a device follows never gets older";
    REPORTS_GROW = "reports-grow": "the numbers of a device's reports only grow";
    TRUE_WORD = "true-word": "a report says what runs; and what a device said last since it started, of where it stands and how it does, is so after every step";
    MEANT = "only-the-meant": "a device starts only what a forward message within whose reach it is asks of it, at that moment";
    SIGNED = "signed-only": "bytes that were changed, or that somebody else signed, are refused";
    SITS_OUT = "exclusion-respected": "who sits a rollout out doesn't start it before its time";
    FLOOR = "epoch-floor": "nothing of a lower security epoch than what was confirmed here is started";
    BUILT_FOR = "built-for-it": "a device starts only what is built for it";
    CONFIRMED_FIRST = "confirmed-first": "nothing is installed while what runs has yet to pass its trial";
    FOR_GOOD = "for-good-is-for-good": "what failed for good is not tried again in the same rollout before somebody lets go";
    WAITS_BOUNDED = "waits-bounded": "a wait between two tries is no longer than its longest, and begins now";
    RUN_LIMIT = "run-limit": "a run is let go of at its limit";
    EFFECT_ONCE = "effect-once": "what was done under a number is not done again under it, nor under a smaller one";
    WORDS_GROW = "words-grow": "words for one device count once, and never again after newer ones";
    SLOT_LEFT = "slot-left": "there is always a slot to boot that passed a trial here, or was there first";
    NO_SPIN = "deadline-passes": "a deadline that was reached doesn't stand any more";
    // A cohort.
    GENERATIONS_GIVEN = "generations-given": "a generation grows with each message, and one generation always says the same";
    PUBLISHED_LATE = "published-after-record": "a message is written down before it is sent";
    ONE_TURN = "one-turn": "a rollout is turned once, by one message";
    NEVER_FORWARD_AGAIN = "never-forward-again": "a rollout that was turned is never published as forward again";
    BLAST_RADIUS = "blast-radius": "a wave holds no more devices than its share, or the fewest that a wave has";
    BREAKER_HOLDS = "breaker-holds": "no wave opens while the promotion breaker is open";
    HALF_OPEN = "half-open-is-small": "until a small wave was good after a turn, no wave holds more than the fewest";
    TURN_TRIPS = "turn-opens-breaker": "a turn opens the breaker and condemns the release in the same step";
    QUARANTINE = "quarantine-holds": "what a cohort was turned from is not begun again before somebody lifts it";
    REACH_GROWS = "reach-grows": "while a rollout goes forward its reach never shrinks";
    NOBODY = "empty-is-nobody": "an empty selector means nobody";
    WAVES_EARNED = "waves-earned": "a wave opens no sooner than after its good windows, with the share of successes that it takes";
    TRUE_TURN = "true-turn": "a cohort is turned by failures only if so many devices did fail";
    HELD_STANDS = "held-stands": "a rollout that was held for a lack of data, with everybody there, goes on without a word of anybody no sooner than after all the windows of a wave";
    TRUE_COMPLETION = "true-completion": "so many devices confirmed a release as its completion says";
    // Once the faults have stopped.
    PROGRESS = "progress": "within a bound every device stands on a healthy release, or is frozen or stranded for a stated reason with none in reach";
    TRUE_VIEW = "true-view": "what the server believes of the devices is so";
    REFERENCE = "as-the-reference-says": "devices and cohorts end where a simpler model, which knows no time and no messages, says that they do";
    COHORT_ENDS = "cohort-ends": "within a bound every rollout has arrived, was ended, turned, or is held for a reason that still holds";
}

/// Breaks `invariant` unless `holds`.
pub(crate) fn holds(invariant: Invariant, holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    CHECKS.with_borrow_mut(|checks| checks.0[invariant.number].0 += 1);
    if holds { Ok(()) } else { Err(Broken { invariant, what: what() }) }
}

/// The same where `excused` is what `invariant` is excused by. That is counted.
pub(crate) fn holds_or_is_excused(
    invariant: Invariant,
    holds: bool,
    excused: bool,
    what: impl FnOnce() -> String,
) -> Result<(), Broken> {
    let is_needed = !holds && excused;
    CHECKS.with_borrow_mut(|checks| checks.0[invariant.number].1 += u64::from(is_needed));
    self::holds(invariant, holds || is_needed, what)
}
