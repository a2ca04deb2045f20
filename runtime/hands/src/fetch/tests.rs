//! Whole artifacts: sources, resuming, the cache.

use std::{io::Write as _, time::SystemTime};

use backstay_model::Transience;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::server::{Reply, Server};

fn artifact() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i / 7) as u8).collect()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// A depot that knows ranges.
fn depot() -> Server {
    Server::start(|request| {
        let all = artifact();
        match request.split_once("range: bytes=").and_then(|(_, rest)| rest.split_once('-')) {
            None => Reply::ok(&all),
            Some((from, _)) => {
                let rest = &all[from.parse().unwrap()..];
                let range = format!("bytes {from}-{}/{}", all.len() - 1, all.len());
                let headers = format!("Content-Length: {}\r\nContent-Range: {range}", rest.len());
                Reply::with("206 Partial Content", &headers, rest)
            }
        }
    })
}

/// It breaks off in the middle of what it promised.
fn flaky() -> Server {
    Server::start(|_| Reply::with("200 OK", "Content-Length: 200000", &artifact()[..120_000]))
}

struct World {
    dir: tempfile::TempDir,
    fetch: Fetch,
}

impl World {
    fn new(servers: &[&Server], cache_bytes_max: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bases = servers.iter().map(|server| server.url("/depot/")).collect();
        let cache = dir.path().join("cache");
        let sources = Sources { bases, cache, cache_bytes_max, stall: Millis::from_secs(30) };
        Self { dir, fetch: Fetch::new(sources, &Roots::none()).unwrap() }
    }

    fn gets(&self) -> Result<Vec<u8>, FetchError> {
        let artifact = artifact();
        let mut fetched = self.fetch.get_blocking(digest(&artifact), artifact.len() as u64)?;
        let mut bytes = Vec::new();
        fetched.file.read_to_end(&mut bytes).unwrap();
        Ok(bytes)
    }

    fn keeps(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path().join("cache")).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn tried(error: FetchError) -> Vec<SourceError> {
    let FetchError::NoSource { tried, .. } = error else { panic!("{error:?}") };
    tried.into_iter().map(|(_, error)| error).collect()
}

#[tokio::test]
async fn an_artifact_is_fetched_once_and_kept() {
    let depot = depot();
    let world = World::new(&[&depot], 1 << 20);
    let artifact = artifact();
    let fetched = world.fetch.get(digest(&artifact), artifact.len() as u64).await.unwrap();
    assert_eq!(fs::read(&fetched.path).unwrap(), artifact);
    assert!((&fetched.file).write_all(b"more").is_err(), "nobody can write to it any more");
    assert_eq!(world.gets().unwrap(), artifact);
    let heard = depot.heard();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].starts_with(&format!("GET /depot/v1/artifacts/{} HTTP/1.1\r\n", digest(&artifact))));
}

#[test]
fn what_one_source_began_another_ends() {
    let (flaky, depot) = (flaky(), depot());
    let world = World::new(&[&flaky, &depot], 1 << 20);
    assert_eq!(world.gets().unwrap(), artifact());
    assert!(depot.heard()[0].contains("range: bytes=120000-\r\n"), "{:?}", depot.heard());
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_was() {
    let flaky = flaky();
    let world = World::new(&[&flaky], 1 << 20);
    let error = world.gets().unwrap_err();
    assert_eq!(error.transience(), Transience::Transient);
    assert!(matches!(tried(error)[..], [SourceError::BrokeOff { at: 120_000, .. }]));
    let heard = flaky.heard().len();
    // It knows no ranges: it begins again, and so do we.
    assert!(world.gets().is_err());
    assert!(flaky.heard()[heard].contains("range: bytes=120000-"));
}

#[test]
fn wrong_beginnings_do_not_spoil_a_good_end() {
    let depot = depot();
    let world = World::new(&[&depot], 1 << 20);
    let part = format!("{}.part", digest(&artifact()));
    for left_over in [vec![9; 777], vec![9; 200_000], vec![9; 300_000]] {
        fs::write(world.dir.path().join("cache").join(&part), left_over).unwrap();
        assert_eq!(world.gets().unwrap(), artifact());
        fs::remove_file(world.dir.path().join("cache").join(digest(&artifact()).to_string())).unwrap();
    }
}

#[test]
fn a_source_is_not_believed() {
    let mut other = artifact();
    other[5] ^= 1;
    let liar = Server::start(move |_| Reply::ok(&other));
    let short = Server::start(|_| Reply::ok(b"short"));
    let endless = Server::start(|_| Reply::with("200 OK", "X: y", &[7; 900_000]));
    let none = Server::start(|_| Reply::head("404 Not Found", "X: y"));
    let gone = Server::start(|_| Reply::head("403 Forbidden", "X: y"));
    let babble = Server::start(|_| Reply::raw(b"\x00\x01 what?\r\n\r\n".to_vec()));
    let world = World::new(&[&liar, &short, &endless, &gone], 1 << 20);
    let error = world.gets().unwrap_err();
    assert_eq!(error.transience(), Transience::Permanent);
    let why = tried(error);
    assert!(matches!(why[0], SourceError::OtherBytes), "{why:?}");
    assert!(matches!(why[1], SourceError::OtherLength { length: 5 }), "{why:?}");
    assert!(matches!(why[2], SourceError::OtherLength { .. }), "{why:?}");
    assert!(matches!(why[3], SourceError::Status { status: 403 }), "{why:?}");
    let world = World::new(&[&liar, &none, &babble], 1 << 20);
    assert_eq!(world.gets().unwrap_err().transience(), Transience::Transient);
    let depot = depot();
    assert_eq!(World::new(&[&liar, &babble, &endless, &depot], 1 << 20).gets().unwrap(), artifact());
}

#[test]
fn a_damaged_cache_is_fetched_anew() {
    let depot = depot();
    let world = World::new(&[&depot], 1 << 20);
    world.gets().unwrap();
    let path = world.dir.path().join("cache").join(digest(&artifact()).to_string());
    let mut bytes = fs::read(&path).unwrap();
    bytes[77] ^= 4;
    fs::write(&path, bytes).unwrap();
    assert_eq!(world.gets().unwrap(), artifact());
    assert_eq!(depot.heard().len(), 2);
}

#[test]
fn the_cache_keeps_to_its_budget() {
    let depot = depot();
    let world = World::new(&[&depot], 250_000);
    let cache = world.dir.path().join("cache");
    for (name, age) in [("older", 2), ("newer", 1)] {
        fs::write(cache.join(name), [0; 30_000]).unwrap();
        let file = File::options().write(true).open(cache.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age * 1000)).unwrap();
    }
    world.gets().unwrap();
    assert_eq!(world.keeps(), [digest(&artifact()).to_string(), "newer".into()]);
    let small = World::new(&[&depot], 1000);
    let error = small.gets().unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }) && error.transience() == Transience::Permanent);
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_stops() {
    let given_up = AtomicBool::new(true);
    let depot = depot();
    let world = World::new(&[&depot], 1 << 20);
    let stopped = world.fetch.0.get(&digest(&artifact()), 200_000, None, &given_up);
    assert!(matches!(stopped, Err(FetchError::GivenUp)));
}
