//! What of a release is fetched where the device has an older image of it, and what the slot program is handed.
//!
//! Not here: what a source can do wrong (`hands`), and what a slot program can (`backstay-slots`).

use std::{
    fs,
    io::{Cursor, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use backstay_hands::{Roots, Sources};
use backstay_model::{Digest, Millis, Version};
use backstay_slots::{Program, RunningAnswer, program::Timeouts};
use sha2::{Digest as _, Sha256};

use super::*;

/// Nothing in it compresses or is there twice; each seed has its own.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// What runs, and what it becomes: an eighth of it is another.
fn images() -> (Vec<u8>, Vec<u8>) {
    let old = noise(1, 2 << 20);
    let mut new = old.clone();
    new[1 << 20..(1 << 20) + (1 << 18)].copy_from_slice(&noise(2, 1 << 18));
    (old, new)
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// A mirror, which knows files and ranges: this image, and its blocks.
fn mirror(image: Vec<u8>) -> SocketAddr {
    let mut blocks = Cursor::new(Vec::new());
    backstay_blocks::write(&mut &image[..], image.len() as u64, &mut blocks).unwrap();
    let blocks = blocks.into_inner();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    // It ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Who hangs up has heard enough.
            let _ = answer_one(stream.unwrap(), &image, &blocks);
        }
    });
    at
}

fn answer_one(mut stream: TcpStream, image: &[u8], blocks: &[u8]) -> std::io::Result<()> {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap().to_lowercase();
    let file = if request.contains(".blocks ") { blocks } else { image };
    let range = request.split_once("range: bytes=").and_then(|(_, range)| {
        let (from, to) = range.lines().next()?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
    });
    let (status, about, bytes) = match range {
        Some((from, to)) => {
            let about = format!("Content-Range: bytes {from}-{to}/{}\r\n", file.len());
            ("206 Partial Content", about, &file[from..=to])
        }
        None => ("200 OK", String::new(), file),
    };
    let length = bytes.len();
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{about}\r\n")?;
    stream.write_all(bytes)
}

/// A device whose slots a program of the shell works: what it answers to `running` is in `running`, and what it was handed
/// is in `staged`. It doesn't know the word where there is no such file.
struct Device {
    dir: tempfile::TempDir,
    machine: Machine,
    fetch: Fetch,
}

impl Device {
    fn new(mirror: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().display();
        let script = format!(
            "case $1 in stage) cat > {here}/staged ;; running) cat {here}/running || exit 64 ;; *) exit 64 ;; esac"
        );
        let long = Duration::from_secs(60);
        let argv = ["/bin/sh", "-c", &script, "slots"].map(str::to_owned).to_vec();
        let slots = Backend::Program(Program::new(argv, Timeouts { answer: long, stage: long }));
        let sources = Sources {
            bases: vec![format!("http://{mirror}")],
            cache: dir.path().join("artifacts"),
            cache_bytes_max: 16 << 20,
            stall: Millis::from_secs(30),
        };
        let fetch = Fetch::new(sources, &Roots::none()).unwrap();
        let (ended, _) = mpsc::channel(1);
        let machine = Machine::new(slots, Hands::default(), Some(fetch.clone()), Vec::new(), None, ended);
        Self { dir, machine, fetch }
    }

    fn runs_from(&self, place: &Path) {
        let answer = RunningAnswer::new(place).unwrap();
        fs::write(self.dir.path().join("running"), answer.to_bytes()).unwrap();
    }

    /// Stages it, by the mirror and what is here; says what was fetched of it and what was said, as the log has it.
    async fn stages(&self, image: &[u8]) -> Fetched {
        let version = Version::parse("2.0").unwrap();
        let length = image.len() as u64;
        let release = Release { version, digest: digest(image), length, security_epoch: 1 };
        let fetched = self.machine.fetched(&self.fetch, &release).await.unwrap();
        let deed = Deed::Slot(SlotDeed::Stage(release));
        let done = self.machine.perform(deed, std::future::pending()).await;
        assert_eq!(done, Answer::Done);
        assert!(
            fs::read(self.dir.path().join("staged")).unwrap() == image,
            "the whole release, and no other"
        );
        fetched
    }
}

#[tokio::test]
async fn what_a_release_has_in_common_with_the_running_slot_is_not_fetched() {
    let (old, new) = images();
    let device = Device::new(mirror(new.clone()));
    let slot = device.dir.path().join("slot a");
    fs::write(&slot, [&old[..], &[0; 1 << 20]].concat()).unwrap();
    device.runs_from(&slot);
    let Fetched { carriage, said, .. } = device.stages(&new).await;
    assert_eq!((carriage.found, said), ((2 << 20) - (1 << 18), Vec::<String>::new()));
    assert!(carriage.carried < (1 << 18) + (1 << 14), "the new eighth and the index: {carriage:?}");
}

/// It says no, and nothing hangs on it.
#[tokio::test]
async fn a_slot_program_of_before_is_handed_the_release_all_the_same() {
    let (old, new) = images();
    let device = Device::new(mirror(new.clone()));
    let Fetched { carriage, .. } = device.stages(&new).await;
    assert_eq!(carriage.found, 0);
    assert!(carriage.carried >= 2 << 20, "{carriage:?}");

    let device = Device::new(mirror(new.clone()));
    fs::write(device.dir.path().join("artifacts").join(digest(&old).to_string()), &old).unwrap();
    let Fetched { carriage, said, .. } = device.stages(&new).await;
    assert_eq!((carriage.found, said), ((2 << 20) - (1 << 18), Vec::<String>::new()), "of the kept one");
}

#[tokio::test]
async fn a_running_slot_that_cannot_be_read_costs_the_whole_and_is_told_of() {
    let (_, new) = images();
    let device = Device::new(mirror(new.clone()));
    let slot = device.dir.path().join("no slot");
    device.runs_from(&slot);
    let Fetched { carriage, said, .. } = device.stages(&new).await;
    assert_eq!(carriage.found, 0);
    assert!(said[0].starts_with(&format!("{} can't be read: ", slot.display())), "{said:?}");
}
