//! All stories as one program, a module per file. A new file is named here, or the test below fails: else it would not be run.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

mod bundles;
mod configuration;
mod device;
mod full;
mod hostile;
mod hostile_broker;
mod kept;
mod locks;
mod pipeline;
mod reports;
mod runs;
mod secrets;
mod starts;
mod stolen_director;
mod strikes;
mod thaws;
mod ways;

#[test]
fn every_file_is_told() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in std::fs::read_dir(here).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let module = format!("\nmod {name};\n");
        assert!(name == "main" || include_str!("main.rs").contains(&module), "{}", path.display());
    }
}
