//! The devices of a cohort as the server knows them: their last words, and whether they are there.
//!
//! All of it can be learnt again from retained messages, so it may be lost; what was decided is in `helm`.
//! Here: which word counts, who is there, and what a device's word means for the rollout that is under way.
//! Not here: whose word it is (its signature was checked before it comes here), and what follows from it.

use alloc::{collections::BTreeMap, vec::Vec};

use backstay_model::{
    Beat, DeviceId, Digest, Health, Label, Millis, Mono, Reach, Report, RolloutId, Selector, Standing,
};
use serde::{Deserialize, Serialize};

/// The most condemned releases that are kept of a report: what a report may hold.
const CONDEMNED_MAX: usize = 32;

/// The most sessions that are remembered after their end.
const PAST_MAX: usize = 4;

/// Whether a device's session with the broker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contact {
    /// It does.
    Online,
    /// It ended: a farewell, or the broker's in its name.
    Offline,
}

/// What the members are looked at for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Aim {
    pub(super) rollout: RolloutId,
    pub(super) release: Digest,
    pub(super) selector: Selector,
}

/// The devices of a cohort.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    members: BTreeMap<DeviceId, Member>,
    aim: Option<Aim>,
    /// Words that were late, doubled or nobody's since the roster was made.
    ignored: u64,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    labels: Vec<Label>,
    word: Option<Word>,
    session: Option<Session>,
    /// Sessions before it, newest last: what comes late of one of them is of the past.
    past: Vec<u64>,
    /// The last sign of life, on the server's clock.
    heard: Option<Mono>,
    /// The newest beat of the session.
    beat: Option<u64>,
    /// Where it stands in the order in which waves reach devices.
    place: Reach,
    meant: bool,
    /// It was on the release after the rollout had begun.
    was_on: bool,
    /// It had condemned the release before the rollout began, so it never tries, and doesn't fail either.
    barred: bool,
}

/// What is kept of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Word {
    sequence: u64,
    /// It follows the rollout that is under way.
    ours: bool,
    booted: Digest,
    confirmed: Digest,
    standing: Standing,
    health: Health,
    condemned: Vec<Digest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    nonce: u64,
    began: Mono,
    contact: Contact,
}

/// What a report was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// None: it was late, or came before.
    None,
    /// It was taken.
    Some,
    /// It was taken, and says that the release failed there.
    Failed,
}

/// What a device's last word means for the rollout that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It has not begun, or was never heard of.
    Waiting,
    /// It brings the release in, or tries it.
    Trying,
    /// The release passed its trial there: updated.
    Settled,
    /// It condemned the release, or came home from it.
    Failed,
    /// It doesn't take part for now: the reason lies with it and not with the release.
    SitsOut,
    /// It moves nothing until somebody says more.
    Stuck,
}

/// Whether a device is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It is.
    Live,
    /// It should be, and gives no sign of life.
    Silent,
    /// It is known not to be.
    Away,
}

impl Member {
    fn new(labels: Vec<Label>) -> Self {
        Self {
            labels,
            word: None,
            session: None,
            past: Vec::new(),
            heard: None,
            beat: None,
            place: Reach::ALL,
            meant: false,
            was_on: false,
            barred: false,
        }
    }

    /// Looks at it for another rollout.
    fn aim(&mut self, device: &DeviceId, aim: Option<&Aim>) {
        let Some(aim) = aim else { return };
        self.place = Reach::to_hold(&aim.rollout, device);
        self.meant = aim.selector.means(&self.labels);
        let word = self.word.as_mut();
        self.was_on = word.as_ref().is_some_and(|word| word.booted == aim.release);
        self.barred = word.as_ref().is_some_and(|word| word.condemned.contains(&aim.release));
        if let Some(word) = word {
            word.ours = false;
        }
    }

    pub(super) fn mark(&self, release: &Digest) -> Mark {
        let Some(word) = &self.word else { return Mark::Waiting };
        let on = word.booted == *release;
        if on && word.confirmed == *release && word.standing == Standing::Settled {
            return Mark::Settled;
        }
        if word.condemned.contains(release) {
            let tried = !self.barred && (word.ours || self.was_on);
            return if tried { Mark::Failed } else { Mark::SitsOut };
        }
        // It may try again once a person has lifted the verdict, and then it is neither good nor bad yet.
        // One that sits it out was kept from it by something else than the release.
        if self.was_on && !on && !matches!(word.standing, Standing::Installing | Standing::Excluded) {
            return Mark::Failed;
        }
        match word.standing {
            Standing::Installing => Mark::Trying,
            Standing::OnTrial if on => Mark::Trying,
            Standing::GoingHome if on => Mark::Failed,
            // Settled on the release without having confirmed it is no state that lasts.
            Standing::Settled if on => Mark::Trying,
            Standing::Settled | Standing::OnTrial | Standing::GoingHome => Mark::Waiting,
            Standing::Frozen | Standing::Stranded => Mark::Stuck,
            Standing::Excluded => Mark::SitsOut,
        }
    }

    pub(super) fn pulse(&self, now: Mono, silence: Millis) -> Pulse {
        let fresh = self.is_fresh(now, silence);
        match self.session.map(|session| session.contact) {
            Some(Contact::Offline) => Pulse::Away,
            Some(Contact::Online) | None if fresh => Pulse::Live,
            Some(Contact::Online) => Pulse::Silent,
            None => Pulse::Away,
        }
    }

    /// Whether it was heard of within `silence`.
    pub(super) fn is_fresh(&self, now: Mono, silence: Millis) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) <= silence)
    }

    pub(super) fn place(&self) -> Reach {
        self.place
    }

    pub(super) fn is_meant(&self) -> bool {
        self.meant
    }

    pub(super) fn is_on(&self, release: &Digest) -> bool {
        self.word.as_ref().is_some_and(|word| word.booted == *release)
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.word.as_ref().map(|word| word.standing)
    }

    pub(super) fn health(&self) -> Health {
        self.word.as_ref().map_or(Health::Unknown, |word| word.health)
    }
}

impl Roster {
    /// Words that were late, doubled or nobody's since the roster was made. They changed nothing.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// How many devices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no device.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Looks at all devices for another rollout. The same one again changes nothing.
    pub(super) fn aim(&mut self, aim: Aim) {
        if self.aim.as_ref() == Some(&aim) {
            return;
        }
        for (device, member) in &mut self.members {
            member.aim(device, Some(&aim));
        }
        self.aim = Some(aim);
    }

    pub(super) fn enrol(&mut self, device: DeviceId, labels: Vec<Label>) {
        if let Some(member) = self.members.get_mut(&device) {
            member.meant = self.aim.as_ref().is_some_and(|aim| aim.selector.means(&labels));
            member.labels = labels;
            return;
        }
        let mut member = Member::new(labels);
        member.aim(&device, self.aim.as_ref());
        self.members.insert(device, member);
    }

    pub(super) fn leave(&mut self, device: &DeviceId) {
        self.members.remove(device);
    }

    /// Takes a report, unless it is late or came before.
    pub(super) fn report(
        &mut self,
        now: Mono,
        device: &DeviceId,
        report: Report,
        labels: Vec<Label>,
    ) -> News {
        self.enrol(device.clone(), labels);
        let aim = self.aim.as_ref();
        let Some(member) = self.members.get_mut(device) else { return News::None };
        if member.word.as_ref().is_some_and(|word| report.sequence <= word.sequence) {
            self.ignored = self.ignored.saturating_add(1);
            return News::None;
        }
        let follows = |aim: &Aim| report.steered.as_ref().is_some_and(|(rollout, _)| *rollout == aim.rollout);
        let ours = aim.is_some_and(follows);
        member.was_on |= aim.is_some_and(|aim| report.booted.digest == aim.release);
        // The retained word of a device that is gone comes whenever the server starts: no sign of life.
        if !matches!(member.session, Some(Session { contact: Contact::Offline, .. })) {
            member.heard = Some(now);
        }
        member.word = Some(Word {
            sequence: report.sequence,
            ours,
            booted: report.booted.digest,
            confirmed: report.confirmed.digest,
            standing: report.standing,
            health: report.health,
            condemned: report.condemned.into_iter().take(CONDEMNED_MAX).collect(),
        });
        let failed = aim.is_some_and(|aim| member.mark(&aim.release) == Mark::Failed);
        if failed { News::Failed } else { News::Some }
    }

    /// Counts a word that is for somebody else.
    pub(super) fn ignore(&mut self) {
        self.ignored = self.ignored.saturating_add(1);
    }

    /// Takes a presence. A farewell that comes late can't end the session after its own.
    pub(super) fn presence(
        &mut self,
        now: Mono,
        device: &DeviceId,
        nonce: u64,
        began: Mono,
        contact: Contact,
    ) {
        let Some(member) = self.members.get_mut(device) else {
            self.ignored = self.ignored.saturating_add(1);
            return;
        };
        let news = match member.session {
            None => true,
            Some(session) if session.nonce == nonce => session.contact == Contact::Online,
            Some(_) if member.past.contains(&nonce) => false,
            // A power cut sets a device's clock back to its last record, so a session may begin before the one before
            // it. One that was never heard of is new; the end of such a one says nothing of the one that goes on.
            Some(session) => {
                contact == Contact::Online || session.contact == Contact::Offline && began >= session.began
            }
        };
        if !news {
            self.ignored = self.ignored.saturating_add(1);
            return;
        }
        if member.session.is_none_or(|session| session.nonce != nonce) {
            member.beat = None;
            if let Some(over) = member.session {
                if member.past.len() >= PAST_MAX {
                    member.past.remove(0);
                }
                member.past.push(over.nonce);
            }
        }
        member.session = Some(Session { nonce, began, contact });
        if contact == Contact::Online {
            member.heard = Some(now);
        }
    }

    /// Takes a beat: it shows that a device is there, never that it is well.
    pub(super) fn beat(&mut self, now: Mono, device: &DeviceId, beat: Beat) {
        let taken = self.members.get_mut(device).is_some_and(|member| {
            let ours = member.session.is_none_or(|session| session.nonce == beat.nonce);
            let news = member.beat.is_none_or(|count| count < beat.count);
            if ours && news {
                member.beat = member.session.is_some().then_some(beat.count);
                member.heard = Some(now);
            }
            ours && news
        });
        if !taken {
            self.ignored = self.ignored.saturating_add(1);
        }
    }

    /// The least reach that holds `devices` of those meant.
    pub(super) fn reach_of(&self, devices: usize) -> Reach {
        let mut places: Vec<_> = self.members().filter(|member| member.meant).map(Member::place).collect();
        places.sort_unstable();
        devices
            .min(places.len())
            .checked_sub(1)
            .and_then(|last| places.get(last))
            .map_or(Reach::NONE, |&place| place)
    }

    /// How many devices are meant.
    pub(super) fn meant(&self) -> usize {
        self.members().filter(|member| member.meant).count()
    }

    /// How many devices run `release`, meant or not.
    pub(super) fn on(&self, release: &Digest) -> usize {
        self.members().filter(|member| member.is_on(release)).count()
    }
}
