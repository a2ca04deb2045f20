//! The story of the demo, chapter by chapter; each ends with what has to hold.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use backstay_test_fleet::{Build, Fleet, Pace, Trouble};
use serde_json::Value;

use crate::show::{Show, table};

/// So many looks without a new record, and the devices have told all: longer than any waits to connect again.
const QUIET_LOOKS: u32 = 20;

/// How long a chapter may take.
const CHAPTER: Duration = Duration::from_secs(150);

/// Tells it with so many devices.
pub(crate) fn tell(programs: &Path, plugins: &Path, dir: &Path, devices: usize) -> Result<(), Trouble> {
    let _ = fs::remove_dir_all(dir);
    let mut show = Show::new();
    let pace = match devices {
        // Two processors have to carry it: with many devices everything looks less often.
        100.. => Pace {
            window: "4s",
            probe: "2s",
            beat: "5s",
            trial: "40s",
            trial_limit: "180s",
            server_window: "4s",
            ..Pace::default()
        },
        _ => Pace::default(),
    };
    show.tell("makes keys, signs two plugins and three releases, starts broker and server");
    let mut fleet = Fleet::start(dir, programs, plugins, pace)?;
    if fleet.broker.is_none() {
        show.tell("mosquitto is not installed: the server brings a broker of its own, and the second story is left out");
    }
    let names = gather(&mut fleet, devices, &mut show)?;
    next_policy(&fleet, plugins, &mut show)?;
    first_cohort(&mut fleet, &mut show)?;
    if fleet.broker.is_some() {
        second_cohort(&mut fleet, &mut show)?;
    }
    receipts(&fleet, &names, &mut show)?;
    ending(&fleet, &names, &mut show)
}

/// All devices enrol with one-time tokens and run 1.4.0.
fn gather(fleet: &mut Fleet, devices: usize, show: &mut Show) -> Result<Vec<String>, Trouble> {
    show.tell(&format!("{devices} devices enrol, each with a token of its own, and run 1.4.0"));
    let mut names = Vec::new();
    for n in 1..=devices {
        let cohort = if n <= devices.div_ceil(2) { "canary" } else { "field" };
        let name = format!("pump-{n}");
        fleet.add(&name, cohort)?;
        show.now(&format!("{n} of {devices} started"));
        names.push(name);
    }
    until(fleet, show, "every device is settled on 1.4.0", |view| {
        let settled =
            count(view, |device| device["standing"] == "Settled" && version(device, "confirmed") == "1.4.0");
        (settled == devices, format!("{settled} of {devices} are settled on 1.4.0"))
    })?;
    Ok(names)
}

/// The next version of the policy, for one cohort: asked beside the old one, then in its place. What follows it decides.
fn next_policy(fleet: &Fleet, components: &Path, show: &mut Show) -> Result<(), Trouble> {
    let component = components.join("policy-tree.wasm");
    let build = Build { plugin: "policy-tree", component: &component, version: Some("1.1.0"), sequence: 2 };
    let bundle = fleet.layout.grant(&fleet.cli, components, build)?;
    fleet.cli.ask(&["plugin", "publish", &bundle.display().to_string()])?;
    let start = "rollout start --cohort canary --plugin backstay/policy-tree --version 1.1.0";
    show.tell(&format!("$ backstay {start}"));
    let words: Vec<&str> = start.split(' ').chain(["--wave", "50%", "--wave", "100%"]).collect();
    fleet.cli.ask(&[words.as_slice(), &["--good-windows", "1"]].concat())?;
    until(fleet, show, "the canary cohort decides by policy 1.1.0", |view| {
        let (all, mut have, mut tried) = (count(view, in_canary), 0, 0);
        for device in devices(view).filter(|device| in_canary(device)) {
            let plugins = &device["plugins"];
            have += usize::from(plugins["trusted"]["version"] == "1.1.0");
            tried += usize::from(plugins["standing"] == "OnTrial");
        }
        (have == all, format!("{tried} devices ask 1.1.0 beside 0.1.0, {have} of {all} decide by it"))
    })?;
    show.tell("each device asked it beside the old one, found no difference, and decides by it now");
    Ok(())
}

fn in_canary(device: &Value) -> bool {
    device["cohort"] == "canary"
}

/// A release that starts well and then fails: the devices go home by themselves, the server turns the cohort.
fn first_cohort(fleet: &mut Fleet, show: &mut Show) -> Result<(), Trouble> {
    show.tell("$ backstay rollout start --cohort canary --version 2.0.0");
    fleet.cli.ask(&["rollout", "start", "--cohort", "canary", "--version", "2.0.0"])?;
    until(fleet, show, "wave 1 runs 2.0.0", |view| {
        let on = count(view, |device| device["cohort"] == "canary" && version(device, "booted") == "2.0.0");
        (on > 0, format!("{on} devices run 2.0.0"))
    })?;
    show.tell("wave 1 runs 2.0.0, which starts well and then answers every request with an error");
    until(fleet, show, "the first devices are home and the cohort is frozen", |view| {
        let home = count(view, |device| device["cohort"] == "canary" && !empty(&device["condemned"]));
        let cohort = cohort(view, "canary");
        let turned = cohort["frozen"] == true && cohort["direction"] == "Home";
        (
            home > 0 && turned,
            format!("{home} devices went home by themselves; the cohort: {}", text(&cohort["phase"])),
        )
    })?;
    let turned = cohort(&fleet.view()?, "canary");
    show.tell(&format!(
        "one message turned the cohort: generation {}, {}",
        turned["generation"],
        text(&turned["phase"])
    ));
    until(fleet, show, "the whole cohort is back on 1.4.0", |view| {
        let all = count(view, |device| device["cohort"] == "canary");
        let back = count(view, |device| {
            device["cohort"] == "canary"
                && device["standing"] == "Settled"
                && version(device, "booted") == "1.4.0"
        });
        (back == all, format!("{back} of {all} are settled on 1.4.0"))
    })?;
    show.tell("the whole cohort is back on 1.4.0");
    let (code, _, said) =
        fleet.cli.exit(&["rollout", "start", "--cohort", "canary", "--version", "2.1.0"])?;
    if code == Some(0) {
        return Err(Trouble("a frozen cohort took another rollout".into()));
    }
    show.tell(&format!(
        "a frozen cohort takes no other rollout: {}",
        said.lines().next().unwrap_or_default()
    ));
    Ok(())
}

/// Another release, bad in another way, and the broker goes before the fault shows.
fn second_cohort(fleet: &mut Fleet, show: &mut Show) -> Result<(), Trouble> {
    show.tell("$ backstay rollout start --cohort field --version 2.1.0");
    fleet.cli.ask(&["rollout", "start", "--cohort", "field", "--version", "2.1.0"])?;
    until(fleet, show, "wave 1 runs 2.1.0", |view| {
        let on = count(view, |device| device["cohort"] == "field" && version(device, "booted") == "2.1.0");
        (on >= 3, format!("{on} devices run 2.1.0"))
    })?;
    if let Some(broker) = &mut fleet.broker {
        broker.kill();
    }
    let cut_off: Vec<String> = fleet
        .devices
        .iter()
        .filter(|device| device.slot().as_deref() == Some("2.1.0"))
        .map(|device| device.name.clone())
        .collect();
    show.tell(&format!(
        "the broker is killed; {} devices run 2.1.0, which will stop answering",
        cut_off.len()
    ));
    if cut_off.is_empty() {
        return Err(Trouble("no device ran 2.1.0 when the broker was killed".into()));
    }
    let mut home = 0;
    let all = fleet.devices.len();
    let devices = &fleet.devices;
    fleet.wait("the cut-off devices are home", CHAPTER, || {
        home = devices.iter().filter(|device| device.slot().as_deref() == Some("1.4.0")).count();
        show.now(&format!("without a broker: {home} of {all} devices run 1.4.0"));
        home == all && devices.iter().all(|device| device.answers().as_deref() == Some("1.4.0"))
    })?;
    show.tell(&format!(
        "without anybody to ask, {} went home; each service answers as 1.4.0",
        cut_off.join(", ")
    ));
    if let Some(broker) = &mut fleet.broker {
        broker.resume()?;
    }
    show.tell("the broker is back, and the devices tell what happened");
    until(fleet, show, "the server turns the second cohort", |view| {
        let told = count(view, |device| {
            cut_off.iter().any(|name| device["device"] == **name) && !empty(&device["condemned"])
        });
        let cohort = cohort(view, "field");
        let turned = cohort["frozen"] == true && cohort["direction"] == "Home";
        (
            told == cut_off.len() && turned,
            format!("{told} of {} have told; {}", cut_off.len(), text(&cohort["phase"])),
        )
    })
}

/// Every record of every device is with the server.
fn receipts(fleet: &Fleet, names: &[String], show: &mut Show) -> Result<(), Trouble> {
    show.tell("waits until the server has every record that the devices told it of");
    let (mut last, mut quiet) = (BTreeMap::new(), 0);
    until(fleet, show, "the journals are there", |view| {
        let here: BTreeMap<String, u64> = devices(view)
            .map(|device| (text(&device["device"]), device["journal"].as_u64().unwrap_or(0)))
            .collect();
        let all_told = devices(view).all(|device| {
            let number = |name: &str| device[name].as_u64().unwrap_or(0);
            number("journal") >= number("journal_told").max(1)
        });
        let whole = here == last && all_told && here.len() == names.len();
        quiet = if whole { quiet + 1 } else { 0 };
        let records: u64 = here.values().sum();
        last = here;
        (quiet >= QUIET_LOOKS, format!("{records} records of {} devices", last.len()))
    })
}

/// The table, and the check of every chain.
fn ending(fleet: &Fleet, names: &[String], show: &mut Show) -> Result<(), Trouble> {
    show.tell("$ backstay evidence verify DEVICE, for every device");
    let (mut rows, mut went, mut wrong) = (Vec::new(), 0, Vec::new());
    for device in &fleet.devices {
        let verified = fleet.cli.ask(&["evidence", "verify", &device.name]);
        let records = match &verified {
            Ok(verified) => verified["records"].to_string(),
            Err(error) => {
                wrong.push(error.to_string());
                "BROKEN".into()
            }
        };
        let told = Told::of(&fleet.cli.records(&device.name)?);
        if device.slot().as_deref() != Some("1.4.0") {
            wrong.push(format!("{} does not run 1.4.0", device.name));
        }
        if told.versions.last().is_none_or(|last| last != "1.4.0") {
            wrong.push(format!("the records of {} don't lead to 1.4.0", device.name));
        }
        went += usize::from(told.home.is_some());
        let (who, took) = told.home.unwrap_or_else(|| ("-".into(), "-".into()));
        rows.push(vec![
            device.name.clone(),
            device.cohort.clone(),
            told.versions.join(" > "),
            who,
            took,
            records,
        ]);
        show.now(&format!("{} of {} checked", rows.len(), names.len()));
    }
    show.tell("what happened, from the devices' own records:\n");
    table(&["DEVICE", "COHORT", "VERSIONS", "WHO DECIDED", "TIME HOME", "RECORDS OK"], &rows);
    println!();
    if went == 0 {
        wrong.push("no device went home".into());
    }
    wrong.extend(replayed(fleet, names, show).err().map(|error| error.to_string()));
    if !wrong.is_empty() {
        return Err(Trouble(wrong.join("\n")));
    }
    let took = show.elapsed().as_secs();
    show.tell(&format!(
        "{went} devices went home, {} chains hold, and nobody was asked; {took} s",
        rows.len()
    ));
    Ok(())
}

/// Every call of a plugin that the devices recorded, made again.
fn replayed(fleet: &Fleet, names: &[String], show: &mut Show) -> Result<(), Trouble> {
    // The portable engine is in the command line; another processor takes an emulator and what was built for it.
    let emulated = fleet.layout.programs.join("backstay-rerun-aarch64").is_file();
    let engines = ["native", "pulley"].into_iter().chain(emulated.then_some("aarch64"));
    for engine in engines {
        replayed_on(engine, fleet, names, show)?;
    }
    Ok(())
}

fn replayed_on(engine: &str, fleet: &Fleet, names: &[String], show: &mut Show) -> Result<(), Trouble> {
    show.tell(&format!(
        "$ backstay replay DEVICE... SERVER --engine {engine}, every decision and run made again"
    ));
    let (plugins, keyring) = (fleet.layout.plugins.display().to_string(), fleet.layout.keys.join("keyring"));
    let keyring = keyring.display().to_string();
    let mut arguments = vec!["replay"];
    arguments.extend(names.iter().map(String::as_str));
    // The server decides by a policy, too; its own records lie in its folder.
    let server = fleet.layout.dir.join("server/state").display().to_string();
    arguments.push(&server);
    arguments.extend(["--plugins", &plugins, "--keyring", &keyring, "--engine", engine]);
    let (code, out, err) = fleet.cli.exit(&arguments)?;
    let replayed: Value = serde_json::from_str(&out).unwrap_or_default();
    let sum = |of: &str| -> u64 {
        let journals = replayed["journals"].as_array().into_iter().flatten();
        journals.filter_map(|journal| journal[of]["again"].as_u64()).sum()
    };
    let (decisions, steps) = (sum("decisions"), sum("steps"));
    if code != Some(0) || decisions == 0 || steps == 0 {
        let first = &replayed["journals"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|journal| journal["verdict"] != "Same");
        return Err(Trouble(format!(
            "replay ended with {code:?}: {decisions} decisions, {steps} steps; {first:?}{err}"
        )));
    }
    show.tell(&format!("{decisions} decisions and {steps} steps made again, no difference"));
    Ok(())
}

/// What a device's records say of its way.
struct Told {
    versions: Vec<String>,
    /// Who decided, and how long it took.
    home: Option<(String, String)>,
}

impl Told {
    fn of(records: &[Value]) -> Self {
        let (mut versions, mut home): (Vec<String>, _) = (Vec::new(), None);
        for record in records {
            let (kind, what) = (text(&record["kind"]), text(&record["what"]));
            let mut words = what.split_whitespace();
            let at = match kind.as_str() {
                "Started" => words.find(|word| *word == "on").and_then(|_| words.next()),
                "TrialBegan" => words.next(),
                "CameHome" => {
                    let took =
                        what.split(" in ").nth(1).and_then(|rest| rest.split(": ").next()).unwrap_or("?");
                    let who = if what.contains("steered") { "server" } else { "device" };
                    home = Some((who.to_owned(), took.to_owned()));
                    words.find(|word| *word == "to").and_then(|_| words.next())
                }
                _ => None,
            };
            if let Some(at) = at
                && versions.last().is_none_or(|last| last != at)
            {
                versions.push(at.into());
            }
        }
        Self { versions, home }
    }
}

fn until(
    fleet: &Fleet,
    show: &mut Show,
    what: &str,
    mut holds: impl FnMut(&Value) -> (bool, String),
) -> Result<(), Trouble> {
    fleet.wait(what, CHAPTER, || {
        let Ok(view) = fleet.view() else { return false };
        let (holds, how) = holds(&view);
        show.now(&how);
        holds
    })
}

fn devices(view: &Value) -> impl Iterator<Item = &Value> {
    view["devices"].as_array().into_iter().flatten()
}

fn count(view: &Value, like: impl Fn(&Value) -> bool) -> usize {
    devices(view).filter(|device| like(device)).count()
}

fn cohort(view: &Value, name: &str) -> Value {
    let mut cohorts = view["cohorts"].as_array().into_iter().flatten();
    cohorts.find(|cohort| cohort["cohort"] == name).cloned().unwrap_or_default()
}

fn version(device: &Value, proof: &str) -> String {
    text(&device[proof]["release"]["version"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}
