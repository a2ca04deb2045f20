//! `/etc/backstay/slots.toml`: which boot loader switches, who writes, and how it is known which slot runs.
//!
//! Here: which keys there are, their defaults and bounds, and the rules across keys. Not here: reading TOML and finding lines
//! (`backstay-config`), and whether what is named is there (`check`).

use std::path::{Path, PathBuf};

use backstay_config::{Document, Problem, Problems, Span};
use backstay_slots::Tries;
use serde::Deserialize;

/// All of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it is written down what is in the slots and what was begun: a directory of our own, on a partition that both
    /// slots share.
    #[serde(default = "default_ledger")]
    pub ledger: PathBuf,
    /// Restarts that a release on trial is given before the boot loader falls back, 1 to 7.
    #[serde(default = "default_tries")]
    pub tries: u8,
    /// How it is known what runs.
    #[serde(default)]
    pub running: Running,
    /// Who switches.
    pub boot: Loader,
    /// Who writes.
    pub write: Write,
    /// How RAUC is asked, where it switches or writes.
    #[serde(default)]
    pub rauc: Rauc,
}

/// How it is known what runs: the boot loader says it to the kernel.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Running {
    /// The word on the kernel's command line that means slot a.
    pub a: String,
    /// The word that means slot b.
    pub b: String,
    /// Where that command line is.
    pub cmdline: PathBuf,
    /// Where the name of this boot is.
    pub boot_id: PathBuf,
}

/// Who switches.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "loader", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loader {
    /// U-Boot, by its redundant environment.
    UBoot {
        /// Where the environment lies, as `fw_setenv` is told.
        #[serde(default = "default_fw_env")]
        config: PathBuf,
        /// The lock that `fw_setenv` takes.
        #[serde(default = "default_lock")]
        lock: PathBuf,
        /// The board's own variables, `name=value` lines as U-Boot's build leaves them: where both copies are damaged they
        /// are written anew with ours.
        #[serde(default = "default_variables")]
        defaults: PathBuf,
    },
    /// systemd-boot, by the names of its entries.
    SystemdBoot {
        /// The `loader/entries` of the boot partition.
        #[serde(default = "default_entries")]
        entries: PathBuf,
    },
    /// Whatever RAUC switches by.
    Rauc {},
}

/// Who writes. `a` and `b` are block devices, or files that stand for some.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase", deny_unknown_fields)]
pub enum Write {
    /// Ourselves: an artifact is the image.
    Raw {
        /// Slot a.
        a: PathBuf,
        /// Slot b.
        b: PathBuf,
    },
    /// RAUC: an artifact is a bundle.
    Rauc {
        /// Slot a.
        a: PathBuf,
        /// Slot b.
        b: PathBuf,
    },
    /// SWUpdate: an artifact is an archive.
    SwUpdate {
        /// Slot a.
        a: PathBuf,
        /// Slot b.
        b: PathBuf,
        /// The program, and how it checks archives: `["swupdate", "-k", "/etc/swupdate.pem"]`.
        command: Vec<String>,
        /// What archives install into slot a and into slot b.
        #[serde(default = "default_selections")]
        selections: [String; 2],
        /// How long one installation may take.
        #[serde(default = "default_timeout")]
        timeout: Span,
    },
}

/// How RAUC is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rauc {
    /// The program, and what it is always to be told.
    pub command: Vec<String>,
    /// What RAUC's `system.conf` calls slot a and slot b.
    pub names: [String; 2],
    /// How long one answer or one installation may take.
    pub timeout: Span,
}

impl Default for Rauc {
    fn default() -> Self {
        Self {
            command: vec!["rauc".into()],
            names: ["rootfs.0".into(), "rootfs.1".into()],
            timeout: default_timeout(),
        }
    }
}

impl Default for Running {
    fn default() -> Self {
        Self {
            a: "backstay.slot=a".into(),
            b: "backstay.slot=b".into(),
            cmdline: "/proc/cmdline".into(),
            boot_id: "/proc/sys/kernel/random/boot_id".into(),
        }
    }
}

fn default_ledger() -> PathBuf {
    "/var/lib/backstay/ledger".into()
}
fn default_tries() -> u8 {
    Tries::default().get()
}
fn default_fw_env() -> PathBuf {
    "/etc/fw_env.config".into()
}
fn default_lock() -> PathBuf {
    backstay_boot::LOCK.into()
}
fn default_variables() -> PathBuf {
    "/etc/u-boot-initial-env".into()
}
fn default_entries() -> PathBuf {
    "/efi/loader/entries".into()
}
fn default_selections() -> [String; 2] {
    ["stable,copy1".into(), "stable,copy2".into()]
}
fn default_timeout() -> Span {
    Span::from_secs(2 * 3600)
}

impl Write {
    /// Slot a's device and slot b's.
    pub fn devices(&self) -> [&Path; 2] {
        match self {
            Self::Raw { a, b } | Self::Rauc { a, b, .. } | Self::SwUpdate { a, b, .. } => [a, b],
        }
    }
}

impl Config {
    /// Reads what a document says, and checks the rules across keys.
    ///
    /// # Errors
    /// All that is wrong, each with file, line, key and what was expected.
    pub fn of(document: &Document) -> Result<Self, Problems> {
        let config: Self = document.parse()?;
        let problems = config.problems(document);
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// How often a release on trial is started.
    pub fn tries(&self) -> Tries {
        // Its bounds were checked.
        Tries::new(self.tries).unwrap_or_default()
    }

    fn problems(&self, document: &Document) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: &str| problems.push(document.problem(key, why));
        if Tries::new(self.tries).is_none() {
            wrong("tries", "expected 1 to 7");
        }
        let Running { a, b, .. } = &self.running;
        for (key, word) in [("running.a", a), ("running.b", b)] {
            if word.is_empty() || word.contains(|c: char| c.is_ascii_whitespace()) {
                wrong(key, "expected one word of the kernel's command line: \"backstay.slot=a\"");
            }
        }
        if a == b {
            wrong("running.b", "expected another word than slot a's");
        }
        let [a, b] = self.write.devices();
        let mut paths = vec![("ledger", &*self.ledger), ("write.a", a), ("write.b", b)];
        match &self.boot {
            Loader::UBoot { config, lock, defaults } => {
                paths.extend([("boot.config", &**config), ("boot.lock", lock), ("boot.defaults", defaults)]);
            }
            Loader::SystemdBoot { entries } => paths.push(("boot.entries", entries)),
            Loader::Rauc {} => {}
        }
        for (key, path) in paths {
            if !path.is_absolute() {
                wrong(key, "expected a full path");
            }
        }
        if a == b {
            wrong("write.b", "expected another device than slot a's");
        }
        let mut tools = vec![("rauc.command", &self.rauc.command, "rauc.names", &self.rauc.names)];
        if let Write::SwUpdate { command, selections, .. } = &self.write {
            tools.push(("write.command", command, "write.selections", selections));
        }
        for (command_key, command, names_key, [a, b]) in tools {
            if command.is_empty() {
                wrong(command_key, "expected a program and its arguments");
            }
            if a == b || a.is_empty() || b.is_empty() {
                wrong(names_key, "expected two names, slot a's and slot b's");
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: &str = "/dev/disk/by-partlabel/b";
    const SMALL: &str = r#"
[boot]
loader = "u-boot"
[write]
by = "raw"
a = "/dev/disk/by-partlabel/a"
b = "/dev/disk/by-partlabel/b"
"#;

    fn read(text: &str) -> Result<Config, Problems> {
        Config::of(&Document::new(Path::new("slots.toml"), text))
    }

    fn told(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_small_configuration_is_enough() {
        let config = read(SMALL).unwrap();
        assert_eq!((config.tries(), &*config.running.a), (Tries::default(), "backstay.slot=a"));
        assert!(read(&SMALL.replace("u-boot", "systemd-boot")).is_ok());
        let rauc = read(&SMALL.replace("\"raw\"", "\"rauc\"").replace("u-boot", "rauc")).unwrap();
        assert_eq!((rauc.rauc.command, rauc.write.devices()[1]), (vec!["rauc".to_owned()], Path::new(B)));
        let swupdate = "\"swupdate\"\ncommand = [\"swupdate\", \"-k\", \"/etc/swupdate.pem\"]";
        assert!(matches!(
            read(&SMALL.replace("\"raw\"", swupdate)).unwrap().write,
            Write::SwUpdate { selections: [a, _], .. } if a == "stable,copy1"
        ));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let wrong = SMALL
            .replace("[boot]", "tries = 8\nledger = \"slots\"\n[running]\nb = \"backstay.slot=a\"\n[boot]")
            .replace("partlabel/b", "partlabel/a");
        assert_eq!(
            told(&wrong),
            "slots.toml:2: tries: expected 1 to 7\n\
             slots.toml:5: running.b: expected another word than slot a's\n\
             slots.toml:3: ledger: expected a full path\n\
             slots.toml:11: write.b: expected another device than slot a's"
        );
        let words = SMALL.replace("[boot]", "[running]\na = \"\"\nb = \"root=/dev/vda2 ro\"\n[boot]");
        assert!(told(&words).starts_with("slots.toml:3: running.a: expected one word"), "{}", told(&words));
        assert!(told(&words).contains("\nslots.toml:4: running.b: expected one word"));
        let names = format!("{SMALL}[rauc]\ncommand = []\nnames = [\"rootfs.0\", \"rootfs.0\"]\n");
        assert_eq!(
            told(&names),
            "slots.toml:9: rauc.command: expected a program and its arguments\n\
             slots.toml:10: rauc.names: expected two names, slot a's and slot b's"
        );
        assert!(told(&SMALL.replace("u-boot", "grub")).contains("unknown variant `grub`"));
        assert!(told(&SMALL.replace("\"raw\"", "\"raw\"\nc = \"/dev/vdc\"")).contains("unknown field `c`"));
        assert!(
            told("ledger = \"/x\"\n[write]\nby = \"raw\"\na = \"/a\"\nb = \"/b\"\n")
                .contains("missing field `boot`")
        );
        assert!(told(&SMALL.replace("by = \"raw\"", "")).contains("missing field `by`"));
    }
}
