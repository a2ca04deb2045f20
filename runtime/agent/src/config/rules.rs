//! The rules across keys of the agent's configuration: what would end the start, or make the device do what nobody meant.
//!
//! Not here: which keys there are, and the bounds that one key's type has by itself (`config`).

use backstay_config::{Document, Problem, Setting, Span};
use backstay_core::RUNGS_MAX;
use backstay_slots::Tries;

use super::{Command, Config, PROBES_MAX, ProbeScope, RESTART, Slots};
use crate::lkg;

impl Config {
    /// All that is wrong across keys.
    pub(super) fn problems(&self, document: &Document) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: &str| problems.push(document.problem(key, why));
        if !self.probe.iter().any(|probe| probe.critical && matches!(probe.scope, ProbeScope::Local)) {
            wrong(
                "probe",
                "expected at least one probe with scope \"local\" and critical = true: without it no release can ever earn trust",
            );
        }
        if self.probe.len() > PROBES_MAX {
            wrong("probe", "expected at most 32 probes");
        }
        for (at, probe) in self.probe.iter().enumerate() {
            let key = format!("probe[{at}]");
            let kinds =
                [probe.http.is_some(), probe.tcp.is_some(), probe.command.is_some(), probe.file.is_some()];
            if kinds.iter().filter(|kind| **kind).count() != 1 {
                wrong(&format!("{key}.name"), "expected exactly one of http, tcp, command and file");
            }
            if probe.file.is_some() != probe.age.is_some() {
                wrong(&format!("{key}.age"), "expected file and age together");
            }
            if probe.command.as_ref().is_some_and(Vec::is_empty) {
                wrong(&format!("{key}.command"), "expected a program and its arguments");
            }
            if self.probe.iter().take(at).any(|earlier| earlier.name == probe.name) {
                wrong(&format!("{key}.name"), "expected a name that no other probe has");
            }
            if probe.timeout > probe.every {
                wrong(&format!("{key}.timeout"), "expected at most every: a look ends before the next one");
            }
            if probe.every > self.window {
                wrong(
                    &format!("{key}.every"),
                    "expected a reading in each window: at most the length of window",
                );
            }
        }
        if self.startup >= self.window {
            wrong("startup", "expected less than window: else the first window says nothing");
        }
        let (limit, healthy_for) = (self.trial.limit.millis().0, self.trial.healthy_for.millis().0);
        if limit < healthy_for.saturating_add(self.window.millis().0) {
            wrong(
                "trial.limit",
                "expected at least trial.healthy_for and a window: else no trial can be passed",
            );
        }
        if !(60_000..=86_400_000).contains(&self.run.limit.millis().0) {
            wrong("run.limit", "expected 1m to 24h");
        }
        if self.ladder.len() > RUNGS_MAX {
            wrong("ladder", "expected at most 8 rungs");
        }
        for (at, rung) in self.ladder.iter().enumerate() {
            if !(1..=100).contains(&rung.attempts) {
                wrong(&format!("ladder[{at}].attempts"), "expected 1 to 100");
            }
            if !self.commands.contains_key(&rung.playbook) && !lkg::is_restore(&self.lkg, &rung.playbook) {
                wrong(&format!("ladder[{at}].playbook"), "expected the name of a command under [commands]");
            }
        }
        lkg::check(&self.lkg, &mut wrong);
        for (name, command) in &self.commands {
            if lkg::is_restore(&self.lkg, name) {
                wrong(
                    &format!("commands.{name}"),
                    "expected another name: with [[lkg]] this one restores those files",
                );
            }
            match command {
                Command::Supervise(_) if self.service.is_none() => {
                    wrong(&format!("commands.{name}"), "expected a [service] for it to be about");
                }
                Command::Program(program) if program.argv.is_empty() => {
                    wrong(&format!("commands.{name}.argv"), "expected a program and its arguments");
                }
                Command::Supervise(_) | Command::Program(_) => {}
            }
        }
        if self.service.as_ref().is_some_and(|service| service.command.is_empty()) {
            wrong("service.command", "expected a program and its arguments");
        }
        if self.heal.cap < self.heal.base {
            wrong("heal.cap", "expected at least heal.base");
        }
        if self.retry.cap < self.retry.base {
            wrong("retry.cap", "expected at least retry.base");
        }
        if !(1..=100).contains(&self.retry.attempts) {
            wrong("retry.attempts", "expected 1 to 100");
        }
        if !(1..=64).contains(&self.budget.switches) {
            wrong("budget.switches", "expected 1 to 64");
        }
        if !(2048..=1_048_576).contains(&self.journal.kib_max) {
            wrong("journal.kib_max", "expected 2048 to 1048576");
        }
        if let Some(server) = &self.server {
            if !(1..=65_536).contains(&server.cache_mib_max) {
                wrong("server.cache_mib_max", "expected 1 to 65536");
            }
            if server.urls.is_empty() {
                wrong("server.urls", "expected at least one address");
            }
            for (at, url) in server.urls.iter().enumerate() {
                if !(url.starts_with("http://") || url.starts_with("https://")) {
                    wrong(&format!("server.urls[{at}]"), "expected http:// or https:// and a host");
                }
            }
        }
        if self.broker.is_some() && self.server.is_none() {
            wrong(
                "broker.url",
                "expected a [server] too: it enrols the device, and steering is for enrolled devices",
            );
        }
        match &self.slots {
            Slots::Files { tries, .. } if Tries::new(*tries).is_none() => {
                wrong("slots.tries", "expected 1 to 7");
            }
            Slots::Files { .. } => {}
            Slots::Program { .. } => self.problems_with_program(&mut wrong),
        }
        problems
    }

    /// Where another program works the slots, what runs is the machine's whole system.
    fn problems_with_program(&self, wrong: &mut dyn FnMut(&str, &str)) {
        let Slots::Program { command, timeout, stage_timeout } = &self.slots else { return };
        if !command.first().is_some_and(|program| program.starts_with('/')) {
            wrong(
                "slots.command",
                "expected a program by its full path, and its arguments: [\"/usr/bin/backstay-slots\"]",
            );
        }
        if *timeout > Span::from_secs(3600) {
            wrong("slots.timeout", "expected at most 1h");
        }
        if stage_timeout < timeout || *stage_timeout > Span::from_secs(24 * 3600) {
            wrong("slots.stage_timeout", "expected at least slots.timeout, and at most 24h");
        }
        let of_slot = |text: &String| text.contains("{release}");
        if let Some(service) = &self.service
            && (service.command.iter().any(of_slot) || service.environment.values().any(of_slot))
        {
            wrong(
                "service",
                "expected no {release} in it: slots hold no program, they are what this machine boots",
            );
        }
        let name = match self.executor.settings.iter().find(|(name, _)| name.as_str() == RESTART) {
            Some((_, Setting::Text(name))) => name,
            Some((_, Setting::Flag(_) | Setting::Number(_) | Setting::Texts(_))) | None => RESTART,
        };
        let command = self.commands.iter().find(|(command, _)| command.as_str() == name);
        if !matches!(command, Some((_, Command::Program(_)))) {
            wrong(
                &format!("commands.{name}"),
                "expected a program that restarts this machine: { argv = [\"/usr/bin/systemctl\", \"reboot\"] }",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::tests::SMALL;

    fn told(text: &str) -> String {
        Config::of(&Document::new(Path::new("agent.toml"), text)).unwrap_err().to_string()
    }

    #[test]
    fn what_would_end_the_start_is_told_before_it() {
        let tries = |tries| SMALL.replace("[service]", &format!("tries = {tries}\n[service]"));
        assert!(Config::of(&Document::new(Path::new("agent.toml"), &tries(7))).is_ok());
        assert_eq!(told(&tries(8)), "agent.toml:6: slots.tries: expected 1 to 7");
        let cache = |mib: u32| {
            SMALL.replace(
                "[slots]",
                &format!("[server]\nurls = [\"https://a:1\"]\ncache_mib_max = {mib}\n[slots]"),
            )
        };
        assert!(Config::of(&Document::new(Path::new("agent.toml"), &cache(65_536))).is_ok());
        for mib in [0, 65_537] {
            assert!(told(&cache(mib)).ends_with("server.cache_mib_max: expected 1 to 65536"), "{mib}");
        }
        let slow = SMALL.replace("[[ladder]]", "every = \"2s\"\ntimeout = \"3s\"\n[[ladder]]");
        assert!(
            told(&slow).starts_with("agent.toml:18: probe[0].timeout: expected at most every"),
            "{}",
            told(&slow)
        );
    }

    /// With a boot loader a restart is the machine's, and there is no program in a slot to supervise.
    #[test]
    fn slots_of_another_program_are_the_whole_system() {
        let slots =
            |rest: &str| format!("backend = \"program\"\ncommand = [\"/usr/bin/backstay-slots\"]{rest}");
        let with = |rest: &str| {
            SMALL
                .replace("backend = \"files\"\npath = \"/var/lib/backstay/slots\"", &slots(rest))
                .replace("{release}", "/usr/bin/pump")
        };
        let supervised = with("");
        assert_eq!(
            told(&supervised),
            "agent.toml:9: commands.restart: expected a program that restarts this machine: \
             { argv = [\"/usr/bin/systemctl\", \"reboot\"] }"
        );
        // The restart of the program stays a rung of the ladder, the executor restarts the machine.
        let good = supervised.replace(
            "executor-ota.bundle\"",
            "executor-ota.bundle\"\nsettings = { restart = \"reboot\" }\n[commands.reboot]\nargv = [\"/sbin/reboot\"]",
        );
        Config::of(&Document::new(Path::new("agent.toml"), &good)).unwrap();
        assert!(
            told(&good.replace("commands.reboot", "commands.boot")).contains(": commands.reboot: expected")
        );
        assert_eq!(
            told(&good.replace("/usr/bin/pump", "{release}")),
            "agent.toml:6: service: expected no {release} in it: slots hold no program, they are what this machine boots"
        );
        assert!(
            told(&good.replace("[\"/usr/bin/backstay-slots\"]", "[]"))
                .starts_with("agent.toml:5: slots.command: expected a program by its full path")
        );
        let times = with("\ntimeout = \"2h\"\nstage_timeout = \"1h\"");
        assert!(
            told(&times).starts_with(
                "agent.toml:6: slots.timeout: expected at most 1h\n\
                 agent.toml:7: slots.stage_timeout: expected at least slots.timeout, and at most 24h\n"
            ),
            "{}",
            told(&times)
        );
        assert!(
            told(&with("\ntries = 3")).contains("slots: unknown field `tries`"),
            "{}",
            told(&with("\ntries = 3"))
        );
    }

    #[test]
    fn a_rung_may_restore_the_configuration_where_there_is_one() {
        let rung = SMALL.replace("playbook = \"restart\"", "playbook = \"restore-configuration\"");
        assert!(told(&rung).contains("expected the name of a command under [commands]"));
        let file = |path: &str| format!("{rung}[[lkg]]\nfile = \"{path}\"\n");
        let config =
            Config::of(&Document::new(Path::new("agent.toml"), &file("/etc/pump/pump.toml"))).unwrap();
        assert_eq!(config.ladder[0].playbook.as_str(), lkg::RESTORE);
        for path in ["pump.toml", "/etc/../pump.toml"] {
            assert!(told(&file(path)).contains("lkg[0].file: expected a path from the root"), "{path}");
        }
        let twice = format!("{}[[lkg]]\nfile = \"/a\"\n", file("/a"));
        assert!(told(&twice).contains("lkg[1].file: expected a file that no other one is"));
        let taken = file("/a").replace("[policy]", "restore-configuration = { argv = [\"x\"] }\n[policy]");
        assert!(told(&taken).contains("commands.restore-configuration: expected another name"));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = SMALL
            .replace("attempts = 3", "attempts = 0")
            .replace("playbook = \"restart\"", "playbook = \"reboot\"");
        assert_eq!(
            told(&text),
            "agent.toml:19: ladder[0].attempts: expected 1 to 100\n\
             agent.toml:18: ladder[0].playbook: expected the name of a command under [commands]"
        );
        assert!(
            told(&SMALL.replace("http = \"http", "htttp = \"http"))
                .starts_with("agent.toml:16: probe[0].htttp: unknown field")
        );
        assert!(
            told(&SMALL.replace("pump-arm64", "Pump"))
                .contains("agent.toml:2: hardware: \"Pump\" is no hardware id")
        );
        assert!(
            told(&SMALL.replace("name = \"http\"", "name = \"http\"\nscope = \"dependency\""))
                .contains("without it no release")
        );
    }
}
