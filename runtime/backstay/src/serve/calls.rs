//! What the API asks, and the answer. Each answer that says "done" is given after it is written down.
//!
//! Not here: HTTP, tokens and sizes (`api`), and whether a rollout may go on (`core` says).

use std::error::Error;

use backstay_api::{
    ApiError, Because, Call, Closed, CohortView, EnrolAnswer, Kind, LiftRequest, Lifted, MintedToken,
    Operation, PlanView, PluginView, Quarantined, ReleaseView, StartRollout, Started, Told, WordRequest,
};
use backstay_core::{Cohort, CohortInput, Leading, Plan, Rollout, StartError, Startable, Wish, WishError};
use backstay_model::{
    Channel, CohortId, DeviceId, Digest, Event, Label, Millis, Name, Permille, PluginId, Reason, Release,
    RolloutId, Selector, Version,
};
use backstay_trust::{EnrolToken, PublicKey, VerifiedEnrolRequest};

use super::{
    because,
    bundles::NotPublished,
    catalogue::{PublishError, Unavailable},
    clock::Now,
    diary::Diary,
    judge::Ask,
    lane::Lane,
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
            Call::Cohort(cohort, channel, reply) => {
                drop(reply.send(self.see(now, &Lane::new(&cohort, channel))));
            }
            Call::Releases(reply) => drop(reply.send(Ok(self.release_views()))),
            Call::Uploaded(who, digest, bytes, reply) => {
                let what = format!("uploaded the artifact {digest} of {bytes} bytes");
                drop(reply.send(self.by_hand(now, who, what)));
            }
            Call::Publish(who, statement, reply) => drop(reply.send(self.publish(now, who, &statement))),
            Call::Plugins(reply) => drop(reply.send(Ok(self.plugin_views()))),
            Call::PublishPlugin(who, digest, reply) => {
                drop(reply.send(self.publish_plugin(now, who, &digest)))
            }
            Call::Trust(reply) => drop(reply.send(Ok(self.trust_view()))),
            Call::Heed(who, statement, reply) => drop(reply.send(self.heed(now, who, &statement))),
            Call::Statement(digest, reply) => drop(reply.send(self.trust.statement(&digest))),
            Call::Order(cohort, reply) => drop(reply.send(self.order(now, &cohort))),
            Call::Start(who, request, reply) => drop(reply.send(self.start(now, who, request))),
            Call::Operate(who, cohort, channel, operation, reply) => {
                drop(reply.send(self.operate(now, who, &Lane::new(&cohort, channel), operation)));
            }
            Call::Quarantine(reply) => drop(reply.send(Ok(self.quarantine_views(now)))),
            Call::Lift(who, digest, request, reply) => {
                drop(reply.send(self.lift(now, &who, digest, request)))
            }
            Call::Breakers(reply) => drop(reply.send(Ok(self.breaker_views(now)))),
            Call::CloseBreaker(who, cohort, channel, reason, reply) => {
                drop(reply.send(self.close_breaker(now, who, &Lane::new(&cohort, channel), &reason)));
            }
            Call::Tell(who, device, request, reply) => {
                drop(reply.send(self.tell(now, who, &device, &request)))
            }
            Call::Mint(who, answer, reply) => drop(reply.send(self.mint(now, who, answer))),
            Call::Pending(reply) => drop(reply.send(Ok(self.pending_views(now)))),
            Call::Accept(who, fingerprint, answer, reply) => {
                drop(reply.send(self.accept(now, who, &fingerprint, answer)))
            }
            Call::Evidence(device, reply) => drop(reply.send(self.evidence(&device))),
            Call::Target(call) => self.call_about_targets(now, call),
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

    fn accept(
        &mut self,
        now: Now,
        who: Name,
        fingerprint: &Digest,
        answer: EnrolAnswer,
    ) -> Result<(), ApiError> {
        bounded(&answer.labels)?;
        let Some(key) = self.register.waiting(fingerprint) else {
            let what = format!("no device with fingerprint {fingerprint} waits");
            return Err(ApiError::new(Kind::NotFound, what).help("a device that asks again waits again"));
        };
        let device = answer.device.clone();
        self.admit(now, &key, answer)?;
        self.by_hand(now, who, format!("accepted {} as {device}", fingerprint.short()))
    }

    /// Takes a device in. Durable in the register when this returns, and in the journal if that can be written.
    fn admit(&mut self, now: Now, key: &PublicKey, answer: EnrolAnswer) -> Result<Member, ApiError> {
        let before = self.register.member(&answer.device).map(|member| member.cohort.clone());
        let admitted = self.register.admit(key, answer).map_err(|why| unkept("the register", &why))?;
        let member = admitted.map_err(|denied| told(&denied))?;
        let Member { device, cohort, labels, .. } = member.clone();
        self.floors.forget(&device);
        self.plugin_floors.forget(&device);
        if let Some(before) = before.filter(|before| *before != cohort) {
            self.step_both(now, &before, &CohortInput::Left { device: device.clone() });
        }
        self.step_both(now, &cohort, &CohortInput::Enrolled { device: device.clone(), labels });
        self.record(now, &[Event::Enrolled { device, cohort, key: key.id().0 }]);
        Ok(member)
    }

    fn mint(&mut self, now: Now, who: Name, answer: EnrolAnswer) -> Result<MintedToken, ApiError> {
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
        self.by_hand(now, who, what)?;
        Ok(MintedToken { token: token.to_text().to_string() })
    }

    fn publish(&mut self, now: Now, who: Name, statement: &[u8]) -> Result<ReleaseView, ApiError> {
        let published = self.catalogue.publish(statement, self.director.keyring());
        let release = published.map_err(|error| match &error {
            PublishError::Untrusted(why) => untrusted(&error.to_string(), why),
            PublishError::Older { .. } => ApiError::new(Kind::Refused, error.to_string())
                .help("publish the newer one, or sign this one anew with a larger --sequence"),
            PublishError::Shelf(why) => unkept("the statement", why),
        })?;
        let digest = release.release().digest;
        let what = format!("published {}", release.release());
        self.by_hand(now, who, what)?;
        let view = self.release_views().into_iter().find(|view| view.release.digest == digest);
        view.ok_or_else(|| ApiError::new(Kind::NotFound, "the release is gone again"))
    }

    fn publish_plugin(&mut self, now: Now, who: Name, digest: &Digest) -> Result<PluginView, ApiError> {
        let published = self.bundles.publish(digest, self.director.keyring());
        let view = published.map_err(|error| unpublished(&error))?.view();
        self.by_hand(now, who, format!("published plugin {} {}", view.plugin, view.bundle))?;
        Ok(view)
    }

    fn start(&mut self, now: Now, who: Name, request: StartRollout) -> Result<Started, ApiError> {
        let StartRollout { cohort, plugin, version, rollout, back, labels, plan } = request;
        let channel = if plugin.is_some() { Channel::Plugins } else { Channel::Product };
        let lane = Lane::new(&cohort, channel);
        let machine = self.lanes.get(&lane).ok_or_else(|| no_cohort(&cohort))?;
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
            None => made_up(&lane, machine),
        };
        let (release, back) = match &plugin {
            None => self.product_ways(now, machine, &rollout, &version, back.as_ref())?,
            Some(plugin) => (self.plugin_to(now, plugin, &version, back.as_ref())?, None),
        };
        let plan = adapt(self.plan.clone(), plan)?;
        let wanted = Rollout { rollout, release, back, selector, policies: Vec::new(), plan };
        let started = Started { rollout: wanted.rollout.clone(), release: wanted.release.clone() };
        match machine.may_start(now.mono, &wanted).map_err(|why| refused_start(&why))? {
            Startable::Already => return Ok(started),
            Startable::New => {}
        }
        self.step(now, &lane, CohortInput::Start { who, rollout: wanted });
        self.written().map(|()| started)
    }

    /// A release of the product, and where home is from there.
    fn product_ways(
        &self,
        now: Now,
        machine: &Cohort,
        rollout: &RolloutId,
        version: &Version,
        back: Option<&Version>,
    ) -> Result<(Release, Option<Release>), ApiError> {
        let found = self.catalogue.find(version, now.unix).map_err(|why| unavailable(version, &why))?;
        let named = match back {
            Some(version) => {
                Some(self.catalogue.find_here(version).map_err(|why| unavailable(version, &why))?.release())
            }
            None => None,
        };
        let leading = Leading { rollout, release: found.release(), way: found.way_home() };
        let back = machine
            .way_back(leading, named, |digest| self.catalogue.has(digest))
            .map_err(|why| refused_start(&why))?;
        Ok((found.release().clone(), back))
    }

    /// A bundle. Home from it is what each device has kept: no other one could be had for certain when it is needed.
    fn plugin_to(
        &self,
        now: Now,
        plugin: &PluginId,
        version: &Version,
        back: Option<&Version>,
    ) -> Result<Release, ApiError> {
        if back.is_some() {
            let what = "a plugin is left for the one that each device had before";
            return Err(ApiError::new(Kind::Usage, what).help("leave the way back out"));
        }
        let found = self.bundles.find(plugin, version).ok_or_else(|| {
            ApiError::new(Kind::NotFound, format!("no plugin {plugin} {version} was published here"))
                .help("publish its bundle: backstay plugin publish")
        })?;
        if let Some(why) = found.taken_by_nobody(now.unix) {
            let what = format!("no device would take plugin {plugin} {version}: {why}");
            return Err(ApiError::new(Kind::Refused, what).help("grant it anew: backstay plugin grant"));
        }
        Ok(found.bundle.clone())
    }

    fn operate(
        &mut self,
        now: Now,
        who: Name,
        lane: &Lane,
        operation: Operation,
    ) -> Result<CohortView, ApiError> {
        let wish = match operation {
            Operation::Pause => Wish::Pause,
            Operation::Resume => Wish::Resume,
            Operation::Abort => Wish::Abort,
            Operation::Rollback => Wish::Rollback,
            Operation::Thaw => Wish::Thaw,
        };
        let machine = self.lanes.get(lane).ok_or_else(|| no_cohort(&lane.cohort))?;
        machine.may(now.mono, &wish).map_err(|why| {
            let what = format!("cannot {wish} in cohort {lane}: {why}");
            with_help(ApiError::new(Kind::Refused, what), why.help())
        })?;
        self.step(now, lane, CohortInput::Operator { who, wish, reason: None });
        // Holding and going home is said even if it can't be written down; the caller hears of the disk in the log.
        match operation {
            Operation::Pause | Operation::Abort | Operation::Rollback => {}
            Operation::Resume | Operation::Thaw => self.written()?,
        }
        self.see(now, lane)
    }

    /// Lets a release, or a policy, be used again wherever it is quarantined. Done twice it is done once.
    fn lift(
        &mut self,
        now: Now,
        who: &Name,
        digest: Digest,
        request: LiftRequest,
    ) -> Result<Lifted, ApiError> {
        let LiftRequest { reason, cohort } = request;
        let is_known = |of: &CohortId| self.lanes.keys().any(|lane| lane.cohort == *of);
        if let Some(cohort) = cohort.as_ref().filter(|cohort| !is_known(cohort)) {
            return Err(no_cohort(cohort));
        }
        let is_meant = |of: &Option<CohortId>| cohort.is_none() || *of == cohort;
        let mut lifted = self.quarantine_views(now);
        lifted.retain(|view| view.digest == digest && is_meant(&view.cohort));
        for view in &lifted {
            let channel = match view.kind {
                Quarantined::Release | Quarantined::Policy => Channel::Product,
                Quarantined::Plugin => Channel::Plugins,
            };
            match &view.cohort {
                Some(cohort) => {
                    self.wish(now, who.clone(), &Lane::new(cohort, channel), Wish::Lift(digest), &reason);
                }
                None => {
                    self.confidence.lift(&digest);
                    let what =
                        format!("lift the quarantine of policy {}: {}", digest.short(), reason.as_str());
                    let mut told = vec![Event::Override { who: who.clone(), what: Reason::new(what).0 }];
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

    fn close_breaker(
        &mut self,
        now: Now,
        who: Name,
        lane: &Lane,
        reason: &Because,
    ) -> Result<Closed, ApiError> {
        let machine = self.lanes.get(lane).ok_or_else(|| no_cohort(&lane.cohort))?;
        let changed = match machine.may(now.mono, &Wish::CloseBreaker) {
            Ok(()) => {
                self.wish(now, who, lane, Wish::CloseBreaker, reason);
                self.written()?;
                true
            }
            Err(WishError::BreakerClosed) => false,
            Err(why) => return Err(with_help(ApiError::new(Kind::Refused, why.to_string()), why.help())),
        };
        Ok(Closed { cohort: lane.cohort.clone(), changed })
    }

    fn wish(&mut self, now: Now, who: Name, lane: &Lane, wish: Wish, reason: &Because) {
        let reason = Some(reason.as_str().to_owned());
        self.step(now, lane, CohortInput::Operator { who, wish, reason });
    }

    fn see(&self, now: Now, lane: &Lane) -> Result<CohortView, ApiError> {
        self.lane_view(now, lane).ok_or_else(|| no_cohort(&lane.cohort))
    }

    fn tell(
        &mut self,
        now: Now,
        who: Name,
        device: &DeviceId,
        request: &WordRequest,
    ) -> Result<Told, ApiError> {
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
        self.by_hand(now, who, format!("told {device} in order {}: {}", order.sequence, words.join(", ")))?;
        Ok(Told { sequence: order.sequence })
    }

    fn evidence(&self, device: &DeviceId) -> Result<(String, Vec<u8>), ApiError> {
        let member = self.register.member(device).ok_or_else(|| no_device(device))?;
        let records = self.archive.records(device).map_err(|why| unkept("the journal", &why))?;
        Ok((member.key.to_string(), records))
    }

    /// Writes down what somebody did.
    pub(super) fn by_hand(&mut self, now: Now, who: Name, what: String) -> Result<(), ApiError> {
        self.record(now, &[Event::Override { who, what: Reason::new(what).0 }]);
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

/// A name that is not used twice: generations only grow.
fn made_up(lane: &Lane, cohort: &Cohort) -> RolloutId {
    let next = cohort.helm().generation().0.saturating_add(1);
    let room = 64 - "r--18446744073709551615".len();
    let cohort: String = lane.cohort.as_str().chars().take(room).collect();
    let kind = match lane.channel {
        Channel::Product => "r",
        Channel::Plugins => "p",
    };
    RolloutId::parse(&format!("{kind}-{cohort}-{next}")).expect("a part of a name and a number are a name")
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

fn unpublished(error: &NotPublished) -> ApiError {
    let what = error.to_string();
    match error {
        NotPublished::NoArtifact(_) => {
            ApiError::new(Kind::NotFound, what).help("upload it: backstay plugin publish")
        }
        NotPublished::Untrusted(why) => {
            with_help(ApiError::new(Kind::Untrusted, format!("{what}: {}", because(why))), why.help())
        }
        NotPublished::Bundle(why) => {
            with_help(ApiError::new(Kind::Untrusted, format!("{what}: {why}")), why.help())
        }
        NotPublished::Older { .. } => ApiError::new(Kind::Refused, what)
            .help("publish the newer bundle, or grant anew with a larger --sequence"),
        NotPublished::Shelf(why) => unkept("the bundle", why),
    }
}

fn unavailable(version: &Version, why: &Unavailable) -> ApiError {
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

/// A failure with its cause and what to do about it: a signature that doesn't hold, or can't be made.
pub(super) fn untrusted_with(
    what: &str,
    why: &(dyn Error + 'static),
    help: Option<&'static str>,
) -> ApiError {
    with_help(ApiError::new(Kind::Untrusted, format!("{what}: {}", because(why))), help)
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
