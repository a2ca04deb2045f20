//! What a plugin may ask the host to do, by name.
//!
//! Not here: what stands behind a name (the configuration), and doing it (`hands`, `slots`). Links in a file
//! system are the business of whoever opens the file: here a path is only text.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use backstay_model::{Deed, Name};
use serde::{Deserialize, Serialize};

/// The kinds of effect that a plugin needs a permission for. To wait and to attach evidence needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EffectKind {
    /// [`Deed::Http`].
    Http,
    /// [`Deed::Run`].
    Run,
    /// [`Deed::Slot`].
    Slot,
    /// [`Deed::File`].
    File,
    /// [`Deed::Publish`].
    Publish,
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Run => "run",
            Self::Slot => "slot",
            Self::File => "file",
            Self::Publish => "publish",
        })
    }
}

/// What a grant allows. Empty lists allow nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Endpoints for [`Deed::Http`]. At most 32, as of each list here.
    pub endpoints: Vec<Name>,
    /// Commands for [`Deed::Run`].
    pub commands: Vec<Name>,
    /// Topics for [`Deed::Publish`].
    pub topics: Vec<Name>,
    /// Files and directories for [`Deed::File`], absolute and plain, at most 256 bytes each. What is below a
    /// directory is granted with it.
    pub paths: Vec<String>,
    /// Whether [`Deed::Slot`] is allowed.
    pub slots: bool,
}

const LIST_MAX: usize = 32;
const PATH_BYTES_MAX: usize = 256;

impl Permissions {
    /// Checks one effect.
    ///
    /// # Errors
    /// Names what isn't granted.
    pub fn check(&self, deed: &Deed) -> Result<(), NotGranted> {
        let listed = |list: &[Name], effect, name: &Name| {
            let refused = || NotGranted { effect, name: name.to_string() };
            if list.contains(name) { Ok(()) } else { Err(refused()) }
        };
        match deed {
            Deed::Http { endpoint, .. } => listed(&self.endpoints, EffectKind::Http, endpoint),
            Deed::Run { command, .. } => listed(&self.commands, EffectKind::Run, command),
            Deed::Publish { topic, .. } => listed(&self.topics, EffectKind::Publish, topic),
            Deed::Slot(_) if self.slots => Ok(()),
            Deed::Slot(_) => Err(NotGranted { effect: EffectKind::Slot, name: String::new() }),
            Deed::File { path, .. } if self.grants_path(path) => Ok(()),
            Deed::File { path, .. } => {
                let name = path.chars().take(PATH_BYTES_MAX).collect();
                Err(NotGranted { effect: EffectKind::File, name })
            }
            Deed::Sleep { .. } | Deed::Attach { .. } => Ok(()),
        }
    }

    fn grants_path(&self, path: &str) -> bool {
        let below = |granted: &String| {
            path.strip_prefix(granted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is_plain_path(path) && self.paths.iter().any(below)
    }

    /// The kinds of effect that it allows something of.
    #[must_use]
    pub fn kinds(&self) -> Vec<EffectKind> {
        let kinds = [
            (EffectKind::Http, !self.endpoints.is_empty()),
            (EffectKind::Run, !self.commands.is_empty()),
            (EffectKind::Slot, self.slots),
            (EffectKind::File, !self.paths.is_empty()),
            (EffectKind::Publish, !self.topics.is_empty()),
        ];
        kinds.into_iter().filter(|(_, granted)| *granted).map(|(kind, _)| kind).collect()
    }

    /// What about it nobody can grant.
    pub(crate) fn unfit(&self) -> Option<&'static str> {
        if [&self.endpoints, &self.commands, &self.topics].iter().any(|list| list.len() > LIST_MAX)
            || self.paths.len() > LIST_MAX
        {
            return Some("a list of permissions is too long");
        }
        let plain = self.paths.iter().all(|path| is_plain_path(path));
        if plain { None } else { Some("a granted path isn't absolute and plain") }
    }
}

/// Whether `path` is absolute and has only one reading: no empty level, no `.`, no `..`, nothing unprintable,
/// no `/` at its end. So the root as a whole can't be granted.
fn is_plain_path(path: &str) -> bool {
    let Some(levels) = path.strip_prefix('/') else { return false };
    path.len() <= PATH_BYTES_MAX
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && levels.split('/').all(|level| !matches!(level, "" | "." | ".."))
}

/// An effect that a plugin asked for and may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGranted {
    /// Which kind.
    pub effect: EffectKind,
    /// The endpoint, command, topic or path; empty for a slot.
    pub name: String,
}

impl fmt::Display for NotGranted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "{} is not granted", self.effect),
            name => write!(f, "{} {name:?} is not granted", self.effect),
        }
    }
}

impl core::error::Error for NotGranted {}

impl NotGranted {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some("if the plugin should have it, sign a grant that names it")
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn file(path: &str) -> Deed {
        Deed::File { path: path.into(), content: None }
    }

    #[test]
    fn nothing_is_granted_by_silence() {
        let none = Permissions::default();
        let name = Name::parse("x").unwrap();
        assert!(none.check(&Deed::Run { command: name.clone(), args: vec![] }).is_err());
        assert!(none.check(&Deed::Slot(backstay_model::SlotDeed::Status)).is_err());
        assert!(none.check(&file("/etc/passwd")).is_err());
        assert!(none.check(&Deed::Publish { topic: name, payload: vec![] }).is_err());
        assert_eq!(none.kinds(), []);
    }

    /// Taken apart without `..`: a list that is added has to be shown here to count, and to count for nothing else.
    #[test]
    fn each_list_grants_its_own_kind_of_effect_and_no_other() {
        let name = || Name::parse("it").unwrap();
        let none = Permissions::default();
        let Permissions { endpoints: _, commands: _, topics: _, paths: _, slots: _ } = &none;
        let http = Deed::Http { endpoint: name(), method: "GET".into(), path: "/".into(), body: vec![] };
        let all = [
            (EffectKind::Http, Permissions { endpoints: vec![name()], ..none.clone() }, http),
            (
                EffectKind::Run,
                Permissions { commands: vec![name()], ..none.clone() },
                Deed::Run { command: name(), args: vec![] },
            ),
            (
                EffectKind::Publish,
                Permissions { topics: vec![name()], ..none.clone() },
                Deed::Publish { topic: name(), payload: vec![] },
            ),
            (EffectKind::File, Permissions { paths: vec!["/it".into()], ..none.clone() }, file("/it")),
            (
                EffectKind::Slot,
                Permissions { slots: true, ..none },
                Deed::Slot(backstay_model::SlotDeed::Status),
            ),
        ];
        for (kind, granted, _) in &all {
            assert_eq!(granted.kinds(), [*kind]);
            for (asked, _, deed) in &all {
                assert_eq!(
                    granted.check(deed).is_ok(),
                    asked == kind,
                    "{kind} is granted, {asked} is asked for"
                );
            }
        }
    }

    #[test]
    fn no_list_is_longer_than_anybody_would_read() {
        let names = |count| vec![Name::parse("it").unwrap(); count];
        let paths = |count| vec!["/it".into(); count];
        let none = Permissions::default();
        let of = |count| {
            [
                Permissions { endpoints: names(count), ..none.clone() },
                Permissions { commands: names(count), ..none.clone() },
                Permissions { topics: names(count), ..none.clone() },
                Permissions { paths: paths(count), ..none.clone() },
            ]
        };
        assert!(of(LIST_MAX).iter().all(|granted| granted.unfit().is_none()));
        assert!(of(LIST_MAX + 1).iter().all(|granted| granted.unfit().is_some()));
    }

    #[test]
    fn a_path_is_granted_with_what_is_below_it_and_nothing_beside_it() {
        let granted = Permissions { paths: vec!["/etc/pump".into()], ..Permissions::default() };
        for path in ["/etc/pump", "/etc/pump/a", "/etc/pump/a/b.toml"] {
            assert_eq!(granted.check(&file(path)), Ok(()), "{path}");
        }
        for path in [
            "/etc",
            "/etc/pumps",
            "/etc/pump/",
            "/etc/pump/../shadow",
            "/etc/pump//a",
            "/etc/pump/./a",
            "etc/pump/a",
            "/etc/pump/a\0",
            "/etc/pump/..\\x",
            "",
            "/",
        ] {
            assert!(granted.check(&file(path)).is_err(), "{path:?}");
        }
    }

    #[test]
    fn the_root_can_not_be_granted() {
        for path in ["/", "", "//", "/.", "/..", "relative"] {
            let wide = Permissions { paths: vec![path.into()], ..Permissions::default() };
            assert!(wide.unfit().is_some(), "{path:?}");
        }
    }
}
