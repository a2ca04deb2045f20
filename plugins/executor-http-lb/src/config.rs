//! What can be set, and what holds where nobody did.

use alloc::{format, string::String, vec, vec::Vec};

use backstay_sdk::{
    readings::LOOK,
    settings::{Description, Number, Problem, Required, Setting, Text, Texts, is_name, problem},
};

pub(crate) const ENDPOINT: Text = Text {
    name: "endpoint",
    default: "lb",
    help: "The endpoint of HAProxy's statistics page: its base is the page's address (stats uri).",
};
pub(crate) const BACKEND: Required =
    Required { name: "backend", secret: false, help: "The name of the backend in HAProxy." };
pub(crate) const SERVERS: Texts = Texts {
    name: "servers",
    help: "Which playbook recycles which server of the backend, each as playbook=server: \"restart-web-1=web1\". The \
           command of the playbook's name mends the server while no traffic goes to it.",
};
pub(crate) const BLUE: Text = Text {
    name: "blue",
    default: "",
    help: "The server that the way home leads to. Empty: there is no way home.",
};
pub(crate) const GREEN: Text = Text {
    name: "green",
    default: "",
    help: "The server that the way home leaves. It is set together with blue.",
};
pub(crate) const CHECK_HOME: Text = Text {
    name: "check-home",
    default: "",
    help: "The command that looks whether blue runs the release and is healthy: exit code 0 says yes. It gets version and \
           digest. Empty: HAProxy's own check has to do, which knows nothing of releases.",
};
pub(crate) const CHECK: Text = Text {
    name: "check",
    default: "",
    help: "The command that looks whether a mended server works, before it is put back: exit code 0 says yes. It gets the \
           server's name. Empty: HAProxy's own check has to do.",
};
pub(crate) const WEIGHT: Text = Text {
    name: "lb-weight",
    default: "",
    help: "The command that sets a weight through HAProxy's runtime socket. It gets backend/server and a percentage of \
           the configured weight, as \"10%\". Empty: a server comes back with all of its weight.",
};
pub(crate) const WEIGHT_PERCENT: Number = Number {
    name: "weight-percent",
    default: 10,
    least: 1,
    most: 99,
    help: "The weight that a server comes back with at first, in percent of the configured one.",
};
pub(crate) const OTHERS: Number = Number {
    name: "others-least",
    default: 1,
    least: 1,
    most: 100,
    help: "So many other servers have to carry traffic before one is drained.",
};
pub(crate) const DRAIN: Number = Number {
    name: "drain-ms",
    default: 30_000,
    least: 7,
    most: 600_000,
    help: "So long may sessions take to end on a drained server, in ms. What is left then is cut off by the command.",
};
pub(crate) const SETTLE: Number = Number {
    name: "settle-ms",
    default: 10_000,
    least: 1,
    most: 600_000,
    help: "So long is waited, in ms, before HAProxy's check is believed: more than the time between two checks (inter) \
           times fall. Also the time with a small weight.",
};
pub(crate) const UP: Number = Number {
    name: "up-ms",
    default: 60_000,
    least: 3,
    most: 600_000,
    help: "So long may a mended server take to pass HAProxy's check, in ms, after settle-ms.",
};

pub(crate) fn describe() -> Description {
    Description {
        about: "Takes servers of an HAProxy backend out of the traffic, mends them and puts them back; goes home from \
                green to blue."
            .into(),
        settings: vec![
            ENDPOINT.info(),
            BACKEND.info(),
            SERVERS.info(),
            BLUE.info(),
            GREEN.info(),
            CHECK_HOME.info(),
            CHECK.info(),
            WEIGHT.info(),
            WEIGHT_PERCENT.info(),
            OTHERS.info(),
            DRAIN.info(),
            SETTLE.info(),
            UP.info(),
        ],
    }
}

pub(crate) fn validate(config: &[Setting]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let server = "a name in HAProxy is 1 to 64 of A-Z, a-z, 0-9, and . _ : -";
    let name = "a name is 1 to 64 of a-z, 0-9 and -, and doesn't begin with -";
    if !is_haproxy_name(BACKEND.of(config)) {
        problems.push(problem(BACKEND.name, server));
    }
    if !is_name(ENDPOINT.of(config)) {
        problems.push(problem(ENDPOINT.name, name));
    }
    for setting in [&CHECK_HOME, &CHECK, &WEIGHT] {
        if !setting.of(config).is_empty() && !is_name(setting.of(config)) {
            problems.push(problem(setting.name, name));
        }
    }
    let looking = [&CHECK_HOME, &CHECK].map(|setting| (setting.name, setting.of(config)));
    let mut playbooks: Vec<&str> = Vec::new();
    for text in SERVERS.of(config) {
        let shown: String = text.chars().take(100).collect();
        match pair(text) {
            None => {
                let why = format!("\"{shown}\" isn't playbook=server: write \"restart-web-1=web1\"");
                problems.push(problem(SERVERS.name, why));
            }
            Some((LOOK, _)) => {
                problems.push(problem(SERVERS.name, "the playbook look only looks, and recycles no server"));
            }
            Some((playbook, _)) if playbooks.contains(&playbook) => {
                problems.push(problem(SERVERS.name, format!("the playbook {playbook} is there twice")));
            }
            Some((playbook, _)) => {
                playbooks.push(playbook);
                if let Some((other, _)) = looking.iter().find(|(_, command)| *command == playbook) {
                    let why =
                        format!("{playbook} is the command of {other} too: what looks must change nothing");
                    problems.push(problem(SERVERS.name, why));
                }
            }
        }
    }
    let weight = WEIGHT.of(config);
    if !weight.is_empty() && looking.iter().any(|(_, command)| *command == weight) {
        problems.push(problem(WEIGHT.name, "the same command as one that looks, which must change nothing"));
    }
    let (blue, green) = (BLUE.of(config), GREEN.of(config));
    for (setting, set) in [(&BLUE, blue), (&GREEN, green)] {
        if !set.is_empty() && !is_haproxy_name(set) {
            problems.push(problem(setting.name, server));
        }
    }
    if blue.is_empty() != green.is_empty() {
        problems.push(problem(GREEN.name, "blue and green are set together, or not at all"));
    } else if !blue.is_empty() && blue == green {
        problems.push(problem(GREEN.name, "blue and green are two servers"));
    }
    problems
}

/// The server that `playbook` recycles.
pub(crate) fn server<'a>(config: &'a [Setting], playbook: &str) -> Option<&'a str> {
    let mut pairs = SERVERS.of(config).iter().filter_map(|text| pair(text));
    pairs.find(|(name, _)| *name == playbook).map(|(_, server)| server)
}

/// `playbook=server`, taken apart.
fn pair(text: &str) -> Option<(&str, &str)> {
    let (playbook, server) = text.split_once('=')?;
    (is_name(playbook) && is_haproxy_name(server)).then_some((playbook, server))
}

/// HAProxy's own rule for names (configuration manual, section 2), and short enough to be named in a failure. None of these
/// characters means anything in a form or in a query, so that a name goes into both as it is.
fn is_haproxy_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use backstay_sdk::settings::Value;

    use super::*;

    fn set(name: &str, text: &str) -> Setting {
        Setting { name: name.into(), value: Value::Text(text.into()) }
    }

    fn servers(texts: &[&str]) -> Setting {
        let texts = texts.iter().map(|&text| text.into()).collect();
        Setting { name: "servers".into(), value: Value::Texts(texts) }
    }

    fn wrong(mut settings: Vec<Setting>) -> Vec<String> {
        if !settings.iter().any(|setting| setting.name == "backend") {
            settings.push(set("backend", "web"));
        }
        validate(&settings).into_iter().filter_map(|problem| problem.setting).collect()
    }

    #[test]
    fn names_are_names_in_haproxy() {
        assert_eq!(wrong(vec![servers(&["restart-1=web_1.eu:8080"])]), [] as [String; 0]);
        for text in ["", "a", "a=", "=b", "A=b", "a=b&action=ready", "a=b c", "a=b=c"] {
            assert_eq!(wrong(vec![servers(&[text])]), ["servers"], "{text}");
        }
        assert_eq!(wrong(vec![servers(&["a=b", "a=c"])]), ["servers"]);
        assert_eq!(wrong(vec![servers(&["look=a"])]), ["servers"]);
        assert_eq!(wrong(vec![set("backend", "web;csv")]), ["backend"]);
        assert_eq!(validate(&[]).len(), 1, "there has to be a backend");
        assert!(describe().settings.iter().all(|setting| setting.help.len() <= 512));
    }

    #[test]
    fn blue_and_green_are_two() {
        assert_eq!(wrong(vec![set("blue", "a")]), ["green"]);
        assert_eq!(wrong(vec![set("blue", "a"), set("green", "a")]), ["green"]);
        assert_eq!(wrong(vec![set("blue", "a"), set("green", "b")]), [] as [String; 0]);
    }

    #[test]
    fn what_looks_changes_nothing() {
        assert_eq!(wrong(vec![set("check", "mend"), servers(&["mend=b"])]), ["servers"]);
        assert_eq!(wrong(vec![set("check", "it"), set("lb-weight", "it")]), ["lb-weight"]);
    }
}
