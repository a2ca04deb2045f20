//! `backstay fleet`: the devices as far as the server knows them.

use backstay_api::{DeviceView, FleetView, PluginsView};
use backstay_model::{CohortId, Compared, DeviceId};
use clap::{Args, Subcommand};

use crate::{
    Desk, Exit, Failure,
    client::Client,
    printer::Output,
    screen::{Pace, Screen, fit},
    table::Table,
    text::{self, age, health, proof, release, standing},
    tree,
};

/// The fleet and its devices.
#[derive(Debug, Subcommand)]
pub(crate) enum Fleet {
    /// All devices, one line each
    #[command(after_help = "Example:\n  backstay fleet ls --cohort canary")]
    Ls(Which),
    /// Everything that is known of one device
    #[command(after_help = "Example:\n  backstay fleet show pump-7")]
    Show {
        /// Its name
        device: DeviceId,
    },
    /// The fleet as a tree that follows what happens, until interrupted
    #[command(
        after_help = "Examples:\n  backstay fleet watch\n  backstay fleet watch --cohort canary --timeout 10m >> fleet.log\n\n\
        On a terminal the tree is drawn in place. Elsewhere each change is a line."
    )]
    Watch {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        pace: Pace,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only this cohort
    #[arg(long)]
    cohort: Option<CohortId>,
}

impl Which {
    fn ask(&self, client: &Client) -> Result<FleetView, Failure> {
        let mut fleet: FleetView = client.get("/v1/fleet")?;
        if let Some(cohort) = &self.cohort {
            fleet.cohorts.retain(|view| view.cohort == *cohort);
            fleet.devices.retain(|view| view.cohort == *cohort);
            if fleet.cohorts.is_empty() && fleet.devices.is_empty() {
                let what = format!("fleet {} has no cohort {cohort}", fleet.fleet);
                return Err(Failure::new(Exit::NotFound, what).help("backstay fleet ls shows all of them"));
            }
        }
        Ok(fleet)
    }
}

impl Fleet {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        match self {
            Self::Ls(which) => {
                let fleet = which.ask(&client)?;
                desk.printer.show("fleet", &fleet, || table(&fleet.devices))?;
                if fleet.devices.is_empty() {
                    desk.printer.say("no device is enrolled; backstay enrol token makes a token for one");
                }
                Ok(Exit::Done)
            }
            Self::Show { device } => {
                let fleet: FleetView = client.get("/v1/fleet")?;
                let none = || {
                    let what = format!("fleet {} has no device {device}", fleet.fleet);
                    Failure::new(Exit::NotFound, what)
                        .help("backstay enrol pending shows who waits to come in")
                };
                let view = fleet.devices.iter().find(|view| view.device == *device).ok_or_else(none)?;
                desk.printer.show("device", view, || one(view))?;
                Ok(Exit::Done)
            }
            Self::Watch { which, pace } => watch(desk, &client, which, pace),
        }
    }
}

/// Follows until the time is over. There is no verdict of a whole fleet, so the end is always the same.
fn watch(desk: &Desk, client: &Client, which: &Which, pace: &Pace) -> Result<Exit, Failure> {
    let mut screen = Screen::new(&desk.printer);
    let deadline = pace.deadline();
    loop {
        let fleet = which.ask(client)?;
        if desk.printer.output() == Output::Json {
            desk.printer.stream("fleet", &fleet, String::new)?;
        } else if let Some((rows, columns)) = screen.window() {
            screen.frame(&fit(&tree::tree(&fleet, columns, desk.printer.colour()), rows))?;
        } else {
            for view in &fleet.cohorts {
                let line = format!("{}; {}", tree::cohort(view), tree::counts(view));
                screen.line(&format!("cohort {}", text::lane(&view.cohort, view.channel)), &line)?;
            }
            for view in &fleet.devices {
                screen.line(view.device.as_str(), &tree::change(view))?;
            }
        }
        if desk.printer.gone() || !pace.wait(deadline) {
            return Ok(Exit::Done);
        }
    }
}

fn table(devices: &[DeviceView]) -> String {
    let mut table =
        Table::new(["DEVICE", "COHORT", "STANDING", "WANTED", "BOOTED", "CONFIRMED", "HEALTH", "HEARD"]);
    for view in devices {
        let heard = view.heard_ms.map_or_else(|| "never".into(), age);
        table.row([
            view.device.to_string(),
            view.cohort.to_string(),
            standing(view.standing).into(),
            release(view.wanted.as_ref()),
            proof(view.booted.as_ref()),
            proof(view.confirmed.as_ref()),
            health(tree::health(view)).into(),
            if view.online { heard } else { format!("{heard}, away") },
        ]);
    }
    table.to_string()
}

fn one(view: &DeviceView) -> String {
    let mut list = Table::list();
    let proof = |proof: Option<&backstay_api::Proof>| {
        proof.map_or_else(|| "-".into(), |proof| format!("{}, {} ago", proof.release, age(proof.age_ms)))
    };
    list.say("device", &view.device);
    list.say("cohort", &view.cohort);
    let labels: Vec<_> = view.labels.iter().map(ToString::to_string).collect();
    list.say("labels", if labels.is_empty() { "-".into() } else { labels.join(", ") });
    list.say("fingerprint", view.key);
    let heard = view.heard_ms.map_or_else(|| "never heard of".into(), |ms| format!("heard {} ago", age(ms)));
    list.say("reported", format_args!("{heard}, {}", if view.online { "connected" } else { "away" }));
    list.say("wanted", release(view.wanted.as_ref()));
    list.say("booted", proof(view.booted.as_ref()));
    list.say("confirmed", proof(view.confirmed.as_ref()));
    list.say("standing", standing(view.standing));
    list.say("health", doing(view));
    for digest in &view.condemned {
        list.say("condemned", digest);
    }
    if let Some(plugins) = &view.plugins {
        list.say("plugin", self::plugins(plugins));
        for digest in &plugins.condemned {
            list.say("condemned plugin", digest);
        }
    }
    list.say("journal", journal(view));
    list.to_string()
}

/// The plugin that it is steered to, or else its policy, and how far that is proven.
fn plugins(view: &PluginsView) -> String {
    let mut told = format!("{}, {}", release(view.trusted.as_ref()), standing(Some(view.standing)));
    if let Some(runs) = view.runs.as_ref().filter(|_| view.runs != view.trusted) {
        told.push_str(&format!(" with {runs}"));
    }
    if let Some(Compared { deciding, windows, differed }) = view.compared {
        let how = if deciding { "decides" } else { "is asked beside" };
        told.push_str(&format!(": the new one {how}, and differed in {differed} of {windows} windows"));
    }
    told.push_str(&format!(", {} ago", age(view.age_ms)));
    told
}

/// How it does, how old that is, and how much it is worth.
fn doing(view: &DeviceView) -> String {
    match view.health_now {
        Some(now) if now.signed => format!("{}, {} ago", health(Some(now.health)), age(now.age_ms)),
        Some(now) => format!("{}, {} ago, by an unsigned beat", health(Some(now.health)), age(now.age_ms)),
        None => health(view.health).into(),
    }
}

fn journal(view: &DeviceView) -> String {
    let here = match (view.journal_from, view.journal) {
        (_, 0) => "nothing here".into(),
        (0 | 1, last) => format!("records up to {last} here"),
        (first, last) => format!("records {first} to {last} here; earlier ones are not"),
    };
    if view.journal_told > view.journal {
        format!("{here}; it has told of {}", view.journal_told)
    } else {
        here
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::Standing;

    use super::*;
    use crate::tree::tests::device;

    #[test]
    fn reported_booted_and_confirmed_are_kept_apart() {
        let view = DeviceView { online: false, ..device("pump-2", Standing::OnTrial) };
        assert_eq!(
            table(std::slice::from_ref(&view)),
            "DEVICE  COHORT  STANDING  WANTED  BOOTED               CONFIRMED            HEALTH  HEARD\n\
             pump-2  canary  on trial  -       2.0.0 (abababab) 1m  1.4.0 (cdcdcdcd) 2d  good    2s, away\n"
        );
        let told = one(&view);
        assert!(told.contains("reported     heard 2s ago, away\n"), "{told}");
        assert!(told.contains("booted       2.0.0 (abababab), 1m ago\n"), "{told}");
        assert!(told.contains("confirmed    1.4.0 (cdcdcdcd), 2d ago\n"), "{told}");
        assert!(told.contains("health       good, 2s ago, by an unsigned beat\n"), "{told}");
    }

    #[test]
    fn a_journal_that_begins_late_says_so() {
        let view = |journal_from, journal| {
            journal_of(DeviceView {
                journal_from,
                journal,
                journal_told: 0,
                ..device("pump-2", Standing::Settled)
            })
        };
        assert_eq!(view(0, 0), "nothing here");
        assert_eq!(view(1, 12), "records up to 12 here");
        assert_eq!(view(0, 12), "records up to 12 here", "an older server does not say");
        assert_eq!(view(7, 12), "records 7 to 12 here; earlier ones are not");
        let told = DeviceView { journal: 12, journal_told: 40, ..device("pump-2", Standing::Settled) };
        assert_eq!(journal_of(told), "records up to 12 here; it has told of 40");
    }

    fn journal_of(view: DeviceView) -> String {
        journal(&view)
    }
}
