//! What people do: they start rollouts, wish things, and tell single devices something.

use backstay_core::{CohortInput, Rollout, Wish};
use backstay_model::{RolloutId, Selector, Word};

use super::{Fleet, mail::Parcel};
use crate::{broker::Words, invariants::Broken, progress, shore};

impl Fleet {
    pub(super) fn some_product(&mut self) -> usize {
        1 + self.sky.rng.below(self.sky.products.len() as u64 - 1) as usize
    }

    pub(super) fn tell(&mut self, n: usize, word: Word) {
        self.words[n] += 1;
        let words = Words { sequence: self.words[n], words: vec![word] };
        self.broker.order[n] = Some(words.clone());
        self.sends_to_unit(n, Parcel::Words(words));
    }

    pub(super) fn person(&mut self) -> Result<(), Broken> {
        let (n, product) = (self.some_shore(), self.some_product());
        if self.shores[n].down_until.is_some() {
            return Ok(());
        }
        let selector = match self.sky.rng.below(8) {
            0 => Some(Selector::Labelled(vec!["site=basel".parse().unwrap()])),
            1 => Some(Selector::Labelled(Vec::new())),
            _ => None,
        };
        self.starts_in(n, product, selector)
    }

    pub(super) fn starts_in(
        &mut self,
        n: usize,
        product: usize,
        selector: Option<Selector>,
    ) -> Result<(), Broken> {
        self.rollouts += 1;
        let back = (self.sky.rng.below(3) == 0).then(|| self.sky.products[0].release.clone());
        let rollout = Rollout {
            rollout: RolloutId::parse(&format!("r-{}", self.rollouts)).unwrap(),
            release: self.sky.products[product].release.clone(),
            back,
            selector: selector.unwrap_or(Selector::All),
            policies: Vec::new(),
            plan: shore::plan(self.sky.size.beat),
        };
        let input = self.shores[n].rollout(rollout);
        self.shore_gives(n, input)
    }

    pub(super) fn wish(&mut self) -> Result<(), Broken> {
        let (n, product) = (self.some_shore(), self.some_product());
        if self.shores[n].down_until.is_some() {
            return Ok(());
        }
        let wish = match self.sky.rng.below(10) {
            0 => Wish::Pause,
            1..=2 => Wish::Resume,
            3 => Wish::Abort,
            4 => Wish::Rollback,
            5..=6 => Wish::Thaw,
            7..=8 => Wish::Lift(self.sky.products[product].release.digest),
            _ => Wish::CloseBreaker,
        };
        self.shore_gives(n, CohortInput::Operator { who: shore::who(), wish, reason: None })
    }

    /// What people do on the day after: let go on what they held.
    pub(super) fn people_tidy_up(&mut self) -> Result<(), Broken> {
        for n in 0..self.units.len() {
            if self.units[n].witness.held {
                self.tell(n, Word::Thaw);
            }
        }
        for n in 0..self.shores.len() {
            if progress::waits_for_a_person(&self.shores[n], self.sky.now) {
                let input = CohortInput::Operator { who: shore::who(), wish: Wish::Thaw, reason: None };
                self.shore_gives(n, input)?;
            }
        }
        Ok(())
    }
}
