//! Becoming somebody: asking to be enrolled, keeping what was answered, and connecting as who one is.
//!
//! Not here: the key and the papers themselves (`identity`), and what being enrolled leads to (`core`).

use std::time::Duration;

use backstay_core::{Input, UpgradeInput};
use backstay_hands::spawn;
use backstay_model::{Event, Reason, causes};
use backstay_trust::EnrolToken;

use super::{Done, Look, Loop, random};
use crate::{
    identity::{self, Papers},
    uplink::Uplink,
};

/// Between two tries to be enrolled.
const ENROL_EVERY: Duration = Duration::from_secs(10);

/// Between two tries to keep an enrolment on a disk that didn't take it.
const KEEP_EVERY: Duration = Duration::from_secs(60);

impl Loop {
    /// Enrolled: connects. Not yet: asks, and heals meanwhile on what there is.
    pub(super) async fn find_papers(&mut self) {
        match self.all.papers.enrolment(&self.all.keyring, &self.all.key) {
            Ok(Some(enrolment)) => self.enrolled(enrolment).await,
            Ok(None) => self.ask_to_enrol(Duration::ZERO),
            Err(error) => {
                tracing::warn!(%error, "asks to be enrolled anew");
                self.ask_to_enrol(Duration::ZERO);
            }
        }
    }

    pub(super) fn ask_to_enrol(&self, wait: Duration) {
        let Some(depot) = self.all.depot.clone() else { return };
        let (keyring, key, done) = (self.all.keyring.clone(), self.all.key.clone(), self.done.clone());
        let hardware = self.all.config.hardware.clone();
        let token = self.token();
        spawn(async move {
            tokio::time::sleep(wait).await;
            let nonce = random();
            let asked = identity::ask(&depot, &keyring, &key, &hardware, token.as_ref(), nonce).await;
            let _ = done.send(Done::Enrolled(asked)).await;
        });
    }

    pub(super) fn token(&self) -> Option<EnrolToken> {
        let server = self.all.config.server.as_ref()?;
        identity::token(server.token_file.as_deref())
    }

    pub(super) async fn asked_to_enrol(&mut self, asked: identity::Asked) {
        match asked {
            identity::Asked::Enrolled(bytes) => {
                match Papers::check(&self.all.keyring, &self.all.key, &bytes) {
                    Ok(enrolment) => {
                        self.keep_enrolment(bytes, Look::First);
                        return self.enrolled(enrolment).await;
                    }
                    Err(error) => tracing::warn!(%error, "what the server answered enrols nobody here"),
                }
            }
            identity::Asked::Waits => {
                tracing::info!(fingerprint = %self.all.key.id().0, "waits for an operator to accept this device");
            }
            identity::Asked::Failed(error) => tracing::warn!(%error, "cannot be enrolled now"),
        }
        self.ask_to_enrol(ENROL_EVERY);
    }

    /// Keeps the enrolment for the next start. A disk that doesn't take it keeps nobody from being enrolled now.
    pub(super) fn keep_enrolment(&mut self, bytes: Vec<u8>, look: Look) {
        let Err(error) = self.all.papers.keep(&bytes) else {
            if look == Look::Again {
                tracing::info!("the enrolment is kept now");
            }
            return;
        };
        let why = causes::in_one_line(&error);
        match look {
            Look::First => self.record(&[Event::Degraded { what: Reason::new(why).0 }]),
            Look::Again => tracing::warn!(why, "the enrolment is in memory only"),
        }
        let done = self.done.clone();
        spawn(async move {
            tokio::time::sleep(KEEP_EVERY).await;
            let _ = done.send(Done::Keep(bytes)).await;
        });
    }

    pub(super) async fn enrolled(&mut self, enrolment: backstay_trust::Enrolment) {
        let now = self.all.clock.now();
        let known = self.all.device.identity().is_some_and(|known| *known == identity::identity(&enrolment));
        if !known {
            let (device, cohort) = (enrolment.device.clone(), enrolment.cohort.clone());
            self.record(&[Event::Enrolled { device, cohort, key: self.all.key.id().0 }]);
        }
        if let Some(broker) = &self.all.config.broker {
            let (key, keyring) = (self.all.key.clone(), self.all.keyring.clone());
            let seeds = (random(), random());
            let attested = self.attested_by().clone();
            match Uplink::start(broker, key, keyring, enrolment.clone(), now, attested, seeds) {
                Ok(uplink) => self.uplink = Some(uplink),
                Err(error) => tracing::error!(%error, "works without the broker"),
            }
        }
        self.take(Input::Enrolled(identity::identity(&enrolment))).await;
        self.upgrade(UpgradeInput::Enrolled(identity::identity(&enrolment))).await;
    }
}
