//! Many short lives under a broker in the wrong hands, and under a server whose online key is stolen: real bytes, real signatures, the
//! real core, virtual time, and what has to hold looked at after everything that happens.
//!
//! One seed is one life of three devices in two cohorts. `BACKSTAY_SEED=N` runs one again; `BACKSTAY_LONG=1` runs many.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::collections::BTreeMap;

use backstay_core::{Allowance, DeviceSettings, Rng};
use backstay_model::{Direction, Event, Millis, Reach, Release, Selector, Steer, UnixMs, Word};
use backstay_test_stories::{Behaviour, Stands, World, release, settings};
use backstay_trust::OrderKind;
use backstay_wire::Topic;

use crate::hostile::{
    Broker, Mischief, OURS, Party, Post, cohort, digest, key, orders, seal, steer, steers,
    witness::{INVARIANTS, Witness},
    word,
};

/// What the release keys signed, and what each may be left for.
const SIGNED: [(&str, &[&str]); 8] = [
    ("1.4.0", &[]),
    ("1.5.0", &["1.4.0"]),
    ("1.6.0", &["1.4.0", "1.5.0"]),
    ("1.7.0", &["1.5.0", "1.6.0"]),
    // Fails soon after it came up; does not boot; leads nowhere back.
    ("2.0.0", &["1.4.0", "1.5.0", "1.6.0", "1.7.0"]),
    ("2.1.0", &["1.4.0", "1.5.0", "1.6.0", "1.7.0"]),
    ("3.0.0", &[]),
    ("9.0.0", &["1.4.0", "1.5.0", "1.6.0", "1.7.0"]),
];
const BAD: [&str; 2] = ["2.0.0", "2.1.0"];
/// What nobody signed.
const UNSIGNED: &str = "6.6.6";
/// In every fourth life another security epoch counts with these: from there nothing leads down.
const EPOCH: [&str; 2] = ["1.7.0", "9.0.0"];
const ROUNDS: u64 = 50;
/// The span of the budget, short so that a life has several.
const SPAN_SECS: u64 = 2 * 3600;
/// With a second signature: so long a release has to have been good.
const SECOND_SECS: u64 = 1800;

fn signed(seed: u64, version: &str) -> Release {
    let security_epoch = if seed.is_multiple_of(4) && EPOCH.contains(&version) { 2 } else { 1 };
    Release { security_epoch, ..release(version) }
}

/// Three devices, what is known of them, and the broker between them and whoever signs.
struct Life {
    seed: u64,
    parties: Vec<(Party, Witness)>,
    broker: Broker,
    rng: Rng,
    now: UnixMs,
    generations: BTreeMap<&'static str, u64>,
    words: u64,
    /// The director's key.
    signer: u8,
    /// What was published before this was signed with a key that nobody trusts any more.
    trusted_since: usize,
    refused: usize,
}

const COHORTS: [&str; 2] = ["canary", "field"];

impl Life {
    fn begins(seed: u64, settings: &DeviceSettings) -> Self {
        let party = |(name, of): (&str, &str)| {
            let mut world = World::with(settings.clone(), "1.4.0");
            for (version, ways) in SIGNED {
                let ways = ways.iter().map(|way| digest(way)).collect();
                world.signs_as(signed(seed, version), ways, "pump-arm64");
            }
            world.behaves("2.0.0", Behaviour::FailsAfter(Millis::from_secs(8)));
            world.behaves("2.1.0", Behaviour::DoesNotBoot);
            let party = Party::new(world, name, &cohort(of));
            let mut witness = Witness::new(settings.clone(), &party);
            let ways = |ways: &[&str]| ways.iter().map(|way| digest(way)).collect();
            witness.signed = SIGNED.iter().map(|(version, to)| (digest(version), ways(to))).collect();
            (party, witness)
        };
        Self {
            seed,
            parties: [("pump-7", "canary"), ("pump-8", "canary"), ("pump-9", "field")].map(party).into(),
            broker: Broker::new(seed),
            rng: Rng::new(seed ^ 0x5eed),
            now: UnixMs(1_000_000),
            generations: BTreeMap::new(),
            words: 0,
            signer: 3,
            trusted_since: 0,
            refused: 0,
        }
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.rng.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.below(from.len() as u64) as usize]
    }

    /// The director's next message to a cohort.
    fn next(&mut self, of: &'static str, version: &str, direction: Direction) -> Steer {
        let generation = self.generations.entry(of).or_default();
        *generation = generation.saturating_add(1);
        steer(&cohort(of), *generation, signed(self.seed, version), direction)
    }

    /// Signs with the director's key, and says whom it calls where.
    fn publishes(&mut self, steer: &Steer) -> Post {
        for (party, witness) in &mut self.parties {
            if party.cohort == steer.cohort && steer.direction == Direction::Forward {
                witness.called.insert(steer.release.digest);
            }
        }
        let bytes = seal(OURS, &key(OURS, self.signer), OrderKind::SteerProduct, steer, self.now);
        self.broker.publish(&steers(&steer.cohort), bytes)
    }

    fn tells(&mut self, at: usize, words: &[Word]) -> Post {
        self.words = self.words.saturating_add(1);
        let device = self.parties[at].0.name.clone();
        let bytes = word(&key(OURS, self.signer), &device, self.words, words, self.now);
        self.broker.publish(&orders(&device), bytes)
    }

    /// The broker has something new: each device hears what the broker makes of it.
    fn spreads(&mut self, post: &Post) -> Result<(), String> {
        for at in 0..self.parties.len() {
            for post in self.broker.hands_out(post) {
                self.hands(at, &post)?;
            }
        }
        Ok(())
    }

    fn hands(&mut self, at: usize, post: &Post) -> Result<(), String> {
        let is_for = is_for(&self.parties[at].0, post, &self.broker.archive[self.trusted_since..]);
        let (party, witness) = &mut self.parties[at];
        let (before, heard) = (Stands::of(party.world.device()), party.world.events.len());
        let told = party.world.device().last_told();
        party.hears(post);
        let events = &party.world.events[heard..];
        self.refused += events.iter().filter(|event| matches!(event, Event::Refused(_))).count();
        if is_for {
            // A word that was older changes nothing, so it lifts nothing.
            if party.world.device().last_told() > told {
                witness.lifted.extend(SIGNED.iter().map(|(version, _)| digest(version)));
            }
        } else {
            witness.refused(&before, party, events)?;
        }
        witness.looks(party)
    }

    /// The roots replace the director's key, and all hear of it. Whoever has the new one knows how far it was counted before the theft.
    fn replaces_the_key(&mut self, generation: u64, words: u64) {
        self.signer = 4;
        self.trusted_since = self.broker.archive.len();
        self.words = words;
        for of in COHORTS {
            self.generations.insert(of, generation);
        }
        for (party, witness) in &mut self.parties {
            party.follows(self.signer);
            witness.counts_anew();
        }
    }

    /// The broker hands out what was said last, as it is, and all follow to a good release.
    fn comes_to_a_good_end(&mut self) -> Result<(), String> {
        for at in 0..self.parties.len() {
            let thaw = self.tells(at, &[Word::Thaw, Word::Lift(digest("9.0.0"))]);
            self.hands(at, &thaw)?;
        }
        for of in COHORTS {
            let last = self.next(of, "9.0.0", Direction::Forward);
            let post = self.publishes(&last);
            for at in (0..self.parties.len()).filter(|at| [0, 0, 1][*at] == usize::from(of == "field")) {
                self.hands(at, &post)?;
            }
        }
        for _ in 0..6 {
            self.waits(SPAN_SECS / 4)?;
        }
        for (party, witness) in &self.parties {
            witness.ends(party, |release| release.digest == digest("9.0.0"))?;
        }
        Ok(())
    }

    /// Time goes on for everybody.
    fn waits(&mut self, secs: u64) -> Result<(), String> {
        self.now = UnixMs(self.now.0 + secs * 1000);
        for (party, witness) in &mut self.parties {
            party.world.waits(secs);
            witness.looks(party)?;
        }
        Ok(())
    }

    /// Power is cut. Afterwards the broker hands out what it says that it kept.
    fn loses_power(&mut self, at: usize) -> Result<(), String> {
        let (party, witness) = &mut self.parties[at];
        party.world.loses_power();
        witness.looks(party)?;
        for topic in self.parties[at].0.topics() {
            let olds: Vec<Post> =
                self.broker.archive.iter().filter(|post| post.topic == topic).cloned().collect();
            match self.rng.below(3) {
                0 => {}
                _ if olds.is_empty() => {}
                1 => self.hands(at, olds.last().unwrap())?,
                _ => {
                    let which = self.rng.below(olds.len() as u64) as usize;
                    self.hands(at, &olds[which])?;
                }
            }
        }
        Ok(())
    }
}

/// Whether the director signed these bytes for this device, as what they are handed out as.
fn is_for(party: &Party, post: &Post, archive: &[Post]) -> bool {
    let as_what = |topic: &str| match Topic::parse(topic) {
        Ok(Topic::Steer { channel, .. }) => Some((Topic::parse(topic).unwrap().kind(), Some(channel))),
        Ok(topic) => Some((topic.kind(), None)),
        Err(_) => None,
    };
    let topics = party.topics();
    archive.iter().any(|known| {
        known.bytes == post.bytes
            && topics.contains(&known.topic)
            && as_what(&known.topic) == as_what(&post.topic)
    })
}

/// Settings with a budget that a life spends several times.
fn hasty() -> DeviceSettings {
    let allowance = Allowance { switches: 3, span: Millis::from_secs(SPAN_SECS) };
    DeviceSettings { allowance, ..settings() }
}

/// What came of lives.
#[derive(Debug, Default)]
struct Sum {
    lives: u64,
    handed: usize,
    done: BTreeMap<Mischief, usize>,
    refused: usize,
    switches: usize,
    condemned: usize,
}

fn lives(name: &str, most: u64, live: impl Fn(u64) -> Result<Life, String>) {
    let seeds = match std::env::var("BACKSTAY_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) if std::env::var_os("BACKSTAY_LONG").is_some() => 0..most * 50,
        Err(_) => 0..most,
    };
    let mut sum = Sum::default();
    for seed in seeds {
        let life = live(seed)
            .unwrap_or_else(|why| panic!("{why}; again with BACKSTAY_SEED={seed} and the test {name}"));
        sum.lives += 1;
        sum.refused += life.refused;
        for (mischief, times) in life.broker.done {
            *sum.done.entry(mischief).or_default() += times;
            sum.handed += times;
        }
        for (party, witness) in &life.parties {
            sum.switches += witness.switched;
            sum.condemned += party.world.count(|event| matches!(event, Event::Condemned { .. }));
        }
    }
    // A life in which nothing happens shows nothing.
    if sum.lives >= most {
        assert!(Mischief::ALL.iter().all(|mischief| sum.done.contains_key(mischief)), "{:?}", sum.done);
        let has_much =
            sum.switches as u64 > sum.lives * 2 && sum.condemned > 0 && sum.refused as u64 > sum.lives;
        assert!(has_much, "{sum:?}");
    }
    INVARIANTS.iter().for_each(|(name, sentence)| println!("{name}: {sentence}"));
    println!(
        "summary: {name}: {} lives of 3 devices, {} messages handled ({} refusals recorded), {} switches, {} condemned, \
         {} invariants, 0 violations",
        sum.lives,
        sum.handed,
        sum.refused,
        sum.switches,
        sum.condemned,
        INVARIANTS.len()
    );
}

/// Drops, doubles, holds back, brings out of order, plays again, forges, swaps topics, pads and erases: no device does anything that
/// its director did not sign for it, and when the broker is an honest one again, all of them follow.
#[test]
fn whatever_the_broker_does_devices_do_what_was_signed_for_them() {
    lives("whatever_the_broker_does_devices_do_what_was_signed_for_them", 25, |seed| {
        let mut life = Life::begins(seed, &hasty());
        for _ in 0..ROUNDS {
            let of = life.pick(&COHORTS);
            if life.one_in(4) {
                let (at, lift) = (life.rng.below(3) as usize, digest(life.pick(&BAD)));
                let words = life.pick(&[Word::Hold, Word::Thaw, Word::Thaw, Word::Lift(lift)]);
                let post = life.tells(at, &[words]);
                life.spreads(&post)?;
            } else {
                let version = life.pick(&SIGNED[1..7]).0;
                let direction =
                    life.pick(&[Direction::Forward, Direction::Forward, Direction::Hold, Direction::Home]);
                let steer = life.next(of, version, direction);
                let post = life.publishes(&steer);
                life.spreads(&post)?;
            }
            let secs = life.rng.below(300);
            life.waits(secs)?;
            if life.one_in(8) {
                let at = life.rng.below(3) as usize;
                life.loses_power(at)?;
            }
        }
        // From here on the broker is honest.
        life.comes_to_a_good_end()?;
        Ok(life)
    });
}

/// Signs whatever it likes with the director's key, and the broker is in the same hands.
fn thief(seed: u64, settings: &DeviceSettings) -> Result<Life, String> {
    let mut life = Life::begins(seed, settings);
    for _ in 0..ROUNDS {
        let of = life.pick(&COHORTS);
        if life.one_in(4) {
            let (at, lift) = (life.rng.below(3) as usize, digest(life.pick(&SIGNED).0));
            let words = life.pick(&[Word::Hold, Word::Thaw, Word::Thaw, Word::Lift(lift), Word::Lift(lift)]);
            let post = life.tells(at, &[words]);
            life.spreads(&post)?;
        } else {
            let version = if life.one_in(10) { UNSIGNED } else { life.pick(&SIGNED).0 };
            let direction = life.pick(&[
                Direction::Forward,
                Direction::Forward,
                Direction::Forward,
                Direction::Hold,
                Direction::Home,
                Direction::Home,
            ]);
            // What leaves something has to name it, and the thief knows what runs.
            let version = match direction {
                Direction::Home => running(&life, of),
                Direction::Forward | Direction::Hold => version.to_owned(),
            };
            let version = version.as_str();
            let mut steer = life.next(of, version, direction);
            steer.frozen = life.one_in(12);
            steer.reach = if life.one_in(8) { Reach::new(500).unwrap() } else { Reach::ALL };
            if life.one_in(16) {
                steer.selector = Selector::Nobody;
            }
            // A way home of the thief's own, and releases of which it says what nobody signed.
            if direction == Direction::Home && life.one_in(2) {
                steer.back = Some(signed(seed, life.pick(&["1.4.0", "1.5.0", "3.0.0", UNSIGNED])));
            }
            if life.one_in(10) {
                steer.release.security_epoch += 7;
            }
            if let Some(back) = &mut steer.back {
                back.security_epoch += if life.rng.below(2) == 0 { 7 } else { 0 };
            }
            // Another name for the same rollout, so that who sat it out is meant again.
            steer.rollout = backstay_model::RolloutId::parse(&format!("r-{}", life.rng.below(1000))).unwrap();
            let post = life.publishes(&steer);
            // Mostly it has its message heard as it is.
            if !life.one_in(4) {
                (0..3).try_for_each(|at| life.hands(at, &post))?;
            } else {
                life.spreads(&post)?;
            }
        }
        let secs = life.rng.below(900);
        life.waits(secs)?;
        if life.one_in(10) {
            let at = life.rng.below(3) as usize;
            life.loses_power(at)?;
        }
    }
    // It says no more, and what was begun comes to its end.
    for _ in 0..6 {
        life.waits(SPAN_SECS / 4)?;
    }
    for (party, witness) in &life.parties {
        witness.ends(party, |release| {
            SIGNED.iter().any(|(version, _)| digest(version) == release.digest)
                && !BAD.iter().any(|bad| digest(bad) == release.digest)
        })?;
    }
    Ok(life)
}

/// What runs on the first device of a cohort.
fn running(life: &Life, of: &str) -> String {
    let is_in = |(party, _): &&(Party, Witness)| party.cohort == cohort(of);
    life.parties.iter().find(is_in).unwrap().0.world.runs().to_owned()
}

#[test]
fn whoever_steals_the_servers_key_stays_within_the_allowed_ways_and_the_budget() {
    let name = "whoever_steals_the_servers_key_stays_within_the_allowed_ways_and_the_budget";
    lives(name, 25, |seed| thief(seed, &hasty()));
}

/// Where operators want a second signature, the same thief turns nobody back whose release has long been good.
#[test]
fn a_thief_without_operators_turns_back_nobody_who_has_long_been_well() {
    let settings = DeviceSettings { second_after: Some(Millis::from_secs(SECOND_SECS)), ..hasty() };
    let name = "a_thief_without_operators_turns_back_nobody_who_has_long_been_well";
    lives(name, 25, |seed| {
        let life = thief(seed, &settings)?;
        for (party, _) in &life.parties {
            turns_back_only_the_young(party)?;
        }
        Ok(life)
    });
}

/// The thief uses up all numbers before the key is replaced, and keeps the broker for a while after that. Nothing that it had signed
/// moves anybody then, and who has the new key is followed.
#[test]
fn once_the_key_is_replaced_all_follow_who_has_the_new_one() {
    let name = "once_the_key_is_replaced_all_follow_who_has_the_new_one";
    lives(name, 12, |seed| {
        let mut life = thief(seed, &hasty())?;
        for of in COHORTS {
            life.generations.insert(of, u64::MAX - life.rng.below(2));
            let last = life.next(of, "1.4.0", Direction::Hold);
            let post = life.publishes(&last);
            (0..3).try_for_each(|at| life.hands(at, &post))?;
        }
        for at in 0..3 {
            life.words = u64::MAX - 1;
            let post = life.tells(at, &[Word::Hold]);
            life.hands(at, &post)?;
        }
        // The thief's rollouts are called by the first thousand numbers.
        life.replaces_the_key(5000, 50);
        for _ in 0..ROUNDS / 5 {
            let of = life.pick(&COHORTS);
            let version = life.pick(&SIGNED[1..7]).0;
            let direction = life.pick(&[Direction::Forward, Direction::Hold, Direction::Home]);
            let steer = life.next(of, version, direction);
            let post = life.publishes(&steer);
            life.spreads(&post)?;
            let secs = life.rng.below(300);
            life.waits(secs)?;
            if life.one_in(4) {
                let at = life.rng.below(3) as usize;
                life.loses_power(at)?;
            }
        }
        life.comes_to_a_good_end()?;
        Ok(life)
    });
}

/// Every good release is healthy for as long as it runs here, so what left one backwards was an order.
fn turns_back_only_the_young(party: &Party) -> Result<(), String> {
    let mut confirmed = (digest("1.4.0"), 0);
    for step in &party.world.steps {
        for event in &step.events {
            let Event::CameHome { from, .. } = event else { continue };
            let long = step.at.0.saturating_sub(confirmed.1);
            // What is counted is the windows in which it was seen to be good: a few are lost with power.
            if from.digest == confirmed.0 && long > (SECOND_SECS + 600) * 1000 {
                return Err(format!("second-signature: {} was left after {long} ms", from.version));
            }
        }
        if step.slots.confirmed.digest != confirmed.0 {
            confirmed = (step.slots.confirmed.digest, step.at.0);
        }
    }
    Ok(())
}
