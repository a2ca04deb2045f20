//! What can be asked of the two programs.

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    Desk, Exit, Failure, Serve,
    breaker::Breaker,
    check::Check,
    ci::Ask,
    client::Server,
    device::Device,
    enrol::Enrol,
    events::Events,
    evidence::Evidence,
    fleet::Fleet,
    gate::Gate,
    incident::Incident,
    keys::Keys,
    lkg::Lkg,
    migration::Migration,
    plan::Plan,
    plugin::Plugin,
    printer::{Output, Words},
    push::Push,
    quarantine::Quarantine,
    release::Release,
    replay::Replay,
    rollout::Rollout,
    serve,
    target::{Freeze, Target, Thaw},
};

/// Automatic rollback for fleets: the server, and the operator's command line
#[derive(Debug, Parser)]
#[command(name = "backstay", version, after_help = exit_codes())]
pub(crate) struct Backstay {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Brings a cohort of a fleet to a version
#[derive(Debug, Parser)]
#[command(name = "otactl", version, after_help = exit_codes())]
pub(crate) struct Otactl {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: OtactlCommand,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    #[command(flatten)]
    pub(crate) server: Server,
    /// For people, or for machines
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table, help_heading = "Output")]
    pub(crate) output: Output,
    /// Say nothing on standard error but errors
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
}

impl Global {
    pub(crate) const fn words(&self) -> Words {
        if self.quiet { Words::Quiet } else { Words::Told }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Arguments),
    Check(Check),
    #[command(subcommand)]
    Keys(Keys),
    #[command(subcommand)]
    Plugin(Plugin),
    #[command(subcommand)]
    Release(Release),
    #[command(subcommand)]
    Enrol(Enrol),
    #[command(subcommand)]
    Fleet(Fleet),
    #[command(subcommand)]
    Rollout(Rollout),
    #[command(subcommand)]
    Device(Device),
    #[command(subcommand)]
    Quarantine(Quarantine),
    #[command(subcommand)]
    Breaker(Breaker),
    #[command(subcommand)]
    Target(Target),
    #[command(subcommand)]
    Migration(Migration),
    #[command(subcommand)]
    Lkg(Lkg),
    Plan(Plan),
    Freeze(Freeze),
    Thaw(Thaw),
    #[command(subcommand)]
    Incident(Incident),
    Verdict(Ask),
    Gate(Gate),
    #[command(subcommand)]
    Evidence(Evidence),
    #[command(
        after_help = "Examples:\n  backstay replay pump-7 --plugins plugins --keyring keys/keyring\n  \
        backstay replay ./state --plugins policy-tree.bundle executor-ota.bundle --keyring keys/keyring --engine pulley\n\n\
        Exit codes: 0 no difference, 8 a difference (the first is shown), 3 something that it takes is missing."
    )]
    Replay(Replay),
    Events(Events),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  backstay completions bash > /etc/bash_completion.d/backstay")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OtactlCommand {
    Push(Push),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  otactl completions bash > /etc/bash_completion.d/otactl")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

impl Command {
    pub(crate) fn run(&self, desk: &Desk, serve: Serve) -> Result<Exit, Failure> {
        match self {
            Self::Serve(arguments) => arguments.run(desk, serve),
            Self::Check(check) => check.run(desk, serve),
            Self::Keys(keys) => keys.run(desk),
            Self::Plugin(plugin) => plugin.run(desk),
            Self::Release(release) => release.run(desk),
            Self::Enrol(enrol) => enrol.run(desk),
            Self::Fleet(fleet) => fleet.run(desk),
            Self::Rollout(rollout) => rollout.run(desk),
            Self::Device(device) => device.run(desk),
            Self::Quarantine(quarantine) => quarantine.run(desk),
            Self::Breaker(breaker) => breaker.run(desk),
            Self::Target(target) => target.run(desk),
            Self::Migration(migration) => migration.run(desk),
            Self::Lkg(lkg) => lkg.run(desk, serve),
            Self::Plan(plan) => plan.run(desk),
            Self::Freeze(freeze) => freeze.run(desk),
            Self::Thaw(thaw) => thaw.run(desk),
            Self::Incident(incident) => incident.run(desk),
            Self::Verdict(ask) => ask.run(desk),
            Self::Gate(gate) => gate.run(desk),
            Self::Evidence(evidence) => evidence.run(desk),
            Self::Replay(replay) => replay.run(desk),
            Self::Events(events) => events.run(desk),
            Self::Completions { shell } => completions::<Backstay>(desk, *shell),
        }
    }
}

impl OtactlCommand {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        match self {
            Self::Push(push) => push.run(desk),
            Self::Completions { shell } => completions::<Otactl>(desk, *shell),
        }
    }
}

fn completions<P: CommandFactory>(desk: &Desk, shell: Shell) -> Result<Exit, Failure> {
    let mut command = P::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    desk.printer.write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

fn exit_codes() -> String {
    let lines: Vec<_> =
        Exit::ALL.iter().map(|exit| format!("  {:>2}  {}", exit.code(), exit.meaning())).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use clap::Command as Clap;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Backstay::command().debug_assert();
        Otactl::command().debug_assert();
    }

    /// Every command that can be run teaches by an example that begins with its own words.
    #[test]
    fn every_command_has_an_example_that_parses() {
        fn walk(command: &Clap, words: &str, seen: &mut Vec<String>) {
            let words = format!("{words}{}", command.get_name());
            if command.has_subcommands() && !words.ends_with("tell") {
                for sub in command.get_subcommands() {
                    walk(sub, &format!("{words} "), seen);
                }
                return;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let help = help.replace("\\\n", " ");
            let example = help.lines().find(|line| line.trim_start().starts_with(&words));
            let example = example.unwrap_or_else(|| panic!("{words} shows no example: {help}"));
            seen.push(example.trim().to_owned());
        }
        let mut seen = Vec::new();
        walk(&Backstay::command(), "", &mut seen);
        walk(&Otactl::command(), "", &mut seen);
        assert!(seen.len() > 25, "{seen:#?}");
        for example in seen {
            // What the shell takes is not for the program.
            let words = example.split(['|', '>']).next().unwrap().split_whitespace();
            let words: Vec<_> =
                words.map(|word| if word.contains("...") { digest(word) } else { word.to_owned() }).collect();
            let parsed = match words[0].as_str() {
                "otactl" => Otactl::try_parse_from(&words).map(drop),
                _ => Backstay::try_parse_from(&words).map(drop),
            };
            parsed.unwrap_or_else(|why| panic!("{example}\n{why}"));
        }
    }

    /// A digest that was cut short for people.
    fn digest(word: &str) -> String {
        let (front, back) = word.split_once("...").unwrap();
        format!("{front}{}{back}", "0".repeat(64 - front.len() - back.len()))
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "backstay",
            "backstay fleet show Pump_7",
            "backstay rollout start --cohort canary",
            "backstay breaker close canary",
            "backstay verdict --service checkout",
            "backstay gate --service checkout --build 1",
            "backstay gate --service checkout --build 1 --keyring k --asks 2",
            "backstay gate --service checkout --build 1 --keyring k --wait --asks 0",
            "backstay gate --service checkout --build 1 --keyring k --wait --verdict v",
            "backstay rollout start --cohort canary --version 2 --wave 10",
            "backstay enrol accept 5f0c --device pump-7 --cohort canary",
            "backstay --output yaml fleet ls",
            "otactl push --fleet acme --cohort canary",
        ] {
            let words = line.split_whitespace();
            let refused = match line.starts_with("otactl") {
                true => Otactl::try_parse_from(words).is_err(),
                false => Backstay::try_parse_from(words).is_err(),
            };
            assert!(refused, "{line}");
        }
    }
}
