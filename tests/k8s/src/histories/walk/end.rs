//! How a history ends: a bad release goes out, is to be left, and ours goes home.
//!
//! Not here: what went on before (`walk`).

use super::{
    super::{Act, History, Kind, Nature, Shape, Shipping, Template, Truth, ours::ROLL_BACK},
    By, Walk, fails,
};

impl Walk {
    /// A bad release goes out, and is to be left.
    pub(super) fn ends(mut self) -> History {
        self.server.rests();
        self.is_to_be_left();
        // What was in quarantine nobody has to judge.
        if !self.server.has_ordered() {
            self.server.windows(1, ROLL_BACK);
        }
        let truth = Truth {
            left: self.model.current(),
            confirmed: self.confirmed.clone(),
            quarantined: self.quarantined.clone(),
            faded: self.faded.clone(),
        };
        let model = self.model.clone();
        let (mut after, mut chosen, mut ordered) = (model.clone(), Vec::new(), None);
        self.tries.begins();
        while let Some((order, home)) = self.server.order(&self.product) {
            ordered = Some(home);
            let (choice, failed) = self.tries.goes_home(&mut after, &self.product, home);
            chosen.push(choice);
            self.server.ended(&order, failed);
        }
        let Self { seed, kind, setup, product, acts, .. } = self;
        History { seed, kind, setup, product, acts, model, truth, home: ordered, chosen, after }
    }

    fn is_to_be_left(&mut self) {
        // What Helm cut off, it takes no other release over.
        if matches!(&self.model.shape, Shape::Helm(helm) if helm.is_pending()) {
            self.happens(Act::Undoes, By::Look);
        }
        let release = self.model.current().release;
        let serves = self.out == (release, 1000) && self.confirmed.contains(&release);
        match self.rng.below(100) {
            0..10 if serves && self.is_fine() => {
                self.faded.insert(release);
            }
            10..15 if serves && self.is_fine() => {
                self.product.configs.push(false);
                self.ships_bad(release, self.product.configs.len() - 1);
            }
            15..35 => {
                self.ships_new_bad();
                self.ships_new_bad();
            }
            35..50 => {
                self.ships_new_bad();
                self.lets_out(Act::Restarts, By::Look);
            }
            50..58 => {
                self.ships_new_bad();
                let config = self.configures(80);
                self.ships_bad(self.model.current().release, config);
            }
            _ => self.ships_new_bad(),
        }
        let (kind, comes_up) = (self.kind, self.product.comes_up(&self.model.current()));
        match kind {
            Kind::Deployment if self.percent(3) => self.lets_out(Act::Pauses, By::Look),
            // Argo's own analysis gave it up a moment ago, which nobody else knows yet.
            Kind::Rollout if self.model.has_canary() && self.percent(15) => {
                self.acts.push(Act::Aborts);
                self.model.acts(&self.product, &Act::Aborts);
            }
            // It looked fine for long enough.
            Kind::Rollout if self.model.has_canary() && comes_up && self.percent(40) => {
                self.lets_out(Act::Promotes, By::Pipeline);
            }
            Kind::Helm | Kind::Deployment | Kind::Rollout => {}
        }
    }

    fn ships_new_bad(&mut self) {
        let nature = if self.percent(50) { Nature::Bad } else { fails(&mut self.rng) };
        self.product.releases.push(nature);
        self.ships_bad(self.product.releases.len() - 1, self.sound);
    }

    fn ships_bad(&mut self, release: usize, config: usize) {
        let comes_up = self.product.comes_up(&Template { release, config, restart: 0 });
        let how = match self.rng.below(100) {
            0..50 => Shipping::Plain,
            50..85 => Shipping::Waits,
            // Nothing goes out after it until somebody has gone back.
            _ if comes_up => Shipping::Waits,
            _ => Shipping::Killed,
        };
        self.lets_out(Act::Ships { release, config, how }, By::Pipeline);
    }

    /// The same as an act in the middle, but for what the server does then: that is what is looked at.
    fn lets_out(&mut self, act: Act, by: By) {
        self.acts.push(act);
        self.model.acts(&self.product, &act);
        self.tells(by);
    }
}
