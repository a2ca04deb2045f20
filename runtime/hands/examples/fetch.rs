//! Fetches an artifact as a device does, beside an old image, and says what that cost:
//!
//! ```console
//! $ cargo run --release -p backstay-hands --example fetch -- http://127.0.0.1:8000 DIGEST LENGTH OLD-IMAGE FOLDER
//! ```

use std::{error::Error, fs, path::PathBuf};

use backstay_hands::{Fetch, Roots, Sources};
use backstay_model::Millis;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, digest, length, old, folder] = &arguments[..] else {
        return Err("expected: BASE DIGEST LENGTH OLD-IMAGE FOLDER".into());
    };
    let sources = Sources {
        bases: vec![base.clone()],
        cache: folder.into(),
        cache_bytes_max: u64::MAX,
        stall: Millis::from_secs(30),
    };
    let fetch = Fetch::new(sources, &Roots::none())?;
    let fetched = fetch.get_beside(digest.parse()?, length.parse()?, Some(PathBuf::from(old))).await?;
    for said in fetched.said {
        println!("{said}");
    }
    println!("{:?}", fetched.carriage);
    for line in fs::read_to_string("/proc/self/status")?.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("{line}");
    }
    Ok(())
}
