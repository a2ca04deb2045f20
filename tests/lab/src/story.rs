//! The stories: how a release goes, what is done to the device meanwhile, and the end that it has to come to.
//!
//! Each begins with a device that runs 1.0.0 and is settled, and ends when console and server agree on the end. Nothing is
//! judged by time on the clock: the device's own clock runs while its machine runs, however slow that is.
//!
//! Here: the stories. Not here: the words that they are told in (`device`), the table (`report`).

use std::{thread, time::Duration};

use backstay_test_fleet::Trouble;

use crate::{
    device::{Bench, Device, NEW, OLD, PATIENCE, condemned, is_settled},
    image::{Fault, Writer},
    machine::Mark,
    shore::Times,
};

/// One story.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    /// What happens, in a line.
    pub(crate) about: &'static str,
    /// How it has to end.
    pub(crate) end: &'static str,
    pub(crate) writer: Writer,
    pub(crate) tell: fn(&Bench<'_>) -> Result<Vec<String>, Trouble>,
}

const UPDATED: &str = "2.0.0 confirmed";
const HOME: &str = "home on 1.0.0, 2.0.0 condemned";

/// All of them, in the order in which they are told.
pub(crate) const ALL: &[Story] = &[
    Story { name: "good", about: "a good release", end: UPDATED, writer: Writer::Raw, tell: good },
    Story { name: "panic", about: "its kernel panics", end: HOME, writer: Writer::Raw, tell: panics },
    Story {
        name: "fails",
        about: "its service fails after 60 s",
        end: HOME,
        writer: Writer::Raw,
        tell: fails,
    },
    Story {
        name: "hang",
        about: "the machine stands still at once; the watchdog resets it",
        end: HOME,
        writer: Writer::Raw,
        tell: hangs,
    },
    Story {
        name: "hang-late",
        about: "it stands still after 40 s, when its boot was noted as fine",
        end: HOME,
        writer: Writer::Raw,
        tell: hangs_late,
    },
    Story {
        name: "net-good",
        about: "a good release, and no network from staging on",
        end: UPDATED,
        writer: Writer::Raw,
        tell: net_good,
    },
    Story {
        name: "net-before",
        about: "no network before its service fails",
        end: HOME,
        writer: Writer::Raw,
        tell: net_before,
    },
    Story {
        name: "net-during",
        about: "no network from the moment at which it fails",
        end: HOME,
        writer: Writer::Raw,
        tell: net_during,
    },
    Story {
        name: "net-after",
        about: "no network when the device is home, before it has told",
        end: HOME,
        writer: Writer::Raw,
        tell: net_after,
    },
    Story {
        name: "cut-staging",
        about: "power cuts while it is written",
        end: UPDATED,
        writer: Writer::Raw,
        tell: cut_staging,
    },
    Story {
        name: "cut-switch",
        about: "power cuts while the boot loader is asked to try it",
        end: UPDATED,
        writer: Writer::Raw,
        tell: cut_switch,
    },
    Story {
        name: "cut-confirm",
        about: "power cuts while it is confirmed",
        end: UPDATED,
        writer: Writer::Raw,
        tell: cut_confirm,
    },
    Story {
        name: "both-bad",
        about: "it spoils the data: neither release works any more",
        end: "on 1.0.0, bad, still, and reachable",
        writer: Writer::Raw,
        tell: both_bad,
    },
    Story {
        name: "rauc",
        about: "a good release, installed by RAUC",
        end: UPDATED,
        writer: Writer::Rauc,
        tell: good,
    },
    Story {
        name: "rauc-fails",
        about: "installed by RAUC; its service fails after 60 s",
        end: HOME,
        writer: Writer::Rauc,
        tell: fails,
    },
];

/// A trial that a good release passes soon.
const SHORT: Times = Times { trial: 30, limit: 600 };
/// A trial that is longer than it takes a bad release to go bad.
const LONG: Times = Times { trial: 120, limit: 900 };

fn good(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    let mut device = bench.device(Fault::None, SHORT)?;
    let mark = device.machine.mark();
    device.shore.roll_out(NEW)?;
    is_updated(&mut device, mark)?;
    device.stays("b", NEW)?;
    Ok(device.notes)
}

fn panics(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    let mut device = bench.device(Fault::Panic, SHORT)?;
    let mark = device.machine.mark();
    device.shore.roll_out(NEW)?;
    let (_, after) = device.up(mark, "a", OLD)?;
    let panics = device.count(mark, "LAB fault panic slot=b");
    device.note(format!("{panics} boots ended in a panic, and the boot loader started slot a"));
    // Three boots are what a try is given.
    expect(panics == 3, || format!("there were {panics} panics, and not 3"))?;
    is_home(&mut device)?;
    expect(device.count(after, "LAB fault") == 0, || "it was tried once more".into())?;
    device.stays("a", OLD)?;
    Ok(device.notes)
}

fn fails(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    let mut device = bench.device(Fault::Fails(60), LONG)?;
    let mark = device.machine.mark();
    device.shore.roll_out(NEW)?;
    let (_, mark) = device.up(mark, "b", NEW)?;
    device.note("2.0.0 runs on trial");
    let (_, mark) = device.says(mark, "LAB fault fails")?;
    device.note("its service fails");
    comes_home(&mut device, mark)?;
    stays_home(&mut device)?;
    Ok(device.notes)
}

/// Before anything could say that the boot is fine: the boot loader counts, and falls back.
fn hangs(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    stands_still(bench, 3)
}

/// The service was well, so the try has its boots back; and then the machine stands still.
fn hangs_late(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    stands_still(bench, 40)
}

fn stands_still(bench: &Bench<'_>, seconds: u32) -> Result<Vec<String>, Trouble> {
    let mut device = bench.device(Fault::Hangs(seconds), LONG)?;
    let mark = device.machine.mark();
    device.shore.roll_out(NEW)?;
    let (_, mark) = device.says(mark, "LAB fault hangs")?;
    device.note("the machine stands still");
    let (_, after) = device.says(mark, "LAB loader starts=")?;
    device.note("the watchdog has reset it");
    let confirms = format!("LAB slots end confirm {NEW} code=0");
    let home = format!("LAB up slot=a version={OLD} ");
    let (line, _) = device.machine.until(after, "it is home", PATIENCE, |line| {
        line.starts_with(&home) || line.starts_with(&confirms)
    })?;
    expect(line.text.starts_with(&home), || "a release was confirmed whose machine stands still".into())?;
    let hangs = device.count(mark, "LAB fault hangs");
    device.note(format!("it stood still {} times", hangs + 1));
    is_home(&mut device)?;
    device.stays("a", OLD)?;
    Ok(device.notes)
}

fn net_good(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    let mut device = bench.device(Fault::None, SHORT)?;
    let mark = device.machine.mark();
    device.shore.roll_out(NEW)?;
    let (_, mark) = device.says(mark, "LAB slots begin stage")?;
    device.machine.cable(false)?;
    device.note("the cable is pulled while 2.0.0 is written");
    let (_, mark) = device.up(mark, "b", NEW)?;
    device.says(mark, "LAB slots end confirm")?;
    device.note("2.0.0 is confirmed, and nobody was asked");
    device.machine.cable(true)?;
    is_updated(&mut device, mark)?;
    device.stays("b", NEW)?;
    Ok(device.notes)
}

fn net_before(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    let cut = |device: &mut Device, mark| {
        let (_, mark) = device.up(mark, "b", NEW)?;
        device.machine.cable(false)?;
        device.note("2.0.0 runs; the cable is pulled");
        let (_, mark) = device.says(mark, "LAB fault fails")?;
        device.note("its service fails");
        Ok(mark)
    };
    without_network(bench, cut, |known| condemned(known) == 0)
}

fn net_during(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    let cut = |device: &mut Device, mark| {
        let (_, mark) = device.says(mark, "LAB fault fails")?;
        device.machine.cable(false)?;
        device.note("its service fails, and the cable is pulled");
        Ok(mark)
    };
    without_network(bench, cut, |known| condemned(known) == 0)
}

fn net_after(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    let cut = |device: &mut Device, mark| {
        let (_, mark) = device.says(mark, "LAB fault fails")?;
        device.note("its service fails");
        let (_, mark) = device.says(mark, "LAB slots begin go-home")?;
        device.machine.cable(false)?;
        device.note("it turns home, and the cable is pulled");
        Ok(mark)
    };
    // Why it turns home it may have told before it began to.
    without_network(bench, cut, |known| known["booted"]["release"]["version"] == NEW)
}

/// A bad release; `cut` pulls the cable at some moment. Home is reached without it, and told once it is plugged again: until then
/// the server is where it was then, as `untold` says.
fn without_network(
    bench: &Bench<'_>,
    cut: fn(&mut Device, Mark) -> Result<Mark, Trouble>,
    untold: fn(&serde_json::Value) -> bool,
) -> Result<Vec<String>, Trouble> {
    let mut device = bench.device(Fault::Fails(60), LONG)?;
    let mark = device.machine.mark();
    device.shore.roll_out(NEW)?;
    let mark = cut(&mut device, mark)?;
    device.up(mark, "a", OLD)?;
    device.note("1.0.0 runs again, without a word to anybody");
    // The server can't know of it yet: what it learns now, it learns of the device's own records.
    expect(device.shore.device().is_ok_and(|known| untold(&known)), || {
        "the server knew what the device could not have told".into()
    })?;
    device.machine.cable(true)?;
    device.note("the cable is plugged again");
    let home = device.told("CameHome", &format!("to {OLD}"))?;
    device.note(home);
    is_home(&mut device)?;
    device.stays("a", OLD)?;
    Ok(device.notes)
}

fn cut_staging(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    cut_while(bench, "stage", 4_000)
}

fn cut_switch(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    cut_while(bench, "try-next", 1_500)
}

fn cut_confirm(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    cut_while(bench, "confirm", 400)
}

/// Cuts the power three times while the slot program does a deed: as soon as it begins, and then up to so many milliseconds
/// later. In the end the release is confirmed all the same.
fn cut_while(bench: &Bench<'_>, deed: &str, later_ms: usize) -> Result<Vec<String>, Trouble> {
    let mut device = bench.device(Fault::None, SHORT)?;
    let mut mark = device.machine.mark();
    device.shore.roll_out(NEW)?;
    let (begin, end) = (format!("LAB slots begin {deed}"), format!("LAB slots end {deed}"));
    let done = |device: &Device| device.shore.device().is_ok_and(|device| is_settled(&device, NEW));
    let mut within = 0;
    for number in 0..3 {
        // A cut may come too late, and then it isn't begun again.
        let begun = device
            .machine
            .until(mark, &begin, PATIENCE, |line| line.starts_with(&begin) || (number > 0 && done(&device)));
        let (line, begun) = begun?;
        if !line.text.starts_with(&begin) {
            break;
        }
        let later = if number == 0 { 0 } else { device.chance.below(later_ms) };
        thread::sleep(Duration::from_millis(later as u64));
        device.machine.off();
        let is_within = device.count(begun, &end) == 0;
        within += usize::from(is_within);
        let when = if is_within { "before it ended" } else { "after it had ended" };
        device.note(format!("cut {} comes {later} ms after `{deed}` began, {when}", number + 1));
        mark = device.power_cut()?;
        device.says(mark, "LAB up slot=")?;
    }
    expect(within > 0, || format!("no cut came while `{deed}` was done"))?;
    is_updated(&mut device, mark)?;
    device.stays("b", NEW)?;
    Ok(device.notes)
}

fn both_bad(bench: &Bench<'_>) -> Result<Vec<String>, Trouble> {
    let mut device = bench.device(Fault::Spoils(30), LONG)?;
    let mark = device.machine.mark();
    device.shore.roll_out(NEW)?;
    let (_, mark) = device.says(mark, "LAB fault spoils")?;
    device.note("2.0.0 has spoilt the data, and fails itself");
    let (_, mark) = device.up(mark, "a", OLD)?;
    device.note("home on 1.0.0, which can't read its data any more");
    let still =
        |device: &serde_json::Value| ["Stranded", "Frozen"].iter().any(|word| device["standing"] == *word);
    device.knows("the device has nothing left to try", still)?;
    let known = device.shore.device()?;
    let restarts = device.count(mark, "LAB loader starts=");
    device.note(format!("it says {}, after {restarts} restarts", known["standing"]));
    expect(known["booted"]["release"]["version"] == OLD, || format!("it runs something else: {known}"))?;
    expect(condemned(&known) > 0, || format!("it would run 2.0.0 again: {known}"))?;
    // It stays, and a word reaches it: signs of life go on, and nothing restarts.
    let quiet = device.machine.mark();
    for _ in 0..5 {
        device.knows("it gives a sign of life", |device| {
            device["heard_ms"].as_u64().is_some_and(|ms| ms < 5_000)
        })?;
        thread::sleep(Duration::from_secs(4));
    }
    let restarts = device.count(quiet, "LAB loader starts=");
    expect(restarts == 0, || format!("it restarted {restarts} times more"))?;
    device.shore.cli.ask(&["device", "tell", crate::shore::DEVICE, "hold"])?;
    let heard = device.told("Told", "hold")?;
    device.note(format!("a signed word reaches it: {heard}"));
    device.note(format!("{} records hang together", device.shore.chain_holds()?));
    Ok(device.notes)
}

/// Waits until 2.0.0 runs from slot b and is confirmed, by console and server.
fn is_updated(device: &mut Device, mark: Mark) -> Result<(), Trouble> {
    device.knows("2.0.0 is confirmed", |device| is_settled(device, NEW))?;
    let said = device.told("Confirmed", NEW)?;
    device.note(said);
    expect(device.count(mark, "LAB broken") == 0, || "something is broken on the device".into())
}

/// Waits until the device is home again, and its server knows why.
fn comes_home(device: &mut Device, mark: Mark) -> Result<(), Trouble> {
    device.up(mark, "a", OLD)?;
    device.note("1.0.0 runs again");
    let home = device.told("CameHome", &format!("to {OLD}"))?;
    device.note(home);
    is_home(device)?;
    device.says(mark, &format!("LAB slots end condemn {NEW} code=0"))?;
    Ok(())
}

/// That a restart brings 1.0.0 back, and that the boot loader starts 2.0.0 only where that doesn't come up any more.
fn stays_home(device: &mut Device) -> Result<(), Trouble> {
    let mark = device.machine.mark();
    device.stays("a", OLD)?;
    let (line, _) = device.says(mark, "LAB loader starts=a")?;
    expect(line.text.ends_with(" b=0"), || format!("2.0.0 could be started next: {}", line.text))?;
    device.note("2.0.0 is the boot loader's last resort");
    Ok(())
}

/// Waits until the server knows that 1.0.0 runs, settled, and that 2.0.0 will not be run again.
fn is_home(device: &mut Device) -> Result<(), Trouble> {
    device.knows("1.0.0 is settled and 2.0.0 condemned", |device| {
        is_settled(device, OLD) && condemned(device) == 1
    })?;
    let why = device.told("Condemned", NEW)?;
    device.note(why);
    Ok(())
}

fn expect(holds: bool, else_: impl FnOnce() -> String) -> Result<(), Trouble> {
    if holds { Ok(()) } else { Err(Trouble(else_())) }
}
