//! The last known good configuration of this device: files captured when a release has proved itself, and put back, byte for
//! byte, by a rung of the ladder.
//!
//! What may hold a credential is never captured and never put back: a frozen copy of one that was changed since takes a device
//! off the network. Not here: when a release has proved itself and when its configuration is put back (`core`), and what a
//! credential looks like (`core`: `credential`).
//!
//! A capture is one file, there whole or not at all, and there is one for each release that the device may run again: home has
//! its own. A release that was captured isn't captured again, because what has drifted since is not good.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use backstay_core::credential;
use backstay_hands::{Granted, Paths, beside};
use backstay_memory::{keep_file, keep_folder};
use backstay_model::{Access, Answer, Digest, Event, Name, Outcome, Output, Reason, Release, Transience};
use backstay_slots::{ReleaseWords, release_from_words};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::machine::Machine;

/// The most files.
pub const FILES_MAX: usize = 16;
/// The longest file that is captured. Longer ones can't be put back in one go.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The longest name of one, in bytes: all of them are told in one answer.
const FILE_NAME_MAX: usize = 200;
/// The command by which a playbook has what was captured put back.
pub const RESTORE: &str = "restore-configuration";

/// A file of the configuration of what runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// Which, from the root.
    pub file: PathBuf,
    /// What it holds, where somebody knows better than what it looks like.
    pub holds: Option<Holds>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// Nothing that has to stay as it is.
    Configuration,
    /// A credential: it is left alone.
    Credential,
}

/// What was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Capture {
    release: Release,
    files: Vec<(String, Captured)>,
}

/// What was captured of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Captured {
    /// All of it.
    Whole(Vec<u8>),
    /// Nothing, and why.
    Left(String),
}

const HEADING: &str = "backstay-lkg 1";

/// The most bytes of a capture.
const CAPTURE_BYTES_MAX: u64 = FILES_MAX as u64 * (FILE_BYTES_MAX + 1024) + 1024;

impl Capture {
    /// A line for what comes, and then as many bytes as it says; in front of it all, the digest of the rest.
    fn encode(&self) -> Vec<u8> {
        let mut said = format!("{HEADING}\n{}\n", ReleaseWords(&self.release)).into_bytes();
        for (file, captured) in &self.files {
            let (what, bytes) = match captured {
                Captured::Whole(bytes) => ("whole", bytes.as_slice()),
                Captured::Left(why) => ("left", why.as_bytes()),
            };
            said.extend_from_slice(format!("{what} {} {file}\n", bytes.len()).as_bytes());
            said.extend_from_slice(bytes);
        }
        [Sha256::digest(&said).as_slice(), &said].concat()
    }

    /// What [`Capture::encode`] wrote, if it is whole.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (sum, mut said) = bytes.split_at_checked(32)?;
        if Sha256::digest(said).as_slice() != sum || line(&mut said)? != HEADING {
            return None;
        }
        let release = release_from_words(line(&mut said)?)?;
        let mut files = Vec::new();
        while !said.is_empty() {
            let mut words = line(&mut said)?.splitn(3, ' ');
            let (what, length, file) = (words.next()?, words.next()?, words.next()?);
            let (bytes, rest) = said.split_at_checked(length.parse().ok()?)?;
            said = rest;
            let captured = match what {
                "whole" => Captured::Whole(bytes.to_vec()),
                "left" => Captured::Left(str::from_utf8(bytes).ok()?.to_owned()),
                _ => return None,
            };
            files.push((file.to_owned(), captured));
        }
        Some(Self { release, files })
    }
}

/// The next line.
fn line<'a>(said: &mut &'a [u8]) -> Option<&'a str> {
    let end = said.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = said.split_at_checked(end)?;
    *said = rest.get(1..)?;
    str::from_utf8(line).ok()
}

/// The captures of a device. Clones are of the same ones.
#[derive(Clone, Debug)]
pub struct Lkg {
    dir: PathBuf,
    watched: Arc<[Watched]>,
    /// The releases that were captured.
    known: Arc<Mutex<Vec<Digest>>>,
}

impl Lkg {
    /// In the folder of an agent's state, of these files.
    #[must_use]
    pub fn of(state: &Path, watched: &[Watched]) -> Self {
        let dir = state.join("lkg");
        let known = captures(&dir).filter_map(|path| read(&path)).map(|capture| capture.release.digest);
        let known = Arc::new(Mutex::new(known.collect()));
        Self { dir, watched: watched.into(), known }
    }

    /// Whether a command is the one that puts back.
    #[must_use]
    pub fn is_restore(&self, command: &Name) -> bool {
        is_restore(&self.watched, command)
    }

    /// Whether the configuration of a release is still to be captured.
    #[must_use]
    pub fn lacks(&self, release: &Release) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        !self.watched.is_empty() && !known.contains(&release.digest)
    }

    /// Captures the configuration of what runs, durably. Of the captures before, those of `kept` stay.
    ///
    /// # Errors
    /// If the disk doesn't take it; then what was captured before is there still.
    pub fn capture(&self, release: &Release, kept: &[Digest]) -> io::Result<Event> {
        let files = self
            .watched
            .iter()
            .map(|watched| (watched.file.to_string_lossy().into_owned(), captured(watched)));
        let capture = Capture { release: release.clone(), files: files.collect() };
        keep_folder(&self.dir)?;
        keep_file(&self.path(&release.digest), &capture.encode())?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|digest| kept.contains(digest));
        known.push(release.digest);
        let stay: Vec<PathBuf> = known.iter().map(|digest| self.path(digest)).collect();
        for old in captures(&self.dir).filter(|path| !stay.contains(path)) {
            // One that stays takes a little room.
            let _ = fs::remove_file(old);
        }
        let whole = |file: &&(String, Captured)| matches!(file.1, Captured::Whole(_));
        let left = capture.files.iter().filter_map(|(file, captured)| match captured {
            Captured::Whole(_) => None,
            Captured::Left(why) => Some(format!("{file} ({why})")),
        });
        let left = Reason::new(left.collect::<Vec<_>>().join(", ")).0;
        let files = capture.files.iter().filter(whole).count().try_into().unwrap_or(u32::MAX);
        Ok(Event::Captured { release: release.clone(), files, left })
    }

    /// Puts back what was captured of `on`, which runs, and restarts the program that the machine keeps running, if there is one:
    /// it reads its configuration when it starts.
    pub async fn put_back_and_restart(self, on: Release, machine: Option<&Machine>) -> Answer {
        let restored = beside(move || self.restore(&on)).await;
        let answer = restored.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        match (&answer, machine) {
            (Answer::Exited { .. }, Some(machine)) => match machine.boot().await {
                Ok(_) => answer,
                Err(error) => Answer::Failed(error.outcome()),
            },
            _ => answer,
        }
    }

    /// Puts back what was captured of `on`, which runs. A file that has drifted is kept beside the captures before it is replaced.
    #[must_use]
    pub fn restore(&self, on: &Release) -> Answer {
        let Some(capture) =
            read(&self.path(&on.digest)).filter(|capture| capture.release.digest == on.digest)
        else {
            let why =
                format!("the configuration of {} was never captured, or the capture is damaged", on.version);
            return Answer::Failed(Outcome::Failed { transience: Transience::Permanent, why });
        };
        let mut told = Vec::new();
        for (file, captured) in &capture.files {
            // What isn't watched any more isn't ours to write.
            let watched = self.watched.iter().find(|watched| watched.file.as_path() == Path::new(file));
            let bytes = match (captured, watched) {
                (_, None) => continue,
                (Captured::Left(why), _) => {
                    told.push(format!("left {file}: {why}"));
                    continue;
                }
                (Captured::Whole(_), Some(Watched { holds: Some(Holds::Credential), .. })) => {
                    told.push(format!("left {file}: it is said to hold a credential"));
                    continue;
                }
                (Captured::Whole(bytes), Some(_)) => bytes,
            };
            match self.put_back(Path::new(file), bytes) {
                Ok(false) => told.push(format!("{file} is as it was")),
                Ok(true) => told.push(format!("restored {file}")),
                Err(answer) => return *answer,
            }
        }
        // With the longest names there are it fits.
        let output = Output { bytes: told.join("\n").into_bytes(), whole: None };
        Answer::Exited { code: Some(0), output }
    }

    fn path(&self, release: &Digest) -> PathBuf {
        self.dir.join(format!("{release}.capture"))
    }

    /// Whether the file had to be written.
    fn put_back(&self, file: &Path, bytes: &[u8]) -> Result<bool, Box<Answer>> {
        let now = content(file).map_err(|error| {
            let why = Reason::new(format!("{}: {error}", file.display())).0;
            Answer::Failed(Outcome::Failed { transience: Transience::Permanent, why })
        })?;
        if now.as_deref() == Some(bytes) {
            return Ok(false);
        }
        if let Some(now) = now {
            // What somebody has changed on purpose is not lost. There is room for the newest of each file.
            let name = Digest(Sha256::digest(file.as_os_str().as_encoded_bytes()).into());
            let aside = self.dir.join(format!("{name}.replaced"));
            keep_file(&aside, &now).map_err(|error| {
                let why = Reason::new(format!("cannot keep what is in {}: {error}", file.display())).0;
                Answer::Failed(Outcome::Failed { transience: Transience::Transient, why })
            })?;
        }
        let granted = Paths::new(vec![Granted { path: file.to_owned(), access: Access::Changes }]);
        let replaced = granted.replace(&file.to_string_lossy(), bytes);
        if replaced == Answer::Done { Ok(true) } else { Err(Box::new(replaced)) }
    }
}

/// Whether a command puts back what was captured of these files.
#[must_use]
pub fn is_restore(watched: &[Watched], command: &Name) -> bool {
    command.as_str() == RESTORE && !watched.is_empty()
}

/// Says what is wrong with files that are to be captured, by their keys.
pub fn check(watched: &[Watched], wrong: &mut impl FnMut(&str, &str)) {
    if watched.len() > FILES_MAX {
        wrong("lkg", "expected at most 16 files");
    }
    for (at, Watched { file, .. }) in watched.iter().enumerate() {
        let key = format!("lkg[{at}].file");
        let is_plain = file.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        let is_named = |name: &str| name.len() <= FILE_NAME_MAX && !name.contains(char::is_control);
        if !file.is_absolute() || !is_plain || !file.to_str().is_some_and(is_named) {
            wrong(&key, "expected a path from the root, at most 200 bytes of text, without ..");
        }
        if watched.iter().take(at).any(|earlier| earlier.file == *file) {
            wrong(&key, "expected a file that no other one is");
        }
    }
}

/// What is to be captured of a file.
fn captured(Watched { file, holds }: &Watched) -> Captured {
    let left = |why: &str| Captured::Left(why.to_owned());
    let bytes = match content(file) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return left("it is not there"),
        Err(error) => return Captured::Left(error.to_string()),
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match holds {
        Some(Holds::Credential) => left("it is said to hold a credential"),
        Some(Holds::Configuration) => Captured::Whole(bytes),
        None => match credential::in_file(&name, &bytes) {
            Some(why) => left(why),
            None => Captured::Whole(bytes),
        },
    }
}

/// What a file holds, if it is there.
fn content(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::symlink_metadata(file) {
        Ok(about) if about.is_file() => {}
        // To replace a link would be to take away what somebody points elsewhere.
        Ok(_) => return Err(io::Error::other("it is no plain file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it has more than 64 KiB"));
    }
    Ok(Some(bytes))
}

/// The files with captures.
fn captures(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let found = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    found.filter(|path| path.extension().is_some_and(|extension| extension == "capture"))
}

/// A capture that is whole.
fn read(path: &Path) -> Option<Capture> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(CAPTURE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Capture::decode(&bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn release(version: &str) -> Release {
        let digest = Digest([version.as_bytes()[2]; 32]);
        Release { version: version.parse().unwrap(), digest, length: 1, security_epoch: 0 }
    }

    struct Pump {
        dir: tempfile::TempDir,
    }

    impl Pump {
        /// A pump whose settings hold nothing secret, beside those of its uplink, which do.
        fn new() -> Self {
            let pump = Self { dir: tempfile::tempdir().unwrap() };
            pump.has("pump.toml", SETTINGS);
            pump.has("uplink.toml", b"url = \"mqtts://broker\"\npassword = \"hunter2\"\n");
            pump
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn has(&self, name: &str, bytes: &[u8]) {
            fs::write(self.path(name), bytes).unwrap();
        }

        fn holds(&self, name: &str) -> Vec<u8> {
            fs::read(self.path(name)).unwrap()
        }

        fn watched(&self, names: &[&str]) -> Vec<Watched> {
            names.iter().map(|name| Watched { file: self.path(name), holds: None }).collect()
        }

        /// As the agent finds it at a start.
        fn lkg(&self) -> Lkg {
            Lkg::of(&self.path("state"), &self.watched(&["pump.toml", "uplink.toml", "none.toml"]))
        }

        fn told(&self, lkg: &Lkg, on: &str) -> String {
            let Answer::Exited { code: Some(0), output } = lkg.restore(&release(on)) else { panic!("{on}") };
            let told = String::from_utf8(output.bytes).unwrap();
            told.replace(&format!("{}/", self.dir.path().display()), "")
        }
    }

    /// Whatever it means, it comes back as it was.
    const SETTINGS: &[u8] = b"# by hand\r\nspeed   = 3\n\n\xff";

    #[test]
    fn what_drifts_comes_back_byte_for_byte_and_credentials_stay_as_they_are() {
        let (pump, on) = (Pump::new(), release("1.4.0"));
        let lkg = pump.lkg();
        assert!(lkg.lacks(&on));
        let captured = lkg.capture(&on, &[]).unwrap().to_string();
        assert!(captured.contains("1 files") && captured.contains("it is not there"), "{captured}");
        assert!(!lkg.lacks(&on));
        // The password was changed since, and the speed was lost.
        pump.has("uplink.toml", b"password = \"other\"\n");
        pump.has("pump.toml", b"speed = 9000\n");
        fs::set_permissions(pump.path("pump.toml"), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            pump.told(&pump.lkg(), "1.4.0"),
            "restored pump.toml\n\
             left uplink.toml: a line that sets a password, a token or a key\n\
             left none.toml: it is not there"
        );
        assert_eq!(pump.holds("pump.toml"), SETTINGS);
        assert_eq!(pump.holds("uplink.toml"), b"password = \"other\"\n");
        assert_eq!(fs::metadata(pump.path("pump.toml")).unwrap().permissions().mode() & 0o777, 0o640);
        // What was there instead is not lost, and nothing of a credential was kept.
        let kept = fs::read_dir(pump.path("state/lkg")).unwrap().flatten();
        let kept: Vec<Vec<u8>> = kept.map(|entry| fs::read(entry.path()).unwrap()).collect();
        assert!(kept.iter().any(|bytes| bytes == b"speed = 9000\n"));
        assert!(kept.iter().all(|bytes| !bytes.windows(7).any(|part| part == b"hunter2")));
        assert!(pump.told(&pump.lkg(), "1.4.0").starts_with("pump.toml is as it was"));
    }

    /// Keys that came with a release would be taken away from under it.
    #[test]
    fn only_what_runs_gets_its_own_configuration_back() {
        let pump = Pump::new();
        let lkg = pump.lkg();
        lkg.capture(&release("1.4.0"), &[]).unwrap();
        pump.has("pump.toml", b"speed = 5\n");
        assert!(matches!(lkg.restore(&release("1.5.0")), Answer::Failed(_)));
        assert_eq!(pump.holds("pump.toml"), b"speed = 5\n");
        // The next one has its own, and home keeps what it had, for as long as it is home.
        lkg.capture(&release("1.5.0"), &[release("1.4.0").digest]).unwrap();
        assert!(pump.told(&lkg, "1.4.0").starts_with("restored pump.toml"));
        assert_eq!(pump.holds("pump.toml"), SETTINGS);
        assert!(pump.told(&lkg, "1.5.0").starts_with("restored pump.toml"));
        lkg.capture(&release("1.6.0"), &[release("1.5.0").digest]).unwrap();
        assert!(lkg.lacks(&release("1.4.0")) && pump.lkg().lacks(&release("1.4.0")));
        assert!(!lkg.lacks(&release("1.5.0")));
    }

    /// Power goes at any byte of a capture: there is the capture from before or the new one, and never something between.
    #[test]
    fn a_cut_leaves_the_capture_before_or_the_new_one() {
        let (pump, on) = (Pump::new(), release("1.4.0"));
        let state = pump.path("state");
        let lkg = pump.lkg();
        lkg.capture(&on, &[]).unwrap();
        let path = lkg.path(&on.digest);
        let whole = fs::read(&path).unwrap();
        pump.has("pump.toml", b"speed = 9000\n");
        for cut in 0..=whole.len() {
            fs::write(&path, &whole).unwrap();
            // Written beside, and not moved into place yet.
            fs::write(path.with_extension("new"), &whole[..cut]).unwrap();
            assert!(!pump.lkg().lacks(&on));
            // A disk that lies puts a torn one in its place: it is not believed, and captured anew.
            fs::write(&path, &whole[..cut]).unwrap();
            let again = pump.lkg();
            assert_eq!(again.lacks(&on), cut < whole.len(), "cut at {cut}");
            if cut < whole.len() {
                assert!(matches!(again.restore(&on), Answer::Failed(_)));
                assert_eq!(pump.holds("pump.toml"), b"speed = 9000\n");
            }
        }
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 4;
            fs::write(&path, other).unwrap();
            assert!(Lkg::of(&state, &pump.watched(&["pump.toml"])).lacks(&on), "byte {at}");
        }
    }

    #[test]
    fn a_persons_word_goes_before_what_it_looks_like() {
        let (pump, on) = (Pump::new(), release("1.4.0"));
        let mut watched = pump.watched(&["pump.toml", "uplink.toml"]);
        watched[0].holds = Some(Holds::Credential);
        watched[1].holds = Some(Holds::Configuration);
        let lkg = Lkg::of(&pump.path("state"), &watched);
        lkg.capture(&on, &[]).unwrap();
        assert_eq!(
            pump.told(&lkg, "1.4.0"),
            "left pump.toml: it is said to hold a credential\nuplink.toml is as it was"
        );
        // Said later, it holds for what was captured before.
        watched[1].holds = Some(Holds::Credential);
        pump.has("uplink.toml", b"password = \"other\"\n");
        pump.told(&Lkg::of(&pump.path("state"), &watched), "1.4.0");
        assert_eq!(pump.holds("uplink.toml"), b"password = \"other\"\n");
    }

    #[test]
    fn what_is_no_plain_file_or_too_large_is_left_alone() {
        let (pump, on) = (Pump::new(), release("1.4.0"));
        symlink(pump.path("pump.toml"), pump.path("link.toml")).unwrap();
        pump.has("large.toml", &vec![b'#'; 64 * 1024 + 1]);
        let lkg = Lkg::of(&pump.path("state"), &pump.watched(&["link.toml", "large.toml"]));
        lkg.capture(&on, &[]).unwrap();
        pump.has("pump.toml", b"");
        assert_eq!(
            pump.told(&lkg, "1.4.0"),
            "left link.toml: it is no plain file\nleft large.toml: it has more than 64 KiB"
        );
        assert!(fs::symlink_metadata(pump.path("link.toml")).unwrap().is_symlink());
    }
}
