//! What can be set, and what holds where nobody did.
//!
//! Not here: what a command is. A setting holds its name; program, machine and time-out are the host's configuration.

use alloc::{format, vec::Vec};

use backstay_sdk::settings::{Description, Flag, Number, Problem, Setting, Text, is_name, problem};

pub(crate) const STATUS: Text = Text {
    name: "status",
    default: "status",
    help: "The command that looks what runs. It prints lines version=V, digest=D (64 hexadecimal digits) and \
           stays=yes|no, at least one of the first two, and nothing else.",
};
pub(crate) const INSTALL: Text = Text {
    name: "install",
    default: "install",
    help: "The command that brings a release in and runs it. It gets version and digest as two arguments. Empty: \
           releases are not installed here.",
};
pub(crate) const CONFIRM: Text = Text {
    name: "confirm",
    default: "confirm",
    help: "The command that makes the release that runs the one that stays. It gets version and digest. Empty: only what \
           says stays=yes can be confirmed.",
};
pub(crate) const GO_HOME: Text = Text {
    name: "go-home",
    default: "go-home",
    help: "The command that brings a release back for good. It gets version and digest. Empty: there is no way home.",
};
pub(crate) const CHECK_HOME: Text = Text {
    name: "check-home",
    default: "",
    help: "The command that looks whether the way home is healthy before traffic goes there: exit code 0 says yes. It \
           gets version and digest. Empty: nothing is asked, for a target that doesn't run the release until it is home.",
};
pub(crate) const RESTART: Text = Text {
    name: "restart",
    default: "restart",
    help: "The command of the playbook restart. Empty: there is no such playbook.",
};
pub(crate) const HEALTHY: Text = Text {
    name: "healthy",
    default: "",
    help: "The command that looks whether the target works after a playbook: exit code 0 says yes. Empty: a playbook is \
           over when its command is.",
};
pub(crate) const LOOK: Text = Text {
    name: "look",
    default: "look",
    help: "The command of the playbook look. It changes nothing, and prints what it sees, a line name=value each: \
           infra.disk=1. Empty: there is no such playbook.",
};
pub(crate) const DRIFT_LOOK: Text = Text {
    name: "drift-look",
    default: "drift-look",
    help: "The command that compares with the desired state. Exit code 0: no drift. 1: drift, a line for each. Anything \
           else: it could not look. Empty: there is no playbook drift.",
};
pub(crate) const DRIFT_FIX: Text = Text {
    name: "drift-fix",
    default: "drift-fix",
    help: "The command that brings back the desired state. It gets --delete where drift-delete is set. Empty: there is no \
           playbook drift.",
};
pub(crate) const DRIFT_DELETE: Flag = Flag {
    name: "drift-delete",
    default: false,
    help: "Whether what is there and isn't desired (lines \"extra ...\") is deleted. Otherwise it is only told.",
};
pub(crate) const SCALE_LOOK: Text = Text {
    name: "scale-look",
    default: "scale-look",
    help: "The command that prints how many run: a number, and nothing else. Empty: there is no playbook scale.",
};
pub(crate) const SCALE_TO: Text = Text {
    name: "scale-to",
    default: "scale-to",
    help: "The command that makes it so many. It gets the wanted number and the present one, as two arguments. Empty: \
           there is no playbook scale.",
};
pub(crate) const SCALE_PERMILLE: Number = Number {
    name: "scale-permille",
    default: 1_500,
    least: 1_000,
    most: 4_000,
    help: "How many run after one step, in permille of how many ran before, rounded up.",
};
pub(crate) const SCALE_STEP: Number = Number {
    name: "scale-step",
    default: 1,
    least: 1,
    most: 100,
    help: "So many more run after one step at least, where the ceiling allows it.",
};
pub(crate) const SCALE_CEILING: Number = Number {
    name: "scale-ceiling",
    default: 0,
    least: 0,
    most: 10_000,
    help: "No more than so many are ever asked for. 0: nobody has said how many the target can take, and nothing is \
           scaled.",
};
pub(crate) const LOOKS: Number = Number {
    name: "looks",
    default: 10,
    least: 1,
    most: 60,
    help: "So often is looked whether a command has come about, before it counts as failed.",
};
pub(crate) const PAUSE: Number = Number {
    name: "look-pause-ms",
    default: 3_000,
    least: 1,
    most: 60_000,
    help: "So long is waited between two such looks, in ms.",
};

/// The commands that look. What a dry run does must never change anything.
const LOOKING: [&Text; 6] = [&STATUS, &CHECK_HOME, &HEALTHY, &LOOK, &DRIFT_LOOK, &SCALE_LOOK];
// Whatever is set within its range, a wait ends within the hour: a run that waits for longer is let go of anyway.
const _: () = assert!(LOOKS.most * PAUSE.most <= 3_600_000);
/// The commands that change.
const CHANGING: [&Text; 6] = [&INSTALL, &CONFIRM, &GO_HOME, &RESTART, &DRIFT_FIX, &SCALE_TO];

pub(crate) fn describe() -> Description {
    let texts = [
        STATUS, INSTALL, CONFIRM, GO_HOME, CHECK_HOME, RESTART, HEALTHY, LOOK, DRIFT_LOOK, DRIFT_FIX,
        SCALE_LOOK, SCALE_TO,
    ];
    let numbers = [SCALE_PERMILLE, SCALE_STEP, SCALE_CEILING, LOOKS, PAUSE];
    let mut settings: Vec<_> = texts.iter().map(Text::info).collect();
    settings.push(DRIFT_DELETE.info());
    settings.extend(numbers.iter().map(Number::info));
    let about = "Moves a target by commands that the operator names, and mends it with restart, drift, scale, or a \
                 command of the playbook's name; with look it tells what a command sees.";
    Description { about: about.into(), settings }
}

pub(crate) fn validate(config: &[Setting]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for setting in LOOKING.into_iter().chain(CHANGING) {
        let command = setting.of(config);
        if !command.is_empty() && !is_name(command) {
            let why = "a command is 1 to 64 of a-z, 0-9 and -, and doesn't begin with -";
            problems.push(problem(setting.name, why));
        }
    }
    for looks in LOOKING {
        let same = |changes: &&&Text| {
            let command = looks.of(config);
            !command.is_empty() && changes.of(config) == command
        };
        if let Some(changes) = CHANGING.iter().find(same) {
            let why =
                format!("the same command as {}: one that only looks must change nothing", changes.name);
            problems.push(problem(looks.name, why));
        }
    }
    for (one, other) in [(&DRIFT_LOOK, &DRIFT_FIX), (&SCALE_LOOK, &SCALE_TO)] {
        for (set, missing) in [(one, other), (other, one)] {
            if !set.of(config).is_empty() && missing.of(config).is_empty() {
                let why = format!("empty, though {} isn't: a playbook needs both", set.name);
                problems.push(problem(missing.name, why));
            }
        }
    }
    let releases = [&INSTALL, &CONFIRM, &GO_HOME].into_iter().find(|setting| !setting.of(config).is_empty());
    if let (Some(setting), "") = (releases, STATUS.of(config)) {
        let why = format!("empty, though {} isn't: a release is never moved without a look", setting.name);
        problems.push(problem(STATUS.name, why));
    }
    if !CHECK_HOME.of(config).is_empty() && GO_HOME.of(config).is_empty() {
        problems.push(problem(CHECK_HOME.name, "set, though go-home is empty: there is no way to check"));
    }
    problems
}

/// The setting whose command is called so, if it isn't one that a playbook may be.
///
/// A playbook that is named like the command that installs would run it without a release.
pub(crate) fn reserved(config: &[Setting], playbook: &str) -> Option<&'static str> {
    let changing = [&INSTALL, &CONFIRM, &GO_HOME, &DRIFT_FIX, &SCALE_TO];
    LOOKING
        .into_iter()
        .chain(changing)
        .find(|setting| setting.of(config) == playbook)
        .map(|setting| setting.name)
}

#[cfg(test)]
mod tests {
    use backstay_sdk::settings::Value;

    use super::*;

    fn set(settings: &[(&str, &str)]) -> Vec<Setting> {
        let text =
            |&(name, text): &(&str, &str)| Setting { name: name.into(), value: Value::Text(text.into()) };
        settings.iter().map(text).collect()
    }

    fn wrong(settings: &[(&str, &str)]) -> Vec<String> {
        validate(&set(settings)).into_iter().filter_map(|problem| problem.setting).collect()
    }

    #[test]
    fn what_nobody_set_fits_together() {
        assert_eq!(validate(&[]), []);
        assert!(describe().settings.iter().all(|setting| setting.help.len() <= 512));
    }

    #[test]
    fn a_command_has_a_name_and_one_that_looks_is_no_other() {
        assert_eq!(wrong(&[("restart", "rm -rf /")]), ["restart"]);
        assert_eq!(wrong(&[("install", "-x")]), ["install"]);
        assert_eq!(wrong(&[("status", "install")]), ["status"]);
        assert_eq!(wrong(&[("healthy", "restart")]), ["healthy"]);
        assert_eq!(wrong(&[("restart", "look")]), ["look"]);
    }

    #[test]
    fn what_belongs_together_is_set_together() {
        assert_eq!(wrong(&[("drift-fix", "")]), ["drift-fix"]);
        assert_eq!(wrong(&[("scale-look", "")]), ["scale-look"]);
        assert_eq!(wrong(&[("status", "")]), ["status"]);
        assert_eq!(wrong(&[("check-home", "probe"), ("go-home", "")]), ["check-home"]);
        let only_playbooks = [("status", ""), ("install", ""), ("confirm", ""), ("go-home", "")];
        assert_eq!(wrong(&only_playbooks), [] as [String; 0]);
    }
}
