//! Programs of others that are called and waited for, and the folders and files that they need.
//!
//! Here: calling them, and saying what one of them said when it failed. Not here: which programs.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use backstay_test_fleet::Trouble;

/// Adds what was being done to an error.
pub(crate) fn trouble<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Trouble {
    let what = what.into();
    move |error| Trouble(format!("{what}: {error}"))
}

/// Runs a program to its end.
///
/// # Errors
/// With what it said, if it did not end with 0.
pub(crate) fn run(command: &mut Command) -> Result<(), Trouble> {
    output(command).map(drop)
}

/// What a program printed.
///
/// # Errors
/// With what it said, if it did not end with 0.
pub(crate) fn output(command: &mut Command) -> Result<String, Trouble> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().map_err(trouble(format!("cannot run {name}")))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(Trouble(format!("{name} ended with {}: {}", done.status, said.trim())))
}

/// A folder with nothing in it.
///
/// # Errors
/// If it can't be emptied or made.
pub(crate) fn emptied(folder: &Path) -> Result<(), Trouble> {
    let emptied = match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => fs::create_dir_all(folder),
    };
    emptied.map_err(trouble(format!("cannot empty {}", folder.display())))
}

/// Writes a file, and the folders above it.
///
/// # Errors
/// If that fails.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Trouble> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(path, bytes)).map_err(trouble(format!("cannot write {}", path.display())))
}

/// Reads a file.
///
/// # Errors
/// If that fails.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    fs::read(path).map_err(trouble(format!("cannot read {}", path.display())))
}

/// Copies a file, and makes the folders above the copy.
///
/// # Errors
/// If that fails.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    let folder = to.parent().map_or(Ok(()), fs::create_dir_all);
    let copied = folder.and_then(|()| fs::copy(from, to).map(drop));
    copied.map_err(trouble(format!("cannot copy {} to {}", from.display(), to.display())))
}
