//! What the API asks, and the answer. Each answer that says "done" is given after it is written down.
//!
//! Not here: HTTP, tokens and sizes (`api`), and whether a rollout may go on (`core` says).

use std::error::Error;

use backstay_api::{
    ApiError, Because, Call, Closed, CohortView, EnrolAnswer, Kind, LiftRequest, Lifted, MintedToken,
    Operation, PlanView, ReleaseView, StartRollout, Started, Told, WordRequest,
};
use backstay_core::{Cohort, CohortInput, Leading, Plan, Rollout, StartError, Startable, Wish, WishError};
use backstay_model::{
    CohortId, DeviceId, Digest, Event, Label, Millis, Name, Permille, Reason, RolloutId, Selector,
};
use backstay_trust::{EnrolToken, PublicKey, VerifiedEnrolRequest};

use super::{
    because,
    catalogue::{PublishError, Unavailable},
    clock::Now,
    diary::Diary,
    judge::Ask,
    orders::TooMany,
    register::{Denied, Member},
    server::Server,
};

/// The most labels of a device, and of a selector.
const LABELS_MAX: usize = 16;

impl<D: Diary, P: Ask> Server<D, P> {
    /// Does what a call asks, and answers it. Whoever asked may have gone; what was done stays done.
    pub(crate) fn call(&mut self, now: Now, call: Call) {
        match call {
            Call::Enrol(request, reply) => drop(reply.send(self.enrol(now, &request))),
            Call::Fleet(reply) => drop(reply.send(Ok(self.fleet_view(now)))),
            Call::Cohort(cohort, reply) => drop(reply.send(self.see(now, &cohort))),
            Call::Releases(reply) => drop(reply.send(Ok(self.release_views()))),
            Call::Publish(statement, reply) => drop(reply.send(self.publish(now, &statement))),
            Call::Trust(reply) => drop(reply.send(Ok(self.trust_view()))),
            Call::Heed(statement, reply) => drop(reply.send(self.heed(now, &statement))),
            Call::Statement(digest, reply) => drop(reply.send(self.trust.statement(&digest))),
            Call::Order(cohort, reply) => drop(reply.send(self.order(now, &cohort))),
            Call::Start(request, reply) => drop(reply.send(self.start(now, request))),
            Call::Operate(cohort, operation, reply) => {
                drop(reply.send(self.operate(now, &cohort, operation)))
            }
            Call::Quarantine(reply) => drop(reply.send(Ok(self.quarantine_views(now)))),
            Call::Lift(digest, request, reply) => drop(reply.send(self.lift(now, digest, request))),
            Call::Breakers(reply) => drop(reply.send(Ok(self.breaker_views(now)))),
            Call::CloseBreaker(cohort, reason, reply) => {
                drop(reply.send(self.close_breaker(now, &cohort, &reason)));
            }
            Call::Tell(device, request, reply) => drop(reply.send(self.tell(now, &device, &request))),
            Call::Mint(answer, reply) => drop(reply.send(self.mint(now, answer))),
            Call::Pending(reply) => drop(reply.send(Ok(self.pending_views(now)))),
            Call::Accept(fingerprint, answer, reply) => {
                drop(reply.send(self.accept(now, &fingerprint, answer)))
            }
            Call::Evidence(device, reply) => drop(reply.send(self.evidence(&device))),
            Call::Events(after, reply) => drop(reply.send(Ok(self.event_views(after)))),
        }
        self.dispatch(now);
    }

    fn enrol(&mut self, now: Now, request: &[u8]) -> Result<Option<Vec<u8>>, ApiError> {
        let verified = VerifiedEnrolRequest::verify(request, self.director.fleet());
        let request =
            verified.map_err(|why| untrusted("the request to be enrolled is not to be believed", &why))?;
        let answer = match self.register.settle(&request, now.mono) {
            Ok(answer) => answer,
            Err(Denied::Waits) => return Ok(None),
            Err(denied) => return Err(told(&denied)),
        };
        let known =
            self.register.member(&answer.device).filter(|member| member.key == *request.key()).cloned();
        let member = match known {
            Some(member) => member,
            None => self.admit(now, request.key(), answer)?,
        };
        let enrolment = self.director.enrolment(&member);
        enrolment.map(Some).map_err(|why| ApiError::new(Kind::Unavailable, why.to_string()))
    }

    fn accept(&mut self, now: Now, fingerprint: &Digest, answer: EnrolAnswer) -> Result<(), ApiError> {
        bounded(&answer.labels)?;
        let Some(key) = self.register.waiting(fingerprint) else {
            let what = format!("no device with fingerprint {fingerprint} waits");
            return Err(ApiError::new(Kind::NotFound, what).help("a device that asks again waits again"));
        };
        let device = answer.device.clone();
        self.admit(now, &key, answer)?;
        self.by_hand(now, format!("accepted {} as {device}", fingerprint.short()))
    }

    /// Takes a device in. Durable in the register when this returns, and in the journal if that can be written.
    fn admit(&mut self, now: Now, key: &PublicKey, answer: EnrolAnswer) -> Result<Member, ApiError> {
        let before = self.register.member(&answer.device).map(|member| member.cohort.clone());
        let admitted = self.register.admit(key, answer).map_err(|why| unkept("the register", &why))?;
        let member = admitted.map_err(|denied| told(&denied))?;
        let Member { device, cohort, labels, .. } = member.clone();
        self.floors.forget(&device);
        if let Some(before) = before.filter(|before| *before != cohort) {
            self.step(now, &before, CohortInput::Left { device: device.clone() });
        }
        self.step(now, &cohort, CohortInput::Enrolled { device: device.clone(), labels });
        self.record(now, &[Event::Enrolled { device, cohort, key: key.id().0 }]);
        Ok(member)
    }

    fn mint(&mut self, now: Now, answer: EnrolAnswer) -> Result<MintedToken, ApiError> {
        bounded(&answer.labels)?;
        if self.register.member(&answer.device).is_some() {
            let what = format!("{} is enrolled already", answer.device);
            return Err(ApiError::new(Kind::Refused, what).help("give the new device a name of its own"));
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|why| ApiError::new(Kind::Unavailable, why.to_string()))?;
        let token = EnrolToken::from_random(random);
        let what = format!("made a token for {} in {}", answer.device, answer.cohort);
        self.register.mint(&token, answer).map_err(|why| unkept("the token", &why))?;
        self.by_hand(now, what)?;
        Ok(MintedToken { token: token.to_text().to_string() })
    }

    fn publish(&mut self, now: Now, statement: &[u8]) -> Result<ReleaseView, ApiError> {
        let published = self.catalogue.publish(statement, self.director.keyring());
        let release = published.map_err(|error| match &error {
            PublishError::Untrusted(why) => untrusted(&error.to_string(), why),
            PublishError::Older { .. } => ApiError::new(Kind::Refused, error.to_string())
                .help("publish the newer one, or sign this one anew with a larger --sequence"),
            PublishError::Shelf(why) => unkept("the statement", why),
        })?;
        let digest = release.release().digest;
        let what = format!("published {}", release.release());
        self.by_hand(now, what)?;
        let view = self.release_views().into_iter().find(|view| view.release.digest == digest);
        view.ok_or_else(|| ApiError::new(Kind::NotFound, "the release is gone again"))
    }

    fn start(&mut self, now: Now, request: StartRollout) -> Result<Started, ApiError> {
        let StartRollout { cohort, version, rollout, back, labels, plan } = request;
        let found = self.catalogue.find(&version, now.unix).map_err(|why| unavailable(&version, &why))?;
        let (release, way) = (found.release().clone(), found.way_home().clone());
        let named = match &back {
            Some(version) => {
                Some(self.catalogue.find_here(version).map_err(|why| unavailable(version, &why))?.release())
            }
            None => None,
        };
        let machine = self.cohorts.get(&cohort).ok_or_else(|| no_cohort(&cohort))?;
        let selector = match labels {
            None => Selector::All,
            Some(labels) if labels.is_empty() => {
                let what = "an empty list of labels means nobody";
                return Err(ApiError::new(Kind::Usage, what).help("leave it out for all devices"));
            }
            Some(labels) => {
                bounded(&labels)?;
                Selector::Labelled(labels)
            }
        };
        let rollout = match rollout {
            Some(rollout) => rollout,
            None => made_up(machine),
        };
        let plan = adapt(self.plan.clone(), plan)?;
        let leading = Leading { rollout: &rollout, release: &release, way: &way };
        let back = machine
            .way_back(leading, named, |digest| self.catalogue.has(digest))
            .map_err(|why| refused_start(&why))?;
        let wanted = Rollout { rollout, release, back, selector, policies: Vec::new(), plan };
        let started = Started { rollout: wanted.rollout.clone(), release: wanted.release.clone() };
        match machine.may_start(now.mono, &wanted).map_err(|why| refused_start(&why))? {
            Startable::Already => return Ok(started),
            Startable::New => {}
        }
        self.step(now, &cohort, CohortInput::Start { who: operator(), rollout: wanted });
        self.written().map(|()| started)
    }

    fn operate(&mut self, now: Now, cohort: &CohortId, operation: Operation) -> Result<CohortView, ApiError> {
        let wish = match operation {
            Operation::Pause => Wish::Pause,
            Operation::Resume => Wish::Resume,
            Operation::Abort => Wish::Abort,
            Operation::Rollback => Wish::Rollback,
            Operation::Thaw => Wish::Thaw,
        };
        let machine = self.cohorts.get(cohort).ok_or_else(|| no_cohort(cohort))?;
        machine.may(now.mono, &wish).map_err(|why| {
            let what = format!("cannot {wish} in cohort {cohort}: {why}");
            with_help(ApiError::new(Kind::Refused, what), why.help())
        })?;
        self.step(now, cohort, CohortInput::Operator { who: operator(), wish, reason: None });
        // Holding and going home is said even if it can't be written down; the caller hears of the disk in the log.
        match operation {
            Operation::Pause | Operation::Abort | Operation::Rollback => {}
            Operation::Resume | Operation::Thaw => self.written()?,
        }
        self.see(now, cohort)
    }

    /// Lets a release, or a policy, be used again wherever it is quarantined. Done twice it is done once.
    fn lift(&mut self, now: Now, digest: Digest, request: LiftRequest) -> Result<Lifted, ApiError> {
        let LiftRequest { reason, cohort } = request;
        if let Some(cohort) = cohort.as_ref().filter(|cohort| !self.cohorts.contains_key(cohort)) {
            return Err(no_cohort(cohort));
        }
        let is_meant = |of: &Option<CohortId>| cohort.is_none() || *of == cohort;
        let mut lifted = self.quarantine_views(now);
        lifted.retain(|view| view.digest == digest && is_meant(&view.cohort));
        for view in &lifted {
            match &view.cohort {
                Some(cohort) => self.wish(now, cohort, Wish::Lift(digest), &reason),
                None => {
                    self.confidence.lift(&digest);
                    let what =
                        format!("lift the quarantine of policy {}: {}", digest.short(), reason.as_str());
                    let mut told = vec![Event::Override { who: operator(), what: Reason::new(what).0 }];
                    // Who was taken back in has its turn looked at again.
                    told.extend(self.judge.seat(&mut self.confidence));
                    self.record(now, &told);
                }
            }
        }
        if !lifted.is_empty() {
            self.written()?;
        }
        Ok(Lifted { lifted })
    }

    fn close_breaker(&mut self, now: Now, cohort: &CohortId, reason: &Because) -> Result<Closed, ApiError> {
        let machine = self.cohorts.get(cohort).ok_or_else(|| no_cohort(cohort))?;
        let changed = match machine.may(now.mono, &Wish::CloseBreaker) {
            Ok(()) => {
                self.wish(now, cohort, Wish::CloseBreaker, reason);
                self.written()?;
                true
            }
            Err(WishError::BreakerClosed) => false,
            Err(why) => return Err(with_help(ApiError::new(Kind::Refused, why.to_string()), why.help())),
        };
        Ok(Closed { cohort: cohort.clone(), changed })
    }

    fn wish(&mut self, now: Now, cohort: &CohortId, wish: Wish, reason: &Because) {
        let reason = Some(reason.as_str().to_owned());
        self.step(now, cohort, CohortInput::Operator { who: operator(), wish, reason });
    }

    fn see(&self, now: Now, cohort: &CohortId) -> Result<CohortView, ApiError> {
        self.cohort_view(now, cohort).ok_or_else(|| no_cohort(cohort))
    }

    fn tell(&mut self, now: Now, device: &DeviceId, request: &WordRequest) -> Result<Told, ApiError> {
        if self.register.member(device).is_none() {
            return Err(no_device(device));
        }
        let order = self.orders.tell(device, &request.words).map_err(|TooMany(words)| {
            let what =
                format!("an order has 1 to {} words, not {words}", backstay_wire::DeviceOrder::WORDS_MAX);
            ApiError::new(Kind::Usage, what).help("words that the device has not taken yet count, too")
        })?;
        self.post.order(device);
        let words: Vec<String> = request.words.iter().map(|word| format!("{word:?}")).collect();
        self.by_hand(now, format!("told {device} in order {}: {}", order.sequence, words.join(", ")))?;
        Ok(Told { sequence: order.sequence })
    }

    fn evidence(&self, device: &DeviceId) -> Result<(String, Vec<u8>), ApiError> {
        let member = self.register.member(device).ok_or_else(|| no_device(device))?;
        let records = self.archive.records(device).map_err(|why| unkept("the journal", &why))?;
        Ok((member.key.to_string(), records))
    }

    /// Writes down what a person did.
    pub(super) fn by_hand(&mut self, now: Now, what: String) -> Result<(), ApiError> {
        self.record(now, &[Event::Override { who: operator(), what: Reason::new(what).0 }]);
        self.written()
    }

    fn written(&self) -> Result<(), ApiError> {
        if self.is_durable() {
            return Ok(());
        }
        let what = "it can't be written down, so it is held back until it can";
        Err(ApiError::new(Kind::Unavailable, what).help("look at the server's log and its disk"))
    }
}

/// Who calls. There is one token yet, so there is one name.
fn operator() -> Name {
    Name::parse("operator").expect("it is a name")
}

/// A name that is not used twice: generations only grow.
fn made_up(cohort: &Cohort) -> RolloutId {
    let next = cohort.helm().generation().0.saturating_add(1);
    let room = 64 - "r--18446744073709551615".len();
    let cohort: String = cohort.helm().cohort().as_str().chars().take(room).collect();
    RolloutId::parse(&format!("r-{cohort}-{next}")).expect("a part of a name and a number are a name")
}

fn adapt(usual: Plan, wanted: PlanView) -> Result<Plan, ApiError> {
    let PlanView { waves, devices_min, good_windows, window_ms } = wanted;
    let share = |share| {
        let what = || ApiError::new(Kind::Usage, format!("a wave of {share} permille is more than all"));
        Permille::new(share).ok_or_else(what)
    };
    Ok(Plan {
        waves: match waves {
            Some(waves) => waves.into_iter().map(share).collect::<Result<_, _>>()?,
            None => usual.waves,
        },
        devices_min: devices_min.unwrap_or(usual.devices_min),
        good_windows: good_windows.unwrap_or(usual.good_windows),
        window: window_ms.map_or(usual.window, Millis),
        ..usual
    })
}

fn bounded(labels: &[Label]) -> Result<(), ApiError> {
    if labels.len() <= LABELS_MAX {
        return Ok(());
    }
    Err(ApiError::new(
        Kind::Usage,
        format!("{} labels are more than the {LABELS_MAX} there may be", labels.len()),
    )
    .help("devices with labels in common can be a cohort of their own"))
}

fn refused_start(error: &StartError) -> ApiError {
    let kind = match error {
        StartError::Plan { .. } | StartError::Policies { .. } | StartError::Labels { .. } => Kind::Usage,
        StartError::NoWayHome { .. }
        | StartError::NotAllowed { .. }
        | StartError::Used { .. }
        | StartError::UnderWay { .. }
        | StartError::Frozen { .. }
        | StartError::BreakerOpen { .. }
        | StartError::Quarantined { .. } => Kind::Refused,
    };
    with_help(ApiError::new(kind, because(error)), error.help())
}

fn unavailable(version: &backstay_model::Version, why: &Unavailable) -> ApiError {
    match why {
        Unavailable::Unknown => {
            ApiError::new(Kind::NotFound, format!("no release {version} was published here"))
                .help("publish it: backstay release publish")
        }
        Unavailable::Several(digests) => {
            let digests: Vec<String> = digests.iter().map(|digest| digest.short().to_string()).collect();
            let what = format!("several releases are called {version}: {}", digests.join(", "));
            ApiError::new(Kind::Refused, what).help("give each build a version of its own")
        }
        Unavailable::NoArtifact(digest) => {
            ApiError::new(Kind::NotFound, format!("the artifact {} of {version} is not here", digest.short()))
                .help("upload it: backstay release publish")
        }
        Unavailable::Expired => {
            ApiError::new(Kind::Refused, format!("the statement about {version} has expired"))
                .help("let the release keys sign it anew")
        }
    }
}

fn told(denied: &Denied) -> ApiError {
    match denied {
        // Not an error for the one who asks; here it is only for completeness.
        Denied::Waits => ApiError::new(Kind::Denied, "an operator has to accept this device"),
        Denied::Crowded => ApiError::new(Kind::Unavailable, "too many devices wait to be accepted")
            .help("accept or enrol those that wait, then ask again"),
        Denied::Token => ApiError::new(Kind::Denied, "the token is none that is out, or was used")
            .help("make another one: backstay enrol token"),
        Denied::Taken(device) => {
            ApiError::new(Kind::Refused, format!("{device} is enrolled with another key"))
                .help("give the new device a name of its own")
        }
    }
}

pub(super) fn no_cohort(cohort: &CohortId) -> ApiError {
    ApiError::new(Kind::NotFound, format!("there is no cohort {cohort}"))
        .help("a cohort is there as soon as a device is enrolled in it")
}

fn no_device(device: &DeviceId) -> ApiError {
    ApiError::new(Kind::NotFound, format!("no device {device} is enrolled"))
        .help("backstay fleet ls shows all that are")
}

pub(super) fn untrusted(what: &str, why: &backstay_trust::Refusal) -> ApiError {
    with_help(ApiError::new(Kind::Untrusted, format!("{what}: {why}")), why.help())
}

fn unkept(what: &str, why: &(dyn Error + 'static)) -> ApiError {
    ApiError::new(Kind::Unavailable, format!("{what} can't be kept or read: {}", because(why)))
        .help("look at the server's log and its disk, then ask again")
}

fn with_help(error: ApiError, help: Option<&'static str>) -> ApiError {
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}
