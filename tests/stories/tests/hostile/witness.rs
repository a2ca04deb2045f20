//! What has to hold of a device whatever its broker and its server do, looked at after each message and each step.

use std::collections::{BTreeMap, BTreeSet};

use backstay_core::{Device, DeviceSettings, Watermarks};
use backstay_model::{Digest, Event, Generation, Mono, Release};
use backstay_test_stories::Stands;

use super::Party;

/// Each with its sentence.
pub const INVARIANTS: [(&str, &str); 8] = [
    (
        "only-signed",
        "what the director did not sign for this device changes nothing, and is recorded as refused",
    ),
    (
        "never-back",
        "generation and words only grow for as long as the key is trusted that counts them, and the security epoch always",
    ),
    (
        "allowed-ways",
        "what runs changes only to a release that the release keys signed; back only by a way that they allow",
    ),
    ("asked-for", "what is started was steered to by the director, or is the device's own way home"),
    ("stays-out", "what failed here is not started again before a signed word lifts it"),
    ("budget", "new releases are started, and confirmed ones left, within the budget of switches"),
    ("epoch", "nothing below the security epoch that was reached is started"),
    ("ends-well", "in the end a device runs what it has confirmed, and that is healthy"),
];

/// Remembers of a device what it may have forgotten.
pub struct Witness {
    settings: DeviceSettings,
    /// The releases that the release keys signed, with where they may be left for.
    pub signed: BTreeMap<Digest, Vec<Digest>>,
    /// Those that the director steered this device's cohort forward to.
    pub called: BTreeSet<Digest>,
    /// Those that a signed word let in again.
    pub lifted: BTreeSet<Digest>,
    condemned: BTreeSet<Digest>,
    marks: Watermarks,
    /// The security epoch that counted before the step that is looked at.
    floor: u32,
    on: Release,
    confirmed: Release,
    /// Switches that a budget counts: a release started, or a confirmed one left.
    switches: Vec<Mono>,
    seen: usize,
    /// How many switches there were in all.
    pub switched: usize,
}

impl Witness {
    pub fn new(settings: DeviceSettings, party: &Party) -> Self {
        let device = party.world.device();
        Self {
            settings,
            signed: BTreeMap::new(),
            called: BTreeSet::new(),
            lifted: BTreeSet::new(),
            condemned: BTreeSet::new(),
            marks: device.watermarks(),
            floor: device.floor(),
            on: device.running().clone(),
            confirmed: device.confirmed().clone(),
            switches: Vec::new(),
            seen: party.world.steps.len(),
            switched: 0,
        }
    }

    /// A message that nobody signed for this device was handed to it.
    pub fn refused(&self, before: &Stands, party: &Party, events: &[Event]) -> Result<(), String> {
        let stands = Stands::of(party.world.device());
        if *before != stands {
            return Err(format!("only-signed: it stands otherwise: {:?} and then {:?}", before, stands));
        }
        // The first of a kind, and then ever fewer of them, are written down.
        match events.iter().find(|event| !matches!(event, Event::Refused(_))) {
            None => Ok(()),
            Some(event) => Err(format!("only-signed: it did something: {event}")),
        }
    }

    /// The director's key was replaced: what was counted with the old one binds nobody any more. The security epoch does.
    pub fn counts_anew(&mut self) {
        (self.marks.generation, self.marks.told) = (Generation(0), 0);
    }

    /// Looks at all that the device did since the last time.
    pub fn looks(&mut self, party: &Party) -> Result<(), String> {
        let now = party.world.device().watermarks();
        let was = &self.marks;
        if now.generation < was.generation || now.told < was.told || now.floor < was.floor {
            return Err(format!("never-back: {was:?} and then {now:?}"));
        }
        self.marks = now;
        for step in &party.world.steps[self.seen..] {
            for event in &step.events {
                if let Event::Condemned { release, .. } = event {
                    self.condemned.insert(release.digest);
                    self.lifted.remove(&release.digest);
                }
            }
            let (to, confirmed) = (step.slots.booted.clone(), step.slots.confirmed.clone());
            if to.digest != self.on.digest {
                self.switched += 1;
                self.switches_to(step.at, &to, confirmed.digest == to.digest)?;
            }
            (self.on, self.confirmed) = (to, confirmed);
            self.floor = Device::restore(self.settings.clone(), step.state.clone()).floor();
        }
        self.seen = party.world.steps.len();
        Ok(())
    }

    fn switches_to(&mut self, at: Mono, to: &Release, is_home: bool) -> Result<(), String> {
        let (from, told) = (self.on.clone(), format!("{} -> {} at {}", self.on.version, to.version, at.0));
        let leaves_confirmed = from.digest == self.confirmed.digest;
        if is_home {
            // From a trial the way is to what was confirmed all the while.
            let way = self.signed.get(&from.digest);
            let is_back = !leaves_confirmed && to.digest == self.confirmed.digest;
            if !is_back && !way.is_some_and(|way| way.contains(&to.digest)) {
                return Err(format!("allowed-ways: {told} is no way home"));
            }
        } else {
            if !self.signed.contains_key(&to.digest) {
                return Err(format!("allowed-ways: {told}: the release keys did not sign it"));
            }
            if !self.called.contains(&to.digest) {
                return Err(format!("asked-for: {told}"));
            }
            if self.condemned.contains(&to.digest) && !self.lifted.contains(&to.digest) {
                return Err(format!("stays-out: {told}"));
            }
        }
        if to.security_epoch < self.floor {
            return Err(format!("epoch: {told}: {} is below {}", to.security_epoch, self.floor));
        }
        if leaves_confirmed {
            self.switches.push(at);
            let allowance = self.settings.allowance;
            let lately = self.switches.iter().filter(|&&then| at.since(then) < allowance.span).count();
            if lately > allowance.switches as usize {
                return Err(format!("budget: {told} is number {lately}"));
            }
        }
        Ok(())
    }

    /// Nobody says anything any more, and all that was under way has come to its end.
    pub fn ends(&self, party: &Party, is_healthy: impl Fn(&Release) -> bool) -> Result<(), String> {
        let device = party.world.device();
        let (runs, confirmed) = (device.running(), device.confirmed());
        if runs.digest != confirmed.digest || !is_healthy(runs) {
            return Err(format!(
                "ends-well: it runs {}, confirmed is {}, and it is {:?}",
                runs.version,
                confirmed.version,
                device.standing()
            ));
        }
        Ok(())
    }
}
