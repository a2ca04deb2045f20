//! The files that a connection needs: the CA, the client's certificate and key, the password.
//!
//! They are read anew for every connection, so a certificate or password that was exchanged is used from the
//! next connection on, without a restart. TLS is rustls with ring. There is no list of public CAs inside and
//! the system's is not asked: a broker is trusted because its operator's CA says so, or not at all.
//!
//! Not here: what else TLS could be asked to do. There is no switch that turns verification off.

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

/// The largest file that is read. A bundle of a hundred certificates fits.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The longest password. It travels in CONNECT, beside the will; a signed token for a hosted broker fits.
const PASSWORD_BYTES_MAX: usize = 3 * 1024;

/// What a connection by `mqtts://` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the CA certificates, and no others, that may vouch for the broker.
    pub ca: PathBuf,
}

/// A file that can't be used.
#[derive(Debug)]
pub enum FileError {
    /// It can't be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than any such file.
    Large {
        /// The file. At most 256 KiB are read.
        path: PathBuf,
    },
    /// It is not the PEM that it should be.
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// Why it wasn't found.
        source: pem::Error,
    },
    /// It holds none of what was looked for.
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// The password is not one line of 1 to 3072 bytes of UTF-8 text.
    Password {
        /// The file.
        path: PathBuf,
    },
    /// Certificate or key was refused.
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            Self::Large { path } => {
                write!(f, "{} has more than {} KiB", path.display(), FILE_BYTES_MAX / 1024)
            }
            Self::Pem { path, wanted, .. } => write!(f, "no {wanted} can be read from {}", path.display()),
            Self::Empty { path, wanted } => write!(f, "{} holds no {wanted}", path.display()),
            Self::Password { path } => {
                write!(f, "{} is not one line of text that is a password", path.display())
            }
            Self::Refused { path, .. } => write!(f, "{} was refused", path.display()),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Pem { source, .. } => Some(source),
            Self::Refused { source, .. } => Some(source),
            Self::Large { .. } | Self::Empty { .. } | Self::Password { .. } => None,
        }
    }
}

impl FileError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check the path in the configuration and who may read the file",
            Self::Large { .. } => "name the file with the one CA that signed the broker's certificate",
            Self::Pem { .. } | Self::Empty { .. } => {
                "expected PEM: -----BEGIN CERTIFICATE----- or an unencrypted -----BEGIN PRIVATE KEY-----"
            }
            Self::Password { .. } => "write the password alone into the file, in UTF-8",
            Self::Refused { .. } => "check that the key belongs to the certificate and that the CA is one",
        }
    }
}

/// The password in `path`: its one line, without the line's end.
pub(crate) fn password(path: &Path) -> Result<String, FileError> {
    let no_text = || FileError::Password { path: path.to_owned() };
    let text = String::from_utf8(read(path)?).map_err(|_| no_text())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if !(1..=PASSWORD_BYTES_MAX).contains(&line.len()) || line.contains(['\n', '\r', '\0']) {
        Err(no_text())
    } else {
        Ok(line.to_owned())
    }
}

/// Certificate and key of a client, as files.
#[derive(Clone, Copy)]
pub(crate) struct ClientFiles<'a> {
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
}

/// The TLS configuration that was made last, and from which bytes. While the files stay the same so does the
/// configuration, and with it the tickets that make the next handshake a short one.
#[derive(Default)]
pub(crate) struct TlsMemory(Option<([Vec<u8>; 3], Arc<ClientConfig>)>);

impl TlsMemory {
    pub(crate) fn config(
        &mut self,
        tls: &Tls,
        client: Option<ClientFiles<'_>>,
    ) -> Result<Arc<ClientConfig>, FileError> {
        let part = |path: Option<&Path>| path.map_or_else(|| Ok(Vec::new()), read);
        let bytes = [read(&tls.ca)?, part(client.map(|c| c.certificate))?, part(client.map(|c| c.key))?];
        match &self.0 {
            Some((from, config)) if *from == bytes => Ok(Arc::clone(config)),
            Some(_) | None => {
                let config = Arc::new(make(tls, client, &bytes)?);
                self.0 = Some((bytes, Arc::clone(&config)));
                Ok(config)
            }
        }
    }
}

fn make(
    tls: &Tls,
    client: Option<ClientFiles<'_>>,
    [ca, certificate, key]: &[Vec<u8>; 3],
) -> Result<ClientConfig, FileError> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |source| FileError::Refused { path, source }
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(&tls.ca, ca)? {
        roots.add(root).map_err(refused(&tls.ca))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers the suites of both TLS versions that are built in")
        .with_root_certificates(roots);
    let Some(client) = client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(client.certificate, certificate)?;
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|source| pem_error(client.key, "private key", source))?;
    builder.with_client_auth_cert(chain, key).map_err(refused(client.key))
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileError> {
    const WANTED: &str = "certificate";
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let all = all.map_err(|source| pem_error(path, WANTED, source))?;
    if all.is_empty() {
        return Err(FileError::Empty { path: path.to_owned(), wanted: WANTED });
    }
    Ok(all)
}

fn pem_error(path: &Path, wanted: &'static str, source: pem::Error) -> FileError {
    FileError::Pem { path: path.to_owned(), wanted, source }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= FILE_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(FileError::Large { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_password_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        for good in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            assert_eq!(password(&file(&dir, "good", good.as_bytes())).unwrap(), "s3cret");
        }
        for bad in [&b""[..], b"\n", b"one\ntwo\n", b"\xff\xfe", b"nul\0"] {
            assert!(matches!(password(&file(&dir, "bad", bad)), Err(FileError::Password { .. })), "{bad:?}");
        }
        let missing = password(&dir.path().join("missing")).unwrap_err();
        assert!(missing.to_string().starts_with("cannot read "), "{missing}");
    }

    #[test]
    fn a_ca_that_is_none_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let ca = |bytes: &[u8]| {
            let tls = Tls { ca: file(&dir, "ca.pem", bytes) };
            TlsMemory::default().config(&tls, None).unwrap_err()
        };
        assert!(matches!(ca(b""), FileError::Empty { .. }));
        assert!(matches!(ca(b"no PEM at all"), FileError::Empty { .. }));
        assert!(matches!(ca(b"-----BEGIN CERTIFICATE-----\n!!"), FileError::Pem { .. }));
        let no_certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(ca(no_certificate), FileError::Refused { .. }));
        assert!(matches!(ca(&vec![b'a'; 300 * 1024]), FileError::Large { .. }));
    }

    #[test]
    fn the_same_files_keep_their_configuration_and_new_ones_get_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let ca = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let (first, key) = ca();
        let tls = Tls { ca: file(&dir, "ca.pem", first.as_bytes()) };
        let certificate = file(&dir, "client.pem", first.as_bytes());
        let key = file(&dir, "client.key", key.as_bytes());
        let client = Some(ClientFiles { certificate: &certificate, key: &key });

        let mut memory = TlsMemory::default();
        let config = memory.config(&tls, client).unwrap();
        assert!(Arc::ptr_eq(&config, &memory.config(&tls, client).unwrap()));

        fs::write(&tls.ca, ca().0).unwrap();
        assert!(!Arc::ptr_eq(&config, &memory.config(&tls, client).unwrap()));

        fs::write(&key, ca().1).unwrap();
        assert!(matches!(memory.config(&tls, client), Err(FileError::Refused { .. })), "a key of another");
    }
}
