//! The hot paths, each walked as often as it is told: what a device does after every window, the server for every report, and
//! both for every message and every record.
//!
//! Each checks that it did what it is there for: a path that leads nowhere is quick. Not here: counting (`callgrind`).

use std::hint::black_box;

use backstay_core::{
    Allowance, Backoff, Cohort, CohortEffect, CohortInput, Contact, Device, DeviceSettings, Effect, Identity,
    Input, Plan, Reply, Rollout, Rung, Watched,
};
use backstay_journal::{Folder, Journal, Ledger as _, Options};
use backstay_model::{
    Action, BootId, CohortId, Decision, DeviceId, Digest, FleetId, Hardware, Health, Label, Millis, Mono,
    Name, Reading, Reason, Release, Report, RolloutId, SchemaRange, Scope, Selector, SlotStatus, Standing,
    UnixMs, Version, WayHome,
};
use backstay_trust::{Keyring, KeyringParts, ProductRelease, Role, SecretKey, Stamp, Statement};
use backstay_wire::{decode, encode};

use crate::Failure;

/// One hot path.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// How often it is walked at first: often enough that a step out of line is one of many.
    pub(crate) times: u64,
    pub(crate) walk: fn(u64) -> Result<(), Failure>,
}

/// All of them.
pub(crate) const PATHS: &[Path] = &[
    Path { name: "decision", times: 1000, walk: decision },
    Path { name: "report", times: 1000, walk: report },
    Path { name: "statement", times: 20, walk: statement },
    Path { name: "record", times: 200, walk: record },
    Path { name: "envelope", times: 1000, walk: envelope },
    Path { name: "body", times: 1000, walk: body },
];

/// Devices of the cohort that reports come from.
const DEVICES: usize = 1000;

fn name(text: &str) -> Result<Name, Failure> {
    Ok(Name::parse(text)?)
}

fn release(version: &str, digest: u8) -> Result<Release, Failure> {
    let version = Version::parse(version)?;
    Ok(Release { version, digest: Digest([digest; 32]), length: 1000, security_epoch: 1 })
}

fn proceed() -> Decision {
    Decision { action: Action::Proceed, reasons: vec![Reason::new("all objectives hold".into())] }
}

fn settings() -> Result<DeviceSettings, Failure> {
    Ok(DeviceSettings {
        hardware: Hardware::parse("pump-arm64")?,
        watched: vec![
            Watched { name: name("http")?, critical: true, scope: Scope::Local },
            Watched { name: name("uplink")?, critical: true, scope: Scope::Dependency },
        ],
        window: Millis::from_secs(10),
        trial: Millis::from_secs(60),
        trial_limit: Millis::from_secs(300),
        run_limit: Millis::from_secs(600),
        ladder: vec![Rung { playbook: name("restart")?, attempts: 3 }],
        heal_backoff: Backoff { base: Millis::from_secs(5), cap: Millis::from_secs(60) },
        cured_after: 3,
        retry_backoff: Backoff { base: Millis::from_secs(20), cap: Millis::from_secs(300) },
        retries: 3,
        allowance: Allowance { switches: 4, span: Millis::from_secs(24 * 3600) },
        startup: Millis(0),
        leave_jitter: Millis::from_secs(30),
        second_after: None,
    })
}

/// A device that is well closes one window after the other: two probes, the question, the answer.
fn decision(times: u64) -> Result<(), Failure> {
    let on = release("1.4.0", 4)?;
    let slots = SlotStatus { booted: on.clone(), confirmed: on, other: None, trying: None };
    let (window, mut now) = (settings()?.window, Mono(0));
    let mut device = Device::new(settings()?, now, &slots, 42);
    device.step(now, Input::Up { boot: BootId(1), slots });
    device.step(
        now,
        Input::Enrolled(Identity {
            device: DeviceId::parse("pump-7")?,
            cohort: CohortId::parse("canary")?,
            labels: vec![Label::parse("site=basel")?],
        }),
    );
    let (http, uplink, mut asked) = (name("http")?, name("uplink")?, 0);
    for _ in 0..times {
        for probe in [&http, &uplink] {
            let reading = Input::Reading { probe: probe.clone(), reading: Reading::Passed };
            black_box(device.step(now, reading));
        }
        now = now.after(window);
        for effect in device.step(now, Input::Tick) {
            if let Effect::Ask { ticket, .. } = effect {
                asked += 1;
                black_box(device.step(now, Input::Answered { ticket, decision: proceed() }));
            }
        }
    }
    if asked != times {
        return Err(format!("{times} windows asked {asked} times").into());
    }
    Ok(())
}

/// A cohort in the middle of a rollout hears one device after the other, and judges when a window is over.
fn report(times: u64) -> Result<(), Failure> {
    let (canary, new) = (CohortId::parse("canary")?, release("1.5.0", 5)?);
    let mut cohort = Cohort::new(canary.clone());
    let devices: Vec<_> =
        (0..DEVICES).map(|n| DeviceId::parse(&format!("pump-{n}"))).collect::<Result<_, _>>()?;
    let mut now = Mono(1000);
    for device in &devices {
        cohort.step(now, CohortInput::Enrolled { device: device.clone(), labels: Vec::new() });
        let contact = Contact::Online;
        cohort.step(now, CohortInput::Presence { device: device.clone(), nonce: 1, began: now, contact });
    }
    let rollout = Rollout {
        rollout: RolloutId::parse("r-1")?,
        release: new.clone(),
        back: Some(release("1.4.0", 4)?),
        selector: Selector::All,
        policies: Vec::new(),
        plan: Plan::default(),
    };
    cohort.step(now, CohortInput::Start { who: name("ann")?, rollout });
    let steer = cohort.helm().steer().ok_or("the rollout did not start")?;
    let (mut heard, mut turned) = (0, 0);
    for n in 0..times {
        now = now.after(Millis(1000));
        let said = Report {
            sequence: n + 1,
            at: now,
            boot: BootId(1),
            cohort: canary.clone(),
            steered: Some((steer.rollout.clone(), steer.generation)),
            booted: new.clone(),
            confirmed: new.clone(),
            standing: Standing::Settled,
            health: Health::Good,
            condemned: Vec::new(),
            journal: 0,
        };
        let device = devices[usize::try_from(n)? % DEVICES].clone();
        let mut inputs = vec![CohortInput::Report { device, report: said, labels: Vec::new() }];
        if cohort.deadline().is_some_and(|at| at <= now) {
            inputs.push(CohortInput::Tick);
        }
        while let Some(input) = inputs.pop() {
            heard += u64::from(matches!(input, CohortInput::Report { .. }));
            let effects = cohort.step(now, input);
            turned += effects.len();
            for effect in effects {
                if let CohortEffect::Ask { ticket, .. } = effect {
                    inputs.push(CohortInput::Policy { ticket, reply: Reply::Decided(proceed()) });
                }
            }
        }
    }
    if heard != times || turned == 0 {
        return Err(format!("of {times} reports {heard} were heard, and nothing came of them").into());
    }
    Ok(())
}

/// What the release keys say of a release, signed, and whom a device trusts.
fn signed() -> Result<(Keyring, Vec<u8>), Failure> {
    let key = |seed| SecretKey::from_random(&[seed; 32]);
    let role = |seed| Role::of(key(seed).public());
    let fleet = FleetId::parse("pumps")?;
    let keyring = Keyring::new(KeyringParts::first(fleet.clone(), role(1), role(2), role(3)))?;
    let product = ProductRelease {
        release: release("1.5.0", 5)?,
        hardware: vec![Hardware::parse("pump-arm64")?],
        schemas: SchemaRange { from: 1, to: 1 },
        home: WayHome(vec![Digest([4; 32])]),
    };
    let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
    let signed = product.sign(&key(2), fleet, stamp)?;
    Ok((keyring, signed))
}

/// A signature is checked, and what it is under is read.
fn statement(times: u64) -> Result<(), Failure> {
    let (keyring, signed) = signed()?;
    for _ in 0..times {
        black_box(keyring.verify_release(black_box(&signed), None)?);
    }
    Ok(())
}

/// A record goes into the journal, and is made durable. What the disk does isn't counted.
fn record(times: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let options = Options { bytes_max: 64 << 20, ..Options::new("instructions") };
    let (mut journal, _) = Journal::open(Folder::take(folder.path())?, options, |_, _| Vec::new())?;
    for _ in 0..times {
        journal.append(&[0x5A; 232])?;
        black_box(journal.commit()?);
    }
    Ok(())
}

/// A statement is taken apart, and nothing of it believed yet.
fn envelope(times: u64) -> Result<(), Failure> {
    let (_, signed) = signed()?;
    for _ in 0..times {
        black_box(Statement::read(black_box(&signed))?);
    }
    Ok(())
}

/// What a device says where it stands is read.
fn body(times: u64) -> Result<(), Failure> {
    let said = Report {
        sequence: 7,
        at: Mono(70_000),
        boot: BootId(3),
        cohort: CohortId::parse("canary")?,
        steered: None,
        booted: release("1.5.0", 5)?,
        confirmed: release("1.4.0", 4)?,
        standing: Standing::OnTrial,
        health: Health::Good,
        condemned: vec![Digest([6; 32])],
        journal: 41,
    };
    let bytes = encode(&said)?;
    for _ in 0..times {
        let read: Report = decode(black_box(&bytes), usize::MAX)?;
        if black_box(read).sequence != said.sequence {
            return Err("a report was read as another one".into());
        }
    }
    Ok(())
}
