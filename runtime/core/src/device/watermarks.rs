//! What is kept apart from the rest of what a device remembers, because the rest may be lost or older.
//!
//! It is little, and its place is taken beforehand, so that it is kept also where a disk is full. Not here: the bytes and the
//! place (whoever keeps them).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use backstay_model::{Digest, Generation, Release, WayHome};

use super::{
    Device,
    phase::{Installing, Phase},
    state::DeviceState,
};

/// The highest of what only ever grows, and the ways that there are. Kept twice, apart from the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Digests that the device will not run again by itself, newest first.
    pub condemned: Vec<Digest>,
    /// The lowest security epoch that it takes.
    pub floor: u32,
    /// Steering of a lower generation is of the past.
    pub generation: Generation,
    /// The highest word that it was told. What a word led to is in the rest alone: where that can't be kept, neither may this be.
    pub told: u64,
    /// The release that passed its trial here before the one that is confirmed now. It grows no more than the others
    /// go back: it is kept with them because a way home has to be known without the rest.
    pub last_known_good: Option<Release>,
    /// How often it has started, as its reports are counted by it.
    pub starts: u32,
    /// What releases may be left for, of what is at hand: those that are here, and the one that is on its way in. It is kept
    /// before that one is brought in, because it has to be known of what runs without the rest. At most
    /// [`Watermarks::WAYS_MAX`], each for four at most.
    pub ways: BTreeMap<Digest, WayHome>,
}

impl Watermarks {
    /// The most releases of which it is kept what they may be left for. There are four at a time: two slots, what a restart
    /// brings back, and what is on its way in. As many more may be left of before a start.
    pub const WAYS_MAX: usize = 8;
}

impl Device {
    /// Takes over what was kept apart from the rest: only where it is stricter, or where nothing is known.
    pub fn remember(&mut self, kept: &Watermarks) {
        for digest in kept.condemned.iter().rev() {
            self.state.condemn(*digest);
        }
        if self.state.last_known_good.is_none() {
            self.state.last_known_good.clone_from(&kept.last_known_good);
        }
        self.state.floor = self.state.floor.max(kept.floor);
        self.state.least = self.state.least.max(kept.generation);
        if self.steering().is_some_and(|steer| steer.generation < kept.generation) {
            // It was left behind long ago; what took its place comes again with the next connection.
            self.state.steering = None;
        }
        self.state.told = self.state.told.max(kept.told);
        self.state.reports = self.state.reports.max(u64::from(kept.starts) << 32);
        let DeviceState { on, ways, .. } = &mut self.state;
        for (release, way) in &kept.ways {
            ways.entry(*release).or_insert_with(|| way.clone());
        }
        if on.way == WayHome::default() {
            on.way = ways.get(&on.release.digest).cloned().unwrap_or_default();
        }
    }

    /// What is to be kept apart.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        let steered = self.steering().map_or(Generation(0), |steer| steer.generation);
        Watermarks {
            condemned: self.state.condemned.clone(),
            floor: self.state.floor,
            generation: self.state.least.max(steered),
            told: self.state.told,
            last_known_good: self.state.last_known_good.clone(),
            starts: u32::try_from(self.state.reports >> 32).unwrap_or(u32::MAX),
            ways: self.ways_at_hand(),
        }
    }

    /// What may be left for what is at hand, as far as it is known.
    fn ways_at_hand(&self) -> BTreeMap<Digest, WayHome> {
        let DeviceState { on, sought, ways, phase, .. } = &self.state;
        let installed = if let Phase::Installing(Installing { to, .. }) = phase { Some(to) } else { None };
        let running = installed.into_iter().chain(sought).chain([on]);
        let known = running.map(|running| (&running.release.digest, &running.way)).chain(ways);
        let here: BTreeSet<Digest> = self.at_hand().into_iter().collect();
        let to_here = |way: &WayHome| here.iter().filter(|to| way.allows(to)).copied().collect();
        known.take(Watermarks::WAYS_MAX).map(|(from, way)| (*from, WayHome(to_here(way)))).collect()
    }
}
