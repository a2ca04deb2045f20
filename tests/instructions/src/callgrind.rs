//! Counting by callgrind: this program, started again under it, and its own instructions in what callgrind wrote.
//!
//! Not here: what is walked (`paths`).

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{Failure, paths::Path as HotPath};

/// What this program is told when it is the one that is counted.
pub(crate) const WALK: &str = "--walk";

/// How much more often a path is walked the second time.
const MORE: u64 = 3;

/// What one walk takes.
pub(crate) struct Counted {
    pub(crate) instructions: u64,
    /// What [`processor`] said there.
    pub(crate) processor: String,
}

/// Why nothing can be counted here, if it can't.
pub(crate) fn missing() -> Option<String> {
    let version = Command::new("valgrind").arg("--version").stdin(Stdio::null()).output();
    match version {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("valgrind says {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(why) => Some(format!("valgrind can't be started: {why}; Debian's package is valgrind")),
    }
}

/// What code that asks the processor what it can do would see: it goes other ways then, and takes other instructions.
pub(crate) fn processor() -> String {
    let has: &[(&str, bool)] = &[
        #[cfg(target_arch = "x86_64")]
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        #[cfg(target_arch = "x86_64")]
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        #[cfg(target_arch = "x86_64")]
        ("sha", std::arch::is_x86_feature_detected!("sha")),
        #[cfg(target_arch = "aarch64")]
        ("sha2", std::arch::is_aarch64_feature_detected!("sha2")),
    ];
    let has: Vec<_> = has.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    if has.is_empty() { "plain".into() } else { has.join("+") }
}

/// What a path takes each time that it is walked.
pub(crate) fn count(path: &HotPath) -> Result<Counted, Failure> {
    let (few, _) = walks(path, path.times)?;
    let (many, processor) = walks(path, path.times * MORE)?;
    let between = many.checked_sub(few).ok_or_else(|| format!("{}: more walks took less", path.name))?;
    Ok(Counted { instructions: between / (path.times * (MORE - 1)), processor })
}

fn walks(path: &HotPath, times: u64) -> Result<(u64, String), Failure> {
    let (program, folder) = (env::current_exe()?, tempfile::tempdir()?);
    let out = folder.path().join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--error-exitcode=0", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(&program).args([WALK, path.name, &times.to_string()]).stdin(Stdio::null());
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{} could not be walked under callgrind: {said}", path.name).into());
    }
    let (text, own) = (fs::read_to_string(&out)?, program.canonicalize()?);
    let counted = own_instructions(&text, &own).ok_or("callgrind wrote nothing of this program")?;
    Ok((counted, String::from_utf8_lossy(&output.stdout).trim().into()))
}

/// The instructions of one object file in what callgrind wrote (its format, version 1). `None`: it isn't there.
///
/// `ob=(1) /path` names the object that the next lines are about, `ob=(1)` names it again. A line of numbers is a place and
/// its cost; one behind `calls=` is what was called, which has lines of its own.
fn own_instructions(text: &str, own: &Path) -> Option<u64> {
    let own = own.to_string_lossy();
    let (mut known, mut is_own, mut is_called, mut sum) = (None, false, false, 0_u64);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            let (id, name) = object.split_once(' ').map_or((object, None), |(id, name)| (id, Some(name)));
            if name == Some(own.as_ref()) {
                known = Some(id);
            }
            is_own = known == Some(id);
        } else if let Some(called) = line.strip_prefix("cob=") {
            // A name may be told first where it is called.
            if let Some((id, name)) = called.split_once(' ')
                && name == own
            {
                known = Some(id);
            }
        } else if line.starts_with("calls=") {
            is_called = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '*')) {
            let counts = is_own && !std::mem::take(&mut is_called);
            is_called = false;
            if counts {
                sum += line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
            }
        }
    }
    known.map(|_| sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WROTE: &str = "\
# callgrind format
version: 1
events: Ir
fl=(1) ???
ob=(2) /lib/libc.so.6
fn=(1) memcpy
0 50
cob=(7) /target/instructions
cfn=(2) main
calls=1 0
0 900

ob=(7)
fn=(2)
+3 7
* 5
cob=(2)
cfn=(1)
calls=3 0
4 150
9 30

ob=(9) /target/instructions-other
fn=(3) else
0 11
";

    #[test]
    fn only_our_own_instructions_count_and_each_of_them_once() {
        assert_eq!(own_instructions(WROTE, Path::new("/target/instructions")), Some(42));
        assert_eq!(own_instructions(WROTE, Path::new("/lib/libc.so.6")), Some(50));
        assert_eq!(own_instructions(WROTE, Path::new("/target/nothing")), None);
    }
}
