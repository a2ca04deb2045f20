//! Name and password for a registry: from the environment, or from where `docker login` and `oras login` leave them.
//!
//! Never from an argument, where every user of the machine can read it, and never printed. Not here: to whom they are
//! sent (`session`). Helpers that keep them elsewhere (`credsStore`) are programs, and are not started.

use std::{collections::BTreeMap, env, path::PathBuf};

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{Exit, Failure, file};

/// The variables that hold them.
const USER: &str = "BACKSTAY_REGISTRY_USER";
const PASSWORD: &str = "BACKSTAY_REGISTRY_PASSWORD";
/// The largest of docker's configuration files, in bytes.
const CONFIG_BYTES_MAX: usize = 1 << 20;
/// What is told to whoever has none.
pub(super) const HELP: &str =
    "set BACKSTAY_REGISTRY_USER and BACKSTAY_REGISTRY_PASSWORD, or log in by docker or oras";

/// A name and its password, in the form that a header carries.
pub(super) struct Credentials(Zeroizing<String>);

impl Credentials {
    fn of(user: &str, password: &str) -> Self {
        let both = Zeroizing::new(format!("{user}:{password}"));
        Self(Zeroizing::new(Base64::encode_string(both.as_bytes())))
    }

    /// The value of a header `Authorization`.
    pub(super) fn basic(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Basic {}", self.0.as_str()))
    }
}

/// Where credentials may be.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) user: Option<String>,
    pub(super) password: Option<Zeroizing<String>>,
    /// Docker's configuration, which may not be there.
    pub(super) config: Option<PathBuf>,
}

impl Sources {
    pub(super) fn environment() -> Self {
        let word = |name| env::var(name).ok().filter(|text| !text.is_empty());
        let folder = word("DOCKER_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| word("HOME").map(|home| PathBuf::from(home).join(".docker")));
        Self {
            user: word(USER),
            password: word(PASSWORD).map(Zeroizing::new),
            config: folder.map(|folder| folder.join("config.json")),
        }
    }

    /// The ones for `registry`, if there are any.
    pub(super) fn find(&self, registry: &str) -> Result<Option<Credentials>, Failure> {
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => Ok(Some(Credentials::of(user, password))),
            (None, None) => self.configured(registry),
            (Some(_), None) | (None, Some(_)) => {
                Err(Failure::new(Exit::Usage, format!("only one of {USER} and {PASSWORD} is set"))
                    .help("set both, or neither"))
            }
        }
    }

    fn configured(&self, registry: &str) -> Result<Option<Credentials>, Failure> {
        let Some(path) = self.config.as_deref().filter(|path| path.is_file()) else { return Ok(None) };
        let bytes = Zeroizing::new(file::read(path, CONFIG_BYTES_MAX)?);
        // The cause would quote the file, which holds passwords: only the place of the error is told.
        let config: Config = serde_json::from_slice(&bytes).map_err(|why| {
            let at = format!("line {}, column {}", why.line(), why.column());
            Failure::new(Exit::Configuration, format!("{} can't be read", path.display())).why(at)
        })?;
        let found = config.auths.into_iter().find(|(name, _)| is_for(name, registry));
        let Some(auth) = found.and_then(|(_, entry)| entry.auth).map(Zeroizing::new) else { return Ok(None) };
        let wrong = || {
            let what = format!("{} holds no name and password for {registry}", path.display());
            Failure::new(Exit::Configuration, what).help(format!("docker login {registry}"))
        };
        let both = Zeroizing::new(Base64::decode_vec(auth.trim()).map_err(|_| wrong())?);
        let both = std::str::from_utf8(&both).map_err(|_| wrong())?;
        let (user, password) = both.split_once(':').ok_or_else(wrong)?;
        Ok(Some(Credentials::of(user, password)))
    }
}

/// Whether an entry of docker's configuration is for a registry. Old ones are written as an address.
fn is_for(entry: &str, registry: &str) -> bool {
    let name = entry.trim_start_matches("https://").trim_start_matches("http://");
    let name = name.split('/').next().unwrap_or_default();
    let hub = |name: &str| matches!(name, "docker.io" | "index.docker.io");
    name == registry || (hub(name) && hub(registry))
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn header(sources: &Sources, registry: &str) -> Option<String> {
        sources.find(registry).unwrap().map(|credentials| credentials.basic().to_string())
    }

    #[test]
    fn the_environment_goes_before_dockers_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        // "docker:one" and "docker:two"
        let text = r#"{ "credsStore": "x", "auths": { "registry.example:5000": { "auth": "ZG9ja2VyOm9uZQ==" },
            "https://index.docker.io/v1/": { "auth": "ZG9ja2VyOnR3bw==" }, "empty.example": {} } }"#;
        fs::write(&config, text).unwrap();
        let from = Sources { config: Some(config), ..Sources::default() };
        assert_eq!(header(&from, "registry.example:5000").unwrap(), "Basic ZG9ja2VyOm9uZQ==");
        assert_eq!(header(&from, "docker.io").unwrap(), "Basic ZG9ja2VyOnR3bw==");
        for other in ["registry.example", "registry.example:5001", "empty.example", "xregistry.example:5000"]
        {
            assert_eq!(header(&from, other), None, "{other}");
        }
        let password = Some(Zeroizing::new("secret".to_owned()));
        let from = Sources { user: Some("ann".into()), password, ..from };
        assert_eq!(header(&from, "registry.example:5000").unwrap(), "Basic YW5uOnNlY3JldA==");
        let half = Sources { password: None, ..from };
        assert_eq!(half.find("registry.example").err().unwrap().exit(), Exit::Usage);
    }

    #[test]
    fn a_damaged_configuration_is_told_without_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        let from = Sources { config: Some(config.clone()), ..Sources::default() };
        assert!(from.find("registry.example").unwrap().is_none(), "there is no such file");
        for text in [
            r#"{ "auths": { "registry.example": { "auth": "c2VjcmV0" } } }"#,
            r#"{ "auths": { "registry.example": { "auth": "se cret" } } }"#,
            r#"{ "auths": { "registry.example": "c2VjcmV0" } }"#,
            r#"{ "auths": "secret" "#,
        ] {
            fs::write(&config, text).unwrap();
            let failure = from.find("registry.example").err().unwrap();
            assert_eq!(failure.exit(), Exit::Configuration, "{text}");
            assert!(
                !failure.to_string().contains("cret") && !failure.to_string().contains("c2Vj"),
                "{failure}"
            );
        }
    }
}
