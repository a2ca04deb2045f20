//! What proves who is who in a control plane of a test's own.
//!
//! Here: its authority, the API server's certificate, the key that service accounts' tokens are signed with, and the tokens of its
//! people. Not here: what they may do (RBAC, in the API server).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::json;

/// Who has a token from the beginning, and may do everything: whoever tests, somebody else who manages objects, the real
/// controllers, and the nodes. Everybody else is a service account with its roles, or an administrator who acts as them.
pub(crate) const PEOPLE: [&str; 4] = [ADMIN, GITOPS, CONTROLLERS, NODES];
pub(crate) const ADMIN: &str = "admin";
pub(crate) const GITOPS: &str = "gitops";
pub(crate) const CONTROLLERS: &str = "controllers";
pub(crate) const NODES: &str = "nodes";

/// The files of a control plane, all in one folder, and the tokens.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    folder: PathBuf,
    pub(crate) ca: String,
    tokens: BTreeMap<&'static str, String>,
}

impl Credentials {
    /// Makes all of them.
    ///
    /// # Panics
    /// If they can't be made or written.
    pub(crate) fn make(folder: &Path) -> Self {
        let key = || rcgen::KeyPair::generate().unwrap_or_else(|e| panic!("no key: {e}"));
        let (authority, server, accounts) = (key(), key(), key());
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&authority).unwrap_or_else(|e| panic!("no authority: {e}"));
        let issuer = rcgen::Issuer::new(params, authority);
        // The API server's client for itself names it `localhost`.
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let signed =
            rcgen::CertificateParams::new(names.to_vec()).and_then(|names| names.signed_by(&server, &issuer));
        let signed = signed.unwrap_or_else(|e| panic!("no certificate: {e}"));

        let tokens = PEOPLE.map(|name| (name, secret())).into();
        let made = Self { folder: folder.into(), ca: root.pem(), tokens };
        made.write("ca.pem", &made.ca);
        made.write("server.pem", &signed.pem());
        made.write("server.key", &server.serialize_pem());
        made.write("accounts.key", &accounts.serialize_pem());
        made.write("accounts.pub", &accounts.public_key_pem());
        let mut tokens = String::new();
        for (name, token) in &made.tokens {
            let _ = writeln!(tokens, "{token},{name},{name},system:masters");
        }
        made.write("tokens.csv", &tokens);
        made
    }

    /// The token of one of [`PEOPLE`].
    pub(crate) fn token(&self, name: &str) -> &str {
        self.tokens.get(name).map_or("", String::as_str)
    }

    /// One of its files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a configuration for `kubectl` and the like, and says where it is.
    ///
    /// # Panics
    /// If it can't be written.
    pub(crate) fn kubeconfig(&self, person: &str, server: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": self.file("ca.pem")}}],
            "users": [{"name": "test", "user": {"token": self.token(person)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        self.write(&format!("{person}.kubeconfig"), &config.to_string())
    }

    /// Writes one of its files, and says where it is.
    ///
    /// # Panics
    /// If it can't be written.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
        file
    }
}

/// 32 hexadecimal digits that nobody guesses.
fn secret() -> String {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.unwrap_or_else(|e| panic!("nothing random: {e}"));
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
