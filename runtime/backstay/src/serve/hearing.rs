//! What the broker brings, and what follows from it.
//!
//! Not here: whether it is to be believed (`mail`), and what it means for a rollout (`core`).

use backstay_core::{CohortInput, Contact};
use backstay_evidence::Frame;
use backstay_link::{Happening, Message};
use backstay_model::{Channel, Event, Steer, causes};
use backstay_wire::{Entry, LogBatch, Receipt, TopicKind, decode};

use super::{
    archive::{ArchiveError, Taken},
    because,
    clock::Now,
    diary::Diary,
    judge::Ask,
    lane::Lane,
    mail::{self, Junk, Mail},
    refusals::{Ground, Refusal},
    register::Member,
    server::{Server, degraded},
    sighting::News,
};

impl<D: Diary, P: Ask> Server<D, P> {
    /// Takes something that happened on the link.
    pub(crate) fn happened(&mut self, now: Now, happening: Happening) {
        match happening {
            Happening::Connected => {
                tracing::info!("connected with the broker");
                self.post.up(now.mono);
                self.say_all();
            }
            Happening::Lost { why, again } => {
                tracing::warn!(why = causes::in_one_line(&why), help = why.help(), %again, "lost the broker");
                self.post.down();
            }
            Happening::Unreachable { why, again } => {
                tracing::warn!(why = causes::in_one_line(&why), help = why.help(), %again, "cannot reach the broker");
                self.post.down();
            }
            Happening::Message(message) => self.hear(now, &message),
            // The broker has it; only a device's own word says that it arrived.
            Happening::Acked { .. } => {}
            Happening::Declined { topics } => {
                let why = "the broker does not let the server listen; check its access list";
                self.refuse(now, None, &topics, Refusal::new(Ground::Withheld, why));
            }
            Happening::Poisoned { topics, again } => {
                let why = format!(
                    "the broker keeps a message there that is too large to be read; again in {again}"
                );
                self.refuse(now, None, &topics, Refusal::new(Ground::Withheld, why));
            }
            Happening::Cured { topics } => tracing::info!(topics, "listens again"),
        }
        self.dispatch(now);
    }

    fn hear(&mut self, now: Now, message: &Message) {
        match mail::read(message, &self.director, &self.register) {
            Ok(mail) => self.take(now, mail, &message.topic),
            Err(Junk { kind, refusal }) => {
                // Where our own retained message should be, there is something else: it is put back.
                if matches!(kind, Some(TopicKind::Steer | TopicKind::Order | TopicKind::Trust)) {
                    self.post.repair(now.mono);
                }
                self.refuse(now, kind, &message.topic, refusal);
            }
        }
    }

    fn take(&mut self, now: Now, mail: Mail, topic: &str) {
        match mail {
            Mail::Report(member, report, content) => {
                let report = *report;
                let floor = self.floors.of(&member.device);
                let sighting = self.sightings.entry(member.device.clone()).or_default();
                match sighting.report(now.mono, report.clone(), content, floor) {
                    Ok(News::New) => {
                        self.floors.heard(now.mono);
                        let Member { device, cohort, labels, .. } = member;
                        let lane = Lane::new(&cohort, Channel::Product);
                        self.step(now, &lane, CohortInput::Report { device, report, labels });
                    }
                    Ok(News::Again) => {}
                    Err(refusal) => self.refuse(now, Some(TopicKind::State), topic, refusal),
                }
            }
            Mail::PluginReport(member, report, content) => {
                let floor = self.plugin_floors.of(&member.device);
                let sighting = self.sightings.entry(member.device.clone()).or_default();
                match sighting.plugin_report(now.mono, &report, content, floor) {
                    Ok(News::New) => {
                        self.plugin_floors.heard(now.mono);
                        let Member { device, cohort, labels, .. } = member;
                        let (lane, report) = (Lane::new(&cohort, Channel::Plugins), report.as_report());
                        self.step(now, &lane, CohortInput::Report { device, report, labels });
                    }
                    Ok(News::Again) => {}
                    Err(refusal) => self.refuse(now, Some(TopicKind::Plugins), topic, refusal),
                }
            }
            Mail::Presence(member, presence) => {
                self.sightings.entry(member.device.clone()).or_default().presence(now.mono, presence);
                let contact = if presence.online { Contact::Online } else { Contact::Offline };
                let (nonce, began) = (presence.nonce, presence.at);
                let presence = CohortInput::Presence { device: member.device, nonce, began, contact };
                self.step_both(now, &member.cohort, &presence);
            }
            Mail::Beat(member, beat) => {
                self.sightings.entry(member.device.clone()).or_default().beat(now.mono, beat);
                for lane in Lane::both(&member.cohort) {
                    if let Some(cohort) = self.lanes.get_mut(&lane) {
                        cohort.beat(now.mono, &member.device, beat);
                    }
                }
            }
            Mail::Log(member, batch) => self.file(now, &member, &batch, topic),
            Mail::Steer(lane, steer) => self.own_words(now, &lane, &steer, topic),
            Mail::Order(device, sequence) => {
                let ours = self.orders.sequence(&device);
                if self.orders.seen(&device, sequence) {
                    // Ours was lost. What it said is lost, too; the next one is heard.
                    tracing::warn!(%device, sequence, ours, "the broker has a newer order than is known here");
                } else if sequence != ours {
                    // An echo of the one before, an old one that somebody has put back, or what nobody can have counted to.
                    self.post.repair(now.mono);
                }
            }
            Mail::Trust(floor, by) => self.heard_trust(now, &floor, by),
        }
    }

    /// What the broker holds as our steering: mostly what was just said.
    fn own_words(&mut self, now: Now, lane: &Lane, steer: &Steer, topic: &str) {
        let ours = self.lanes.get(lane).and_then(|cohort| cohort.helm().steer());
        let known = ours.as_ref().map(|ours| ours.generation);
        if known.is_none_or(|known| steer.generation > known) {
            // Our journal was lost, or is older than what was said: `core` says what counts then.
            let (steer, plan) = (steer.clone(), self.plan.clone());
            self.step(now, lane, CohortInput::OwnWords { steer, plan });
        } else if known.is_some_and(|known| steer.generation < known) {
            // An echo of the one before, or somebody has put an old one back.
            self.post.repair(now.mono);
        } else if ours.as_ref() == Some(steer) {
            // What was said last is there, so nothing newer was said.
            let (steer, plan) = (steer.clone(), self.plan.clone());
            self.step(now, lane, CohortInput::OwnWords { steer, plan });
        } else {
            let why = format!(
                "generation {} says something else there: somebody signs with the director key",
                steer.generation.0
            );
            self.post.repair(now.mono);
            self.refuse(now, Some(TopicKind::Steer), topic, Refusal::new(Ground::Contradiction, why));
        }
    }

    /// Takes records of a device's journal, and signs for what is here now.
    fn file(&mut self, now: Now, member: &Member, batch: &LogBatch, topic: &str) {
        self.sightings.entry(member.device.clone()).or_default().heard(now.mono);
        // A device names its journal by its key: it has that before it has a name.
        let instance = member.key_id().0.to_string();
        match self.archive.take(&member.device, &instance, batch) {
            Ok(Taken { receipt, gap }) => {
                if let Some((have, first)) = gap {
                    let device = &member.device;
                    self.note(now, degraded(format!(
                        "the journal of {device} goes on at record {first}, and those after {have} are not here; what \
                         was here before is kept aside"
                    )));
                }
                self.see_orders_taken(member, batch, &receipt);
                match self.director.receipt(&member.device, &receipt, now.unix) {
                    Ok(outgoing) => self.post.send(outgoing),
                    Err(why) => tracing::error!(device = %member.device, %why, "cannot sign a receipt"),
                }
            }
            Err(error) => {
                let ground = match &error {
                    ArchiveError::Disk { .. } | ArchiveError::Full { .. } => Ground::Unkept,
                    ArchiveError::Broken { .. } => Ground::Gap,
                };
                self.refuse(now, Some(TopicKind::Log), topic, Refusal::new(ground, because(&error)));
            }
        }
    }

    /// The records may say that the device has taken what it was told; then it isn't told again. That goes into the
    /// next record: told once more after a crash, the device sees that it has it.
    fn see_orders_taken(&mut self, member: &Member, batch: &LogBatch, receipt: &Receipt) {
        let (mut rest, mut newest) = (batch.records.as_slice(), None);
        while let Ok(frame) = Frame::read(rest) {
            // What is beyond the receipt was not checked.
            if frame.seq <= receipt.seq
                && let Ok(Entry { event: Event::Told { sequence, .. }, .. }) = decode(frame.body, usize::MAX)
            {
                newest = newest.max(Some(sequence));
            }
            rest = rest.get(frame.encoded_len()..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
        }
        if let Some(sequence) = newest.filter(|&sequence| self.orders.taken(&member.device, sequence)) {
            tracing::info!(device = %member.device, sequence, "took what it was told");
        }
    }
}
