//! Files that a run asks for: granted are `etc`, to be changed, and `logs`, to be looked at.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
};

use backstay_hands::{Granted, Paths};
use backstay_model::{Access, Answer, Outcome};
use serde::Deserialize;

use super::Verdict;

/// A file that is read or replaced. Beside what is granted lies `secret/key`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Below the folder that all of it lies in.
    path: String,
    /// `path` is absolute already.
    absolute: bool,
    /// It is replaced by so many bytes.
    content: usize,
    /// It is read instead.
    read: bool,
    /// Links that somebody made before: from, to.
    links: Vec<[String; 2]>,
    /// What is at `path`: `pipe`, `socket`, `folder`, or a file of more bytes than are read.
    found: Option<String>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            path: "etc/pump/rate".into(),
            absolute: false,
            content: 1,
            read: false,
            links: vec![],
            found: None,
        }
    }
}

impl File {
    pub(super) fn tried(&self) -> Verdict {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        for dir in ["etc/pump", "logs", "secret"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        for (file, content) in [("secret/key", "k"), ("etc/pump/rate", "3"), ("logs/now", "up")] {
            fs::write(at(file), content).unwrap();
        }
        for [from, to] in &self.links {
            symlink(at(to), at(from)).unwrap();
        }
        let _found = match self.found.as_deref() {
            None => None,
            Some("folder") => {
                fs::create_dir(at(&self.path)).unwrap();
                None
            }
            Some("socket") => Some(UnixListener::bind(at(&self.path)).unwrap()),
            Some("large") => {
                fs::File::create(at(&self.path)).unwrap().set_len((16 << 20) + 1).unwrap();
                None
            }
            Some(found) => panic!("there is no {found}"),
        };
        let grant = |path, access| Granted { path: at(path), access };
        let paths = Paths::new(vec![grant("logs", Access::Looks), grant("etc", Access::Changes)]);
        let path = if self.absolute { self.path.clone() } else { at(&self.path).display().to_string() };
        let answer = match self.read {
            false => paths.replace(&path, &vec![b'x'; self.content]),
            true => paths.read(&path),
        };
        // Whatever was answered: what isn't granted was neither changed nor told.
        assert_eq!(fs::read(at("secret/key")).unwrap(), b"k");
        assert_eq!(fs::read(at("logs/now")).unwrap(), b"up");
        assert_eq!(fs::read_dir(at("secret")).unwrap().count(), 1);
        judged(answer)
    }
}

/// What a run gets to hear. None of it is an error of ours.
pub(super) fn judged(answer: Answer) -> Verdict {
    match answer {
        Answer::Refused(why) => Verdict::word(format!("refused: {why}")),
        Answer::Failed(Outcome::Failed { transience, why }) => {
            Verdict::word(format!("failed, {transience:?}: {why}"))
        }
        Answer::TimedOut => Verdict::word("it did not end in its time"),
        answer @ (Answer::Done
        | Answer::Exited { .. }
        | Answer::Response { .. }
        | Answer::Content(_)
        | Answer::Slots(_)
        | Answer::Failed(Outcome::Done)
        | Answer::InDoubt) => Verdict::Accepted(format!("{answer:?}").chars().take(200).collect()),
    }
}
