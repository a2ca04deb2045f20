//! `otactl`: brings a cohort to a version. The short form of a part of `backstay` for pipelines that know no more.

use std::process::ExitCode;

fn main() -> ExitCode {
    backstay_cli::otactl()
}
