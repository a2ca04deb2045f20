//! A certificate authority that lasts as long as a test, and one who signs with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::run;

/// Keys and certificates, in a folder.
#[derive(Debug)]
pub struct Keys {
    /// Who vouches for the signer: what is installed on a board.
    pub authority: PathBuf,
    /// The signer's certificate.
    pub certificate: PathBuf,
    /// The signer's key.
    pub key: PathBuf,
}

impl Keys {
    /// Made by `openssl`, anew.
    ///
    /// # Panics
    /// It didn't.
    #[must_use]
    pub fn made(dir: &Path, name: &str) -> Self {
        let path = |what: &str| dir.join(format!("{name}-{what}.pem"));
        let (authority, authority_key) = (path("authority"), path("authority-key"));
        let (certificate, key, request) = (path("certificate"), path("key"), path("request"));
        let openssl = |args: &[&str], files: &[(&str, &Path)]| {
            let mut command = Command::new("openssl");
            command.args(args);
            for (option, file) in files {
                command.arg(option).arg(file);
            }
            run(&mut command);
        };
        let common = format!("/CN={name} authority");
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"];
        openssl(
            &[&new[..], &[&*common, "-x509", "-days", "2"]].concat(),
            &[("-keyout", &authority_key), ("-out", &authority)],
        );
        let common = format!("/CN={name} signer");
        openssl(&[&new[..], &[&*common]].concat(), &[("-keyout", &key), ("-out", &request)]);
        let extensions = path("extensions");
        fs::write(&extensions, "extendedKeyUsage=emailProtection,codeSigning\nkeyUsage=digitalSignature\n")
            .unwrap();
        openssl(
            &["x509", "-req", "-days", "2", "-CAcreateserial"],
            &[
                ("-in", &request),
                ("-CA", &authority),
                ("-CAkey", &authority_key),
                ("-extfile", &extensions),
                ("-out", &certificate),
            ],
        );
        Self { authority, certificate, key }
    }
}
