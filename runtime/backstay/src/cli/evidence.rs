//! `backstay evidence`: what a device wrote down, and whether it is all there and unchanged.

use std::path::{Path, PathBuf};

use backstay_model::DeviceId;
use backstay_trust::PublicKey;
use clap::{Args, Subcommand};
use serde::Serialize;

mod still;

use crate::{
    Desk, Exit, Failure, file,
    story::{self, Checked, Line},
    table::Table,
    text,
};

/// The most that is read of a file, in bytes: what a server keeps of one device.
const BYTES_MAX: usize = 256 << 20;
/// Where the server says whose records they are.
const KEY_HEADER: &str = "backstay-device-key";

/// Journals of devices.
#[derive(Debug, Subcommand)]
pub(crate) enum Evidence {
    /// What a device wrote down, one line for each record
    #[command(
        after_help = "Examples:\n  backstay evidence show pump-7\n  backstay evidence show ./pump-7.log --output json"
    )]
    Show {
        #[command(flatten)]
        of: Source,
    },
    /// Whether a device's records are all there and unchanged; the first bad one is named
    #[command(
        after_help = "Examples:\n  backstay evidence verify pump-7\n  backstay evidence verify ./pump-7.log --key ed25519:5f0c...e1\n\n\
        Exit code 5: the chain does not hold."
    )]
    Verify {
        #[command(flatten)]
        of: Source,
        /// The device's public key, as it shows it; asked of the server if it is left out
        #[arg(long)]
        key: Option<PublicKey>,
    },
    /// Fetch a device's records into a file, as they came
    #[command(after_help = "Example:\n  backstay evidence fetch pump-7 --out pump-7.log")]
    Fetch {
        /// Its name
        device: DeviceId,
        /// Where they go
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Source {
    /// A device, a file with its records, or its state folder; a file's name has a "/" or a "." in it
    #[arg(value_name = "DEVICE|FILE|FOLDER")]
    pub(crate) from: String,
}

/// Records, and whose they are if that is known.
pub(crate) struct Records {
    pub(crate) bytes: Vec<u8>,
    pub(crate) key: Option<PublicKey>,
}

#[derive(Serialize)]
struct Verified<'a> {
    of: &'a str,
    key: &'a PublicKey,
    #[serde(flatten)]
    checked: &'a Checked,
}

#[derive(Serialize)]
struct Shown<'a> {
    of: &'a str,
    records: &'a [Line],
}

#[derive(Serialize)]
struct Fetched<'a> {
    device: &'a DeviceId,
    key: Option<PublicKey>,
    bytes: usize,
    file: &'a Path,
}

impl Source {
    pub(crate) fn read(&self, desk: &Desk) -> Result<Records, Failure> {
        if Path::new(&self.from).is_dir() && self.from.contains(['/', '.']) {
            return still::read(Path::new(&self.from));
        }
        if self.from.contains(['/', '.']) {
            return Ok(Records { bytes: file::read(Path::new(&self.from), BYTES_MAX)?, key: None });
        }
        let device = DeviceId::parse(&self.from)
            .map_err(|why| Failure::new(Exit::Usage, "neither a device nor a file").why(why))?;
        fetch(desk, &device)
    }
}

fn fetch(desk: &Desk, device: &DeviceId) -> Result<Records, Failure> {
    let (bytes, key) = desk.client()?.bytes(&format!("/v1/devices/{device}/evidence"), KEY_HEADER)?;
    let unreadable = |why| {
        Failure::new(Exit::Trouble, "the server names the device's key in no form that is known").why(why)
    };
    Ok(Records { bytes, key: key.map(|key| key.parse().map_err(unreadable)).transpose()? })
}

impl Evidence {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        match self {
            Self::Show { of } => show(desk, of),
            Self::Verify { of, key } => verify(desk, of, key.as_ref()),
            Self::Fetch { device, out } => {
                let Records { bytes, key } = fetch(desk, device)?;
                file::write(out, &bytes)?;
                let fetched = Fetched { device, key, bytes: bytes.len(), file: out };
                desk.printer.show("evidence-file", &fetched, || {
                    let key = key.map_or_else(|| "unknown".into(), |key| key.to_string());
                    let mut list = Table::list();
                    list.say("file", out.display());
                    list.say("size", text::bytes(bytes.len() as u64));
                    list.say("key", key);
                    list.to_string()
                })?;
                Ok(Exit::Done)
            }
        }
    }
}

fn show(desk: &Desk, of: &Source) -> Result<Exit, Failure> {
    let records = of.read(desk)?;
    let (lines, end) = story::read(&records.bytes);
    let shown = Shown { of: &of.from, records: &lines };
    desk.printer.show("evidence", &shown, || lines.iter().map(line).collect())?;
    if lines.is_empty() {
        desk.printer.say(format_args!("there is no record of {}", of.from));
    }
    end.map_err(|why| {
        Failure::new(Exit::Untrusted, format!("the records of {} can't be read further", of.from))
            .why(why)
            .help("what stands above is not checked; backstay evidence verify checks it")
    })?;
    Ok(Exit::Done)
}

fn verify(desk: &Desk, of: &Source, key: Option<&PublicKey>) -> Result<Exit, Failure> {
    let records = of.read(desk)?;
    if let (Some(given), Some(served)) = (key, &records.key)
        && given != served
    {
        let what = format!("the server says that {} has key {}, not {}", of.from, served.id(), given.id());
        return Err(
            Failure::new(Exit::Untrusted, what).help("compare with the fingerprint that the device shows")
        );
    }
    let key = key.or(records.key.as_ref()).ok_or_else(|| {
        Failure::new(Exit::Usage, "whose records these are is not known")
            .help("give --key ed25519:..., as the device shows it")
    })?;
    let checked = story::check(&records.bytes, key).map_err(|why| {
        Failure::new(Exit::Untrusted, format!("the journal of {} does not hold together", of.from))
            .why(why)
            .help("what comes before that record is good; keep the file, and see who may write where it was")
    })?;
    let verified = Verified { of: &of.from, key, checked: &checked };
    desk.printer.show("evidence-verified", &verified, || table(&of.from, &checked))?;
    if checked.first > 1 {
        desk.printer.say(format_args!("records before {} are not here", checked.first));
    }
    for (before, after) in &checked.gaps {
        desk.printer.say(format_args!(
            "between records {before} and {after} some were lost, and the journal says so"
        ));
    }
    Ok(Exit::Done)
}

fn line(record: &Line) -> String {
    let at = record.at_ms.map_or_else(|| "-".into(), text::uptime);
    format!("{:>6}  {at}  {}\n", record.seq, text::plain(&record.what))
}

fn table(of: &str, checked: &Checked) -> String {
    let (records, head) =
        (text::count(checked.records, "record", "records"), checked.head.get(..16).unwrap_or("-"));
    let mut list = Table::new(["KIND", "RECORDS"]);
    for (kind, count) in &checked.kinds {
        list.row([kind.clone(), count.to_string()]);
    }
    let of = text::plain(of);
    match checked.records {
        0 => format!("{of}: no records\n"),
        _ if checked.first > 1 => format!(
            "{of}: begins at record {}: earlier ones are not here\n\
             {records}, {} to {}, nothing changed among them (head {head})\n{list}",
            checked.first, checked.first, checked.last
        ),
        _ => format!(
            "{of}: {records}, {} to {}, nothing changed (head {head})\n{list}",
            checked.first, checked.last
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::tests::{bytes, key, story};

    #[test]
    fn a_checked_journal_is_told_with_its_counts() {
        let checked = story::check(&bytes(&story(3)), &key()).unwrap();
        let told = table("pump-7", &checked);
        let head = &checked.head[..16];
        assert_eq!(
            told,
            format!(
                "pump-7: 3 records, 1 to 3, nothing changed (head {head})\nKIND      RECORDS\nDegraded  1\nOverride  2\n"
            )
        );
    }

    #[test]
    fn a_journal_that_begins_late_is_never_told_as_whole() {
        let checked = story::check(&bytes(&story(5)[2..]), &key()).unwrap();
        let told = table("pump-7", &checked);
        assert!(
            told.starts_with(
                "pump-7: begins at record 3: earlier ones are not here\n\
                 3 records, 3 to 5, nothing changed among them (head "
            ),
            "{told}"
        );
        let json = serde_json::to_value(Verified { of: "pump-7", key: &key(), checked: &checked }).unwrap();
        assert_eq!((&json["first"], &json["records"]), (&3.into(), &3.into()));
    }

    #[test]
    fn a_record_is_one_line() {
        let (lines, _) = story::read(&bytes(&story(2)));
        assert_eq!(line(&lines[1]), "     2  0d 00:00:02.000  degraded: disk 2 is full\n");
    }

    #[test]
    fn a_flipped_byte_is_an_answer_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pump-7.log");
        let desk = Desk::quiet();
        let of = Source { from: path.display().to_string() };
        let whole = bytes(&story(3));
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(verify(&desk, &of, Some(&key())).unwrap(), Exit::Done);
        assert_eq!(verify(&desk, &of, None).unwrap_err().exit(), Exit::Usage);
        let mut flipped = whole;
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let failure = verify(&desk, &of, Some(&key())).unwrap_err();
        assert_eq!(failure.exit(), Exit::Untrusted);
        assert!(failure.to_string().contains("the chain breaks at record 3"), "{failure}");
    }
}
