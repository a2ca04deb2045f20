//! What the server says of whom the fleet trusts, and what follows for what runs here.
//!
//! Only the roots and the revokers are believed; the server's word is where to look. Not here: fetching (`trust`), and
//! what holds (the crate `trust`).

use backstay_core::{Input, UpgradeInput};
use backstay_hands::spawn;
use backstay_model::{Millis, Reason, Refused, causes};
use backstay_plugins::taken_back;
use backstay_trust::{Succession, Watermark};

use super::{Done, Loop};
use crate::{
    trust::{FetchError, Fetched, Heard, Missing},
    uplink::{self, Uplink},
};

/// How often an announcement is looked into that is older than the last one. What it names may be newer than what is trusted
/// all the same: whoever stole the server's key can use up all sequences, and else nobody would ever hear that it was
/// replaced. Each look costs a request.
const LOOK_EVERY: Millis = Millis::from_secs(10);

impl Loop {
    /// The server says what the fleet trusts: what isn't here is fetched. Only the roots and revokers are believed.
    pub(super) async fn told_of_trust(&mut self, said: uplink::Floor) {
        let uplink::Floor { floor, mark, issued } = said;
        let last = self.all.heard.map(|heard| Watermark { sequence: heard.sequence, digest: heard.digest });
        let why = match mark.after(last.as_ref()) {
            Succession::Newer | Succession::Same => None,
            Succession::Older => {
                let last = last.map_or(0, |last| last.sequence);
                Some(format!("sequence {} is older than {last}", mark.sequence))
            }
            Succession::Forked => Some(format!("another message already came as sequence {}", mark.sequence)),
        };
        if let Some(why) = why {
            let now = self.all.clock.now();
            let is_news = Missing::of(&floor, &self.all.trust.keyring()).is_some() && self.looks_at <= now;
            self.looks_at = if is_news { now.after(LOOK_EVERY) } else { self.looks_at };
            if !is_news {
                return self.take(Input::Refused(Refused { what: "trust".into(), why, count: 1 })).await;
            }
        } else if self.all.heard.is_none_or(|heard| issued > heard.issued) {
            let (sequence, digest, at) = (mark.sequence, mark.digest, self.all.clock.now());
            self.all.heard = Some(Heard { sequence, digest, issued, at });
        }
        let missing = Missing::of(&floor, &self.all.trust.keyring());
        let (Some(missing), Some(depot)) = (missing, self.all.depot.clone()) else {
            return;
        };
        // One at a time; the message is kept at the broker, and comes again with the next connection.
        if !std::mem::replace(&mut self.fetches_trust, true) {
            let done = self.done.clone();
            spawn(async move {
                let _ = done.send(Done::Trust(Fetched::get(&depot, &missing).await)).await;
            });
        }
    }

    pub(super) async fn trust_fetched(&mut self, fetched: Result<Fetched, FetchError>) {
        self.fetches_trust = false;
        let before = self.all.trust.keyring();
        let taken = match fetched {
            Ok(fetched) => {
                fetched.hand_over(&mut self.all.trust).map_err(|error| causes::in_one_line(&error))
            }
            Err(error) => Err(causes::in_one_line(&error)),
        };
        if let Err(why) = taken {
            let why = Reason::new(why).0;
            self.take(Input::Refused(Refused { what: "trust".into(), why, count: 1 })).await;
        }
        // Some of it may have been taken over before something failed.
        let keyring = self.all.trust.keyring();
        if keyring == before {
            return;
        }
        if keyring.parts().number != before.parts().number {
            // Another director may count anew.
            self.all.heard = None;
        }
        let directors = keyring.directors();
        self.all.attested.trust(0, &directors);
        if let Some(uplink) = &mut self.uplink {
            uplink.trust(keyring.clone());
        }
        let mut events = vec![self.all.trust.told()];
        if let Some(judge) = &mut self.all.judge {
            events.extend(judge.heed(&keyring));
        }
        for executor in self.all.executors.iter_mut().filter(|executor| !executor.revoked) {
            if let Some(event) = taken_back(&keyring, &executor.granted) {
                executor.revoked = true;
                events.push(event);
            }
        }
        self.all.keyring = keyring;
        // The last good one takes over with the next question; a run that a revoked one has begun no other goes on with.
        self.record_of_plugins(events);
        self.seat_again();
        let revoked = self.run.take_if(|(_, at)| self.all.executors[*at].revoked);
        if let Some(ticket) = revoked.map(|(run, _)| run.order().ticket) {
            self.let_go.send_replace(ticket);
            self.see_off();
            self.take(Input::Halted { ticket, why: "its executor was revoked".into() }).await;
        }
        self.take(Input::Trusts { directors: directors.clone() }).await;
        self.upgrade(UpgradeInput::TrustChanged { directors }).await;
        // What was not to be believed may be now, and what counted as old be new. The broker has no reason to say it again.
        for came in self.uplink.as_mut().map(Uplink::hear_again).unwrap_or_default() {
            self.came(came).await;
        }
    }
}
