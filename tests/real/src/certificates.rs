//! An authority of a test's own, and a certificate that it signed.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the files of a certificate are.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The certificate that it signed.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// For `host`, by an authority that is made for it, as `NAME.pem`, `NAME.key` and `ca.pem` in `dir`.
    ///
    /// # Panics
    /// If they can't be made or written.
    #[must_use]
    pub fn make(dir: &Path, name: &str, host: &str) -> Self {
        let file = |name: String, text: String| -> PathBuf {
            let path = dir.join(name);
            fs::write(&path, text).expect("a folder of the test's own can be written to");
            path
        };
        let authority = rcgen::KeyPair::generate().expect("a key can be made");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let signed = params.self_signed(&authority).expect("an authority signs for itself");
        let ca = file("ca.pem".into(), signed.pem());
        let issuer = rcgen::Issuer::new(params, authority);
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let names = rcgen::CertificateParams::new(vec![host.to_owned()]).expect("a host is a name");
        let signed = names.signed_by(&key, &issuer).expect("an authority signs");
        let certificate = file(format!("{name}.pem"), signed.pem());
        Self { ca, certificate, key: file(format!("{name}.key"), key.serialize_pem()) }
    }
}
