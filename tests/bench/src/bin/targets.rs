//! What a server takes that watches targets: memory and processor time, with its plugins' processes, beside the same server
//! that watches none.
//!
//! Memory is `Pss` of proc(5), summed: what all of its processes hold, and what they share counted once. They run one program, so
//! the sum of what each has resident would count that program three times; what the server alone has resident is told beside it.
//!
//! Each target has two objectives with two sides, so a window takes six to eight questions. They are answered at once by a double of Prometheus in
//! this process: what it takes is not counted. Nothing goes wrong meanwhile, which is how a server spends its life.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use backstay_test_bench::Machine;
use backstay_test_fleet::{Fleet, Pace, stop_on_signals};

type Failure = Box<dyn Error>;

/// How many targets, if nobody says.
const TARGETS: u32 = 200;
/// How long is looked, if nobody says.
const SECONDS: u64 = 300;
/// Of the server and its plugins' processes together: 40 MB.
const MEMORY_KIB_MAX: u64 = 40_000_000 / 1024;
/// Of one processor.
const PERCENT_MAX: f64 = 0.5;
/// How long it may take until everything is up.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    match stop_on_signals().map_err(Into::into).and_then(|()| measure()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("targets: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What was looked at.
struct Taken {
    memory_kib: u64,
    /// What the server's process alone has resident.
    resident_kib: u64,
    percent: f64,
    questions: u64,
}

fn measure() -> Result<bool, Failure> {
    let mut words = env::args().skip(1);
    let targets = words.next().map_or(Ok(TARGETS), |word| word.parse())?;
    let seconds = words.next().map_or(Ok(SECONDS), |word| word.parse())?;
    for (name, fact) in Machine::now().facts {
        println!("{name:<12} {fact}");
    }
    println!(
        "\nTARGETS     MEMORY KIB  OF {MEMORY_KIB_MAX}  SERVER RESIDENT  PROCESSOR %  OF {PERCENT_MAX}  QUESTIONS/S"
    );
    let mut kept = true;
    for count in [0, targets] {
        let Taken { memory_kib, resident_kib, percent, questions } = watched(count, seconds)?;
        let rate = questions as f64 / seconds as f64;
        let share = memory_kib * 100 / MEMORY_KIB_MAX;
        println!(
            "{count:>7} {memory_kib:>14} {share:>7} % {resident_kib:>16} {percent:>12.3} {:>6.0} % {rate:>11.1}",
            percent * 100.0 / PERCENT_MAX
        );
        kept &= memory_kib <= MEMORY_KIB_MAX && percent <= PERCENT_MAX;
    }
    if !kept {
        println!("\nover budget");
    }
    Ok(kept)
}

fn watched(targets: u32, seconds: u64) -> Result<Taken, Failure> {
    let folder = |name: &str| {
        let path = env::var_os(name).map(PathBuf::from);
        path.ok_or_else(|| format!("{name} is not set: `cargo xtask bench targets` sets it"))
    };
    let dir = tempfile::tempdir()?;
    let (port, asked) = double()?;
    let (programs, plugins) = (folder("BACKSTAY_PROGRAMS")?, folder("BACKSTAY_PLUGINS")?);
    let mut fleet = Fleet::start(&dir.path().join("fleet"), &programs, &plugins, Pace::default())?;
    let watch = dir.path().join("targets.d");
    fs::create_dir_all(&watch)?;
    for number in 0..targets {
        fs::write(watch.join(format!("service-{number}.toml")), target(number))?;
    }
    let bundle = fleet.layout.plugins.join("policy-tree.bundle");
    let tables = format!(
        "[policies.tree]\nbundle = \"{}\"\n[prometheus.main]\nurl = \"http://127.0.0.1:{port}\"\n",
        bundle.display()
    );
    fleet.kill_server();
    fleet.configure(&format!("targets = \"{}\"", watch.display()), &tables)?;
    fleet.start_server()?;
    let server = fleet.server_id().ok_or("the server ended")?;
    // A window is a minute: after two of them each target has been judged.
    if targets > 0 {
        fleet.wait("every target was judged", PATIENCE + Duration::from_secs(60), || {
            let Ok(all) = fleet.cli.ask(&["target", "ls"]) else { return false };
            let judged = all["targets"].as_array().into_iter().flatten();
            judged.filter(|target| !target["judged"].is_null()).count() == targets as usize
        })?;
    } else {
        thread::park_timeout(Duration::from_secs(20));
    }
    let (ticks, before) = (all_ticks(server)?, asked.load(Ordering::Relaxed));
    let (began, mut memory_kib, mut resident_kib) = (Instant::now(), 0, 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        let plugins: u64 = children(server)?.into_iter().filter_map(|id| kib(id, SHARED_ONCE).ok()).sum();
        memory_kib = memory_kib.max(kib(server, SHARED_ONCE)? + plugins);
        resident_kib = resident_kib.max(kib(server, RESIDENT)?);
        thread::park_timeout(Duration::from_secs(1));
    }
    let ticks = all_ticks(server)? - ticks;
    let percent =
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64 / began.elapsed().as_secs_f64() * 100.0;
    let questions = asked.load(Ordering::Relaxed) - before;
    Ok(Taken { memory_kib, resident_kib, percent, questions })
}

/// A target with an error ratio and a share of slow requests, on both sides.
fn target(number: u32) -> String {
    let mut text = String::from("policy = \"tree\"\nprometheus = \"main\"\nwindow = \"1m\"\n");
    for objective in ["errors", "slow"] {
        let side = |track: &str| {
            let of = |what: &str| {
                format!("sum(increase({what}_total{{service=\"{number}\",track=\"{track}\"}}[1m]))")
            };
            format!("{{ bad = '{}', total = '{}' }}", of(objective), of("requests"))
        };
        // Writing to a String doesn't fail.
        let _ = writeln!(
            text,
            "[[objective]]\nname = \"{objective}\"\ncandidate = {}\nbaseline = {}",
            side("canary"),
            side("stable")
        );
    }
    text
}

/// Answers whatever is asked with a good number, on connections that stay open; and how often it was asked.
fn double() -> Result<(u16, Arc<AtomicU64>), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (port, asked) = (listener.local_addr()?.port(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let counted = Arc::clone(&counted);
            // Who asks may go: then its connection ends.
            thread::spawn(move || drop(answers(stream, &counted)));
        }
    });
    Ok((port, asked))
}

fn answers(mut stream: TcpStream, asked: &AtomicU64) -> Result<(), Failure> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line)? > 0 && line != "\r\n" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        asked.fetch_add(1, Ordering::Relaxed);
        // The time that is asked for is the time of the answer, as Prometheus has it.
        let text = String::from_utf8_lossy(&body).into_owned();
        let at = text.split('&').find_map(|part| part.strip_prefix("time=")).unwrap_or("0").to_owned();
        let value = if text.contains("requests_total") { "300" } else { "0" };
        let body = format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{{\"metric\":{{}},\"value\":[{at},\"{value}\"]}}]}}}}"
        );
        // In one piece, as a server does: each piece would wake who asks once more.
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes())?;
    }
}

/// In which file of proc(5), and which line of it.
type Figure = (&'static str, &'static str);
const RESIDENT: Figure = ("status", "VmRSS:");
const SHARED_ONCE: Figure = ("smaps_rollup", "Pss:");

fn kib(process: u32, (file, name): Figure) -> Result<u64, Failure> {
    let told = fs::read_to_string(format!("/proc/{process}/{file}"))?;
    let line = told.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| format!("the kernel does not tell {name}").into())
}

/// The processes that a process has started and that run.
fn children(process: u32) -> Result<Vec<u32>, Failure> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let told = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        all.extend(told.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    Ok(all)
}

/// Processor time of a process and those that it has started, in ticks.
fn all_ticks(process: u32) -> Result<u64, Failure> {
    let ticks = |id: u32| -> Result<u64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name in parentheses may hold anything; user and system time are the 12th and 13th behind it.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let numbers: Vec<u64> =
            rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
        Ok(numbers.iter().sum())
    };
    Ok(ticks(process)? + children(process)?.into_iter().filter_map(|id| ticks(id).ok()).sum::<u64>())
}
