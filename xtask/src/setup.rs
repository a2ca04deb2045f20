//! Puts in place what a machine lacks.
//!
//! Here: what is needed, for what, how it is recognised, and how it is had: by rustup, by Debian's packages, or by telling
//! the person what to do. Not here: using it (`toolchain`, and whoever starts a broker).
//!
//! A thing that is there costs a look at the file system. Nothing asks a question.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::steps::run_for_at_most;
use crate::toolchain::{self, ARM_GNU, ARM_MUSL, INTEL_MUSL, WASM, Way};
use crate::trouble::Trouble;
use crate::workspace::cargo;

/// The longest that one download may take. rustup was seen to need minutes.
const DOWNLOAD_MAX: Duration = Duration::from_secs(15 * 60);
/// The longest that building a tool may take: hundreds of packages, on a machine that does other things as well.
const INSTALL_MAX: Duration = Duration::from_secs(60 * 60);

/// The registry of the CNCF: the one that others are held against.
const REGISTRY: &str = "github.com/distribution/distribution/v3/cmd/registry@v3.0.0";

/// Jenkins is built with this version, and runs its pipelines by it.
const GROOVY: &str = "org.codehaus.groovy:groovy-all:2.4.21";
/// Where it is then.
const GROOVY_FILE: &str = "jenkins/groovy-all-2.4.21.jar";

/// One thing that a machine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// `cargo fmt` and `cargo clippy`: rustup's smallest profile leaves them out.
    Formatter,
    Linter,
    /// A standard library for WebAssembly: no plugin without it.
    Wasm,
    /// A standard library for 64-bit ARM, musl or glibc.
    Arm,
    /// One for 64-bit ARM with glibc.
    ArmGnu,
    /// One for x86_64, static.
    IntelMusl,
    /// The source of the standard library: what ships for 64-bit ARM brings its own, compiled for size.
    LibrarySource,
    /// A C compiler for 64-bit ARM: TLS has parts in C.
    ArmCompiler,
    /// Runs a program for 64-bit ARM here.
    ArmRunner,
    /// The broker that the tests and the demo talk to.
    Broker,
    /// `mosquitto_pub`, with which the tests send what no client of ours would.
    BrokerClients,
    /// What tests/real lets the server work with: where metrics come from, a data base, a machine behind SSH, a load balancer.
    Metrics,
    Postgres,
    Ssh,
    LoadBalancer,
    /// One of the update clients that `cargo xtask bench idle` runs the agent beside.
    Mender,
    /// What recipes are written for: BitBake's parser, and Kconfig's. They stay below the target folder.
    BitBake,
    Kconfig,
    /// What tests/firmware installs with, and boards' own tools.
    Rauc,
    SwUpdate,
    BootEnvironment,
    BootEnvironmentMaker,
    Squashfs,
    Bus,
    Cpio,
    /// What tests/faults cuts the power under: what writes down a program's calls, what serves a device, and what makes ext4.
    Tracer,
    DeviceServer,
    FileSystem,
    /// A 64-bit ARM board in an emulator, with a boot loader; and that apt gets packages for it.
    Board,
    /// Makes plugins of C, of Python, and of JavaScript. They stay below the target folder: nothing else may want them.
    PluginsInC,
    PluginsInPython,
    PluginsInJs,
    /// The registry that plugins are pushed to in tests. It stays below the target folder, too.
    Registry,
    /// The Groovy that Jenkins has, for the pipelines that ship. It stays below the target folder.
    Groovy,
    /// Looks into what comes in from outside: licences, sources, advisories.
    SupplyChain,
    /// Breaks the core at one place after the other.
    Mutants,
    /// The engine that fuzzes is C++.
    CompilerOfCpp,
    /// Counts instructions.
    Valgrind,
}

impl Need {
    /// What `cargo xtask setup` looks after.
    pub(crate) const ALL: [Need; 8] = [
        Need::Formatter,
        Need::Linter,
        Need::Wasm,
        Need::Arm,
        Need::ArmCompiler,
        Need::ArmRunner,
        Need::Broker,
        Need::BrokerClients,
    ];

    /// What takes long to get and is wanted by one command only, which gets it by itself: these, and all that a tier needs.
    fn rare() -> Vec<Need> {
        let alone = [
            Need::CompilerOfCpp,
            Need::Valgrind,
            Need::Mender,
            Need::BitBake,
            Need::Kconfig,
            Need::ArmGnu,
            Need::IntelMusl,
            Need::LibrarySource,
            Need::Registry,
            Need::Groovy,
            Need::SupplyChain,
            Need::Mutants,
        ];
        let tiers: [&[Need]; 6] =
            [&alone, &Need::SERVICES, &Need::BOARD, &Need::FIRMWARE, &Need::FAULTS, &Need::LANGUAGES];
        let mut rare = Vec::new();
        for need in tiers.concat() {
            if !Need::ALL.contains(&need) && !rare.contains(&need) {
                rare.push(need);
            }
        }
        rare
    }

    /// What the server works with in tests/real.
    pub(crate) const SERVICES: [Need; 4] = [Need::Metrics, Need::Postgres, Need::Ssh, Need::LoadBalancer];

    /// What `cargo xtask lab` makes boards of.
    pub(crate) const BOARD: [Need; 7] = [
        Need::Board,
        Need::BootEnvironmentMaker,
        Need::FileSystem,
        Need::Rauc,
        Need::Broker,
        Need::Arm,
        Need::ArmCompiler,
    ];

    /// What tests/firmware puts images into slots with, and asks a board by.
    pub(crate) const FIRMWARE: [Need; 7] = [
        Need::Rauc,
        Need::SwUpdate,
        Need::BootEnvironment,
        Need::BootEnvironmentMaker,
        Need::Squashfs,
        Need::Bus,
        Need::Cpio,
    ];

    /// What tests/faults cuts the power under.
    pub(crate) const FAULTS: [Need; 3] = [Need::Tracer, Need::DeviceServer, Need::FileSystem];

    /// What plugins in other languages than Rust are made with.
    pub(crate) const LANGUAGES: [Need; 3] = [Need::PluginsInC, Need::PluginsInPython, Need::PluginsInJs];

    fn name(self) -> &'static str {
        match self {
            Need::Formatter => "rustfmt",
            Need::Linter => "clippy",
            Need::Wasm => WASM,
            Need::Arm => "aarch64-unknown-linux-{musl,gnu}",
            Need::ArmGnu => ARM_GNU,
            Need::IntelMusl => INTEL_MUSL,
            Need::LibrarySource => "rust-src",
            Need::ArmCompiler => "aarch64-linux-gnu-gcc",
            Need::ArmRunner => "qemu-aarch64-static",
            Need::Broker => "mosquitto",
            Need::BrokerClients => "mosquitto_pub",
            Need::Metrics => "prometheus",
            Need::Postgres => "postgres",
            Need::Ssh => "sshd",
            Need::LoadBalancer => "haproxy",
            Need::Board => "qemu-system-aarch64",
            Need::Rauc => "rauc",
            Need::SwUpdate => "swupdate",
            Need::BootEnvironment => "fw_printenv",
            Need::BootEnvironmentMaker => "mkenvimage",
            Need::Squashfs => "mksquashfs",
            Need::Bus => "dbus-daemon",
            Need::Cpio => "cpio",
            Need::Tracer => "strace",
            Need::DeviceServer => "qemu-storage-daemon",
            Need::FileSystem => "mkfs.ext4",
            Need::Mender => "mender",
            Need::BitBake => "bitbake",
            Need::Kconfig => "kconfiglib",
            Need::Registry => "registry",
            Need::Groovy => "groovy",
            Need::SupplyChain => "cargo-deny",
            Need::Mutants => "cargo-mutants",
            Need::CompilerOfCpp => "c++",
            Need::Valgrind => "valgrind",
            Need::PluginsInC => "ziglang",
            Need::PluginsInPython => "componentize-py",
            Need::PluginsInJs => "componentize-qjs",
        }
    }

    fn what_for(self) -> &'static str {
        match self {
            Need::Formatter | Need::Linter => "cargo xtask check",
            Need::Wasm => "plugins, so everything",
            Need::Arm | Need::ArmCompiler | Need::LibrarySource => "cargo xtask dist",
            Need::ArmGnu | Need::IntelMusl => "cargo xtask dist, for that target",
            Need::ArmRunner => "trying out what cargo xtask dist built, and cargo xtask test real",
            Need::Broker => "tests/real, and the demo (else: its own small broker)",
            Need::BrokerClients | Need::Metrics | Need::Postgres | Need::Ssh | Need::LoadBalancer => {
                "tests/real"
            }
            Need::Mender => "cargo xtask bench idle",
            Need::BitBake | Need::Kconfig => "the tests of recipes (else: skipped)",
            Need::Rauc
            | Need::SwUpdate
            | Need::BootEnvironment
            | Need::BootEnvironmentMaker
            | Need::Squashfs
            | Need::Bus
            | Need::Cpio => "tests/firmware (else: skipped)",
            Need::Tracer | Need::DeviceServer | Need::FileSystem => "tests/faults (else: skipped)",
            Need::Board => "cargo xtask lab",
            Need::Registry => "cargo xtask test",
            Need::Groovy => "tests/gate (else: skipped)",
            Need::SupplyChain => "cargo xtask check --supply-chain",
            Need::Mutants => "cargo xtask mutants",
            Need::CompilerOfCpp => "cargo xtask fuzz",
            Need::Valgrind => "cargo xtask bench instructions",
            Need::PluginsInC | Need::PluginsInPython | Need::PluginsInJs => "cargo xtask test plugins",
        }
    }

    /// How it is there, or `None` if it is missing.
    pub(crate) fn found(self) -> Option<String> {
        match self {
            Need::Formatter => works("fmt"),
            Need::Linter => works("clippy"),
            Need::Wasm => toolchain::way(WASM).map(told),
            Need::Arm => [ARM_MUSL, ARM_GNU]
                .iter()
                .find_map(|target| toolchain::way(target).map(|way| format!("{target}, {}", told(way)))),
            Need::ArmGnu => toolchain::way(ARM_GNU).map(told),
            Need::IntelMusl => toolchain::way(INTEL_MUSL).map(told),
            Need::LibrarySource => toolchain::library_source().map(|_| told(Way::Toolchain)),
            Need::BitBake => toolchain::of_languages("python/bin/bitbake-setup"),
            Need::Kconfig => toolchain::of_languages("python/bin/olddefconfig"),
            Need::Registry => toolchain::of_languages("go/registry"),
            Need::Groovy => toolchain::of_languages(GROOVY_FILE),
            Need::SupplyChain => works("deny"),
            Need::Mutants => works("mutants"),
            Need::ArmCompiler => on_path(self.name()).filter(|compiler| finds_headers(compiler)),
            Need::ArmRunner | Need::Broker | Need::BrokerClients | Need::Mender => on_path(self.name()),
            Need::Metrics | Need::Ssh | Need::LoadBalancer => on_path(self.name()),
            Need::CompilerOfCpp | Need::Valgrind => on_path(self.name()),
            Need::Rauc
            | Need::SwUpdate
            | Need::BootEnvironment
            | Need::BootEnvironmentMaker
            | Need::Squashfs
            | Need::Bus
            | Need::Cpio
            | Need::Tracer
            | Need::DeviceServer
            | Need::FileSystem => on_path(self.name()),
            Need::Postgres => postgres(),
            Need::Board => board(),
            Need::PluginsInC => toolchain::of_languages("python/bin/python-zig"),
            Need::PluginsInPython => toolchain::of_languages("python/bin/componentize-py"),
            Need::PluginsInJs => toolchain::of_languages("node/node_modules/.bin/componentize-qjs"),
        }
    }

    /// Debian's packages that it comes in.
    fn debian(self) -> &'static [&'static str] {
        match self {
            Need::Formatter | Need::Linter | Need::Wasm | Need::Arm | Need::ArmGnu => &[],
            Need::IntelMusl | Need::LibrarySource | Need::SupplyChain | Need::Mutants => &[],
            // Its own is built for an older Go than the one that the registry asks for.
            Need::Registry => &[],
            Need::Groovy => &["maven"],
            Need::PluginsInC | Need::PluginsInPython | Need::BitBake | Need::Kconfig => &["python3-venv"],
            Need::PluginsInJs => &["npm"],
            // The headers are only recommended by the compiler, and recommendations are left out.
            Need::ArmCompiler => &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
            Need::ArmRunner => &["qemu-user-static"],
            Need::Broker => &["mosquitto"],
            Need::BrokerClients => &["mosquitto-clients"],
            Need::Metrics => &["prometheus"],
            Need::Postgres => &["postgresql"],
            Need::Ssh => &["openssh-server", "openssh-client"],
            Need::LoadBalancer => &["haproxy"],
            Need::Rauc => &["rauc"],
            Need::Board => &["qemu-system-arm", "qemu-utils", "u-boot-qemu"],
            Need::SwUpdate => &["swupdate"],
            Need::BootEnvironment => &["libubootenv-tool"],
            Need::BootEnvironmentMaker => &["u-boot-tools"],
            Need::Squashfs => &["squashfs-tools"],
            Need::Bus => &["dbus-daemon"],
            Need::Cpio => &["cpio"],
            Need::Tracer => &["strace"],
            Need::DeviceServer => &["qemu-system-common"],
            Need::FileSystem => &["e2fsprogs"],
            Need::Mender => &["mender-client"],
            Need::CompilerOfCpp => &["g++"],
            Need::Valgrind => &["valgrind"],
        }
    }

    /// The ways to get it, best first. The next is tried when one did not bring it.
    fn ways(self) -> Vec<Attempt> {
        let rustup = |what: &[&str]| Attempt::rustup(what);
        match self {
            Need::Formatter => vec![rustup(&["component", "add", "rustfmt"])],
            Need::Linter => vec![rustup(&["component", "add", "clippy"])],
            Need::Wasm => vec![
                rustup(&["target", "add", WASM]),
                Attempt::apt(&[], &["rustc-web", "cargo-web", "rust-web-src"]),
            ],
            Need::Arm => vec![rustup(&["target", "add", ARM_MUSL]), Attempt::debian_for_arm()],
            Need::ArmGnu => vec![rustup(&["target", "add", ARM_GNU]), Attempt::debian_for_arm()],
            Need::IntelMusl => vec![rustup(&["target", "add", INTEL_MUSL])],
            Need::LibrarySource => vec![rustup(&["component", "add", "rust-src"])],
            Need::Registry => vec![Attempt::go(REGISTRY)],
            Need::Groovy => self.or_after_debian(|| Attempt::maven(GROOVY, "jenkins")),
            Need::SupplyChain => vec![Attempt::cargo("cargo-deny@^0.20")],
            Need::Mutants => vec![Attempt::cargo("cargo-mutants@^27.1")],
            Need::ArmCompiler | Need::ArmRunner | Need::Broker | Need::BrokerClients => {
                vec![Attempt::apt(&[], self.debian())]
            }
            Need::Tracer | Need::DeviceServer | Need::FileSystem => vec![Attempt::apt(&[], self.debian())],
            Need::CompilerOfCpp | Need::Valgrind => vec![Attempt::apt(&[], self.debian())],
            Need::Rauc
            | Need::SwUpdate
            | Need::BootEnvironment
            | Need::BootEnvironmentMaker
            | Need::Squashfs
            | Need::Bus
            | Need::Cpio => vec![Attempt::apt(&[], self.debian()).without_services()],
            Need::Metrics | Need::Postgres | Need::Ssh | Need::LoadBalancer | Need::Mender => {
                vec![Attempt::apt(&[], self.debian()).without_services()]
            }
            Need::Board => vec![Attempt::apt(&["arm64"], self.debian())],
            Need::PluginsInC => self.or_after_debian(|| Attempt::pip("ziglang==0.17.1")),
            Need::PluginsInPython => self.or_after_debian(|| Attempt::pip("componentize-py==0.25.1")),
            Need::BitBake => self.or_after_debian(|| Attempt::pip("bitbake-setup==2.19.0")),
            Need::Kconfig => self.or_after_debian(|| Attempt::pip("kconfiglib==14.1.0")),
            Need::PluginsInJs => self.or_after_debian(|| Attempt::npm("componentize-qjs@0.4.5")),
        }
    }
}

impl Need {
    /// By a package manager of its language; where that is missing as well, Debian has it.
    fn or_after_debian(self, way: impl Fn() -> Attempt) -> Vec<Attempt> {
        let mut after = Attempt::apt(&[], self.debian());
        after.commands.extend(way().commands);
        vec![way(), after]
    }
}

fn told(way: Way) -> String {
    match way {
        Way::Toolchain => "from the toolchain",
        Way::DebianSource => "Debian's rustc and its source",
        Way::DebianLibrary => "Debian's rustc",
    }
    .to_owned()
}

fn works(subcommand: &str) -> Option<String> {
    let output = cargo().args([subcommand, "--version"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// If a C compiler finds the headers of its own machine: without them it takes those of this one, and fails much later.
fn finds_headers(compiler: &str) -> bool {
    let mut command = Command::new(compiler);
    command.args(["-E", "-include", "stdint.h", "-x", "c", "/dev/null", "-o", "/dev/null"]);
    command.stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Where a program is. Debian keeps the broker in a folder that only root's PATH has.
pub(crate) fn on_path(program: &str) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .map(|file| file.display().to_string())
}

/// PostgreSQL's own programs: Debian keeps them by version, in no PATH.
fn postgres() -> Option<String> {
    let versions = Path::new("/usr/lib/postgresql").read_dir().ok()?;
    let servers = versions.flatten().map(|version| version.path().join("bin/postgres"));
    servers.filter(|server| server.is_file()).max().map(|server| server.display().to_string())
}

/// The emulator, where all that goes with it is there, too: the boot loader, and that dpkg takes packages for a board.
fn board() -> Option<String> {
    let loader = Path::new("/usr/lib/u-boot/qemu_arm64/u-boot.bin").is_file();
    let packages = std::fs::read_to_string("/var/lib/dpkg/arch").unwrap_or_default();
    let all = on_path("qemu-img").is_some() && loader && packages.lines().any(|name| name == "arm64");
    on_path("qemu-system-aarch64").filter(|_| all)
}

/// One way to get something: commands that are run in order.
struct Attempt {
    commands: Vec<Vec<String>>,
    /// What they are told by the environment.
    variables: Vec<(&'static str, String)>,
    needs_root: bool,
    /// The longest that one of them may take.
    at_most: Duration,
}

impl Attempt {
    fn of(commands: Vec<Vec<String>>, at_most: Duration) -> Self {
        Attempt { commands, variables: Vec::new(), needs_root: false, at_most }
    }

    fn rustup(arguments: &[&str]) -> Self {
        Attempt::of(vec![words("rustup", arguments)], DOWNLOAD_MAX)
    }

    /// A tool that is built from its source.
    fn cargo(package: &str) -> Self {
        Attempt::of(vec![words("cargo", &["install", "--locked", package])], INSTALL_MAX)
    }

    /// A tool that is built from its source, in a folder of its own. Minutes the first time: it has 200 modules.
    fn go(package: &str) -> Self {
        let folder = toolchain::languages().join("go").display().to_string();
        let commands = vec![words("go", &["install", package])];
        Attempt { variables: vec![("GOBIN", folder)], ..Attempt::of(commands, INSTALL_MAX) }
    }

    /// A package from PyPI, in an environment of its own.
    fn pip(package: &str) -> Self {
        let folder = toolchain::languages().join("python").display().to_string();
        let pip = format!("{folder}/bin/pip");
        let commands = vec![
            words("python3", &["-m", "venv", &folder]),
            words(&pip, &["install", "--quiet", "--disable-pip-version-check", package]),
        ];
        Attempt::of(commands, DOWNLOAD_MAX)
    }

    /// A package from npm, in a folder of its own.
    fn npm(package: &str) -> Self {
        let folder = toolchain::languages().join("node").display().to_string();
        let commands =
            vec![words("npm", &["install", "--silent", "--no-save", "--prefix", &folder, package])];
        Attempt::of(commands, DOWNLOAD_MAX)
    }

    /// An artifact from Maven Central, in a folder of its own.
    fn maven(artifact: &str, folder: &str) -> Self {
        let folder = toolchain::languages().join(folder).display().to_string();
        let copy = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";
        let (artifact, to) = (format!("-Dartifact={artifact}"), format!("-DoutputDirectory={folder}"));
        Attempt::of(vec![words("mvn", &["-B", "-q", copy, &artifact, &to])], DOWNLOAD_MAX)
    }

    /// Debian's compiler, with the standard library that Debian built for arm64.
    fn debian_for_arm() -> Self {
        let packages = ["rustc-web", "cargo-web", "libstd-rust-web-dev:arm64", "gcc-aarch64-linux-gnu"];
        Attempt::apt(&["arm64"], &packages)
    }

    fn apt(architectures: &[&str], packages: &[&str]) -> Self {
        let mut commands: Vec<_> =
            architectures.iter().map(|name| words("dpkg", &["--add-architecture", name])).collect();
        // A fresh container has no package lists at all.
        commands.push(words("apt-get", &["update", "-qq"]));
        let mut install = words("apt-get", &["install", "-y", "-qq", "--no-install-recommends"]);
        install.extend(packages.iter().map(|package| (*package).to_owned()));
        commands.push(install);
        Attempt { needs_root: true, ..Attempt::of(commands, DOWNLOAD_MAX) }
    }

    /// Nothing that comes with it is started: the tests start what they need, in folders and on ports of their own.
    fn without_services(mut self) -> Self {
        self.variables.push(("RUNLEVEL", "1".to_owned()));
        self
    }

    /// As a person would type it.
    fn line(&self) -> String {
        let sudo = if self.needs_root { "sudo " } else { "" };
        let told: String = self.variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let lines: Vec<_> = self
            .commands
            .iter()
            .map(|words| format!("{sudo}{told}{}", words.join(" ").replace(" -qq", "")))
            .collect();
        lines.join(" && ")
    }

    /// Why it can't even be tried here, or `None` if it can.
    fn obstacle(&self) -> Option<String> {
        let program = &self.commands[0][0];
        if on_path(program).is_none() {
            return Some(format!("there is no {program} here"));
        }
        (self.needs_root && !is_root()).then(|| format!("{program} wants root"))
    }

    fn make(&self) -> Result<(), String> {
        for words in &self.commands {
            eprintln!("      $ {}", words.join(" "));
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).stdin(Stdio::null()).env("DEBIAN_FRONTEND", "noninteractive");
            command.envs(self.variables.iter().map(|(name, value)| (name, value)));
            if self.needs_root {
                // Hundreds of lines about packages being unpacked. What goes wrong is on stderr.
                command.stdout(Stdio::null());
            }
            let status = run_for_at_most(self.at_most, &mut command).map_err(|why| why.to_string())?;
            // Package lists that are only partly fresh are often good enough: the install tells.
            let is_update = words.iter().any(|word| word == "update");
            if !status.success() && !is_update {
                return Err(format!("{} ended with {status}", words[0]));
            }
        }
        Ok(())
    }
}

fn words(program: &str, arguments: &[&str]) -> Vec<String> {
    [program].iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

fn is_root() -> bool {
    // The owner of a process's own folder is who it runs as.
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
    }
    #[cfg(not(unix))]
    {
        false
    }
}

/// Sees to it that `need` is there: looks, and gets it if it is missing.
pub(crate) fn ensure(need: Need) -> Result<(), Trouble> {
    if need.found().is_some() {
        return Ok(());
    }
    let started = Instant::now();
    eprintln!("setup: {} is missing ({})", need.name(), need.what_for());
    let ways = need.ways();
    let mut tried = Vec::new();
    for way in &ways {
        let failed = match way.obstacle() {
            Some(obstacle) => obstacle,
            None => match way.make() {
                Ok(()) if need.found().is_some() => {
                    eprintln!("setup: {} is there now ({} s)", need.name(), started.elapsed().as_secs());
                    return Ok(());
                }
                Ok(()) => format!("`{}` went well and yet it is missing", way.line()),
                Err(why) => why,
            },
        };
        tried.push(failed);
    }
    let by_hand: Vec<_> = ways.iter().map(|way| format!("`{}`", way.line())).collect();
    Err(Trouble::new(format!("{} is missing: {}", need.name(), need.what_for()))
        .why(tried.join("\n"))
        .help(format!("run {}", by_hand.join("\nor "))))
}

/// [`ensure`] for several; all are tried before the first trouble is returned.
pub(crate) fn ensure_all(needs: &[Need]) -> Result<(), Trouble> {
    let mut first = None;
    for need in needs {
        if let Err(trouble) = ensure(*need) {
            eprintln!("setup: {trouble}");
            first.get_or_insert(trouble);
        }
    }
    first.map_or(Ok(()), Err)
}

/// `cargo xtask setup [--check]`: tells what is there; without `--check` gets what is missing.
pub(crate) fn setup(only_look: bool) -> Result<(), Trouble> {
    let outcome = if only_look { Ok(()) } else { ensure_all(&Need::ALL) };
    let mut missing = Vec::new();
    for need in Need::ALL {
        let found = need.found();
        println!("{:<34} {}", need.name(), found.as_deref().unwrap_or("missing"));
        if found.is_none() {
            missing.push(need);
        }
    }
    outcome?;
    for need in Need::rare() {
        let found = need.found();
        let found =
            found.unwrap_or_else(|| format!("not here; {} gets it when it is wanted", need.what_for()));
        println!("{:<34} {found}", need.name());
    }
    let Some(first) = missing.first() else { return Ok(()) };
    let names: Vec<_> = missing.iter().map(|need| need.name()).collect();
    Err(Trouble::new(format!("missing: {}", names.join(", ")))
        .why(format!("{} is for {}", first.name(), first.what_for()))
        .help("run `cargo xtask setup`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_can_be_missing_can_be_had() {
        for need in Need::ALL.into_iter().chain(Need::rare()) {
            assert!(!need.ways().is_empty(), "{}", need.name());
        }
    }

    #[test]
    fn a_person_is_told_what_to_type() {
        let told = Attempt::apt(&["arm64"], &["mosquitto"]).line();
        let typed = "sudo dpkg --add-architecture arm64 && sudo apt-get update && \
                     sudo apt-get install -y --no-install-recommends mosquitto";
        assert_eq!(told, typed);
        let told = Attempt::go("example.org/x@v1.0.0").line();
        assert!(
            told.starts_with("GOBIN=/") && told.ends_with("/go go install example.org/x@v1.0.0"),
            "{told}"
        );
    }
}
