//! The units of systemd that ship, as systemd itself reads them.
//!
//! Here: that it understands every line, and how much of the machine the agent's unit leaves open to what runs in it. Not here: that the agent works
//! under it, which takes a machine that systemd runs (`docs/packages.md`).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::setup::on_path;
use crate::workspace::Workspace;

const FOLDER: &str = "firmware-integration/systemd";

/// The most that `systemd-analyze security` may make of it, in tenths; 100 is a unit that says nothing. systemd 252 says 28; other
/// versions weigh other lines.
const EXPOSURE_MAX: u32 = 30;

/// What a version of systemd says of a unit file.
struct Said {
    good: bool,
    words: String,
}

fn analyze(words: &[&str], file: &Path) -> Said {
    let output = Command::new("systemd-analyze").args(words).arg(file).output().unwrap();
    let words =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Said { good: output.status.success(), words }
}

fn is_missing() -> bool {
    if on_path("systemd-analyze").is_none() {
        eprintln!("skipped, because there is no systemd-analyze here");
        return true;
    }
    false
}

/// `verify` wants the program to be there: it gets one that is on every machine. What it only warns of is wrong, too.
fn misunderstood(unit: &str, name: &str) -> Vec<String> {
    misunderstood_with(unit, name, None)
}

/// With a drop-in, whose lines count as the unit's.
fn misunderstood_with(unit: &str, name: &str, drop_in: Option<&str>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    if let Some(drop_in) = drop_in {
        let beside = folder.path().join(format!("{name}.d"));
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("drop-in.conf"), drop_in).unwrap();
    }
    let begin =
        |line: &str| if line.starts_with("ExecStart=") { "ExecStart=/bin/true" } else { line }.to_owned();
    fs::write(&file, unit.lines().map(begin).collect::<Vec<_>>().join("\n")).unwrap();
    let said = analyze(&["verify", "--man=no"], &file);
    said.words.lines().filter(|line| line.contains(name)).map(str::to_owned).collect()
}

fn unit(name: &str) -> String {
    let workspace = Workspace::read().unwrap();
    fs::read_to_string(workspace.root.join(FOLDER).join(name)).unwrap()
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    if is_missing() {
        return;
    }
    for name in ["backstay-agent.service", "backstay-server.service", "backstay-confirm.service"] {
        assert_eq!(misunderstood(&unit(name), name), Vec::<String>::new());
    }
    let wrong = unit("backstay-agent.service").replace("ProtectSystem=", "ProtectSytem=");
    assert_eq!(misunderstood(&wrong, "backstay-agent.service").len(), 1);
}

#[test]
fn systemd_understands_what_slots_give_back_and_it_leaves_little_more_open() {
    if is_missing() {
        return;
    }
    let name = "backstay-agent.service";
    let (agent, slots) = (unit(name), unit("backstay-agent.service.d/slots.conf"));
    let misunderstood = |drop_in: &str| misunderstood_with(&agent, name, Some(drop_in));
    assert_eq!(misunderstood(&slots), Vec::<String>::new());
    assert_eq!(misunderstood(&slots.replace("RequiresMountsFor=", "RequireMountsFor=")).len(), 1);
    // What is commented out is understood as well, for whoever needs it.
    let all = slots.replace("\n#ProtectKernel", "\nProtectKernel").replace("\n#Capa", "\nCapa");
    assert_eq!(misunderstood(&all.replace("\n#SystemCall", "\nSystemCall")), Vec::<String>::new());

    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    let lines = |of: &str| of.lines().skip_while(|line| *line != "[Service]").collect::<Vec<_>>().join("\n");
    fs::write(&file, format!("{}\n{}", agent.replace("[Install]", "#"), lines(&slots))).unwrap();
    let said = analyze(&["security", "--offline=yes", "--no-pager", &threshold], &file);
    assert!(said.good, "{}", said.words);
}

#[test]
fn the_agents_unit_leaves_little_open() {
    if is_missing() {
        return;
    }
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let words = ["security", "--offline=yes", "--no-pager", &threshold];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backstay-agent.service");
    let hard = unit("backstay-agent.service");
    fs::write(&file, &hard).unwrap();
    let said = analyze(&words, &file);
    assert!(said.good, "{}", said.words);

    // The bound is one: without the line that takes root's powers, it is more.
    fs::write(&file, hard.replace("CapabilityBoundingSet=", "#")).unwrap();
    assert!(!analyze(&words, &file).good);
}

/// What a released agent counts on: a start that is never given up, memory that outlives a restart, and an end of all that it began.
#[test]
fn hardening_took_nothing_that_the_agent_needs() {
    let unit = unit("backstay-agent.service");
    let says = |line: &str| unit.lines().any(|has| has == line);
    for line in [
        "Type=notify",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "StateDirectory=backstay",
        "RuntimeDirectoryPreserve=restart",
        "KillMode=control-group",
    ] {
        assert!(says(line), "{line}");
    }
    // Devices are what services and slots are there for; before systemd 253 the last of these closes them, too.
    for line in ["PrivateDevices=", "DevicePolicy=", "DeviceAllow=", "ProtectClock="] {
        assert!(!unit.lines().any(|has| has.starts_with(line)), "{line}");
    }
}
