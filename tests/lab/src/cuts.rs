//! Power cuts at random moments, one after the other, on one device that writes records and goes from slot to slot meanwhile.
//!
//! What has to hold at the next boot, whatever was cut: some slot comes up, and it is one that may; no record is missing that
//! was said to be durable; the journal finds nothing odd. The control writes to sled as it comes, by its own `flush`, in the
//! same rig: it has to lose something, or the rig would prove nothing.
//!
//! Here: the rig, the moments, the judgement. Not here: what is lost of what was written (`disk`), writing (`writer/`).

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use backstay_journal::testing::Random;
use backstay_test_fleet::{Trouble, stop_wanted};
use serde_json::{Value, json};

use crate::{
    device::{NEW, OLD, PATIENCE, SIZES},
    disk::{self, Disk, Kept},
    image::{Fault, Kitchen},
    machine::{Line, Machine, Mark},
    shore::{self, Release},
    tool,
};

/// The latest that the power goes once a slot is up, in milliseconds: about as long as it takes to write an image.
const UP_MS_MAX: usize = 10_000;
/// The latest that it goes when it goes before anything is up.
const BOOT_MS_MAX: usize = 6_000;
/// One cut in so many comes before anything is up.
const BOOT_CUTS: usize = 8;
/// Boots that a try is given.
const TRIES: u32 = 3;
/// What a journal may say of itself after a cut that tore a write. Nobody was told of what was in it.
const EXPLAINED: [&str; 3] = ["the last write was cut short", "anchor slot ", "the view was set aside"];

/// Who writes the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Records {
    /// The agent's own memory.
    Journal,
    /// The control.
    Sled,
}

impl Records {
    fn role(self) -> &'static str {
        match self {
            Self::Journal => "journal /data/records",
            Self::Sled => "sled /data/records",
        }
    }
}

/// What many cuts came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seed: u64,
    pub(crate) cuts: u64,
    /// Where in its work the device was.
    moments: BTreeMap<String, u64>,
    kept: BTreeMap<&'static str, u64>,
    /// Records that were said to be durable.
    acknowledged: u64,
    /// Cuts after which some of them were missing, and how many.
    pub(crate) losses: u64,
    lost: u64,
    boots: BTreeMap<String, u64>,
    /// How the data partition was found before it was mounted.
    checks: BTreeMap<&'static str, u64>,
    /// What the journal said of writes that a cut tore.
    told: BTreeMap<&'static str, u64>,
    /// What did not hold, with the number of the cut.
    pub(crate) wrong: Vec<String>,
    took: Duration,
}

/// What the console has said by the time of a cut that the next boot is held against.
#[derive(Debug)]
struct Known {
    /// The newest record that is durable.
    durable: u64,
    /// The version that was confirmed last.
    confirmed: String,
    /// One that is to be tried, or may be: its boots are counted.
    tried: Option<Tried>,
}

#[derive(Debug)]
struct Tried {
    version: String,
    /// It was said to be done; before that, both are right.
    certain: bool,
    /// Cuts since then before anything was up.
    boots: u32,
}

impl Known {
    /// Takes in one line, in order.
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        if words.next() != Some("LAB") {
            return;
        }
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("durable"), Some(number), ..) => self.durable = number.parse().unwrap_or(self.durable),
            (Some("slots"), Some("begin"), Some("try-next"), Some(version)) => {
                self.tried = Some(Tried { version: version.to_owned(), certain: false, boots: 0 });
            }
            (Some("slots"), Some("end"), Some("try-next"), _) if line.contains(" code=0 ") => {
                if let Some(tried) = &mut self.tried {
                    tried.certain = true;
                }
            }
            (Some("slots"), Some("end"), Some("confirm"), Some(version)) if line.contains(" code=0 ") => {
                version.clone_into(&mut self.confirmed);
                self.tried = None;
            }
            (Some("loader"), Some(starts), ..) if starts.starts_with("starts=") => {
                if let Some(tried) = &mut self.tried {
                    tried.boots += 1;
                }
            }
            _ => {}
        }
    }

    /// Whether a version may be what is up, and why not.
    fn allows(&self, version: &str) -> Result<(), String> {
        let may_be_tried = self.tried.as_ref().is_some_and(|tried| tried.version == version);
        let has_to_be = self.tried.as_ref().is_some_and(|tried| tried.certain && tried.boots <= TRIES);
        if (version == self.confirmed && !has_to_be) || may_be_tried {
            return Ok(());
        }
        Err(format!("{version} is up, and that can't be after {self:?}"))
    }
}

/// Cuts the power `count` times.
///
/// # Errors
/// If the rig itself fails; what does not hold is in the tally.
pub(crate) fn run(
    kitchen: &Kitchen,
    folder: &Path,
    records: Records,
    count: u64,
    seed: u64,
) -> Result<Tally, Trouble> {
    let began = Instant::now();
    shore::fresh(folder)?;
    let image = |version| Ok(Release { version, artifact: kitchen.image(version, Fault::None)? });
    let (old, new) = (image(OLD)?, image(NEW)?);
    let data = folder.join("data");
    tool::emptied(&data)?;
    tool::write(&data.join("etc/role"), format!("{}\n", records.role()))?;
    tool::write(&data.join("etc/first-release"), shore::words(&old)?)?;
    if records == Records::Journal {
        for release in [&old, &new] {
            let place = |kind: &str| data.join(format!("images/{}.{kind}", release.version));
            tool::copy(&release.artifact, &place("img"))?;
            tool::write(&place("words"), shore::words(release)?)?;
        }
    }
    let boot = disk::boot_files(folder)?;
    let disk = Disk::make(&folder.join("board"), SIZES, &boot, &old.artifact, &data)?;
    let mut machine = Machine::new(disk, &disk::flash(folder)?, None, &folder.join("board"));
    let mut rig = Rig {
        chance: Random::new(seed),
        known: Known { durable: 0, confirmed: OLD.into(), tried: None },
        heard: Mark::default(),
        tore: false,
        odd: Vec::new(),
        tally: Tally { seed, ..Tally::default() },
    };
    machine.on()?;
    match rig.cut_all(&mut machine, count) {
        // What was seen until somebody had enough of it is worth telling.
        Err(error) if stop_wanted() => rig.tally.wrong.push(error.to_string()),
        Err(error) => return Err(error),
        Ok(()) => {}
    }
    rig.tally.took = began.elapsed();
    Ok(rig.tally)
}

struct Rig {
    chance: Random,
    known: Known,
    /// Up to where the console was listened to.
    heard: Mark,
    /// Whether the last cut tore a write.
    tore: bool,
    /// What the journal has found that no cut explains.
    odd: Vec<String>,
    tally: Tally,
}

impl Rig {
    fn cut_all(&mut self, machine: &mut Machine, count: u64) -> Result<(), Trouble> {
        for number in 1..=count {
            let moment = self.cut_at(machine)?;
            self.judge(machine, number, &moment)?;
        }
        // What the last one left is looked at like the others.
        machine.until(self.heard, "it says what it has", PATIENCE, |line| line.starts_with("LAB has "))?;
        machine.off();
        self.listen(machine, count + 1);
        Ok(())
    }

    /// Waits for the moment, takes the power away, and says what the device was doing.
    fn cut_at(&mut self, machine: &mut Machine) -> Result<String, Trouble> {
        let mark = self.heard;
        let early = self.tally.cuts > 0 && self.chance.below(BOOT_CUTS) == 0;
        let wait = if early {
            self.chance.below(BOOT_MS_MAX)
        } else {
            machine.until(mark, "it says what it has", PATIENCE, |line| line.starts_with("LAB has "))?;
            self.chance.below(UP_MS_MAX)
        };
        thread::sleep(Duration::from_millis(wait as u64));
        machine.off();
        self.tally.cuts += 1;
        let moment = moment(&machine.since(mark));
        *self.tally.moments.entry(moment.clone()).or_default() += 1;
        Ok(moment)
    }

    /// Listens to what was said before the power went, makes of the disk what is left of it, and looks what comes up.
    fn judge(&mut self, machine: &mut Machine, number: u64, moment: &str) -> Result<(), Trouble> {
        self.listen(machine, number);
        let (word, kept) =
            [("all", Kept::All), ("none", Kept::None), ("some", Kept::Some)][self.chance.below(3)];
        *self.tally.kept.entry(word).or_default() += 1;
        let cut = machine.disk().cut(kept, &mut self.chance)?;
        machine.on()?;
        let lost = cut.lost_sectors;
        self.tore = kept == Kept::Some && lost > 0;
        eprintln!(
            "lab: cut {number} {moment}; {} records durable; {word} kept of {} writes, {lost} sectors lost",
            self.known.durable, cut.loose
        );
        Ok(())
    }

    /// Takes in all that was said since the last cut.
    fn listen(&mut self, machine: &Machine, number: u64) {
        for line in machine.since(self.heard) {
            self.hear(&line.text, number);
        }
        self.heard = machine.mark();
    }

    /// Takes in a line, and holds what comes up against what is known.
    fn hear(&mut self, line: &str, number: u64) {
        let field = |name: &str| {
            line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let mut wrong = |why: String| {
            eprintln!("lab: before cut {number}: {why}");
            self.tally.wrong.push(format!("before cut {number}: {why}"));
        };
        if line.starts_with("LAB up ") {
            let (slot, version) = (field("slot"), field("version"));
            *self.tally.boots.entry(format!("{slot} {version}")).or_default() += 1;
            if let Err(why) = self.known.allows(version) {
                wrong(why);
            }
        } else if line.starts_with("LAB checked data ") {
            let found = match (field("by"), field("code")) {
                ("-p", "0") => "sound",
                ("-p", "1") => "mended",
                ("-y", "0" | "1") => "mended by force",
                _ => "damaged",
            };
            *self.tally.checks.entry(found).or_default() += 1;
        } else if let Some(found) = line.strip_prefix("LAB odd ") {
            match EXPLAINED.iter().find(|explained| self.tore && found.contains(**explained)) {
                Some(explained) => *self.tally.told.entry(explained.trim()).or_default() += 1,
                None => self.odd.push(found.to_owned()),
            }
        } else if line.starts_with("LAB has ") {
            let number = |name: &str| field(name).parse::<u64>().unwrap_or(0);
            let (last, holes, odd) = (number("last"), number("holes"), std::mem::take(&mut self.odd));
            if last < self.known.durable || holes > 0 {
                self.tally.losses += 1;
                self.tally.lost += self.known.durable.saturating_sub(last) + holes;
                wrong(format!(
                    "{} records were durable; {last} are there, {holes} missing",
                    self.known.durable
                ));
            }
            odd.into_iter().for_each(|found| wrong(format!("the journal finds {found}")));
            // From here on it counts what is there.
            self.known.durable = last;
        } else if line.starts_with("LAB durable ") {
            self.tally.acknowledged += 1;
        } else if line.starts_with("LAB broken") || line.starts_with("LAB loader broken") {
            wrong(line.to_owned());
        }
        self.known.hear(line);
    }
}

/// What the device was doing when it said its last.
fn moment(said: &[Line]) -> String {
    let doing = said.iter().rev().find_map(|line| {
        let mut words = line.text.strip_prefix("LAB ")?.split(' ');
        match (words.next()?, words.next(), words.next()) {
            ("slots", Some("begin"), Some(deed)) => Some(format!("during {deed}")),
            ("slots", Some("end"), Some(deed)) => Some(format!("after {deed}")),
            ("down", ..) => Some("during a restart".into()),
            ("loader", ..) => Some("before the slot is up".into()),
            ("up" | "provisioned", ..) => Some("after the slot is up".into()),
            _ => None,
        }
    });
    doing.unwrap_or_else(|| "before the boot loader".into())
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: Vec<String>| counts.join(", ");
        let Self { seed, cuts, acknowledged, losses, lost, took, .. } = self;
        writeln!(f, "{cuts} power cuts from seed {seed}, {} s", took.as_secs())?;
        let moments = self.moments.iter().map(|(moment, count)| format!("{count} {moment}")).collect();
        writeln!(f, "  came         {}", list(moments))?;
        let kept = self.kept.iter().map(|(kept, count)| format!("{kept} {count} times")).collect();
        writeln!(f, "  disk kept    {} of what was not flushed", list(kept))?;
        let boots = self.boots.iter().map(|(slot, count)| format!("slot {slot} {count} times")).collect();
        writeln!(f, "  came up      {}", list(boots))?;
        let checks = self.checks.iter().map(|(found, count)| format!("{found} {count} times")).collect();
        writeln!(f, "  e2fsck       found the data partition {}", list(checks))?;
        writeln!(
            f,
            "  records      {acknowledged} were said to be durable; {lost} of them lost, by {losses} cuts"
        )?;
        let told: Vec<_> =
            self.told.iter().map(|(told, count)| format!("\"{told}\" {count} times")).collect();
        let told = if told.is_empty() { "nothing".into() } else { list(told) };
        writeln!(f, "  journal      said {told} of what a cut tore")?;
        write!(f, "  wrong        {}", self.wrong.len())?;
        self.wrong.iter().take(10).try_for_each(|why| write!(f, "\n               {why}"))
    }
}

impl Tally {
    /// For a program.
    pub(crate) fn told(&self) -> Value {
        json!({
            "version": 1, "seed": self.seed, "cuts": self.cuts, "moments": self.moments, "kept": self.kept, "boots": self.boots,
            "checks": self.checks, "told": self.told,
            "acknowledged": self.acknowledged, "lost": self.lost, "losses": self.losses, "wrong": self.wrong,
            "seconds": self.took.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(lines: &[&str]) -> Known {
        let mut known = Known { durable: 0, confirmed: OLD.into(), tried: None };
        lines.iter().for_each(|line| known.hear(line));
        known
    }

    #[test]
    fn what_was_confirmed_comes_up_until_another_is_to_be_tried() {
        let confirmed =
            known(&["LAB slots begin confirm 1.0.0 at=1", "LAB slots end confirm 1.0.0 code=0 at=2"]);
        assert!(confirmed.allows(OLD).is_ok() && confirmed.allows(NEW).is_err());
        let begun = known(&["LAB slots begin try-next 2.0.0 at=1"]);
        assert!(begun.allows(OLD).is_ok() && begun.allows(NEW).is_ok());
        let refused =
            known(&["LAB slots begin try-next 2.0.0 at=1", "LAB slots end try-next 2.0.0 code=75 at=2"]);
        assert!(refused.allows(OLD).is_ok());
        let asked = ["LAB slots begin try-next 2.0.0 at=1", "LAB slots end try-next 2.0.0 code=0 at=2"];
        assert!(known(&asked).allows(NEW).is_ok());
        assert!(known(&asked).allows(OLD).is_err(), "it was said to be tried next");
        let mut used_up = asked.to_vec();
        used_up.extend(["LAB loader starts=b a=3 b=2"; 4]);
        assert!(known(&used_up).allows(OLD).is_ok(), "all its boots were cut");
    }

    /// Its own tail is all that a cut explains, and only one that tore it.
    #[test]
    fn what_the_journal_finds_is_wrong_unless_the_cut_explains_it() {
        let torn = r#"LAB odd Degraded { what: "the last write was cut short: 40 bytes in segment 0 after record 7" }"#;
        let lost = r#"LAB odd Degraded { what: "records 5 to 7 are lost: record 5 is bad" }"#;
        let wrong = |tore, lines: [&str; 2]| {
            let mut rig = Rig {
                chance: Random::new(1),
                known: known(&[]),
                heard: Mark::default(),
                tore,
                odd: Vec::new(),
                tally: Tally::default(),
            };
            lines.iter().for_each(|line| rig.hear(line, 1));
            rig.hear("LAB has last=0 holes=0 odd=2", 1);
            (rig.tally.wrong.len(), rig.tally.told.values().sum::<u64>())
        };
        assert_eq!(wrong(true, [torn, torn]), (0, 2));
        assert_eq!(wrong(false, [torn, torn]), (2, 0));
        assert_eq!(wrong(true, [torn, lost]), (1, 1));
    }

    #[test]
    fn only_what_was_said_is_known() {
        let said = known(&["LAB durable 7", "[ 1.0] LAB durable 9", "LAB durable", "LAB durable 8"]);
        assert_eq!(said.durable, 8);
        assert_eq!(known(&["LAB slots end confirm 2.0.0 code=69 at=1"]).confirmed, OLD);
    }
}
