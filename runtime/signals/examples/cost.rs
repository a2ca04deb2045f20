//! What asking costs the one who asks: processor time for each question, and memory.
//!
//! `cost http://127.0.0.1:9090 3000` asks a running Prometheus so many questions, as one objective after another does. The
//! figures in `runtime/decisions/0025` come from here. Linux only: it reads what the kernel says of the process.

use std::{env, fs, io, process::ExitCode, time::SystemTime};

use backstay_model::{Millis, UnixMs};
use backstay_signals::{Prometheus, PrometheusSettings, Query};

/// What the kernel counts processor time in, on every Linux: `getconf CLK_TCK`.
const TICKS_A_SECOND: f64 = 100.0;
/// As many as one target has.
const AT_ONCE: u32 = 4;
/// Questions of 200 targets with four each, in a minute.
const A_SECOND: f64 = 200.0 * 4.0 / 60.0;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(url), Some(count)) = (arguments.next(), arguments.next().and_then(|n| n.parse::<u32>().ok()))
    else {
        eprintln!("expected an address and a count: cost http://127.0.0.1:9090 3000");
        return ExitCode::FAILURE;
    };
    match run(url, count).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(url: String, count: u32) -> Result<(), Box<dyn std::error::Error>> {
    let (timeout, stale) = (Millis::from_secs(5), Millis::from_secs(60));
    let settings = PrometheusSettings { url, timeout, roots: None, headers: Vec::new(), credential: None };
    let prometheus = Prometheus::new(settings)?;
    let query = Query::parse("sum(up) or vector(0)")?;
    prometheus.ask(&query, now()?, stale).await?;
    let before = ticks()?;
    for _ in 0..count / AT_ONCE {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let (prometheus, query, at) = (prometheus.clone(), query.clone(), now()?);
            asking.spawn(async move { prometheus.ask(&query, at, stale).await });
        }
        while let Some(answer) = asking.join_next().await {
            answer??;
        }
    }
    let asked = f64::from(count / AT_ONCE * AT_ONCE);
    let each = (ticks()? - before) / TICKS_A_SECOND / asked;
    println!("{:.0} us of processor time a question", each * 1e6);
    println!("{:.2} % of a processor for {A_SECOND:.1} questions a second", each * A_SECOND * 100.0);
    println!("{} kB resident at most", resident()?);
    Ok(())
}

fn now() -> Result<UnixMs, Box<dyn std::error::Error>> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(UnixMs(u64::try_from(since.as_millis())?))
}

/// In user and kernel mode: fields 14 and 15 of `proc(5)`'s stat, counted behind the name, which may hold anything.
fn ticks() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    Ok(fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum())
}

fn resident() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or_default().trim().trim_end_matches(" kB").to_owned())
}
