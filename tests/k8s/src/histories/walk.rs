//! A random history: what happens to a workload until a bad release of it is to be left.
//!
//! Here: what happens how often. People, pipelines and the server under test act in it; what they know is what they could know. Parts of
//! it: who is told of what, and what comes of that (`judged`), and the last release (`end`). Not here: what an act does (the models).

mod end;
mod judged;

use std::collections::BTreeSet;

use backstay_core::Rng;
use backstay_sdk::executor::Release;

use super::{
    Act, Answer, Chosen, HelmVersion, Kind, Model, Nature, Product, Setup, Shape, Shipping, Template, Truth,
    ours::{self, Server, Tries},
};

/// What pods can have that never come up.
const FAULTS: [&str; 3] = ["not-ready", "crash-loop", "image-pull"];
/// The most acts before the end.
const ACTS_MAX: u64 = 10;

/// One history, and where ours goes at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What it comes from.
    pub seed: u64,
    /// Of what.
    pub kind: Kind,
    /// How it is set up.
    pub setup: Setup,
    /// What is shipped.
    pub product: Product,
    /// What happened after that.
    pub acts: Vec<Act>,
    /// The workload at the end.
    pub model: Model,
    /// What is true at the end.
    pub truth: Truth,
    /// The release that `core` orders; none: it orders nothing.
    pub home: Option<usize>,
    /// What the executor makes of it, try by try.
    pub chosen: Vec<Chosen>,
    /// The workload after that.
    pub after: Model,
}

impl History {
    /// The one of this seed.
    #[must_use]
    pub fn of(kind: Kind, seed: u64) -> Self {
        let mut walk = Walk::begins(kind, seed);
        let acts = 2 + walk.rng.below(ACTS_MAX - 1);
        for _ in 0..acts {
            walk.goes_on();
        }
        walk.ends()
    }

    /// The workload as it began.
    #[must_use]
    pub fn beginning(&self) -> Model {
        Model::new(self.kind, &self.product, self.setup)
    }

    /// What the executor is told, where anything is ordered.
    #[must_use]
    pub fn order(&self) -> Option<Release> {
        self.home.map(|home| ours::ordered(&self.product, home))
    }

    /// What ours answers, as a tool would.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let moved = self.after.current() != self.model.current();
        match self.chosen.last() {
            _ if moved => Answer::Moved(self.after.current()),
            Some(Chosen::Revision(_) | Chosen::Stays) => Answer::Stayed,
            Some(Chosen::Nothing(_)) | None => Answer::Refused,
        }
    }
}

/// A history on its way.
struct Walk {
    seed: u64,
    kind: Kind,
    rng: Rng,
    setup: Setup,
    product: Product,
    model: Model,
    acts: Vec<Act>,
    server: Server,
    tries: Tries,
    /// The release that the server knows to be out, the stage, and good windows in a row.
    out: (usize, u16),
    good: u32,
    confirmed: Vec<usize>,
    quarantined: BTreeSet<usize>,
    faded: BTreeSet<usize>,
    /// The newest release and configuration that pods came up with, which is what somebody who mends goes on from.
    sound: usize,
}

/// Who tells the server what is out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Pipeline,
    Look,
}

impl Walk {
    fn begins(kind: Kind, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ (kind as u64) << 56);
        let mut product = Product::new(rng.below(2) == 0);
        product.releases.push(nature(&mut rng, 85, 7));
        // Ten is what Kubernetes, Argo Rollouts and Helm keep if nobody says anything.
        let limit = if rng.below(2) == 0 { 10 } else { 2 + index(rng.below(5)) };
        let first = if rng.below(2) == 0 { Shipping::Plain } else { Shipping::Waits };
        let helm = if seed.is_multiple_of(2) { HelmVersion::Three } else { HelmVersion::Four };
        let setup = Setup { limit, first, helm };
        let model = Model::new(kind, &product, setup);
        let server = Server::new(seed);
        let mut walk = Self {
            seed,
            kind,
            rng,
            setup,
            product,
            model,
            acts: Vec::new(),
            server,
            tries: Tries::default(),
            out: (usize::MAX, 0),
            good: 0,
            confirmed: Vec::new(),
            quarantined: BTreeSet::new(),
            faded: BTreeSet::new(),
            sound: 0,
        };
        walk.tells(By::Pipeline);
        if walk.percent(85) {
            walk.is_judged();
        }
        walk
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.rng.below(100) < chance
    }

    /// One more thing happens, and it is judged, or something else happens before it could be.
    fn goes_on(&mut self) {
        self.server.rests();
        let cut_off = matches!(&self.model.shape, Shape::Helm(helm) if helm.is_pending());
        match self.rng.below(100) {
            // Who finds it cut off goes back, or tries again and is refused.
            _ if cut_off && self.percent(60) => self.happens(Act::Undoes, By::Look),
            _ if self.model.has_canary() && self.is_fine() && self.percent(60) => self.promotes(),
            0..50 => {
                let nature = nature(&mut self.rng, 60, 20);
                self.ships_new(nature);
            }
            50..58 => {
                let release = index(self.rng.below(self.product.releases.len() as u64));
                self.ships(release, self.sound);
            }
            58..68 => {
                let config = self.configures(75);
                self.ships(self.model.current().release, config);
            }
            68..82 => self.happens(Act::Restarts, By::Look),
            82..92 => self.happens(Act::Undoes, By::Look),
            _ => self.forgets(),
        }
        if self.percent(75) {
            self.is_judged();
        }
    }

    /// Whether what is out is any good, whoever knows.
    fn is_fine(&self) -> bool {
        let template = self.model.serves();
        let release = template.release;
        let is_good =
            self.product.releases.get(release) == Some(&Nature::Good) && !self.faded.contains(&release);
        is_good && self.product.comes_up(&template)
    }

    fn ships_new(&mut self, nature: Nature) {
        self.product.releases.push(nature);
        // Most go out under the configuration that is known to do; some with a new one.
        let config = if self.percent(15) { self.configures(85) } else { self.sound };
        self.ships(self.product.releases.len() - 1, config);
    }

    fn ships(&mut self, release: usize, config: usize) {
        let how = match self.rng.below(100) {
            0..45 => Shipping::Plain,
            45..80 => Shipping::Waits,
            80..90 => Shipping::Atomic,
            _ => Shipping::Killed,
        };
        self.ships_by(release, config, how);
    }

    fn ships_by(&mut self, release: usize, config: usize, how: Shipping) {
        let comes_up = self.product.comes_up(&Template { release, config, restart: 0 });
        // What is up at once is never killed while it is waited for.
        let how = if how == Shipping::Killed && comes_up { Shipping::Waits } else { how };
        if comes_up {
            self.sound = config;
        }
        self.happens(Act::Ships { release, config, how }, By::Pipeline);
    }

    /// A new configuration, which pods come up under as often as that.
    fn configures(&mut self, sound: u64) -> usize {
        let sound = self.percent(sound);
        self.product.configs.push(sound);
        self.product.configs.len() - 1
    }

    fn promotes(&mut self) {
        self.happens(Act::Promotes, By::Pipeline);
    }

    /// Somebody deletes an old ReplicaSet.
    fn forgets(&mut self) {
        let (current, stable, sets): (_, _, Vec<_>) = match &self.model.shape {
            Shape::Helm(_) => return,
            Shape::Deployment(it) => (it.current(), None, it.sets().copied().collect()),
            Shape::Rollout(it) => (it.current(), it.stable(), it.sets().copied().collect()),
        };
        let old = sets.iter().filter(|set| {
            !set.wanted && set.template != current && stable.is_none_or(|stable| stable != set.template)
        });
        let old: Vec<u64> = old.map(|set| set.number).collect();
        if let Some(&revision) = old.get(index(self.rng.below(old.len() as u64))) {
            self.happens(Act::Forgets { revision }, By::Look);
        }
    }
}

fn nature(rng: &mut Rng, good: u64, bad: u64) -> Nature {
    match rng.below(100) {
        number if number < good => Nature::Good,
        number if number < good + bad => Nature::Bad,
        _ => fails(rng),
    }
}

fn fails(rng: &mut Rng) -> Nature {
    Nature::Fails(FAULTS.get(index(rng.below(FAULTS.len() as u64))).copied().unwrap_or("not-ready"))
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is known of the tries before, an executor knows at the next: what did not come up has no pods any more by then.
    #[test]
    fn no_revision_is_tried_twice_on_one_way_home() {
        let mut several = 0;
        for (kind, seed) in (0..8000).flat_map(|seed| [(Kind::Deployment, seed), (Kind::Rollout, seed)]) {
            let history = History::of(kind, seed);
            let (mut model, mut tried) = (history.model.clone(), BTreeSet::new());
            for chosen in &history.chosen {
                let Chosen::Revision(revision) = *chosen else { continue };
                model.acts(&history.product, &Act::GoesHome { revision });
                assert!(tried.insert(model.current()), "{kind:?}, seed {seed}: {history:#?}");
            }
            several += usize::from(tried.len() > 1);
        }
        assert!(several > 20, "{several} had more than one try");
    }
}
