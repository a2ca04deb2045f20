//! The machine that an executor is tried on: slots, files, commands and endpoints in memory.
//!
//! It is as good a machine as there is: what isn't disturbed works. Not here: disturbing it (`play`).

use std::collections::{BTreeMap, BTreeSet};

use backstay_model::{
    Access, Answer, Deed, Digest, Effect, Outcome, Output, Release, SlotDeed, SlotStatus, Task, Transience,
};

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) slots: SlotStatus,
    /// What files hold.
    files: BTreeMap<String, Vec<u8>>,
    /// What was brought to endpoints.
    stored: BTreeMap<String, Vec<u8>>,
    /// What was published.
    published: BTreeSet<String>,
    /// Commands that change something and were run to a good end, with their arguments.
    ran: BTreeSet<String>,
    /// Releases that panic at boot.
    pub(crate) broken: Vec<Release>,
    /// A release was set to be tried.
    tried: bool,
    /// A restart shows only after so many looks at the slots.
    pub(crate) slow: u32,
    /// The restart that doesn't show yet.
    coming: Option<(u32, Release)>,
}

/// A release by its version.
pub(crate) fn release(version: &str) -> Release {
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(version.bytes().cycle()) {
        *to = from;
    }
    Release {
        version: version.parse().expect("it is written down as a version"),
        digest: Digest(digest),
        length: 1_000_000,
        security_epoch: 1,
    }
}

impl World {
    /// A machine that runs a version, confirmed, with nothing in the other slot.
    pub(crate) fn on(version: &str) -> Self {
        let runs = release(version);
        Self {
            slots: SlotStatus { booted: runs.clone(), confirmed: runs, other: None, trying: None },
            files: BTreeMap::new(),
            stored: BTreeMap::new(),
            published: BTreeSet::new(),
            ran: BTreeSet::new(),
            broken: Vec::new(),
            tried: false,
            slow: 0,
            coming: None,
        }
    }

    /// The same, with a release in the other slot.
    pub(crate) fn other(mut self, version: &str) -> Self {
        self.slots.other = Some(release(version));
        self
    }

    /// The same, on trial of a version; what ran before is the way home.
    pub(crate) fn on_trial(mut self, version: &str) -> Self {
        self.slots.other = Some(self.slots.confirmed.clone());
        self.slots.booted = release(version);
        self.slots.trying = Some(release(version));
        self
    }

    /// Does what is asked for, and says what came of it.
    pub(crate) fn does(&mut self, effect: &Effect) -> Answer {
        match &effect.deed {
            Deed::Slot(deed) => return self.slot(deed),
            Deed::Run { command, args } => {
                if effect.access == Access::Changes {
                    self.ran.insert(format!("{command} {}", args.join(" ")));
                    // Which command restarts is the configuration's to say. Any that changes something does, here.
                    self.restarts();
                }
                return exited(Some(0), b"");
            }
            Deed::Http { endpoint, method, path, body } => {
                let at = format!("{endpoint}{}", path.split(['?', '#']).next().unwrap_or_default());
                match method.as_str() {
                    "GET" | "HEAD" => {
                        let body = self.stored.get(&at).cloned().unwrap_or_default();
                        return Answer::Response { status: 200, body: said(body) };
                    }
                    "DELETE" => drop(self.stored.remove(&at)),
                    _ => drop(self.stored.insert(at, body.clone())),
                }
                return Answer::Response { status: 200, body: said(Vec::new()) };
            }
            Deed::File { path, content: None } => {
                return match self.files.get(path) {
                    Some(content) => Answer::Content(said(content.clone())),
                    None => failed(Transience::Permanent, "there is no such file"),
                };
            }
            Deed::File { path, content: Some(content) } => {
                self.files.insert(path.clone(), content.clone());
            }
            Deed::Publish { topic, payload } => {
                self.published.insert(format!("{topic} {payload:?}"));
            }
            Deed::Sleep { .. } | Deed::Attach { .. } => {}
        }
        Answer::Done
    }

    fn slot(&mut self, deed: &SlotDeed) -> Answer {
        let permanent = |why: &str| failed(Transience::Permanent, why);
        match deed {
            SlotDeed::Status => {
                if let Some((left, comes)) = self.coming.take() {
                    match left.checked_sub(1) {
                        Some(left) => self.coming = Some((left, comes)),
                        None => self.boots(comes),
                    }
                }
                return Answer::Slots(self.slots.clone());
            }
            SlotDeed::Stage(release) => {
                if self.slots.trying.is_some() {
                    return permanent("a try is open");
                }
                self.slots.other = Some(release.clone());
            }
            SlotDeed::TryNext(release) => {
                if !self.holds(release) {
                    return permanent("the other slot doesn't hold it");
                }
                self.slots.trying = Some(release.clone());
                self.tried = true;
            }
            SlotDeed::Confirm(release) => {
                if self.slots.booted != *release {
                    return permanent("it doesn't run");
                }
                self.slots.confirmed = release.clone();
                self.slots.trying = None;
            }
            SlotDeed::GoHome(release) => {
                if self.slots.confirmed != *release && !self.holds(release) {
                    return permanent("no slot holds it");
                }
                self.slots.confirmed = release.clone();
                self.slots.trying = None;
            }
        }
        Answer::Done
    }

    fn holds(&self, release: &Release) -> bool {
        self.slots.other.as_ref() == Some(release)
    }

    /// The machine starts anew.
    pub(crate) fn restarts(&mut self) {
        let mut next = self.slots.trying.clone();
        if next.take_if(|tried| self.broken.contains(tried)).is_some() {
            self.slots.trying = None;
        }
        let next = next.unwrap_or_else(|| self.slots.confirmed.clone());
        match self.slow {
            0 => self.boots(next),
            looks => self.coming = Some((looks, next)),
        }
    }

    fn boots(&mut self, release: Release) {
        let before = std::mem::replace(&mut self.slots.booted, release);
        if before != self.slots.booted {
            self.slots.other = Some(before);
        }
    }

    /// Whether a task that was said to be done is: by the slots, if the executor works with slots, else by comparison
    /// with a machine on which nothing went wrong.
    pub(crate) fn has(&self, task: &Task, undisturbed: &Self, by_slots: bool) -> Result<(), String> {
        let SlotStatus { booted, confirmed, trying, .. } = &self.slots;
        if !by_slots {
            let short = |have: &Self| (have.files.clone(), have.stored.clone());
            if short(self) != short(undisturbed) {
                return Err("files or endpoints are not as they are after an undisturbed run".into());
            }
            let missing = undisturbed.ran.difference(&self.ran).next();
            let missing = missing.or_else(|| undisturbed.published.difference(&self.published).next());
            return match missing {
                Some(what) => Err(format!("\"{}\" was never done", what.trim_end())),
                None => Ok(()),
            };
        }
        match task {
            Task::Install { release } if booted == release => Ok(()),
            // What did not come up was brought in all the same. That it doesn't run, the slots say, and the runtime
            // condemns it.
            Task::Install { release } if self.tried && trying.as_ref() != Some(release) => Ok(()),
            Task::Install { release } => Err(format!("{booted} runs, and not {release}")),
            Task::Confirm { release } if confirmed == release && trying.is_none() => Ok(()),
            Task::Confirm { .. } => Err(format!("{confirmed} is what a restart brings back")),
            Task::GoHome { release } if booted == release && confirmed == release && trying.is_none() => {
                Ok(())
            }
            Task::GoHome { .. } => {
                Err(format!("{booted} runs, and {confirmed} is what a restart brings back"))
            }
            Task::Heal { .. } => match undisturbed.ran.difference(&self.ran).next() {
                Some(what) => Err(format!("\"{}\" was never done", what.trim_end())),
                None => Ok(()),
            },
        }
    }

    /// What of it a run can change for good, to be compared.
    pub(crate) fn lasting(&self) -> impl PartialEq + use<> {
        (self.slots.clone(), self.files.clone(), self.stored.clone())
    }
}

pub(crate) fn said(bytes: Vec<u8>) -> Output {
    Output { bytes, whole: None }
}

pub(crate) fn exited(code: Option<i32>, output: &[u8]) -> Answer {
    Answer::Exited { code, output: said(output.to_vec()) }
}

pub(crate) fn failed(transience: Transience, why: &str) -> Answer {
    Answer::Failed(Outcome::Failed { transience, why: why.into() })
}
