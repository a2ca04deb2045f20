//! One target under libFuzzer, which has the `main`: `BACKSTAY_FUZZ` is its name, or `list` for the names of all; and
//! `BACKSTAY_FUZZ_SEEDS` is a folder that what it begins with is written to.
//!
//! Not here: the targets (`backstay-test-fuzz`), and how long and in which folders they run (xtask).
#![no_main]

use std::{env, fs, path::Path, sync::OnceLock};

use backstay_test_fuzz::{PLANTED, Target};

libfuzzer_sys::fuzz_target!(
    init: begin(),
    |bytes: &[u8]| {
        (target().run)(bytes);
    }
);

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = env::var("BACKSTAY_FUZZ").unwrap_or_default();
        backstay_test_fuzz::named(&name).unwrap_or_else(|| panic!("there is no target {name:?}"))
    })
}

/// Before libFuzzer looks at any folder.
fn begin() {
    if env::var_os("BACKSTAY_FUZZ").is_some_and(|name| name == "list") {
        for Target { name, bytes_max, .. } in backstay_test_fuzz::TARGETS.iter().chain([&PLANTED]) {
            println!("{name} {bytes_max}");
        }
        std::process::exit(0);
    }
    let Some(folder) = env::var_os("BACKSTAY_FUZZ_SEEDS") else { return };
    let folder = Path::new(&folder);
    for (at, seed) in (target().seeds)().iter().enumerate() {
        let file = folder.join(format!("seed-{at:02}"));
        fs::write(&file, seed).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    }
}
