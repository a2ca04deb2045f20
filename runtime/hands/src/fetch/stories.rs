//! Artifacts by their blocks: what an old image saves, and everything that can be wrong with what somebody sends.

use std::{
    io::Cursor,
    path::Path,
    sync::{
        Mutex as Shared,
        atomic::{AtomicU64, AtomicUsize},
    },
};

use backstay_blocks::{EXTENSION, Shape};
use backstay_model::Transience;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::server::{Reply, Server};

const BLOCK: usize = 4096;

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

fn text(word: &str, bytes: usize) -> Vec<u8> {
    let lines: String = (0..bytes / 8).map(|line| format!("{word} {line}\n")).collect();
    lines.into_bytes()[..bytes].to_vec()
}

/// The image that runs: programs, text, empty space.
fn old_image() -> Vec<u8> {
    [noise(1, 150 * BLOCK), text("old", 30 * BLOCK), vec![0; 60 * BLOCK], noise(2, 150 * BLOCK)].concat()
}

/// What it becomes: one program is another, the text as well, the rest is elsewhere, and the end is short.
fn new_image() -> Vec<u8> {
    let old = old_image();
    let mut new =
        [&old[240 * BLOCK..], &text("new", 30 * BLOCK), &vec![0; 50 * BLOCK], &old[..150 * BLOCK]].concat();
    new[20 * BLOCK..40 * BLOCK].copy_from_slice(&noise(3, 20 * BLOCK));
    new.extend_from_slice(b"the end of it");
    new
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn blocks_of(image: &[u8]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    backstay_blocks::write(&mut &*image, image.len() as u64, &mut file).unwrap();
    file.into_inner()
}

fn index_bytes() -> usize {
    Shape::of(new_image().len() as u64).unwrap().index_bytes()
}

/// An index that was altered, with a sum that says it wasn't.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let sum = index_bytes() - 32;
    let seal = Sha256::digest(&file[..sum]);
    file[sum..sum + 32].copy_from_slice(&seal);
    file
}

/// From where to where somebody asks, of a file of this length; none: for all of it.
fn asked(request: &str, length: usize) -> Option<(usize, usize)> {
    let (from, rest) = request.split_once("range: bytes=")?.1.split_once('-')?;
    let to: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let from = from.parse().unwrap();
    Some((from, to.parse().map_or(length, |last: usize| (last + 1).min(length))))
}

fn range(file: &[u8], (from, to): (usize, usize)) -> Reply {
    let about =
        format!("Content-Length: {}\r\nContent-Range: bytes {from}-{}/{}", to - from, to - 1, file.len());
    Reply::with("206 Partial Content", &about, &file[from..to])
}

/// Any server of files: it knows ranges, and nothing of ours.
fn file(file: &[u8], request: &str) -> Reply {
    match asked(request, file.len()) {
        Some(asked) if asked.0 < asked.1 => range(file, asked),
        Some(_) => Reply::head("416 Range Not Satisfiable", "X: y"),
        None => Reply::ok(file),
    }
}

fn is_for_blocks(request: &str) -> bool {
    request.split_once(" HTTP/").unwrap().0.ends_with(&format!(".{EXTENSION}"))
}

/// A mirror with the new image and this for its blocks.
fn mirror(blocks: Vec<u8>) -> Server {
    answering(move |request| file(&blocks, request))
}

/// A mirror with the new image that is asked for its blocks.
fn answering(blocks: impl Fn(&str) -> Reply + Send + 'static) -> Server {
    let new = new_image();
    Server::start(move |request| if is_for_blocks(request) { blocks(request) } else { file(&new, request) })
}

struct World {
    dir: tempfile::TempDir,
    fetch: Fetch,
}

impl World {
    /// A device that runs the old image.
    fn new(servers: &[&Server]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("slot"), old_image()).unwrap();
        let bases = servers.iter().map(|server| server.url("/")).collect();
        let cache = dir.path().join("cache");
        let sources = Sources { bases, cache, cache_bytes_max: 8 << 20, stall: Millis::from_secs(30) };
        Self { fetch: Fetch::new(sources, &Roots::none()).unwrap(), dir }
    }

    fn slot(&self) -> PathBuf {
        self.dir.path().join("slot")
    }

    fn part(&self) -> PathBuf {
        self.dir.path().join("cache").join(format!("{}.part", digest(&new_image())))
    }

    fn fetches_beside(&self, old: Option<PathBuf>) -> Result<Fetched, FetchError> {
        let new = new_image();
        let fetched = self.fetch.0.get(&digest(&new), new.len() as u64, old, &AtomicBool::new(false))?;
        assert!(fs::read(&fetched.path).unwrap() == new);
        Ok(fetched)
    }

    fn fetches(&self) -> Fetched {
        self.fetches_beside(Some(self.slot())).unwrap()
    }
}

/// How many of these asked for the whole.
fn whole(heard: &[String]) -> usize {
    heard.iter().filter(|request| !is_for_blocks(request)).count()
}

#[test]
fn only_what_is_new_is_fetched() {
    let mirror = mirror(blocks_of(&new_image()));
    let world = World::new(&[&mirror]);
    let Fetched { carriage, said, .. } = world.fetches();
    let heard = mirror.heard();
    assert_eq!((heard.len(), whole(&heard)), (4, 0), "the index, a program, the text, the end: {heard:#?}");
    assert!(heard[0].contains(&format!("range: bytes=0-{}\r\n", index_bytes() - 1)));
    assert_eq!(carriage.found, (new_image().len() - 50 * BLOCK - "the end of it".len()) as u64);
    let noise = (20 * BLOCK + index_bytes()) as u64;
    assert!((noise..noise + 70_000).contains(&carriage.carried), "{carriage:?}");
    assert!(said.is_empty() && carriage.left_over == 0);
    let again = world.fetches();
    assert_eq!((again.carriage, mirror.heard().len()), (Carriage::default(), 4), "it is in the cache");
}

#[test]
fn an_older_artifact_in_the_cache_does_as_well() {
    let mirror = mirror(blocks_of(&new_image()));
    let world = World::new(&[&mirror]);
    let cache = world.dir.path().join("cache");
    fs::write(cache.join(digest(&old_image()).to_string()), old_image()).unwrap();
    fs::write(cache.join("something-else"), noise(9, 100)).unwrap();
    let Fetched { carriage, .. } = world.fetches_beside(None).unwrap();
    assert_eq!((mirror.heard().len(), whole(&mirror.heard())), (4, 0));
    assert!(carriage.found > 1_200_000, "{carriage:?}");
}

/// What stands in for an old image is nothing that could be read, or is of no use.
#[test]
fn without_an_old_image_the_pack_is_fetched_at_once() {
    let new = text("new", new_image().len());
    let (blocks, all) = (blocks_of(&new), new.clone());
    let server =
        Server::start(move |request| file(if is_for_blocks(request) { &blocks } else { &all }, request));
    let packed = blocks_of(&new).len() as u64;
    let world = World::new(&[&server]);
    let none = world.dir.path().join("none");
    for (round, old) in
        [None, Some(none), Some(world.dir.path().into()), Some("/dev/zero".into()), Some(world.slot())]
            .into_iter()
            .enumerate()
    {
        let got = world.fetch.0.get(&digest(&new), new.len() as u64, old, &AtomicBool::new(false)).unwrap();
        assert_eq!(got.carriage, Carriage { carried: packed, found: 0, left_over: 0 });
        assert_eq!(server.heard().len(), 2 * (round + 1), "the index, and all of the pack");
        fs::remove_file(&got.path).unwrap();
    }
    assert!(packed < new.len() as u64 / 2);
}

/// A server or a mirror of before, which has no blocks, is asked for the whole as it always was.
#[test]
fn without_blocks_the_whole_is_fetched() {
    let older = answering(|_| Reply::head("404 Not Found", "X: y"));
    let world = World::new(&[&older]);
    let Fetched { carriage, said, .. } = world.fetches();
    assert_eq!(carriage, Carriage { carried: new_image().len() as u64, found: 0, left_over: 0 });
    assert!(said.is_empty(), "that is no fault of it: {said:?}");
    assert_eq!((older.heard().len(), whole(&older.heard())), (2, 1));
}

/// Everything that may come instead of an index or of a piece of the pack, each once.
#[test]
fn whoever_sends_something_odd_is_asked_for_the_whole() {
    let (good, index) = (blocks_of(&new_image()), index_bytes());
    let of_another = blocks_of(&noise(7, new_image().len()));
    let mut magic = good.clone();
    magic[7] = b'2';
    let mut damaged = good.clone();
    damaged[index / 2] ^= 4;
    // What it says is of the old image, and it says that it is of the new one.
    let mut lies = blocks_of(&text("other", new_image().len()));
    lies[8..40].copy_from_slice(&digest(&new_image()).0);
    let lies = sealed(lies);
    // Of each block as much is stored as it has, and none is known here.
    let mut nothing_saved = good.clone();
    let blocks = Shape::of(new_image().len() as u64).unwrap().blocks() as usize;
    let sizes_at = index - 32 - 2 * blocks;
    nothing_saved[48..sizes_at].fill(0x77);
    nothing_saved[sizes_at..index - 34].copy_from_slice(&4095_u16.to_le_bytes().repeat(blocks - 1));
    let nothing_saved = sealed(nothing_saved);
    let mut too_large = good.clone();
    too_large[sizes_at..index - 32].fill(0xff);
    let too_large = sealed(too_large);
    let mut pack = good.clone();
    pack[index..].fill(0x55);
    let endless = good.clone();
    let elsewhere = good.clone();
    let gone = (good.clone(), AtomicUsize::new(0));
    let shorter = good.clone();
    type Odd = (Server, &'static str);
    let odd: Vec<Odd> = vec![
        (mirror(magic), "what came is no index of blocks that is known here"),
        (mirror(damaged), "the index is damaged"),
        (mirror(of_another), "the index is about another artifact"),
        (mirror(lies), "its blocks make something else"),
        (mirror(nothing_saved), "would be hardly less than the"),
        (mirror(too_large), "more is stored of block"),
        (mirror(pack), "of the pack is not what the index says"),
        (mirror(good[..index - 1].to_vec()), "it doesn't know ranges as they are asked for"),
        (mirror(good[..index + 5].to_vec()), "it doesn't know ranges as they are asked for"),
        (mirror(Vec::new()), "it doesn't know ranges as they are asked for"),
        (answering(|_| Reply::ok(&[7; 3_000_000])), "it doesn't know ranges as they are asked for"),
        (answering(|_| Reply::head("403 Forbidden", "X: y")), "it answered with status 403"),
        (answering(|_| Reply::raw(b"\x00\x01 what?\r\n\r\n".to_vec())), "its blocks can't be asked for"),
        (answering(|_| Reply::head("302 Found", "Location: /v1/artifacts/x.blocks")), "status 302"),
        (
            answering(move |request| {
                let (from, to) = asked(request, endless.len()).unwrap();
                let about = format!("Content-Range: bytes {from}-{}/{}", to - 1, endless.len());
                Reply::with("206 Partial Content", &about, &vec![9; 2 * (to - from)])
            }),
            "what came is no index",
        ),
        (
            answering(move |request| {
                let (from, to) = asked(request, elsewhere.len()).unwrap();
                range(&elsewhere, (from + 1, to))
            }),
            "it doesn't know ranges as they are asked for",
        ),
        (
            answering(move |request| match gone.1.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => file(&gone.0, request),
                _ => Reply::head("404 Not Found", "X: y"),
            }),
            "asked for its blocks it answered with status 404",
        ),
        (
            answering(move |request| {
                let (from, to) = asked(request, shorter.len()).unwrap();
                let about = format!("Content-Range: bytes {from}-{}/{}", to - 1, shorter.len());
                Reply::with("206 Partial Content", &about, &shorter[from..from + (to - from) / 2])
            }),
            "it broke off before a block came",
        ),
    ];
    for (server, why) in odd {
        let world = World::new(&[&server]);
        let Fetched { carriage, said, .. } = world.fetches();
        assert!(said.len() == 1 && said[0].contains(why), "{said:?} is not {why}");
        assert!(said[0].starts_with(&server.url("/")) && whole(&server.heard()) >= 1);
        let most = (2 * new_image().len() + good.len()) as u64;
        assert!(carriage.carried <= most, "{why}: {carriage:?}");
    }
}

/// The network goes in the middle of a range, and power with it: the next try goes on at the same place, by blocks, and with
/// another mirror.
#[test]
fn what_broke_off_goes_on_by_blocks() {
    let blocks = blocks_of(&new_image());
    let (good, index) = (blocks.clone(), index_bytes());
    let flaky = answering(move |request| {
        let (from, to) = asked(request, blocks.len()).unwrap();
        if from < index {
            return file(&blocks, request);
        }
        let about = format!(
            "Content-Length: {}\r\nContent-Range: bytes {from}-{}/{}",
            to - from,
            to - 1,
            blocks.len()
        );
        Reply::with("206 Partial Content", &about, &blocks[from..from + (to - from).min(10 * BLOCK + 5)])
    });
    let world = World::new(&[&flaky]);
    let error = world.fetches_beside(Some(world.slot())).unwrap_err();
    assert_eq!(error.transience(), Transience::Transient);
    let here = 30 * BLOCK as u64;
    let FetchError::NoSource { tried, .. } = error else { panic!("{error}") };
    assert!(matches!(tried[..], [(_, SourceError::BrokeOff { at, .. })] if at == here), "{tried:?}");
    assert_eq!((whole(&flaky.heard()), fs::metadata(world.part()).unwrap().len()), (0, here));

    let mirror = mirror(good);
    let World { dir, .. } = world;
    let sources = Sources {
        bases: vec![mirror.url("/")],
        cache: dir.path().join("cache"),
        cache_bytes_max: 8 << 20,
        stall: Millis::from_secs(30),
    };
    let world = World { fetch: Fetch::new(sources, &Roots::none()).unwrap(), dir };
    let carriage = world.fetches().carriage;
    assert_eq!((carriage.left_over, whole(&mirror.heard())), (here, 0));
    assert!(carriage.carried < (index + 11 * BLOCK + 70_000) as u64, "{carriage:?}");
}

/// A part may have begun any way, and end in the middle of a block.
#[test]
fn what_began_as_a_whole_ends_by_blocks() {
    let blocks = blocks_of(&new_image());
    let new = new_image();
    for left_over in [1, 5 * BLOCK, 25 * BLOCK + 1, 160 * BLOCK - 1, 300 * BLOCK + 77] {
        let mirror = mirror(blocks.clone());
        let world = World::new(&[&mirror]);
        fs::write(world.part(), &new[..left_over]).unwrap();
        let Fetched { carriage, said, .. } = world.fetches();
        assert_eq!((carriage.left_over, whole(&mirror.heard()), said.len()), (left_over as u64, 0, 0));
    }
    // A wrong beginning costs no more than to begin again.
    let mirror = mirror(blocks);
    let world = World::new(&[&mirror]);
    fs::write(world.part(), noise(5, 100 * BLOCK)).unwrap();
    let Fetched { carriage, said, .. } = world.fetches();
    assert_eq!((whole(&mirror.heard()), carriage.left_over, said.len()), (0, 0, 0));
    assert!(carriage.found < new.len() as u64 && carriage.carried < 300_000, "{carriage:?}");
}

/// A file system that is mounted writes to its own slot between the look at it and the taking.
#[test]
fn an_old_image_that_changes_meanwhile_is_let_go_of() {
    let (blocks, slot) = (blocks_of(&new_image()), Arc::new(Shared::new(None::<PathBuf>)));
    let known = Arc::clone(&slot);
    let mirror = answering(move |request| {
        let asked = asked(request, blocks.len()).unwrap();
        if asked.0 >= index_bytes()
            && let Some(slot) = known.lock().unwrap().take()
        {
            fs::write(slot, noise(8, old_image().len())).unwrap();
        }
        range(&blocks, asked)
    });
    let world = World::new(&[&mirror]);
    *slot.lock().unwrap() = Some(world.slot());
    // What is left of it is then as large by blocks as it is.
    let Fetched { carriage, said, .. } = world.fetches();
    assert_eq!(carriage.found, 20 * BLOCK as u64, "what was taken before: {carriage:?}");
    assert!(said.is_empty() || said[0].contains("would be hardly less"), "{said:?}");
    // It is cut short, and what is missing is not here.
    let world = World::new(&[&mirror]);
    let mut short = old_image();
    short.truncate(100 * BLOCK + 5);
    fs::write(world.slot(), short).unwrap();
    world.fetches();
}

#[test]
fn what_would_save_nothing_is_fetched_whole() {
    let new = noise(6, 300 * BLOCK);
    let (blocks, all) = (blocks_of(&new), new.clone());
    let server =
        Server::start(move |request| file(if is_for_blocks(request) { &blocks } else { &all }, request));
    let world = World::new(&[&server]);
    let got = world
        .fetch
        .0
        .get(&digest(&new), new.len() as u64, Some(world.slot()), &AtomicBool::new(false))
        .unwrap();
    assert!(got.said[0].contains("hardly less than the 1228800 bytes"), "{:?}", got.said);
    assert_eq!((server.heard().len(), whole(&server.heard())), (2, 1));
    let small = noise(6, 100 * BLOCK);
    let all = small.clone();
    let server = Server::start(move |request| file(&all, request));
    let world = World::new(&[&server]);
    world.fetch.get_blocking(digest(&small), small.len() as u64).unwrap();
    assert_eq!(server.heard().len(), 1, "what is small is not asked for twice");
}

/// One that lies, one that is too busy, one that isn't there: the next has it.
#[test]
fn the_next_source_gives_what_one_did_not() {
    let mut pack = blocks_of(&new_image());
    pack[index_bytes()..].fill(0x55);
    let liar = Server::start(
        move |request| if is_for_blocks(request) { file(&pack, request) } else { Reply::ok(b"no") },
    );
    let busy = Server::start(|_| Reply::head("503 Service Unavailable", "X: y"));
    let mirror = mirror(blocks_of(&new_image()));
    let world = World::new(&[&liar, &busy, &mirror]);
    let Fetched { said, carriage, .. } = world.fetches();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].contains("block 20 of the pack")
            && said[1].contains("2 bytes long")
            && said[2].contains("503")
    );
    assert_eq!((whole(&busy.heard()), whole(&mirror.heard())), (0, 0));
    assert!(carriage.found > 1_000_000);
}

/// A store may know no better word for a file that it doesn't have.
#[test]
fn a_source_that_fails_at_the_blocks_alone_gives_the_whole() {
    for status in ["500 Internal Server Error", "501 Not Implemented", "403 Forbidden"] {
        let mirror = answering(move |_| Reply::head(status, "X: y"));
        let world = World::new(&[&mirror]);
        let Fetched { said, carriage, .. } = world.fetches();
        assert_eq!((said.len(), whole(&mirror.heard())), (1, 1), "{said:?}");
        assert!(said[0].contains(&status[..3]), "{said:?}");
        assert_eq!((carriage.carried, carriage.found), (new_image().len() as u64, 0));
    }
}

#[test]
fn an_old_image_that_cannot_be_read_is_told_of() {
    let mirror = mirror(blocks_of(&new_image()));
    let world = World::new(&[&mirror]);
    let dir = world.dir.path().to_owned();
    let Fetched { said, carriage, .. } = world.fetches_beside(Some(dir.clone())).unwrap();
    let why = format!("{} can't be read: it is neither a file nor a block device", dir.display());
    assert_eq!(said.first(), Some(&why), "{said:?}");
    assert!(carriage.carried > 1_000_000, "{carriage:?}");
}

#[test]
fn ranges_share_a_connection() {
    let blocks = blocks_of(&new_image());
    let asked_for = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked_for);
    let mirror = answering(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        let (from, to) = asked(request, blocks.len()).unwrap();
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\r\n",
            to - from,
            to - 1,
            blocks.len()
        );
        Reply::raw([head.as_bytes(), &blocks[from..to]].concat()).then_keeps()
    });
    World::new(&[&mirror]).fetches();
    assert_eq!((asked_for.load(Ordering::Relaxed), mirror.connections()), (4, 1));
}

#[test]
fn a_fetch_by_blocks_that_nobody_waits_for_stops() {
    let mirror = mirror(blocks_of(&new_image()));
    let world = World::new(&[&mirror]);
    let new = new_image();
    let given_up = AtomicBool::new(true);
    let stopped = world.fetch.0.get(&digest(&new), new.len() as u64, Some(world.slot()), &given_up);
    assert!(matches!(stopped, Err(FetchError::GivenUp)));
    assert!(Path::new(&world.part()).exists());
}
