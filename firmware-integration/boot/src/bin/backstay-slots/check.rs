//! Whether what a configuration names is there and can be worked with. Nothing is changed by looking.
//!
//! Not here: the rules across keys (`config`), and what is in the slots (`status`).

use backstay_boot::{Standing, Switch};
use backstay_config::Document;
use backstay_slots::Slot;

use crate::{
    config::{Config, Loader, Write},
    running::{self, is_on, mounted_at},
    setup,
};

/// What was seen, and what is wrong with it, each with its place in the configuration.
#[derive(Debug, Default)]
pub struct Checked {
    /// For people: what runs and what comes next.
    pub seen: Vec<String>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Looks at all of it.
pub fn check(document: &Document, config: &Config) -> Checked {
    let mut checked = Checked::default();
    let wrong = |key: &str, why: String| document.problem(key, why).to_string();

    let on = match running::look(&config.running) {
        Ok((slot, boot)) => {
            checked.seen.push(format!("slot {slot} runs, boot {boot}"));
            Some(slot)
        }
        Err(trouble) => {
            checked.problems.push(wrong("running", trouble.to_string()));
            None
        }
    };
    for (slot, device) in [Slot::A, Slot::B].into_iter().zip(config.write.devices()) {
        if is_on(&config.ledger, device) {
            let why = format!("it lies in slot {slot}: put it on a partition that both slots share");
            checked.problems.push(wrong("ledger", why));
        }
        if on.is_some_and(|on| on != slot)
            && let Ok(Some(place)) = mounted_at(device)
        {
            let why =
                format!("it doesn't run, and its device is mounted on {place}: it would be written over");
            checked.problems.push(wrong(&format!("write.{slot}"), why));
        }
    }
    // Each by itself: one that is missing hides no other.
    let [a, b] = config.write.devices();
    for (key, device) in [("write.a", a), ("write.b", b)] {
        if let Err(error) = backstay_boot::device::open(device) {
            checked.problems.push(wrong(key, format!("cannot open {}: {error}", device.display())));
        }
    }
    let same = a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b);
    if same {
        checked.problems.push(wrong("write.b", "it is slot a's device under another name".into()));
    }
    match setup::switch(config) {
        Err(trouble) => checked.problems.push(wrong("boot", trouble.to_string())),
        Ok(mut switch) => match standings(&mut *switch) {
            Ok(seen) => checked.seen.push(seen),
            Err((why, help)) => checked.problems.push(wrong("boot", format!("{why}; help: {help}"))),
        },
    }
    if let Loader::UBoot { defaults, .. } = &config.boot
        && let Err(error) = std::fs::File::open(defaults)
    {
        let why = format!(
            "cannot open {}: {error}; help: take the board's u-boot-initial-env from U-Boot's build, or an empty file where \
             the board boots without an environment",
            defaults.display()
        );
        checked.problems.push(wrong("boot.defaults", why));
    }
    let mut commands = Vec::new();
    if matches!(config.boot, Loader::Rauc {}) || matches!(config.write, Write::Rauc { .. }) {
        commands.push(("rauc.command", &config.rauc.command));
    }
    if let Write::SwUpdate { command, .. } = &config.write {
        commands.push(("write.command", command));
    }
    for (key, command) in commands {
        let program = command.first().map(String::as_str).unwrap_or_default();
        if !is_there(program) {
            checked.problems.push(wrong(key, format!("there is no program {program}")));
        }
    }
    checked
}

fn standings(switch: &mut dyn Switch) -> Result<String, (String, &'static str)> {
    let told = |error: backstay_boot::SwitchError| {
        let help = error.help().unwrap_or("see that the boot loader's words can be read");
        (backstay_model::causes::in_one_line(&error), help)
    };
    let said = |standing| match standing {
        Standing::Barred => "barred".to_owned(),
        Standing::Tries(left) => format!("{left} boots left"),
        Standing::Good => "good".to_owned(),
    };
    let next = switch.primary().map_err(told)?.map_or("none", Slot::as_str);
    let (a, b) = (switch.left(Slot::A).map_err(told)?, switch.left(Slot::B).map_err(told)?);
    Ok(format!("the boot loader starts slot {next} next (a: {}, b: {})", said(a), said(b)))
}

/// Whether a program is found as it would be when it is started.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match program.contains('/') {
        true => std::path::Path::new(program).is_file(),
        false => std::env::split_paths(&path).any(|dir| dir.join(program).is_file()),
    }
}
