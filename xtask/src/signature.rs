//! The signature of all that ships: one, of `SHA256SUMS`.
//!
//! Here: signing it by OpenSSH, which every machine has that will check it. Not here: the sums (`package`), and keys: none is in the tree, and
//! whose key counts is said by who hands out its public half (`docs/packages.md`). Releases and plugins are signed by `backstay`, with
//! other keys, for devices; this one is for people who download.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::package::{self, SIGNATURE, SUMS};
use crate::trouble::Trouble;

/// What a signature is for: one that was made for something else is none.
const NAMESPACE: &str = "backstay-dist";

/// That a key is there, before anything is built.
pub(crate) fn ready(key: Option<&Path>) -> Result<(), Trouble> {
    match key {
        Some(key) if !key.is_file() => Err(Trouble::new(format!("there is no key {}", key.display())).help(
            "`ssh-keygen -t ed25519 -f FILE` makes one; the public half does where an agent has the other",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Sums up what lies in a folder, and signs the sums; without a key, says that they are unsigned.
pub(crate) fn seal(folder: &Path, key: Option<&Path>) -> Result<(), Trouble> {
    package::sum(folder)?;
    let sums = folder.join(SUMS);
    let Some(key) = key else {
        eprintln!("{} is unsigned: `--key FILE` signs it", sums.display());
        return Ok(());
    };
    let failed = || Trouble::new(format!("cannot sign {} with {}", sums.display(), key.display()));
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key).arg(&sums).stdin(Stdio::null());
    let output = sign.output().map_err(|why| failed().why(why).help("ssh-keygen is one of OpenSSH's"))?;
    let signature = folder.join(SIGNATURE);
    // It ends well also where it has written nothing.
    if !output.status.success() || !signature.is_file() {
        return Err(failed().why(String::from_utf8_lossy(&output.stderr)));
    }
    let told = check(&sums, &signature).map_err(|why| failed().why(why))?;
    eprintln!("{}: {}", signature.display(), told.trim());
    Ok(())
}

/// Reads the signature back; `Err` is what OpenSSH has against it. Whose key it is, nobody here knows.
fn check(sums: &Path, signature: &Path) -> Result<String, String> {
    let text = File::open(sums).map_err(|why| why.to_string())?;
    let output = Command::new("ssh-keygen")
        .args(["-Y", "check-novalidate", "-n", NAMESPACE, "-s"])
        .arg(signature)
        .stdin(text)
        .output()
        .map_err(|why| why.to_string())?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// Takes away a signature of sums that are no more.
pub(crate) fn withdraw(folder: &Path) -> Result<(), Trouble> {
    let file = folder.join(SIGNATURE);
    if !file.exists() {
        return Ok(());
    }
    eprintln!("{} is withdrawn: what it signed has changed", file.display());
    fs::remove_file(&file).map_err(|why| Trouble::new(format!("cannot remove {}", file.display())).why(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::on_path;

    #[test]
    fn a_key_that_is_not_there_is_told_before_anything_is_built() {
        assert!(ready(None).is_ok());
        let told = ready(Some(Path::new("/nowhere/key"))).unwrap_err().to_string();
        assert!(told.starts_with("there is no key /nowhere/key"), "{told}");
    }

    /// As whoever downloads does it: with the public key, by `ssh-keygen` alone.
    #[test]
    fn sums_are_signed_and_a_changed_file_or_sum_is_found() {
        if on_path("ssh-keygen").is_none() {
            eprintln!("skipped, because there is no ssh-keygen here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("backstay-agent-1"), "abc").unwrap();
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(at("key"));
        assert!(make.status().unwrap().success());
        let verify = || {
            let public = fs::read_to_string(at("key.pub")).unwrap();
            fs::write(at("signers"), format!("dist@backstay namespaces=\"{NAMESPACE}\" {public}")).unwrap();
            let mut verify = Command::new("ssh-keygen");
            verify.args(["-Y", "verify", "-I", "dist@backstay", "-n", NAMESPACE, "-s"]).arg(at(SIGNATURE));
            verify.arg("-f").arg(at("signers")).stdin(File::open(at(SUMS)).unwrap()).stdout(Stdio::null());
            verify.stderr(Stdio::null()).status().unwrap().success()
        };
        seal(folder.path(), Some(&at("key"))).unwrap();
        assert!(verify());
        // Signed again, it is the new sums that are signed.
        fs::write(at("backstay-agent-1"), "abcd").unwrap();
        seal(folder.path(), Some(&at("key"))).unwrap();
        assert!(verify());

        let sums = fs::read_to_string(at(SUMS)).unwrap();
        fs::write(at(SUMS), sums.replace(['1', '2', '3'], "0")).unwrap();
        assert!(!verify());

        seal(folder.path(), None).unwrap();
        assert!(!at(SIGNATURE).exists(), "a signature of what was before is none");
    }
}
