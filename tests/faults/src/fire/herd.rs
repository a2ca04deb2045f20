//! Devices of a real fleet that always have something to do: each is ill, mends itself by a command again and again, and records
//! all of it, as a device does that nobody looks after.
//!
//! What ails them is an address that nobody answers at, so all of them are well at once when somebody does. Not here: what has to
//! hold in the end (`account`).

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use backstay_evidence::{Chain, Frame, Record};
use backstay_journal::{Folder, Journal, Ledger as _, Options};
use backstay_test_fleet::{Built, Device, Fleet, Pace, built};
use backstay_trust::SecretKey;

use super::account::{self, Deeds};

/// How long nothing at all may come forward before the run counts as stuck.
const PATIENCE: Duration = Duration::from_secs(180);
/// For so long nothing has to come any more until all counts as said.
const QUIET: Duration = Duration::from_secs(4);
/// So often the rest is waited for when the journals are compared.
const ROUNDS: usize = 4;

/// The fleet, and what ails its devices.
#[derive(Debug)]
pub struct Herd {
    /// Broker, server, and devices.
    pub fleet: Fleet,
    ails: SocketAddr,
    cure: Option<Cure>,
    copies: Vec<Copy>,
    /// How often each device's agent was killed: so many of its effects may have been cut off. None: effects may have failed for
    /// other reasons.
    kills: Vec<Option<usize>>,
}

/// How much all devices came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Records, the same on the device and at the server.
    pub records: u64,
    /// Their bytes.
    pub bytes: usize,
    /// What was done.
    pub deeds: Deeds,
}

/// What a device is like beyond the usual.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Between two looks at what ails it; it mends itself about once in two windows.
    pub window: &'static str,
    /// The most that its journal takes, in KiB. It has to be whole in the end, so it is more than the run comes to.
    pub journal_kib: u64,
}

impl Default for Kind {
    fn default() -> Self {
        Self { window: "200ms", journal_kib: 262_144 }
    }
}

impl Herd {
    /// Starts a broker that keeps what is retained, a server, and so many devices. They are ill at once.
    ///
    /// # Errors
    /// Says what doesn't start.
    pub fn start(dir: &Path, devices: usize, kind: &Kind) -> Result<Self, String> {
        let Built { programs, plugins } = built();
        let pace = Pace { beat: "5s", ..Pace::default() };
        let mut fleet = Fleet::start(dir, &programs, &plugins, pace).map_err(|why| why.to_string())?;
        keep_retained(&mut fleet)?;
        let ails = free_address().map_err(|why| why.to_string())?;
        let mut herd = Self { fleet, ails, cure: None, copies: Vec::new(), kills: vec![Some(0); devices] };
        for n in 1..=devices {
            let mut device = herd.fleet.make(&format!("pump-{n}"), "herd").map_err(|why| why.to_string())?;
            herd.configure(&device, kind).map_err(|why| why.to_string())?;
            device.start().map_err(|why| why.to_string())?;
            herd.copies.push(Copy::new(herd.archive().join(format!("{}.log", device.name))));
            herd.fleet.devices.push(device);
        }
        Ok(herd)
    }

    /// Gives a device its illness, and the command that is to mend it.
    fn configure(&self, device: &Device, kind: &Kind) -> io::Result<()> {
        let layout = &self.fleet.layout;
        let (dir, keys, plugins) = (device.dir().display(), layout.keys.display(), layout.plugins.display());
        let (api, broker, ails, Kind { window, journal_kib }) =
            (layout.url(), layout.broker, self.ails, kind);
        // The pauses are there to be killed in, before the deed is done and after it, before anybody hears of it.
        let script = format!(
            "sleep 0.02\nread -r name < /proc/sys/kernel/random/uuid\necho \"$name\" >> {dir}/deeds\nsleep 0.05\n\
             echo \"$name\"\n"
        );
        fs::write(device.dir().join("deed"), script)?;
        fs::write(device.dir().join("deeds"), "")?;
        let config = format!(
            r#"# A device that mends itself as often as it can.
state = "{dir}/state"
hardware = "demo-x86"
keyring = "{keys}/keyring"
window = "{window}"
startup = "50ms"
beat = "5s"
[server]
urls = ["{api}"]
token_file = "{dir}/enrol-token"
[broker]
url = "mqtt://127.0.0.1:{broker}"
keep_alive = "10s"
[slots]
backend = "files"
path = "{dir}/slots"
[commands]
restart = {{ argv = ["/bin/sh", "{dir}/deed"], timeout = "30s" }}
[policy]
bundle = "{plugins}/policy-tree.bundle"
[executor]
bundle = "{plugins}/executor-ota.bundle"
[[probe]]
name = "tcp"
tcp = "{ails}"
every = "{window}"
timeout = "{window}"
[trial]
healthy_for = "20s"
limit = "90s"
[[ladder]]
playbook = "restart"
attempts = 100
[heal]
base = "1ms"
cap = "1ms"
[retry]
base = "100ms"
cap = "100ms"
attempts = 8
[journal]
kib_max = {journal_kib}
"#
        );
        fs::write(device.dir().join("agent.toml"), config)
    }

    /// Where the server keeps what devices sent.
    fn archive(&self) -> PathBuf {
        self.fleet.layout.dir.join("server/state/archive")
    }

    /// What ails them is gone.
    ///
    /// # Errors
    /// If nobody can listen where it ails.
    pub fn is_well(&mut self) -> Result<(), String> {
        self.cure =
            Some(Cure::at(self.ails).map_err(|why| format!("cannot listen at {}: {why}", self.ails))?);
        Ok(())
    }

    /// It is back.
    pub fn is_ill(&mut self) {
        self.cure = None;
    }

    /// How many records the server has of all.
    pub fn records(&mut self) -> u64 {
        self.copies.iter_mut().map(Copy::records).sum()
    }

    /// How often a device's command has done its work.
    pub fn deeds(&self, n: usize) -> usize {
        lines(&self.fleet.devices[n]).lines().count()
    }

    /// Waits until the server has so many records.
    ///
    /// # Errors
    /// If nothing comes any more.
    pub fn until_records(&mut self, wanted: u64) -> Result<(), String> {
        let (mut last, mut came) = (0, Instant::now());
        loop {
            let records = self.records();
            if records >= wanted {
                return Ok(());
            }
            if records > last {
                (last, came) = (records, Instant::now());
            }
            if came.elapsed() > PATIENCE {
                return Err(format!("no record came for {} s, {records} are there", PATIENCE.as_secs()));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Kills a device's agent, alone or with what the command does that it runs, and starts it again.
    ///
    /// # Errors
    /// If it doesn't start.
    pub fn kill_agent(&mut self, n: usize) -> Result<(), String> {
        let device = &mut self.fleet.devices[n];
        device.kill();
        self.kills[n] = self.kills[n].map(|kills| kills + 1);
        device.start().map_err(|why| why.to_string())
    }

    /// Effects of a device may fail for other reasons than a kill: it still counts that none is done twice.
    pub fn excuse(&mut self, n: usize) {
        self.kills[n] = None;
    }

    /// Kills the broker; without its store nothing is left of what was retained. Starts it again after a while.
    ///
    /// # Errors
    /// If there is none, or it doesn't start.
    pub fn kill_broker(&mut self, away: Duration, store: Store) -> Result<(), String> {
        let file = self.fleet.layout.dir.join("broker/mosquitto.db");
        let broker = self.fleet.broker.as_mut().ok_or("there is no mosquitto")?;
        broker.kill();
        if matches!(store, Store::Lost) {
            for file in [file.clone(), file.with_extension("db.new")] {
                match fs::remove_file(&file) {
                    Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why.to_string()),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        std::thread::park_timeout(away);
        broker.resume().map_err(|why| why.to_string())
    }

    /// Leaves out of account what was done from line `from` on, and gives how much that is: nothing could be recorded then, and the
    /// agent was killed.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn forget_deeds(&self, n: usize, from: usize) -> io::Result<usize> {
        let text = lines(&self.fleet.devices[n]);
        let kept: String = text.split_inclusive('\n').take(from).collect();
        fs::write(self.fleet.devices[n].dir().join("deeds"), &kept)?;
        Ok(text.lines().count() - kept.lines().count())
    }

    /// Lets all be well and say what they have to say, stops the devices, and holds everything against each other.
    ///
    /// # Errors
    /// Says what doesn't hold, and of which device.
    pub fn settle(&mut self) -> Result<Sum, String> {
        self.is_well()?;
        let mut why = String::new();
        for _ in 0..ROUNDS {
            self.until_quiet();
            self.fleet.devices.iter_mut().for_each(Device::stop);
            match self.hold_together() {
                Ok(sum) => return Ok(sum),
                // What the server lacks at the end may have been on its way.
                Err(Apart::Behind(rest)) => why = rest,
                Err(Apart::Wrong(why)) => return Err(why),
            }
            for device in &mut self.fleet.devices {
                device.start().map_err(|why| why.to_string())?;
            }
        }
        Err(why)
    }

    fn until_quiet(&mut self) {
        let (began, mut last, mut since) = (Instant::now(), 0, Instant::now());
        while since.elapsed() < QUIET && began.elapsed() < PATIENCE {
            std::thread::park_timeout(Duration::from_millis(100));
            let records = self.records();
            if records != last {
                (last, since) = (records, Instant::now());
            }
        }
    }

    fn hold_together(&self) -> Result<Sum, Apart> {
        let mut sum = Sum::default();
        for (device, kills) in self.fleet.devices.iter().zip(&self.kills) {
            let name = &device.name;
            let wrong = |why: String| Apart::Wrong(format!("{name}: {why}"));
            let (own, chain) = journal(device).map_err(wrong)?;
            let copy = fs::read(self.archive().join(format!("{name}.log"))).unwrap_or_default();
            let head = account::same(&copy, &own, &chain).map_err(|why| {
                let told = format!("{name}: {why}");
                if why.ends_with("the server doesn't") { Apart::Behind(told) } else { Apart::Wrong(told) }
            })?;
            for left in ["aside", &format!("{name}.damaged")] {
                let left = self.archive().join(left);
                if left.exists() {
                    return Err(wrong(format!("{} is there: something was lost", left.display())));
                }
            }
            let text = lines(device);
            let lines: Vec<_> = text.lines().collect();
            let deeds = account::once(&account::entries(&own).map_err(wrong)?, &lines).map_err(wrong)?;
            if let Some(kills) = kills.filter(|kills| deeds.in_doubt > *kills) {
                return Err(wrong(format!("{} effects are in doubt after {kills} kills", deeds.in_doubt)));
            }
            let all = &mut sum.deeds;
            (all.began, all.in_doubt, all.done) =
                (all.began + deeds.began, all.in_doubt + deeds.in_doubt, all.done + deeds.done);
            (sum.records, sum.bytes) = (sum.records + head.seq, sum.bytes + copy.len());
        }
        Ok(sum)
    }
}

/// Whether the broker still has its store when it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// It has what it wrote last.
    Kept,
    /// It has nothing.
    Lost,
}

/// Why device and server don't say the same.
enum Apart {
    /// The server doesn't have the last ones.
    Behind(String),
    /// There is no excuse.
    Wrong(String),
}

/// All that a device has in its journal, and the chain that it is on. Its agent doesn't run.
///
/// # Errors
/// If the journal can't be read, or has lost something.
pub fn journal(device: &Device) -> Result<(Vec<Record>, Chain), String> {
    let state = device.dir().join("state");
    let pem = fs::read_to_string(state.join("device.pem")).map_err(|why| format!("it has no key: {why}"))?;
    let key = SecretKey::from_pem(&pem).map_err(|why| why.to_string())?;
    let instance = key.id().0.to_string();
    let folder = Folder::take(state.join("journal")).map_err(|why| why.to_string())?;
    let options = Options { bytes_max: u64::MAX / 2, ballast_bytes: 0, ..Options::new(instance.clone()) };
    let (journal, opened) =
        Journal::open(folder, options, |_, _| Vec::new()).map_err(|why| why.to_string())?;
    if let Some(finding) = opened.findings.first() {
        return Err(format!("its journal is not whole: {finding}"));
    }
    let records = journal.read(1).collect::<Result<Vec<_>, _>>().map_err(|why| why.to_string())?;
    match records.first() {
        Some(first) if first.seq == 1 => Ok((records, Chain::new(&instance))),
        _ => Err("its journal doesn't begin at its first record".into()),
    }
}

fn lines(device: &Device) -> String {
    fs::read_to_string(device.dir().join("deeds")).unwrap_or_default()
}

/// Has the broker write what is retained to its disk, after each change.
///
/// # Errors
/// If there is no broker, or it doesn't start again.
pub fn keep_retained(fleet: &mut Fleet) -> Result<(), String> {
    let dir = fleet.layout.dir.join("broker");
    let broker = fleet.broker.as_mut().ok_or("there is no mosquitto")?;
    let file = dir.join("mosquitto.conf");
    let config = fs::read_to_string(&file).map_err(|why| why.to_string())?;
    let store = format!(
        "{}\npersistence true\npersistence_location {}/\nautosave_on_changes true\nautosave_interval 1\n",
        config.trim_end(),
        dir.display()
    );
    fs::write(file, store).map_err(|why| why.to_string())?;
    broker.kill();
    broker.resume().map_err(|why| why.to_string())
}

/// An address that nobody listens at. Connections begin at 127.0.0.1, so none takes the port by chance.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.2:0")?.local_addr()
}

/// Somebody who answers where it ails, until this is dropped.
#[derive(Debug)]
struct Cure {
    at: SocketAddr,
    over: Arc<AtomicBool>,
    answers: Option<JoinHandle<()>>,
}

impl Cure {
    fn at(at: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(at)?;
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let answers = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                drop(listener.accept());
            }
        });
        Ok(Self { at, over, answers: Some(answers) })
    }
}

impl Drop for Cure {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.at));
        if let Some(answers) = self.answers.take() {
            drop(answers.join());
        }
    }
}

/// The server's copy of one device's journal, counted as it grows.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
    at: u64,
    records: u64,
}

impl Copy {
    fn new(path: PathBuf) -> Self {
        Self { path, at: 0, records: 0 }
    }

    /// How many whole records there are by now.
    fn records(&mut self) -> u64 {
        let Ok(mut file) = File::open(&self.path) else { return self.records };
        let mut fresh = Vec::new();
        if file.seek(SeekFrom::Start(self.at)).and_then(|_| file.read_to_end(&mut fresh)).is_err() {
            return self.records;
        }
        let mut rest = fresh.as_slice();
        while let Ok(frame) = Frame::read(rest) {
            let bytes = frame.encoded_len();
            (rest, self.at, self.records) = (&rest[bytes..], self.at + bytes as u64, self.records + 1);
        }
        self.records
    }
}
