//! What the server under test gets to know of a history, and what comes of it: windows, verdicts, ways home.
//!
//! Not here: what happens beside that (`walk`).

use backstay_model::Action;

use super::{
    super::{
        Act, Answer, Chosen,
        ours::{CONFIRM, ROLL_BACK},
    },
    By, Walk,
};

impl Walk {
    /// Something happens, and the server gets to know what is out now.
    pub(super) fn happens(&mut self, act: Act, by: By) {
        self.acts.push(act);
        let answer = self.model.acts(&self.product, &act);
        // What Helm refused or took back by itself, no pipeline calls deployed.
        let is_shipped = matches!(act, Act::Ships { release, .. } if self.model.current().release == release);
        let by = if by == By::Pipeline && (is_shipped || act == Act::Promotes) && answer != Answer::Refused {
            By::Pipeline
        } else {
            By::Look
        };
        self.tells(by);
        self.goes_home();
    }

    pub(super) fn tells(&mut self, by: By) {
        let out = self.model.out();
        if out != self.out {
            (self.out, self.good) = (out, 0);
        }
        match by {
            By::Pipeline => self.server.is_told(&self.product, out),
            By::Look => self.server.sees(&self.product, out),
        }
    }

    /// Windows close, and what comes of that.
    pub(super) fn is_judged(&mut self) {
        if self.is_fine() {
            self.is_good();
            if self.model.has_canary() && self.percent(85) {
                self.promotes();
                self.is_good();
            }
            // One day it isn't any more.
            if self.confirmed.contains(&self.out.0) && self.out.1 == 1000 && self.percent(6) {
                self.faded.insert(self.out.0);
                self.is_sent_back();
            }
        } else {
            self.is_bad();
        }
    }

    fn is_good(&mut self) {
        let windows = if self.percent(80) { CONFIRM } else { 1 };
        self.server.windows(windows, Action::Proceed);
        self.good += windows;
        let (release, stage) = self.out;
        let is_known = self.confirmed.contains(&release) || self.quarantined.contains(&release);
        if stage == 1000 && self.good >= CONFIRM && !is_known {
            self.confirmed.push(release);
        }
    }

    fn is_bad(&mut self) {
        match self.rng.below(100) {
            0..65 => self.is_sent_back(),
            // A person is quicker.
            65..80 => self.happens(Act::Undoes, By::Look),
            80..90 if self.model.has_canary() => self.happens(Act::Aborts, By::Look),
            // So is the next release.
            _ => {}
        }
    }

    fn is_sent_back(&mut self) {
        self.server.windows(1, ROLL_BACK);
        self.good = 0;
        self.goes_home();
    }

    /// What the server orders is done.
    fn goes_home(&mut self) {
        self.tries.begins();
        while let Some((order, home)) = self.server.order(&self.product) {
            self.quarantined.insert(self.out.0);
            let (chosen, failed) = self.tries.goes_home(&mut self.model, &self.product, home);
            if let Chosen::Revision(revision) = chosen {
                self.acts.push(Act::GoesHome { revision });
            }
            if failed.is_none() {
                // What is home is out, and nobody else has to tell.
                (self.out, self.good) = (self.model.out(), 0);
            }
            self.server.ended(&order, failed);
        }
    }
}
