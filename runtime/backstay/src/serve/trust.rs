//! Whom the fleet trusts, as the server knows it: what was signed elsewhere is taken, kept, handed out and announced.
//!
//! Links, revocations and second signatures are made where the keys are, which has no network. The server checks them as
//! each device does, and adds nothing: what it announces is where to look. Not here: whether a statement holds (the crate
//! `trust`), and keeping it (`memory`).

use std::collections::BTreeMap;

use backstay_api::{ApiError, Kind, Revoked, TrustView};
use backstay_link::Outgoing;
use backstay_memory::Trusted;
use backstay_model::{Channel, CohortId, Digest, Direction, Name, Steer, causes};
use backstay_trust::{
    Audience, Domain, KeyId, Keyring, Listener, OrderKind, Refusal, Statement, VerifiedOrder,
    VerifiedRevocation,
};
use backstay_wire::{TrustFloor, encode};
use sha2::{Digest as _, Sha256};

use super::{
    calls::{no_cohort, untrusted},
    clock::Now,
    diary::Diary,
    director::Unsaid,
    judge::Ask,
    kept::Seconded,
    lane::Lane,
    server::{Server, degraded},
};

/// The bits of an announcement's sequence that are the revocation's. Above them is the keyring's number: both only grow,
/// so a server that lost everything and was given the same statements again announces the same.
const REVOCATION_BITS: u32 = 32;

/// Whom the fleet trusts, and what of it is handed out.
#[derive(Debug)]
pub(crate) struct Trust {
    trusted: Trusted,
    statements: BTreeMap<Digest, Vec<u8>>,
    /// Orders that operators have signed, too.
    pub(super) seconded: Seconded,
    /// The sequence of the newest announcement that the broker was seen to have.
    heard: u64,
}

impl Trust {
    /// What was kept. What of it can't be handed out is told.
    pub(crate) fn new(trusted: Trusted, seconded: Seconded) -> (Self, Vec<String>) {
        let mut trust = Self { trusted, statements: BTreeMap::new(), seconded, heard: 0 };
        let odd = trust.look_again();
        (trust, odd)
    }

    fn look_again(&mut self) -> Vec<String> {
        let (statements, odd) = self.trusted.statements();
        self.statements = statements.into_iter().collect();
        odd.iter().map(|error| causes::in_one_line(error)).collect()
    }

    /// What is handed out under a digest.
    pub(super) fn statement(&self, digest: &Digest) -> Result<Vec<u8>, ApiError> {
        self.statements.get(digest).cloned().ok_or_else(|| {
            let what = format!("no keyring and no revocation {digest} was published here");
            ApiError::new(Kind::NotFound, what)
                .help("publish the links and the last revocation: backstay keys publish")
        })
    }

    fn floor(&self) -> TrustFloor {
        let keyring = self.trusted.keyring();
        let revocation = keyring.revocation();
        let sequence = revocation.map_or(0, |revocation| revocation.stamp().sequence);
        TrustFloor {
            sequence: (keyring.parts().number << REVOCATION_BITS) | sequence,
            keyring: *keyring.digest(),
            revocation: revocation.map(|revocation| *revocation.digest()),
        }
    }
}

impl<D: Diary, P: Ask> Server<D, P> {
    /// As people see it.
    pub(super) fn trust_view(&self) -> TrustView {
        let keyring = self.director.keyring();
        TrustView {
            number: keyring.parts().number,
            keyring: *keyring.digest(),
            revocation: keyring.revocation().map(revoked),
            director: self.director.is_trusted(),
            seconded: self.trust.seconded.keys().cloned().collect(),
        }
    }

    /// Takes a link, a revocation or a seconded order; each durable before anybody hears of it. Taken twice it is taken
    /// once.
    pub(super) fn heed(&mut self, now: Now, who: Name, bytes: &[u8]) -> Result<TrustView, ApiError> {
        let statement = Statement::read(bytes).map_err(|why| untrusted("it can't be published", &why))?;
        let taken = match statement.domain() {
            Domain::Keyring => self.trust.trusted.follow(bytes),
            Domain::Revocation => {
                announceable(&statement)?;
                self.trust.trusted.revoke(bytes.to_vec())
            }
            Domain::SteerProduct => return self.take_second(now, who, &statement, bytes),
            other @ (Domain::PluginRelease
            | Domain::Grant
            | Domain::ProductRelease
            | Domain::SteerPlugins
            | Domain::DeviceOrder
            | Domain::TrustFloor
            | Domain::Receipt
            | Domain::Consent
            | Domain::EnrolRequest
            | Domain::Enrolment
            | Domain::DeviceState
            | Domain::DevicePlugins
            | Domain::DevicePresence
            | Domain::DeviceLog
            | Domain::Verdict
            | Domain::KnownGood) => {
                let what = format!("this is a {other}, which is not published here");
                let help = "links and revocations are, and orders that operators have signed, too; releases go to \
                            \"backstay release publish\"";
                return Err(ApiError::new(Kind::Usage, what).help(help));
            }
        };
        let changed = taken.map_err(|why| {
            ApiError::new(Kind::Untrusted, causes::in_one_line(&why))
                .help("see what is trusted here: backstay keys publish, without a file; each link follows the one before")
        })?;
        if changed {
            self.follow(now);
            self.by_hand(
                now,
                who,
                format!("published {} {}", statement.domain(), statement.digest().short()),
            )?;
        }
        Ok(self.trust_view())
    }

    /// Everything here goes by the newest keyring and revocation from now on.
    fn follow(&mut self, now: Now) {
        let keyring = self.trust.trusted.keyring();
        if self.director.keyring().directors() != keyring.directors() {
            // What somebody with a key that is gone has put over our words is no word of ours any more.
            self.post.repair(now.mono);
        }
        self.director.trust(keyring.clone());
        // What another director announced doesn't count any more.
        self.trust.heard = 0;
        let mut events = vec![self.trust.trusted.told()];
        events.extend(self.judge.heed(&keyring));
        events.extend(self.targets.heed(&keyring));
        events.extend(self.catalogue.look_again(&keyring).into_iter().map(degraded));
        events.extend(self.bundles.look_again(&keyring).into_iter().map(degraded));
        events.extend(self.trust.look_again().into_iter().map(degraded));
        if !self.director.is_trusted() {
            let what = format!(
                "keyring {} has another director: who has followed to it does not listen to this server; put that key \
                 into director_key and start anew",
                keyring.parts().number
            );
            events.push(degraded(what));
        }
        self.record(now, &events);
        self.post.trust();
    }

    /// An order of this server that operators have signed, too.
    fn take_second(
        &mut self,
        now: Now,
        who: Name,
        statement: &Statement,
        bytes: &[u8],
    ) -> Result<TrustView, ApiError> {
        let Audience::Cohort(_, cohort) = statement.audience().clone() else {
            return Err(ApiError::new(Kind::Untrusted, "an order for a cohort names none"));
        };
        let order = verified(self.director.keyring(), &cohort, bytes)
            .map_err(|why| untrusted("the order is not to be believed", &why))?;
        if !order.is_seconded() {
            return Err(ApiError::new(Kind::Refused, "the order lacks signatures of operators")
                .help("hand it to the next one who is to sign: backstay keys cosign"));
        }
        let steer = self.home_of(&cohort)?;
        if !says(&order, &steer) {
            let what = format!(
                "the order is not what the server says to {cohort} by now, which is generation {}",
                steer.generation.0
            );
            return Err(ApiError::new(Kind::Refused, what)
                .help("fetch it anew and have that signed: backstay rollout order"));
        }
        self.trust.seconded.insert(cohort.clone(), bytes.to_vec());
        self.post.steer(&Lane::new(&cohort, Channel::Product));
        self.by_hand(
            now,
            who,
            format!("published a seconded order to {cohort}, generation {}", steer.generation.0),
        )?;
        Ok(self.trust_view())
    }

    /// The order that a cohort is under, for operators to sign.
    pub(super) fn order(&self, now: Now, cohort: &CohortId) -> Result<Vec<u8>, ApiError> {
        let steer = self.home_of(cohort)?;
        let signed = self.steering(now, Channel::Product, &steer);
        let signed = signed.map_err(|why| ApiError::new(Kind::Unavailable, why.to_string()))?;
        Ok(signed.payload.to_vec())
    }

    fn home_of(&self, cohort: &CohortId) -> Result<Steer, ApiError> {
        let lane = Lane::new(cohort, Channel::Product);
        let machine = self.lanes.get(&lane).ok_or_else(|| no_cohort(cohort))?;
        machine.helm().steer().filter(|steer| steer.direction == Direction::Home).ok_or_else(|| {
            ApiError::new(Kind::Refused, format!("cohort {cohort} is not sent home"))
                .help("only going home may need a second signature; begin with: backstay rollout rollback")
        })
    }

    /// How a cohort is steered: as operators have signed it, too, where they have, and else as the server signs it now.
    pub(super) fn steering(&self, now: Now, channel: Channel, steer: &Steer) -> Result<Outgoing, Unsaid> {
        let cohort = &steer.cohort;
        let seconded = self.trust.seconded.get(cohort).filter(|_| channel == Channel::Product);
        let seconded = seconded.filter(|bytes| {
            let order = verified(self.director.keyring(), cohort, bytes);
            order.is_ok_and(|order| order.is_seconded() && says(&order, steer))
        });
        match seconded {
            Some(bytes) => Ok(self.director.seconded(cohort, bytes.clone())),
            None => self.director.steer(channel, steer, now.unix),
        }
    }

    /// Announces whom the fleet trusts, unless the broker has a newer announcement.
    pub(super) fn say_trust(&mut self, now: Now) {
        let floor = self.trust.floor();
        if floor.sequence < self.trust.heard {
            return;
        }
        match self.director.floor(&floor, now.unix) {
            Ok(outgoing) => self.post.send(outgoing),
            Err(why) => tracing::error!(%why, "cannot say whom the fleet trusts"),
        }
    }

    /// What the broker has as our announcement: mostly what was just said.
    pub(super) fn heard_trust(&mut self, now: Now, said: &TrustFloor, by: KeyId) {
        let ours = self.trust.floor();
        // With another key than this server's it is a word of before, or a thief's; neither silences whoever has the new one.
        if said.sequence > ours.sequence && by == self.director.key().id() {
            if said.sequence > self.trust.heard {
                self.trust.heard = said.sequence;
                let (number, here) = (said.sequence >> REVOCATION_BITS, ours.sequence >> REVOCATION_BITS);
                let what = format!(
                    "the broker announces keyring {number} or a revocation that is not known here, where keyring {here} \
                     is: publish the links and the last revocation again with backstay keys publish"
                );
                self.note(now, degraded(what));
            }
        } else if *said != ours {
            // An echo of the one before, or somebody has put an old one back.
            self.post.repair(now.mono);
        }
    }
}

fn verified(keyring: &Keyring, cohort: &CohortId, bytes: &[u8]) -> Result<VerifiedOrder, Refusal> {
    let listener = Listener { cohort: Some(cohort), device: None };
    keyring.verify_order(bytes, OrderKind::SteerProduct, listener, None)
}

/// Whether `order` says what `steer` says.
fn says(order: &VerifiedOrder, steer: &Steer) -> bool {
    encode(steer).is_ok_and(|payload| Sha256::digest(payload).as_slice() == order.content().0)
}

fn revoked(revocation: &VerifiedRevocation) -> Revoked {
    Revoked {
        sequence: revocation.stamp().sequence,
        digest: *revocation.digest(),
        security_floor: revocation.revocation().security_floor,
    }
}

/// A revocation whose sequence has room in an announcement's.
fn announceable(statement: &Statement) -> Result<(), ApiError> {
    let (sequence, max) = (statement.stamp().sequence, (1_u64 << REVOCATION_BITS) - 1);
    if sequence <= max {
        return Ok(());
    }
    let what = format!("the revocation's sequence {sequence} is above {max}, which is the most");
    Err(ApiError::new(Kind::Usage, what).help("count revocations one by one: leave out --sequence"))
}
