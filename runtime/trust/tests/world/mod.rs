//! One fleet with all its keys, and one valid statement of each kind. The keys are made of fixed bytes, so
//! the statements are the same on every machine.
#![allow(dead_code, reason = "each test file uses what it needs of it")]

use std::collections::BTreeMap;

use backstay_model::{
    BuildId, CohortId, DeviceId, Digest, FleetId, Hardware, Label, Name, Nonce, PluginId, Reason, Release,
    SchemaRange, TargetId, UnixMs, Verdict, VerdictAction, Version, WayHome,
};
use backstay_trust::{
    Artifact, Audience, Chain, ChainError, DeviceKind, Domain, EffectKind, EngineProfile, EnrolRequest,
    EnrolToken, Enrolment, Floor, Grant, Keyring, KeyringParts, KnownGood, Limits, Listener, OrderKind,
    Permissions, PluginError, PluginRelease, ProductRelease, Refusal, Revocation, RevocationError, Role,
    SecretKey, Stamp, Target, Vendor, VerifiedEnrolRequest, Want, World as Contract, sign_consent,
    sign_order, sign_verdict, sign_word, verify_word,
};

pub(crate) const ARTIFACT: &[u8] = b"code for one machine";
pub(crate) const ORDER: &[u8] = b"an item of wire";
pub(crate) const CONFIGURATION: &[u8] = b"what a service is set to";

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

pub(crate) fn stamp(sequence: u64) -> Stamp {
    Stamp { sequence, issued: UnixMs(1_000), expires: Some(UnixMs(2_000)) }
}

/// A fleet and those who may sign for it.
pub(crate) struct World {
    pub(crate) fleet: FleetId,
    pub(crate) cohort: CohortId,
    pub(crate) device: DeviceId,
    pub(crate) operator: SecretKey,
    pub(crate) release: SecretKey,
    pub(crate) director: SecretKey,
    pub(crate) vendor: SecretKey,
    pub(crate) device_key: SecretKey,
    pub(crate) root: SecretKey,
    pub(crate) revoker: SecretKey,
    pub(crate) verdict: SecretKey,
    pub(crate) keyring: Keyring,
}

/// What there is to verify; each kind has a verifier of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Order(OrderKind),
    Word(DeviceKind),
    Consent,
    PluginRelease,
    Grant,
    ProductRelease,
    EnrolRequest,
    Enrolment,
    Keyring,
    Revocation,
    Verdict,
    KnownGood,
}

impl Kind {
    pub(crate) const ALL: [Self; 19] = [
        Self::Order(OrderKind::SteerProduct),
        Self::Order(OrderKind::SteerPlugins),
        Self::Order(OrderKind::DeviceOrder),
        Self::Order(OrderKind::TrustFloor),
        Self::Order(OrderKind::Receipt),
        Self::Word(DeviceKind::State),
        Self::Word(DeviceKind::Plugins),
        Self::Word(DeviceKind::Presence),
        Self::Word(DeviceKind::Log),
        Self::Consent,
        Self::PluginRelease,
        Self::Grant,
        Self::ProductRelease,
        Self::EnrolRequest,
        Self::Enrolment,
        Self::Keyring,
        Self::Revocation,
        Self::Verdict,
        Self::KnownGood,
    ];
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of("pumps", 1)
    }

    /// The fleet `fleet` with keys of its own, made of `seed` and what follows it.
    pub(crate) fn of(fleet: &str, seed: u8) -> Self {
        let [operator, release, director, vendor, device_key, root, revoker] =
            core::array::from_fn(|at| key(seed + at as u8));
        let verdict = key(seed + 60);
        let of = |key: &SecretKey| Role::of(key.public());
        let fleet = FleetId::parse(fleet).unwrap();
        let parts = KeyringParts {
            root: of(&root),
            revoker: of(&revoker),
            vendors: vec![Vendor { prefix: Name::parse("acme").unwrap(), role: of(&vendor) }],
            ..KeyringParts::first(fleet, of(&operator), of(&release), of(&director))
        };
        Self {
            fleet: parts.fleet.clone(),
            cohort: CohortId::parse("canary").unwrap(),
            device: DeviceId::parse("pump-7").unwrap(),
            keyring: Keyring::new(parts).unwrap(),
            operator,
            release,
            director,
            vendor,
            device_key,
            root,
            revoker,
            verdict,
        }
    }

    /// The parts of the keyring that follows, which says the same.
    pub(crate) fn next_parts(&self) -> KeyringParts {
        let parts = self.keyring.parts().clone();
        KeyringParts { number: parts.number + 1, before: Some(*self.keyring.digest()), ..parts }
    }

    /// The link to a keyring of `parts`, signed by `roots`.
    pub(crate) fn link(&self, parts: KeyringParts, roots: &[&SecretKey]) -> Vec<u8> {
        let mut link = Keyring::new(parts).unwrap().link(UnixMs(1_000), None).unwrap();
        roots.iter().for_each(|root| link.sign(root).unwrap());
        link.encode().unwrap()
    }

    /// One that revokes nothing that is in use here.
    pub(crate) fn revocation(&self) -> Revocation {
        Revocation { keys: vec![key(200).id()], digests: vec![Digest([8; 32])], ..Revocation::default() }
    }

    pub(crate) fn plugin(&self) -> PluginRelease {
        PluginRelease {
            id: PluginId::parse("acme/executor-pump").unwrap(),
            version: Version::parse("1.2.3").unwrap(),
            component: Digest([3; 32]),
            component_bytes: 12_345,
            world: Contract::parse("backstay:executor/executor@1.0.0").unwrap(),
            wants: vec![EffectKind::Run, EffectKind::File],
            limits: Limits::DEFAULT,
        }
    }

    pub(crate) fn grant(&self) -> Grant {
        Grant {
            release: *self
                .keyring
                .verify_plugin_release(&self.statement(Kind::PluginRelease))
                .unwrap()
                .digest(),
            permissions: Permissions {
                commands: vec![Name::parse("restart-pump").unwrap()],
                paths: vec!["/etc/pump".into()],
                ..Permissions::default()
            },
            limits: Limits { effects_per_step: 8, ..Limits::MAX },
            artifacts: vec![self.artifact()],
        }
    }

    pub(crate) fn artifact(&self) -> Artifact {
        Artifact {
            target: Target::parse("x86_64-unknown-linux-gnu").unwrap(),
            engine: EngineProfile::parse("backstay-1").unwrap(),
            compiler: Version::parse("48.0.8").unwrap(),
            digest: "a900e868e490028d235f55fba7a152ed24ab3953fc133e6b73e53b8e5d805c86".parse().unwrap(),
            length: ARTIFACT.len() as u64,
        }
    }

    pub(crate) fn product(&self) -> ProductRelease {
        ProductRelease {
            release: Release {
                version: Version::parse("1.5.0").unwrap(),
                digest: Digest([5; 32]),
                length: 100,
                security_epoch: 2,
            },
            hardware: vec![Hardware::parse("pump-a").unwrap()],
            schemas: SchemaRange { from: 3, to: 4 },
            home: WayHome(vec![Digest([4; 32])]),
        }
    }

    /// The keyring with a key for verdicts. The other is kept as it is: others' bytes name it.
    pub(crate) fn with_verdicts(&self) -> Keyring {
        let verdict = Role::of(self.verdict.public());
        Keyring::new(KeyringParts { verdict, ..self.keyring.parts().clone() }).unwrap()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        Verdict {
            service: TargetId::parse("checkout").unwrap(),
            build: BuildId::parse("1812").unwrap(),
            nonce: Nonce([7; 16]),
            action: VerdictAction::Proceed,
            wait_secs: 0,
            digest: Some(Digest([5; 32])),
            version: None,
            reasons: vec![Reason::new("all objectives hold".into())],
            evidence: None,
        }
    }

    pub(crate) fn known_good(&self) -> KnownGood {
        let service = TargetId::parse("checkout").unwrap();
        KnownGood::of(service, &self.product().release, CONFIGURATION)
    }

    pub(crate) fn enrolment(&self) -> Enrolment {
        Enrolment {
            device: self.device.clone(),
            key: self.device_key.id(),
            cohort: self.cohort.clone(),
            labels: vec![Label::parse("site=basel").unwrap()],
        }
    }

    pub(crate) fn cohort_audience(&self) -> Audience {
        Audience::Cohort(self.fleet.clone(), self.cohort.clone())
    }

    /// A valid statement of `kind`.
    pub(crate) fn statement(&self, kind: Kind) -> Vec<u8> {
        let fleet = || self.fleet.clone();
        match kind {
            Kind::Order(kind) => sign_order(&self.director, kind, self.cohort_audience(), stamp(7), ORDER),
            Kind::Word(kind) => {
                sign_word(&self.device_key, kind, fleet(), self.device.clone(), stamp(7), ORDER)
            }
            Kind::Consent => sign_consent(&self.operator, self.cohort_audience(), stamp(7), &Digest([9; 32])),
            Kind::PluginRelease => self.plugin().sign(&self.vendor, stamp(7)),
            Kind::Grant => self.grant().sign(&self.operator, fleet(), stamp(7)),
            Kind::ProductRelease => self.product().sign(&self.release, fleet(), stamp(7)),
            Kind::EnrolRequest => {
                let hardware = Hardware::parse("pump-a").unwrap();
                EnrolRequest::sign(&self.device_key, fleet(), hardware, 99, Some(&token()))
            }
            Kind::Enrolment => self.enrolment().sign(&self.director, fleet(), stamp(7)),
            Kind::Keyring => return self.link(self.next_parts(), &[&self.root]),
            Kind::Revocation => self.revocation().sign(&self.revoker, fleet(), stamp(7)),
            Kind::Verdict => {
                sign_verdict(&self.verdict, &self.verdict(), fleet(), UnixMs(1_000), UnixMs(2_000))
            }
            Kind::KnownGood => self.known_good().sign(&self.release, fleet(), stamp(7)),
        }
        .unwrap()
    }

    pub(crate) fn listener(&self) -> Listener<'_> {
        Listener { cohort: Some(&self.cohort), device: Some(&self.device) }
    }

    /// What comes of verifying `bytes` as a statement of `kind`.
    pub(crate) fn verify(&self, kind: Kind, bytes: &[u8]) -> Result<(), Refusal> {
        match kind {
            Kind::Order(kind) => self.keyring.verify_order(bytes, kind, self.listener(), None).map(drop),
            Kind::Word(kind) => {
                verify_word(bytes, kind, &self.fleet, &self.device, &self.device_key.public()).map(drop)
            }
            Kind::Consent => self.keyring.verify_consent(bytes, self.listener()).map(drop),
            Kind::PluginRelease => refusal(self.keyring.verify_plugin_release(bytes).map(drop)),
            Kind::Grant => {
                let release = self.statement(Kind::PluginRelease);
                refusal(self.with_want(|want| self.keyring.verify_grant(&release, bytes, want).map(drop)))
            }
            Kind::ProductRelease => self.keyring.verify_release(bytes, None).map(drop),
            Kind::EnrolRequest => VerifiedEnrolRequest::verify(bytes, &self.fleet).map(drop),
            Kind::Enrolment => self.keyring.verify_enrolment(bytes, &self.device_key.id()).map(drop),
            Kind::Keyring => {
                let followed = Chain::new(self.keyring.clone()).follow(bytes).map(drop);
                followed.map_err(|error| match error {
                    ChainError::Refused(refusal) | ChainError::Signatures { source: refusal, .. } => refusal,
                    ChainError::Keyring(_)
                    | ChainError::Older { .. }
                    | ChainError::Skipped { .. }
                    | ChainError::Forked { .. }
                    | ChainError::OtherBefore { .. }
                    | ChainError::NoRoot { .. } => {
                        Refusal::Malformed { domain: Domain::Keyring, part: "keyring" }
                    }
                })
            }
            Kind::Verdict => self.with_verdicts().verify_verdict(bytes).map(drop),
            Kind::KnownGood => self.keyring.verify_known_good(bytes, CONFIGURATION.into()).map(drop),
            Kind::Revocation => self.keyring.verify_revocation(bytes).map(drop).map_err(|error| {
                let RevocationError::Refused(refusal) = error else { panic!("{error}") };
                refusal
            }),
        }
    }

    /// A host that runs what [`World::grant`] grants.
    pub(crate) fn with_want<T>(&self, verify: impl FnOnce(&Want<'_>) -> T) -> T {
        self.with_floor(None, verify)
    }

    /// The same host, which has accepted a grant of it before.
    pub(crate) fn with_floor<T>(&self, floor: Option<Floor>, verify: impl FnOnce(&Want<'_>) -> T) -> T {
        let (artifact, plugin) = (self.artifact(), self.plugin());
        let floors: BTreeMap<_, _> = floor.map(|floor| (plugin.id.clone(), floor)).into_iter().collect();
        verify(&Want {
            target: &artifact.target,
            engine: &artifact.engine,
            world: &plugin.world,
            floors: &floors,
            attested: None,
        })
    }
}

pub(crate) fn token() -> EnrolToken {
    EnrolToken::from_random([0xab; 16])
}

/// Only for statements that fail, or pass, by themselves.
fn refusal(verified: Result<(), PluginError>) -> Result<(), Refusal> {
    verified.map_err(|error| {
        let (PluginError::Release(refusal) | PluginError::Grant(refusal)) = error else { panic!("{error}") };
        refusal
    })
}
