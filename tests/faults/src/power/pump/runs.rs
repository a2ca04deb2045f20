//! Runs: who takes one, what it asks for, and what comes of that. Everything is written down before it is done.

use super::*;

impl Pump {
    pub(super) fn picks(&mut self, order: Order, grant: Option<Digest>) -> Input {
        let (ticket, there) = (order.ticket, [self.executor, bundle(1).grant, bundle(2).grant]);
        match grant {
            Some(grant) if !there.contains(&grant) => {
                Input::Halted { ticket, why: "it is no longer there".into() }
            }
            _ => {
                self.picked = Some(order);
                Input::Taken { ticket, grant: grant.unwrap_or(self.executor) }
            }
        }
    }

    pub(super) fn ended(&mut self, ticket: Ticket, outcome: Outcome) -> Fallible<Input> {
        let slots = self.slots.status().map_err(why("slots"))?;
        Ok(Input::Ended { ticket, outcome, slots })
    }

    /// Brings a run to its end: from its beginning, or from where the journal has it.
    pub(super) fn works(&mut self, order: Order) -> Fallible<Input> {
        let ticket = order.ticket;
        let lost = Step::in_doubt(self.memory.steps(ticket));
        let doubts: Vec<Event> =
            lost.into_iter().map(|ordinal| Step::ended(ticket, ordinal, &Answer::InDoubt)).collect();
        self.record(&doubts)?;
        let answers = Step::answers(self.memory.steps(ticket));
        let mut work = Work::begins(&order)?;
        for (ordinal, answer) in answers {
            work.answers(ordinal, &answer)?;
        }
        loop {
            let stepped = Event::Stepped { ticket, grant: self.executor, came: Came::To(Digest([0; 32])) };
            let outcome = match work.goes_on() {
                Asked::Nothing(outcome) => {
                    self.record(&[stepped])?;
                    outcome
                }
                Asked::For(effects) => {
                    let began = effects.iter().map(|effect| {
                        let what = Reason::new(effect.deed.to_string()).0;
                        let changes = effect.access == Access::Changes;
                        Event::EffectBegan { ticket, ordinal: effect.ordinal, what, changes }
                    });
                    self.record(&std::iter::once(stepped).chain(began).collect::<Vec<_>>())?;
                    for effect in effects {
                        let answer = self.performs(effect.deed)?;
                        self.record(&[Step::ended(ticket, effect.ordinal, &answer)])?;
                        work.answers(effect.ordinal, &answer)?;
                    }
                    continue;
                }
            };
            return self.ended(ticket, outcome);
        }
    }

    fn performs(&mut self, deed: Deed) -> Fallible<Answer> {
        let status = self.slots.status().map_err(why("slots"))?;
        if is_done(&deed, &status) {
            self.again.push(deed.to_string());
        }
        let told = deed.to_string();
        let done = match deed {
            Deed::Slot(SlotDeed::Status) => return Ok(Answer::Slots(status)),
            Deed::Slot(SlotDeed::Stage(release)) => {
                let bytes = bytes(release.version.as_str());
                self.slots.stage(&release, &mut &bytes[..])
            }
            Deed::Slot(SlotDeed::TryNext(release)) => self.slots.try_next(&release),
            Deed::Slot(SlotDeed::Confirm(release)) => self.slots.confirm(&release),
            Deed::Slot(SlotDeed::GoHome(release)) => self.slots.go_home(&release),
            Deed::Run { .. } => {
                self.slots.begin_boot().map_err(why("nothing boots"))?;
                self.boot_noted = false;
                return Ok(Answer::Exited { code: Some(0), output: Output::default() });
            }
            Deed::Sleep { span } => {
                self.now = self.now.after(span);
                return Ok(Answer::Done);
            }
            Deed::Http { .. } | Deed::File { .. } | Deed::Publish { .. } | Deed::Attach { .. } => {
                return Ok(Answer::Refused("nobody here does such a thing".into()));
            }
        };
        match done {
            Ok(()) => {
                self.says(&format!("did {told}"));
                let slots = self.slots.status().map_err(why("slots"))?;
                self.says(&format!("slots {}", hex(&postcard::to_allocvec(&slots).unwrap())));
                Ok(Answer::Done)
            }
            Err(error) => Ok(Answer::Failed(error.outcome())),
        }
    }
}

/// Whether the slots show that something was done.
fn is_done(deed: &Deed, slots: &SlotStatus) -> bool {
    let same = |one: &Release, other: &Release| one.digest == other.digest;
    let Deed::Slot(deed) = deed else { return false };
    match deed {
        SlotDeed::Status => false,
        SlotDeed::Stage(release) => slots.other.as_ref().is_some_and(|other| same(other, release)),
        SlotDeed::TryNext(release) => slots.trying.as_ref().is_some_and(|trying| same(trying, release)),
        SlotDeed::Confirm(release) => same(&slots.confirmed, release) && slots.trying.is_none(),
        SlotDeed::GoHome(release) => {
            same(&slots.confirmed, release) && slots.trying.is_none() && same(&slots.booted, release)
        }
    }
}
