//! A server without sockets, for stories: real keys, register, archive and journal; time, broker and devices are the
//! story's.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs,
    path::Path,
    rc::Rc,
};

use backstay_api::{ApiError, Call, EnrolAnswer, Reply, Shelf, StartRollout};
use backstay_core::{Bench, Confidence, Move, Plan, Terms};
use backstay_evidence::{Chain, Frame, Head, Place, Record};
use backstay_link::{Happening, Message, Outgoing};
use backstay_memory::{Durability, Memory, Options, Step, Trusted};
use backstay_model::{
    Action, Beat, BootId, CohortId, Decision, DeviceId, Digest, Event, Facts, FleetId, Handover,
    HandoverStep, Hardware, Health, Millis, Mono, Name, Permille, PluginId, Reason, Release, Report,
    SchemaRange, Standing, Steer, Ticket, UnixMs, Version, WayHome,
};
use backstay_plugins::{Asked, Consulted, Memos};
use backstay_trust::{
    DeviceKind, EnrolRequest, EnrolToken, Enrolment, Keyring, KeyringParts, Listener, OrderKind,
    ProductRelease, Role, SecretKey, Stamp, Vendor, VerifiedOrder, sign_word,
};
use backstay_wire::{
    Body, DeviceOrder, Entry, Leaf, LogBatch, Presence, Receipt, Topic, TopicKind, decode, encode,
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{
    archive::Archive,
    bundles::Bundles,
    catalogue::Catalogue,
    clock::Now,
    diary::Diary,
    director::Director,
    floors::Floors,
    judge::Ask,
    kept::Keeper,
    register::Register,
    server::{Parts, Server, degraded},
};

/// A release's artifact is its version's text.
pub(super) const OLD: &str = "1.0.0";
pub(super) const NEW: &str = "2.0.0";

/// A diary on a disk that can be taken away.
pub(super) struct Paper {
    memory: Memory,
    disk: Rc<Cell<Disk>>,
    /// Every event, in the order in which it became durable.
    written: Rc<RefCell<Vec<Event>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    Good,
    Full,
}

impl Diary for Paper {
    fn record(&mut self, at: Mono, events: &[Event], snapshot: Option<Vec<u8>>) -> Durability {
        if self.disk.get() == Disk::Full {
            return Durability::Degraded("the disk is full".into());
        }
        let durability = Diary::record(&mut self.memory, at, events, snapshot);
        self.written.borrow_mut().extend_from_slice(events);
        durability
    }

    fn after(&self, seq: u64, most: usize) -> Vec<(u64, Entry)> {
        self.memory.after(seq, most)
    }

    fn steps(&self, ticket: Ticket) -> Vec<Step> {
        Diary::steps(&self.memory, ticket)
    }
}

/// A policy that says the same to everything.
pub(super) struct Says {
    action: Action,
    /// The grants of the plugins that are said to be loaded.
    loaded: Vec<Digest>,
}

impl Ask for Says {
    fn ask(&mut self, _: Mono, _: &Facts, _: &mut Confidence) -> Asked {
        let reasons = vec![Reason::new("the story says so".into())];
        Asked { answer: Ok(Decision { action: self.action.clone(), reasons }), events: Vec::new() }
    }

    fn seat(&self, _: &mut Confidence) -> Option<Event> {
        None
    }

    fn has(&self, grant: &Digest) -> bool {
        self.loaded.contains(grant)
    }

    fn equipped(&self) -> Vec<Event> {
        Vec::new()
    }

    fn consulted(&mut self) -> Option<Consulted> {
        None
    }

    fn exchange(&mut self, _: Memos) -> Memos {
        Memos::default()
    }

    fn heed(&mut self, _: &Keyring) -> Vec<Event> {
        Vec::new()
    }
}

/// A device of the story: it says what it is told to say, and signs it.
#[derive(Clone)]
pub(super) struct Pump {
    pub(super) key: SecretKey,
    pub(super) id: DeviceId,
    cohort: CohortId,
    sequence: u64,
    journal: Head,
}

pub(super) struct World {
    dir: TempDir,
    now: Mono,
    server: Option<Server<Paper, Says>>,
    /// The grants of the policies that are loaded at the next start.
    pub(super) loaded: Vec<Digest>,
    pub(super) disk: Rc<Cell<Disk>>,
    pub(super) written: Rc<RefCell<Vec<Event>>>,
    pub(super) pumps: BTreeMap<String, Pump>,
    /// What the broker retains.
    pub(super) broker: BTreeMap<String, Vec<u8>>,
    /// Everything that was published, in order.
    pub(super) published: Vec<Outgoing>,
}

fn put(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&to).unwrap();
            put(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

pub(super) fn key(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

/// Who calls, where it doesn't matter who.
pub(super) fn ann() -> Name {
    Name::parse("ann").unwrap()
}

pub(super) fn fleet() -> FleetId {
    FleetId::parse("pumps").unwrap()
}

pub(super) fn keyring() -> Keyring {
    let role = |seed| Role::of(key(seed).public());
    let first = KeyringParts::first(fleet(), role(1), role(2), role(3));
    let vendors = vec![Vendor { prefix: Name::parse("acme").unwrap(), role: role(16) }];
    Keyring::new(KeyringParts { root: role(4), revoker: role(5), vendors, ..first }).unwrap()
}

pub(super) fn digest(text: &str) -> Digest {
    Digest(Sha256::digest(text.as_bytes()).into())
}

pub(super) fn release(version: &str) -> Release {
    Release {
        version: Version::parse(version).unwrap(),
        digest: digest(version),
        length: version.len() as u64,
        security_epoch: 0,
    }
}

/// What the release keys say of a release.
pub(super) fn statement(version: &str) -> Vec<u8> {
    let home = WayHome(if version == OLD { vec![] } else { vec![digest(OLD)] });
    let (hardware, schemas) = (vec![Hardware::parse("pump").unwrap()], SchemaRange { from: 1, to: 1 });
    let product = ProductRelease { release: release(version), hardware, schemas, home };
    product.sign(&key(2), fleet(), Stamp { sequence: 1, issued: UnixMs(1), expires: None }).unwrap()
}

pub(super) fn cohort(name: &str) -> CohortId {
    CohortId::parse(name).unwrap()
}

/// One wave of everybody, windows of 10 s.
fn plan() -> Plan {
    Plan {
        waves: vec![Permille::new(500).unwrap(), Permille::ALL],
        devices_min: 1,
        good_windows: 1,
        window: Millis::from_secs(10),
        failures_max: 0,
        silent_max: Permille::ALL,
        thaw_windows: 0,
        ..Plan::default()
    }
}

impl World {
    /// A server on its first day, connected.
    pub(super) fn new() -> Self {
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            now: Mono(0),
            server: None,
            loaded: Vec::new(),
            disk: Rc::new(Cell::new(Disk::Good)),
            written: Rc::default(),
            pumps: BTreeMap::new(),
            broker: BTreeMap::new(),
            published: Vec::new(),
        };
        world.starts();
        world.connects();
        world
    }

    /// Starts the server on what is on the disk.
    pub(super) fn starts(&mut self) {
        let path = |name: &str| self.dir.path().join(name);
        let options = Options { instance: "server".into(), bytes_max: 4 << 20 };
        let (memory, recalled) = Memory::open(self.dir.path(), options).unwrap();
        let mut keeper = Keeper::open(&path("beside")).unwrap();
        let (kept, lost) = recalled.snapshot.as_deref().map(|bytes| keeper.read(bytes)).unwrap_or_default();
        let (statements, artifacts) =
            (Shelf::open(path("statements")).unwrap(), Shelf::open(path("artifacts")).unwrap());
        let (trusted, _) = Trusted::open(keyring(), self.dir.path());
        let (catalogue, left_out) = Catalogue::open(statements, artifacts, &trusted.keyring());
        let (plugins, artifacts) =
            (Shelf::open(path("plugins")).unwrap(), Shelf::open(path("artifacts")).unwrap());
        let (bundles, not_granted) = Bundles::open(plugins, artifacts, &trusted.keyring());
        let odd = lost.into_iter().chain(left_out).chain(not_granted).map(degraded);
        let parts = Parts {
            director: Director::new(trusted.keyring(), key(3), Millis::from_secs(3600)).unwrap(),
            plan: plan(),
            refresh_every: Millis::from_secs(900),
            diary: Paper { memory, disk: Rc::clone(&self.disk), written: Rc::clone(&self.written) },
            judge: Says { action: Action::Proceed, loaded: self.loaded.clone() },
            seed: 7,
            register: Register::open(&path("register")).unwrap(),
            archive: Archive::open(&path("archive")).unwrap(),
            catalogue,
            keeper,
            floors: Floors::open(&path("reports")).0,
            plugin_floors: Floors::open(&path("plugin-reports")).0,
            bundles,
            trusted,
            verdicts: None,
        };
        let odd = recalled.findings.into_iter().chain(odd).collect();
        self.now = self.now.max(recalled.clock);
        self.server = Some(Server::new(parts, kept, odd, self.time()));
    }

    /// A copy of all that the server has on its disk.
    pub(super) fn copies(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        put(self.dir.path(), copy.path());
        copy
    }

    /// The process is killed, and its disk is as it was when the copy was made.
    pub(super) fn is_brought_back(&mut self, copy: &TempDir) {
        self.kills();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        put(copy.path(), self.dir.path());
    }

    /// The process is killed: what is in memory is gone.
    pub(super) fn kills(&mut self) {
        self.server = None;
    }

    /// The process is asked to stop.
    pub(super) fn stops(&mut self) {
        self.server().note_floors();
        self.kills();
    }

    /// The folder that everything is in.
    pub(super) fn state(&self) -> &Path {
        self.dir.path()
    }

    fn time(&self) -> Now {
        Now { mono: self.now, unix: UnixMs(1_800_000_000_000 + self.now.0) }
    }

    pub(super) fn server(&mut self) -> &mut Server<Paper, Says> {
        self.server.as_mut().unwrap()
    }

    /// Does something with the server, and takes what goes out to the broker.
    pub(super) fn does<T>(&mut self, what: impl FnOnce(&mut Server<Paper, Says>, Now) -> T) -> T {
        let now = self.time();
        let done = what(self.server.as_mut().unwrap(), now);
        for outgoing in self.server().outgoing() {
            if outgoing.retain {
                self.broker.insert(outgoing.topic.clone(), outgoing.payload.to_vec());
            }
            self.published.push(outgoing);
        }
        done
    }

    /// A policy fails until it is out, and that is written down.
    pub(super) fn fails(&mut self, grant: Digest) {
        self.does(|server, now| {
            let strikes = (0..3).filter_map(|_| server.confidence.quarantine.strike(now.mono, grant)).last();
            let (plugin, why) = (PluginId::parse("acme/failing").unwrap(), "it trapped".into());
            server.record(now, &[Event::Quarantined { plugin, grant, strikes: strikes.unwrap(), why }]);
        });
    }

    /// A policy begins to take over from another.
    pub(super) fn shadows(&mut self, grant: Digest) {
        self.does(|server, _| {
            let Confidence { quarantine, succession } = &mut server.confidence;
            let bench = Bench { candidate: Some(&grant), proven: &[Digest([1; 32])] };
            succession.seat(bench, &Terms::default(), quarantine).unwrap();
        });
    }

    /// It is sent back because it is out, or because it takes the process with it, and that is written down.
    pub(super) fn sends_back(&mut self, grant: Digest) {
        self.does(|server, now| {
            let Confidence { quarantine, succession } = &mut server.confidence;
            let moved = match quarantine.is_out(&grant) {
                true => succession.heard(&Terms::default(), Some(&Action::Proceed), None, quarantine).pop(),
                false => succession.brought_down(&grant),
            };
            let Some(Move::Refused { why, back_to, was_deciding, .. }) = moved else {
                panic!("it was to take over: {moved:?}")
            };
            let step = HandoverStep::Refused { back_to, was_deciding, why: why.to_string() };
            let (plugin, version) =
                (PluginId::parse("acme/taking-over").unwrap(), Version::parse("0.2.0").unwrap());
            server.record(now, &[Event::Handover(Handover { plugin, version, grant, step })]);
        });
    }

    /// A connection: everything retained comes, and a second later the server speaks.
    pub(super) fn connects(&mut self) {
        self.does(|server, now| server.happened(now, Happening::Connected));
        for (topic, payload) in self.broker.clone() {
            self.brings(&topic, payload);
        }
        self.waits_secs(1);
    }

    /// Time passes, and everything that is due happens at its moment.
    pub(super) fn waits_secs(&mut self, secs: u64) {
        let until = self.now.after(Millis::from_secs(secs));
        loop {
            let next = self.server().deadline();
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            self.does(|server, now| server.tick(now));
            assert!(self.server().deadline() > self.now, "what was due is due again at once");
        }
        self.now = until;
    }

    /// The broker brings a message.
    pub(super) fn brings(&mut self, topic: &str, payload: Vec<u8>) {
        let message = Message { topic: topic.into(), payload: payload.into(), retained: false };
        self.does(|server, now| server.happened(now, Happening::Message(message)));
    }

    /// Calls the API.
    pub(super) fn calls<T>(&mut self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, ApiError> {
        let (reply, mut answer) = oneshot::channel();
        self.does(|server, now| server.call(now, call(reply)));
        answer.try_recv().unwrap()
    }

    /// Makes a device and enrols it with a token.
    pub(super) fn enrols(&mut self, name: &str, into: &str) -> Enrolment {
        let id = DeviceId::parse(name).unwrap();
        let answer = EnrolAnswer { device: id.clone(), cohort: cohort(into), labels: vec![] };
        let minted = self.calls(|reply| Call::Mint(ann(), answer, reply)).unwrap();
        let key = SecretKey::from_random(digest(name).0.first_chunk().unwrap());
        let token = EnrolToken::parse(&minted.token).unwrap();
        let hardware = Hardware::parse("pump").unwrap();
        let request = EnrolRequest::sign(&key, fleet(), hardware, 7, Some(&token)).unwrap();
        let signed = self.calls(|reply| Call::Enrol(request, reply)).unwrap().unwrap();
        let enrolment = keyring().verify_enrolment(&signed, &key.id()).unwrap().enrolment().clone();
        let journal = Chain::new(&key.id().0.to_string()).genesis();
        self.pumps.insert(name.into(), Pump { key, id, cohort: cohort(into), sequence: 0, journal });
        enrolment
    }

    /// Publishes a release with its artifact.
    pub(super) fn publishes(&mut self, version: &str) {
        let shelf = Shelf::open(self.state().join("artifacts")).unwrap();
        shelf.put(&digest(version), version.as_bytes()).unwrap();
        self.calls(|reply| Call::Publish(ann(), statement(version), reply)).unwrap();
    }

    /// Starts a rollout.
    pub(super) fn pushes(&mut self, into: &str, version: &str) -> Result<backstay_api::Started, ApiError> {
        self.pushes_with(into, version, None)
    }

    /// The same with a way back that was named.
    pub(super) fn pushes_with(
        &mut self,
        into: &str,
        version: &str,
        back: Option<&str>,
    ) -> Result<backstay_api::Started, ApiError> {
        let request = StartRollout {
            cohort: cohort(into),
            plugin: None,
            version: Version::parse(version).unwrap(),
            rollout: None,
            back: back.map(|version| Version::parse(version).unwrap()),
            labels: None,
            plan: Default::default(),
        };
        self.calls(|reply| Call::Start(ann(), request, reply))
    }

    /// A device says where it stands. The broker keeps it.
    pub(super) fn reports(&mut self, name: &str, booted: &str, confirmed: &str, standing: Standing) {
        let steered = self.steer("canary").map(|steer| (steer.rollout, steer.generation));
        let pump = self.pumps.get_mut(name).unwrap();
        pump.sequence += 1;
        let report = Report {
            sequence: pump.sequence,
            at: Mono(pump.sequence),
            boot: BootId(1),
            cohort: pump.cohort.clone(),
            steered,
            booted: release(booted),
            confirmed: release(confirmed),
            standing,
            health: Health::Good,
            condemned: if booted == OLD && standing == Standing::GoingHome {
                vec![digest(NEW)]
            } else {
                vec![]
            },
            journal: 0,
        };
        let (topic, payload) = pump.signs(Leaf::State, DeviceKind::State, pump.sequence, &report);
        self.broker.insert(topic.clone(), payload.clone());
        self.brings(&topic, payload);
    }

    /// A device is there.
    pub(super) fn greets(&mut self, name: &str) {
        let presence = Presence { online: true, nonce: 5, at: Mono(1) };
        let (topic, payload) = self.pumps[name].signs(Leaf::Presence, DeviceKind::Presence, 1, &presence);
        self.broker.insert(topic.clone(), payload.clone());
        self.brings(&topic, payload);
    }

    /// A device's beat says how it does.
    pub(super) fn feels(&mut self, name: &str, count: u64, health: Health) {
        self.brings(&topic(name, Leaf::Beat), encode(&Beat { nonce: 5, count, health }).unwrap());
    }

    pub(super) fn beats(&mut self, name: &str, count: u64) {
        self.feels(name, count, Health::Good);
    }

    /// A device sends a record of its journal; gives the receipt, if one came.
    pub(super) fn logs(&mut self, name: &str, event: Event) -> Option<Receipt> {
        let (topic, payload) = self.pumps.get_mut(name).unwrap().writes(event);
        self.brings(&topic, payload);
        let receipt = self.published.iter().rev().find(|sent| sent.topic.ends_with("/receipt"))?;
        let device = self.pumps[name].id.clone();
        let listener = Listener { cohort: None, device: Some(&device) };
        Some(read(&keyring().verify_order(&receipt.payload, OrderKind::Receipt, listener, None).unwrap()))
    }

    /// The steering that the broker retains for a cohort, checked as a device does.
    pub(super) fn steer(&self, of: &str) -> Option<Steer> {
        self.order(of).map(|order| read(&order))
    }

    /// The same with its envelope.
    pub(super) fn order(&self, of: &str) -> Option<VerifiedOrder> {
        let bytes = self.broker.get(&format!("backstay/1/pumps/steer/{of}/product"))?;
        let cohort = cohort(of);
        let listener = Listener { cohort: Some(&cohort), device: None };
        Some(keyring().verify_order(bytes, OrderKind::SteerProduct, listener, None).unwrap())
    }

    /// What the broker retains for one device.
    pub(super) fn told(&self, name: &str) -> DeviceOrder {
        let device = &self.pumps[name].id;
        let listener = Listener { cohort: None, device: Some(device) };
        let bytes = &self.broker[&topic(name, Leaf::Order)];
        read(&keyring().verify_order(bytes, OrderKind::DeviceOrder, listener, None).unwrap())
    }

    /// Everything that was refused, as it was written down.
    pub(super) fn refused(&self) -> Vec<(String, String, u32)> {
        let refused = |event: &Event| {
            let Event::Refused(refused) = event else { return None };
            Some((refused.what.clone(), refused.why.clone(), refused.count))
        };
        self.written.borrow().iter().filter_map(refused).collect()
    }
}

impl Pump {
    /// Signs something as this device.
    pub(super) fn signs<T: Body>(
        &self,
        leaf: Leaf,
        kind: DeviceKind,
        sequence: u64,
        body: &T,
    ) -> (String, Vec<u8>) {
        let stamp = Stamp { sequence, issued: UnixMs(0), expires: None };
        let signed =
            sign_word(&self.key, kind, fleet(), self.id.clone(), stamp, &encode(body).unwrap()).unwrap();
        (topic(self.id.as_str(), leaf), signed)
    }

    fn writes(&mut self, event: Event) -> (String, Vec<u8>) {
        let chain = Chain::new(&self.key.id().0.to_string());
        let seq = self.journal.seq + 1;
        let body = encode(&Entry { at: Mono(seq), event, snapshot: None }).unwrap();
        let record = Record { seq, epoch: 1, prev: self.journal.hash, body };
        let frame = Frame { place: Place::First, ..record.frame() };
        let mut records = Vec::new();
        frame.write(&mut records);
        self.journal = chain.head_of(&frame);
        self.signs(Leaf::Log, DeviceKind::Log, seq, &LogBatch { epoch: 1, first: seq, count: 1, records })
    }
}

pub(super) fn topic(device: &str, leaf: Leaf) -> String {
    Topic::Device { fleet: fleet(), device: DeviceId::parse(device).unwrap(), leaf }.to_string()
}

fn read<T: Body>(order: &VerifiedOrder) -> T {
    decode(order.payload(), usize::MAX).unwrap()
}

/// A topic of each kind, and two that are of none.
pub(super) fn topics(device: &str) -> Vec<String> {
    let mut topics: Vec<String> = Leaf::ALL.iter().map(|leaf| topic(device, *leaf)).collect();
    topics.extend(
        ["steer/canary/product", "steer/canary/plugins", "trust"]
            .map(|rest| format!("backstay/1/pumps/{rest}")),
    );
    let kinds: std::collections::BTreeSet<TopicKind> =
        topics.iter().map(|topic| Topic::parse(topic).unwrap().kind()).collect();
    assert_eq!(kinds.len(), TopicKind::ALL.len(), "every kind is there");
    topics.extend(["backstay/1/others/trust".to_owned(), "something/else".to_owned()]);
    topics
}
