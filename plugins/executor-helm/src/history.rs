//! The records that Helm keeps of a release, and which of them are whole.
//!
//! A status alone doesn't say that. A roll-back that fails calls the record before it `superseded`, whatever it was: failed, or cut off. And
//! one that somebody made without a number brings back what failed, and is called `deployed`. So what a record says of itself counts, too, and a
//! record that brought back another one is as good as that.
//!
//! Not here: which release a record runs (`book`), and what is to be done (`judge`).

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_kubernetes::clock::Time;
use backstay_sdk::{
    executor::{Failed, permanent},
    quote,
};

/// What became of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is out.
    Deployed,
    /// Another one came after it.
    Superseded,
    /// It did not come up, or could not be made.
    Failed,
    /// It is being installed, or was until its helm was killed.
    PendingInstall,
    /// The same of an upgrade.
    PendingUpgrade,
    /// The same of a roll-back.
    PendingRollback,
    /// The release is being taken away.
    Uninstalling,
    /// The release was taken away, and its history kept.
    Uninstalled,
    /// Helm doesn't know, or says what isn't known here.
    Unknown,
}

impl Status {
    const ALL: [(&str, Self); 9] = [
        ("deployed", Self::Deployed),
        ("superseded", Self::Superseded),
        ("failed", Self::Failed),
        ("pending-install", Self::PendingInstall),
        ("pending-upgrade", Self::PendingUpgrade),
        ("pending-rollback", Self::PendingRollback),
        ("uninstalling", Self::Uninstalling),
        ("uninstalled", Self::Uninstalled),
        ("unknown", Self::Unknown),
    ];

    fn parse(text: &str) -> Self {
        let known = Self::ALL.into_iter().find(|(word, _)| *word == text);
        known.map_or(Self::Unknown, |(_, status)| status)
    }

    /// As Helm says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, status)| *status == self).map_or("unknown", |(word, _)| word)
    }

    /// Somebody's helm is at work, or was killed at it.
    #[must_use]
    pub fn is_pending(self) -> bool {
        matches!(self, Self::PendingInstall | Self::PendingUpgrade | Self::PendingRollback)
    }
}

/// One revision, as Helm keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 1.
    pub revision: u32,
    /// What became of it, as Helm has it.
    pub status: Status,
    /// When it was begun, by the clock of whoever did; as Helm writes it.
    pub updated: String,
    /// Name and version of its chart: `shop-1.2.0`.
    pub chart: String,
    /// The version that its chart says of the product.
    pub app_version: String,
    /// The revision that it brought back, if it is a roll-back.
    pub back_to: Option<u32>,
    /// What it says of itself; quotes are single here, and what is long is cut.
    pub description: String,
}

/// What says that a record is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Nothing: it isn't.
    None,
    /// It says so itself; what it brought back isn't kept any more.
    Itself,
    /// It does, and so does what it brought back.
    Whole,
}

/// The records that are kept, oldest first: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    records: Vec<Record>,
}

impl History {
    /// Reads what `helm-look.sh history` prints; of a long one that is the newest part.
    pub(crate) fn parse(lines: &[String]) -> Result<Self, Failed> {
        let records: Result<Vec<Record>, Failed> = lines.iter().map(|line| Record::parse(line)).collect();
        Self::of(records?)
    }

    /// Of records in any order.
    ///
    /// # Errors
    /// There are none.
    pub fn of(mut records: Vec<Record>) -> Result<Self, Failed> {
        records.sort_by_key(|record| record.revision);
        if records.is_empty() {
            return Err(permanent("Helm knows no revision of the release"));
        }
        Ok(Self { records })
    }

    /// The one that Helm goes on from.
    #[must_use]
    pub fn newest(&self) -> &Record {
        static NONE: Record = Record {
            revision: 0,
            status: Status::Unknown,
            updated: String::new(),
            chart: String::new(),
            app_version: String::new(),
            back_to: None,
            description: String::new(),
        };
        self.records.last().unwrap_or(&NONE)
    }

    /// The record of a revision, if it is still kept.
    #[must_use]
    pub fn get(&self, revision: u32) -> Option<&Record> {
        self.records.iter().find(|record| record.revision == revision)
    }

    /// How many are called deployed. One is, unless two helms were at work at once.
    #[must_use]
    pub fn deployed(&self) -> usize {
        self.records.iter().filter(|record| record.status == Status::Deployed).count()
    }

    /// Those that can be gone back to, the best first: the newest of all if it is out already, then those that are known to be whole, then
    /// those that brought back what isn't kept any more, and at last what was brought back and didn't come up; each newest first.
    #[must_use]
    pub fn ways(&self) -> Vec<&Record> {
        self.ways_after(&[])
    }

    /// The same, where these revisions were brought back without success. Helm 4 says that itself, Helm 3 doesn't.
    #[must_use]
    pub fn ways_after(&self, failed: &[u32]) -> Vec<&Record> {
        let newest = self.newest();
        let is_out = newest.status == Status::Deployed && self.proof(newest) != Proof::None;
        let mut ways: Vec<&Record> = Vec::from_iter(is_out.then_some(newest));
        for did_fail in [false, true] {
            for wanted in [Proof::Whole, Proof::Itself] {
                let others = self.records.iter().rev().filter(|it| self.proof(it) == wanted);
                let others = others.filter(|it| self.did_fail(it, failed) == did_fail);
                ways.extend(others.filter(|it| !is_out || it.revision != newest.revision));
            }
        }
        ways
    }

    /// Whether what it holds was brought back without success, and not with success since.
    fn did_fail(&self, record: &Record, failed: &[u32]) -> bool {
        let root = self.root(record);
        let tried = self.records.iter().rfind(|it| it.back_to.is_some() && self.root(it) == root);
        match tried {
            Some(last) if last.status == Status::Failed => true,
            Some(last) => failed.iter().any(|it| *it >= last.revision && self.is_of(*it, root)),
            None => failed.iter().any(|it| self.is_of(*it, root)),
        }
    }

    fn is_of(&self, revision: u32, root: u32) -> bool {
        self.get(revision).is_some_and(|it| self.root(it) == root)
    }

    /// The revision that a record's content came in with, as far as that is kept.
    fn root(&self, record: &Record) -> u32 {
        let mut at = record;
        for _ in &self.records {
            match at.back_to.map(|back| (back, self.get(back))) {
                None => break,
                Some((back, None)) => return back,
                Some((_, Some(origin))) => at = origin,
            }
        }
        at.revision
    }

    /// What says that a record came to its end, and so did the one that it brought back.
    fn proof(&self, record: &Record) -> Proof {
        let mut at = record;
        // What is brought back is older. A record that says otherwise is none that Helm wrote.
        for _ in &self.records {
            if !at.came_to_its_end() {
                return Proof::None;
            }
            match at.back_to.map(|back| self.get(back)) {
                None => return Proof::Whole,
                Some(None) => return Proof::Itself,
                Some(Some(origin)) => at = origin,
            }
        }
        Proof::None
    }

    /// The newest one that wasn't a roll-back that was cut off: what it left behind is what may still be there.
    #[must_use]
    pub fn applied(&self) -> Option<&Record> {
        self.records.iter().rev().find(|record| record.status != Status::PendingRollback)
    }
}

impl Record {
    fn parse(line: &str) -> Result<Self, Failed> {
        let odd = || permanent(format!("the history has a line that can't be read: {}", quote::text(line)));
        let mut fields = line.split('\t');
        let mut next = || fields.next().ok_or_else(odd);
        let revision = next()?.parse().map_err(|_| odd())?;
        let (status, updated, chart, app_version) = (next()?, next()?, next()?, next()?);
        let back: u32 = next()?.parse().map_err(|_| odd())?;
        Ok(Self {
            revision,
            status: Status::parse(status),
            updated: updated.into(),
            chart: chart.into(),
            app_version: app_version.into(),
            back_to: (back > 0).then_some(back),
            description: next()?.into(),
        })
    }

    /// Whether Helm went through with it. What it wrote while it began stays where it was cut off, whatever the status is now.
    fn came_to_its_end(&self) -> bool {
        const BEGUN: [&str; 3] =
            ["Preparing upgrade", "Initial install underway", "failed to render resource"];
        const DONE: [&str; 3] = ["Upgrade '", "Release '", "Rollback '"];
        let said = self.description.as_str();
        let failed = DONE.iter().any(|done| said.starts_with(done)) && said.contains("' failed: ");
        matches!(self.status, Status::Deployed | Status::Superseded)
            && !failed
            && !BEGUN.iter().any(|begun| said.starts_with(begun))
    }

    /// The version in the name of its chart, which may have dashes in both: the last dash before a digit that begins a version.
    #[must_use]
    pub fn chart_version(&self) -> Option<&str> {
        let is_version = |text: &str| {
            let mut numbers = text.split(['-', '+']).next().unwrap_or_default().split('.');
            let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            numbers.clone().count() == 3 && numbers.all(number)
        };
        self.chart
            .match_indices('-')
            .map(|(at, _)| self.chart.get(at + 1..).unwrap_or_default())
            .find(|text| is_version(text))
    }

    /// How many ms ago it was begun, as far as clocks agree; `None` where it doesn't say.
    #[must_use]
    pub fn age_ms(&self, now: Time) -> Option<u64> {
        // Whoever began it wrote the time of his own zone: 2026-11-28T02:31:00.123456789+01:00.
        let (local, ahead_s) = match self.updated.strip_suffix('Z') {
            Some(_) => (self.updated.clone(), 0),
            None => {
                let (local, zone) = self.updated.split_at_checked(self.updated.len().checked_sub(6)?)?;
                let (hours, minutes) = zone.get(1..)?.split_once(':')?;
                let ahead = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
                let ahead = match zone.as_bytes().first()? {
                    b'+' => ahead,
                    b'-' => -ahead,
                    _ => return None,
                };
                (format!("{local}Z"), ahead)
            }
        };
        let begun = Time::parse(&local)?;
        let since = i64::try_from(now.ms_since(begun)).ok()? - i64::try_from(begun.ms_since(now)).ok()?;
        Some(u64::try_from(since + ahead_s * 1000).unwrap_or(0))
    }

    /// "revision 7 (failed)", for people.
    #[must_use]
    pub fn told(&self) -> String {
        let mut told = String::from("revision ");
        told.push_str(&self.revision.to_string());
        told.push_str(" (");
        told.push_str(self.status.word());
        told.push(')');
        told
    }
}

#[cfg(test)]
mod tests;
