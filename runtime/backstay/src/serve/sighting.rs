//! What the server was last told by one device, and when: for people, and to tell late words from new ones.
//!
//! All of it is learnt again from retained messages, so ages count from when this process was first told. Not
//! here: what a word means for a rollout (`core`).

use std::cmp::Ordering;

use backstay_model::{Beat, Digest, Health, Mono, PluginReport, Report};
use backstay_wire::Presence;

use super::refusals::{Ground, Refusal};

/// What is known of a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sighting {
    told: Option<Told>,
    session: Option<Session>,
    /// The last sign of life.
    heard: Option<Mono>,
    doing: Option<Doing>,
    plugins: Option<PluginsTold>,
}

/// A device's last word on its plugins.
#[derive(Clone, Debug)]
pub(crate) struct PluginsTold {
    /// The word.
    pub(crate) report: PluginReport,
    content: Digest,
    /// When it came.
    pub(crate) at: Mono,
}

/// How what a device runs does, as it said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doing {
    /// In its newest window then.
    pub(crate) health: Health,
    /// When it said so.
    pub(crate) at: Mono,
    /// Whether that was signed. For people only: nothing is decided on what isn't.
    pub(crate) signed: bool,
}

/// A device's last word.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The word.
    pub(crate) report: Report,
    content: Digest,
    /// Since when it has said that it runs this, in this boot.
    pub(crate) booted: Mono,
    /// Since when it has said that this passed its trial.
    pub(crate) confirmed: Mono,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    nonce: u64,
    began: Mono,
    online: bool,
    beats: u64,
}

/// Whether a word is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is.
    New,
    /// It was brought again: nothing to do, and no replay.
    Again,
}

impl Sighting {
    /// Takes a report, whose content has this digest. Below `floor` it is of before the last start.
    ///
    /// # Errors
    /// If it is older than what is known, or another one under the same number.
    pub(crate) fn report(
        &mut self,
        now: Mono,
        report: Report,
        content: Digest,
        floor: u64,
    ) -> Result<News, Refusal> {
        let known = self.told.as_ref().map(|told| (told.report.sequence, told.content));
        if in_order(known, (report.sequence, content), floor)? == News::Again {
            return Ok(News::Again);
        }
        let (mut booted, mut confirmed) = (now, now);
        if let Some(before) = &self.told {
            if before.report.booted.digest == report.booted.digest && before.report.boot == report.boot {
                booted = before.booted;
            }
            if before.report.confirmed.digest == report.confirmed.digest {
                confirmed = before.confirmed;
            }
        }
        self.doing = Some(Doing { health: report.health, at: now, signed: true });
        self.told = Some(Told { report, content, booted, confirmed });
        // The retained word of a device that is gone comes whenever the server starts: no sign of life.
        if self.session.is_none_or(|session| session.online) {
            self.heard = Some(now);
        }
        Ok(News::New)
    }

    /// Takes a report of plugins, in order like those of releases.
    ///
    /// # Errors
    /// As [`Sighting::report`].
    pub(crate) fn plugin_report(
        &mut self,
        now: Mono,
        report: &PluginReport,
        content: Digest,
        floor: u64,
    ) -> Result<News, Refusal> {
        let known = self.plugins.as_ref().map(|told| (told.report.sequence, told.content));
        let news = in_order(known, (report.sequence, content), floor)?;
        if news == News::New {
            self.plugins = Some(PluginsTold { report: report.clone(), content, at: now });
        }
        Ok(news)
    }

    /// Its last word on its plugins.
    pub(crate) fn plugins(&self) -> Option<&PluginsTold> {
        self.plugins.as_ref()
    }

    /// Takes a presence. A farewell that comes late can't end the session after its own.
    pub(crate) fn presence(&mut self, now: Mono, presence: Presence) {
        let Presence { online, nonce, at } = presence;
        let takes = match self.session {
            None => true,
            Some(session) if session.nonce == nonce => session.online,
            Some(session) => at >= session.began,
        };
        if !takes {
            return;
        }
        let (began, beats) = match self.session {
            Some(Session { nonce: same, began, beats, .. }) if same == nonce => (began, beats),
            Some(_) | None => (at, 0),
        };
        self.session = Some(Session { nonce, began, online, beats });
        if online {
            self.heard = Some(now);
        }
    }

    /// Takes a beat of the session that is on: it shows that a device is there, never that it is well.
    pub(crate) fn beat(&mut self, now: Mono, beat: Beat) {
        if let Some(session) = &mut self.session
            && session.nonce == beat.nonce
            && session.beats < beat.count
        {
            session.beats = beat.count;
            self.doing = Some(Doing { health: beat.health, at: now, signed: false });
            self.heard = Some(now);
        }
    }

    /// Takes note of signed words of another kind.
    pub(crate) fn heard(&mut self, now: Mono) {
        self.heard = Some(now);
    }

    /// Its last word.
    pub(crate) fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    /// How what it runs does, as it said last.
    pub(crate) fn doing(&self) -> Option<Doing> {
        self.doing
    }

    /// Its last sign of life.
    pub(crate) fn heard_at(&self) -> Option<Mono> {
        self.heard
    }

    /// Whether its session with the broker goes on, as far as is known.
    pub(crate) fn is_online(&self) -> bool {
        self.session.is_some_and(|session| session.online)
    }
}
/// Whether a word with this sequence and content comes after the one that is known, and after `floor`.
fn in_order(
    known: Option<(u64, Digest)>,
    (sequence, content): (u64, Digest),
    floor: u64,
) -> Result<News, Refusal> {
    let late = |than: u64| Refusal::new(Ground::Late, format!("report {sequence} comes after report {than}"));
    if sequence < floor {
        return Err(late(floor));
    }
    let Some((known, said)) = known else { return Ok(News::New) };
    match sequence.cmp(&known) {
        Ordering::Less => Err(late(known)),
        Ordering::Equal if said == content => Ok(News::Again),
        Ordering::Equal => {
            Err(Refusal::new(Ground::Contradiction, format!("there are two reports {sequence}")))
        }
        Ordering::Greater => Ok(News::New),
    }
}
