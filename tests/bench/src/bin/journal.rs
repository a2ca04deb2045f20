//! Durable commits a second: the journal, plain append + fdatasync, sled + a sync of its file, redb.
//!
//! Records of 232 bytes, one writer, every commit durable before the next. The paths take turns, each round in another
//! order, and are compared round by round. The last two rows commit 16 records at a time.
//!
//! Where other programs want the processors, each wait for the disk ends at the scheduler's next tick, and every path
//! takes 2 to 4 ms: then the rates say nothing, and the column p10 is the one to read.

use std::{
    env,
    error::Error,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use backstay_journal::{Folder, Journal, Ledger as _, Options};
use backstay_test_bench::median;
use redb::{Database, Durability, TableDefinition};

type Failure = Box<dyn Error>;

const RECORD: [u8; 232] = [0x5A; 232];
const GROUP: usize = 16;
/// The journal against plain append.
const GOAL: f64 = 1.2;
const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// One way to make a record durable.
struct Contestant {
    name: &'static str,
    /// Records in each commit.
    group: usize,
    commit: Box<dyn FnMut() -> Result<(), Failure>>,
    /// Commits a second, round by round.
    rates: Vec<f64>,
    /// Of all rounds, in microseconds.
    micros: Vec<f64>,
}

impl Contestant {
    fn new(name: &'static str, group: usize, commit: impl FnMut() -> Result<(), Failure> + 'static) -> Self {
        Self { name, group, commit: Box::new(commit), rates: Vec::new(), micros: Vec::new() }
    }

    fn run(&mut self, span: Duration) -> Result<(), Failure> {
        let begin = Instant::now();
        let mut commits = 0_u32;
        while begin.elapsed() < span {
            let before = Instant::now();
            (self.commit)()?;
            self.micros.push(before.elapsed().as_secs_f64() * 1e6);
            commits += 1;
        }
        self.rates.push(f64::from(commits) / begin.elapsed().as_secs_f64());
        Ok(())
    }

    fn percentile(&self, permille: usize) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() * permille / 1000).copied().unwrap_or(f64::NAN)
    }
}

fn append(path: &Path, group: usize) -> Result<impl FnMut() -> Result<(), Failure> + use<>, Failure> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(move || {
        file.write_all(&RECORD.repeat(group))?;
        Ok(file.sync_data()?)
    })
}

fn journal(path: &Path, group: usize) -> Result<impl FnMut() -> Result<(), Failure> + use<>, Failure> {
    let options = Options { bytes_max: 256 << 20, ..Options::new("bench") };
    let (mut journal, _) = Journal::open(Folder::take(path)?, options, |_, _| Vec::new())?;
    Ok(move || {
        for _ in 0..group {
            journal.append(&RECORD)?;
        }
        let head = journal.commit()?;
        if journal.bytes() > 128 << 20 {
            journal.prune(head.seq)?;
        }
        Ok(())
    })
}

/// `flush` alone is not durable (sled 0.34 asks for no fsync), so its file is synced after it.
fn sled(path: &Path) -> Result<impl FnMut() -> Result<(), Failure> + use<>, Failure> {
    let db = sled::Config::new().path(path).flush_every_ms(None).open()?;
    let file = File::open(path.join("db"))?;
    let mut seq = 0_u64;
    Ok(move || {
        seq += 1;
        db.insert(seq.to_be_bytes(), RECORD.as_slice())?;
        db.flush()?;
        Ok(file.sync_data()?)
    })
}

fn redb(path: &Path) -> Result<impl FnMut() -> Result<(), Failure> + use<>, Failure> {
    let db = Database::create(path)?;
    let mut seq = 0_u64;
    Ok(move || {
        seq += 1;
        let mut write = db.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        write.open_table(TABLE)?.insert(seq, RECORD.as_slice())?;
        Ok(write.commit()?)
    })
}

struct Request {
    dir: PathBuf,
    rounds: usize,
    span: Duration,
    json: Json,
    /// The contestants whose names begin with one of these; all if there is none.
    only: Vec<String>,
}

#[derive(PartialEq, Eq)]
enum Json {
    Yes,
    No,
}

fn request() -> Result<Request, Failure> {
    let mut request = Request {
        dir: "target/bench".into(),
        rounds: 9,
        span: Duration::from_millis(1000),
        json: Json::No,
        only: Vec::new(),
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--dir" => request.dir = value()?.into(),
            "--rounds" => request.rounds = value()?.parse::<usize>()?.clamp(1, 1000),
            "--millis" => request.span = Duration::from_millis(value()?.parse::<u64>()?.clamp(10, 60_000)),
            "--only" => request.only = value()?.split(',').map(str::to_owned).collect(),
            "--json" => request.json = Json::Yes,
            _ => return Err(format!("{word}: expected --dir, --rounds, --millis, --only or --json").into()),
        }
    }
    Ok(request)
}

fn main() -> ExitCode {
    match request().and_then(|request| bench(&request)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(request: &Request) -> Result<(), Failure> {
    let dir = request.dir.join("journal");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let mut all = vec![
        Contestant::new("append + fdatasync", 1, append(&dir.join("append"), 1)?),
        Contestant::new("journal", 1, journal(&dir.join("ours"), 1)?),
        Contestant::new("sled + fdatasync", 1, sled(&dir.join("sled"))?),
        Contestant::new("redb", 1, redb(&dir.join("redb"))?),
        Contestant::new("append x16", GROUP, append(&dir.join("append16"), GROUP)?),
        Contestant::new("journal x16", GROUP, journal(&dir.join("ours16"), GROUP)?),
    ];
    if !request.only.is_empty() {
        all.retain(|one| request.only.iter().any(|name| one.name.starts_with(name.as_str())));
    }
    let count = all.len();
    for round in 0..request.rounds {
        for turn in 0..count {
            all[(round + turn) % count].run(request.span)?;
        }
    }

    let rows: Vec<Row> = all.iter().map(|one| Row::of(one, &all)).collect();
    match request.json {
        Json::Yes => println!("{:#}", serde_json::Value::Array(rows.iter().map(Row::json).collect())),
        Json::No => table(&rows, request),
    }
    drop(all);
    Ok(fs::remove_dir_all(&dir)?)
}

struct Row {
    name: &'static str,
    rate: f64,
    records: f64,
    p10: f64,
    p50: f64,
    p99: f64,
    /// Against append with as many records in a commit: median, least, most.
    ratio: [f64; 3],
}

impl Row {
    fn of(one: &Contestant, all: &[Contestant]) -> Self {
        let peer = all.iter().find(|peer| peer.group == one.group).unwrap_or(one);
        let ratios: Vec<f64> = one.rates.iter().zip(&peer.rates).map(|(rate, peer)| rate / peer).collect();
        let rate = median(&one.rates);
        Self {
            name: one.name,
            rate,
            records: rate * one.group as f64,
            p10: one.percentile(100),
            p50: one.percentile(500),
            p99: one.percentile(990),
            ratio: [
                median(&ratios),
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
            ],
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name, "commits_per_second": self.rate, "records_per_second": self.records,
            "p10_us": self.p10, "p50_us": self.p50, "p99_us": self.p99,
            "ratio_to_append": self.ratio[0], "ratio_least": self.ratio[1], "ratio_most": self.ratio[2],
        })
    }
}

fn table(rows: &[Row], request: &Request) {
    let millis = request.span.as_millis();
    println!("{} rounds of {millis} ms each, {} bytes a record, medians\n", request.rounds, RECORD.len());
    println!(
        "{:<20}{:>10}{:>11}{:>9}{:>9}{:>9}   to append",
        "", "commits/s", "records/s", "p10 us", "p50 us", "p99 us"
    );
    for Row { name, rate, records, p10, p50, p99, ratio: [middle, least, most] } in rows {
        print!("{name:<20}{rate:>10.0}{records:>11.0}{p10:>9.0}{p50:>9.0}{p99:>9.0}");
        println!("   {middle:.2} ({least:.2} to {most:.2})");
    }
    if let Some(row) = rows.iter().find(|row| row.name == "journal") {
        let word = if row.ratio[0] >= GOAL { "reached" } else { "missed" };
        println!("\ngoal: journal at least {GOAL} times append + fdatasync: {word}, {:.2}", row.ratio[0]);
    }
}
