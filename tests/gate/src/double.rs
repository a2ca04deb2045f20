//! A workspace in which what ships is run, with a double for `backstay` that ends with the numbers it is told.
//!
//! It is for control flow alone: what a verdict is worth, only the real program can say.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// Ends with the next number that stands in the file of its first word, and writes what the real one would.
const BACKSTAY: &str = r#"#!/bin/sh
here="$(dirname "$0")"
verb="$1"
echo "$*" >> "$here/calls"
count="$(cat "$here/$verb.count" 2>/dev/null || echo 0)"
count=$((count + 1))
echo "$count" > "$here/$verb.count"
code="$(sed -n "${count}p" "$here/$verb.codes" 2>/dev/null)"
code="${code:-24}"
out=
while [ "$#" -gt 0 ]; do
  if [ "$1" = --out ]; then out="$2"; fi
  shift
done
if [ -n "$out" ]; then
  if [ "$verb" = gate ] || [ "$code" -eq 0 ]; then echo '{"wait_secs": 180}' > "$out"; fi
fi
exit "$code"
"#;

/// A workspace of its own.
#[derive(Debug)]
pub struct Double {
    dir: TempDir,
}

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed, both streams.
    pub said: String,
}

impl Default for Double {
    fn default() -> Self {
        Self::without_backstay()
    }
}

impl Double {
    /// A workspace without any `backstay`.
    #[must_use]
    pub fn without_backstay() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::create_dir(dir.path().join("ci")).unwrap();
        fs::write(dir.path().join("token"), "0123456789abcdef\n").unwrap();
        fs::copy(crate::shipped("ci/analyze_metrics.py"), dir.path().join("ci/analyze_metrics.py")).unwrap();
        program(&dir.path().join("deploy.sh"), "#!/bin/sh\ntouch deployed\n");
        Self { dir }
    }

    /// One whose `backstay` ends with these numbers, by its first word: `("gate", &[20, 0])`.
    #[must_use]
    pub fn ending(codes: &[(&str, &[i32])]) -> Self {
        let double = Self::without_backstay();
        program(&double.bin().join("backstay"), BACKSTAY);
        for (verb, codes) in codes {
            let lines: String = codes.iter().map(|code| format!("{code}\n")).collect();
            fs::write(double.bin().join(format!("{verb}.codes")), lines).unwrap();
        }
        double
    }

    /// One with the real program.
    #[must_use]
    pub fn real(backstay: &Path) -> Self {
        let double = Self::without_backstay();
        std::os::unix::fs::symlink(backstay, double.bin().join("backstay")).unwrap();
        double
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn bin(&self) -> PathBuf {
        self.path().join("bin")
    }

    /// The search path of what runs in it: its own `backstay`, and the system.
    #[must_use]
    pub fn search_path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.bin().display())
    }

    /// Sets what the environment of its Jenkins job holds.
    pub fn sets(&self, env: &[(String, String)]) {
        let lines: String = env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(self.path().join("job.env"), lines).unwrap();
    }

    /// Whether it came to deploying.
    #[must_use]
    pub fn deployed(&self) -> bool {
        self.path().join("deployed").exists()
    }

    /// What the double was called with, a line for each call.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.bin().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// Runs a script as `shell` does, with nothing in its environment but `env` and a search path.
    #[must_use]
    pub fn run(&self, shell: &[&str], script: &str, env: &[(&str, &str)]) -> Ended {
        let file = self.path().join("script");
        fs::write(&file, script).unwrap();
        let (program, arguments) = shell.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(&file).current_dir(self.path()).stdin(Stdio::null()).env_clear();
        command.env("PATH", self.search_path()).envs(env.iter().copied());
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        Ended { code: output.status.code().unwrap_or(-1), said: String::from_utf8_lossy(&said).into_owned() }
    }
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
