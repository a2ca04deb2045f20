//! How the tree of files looks.
//!
//! Here: which names the root has, that every Rust file says what lives in it, that no file names the machine it was
//! written on, and hints about size. Not here: what the code does, and which crate uses which (`arrows`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// All that a visitor sees with `ls`. Whatever else there is begins with a dot.
const ROOT: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "Cross.toml",
    "LICENSE",
    "README.md",
    "docs",
    "firmware-integration",
    "kubernetes-integration",
    "plugins",
    "runtime",
    "tests",
    "wit",
    "xtask",
];

/// What cargo and the tools make; `.gitignore` names it too.
const MADE: &[&str] = &["target", ".git"];

/// Folders with files as others wrote them, or broken on purpose.
const FIXTURES: &[&str] = &["fixtures", "corpus"];

/// Beginnings of paths that exist on one machine only. In two pieces, or this file would name them.
const MACHINE_PATHS: &[[&str; 2]] = &[["/wo", "rk/"], ["/ro", "ot/"]];

/// A text file has at most this many bytes; what is longer is data and is not read.
const TEXT_BYTES_MAX: u64 = 2 << 20;

/// A file beyond this is probably two nouns. A hint only.
const FILE_LINES_MAX: usize = 500;
/// A crate beyond this is probably two crates. A hint only.
const CRATE_LINES_MAX: usize = 6_000;
/// A crate below this is probably an empty shell. A hint only.
const CRATE_LINES_MIN: usize = 30;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What must be changed.
    pub(crate) wrong: Vec<String>,
    /// What is worth a look.
    pub(crate) hints: Vec<String>,
}

/// Looks at all files below the root.
pub(crate) fn check(workspace: &Workspace) -> Result<Findings, Trouble> {
    let root = &workspace.root;
    let mut findings = Findings::default();
    let unreadable = |why: io::Error| Trouble::new(format!("cannot look at {}", root.display())).why(why);
    look_at_root(root, &mut findings).map_err(unreadable)?;
    for file in files(root).map_err(unreadable)? {
        look_at_file(root, &file, &mut findings).map_err(unreadable)?;
    }
    for package in &workspace.packages {
        let lines = lines_below(&root.join(&package.folder).join("src")).map_err(unreadable)?;
        let name = &package.name;
        if lines > CRATE_LINES_MAX {
            findings.hints.push(format!("{name} has {lines} lines: is it two crates?"));
        } else if lines < CRATE_LINES_MIN {
            findings.hints.push(format!("{name} has {lines} lines: is it more than a shell?"));
        }
    }
    Ok(findings)
}

/// `Err` names all that must be changed. Hints are printed, and are no failure.
pub(crate) fn judge(findings: Findings) -> Result<(), Trouble> {
    if findings.wrong.is_empty() {
        return Ok(());
    }
    Err(Trouble::new("the tree is not as it should be")
        .why(findings.wrong.join("\n"))
        .help("the rules and their reasons are in xtask/src/tree.rs"))
}

fn look_at_root(root: &Path, findings: &mut Findings) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !ROOT.contains(&name.as_str()) && !MADE.contains(&name.as_str()) {
            findings.wrong.push(format!("{name}: the root has {} names and no others", ROOT.len()));
        }
    }
    Ok(())
}

fn look_at_file(root: &Path, file: &Path, findings: &mut Findings) -> io::Result<()> {
    if fs::metadata(file)?.len() > TEXT_BYTES_MAX {
        return Ok(());
    }
    let Ok(text) = String::from_utf8(fs::read(file)?) else { return Ok(()) };
    let shown = file.strip_prefix(root).unwrap_or(file).display();
    for (at, line) in text.lines().enumerate() {
        if let Some(path) =
            MACHINE_PATHS.iter().map(|pieces| pieces.concat()).find(|path| line.contains(path))
        {
            findings.wrong.push(format!("{shown}:{}: {path} is a place on one machine", at + 1));
        }
    }
    let is_rust = file.extension().is_some_and(|extension| extension == "rs");
    if is_rust {
        if !says_what_lives_here(&text) {
            findings.wrong.push(format!("{shown}: it begins without a `//!` that says what lives here"));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.hints.push(format!("{shown} has {lines} lines: is it two nouns?"));
        }
    }
    Ok(())
}

/// The first line that is neither empty nor an attribute of the whole file is a header.
fn says_what_lives_here(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    lines
        .find(|line| !line.is_empty() && !line.starts_with("#!"))
        .is_some_and(|line| line.strip_prefix("//!").is_some_and(|header| !header.trim().is_empty()))
}

fn lines_below(folder: &Path) -> io::Result<usize> {
    let mut lines = 0;
    for file in files(folder)? {
        lines += fs::read_to_string(file).map_or(0, |text| text.lines().count());
    }
    Ok(lines)
}

/// All files below a folder, sorted; none if there is no such folder. Links are not followed.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            Err(why) => return Err(why),
        };
        for entry in entries {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, entry.file_name().to_string_lossy().into_owned());
            // In a second work tree `.git` is a file.
            if MADE.contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() && !FIXTURES.contains(&name.as_str()) {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_is_as_it_should_be() {
        if let Err(trouble) = judge(check(&Workspace::read().unwrap()).unwrap()) {
            panic!("{trouble}");
        }
    }

    /// A tree with one of each mistake, and with neighbours that are none.
    #[test]
    fn every_mistake_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |name: &str, text: &str| {
            let file = root.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let place = MACHINE_PATHS[0].concat();
        write("notes.txt", "");
        write("docs/run.md", &format!("first\ncd {place}main\n"));
        write("xtask/headless.rs", "#![no_std]\n\nfn main() {}\n");
        write("xtask/good.rs", "#![no_std]\n//! One noun.\n");
        write("tests/wire/fixtures/odd.rs", "fn");
        write("target/debug/made.rs", "fn");
        write("wit/blob", "\u{0}");
        fs::write(root.join("wit/bytes"), [0xff, 0xfe]).unwrap();

        let mut findings = Findings::default();
        look_at_root(root, &mut findings).unwrap();
        for file in files(root).unwrap() {
            look_at_file(root, &file, &mut findings).unwrap();
        }
        assert_eq!(
            findings.wrong,
            [
                "notes.txt: the root has 13 names and no others".to_owned(),
                format!("docs/run.md:2: {place} is a place on one machine"),
                "xtask/headless.rs: it begins without a `//!` that says what lives here".to_owned(),
            ]
        );
    }
}
