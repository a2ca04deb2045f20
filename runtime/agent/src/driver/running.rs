//! Runs: the executor that takes one, its steps, and the effects that it asks for.
//!
//! What comes of an effect is written down before the executor hears of it. Not here: which run there is, and what its end
//! means (`core`).

use std::{path::Path, time::Duration};

use backstay_core::{Confidence, Device, Input};
use backstay_hands::spawn;
use backstay_host::CallError;
use backstay_memory::Step;
use backstay_model::{
    Access, Answer, Came as StepCame, Deed, Digest, Effect as Asked, Event, Order, Outcome, Reason, Ticket,
    Transience, causes,
};
use backstay_plugins::{Next, Run, Stuck, configured};

use super::{Done, Driver, Loop};

/// Between the first two looks at slots that can't say what is in them. Each further wait is twice as long.
const LOOK_AGAIN_MIN: Duration = Duration::from_secs(1);

/// The longest wait between two looks.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(30);

/// The wait after a look at the slots that said nothing.
pub(super) fn longer(waited: Duration) -> Duration {
    (waited * 2).clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX)
}

impl Loop {
    /// Finds the executor for a run: the one that began it, or else the newest that may be asked.
    pub(super) fn pick(&mut self, order: Order, grant: Option<Digest>) -> Vec<Input> {
        let ticket = order.ticket;
        // What an executor has begun it goes on with.
        if let (false, None, Err(outcome)) = (self.is_kept, grant, Device::begins_unkept(&order)) {
            self.run_ended(ticket, outcome);
            return Vec::new();
        }
        let Driver { executors, confidence: Confidence { quarantine, .. }, .. } = &self.all;
        let outgoing = self.outgoing;
        // One that is on its way out begins nothing. What it began it brings to its end.
        let stays = |of: &Digest| grant == Some(*of) || outgoing != Some(*of);
        let asked = executors.iter().filter(|ready| !ready.revoked && stays(ready.plugin.grant()));
        let grants: Vec<Digest> = asked.map(|ready| *ready.plugin.grant()).collect();
        let chosen = match &grant {
            None => quarantine.choose(&grants),
            Some(grant) => grants.iter().find(|of| *of == grant && !quarantine.is_out(of)),
        };
        let at = chosen.and_then(|chosen| executors.iter().position(|ready| ready.plugin.grant() == chosen));
        match (at, grant) {
            (Some(at), _) => {
                let grant = *executors[at].plugin.grant();
                self.picked = Some((order, at));
                vec![Input::Taken { ticket, grant }]
            }
            (None, Some(grant)) => {
                let there = executors.iter().any(|ready| *ready.plugin.grant() == grant);
                let what = match (there, quarantine.is_out(&grant)) {
                    (_, true) => "is in quarantine",
                    (true, false) => "was revoked",
                    (false, false) => "is no longer there",
                };
                let why = format!("the executor that began it (grant {}) {what}", grant.short());
                vec![Input::Halted { ticket, why }]
            }
            (None, None) => {
                let why =
                    "no executor may be asked: none was loaded, or all are in quarantine or revoked".into();
                self.run_ended(ticket, Outcome::Failed { transience: Transience::Transient, why });
                Vec::new()
            }
        }
    }

    /// Begins the run that an executor was found for, or goes on with it where the journal knows it.
    pub(super) fn begin(&mut self) -> Vec<Input> {
        let Some((order, at)) = self.picked.take() else { return Vec::new() };
        let ticket = order.ticket;
        self.keep_executor(at);
        let lost = Step::in_doubt(self.all.memory.steps(ticket));
        let doubts: Vec<Event> =
            lost.into_iter().map(|ordinal| Step::ended(ticket, ordinal, &Answer::InDoubt)).collect();
        self.record(&doubts);
        let answers = Step::answers(self.all.memory.steps(ticket));
        match Run::resume(&self.all.executors[at], order, answers) {
            Ok((run, next)) => {
                let came = run.came();
                self.run = Some((run, at));
                self.follow(ticket, at, came, next);
            }
            Err(stuck) => self.stuck(ticket, at, &stuck),
        }
        Vec::new()
    }

    /// The run may restart into an image that brings another executor, and only this one may go on with it there.
    fn keep_executor(&self, at: usize) {
        let Driver { config, executors, bundles, .. } = &self.all;
        let ready = &executors[at];
        let came = bundles.path(&ready.bundle.digest);
        let files: Vec<&Path> = configured(&config.executor).chain([came.as_path()]).collect();
        if let Err(error) = bundles.keep_for_run(ready.plugin.grant(), &ready.bundle.digest, &files) {
            // The run is not worse off for it until the image changes, and a full disk keeps nobody from going home.
            tracing::warn!(%error, "the executor of a run can't be kept");
        }
    }

    /// Lets go of a run: what can be broken off is, and what comes of the rest nobody waits for.
    pub(super) fn abandon(&mut self, ticket: Ticket, outcome: Outcome) {
        self.picked = None;
        self.let_go.send_replace(ticket);
        self.run_ended(ticket, outcome);
    }

    /// Writes down what came of an executor's step and that its effects begin, and begins them.
    pub(super) fn follow(&mut self, ticket: Ticket, at: usize, came: StepCame, next: Next) {
        let stepped = self.stepped(ticket, at, came);
        match next {
            Next::End(outcome) => {
                self.record(&[stepped]);
                self.run_ended(ticket, outcome);
            }
            Next::Do(effects) => {
                let began = effects.iter().map(|Asked { ordinal, access, deed }| {
                    let (what, changes) = (Reason::new(deed.to_string()).0, *access == Access::Changes);
                    Event::EffectBegan { ticket, ordinal: *ordinal, what, changes }
                });
                self.record(&std::iter::once(stepped).chain(began).collect::<Vec<_>>());
                effects.into_iter().for_each(|effect| self.start(ticket, effect));
            }
        }
    }

    pub(super) fn stepped(&self, ticket: Ticket, at: usize, came: StepCame) -> Event {
        Event::Stepped { ticket, grant: *self.all.executors[at].plugin.grant(), came }
    }

    /// Begins an effect, which is written down by now.
    pub(super) fn start(&self, ticket: Ticket, effect: Asked) {
        let Asked { ordinal, deed, .. } = effect;
        let (machine, done, mut let_go) =
            (self.all.machine.clone(), self.done.clone(), self.let_go.subscribe());
        let (lkg, on) = (self.all.lkg.clone(), self.all.device.running().clone());
        let restarts = self.all.config.service.is_some();
        spawn(async move {
            let broken_off = async {
                if let_go.wait_for(|up_to| *up_to >= ticket).await.is_err() {
                    // The agent stops, and with it all of this.
                    std::future::pending::<()>().await;
                }
            };
            let restores = matches!(&deed, Deed::Run { command, .. } if lkg.is_restore(command));
            let answer = if restores {
                lkg.put_back_and_restart(on, restarts.then_some(&machine)).await
            } else {
                machine.perform(deed, broken_off).await
            };
            let _ = done.send(Done::Effect { ticket, ordinal, answer }).await;
        });
    }

    pub(super) fn stuck(&mut self, ticket: Ticket, at: usize, stuck: &Stuck) {
        self.record(&[self.stepped(ticket, at, stuck.came())]);
        if let CallError::Strike(strike) = &stuck.error {
            let plugin = &self.all.executors[at].plugin;
            let (id, grant) = (plugin.id().clone(), *plugin.grant());
            if let Some(strikes) = self.all.confidence.quarantine.strike(self.all.clock.now(), grant) {
                let why = Reason::new(strike.to_string()).0;
                self.record_of_plugins(vec![Event::Quarantined { plugin: id, grant, strikes, why }]);
            }
        }
        self.run_ended(ticket, stuck.outcome());
    }

    pub(super) fn run_ended(&mut self, ticket: Ticket, outcome: Outcome) {
        self.run = None;
        self.see_off();
        self.look(ticket, outcome, Duration::ZERO);
    }

    /// Asks the slots where a run left them, after a wait. They may be busy for as long as a release takes to be written, so nobody
    /// waits for them here.
    pub(super) fn look(&self, ticket: Ticket, outcome: Outcome, waited: Duration) {
        let (machine, done) = (self.all.machine.clone(), self.done.clone());
        spawn(async move {
            tokio::time::sleep(waited).await;
            let slots = machine.status().await.map_err(|error| match error.help() {
                Some(help) => format!("{}: {help}", causes::in_one_line(&error)),
                None => causes::in_one_line(&error),
            });
            let _ = done.send(Done::Run { ticket, outcome, slots, waited }).await;
        });
    }

    /// An effect of a run has ended.
    pub(super) fn answered(&mut self, ticket: Ticket, ordinal: u32, answer: Answer) {
        self.record(&[Step::ended(ticket, ordinal, &answer)]);
        // What comes of an effect of a run that was let go of is written down, and leads nowhere.
        let Some((run, at)) = self.run.as_mut().filter(|(run, _)| run.order().ticket == ticket) else {
            return;
        };
        let at = *at;
        let answered = run.answer(&self.all.executors[at], ordinal, answer);
        let came = run.came();
        match answered {
            Ok(next) => self.follow(ticket, at, came, next),
            Err(stuck) => self.stuck(ticket, at, &stuck),
        }
    }
}
