//! `cargo xtask lab`: devices of one's own, from the boot loader to the server, and power cuts.
//!
//! Here: the command line, and the exit code. What is real, and what is not, is in docs/firmware.md.
//!
//! ```text
//! story, cuts     what happens to a device, and what has to hold
//! device          a device with its other side; the words of stories
//! machine, disk   QEMU, its console, its cable, its power; what a power cut leaves
//! shore           broker, server, an operator
//! image, debian   what a release of such a device consists of; rauc: the same as a bundle
//! stock, page     a stock Debian becomes a device by the commands of docs/firmware.md
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a person at a terminal")]

mod cuts;
mod debian;
mod device;
mod disk;
mod image;
mod machine;
mod page;
mod rauc;
mod report;
mod shore;
mod stock;
mod story;
mod tool;

use std::{
    env,
    ffi::OsString,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use backstay_test_fleet::{Trouble, stop_on_signals};

use crate::{
    cuts::Records,
    debian::Debian,
    device::Bench,
    image::{Kitchen, Writer},
    report::Outcome,
    story::Story,
    tool::trouble,
};

const HELP: &str = "\
cargo xtask lab: devices of one's own, 64-bit ARM boards in QEMU with U-Boot, two slots and the agent that ships

  lab [--story NAME]...       all stories, or these; a table of how they ended
  lab --list                  which there are
  lab cuts [--count N]        power cuts at random moments [100]
  lab cuts --control          the same with sled's own flush, which has to lose something [20]
  lab debian                  a stock Debian becomes a device, by the commands of docs/firmware.md as they stand there

Options: --seed N (told at the start: the same chances again), --output json

Exit code: 0 every story came to its end, and nothing was lost; 1 not so; 64 the command line is wrong.";

/// As in BSD's sysexits: the command was used incorrectly.
const EXIT_USAGE: u8 = 64;

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    what: What,
    stories: Vec<String>,
    count: Option<u64>,
    control: bool,
    seed: Option<u64>,
    json: bool,
    programs: PathBuf,
    plugins: PathBuf,
    agent: PathBuf,
    slots: PathBuf,
    writer: PathBuf,
    package: PathBuf,
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum What {
    #[default]
    Stories,
    List,
    Cuts,
    Debian,
    Help,
}

fn main() -> ExitCode {
    let words: Vec<_> = env::args_os().skip(1).collect();
    // QEMU calls this for each connection that a device makes.
    if let [word, port] = words.as_slice()
        && word == "connect"
    {
        let port = port.to_str().and_then(|port| port.parse().ok());
        return port.map_or(ExitCode::from(EXIT_USAGE), |port| match connect(port) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        });
    }
    let done = match wish(words) {
        Err(why) => {
            eprintln!("error: {why}\n\n{HELP}");
            return ExitCode::from(EXIT_USAGE);
        }
        Ok(wish) => match wish.what {
            What::Help => {
                println!("{HELP}");
                Ok(true)
            }
            What::List => {
                for Story { name, about, end, .. } in story::ALL {
                    println!("{name:<12} {about:<56} {end}");
                }
                Ok(true)
            }
            What::Stories => stories(&wish),
            What::Cuts => cut(&wish),
            What::Debian => stock(&wish),
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn wish(words: Vec<OsString>) -> Result<Wish, String> {
    let mut wish = Wish::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let word = word.into_string().map_err(|word| format!("{} is no text", word.display()))?;
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: OsString| {
            let number = text.to_str().and_then(|text| text.parse().ok());
            number.ok_or_else(|| format!("{} is no number", text.display()))
        };
        match word.as_str() {
            "cuts" => wish.what = What::Cuts,
            "debian" => wish.what = What::Debian,
            "--list" => wish.what = What::List,
            "--help" | "-h" | "help" => wish.what = What::Help,
            "--story" => {
                let name = value()?.to_string_lossy().into_owned();
                if !story::ALL.iter().any(|story| story.name == name) {
                    return Err(format!("there is no story {name}: --list shows all"));
                }
                wish.stories.push(name);
            }
            "--count" => wish.count = Some(number(value()?)?),
            "--control" => wish.control = true,
            "--seed" => wish.seed = Some(number(value()?)?),
            "--output" => match value()?.to_str() {
                Some("json") => wish.json = true,
                Some("table") => {}
                _ => return Err("--output is table or json".into()),
            },
            "--programs" => wish.programs = value()?.into(),
            "--plugins" => wish.plugins = value()?.into(),
            "--agent" => wish.agent = value()?.into(),
            "--slots" => wish.slots = value()?.into(),
            "--package" => wish.package = value()?.into(),
            "--writer" => wish.writer = value()?.into(),
            "--dir" => wish.folder = value()?.into(),
            _ => return Err(format!("there is no {word}")),
        }
    }
    let is_of_cuts = wish.count.is_some() || wish.control;
    match wish.what {
        What::Cuts if !wish.stories.is_empty() => Err("cuts tell no story".into()),
        What::Debian if !wish.stories.is_empty() => Err("debian is a story of its own".into()),
        What::Stories | What::List | What::Debian if is_of_cuts => {
            Err("--count and --control are for cuts".into())
        }
        What::Stories | What::List | What::Cuts | What::Debian | What::Help => Ok(wish),
    }
}

/// What chance goes by where nobody says: the time.
fn seed(wish: &Wish) -> u64 {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    wish.seed.unwrap_or_else(|| now().map_or(0, |now| now.as_secs()))
}

fn kitchen(wish: &Wish, writer: Writer, programs: Vec<(PathBuf, &'static str)>) -> Result<Kitchen, Trouble> {
    let debian = Debian::fetch(&wish.folder.join("debian"), writer == Writer::Rauc)?;
    let folder = wish.folder.join("images");
    std::fs::create_dir_all(&folder).map_err(trouble(format!("cannot make {}", folder.display())))?;
    Ok(Kitchen { folder, debian, programs, writer })
}

fn stories(wish: &Wish) -> Result<bool, Trouble> {
    stop_on_signals().map_err(trouble("cannot listen to signals"))?;
    let seed = seed(wish);
    eprintln!("lab: seed {seed}");
    let programs = || vec![(wish.agent.clone(), "backstay-agent"), (wish.slots.clone(), "backstay-slots")];
    let mut outcomes = Vec::new();
    let is_wanted =
        |story: &&Story| wish.stories.is_empty() || wish.stories.iter().any(|name| name == story.name);
    for story in story::ALL.iter().filter(is_wanted) {
        eprintln!("lab: {}: {}", story.name, story.about);
        let began = Instant::now();
        let kitchen = kitchen(wish, story.writer, programs())?;
        let folder = wish.folder.join("stories").join(story.name);
        let bench = Bench {
            programs: &wish.programs,
            components: &wish.plugins,
            kitchen: &kitchen,
            folder: &folder,
            seed,
        };
        let came = (story.tell)(&bench).map_err(|error| error.to_string());
        let took = began.elapsed();
        match &came {
            Ok(_) => eprintln!("lab: {} came to its end: {} ({} s)", story.name, story.end, took.as_secs()),
            Err(why) => {
                eprintln!("lab: {} FAILED: {why}\n  help: its files are in {}", story.name, folder.display())
            }
        }
        let Story { name, about, end, .. } = *story;
        outcomes.push(Outcome { name, about, end, took, came });
    }
    if wish.json {
        println!("{:#}", report::told(&outcomes));
    } else {
        println!("{}", report::table(&outcomes));
    }
    Ok(outcomes.iter().all(|outcome| outcome.came.is_ok()))
}

fn cut(wish: &Wish) -> Result<bool, Trouble> {
    stop_on_signals().map_err(trouble("cannot listen to signals"))?;
    let seed = seed(wish);
    let records = if wish.control { Records::Sled } else { Records::Journal };
    let count = wish.count.unwrap_or(if wish.control { 20 } else { 100 });
    eprintln!("lab: {count} power cuts, {records:?}, seed {seed}");
    let programs = vec![(wish.slots.clone(), "backstay-slots"), (wish.writer.clone(), "lab-writer")];
    let kitchen = kitchen(wish, Writer::Raw, programs)?;
    let tally = cuts::run(&kitchen, &wish.folder.join("cuts"), records, count, seed)?;
    if wish.json {
        println!("{:#}", tally.told());
    } else {
        println!("{tally}");
    }
    Ok(match records {
        Records::Journal => tally.wrong.is_empty() && tally.cuts == count,
        // It has to lose, or losing nothing would mean nothing.
        Records::Sled => tally.losses > 0,
    })
}

fn stock(wish: &Wish) -> Result<bool, Trouble> {
    stop_on_signals().map_err(trouble("cannot listen to signals"))?;
    let folder = wish.folder.join("stock");
    std::fs::create_dir_all(&folder).map_err(trouble(format!("cannot make {}", folder.display())))?;
    let began = Instant::now();
    let needs = stock::Needs {
        programs: &wish.programs,
        components: &wish.plugins,
        package: &wish.package,
        folder: &folder,
    };
    let came = stock::tell(&needs).map_err(|error| error.to_string());
    if let Err(why) = &came {
        eprintln!("lab: debian FAILED: {why}\n  help: its files are in {}", folder.display());
    }
    let (about, end) = ("a stock Debian becomes a device, by the page", "2.0.0 confirmed, home from 3.0.0");
    let outcomes = [Outcome { name: "debian", about, end, took: began.elapsed(), came }];
    if wish.json {
        println!("{:#}", report::told(&outcomes));
    } else {
        println!("{}", report::table(&outcomes));
    }
    Ok(outcomes.iter().all(|outcome| outcome.came.is_ok()))
}

/// Joins standard input and output to a port of the loopback, until either ends.
fn connect(port: u16) -> io::Result<()> {
    let mut there = TcpStream::connect(("127.0.0.1", port))?;
    let mut here = there.try_clone()?;
    std::thread::spawn(move || {
        // Whatever ends it, the other side is to see the end.
        let _ = io::copy(&mut io::stdin().lock(), &mut here);
        let _ = here.shutdown(Shutdown::Write);
    });
    let mut out = io::stdout().lock();
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = there.read(&mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(bytes.get(..read).unwrap_or_default())?;
        out.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Wish, String> {
        wish(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn a_mistake_is_told_before_anything_is_done() {
        assert_eq!(read("--story tale").unwrap_err(), "there is no story tale: --list shows all");
        assert_eq!(read("--count 3").unwrap_err(), "--count and --control are for cuts");
        assert_eq!(read("cuts --count many").unwrap_err(), "many is no number");
        assert_eq!(read("cuts --story good").unwrap_err(), "cuts tell no story");
        assert_eq!(read("debian --story good").unwrap_err(), "debian is a story of its own");
        assert_eq!(read("debian --count 2").unwrap_err(), "--count and --control are for cuts");
        assert_eq!(read("cuts --count").unwrap_err(), "--count wants a value");
        assert_eq!(read("--output yaml").unwrap_err(), "--output is table or json");
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let stories = read("--story good --story panic --output json --seed 7").unwrap();
        assert_eq!((stories.stories.len(), stories.json, stories.seed), (2, true, Some(7)));
        let cuts = read("cuts --control --count 5").unwrap();
        assert_eq!((cuts.what, cuts.control, cuts.count), (What::Cuts, true, Some(5)));
    }

    #[test]
    fn every_story_has_a_name_of_its_own_and_says_how_it_has_to_end() {
        let mut names: Vec<_> = story::ALL.iter().map(|story| story.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), story::ALL.len());
        assert!(story::ALL.iter().all(|story| !story.about.is_empty() && !story.end.is_empty()));
    }
}
