//! What the configuration names, read and checked before any socket is opened.
//!
//! Not here: the configuration's own rules (`config`), and what a server does with all this (`driver`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use backstay_api::Tokens;
use backstay_config::{Document, Problem, Problems};
use backstay_host::Engine;
use backstay_link::Settings;
use backstay_memory::{Trusted, TrustedError};
use backstay_plugins::{Judge, LoadError, Loader, Tier, terms, worker::Program};
use backstay_targets::{Reading, Targets};
use backstay_trust::{Keyring, SecretKey};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use zeroize::Zeroizing;

use super::{
    because,
    config::Config,
    director::Director,
    targets::{Configured, configured_problems},
    verdicts::Verdicts,
};

/// All of it.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) director: Director,
    /// Whom the fleet trusts by now, and what of it could not be read.
    pub(crate) trusted: (Trusted, Vec<TrustedError>),
    pub(crate) tokens: Tokens,
    /// What is watched beside the fleet.
    pub(crate) targets: Configured,
    /// Where all of it was read, for the next time.
    pub(crate) path: PathBuf,
    pub(crate) judge: Judge,
    /// What the API shows to callers, if it speaks TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Who signs what pipelines are told, if the configuration names a key for it.
    pub(crate) verdicts: Option<Verdicts>,
}

/// The largest file that holds a key or a token.
const SECRET_BYTES_MAX: u64 = 4096;
/// The largest file of tokens: as many callers as there may be, and what is said of them.
const TOKENS_BYTES_MAX: u64 = 128 * 1024;
/// The largest file with a certificate, or with the key to one: RSA keys are longer than ours.
const CERTIFICATE_BYTES_MAX: u64 = 256 * 1024;

impl Setup {
    /// Reads the configuration at `path` and all that it names.
    ///
    /// # Errors
    /// Everything that is wrong, each by file, line, key and what was expected.
    pub(crate) fn read(path: &Path) -> Result<Self, Problems> {
        let document = document(path)?;
        let (config, Reading { targets: written, mut problems, .. }) = Config::read(&document, None);
        let Some(config) = config else { return Err(Problems(problems)) };
        let mut note = |key: &str, why: String| problems.push(document.problem(key, why));
        let image = keyring(&config.keyring).map_err(|why| note("keyring", why)).ok();
        let trusted = image.map(|image| Trusted::open(image, &config.state));
        let keyring = trusted.as_ref().map(|(trusted, _)| trusted.keyring());
        let key = secret(&config.director_key).map_err(|why| note("director_key", why)).ok();
        let tokens = tokens(&config.api.token_file).map_err(|why| note("api.token_file", why)).ok();
        let tls =
            config.api.tls.as_ref().and_then(|files| {
                tls(&files.certificate, &files.key).map_err(|why| note("api.tls", why)).ok()
            });
        if let Some(broker) = &config.broker {
            let settings = Settings::of(broker, "backstay-server", 0).map_err(|error| error.to_string());
            if let Err(why) =
                settings.and_then(|settings| check_link(settings).map_err(|error| because(&error)))
            {
                note("broker", why);
            }
        }
        let judge = keyring
            .as_ref()
            .and_then(|keyring| judge(&config, keyring).map_err(|why| note("policy.bundle", why)).ok());
        let life = config.verdict_expires.millis();
        let verdicts = keyring.as_ref().zip(config.verdict_key.as_ref()).and_then(|(keyring, path)| {
            let verdicts = secret(path).and_then(|key| Verdicts::new(keyring, key, life));
            verdicts.map_err(|why| note("verdict_key", why)).ok()
        });
        let expires = config.steer_expires.millis();
        let director = match (keyring, key) {
            (Some(keyring), Some(key)) => {
                let (id, number) = (key.id(), keyring.parts().number);
                let director = Director::new(keyring, key, expires);
                if director.is_none() {
                    note(
                        "director_key",
                        format!("expected the key that keyring {number} has as director, found {id}"),
                    );
                }
                director
            }
            (Some(_) | None, None) | (None, Some(_)) => None,
        };
        let targets = match (&director, &written) {
            (Some(director), Some(written)) => {
                let targets = targets(&document, written, director.keyring());
                targets.map_err(|wrong| problems.extend(wrong.0)).ok()
            }
            (Some(_) | None, None) | (None, Some(_)) => None,
        };
        match (director, trusted, tokens, judge, targets) {
            (Some(director), Some(trusted), Some(tokens), Some(judge), Some(targets))
                if problems.is_empty() =>
            {
                Ok(Self {
                    config,
                    director,
                    trusted,
                    tokens,
                    judge,
                    tls,
                    verdicts,
                    targets,
                    path: path.into(),
                })
            }
            _ => Err(Problems(problems)),
        }
    }

    /// What of the configuration may be another while the server runs: its targets, and what they name.
    ///
    /// # Errors
    /// Everything that is wrong; then nothing is another.
    pub(crate) fn reread(path: &Path, keyring: &Keyring) -> Result<Configured, Problems> {
        let document = document(path)?;
        targets(&document, &Targets::load(&document)?, keyring)
    }
}

/// The targets of a configuration, with all that they name loaded.
fn targets(document: &Document, targets: &Targets, keyring: &Keyring) -> Result<Configured, Problems> {
    let engine =
        Engine::new().map_err(|error| Problems(vec![document.problem("targets", because(&error))]))?;
    let loader = Loader::new(Tier::Server, &engine, keyring);
    Configured::load(targets, &loader).map_err(|wrong| Problems(configured_problems(document, wrong)))
}

/// The text of a configuration.
///
/// # Errors
/// The problem that is the whole file.
pub(super) fn document(path: &Path) -> Result<Document, Problem> {
    Document::read(path).map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Problem { file: path.into(), line: None, key: String::new(), why: format!("cannot be read: {why}") }
    })
}

/// A link needs a filter; which ones, the server says later.
fn check_link(mut settings: Settings) -> Result<(), backstay_link::SettingsError> {
    settings
        .filters
        .push(backstay_link::Filter { topics: "backstay".into(), qos: backstay_link::Qos::AtMostOnce });
    settings.check()
}

fn bytes(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let read = || {
        let length = fs::metadata(path)?.len();
        if length > max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it may have {max} bytes")));
        }
        fs::read(path).map(Zeroizing::new)
    };
    read().map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn keyring(path: &Path) -> Result<Keyring, String> {
    let read = bytes(path, Keyring::BYTES_MAX as u64)?;
    Keyring::decode(&read).map_err(|error| format!("{} is no keyring to trust: {error}", path.display()))
}

fn secret(path: &Path) -> Result<SecretKey, String> {
    let read = bytes(path, SECRET_BYTES_MAX)?;
    let text = std::str::from_utf8(&read).map_err(|_| format!("{} holds no key", path.display()))?;
    SecretKey::from_pem(text).map_err(|error| format!("{} holds no key: {error}", path.display()))
}

fn tokens(path: &Path) -> Result<Tokens, String> {
    let read = bytes(path, TOKENS_BYTES_MAX)?;
    let text = std::str::from_utf8(&read).map_err(|_| format!("{} is no text", path.display()))?;
    Tokens::read(text).map_err(|why| format!("{why}, in {}", path.display()))
}

/// A server's side of TLS with this certificate, and no certificate asked of callers: they show the token.
pub(super) fn tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let wrong = |path: &Path, what: &str, why: &dyn std::fmt::Display| {
        format!("{} holds no {what}: {why}", path.display())
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&bytes(certificate, CERTIFICATE_BYTES_MAX)?)
            .collect::<Result<_, _>>()
            .map_err(|why| wrong(certificate, "certificate", &why))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "certificate", &"expected PEM"));
    }
    let secret = PrivateKeyDer::from_pem_slice(&bytes(key, CERTIFICATE_BYTES_MAX)?)
        .map_err(|why| wrong(key, "key", &why))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|why| format!("{} and {} don't go together: {why}", certificate.display(), key.display()))?;
    Ok(Arc::new(config))
}

/// Each policy in a process of its own. Grants of a plugin that were accepted before are not known here, so there is no floor under their sequences.
fn judge(config: &Config, keyring: &Keyring) -> Result<Judge, String> {
    let engine = Engine::new().map_err(|error| because(&error))?;
    let loader = Loader::new(Tier::Server, &engine, keyring);
    let told = |error: LoadError| match error.help() {
        Some(help) => format!("{}; {help}", because(&error)),
        None => because(&error),
    };
    let (policy, program) = (&config.policy, Program::this());
    let judge = Judge::new(loader.policy_workers(policy, &program).map_err(told)?);
    match loader.candidate_worker(policy, &program) {
        None => Ok(judge),
        Some(candidate) => Ok(judge.with_candidate(candidate.map_err(told)?, terms(policy))),
    }
}
