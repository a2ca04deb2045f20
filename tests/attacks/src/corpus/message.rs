//! What comes over the broker, signed by whoever had a key: steering, and all else that devices and server say.

use backstay_core::Effect;
use backstay_model::{
    Beat, BootId, CohortId, DeviceId, Digest, Direction, Event, Hardware, Health, Mono, PluginReport, Report,
    SchemaRange, Standing, Steer, UnixMs, WayHome,
};
use backstay_test_stories::release;
use backstay_trust::{
    Audience, DeviceKind, EnrolRequest, Enrolment, Listener, OrderKind, ProductRelease, Stamp,
    VerifiedEnrolRequest, sign_order, sign_word, verify_word,
};
use backstay_wire::{LogBatch, Presence, Receipt, decode, encode};
use serde::Deserialize;

use super::{Damage, Verdict};
use crate::{Keys, Target, cohort, fleet, fleet_called, signed, steer};

/// A message on the steering topic of the cohort `canary`, heard by a device that goes by generation 5.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Steering {
    /// Whose key signs it.
    signer: String,
    /// It is signed as steering of `product` or `plugins`.
    kind: String,
    /// The fleet that it is addressed to.
    fleet: String,
    /// The cohort that it is addressed to.
    cohort: String,
    /// The cohort that it speaks of.
    speaks_of: String,
    /// The device that it is addressed to.
    device: Option<String>,
    /// Its generation.
    generation: u64,
    /// The sequence of its envelope, if it is another.
    sequence: Option<u64>,
    /// What it brings.
    version: String,
    /// It has expired by the time that the server attests.
    expired: bool,
    /// What is signed instead: `beat`, `nothing`, `noise`.
    payload: Option<String>,
    /// What is sent instead, as text.
    raw: Option<String>,
    /// What is done to it.
    damage: Vec<Damage>,
}

impl Default for Steering {
    fn default() -> Self {
        Self {
            signer: "director".into(),
            kind: "product".into(),
            fleet: "pumps".into(),
            cohort: "canary".into(),
            speaks_of: "canary".into(),
            device: None,
            generation: 6,
            sequence: None,
            version: "1.5.0".into(),
            expired: false,
            payload: None,
            raw: None,
            damage: vec![],
        }
    }
}

impl Steering {
    pub(super) fn tried(&self) -> Verdict {
        let keys = Keys::new();
        let mut device = Target::new();
        device.hears(&signed(&keys, &Steer { direction: Direction::Hold, ..steer(5, "1.5.0") }, None));
        device.events.clear();
        if self.expired {
            device.attests(UnixMs(5_000));
        }
        let before = device.stands();
        let done = device.hears(&self.message(&keys));
        match device.events.as_slice() {
            [Event::Refused(refused)] => {
                assert_eq!(done, [], "it was refused and something was done");
                assert_eq!(device.stands(), before, "it was refused and something has changed");
                Verdict::word(refused.why.clone())
            }
            // Taken for what it is, and nothing begins: what has expired moves nothing forward.
            [Event::Steered { .. }] if !done.iter().any(|effect| matches!(effect, Effect::Vet { .. })) => {
                assert_eq!(device.stands().order, before.order);
                Verdict::word("it is noted, and nothing begins because of it")
            }
            events => Verdict::Accepted(format!("{events:?}")),
        }
    }

    fn message(&self, keys: &Keys) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.as_bytes().to_vec();
        }
        let (fleet, cohort) = (fleet_called(&self.fleet), CohortId::parse(&self.cohort).unwrap());
        let audience = match &self.device {
            Some(device) => Audience::Device(fleet, DeviceId::parse(device).unwrap()),
            None => Audience::Cohort(fleet, cohort),
        };
        let said = Steer {
            cohort: CohortId::parse(&self.speaks_of).unwrap(),
            direction: Direction::Forward,
            ..steer(self.generation, &self.version)
        };
        let payload = match self.payload.as_deref() {
            None => encode(&said).unwrap(),
            Some("beat") => encode(&Beat { nonce: 1, count: 1, health: Health::Good }).unwrap(),
            Some("nothing") => vec![],
            Some(_) => vec![0xa5; 64],
        };
        let stamp = Stamp {
            sequence: self.sequence.unwrap_or(self.generation),
            issued: UnixMs(1_000),
            expires: self.expired.then_some(UnixMs(5_000)),
        };
        let kind = if self.kind == "plugins" { OrderKind::SteerPlugins } else { OrderKind::SteerProduct };
        let mut message = sign_order(keys.called(&self.signer), kind, audience, stamp, &payload).unwrap();
        Damage::all(&self.damage, &mut message);
        message
    }
}

/// Something else that is signed: which, and what about it isn't as it should be.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Word {
    /// `state`, `presence`, `log`, `receipt`, `enrol-request`, `enrolment` or `product-release`.
    what: String,
    /// Whose key signs it, if not the right one.
    signer: Option<String>,
    /// The fleet that it is for.
    fleet: String,
    /// The device that it is of, or for.
    device: String,
    /// The key of the device that is enrolled is that of somebody else.
    other_key: bool,
    /// It is signed as another kind: `state`, `presence`, `log`.
    signed_as: Option<String>,
    /// What is signed is a beat.
    beat: bool,
    /// A product release that comes for a machine other than this, with its own digest as a way home, ...
    says: Option<String>,
    /// What is done to it.
    damage: Vec<Damage>,
}

impl Default for Word {
    fn default() -> Self {
        Self {
            what: "state".into(),
            signer: None,
            fleet: "pumps".into(),
            device: "pump-7".into(),
            other_key: false,
            signed_as: None,
            beat: false,
            says: None,
            damage: vec![],
        }
    }
}

impl Word {
    pub(super) fn honest(&self) -> Self {
        Self { what: self.what.clone(), ..Self::default() }
    }

    pub(super) fn tried(&self) -> Verdict {
        let keys = Keys::new();
        let result = match self.what.as_str() {
            "state" => self.device_says(&keys, DeviceKind::State),
            "plugins" => self.device_says(&keys, DeviceKind::Plugins),
            "presence" => self.device_says(&keys, DeviceKind::Presence),
            "log" => self.device_says(&keys, DeviceKind::Log),
            "receipt" => self.receipt(&keys),
            "enrol-request" => self.enrol_request(&keys),
            "enrolment" => self.enrolment(&keys),
            "product-release" => self.product_release(&keys),
            what => panic!("there is no word {what}"),
        };
        result.unwrap_or_else(|refused| refused)
    }

    fn device_says(&self, keys: &Keys, kind: DeviceKind) -> Result<Verdict, Verdict> {
        let payload = match kind {
            _ if self.beat => encode(&Beat { nonce: 1, count: 1, health: Health::Good }),
            DeviceKind::State => encode(&report()),
            DeviceKind::Plugins => encode(&plugin_report()),
            DeviceKind::Presence => encode(&Presence { online: true, nonce: 4, at: Mono(9) }),
            DeviceKind::Log => encode(&LogBatch { epoch: 1, first: 1, count: 1, records: vec![7; 60] }),
        };
        let signed_as = match self.signed_as.as_deref() {
            Some("presence") => DeviceKind::Presence,
            Some("log") => DeviceKind::Log,
            Some("state") => DeviceKind::State,
            Some("plugins") => DeviceKind::Plugins,
            Some(_) | None => kind,
        };
        let device = DeviceId::parse(&self.device).unwrap();
        let key = self.key(keys, "stranger");
        let mut word =
            sign_word(key, signed_as, fleet_called(&self.fleet), device, stamp(), &payload.unwrap()).unwrap();
        Damage::all(&self.damage, &mut word);
        // Enrolled is pump-7, with the key that nobody trusts with anything else.
        let known = if self.other_key { &keys.other_vendor } else { &keys.stranger };
        let enrolled = DeviceId::parse("pump-7").unwrap();
        let word = verify_word(&word, kind, &fleet(), &enrolled, &known.public())
            .map_err(|refused| Verdict::of(&refused, refused.help()))?;
        let told = match kind {
            DeviceKind::State => decode::<Report>(word.payload(), usize::MAX).map(|told| format!("{told:?}")),
            DeviceKind::Plugins => {
                decode::<PluginReport>(word.payload(), usize::MAX).map(|told| format!("{told:?}"))
            }
            DeviceKind::Presence => {
                decode::<Presence>(word.payload(), usize::MAX).map(|told| format!("{told:?}"))
            }
            DeviceKind::Log => decode::<LogBatch>(word.payload(), usize::MAX).map(|told| format!("{told:?}")),
        };
        told.map(Verdict::Accepted).map_err(|why| Verdict::of(&why, why.help()))
    }

    fn receipt(&self, keys: &Keys) -> Result<Verdict, Verdict> {
        let receipt = Receipt { epoch: 1, seq: 9, head: Digest([3; 32]) };
        let device = DeviceId::parse(&self.device).unwrap();
        let audience = Audience::Device(fleet_called(&self.fleet), device);
        let payload = encode(&receipt).unwrap();
        let mut word =
            sign_order(self.key(keys, "director"), OrderKind::Receipt, audience, stamp(), &payload).unwrap();
        Damage::all(&self.damage, &mut word);
        let (cohort, device) = (cohort(), DeviceId::parse("pump-7").unwrap());
        let listener = Listener { cohort: Some(&cohort), device: Some(&device) };
        let order = keys
            .keyring
            .verify_order(&word, OrderKind::Receipt, listener, None)
            .map_err(|refused| Verdict::of(&refused, refused.help()))?;
        decode::<Receipt>(order.payload(), usize::MAX)
            .map(|told| Verdict::Accepted(format!("{told:?}")))
            .map_err(|why| Verdict::of(&why, why.help()))
    }

    fn enrol_request(&self, keys: &Keys) -> Result<Verdict, Verdict> {
        let key = self.key(keys, "stranger");
        let hardware = Hardware::parse("pump-2").unwrap();
        let mut request = EnrolRequest::sign(key, fleet_called(&self.fleet), hardware, 5, None).unwrap();
        Damage::all(&self.damage, &mut request);
        VerifiedEnrolRequest::verify(&request, &fleet())
            .map(|request| Verdict::Accepted(request.key().id().to_string()))
            .map_err(|refused| Verdict::of(&refused, refused.help()))
    }

    fn enrolment(&self, keys: &Keys) -> Result<Verdict, Verdict> {
        let enrolment = Enrolment {
            device: DeviceId::parse(&self.device).unwrap(),
            key: keys.stranger.public().id(),
            cohort: cohort(),
            labels: vec![],
        };
        let mut word =
            enrolment.sign(self.key(keys, "director"), fleet_called(&self.fleet), stamp()).unwrap();
        Damage::all(&self.damage, &mut word);
        let own = if self.other_key { &keys.other_vendor } else { &keys.stranger };
        keys.keyring
            .verify_enrolment(&word, &own.public().id())
            .map(|enrolment| Verdict::Accepted(enrolment.enrolment().device.to_string()))
            .map_err(|refused| Verdict::of(&refused, refused.help()))
    }

    fn product_release(&self, keys: &Keys) -> Result<Verdict, Verdict> {
        let said = release("1.5.0");
        let mut product = ProductRelease {
            hardware: vec![Hardware::parse("pump-2").unwrap()],
            schemas: SchemaRange { from: 1, to: 3 },
            home: WayHome(vec![release("1.4.0").digest]),
            release: said.clone(),
        };
        match self.says.as_deref() {
            Some("home-is-itself") => product.home = WayHome(vec![said.digest]),
            Some("no-hardware") => product.hardware.clear(),
            Some("schemas-backwards") => product.schemas = SchemaRange { from: 3, to: 1 },
            Some(says) => panic!("a release can't say {says}"),
            None => {}
        }
        let signed = product.sign(self.key(keys, "product"), fleet_called(&self.fleet), stamp());
        let mut word = signed.map_err(|why| Verdict::of(&why, why.help()))?;
        Damage::all(&self.damage, &mut word);
        keys.keyring
            .verify_release(&word, None)
            .map(|release| Verdict::Accepted(release.release().version.to_string()))
            .map_err(|refused| Verdict::of(&refused, refused.help()))
    }

    fn key<'a>(&self, keys: &'a Keys, right: &str) -> &'a backstay_trust::SecretKey {
        keys.called(self.signer.as_deref().unwrap_or(right))
    }
}

fn stamp() -> Stamp {
    Stamp { sequence: 3, issued: UnixMs(1_000), expires: None }
}

fn plugin_report() -> PluginReport {
    let Report {
        sequence, at, boot, cohort, steered, booted, confirmed, standing, condemned, journal, ..
    } = report();
    let (runs, trusted, compared) = (Some(booted), Some(confirmed), None);
    PluginReport {
        sequence,
        at,
        boot,
        cohort,
        steered,
        runs,
        trusted,
        standing,
        condemned,
        compared,
        journal,
    }
}

fn report() -> Report {
    Report {
        sequence: 3,
        at: Mono(9),
        boot: BootId(1),
        cohort: cohort(),
        steered: None,
        booted: release("1.4.0"),
        confirmed: release("1.4.0"),
        standing: Standing::Settled,
        health: Health::Good,
        condemned: vec![],
        journal: 4,
    }
}
