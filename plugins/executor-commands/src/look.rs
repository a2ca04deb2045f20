//! The playbook `look`: what the operator's command sees, told as readings.
//!
//! ```text
//! infra.process-exited=0
//! infra.disk=1
//! connections=212
//! ```
//!
//! Each line is a reading, `name=value`, each name once, in any order; empty lines are passed over. What the command can't
//! read it leaves out. Anything else is an error, as with `status`. Not here: which names mean something, and what follows
//! from them (the server).

use alloc::format;

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    quote,
    readings::Readings,
};

use crate::{
    config::LOOK,
    desk::{Desk, lines},
};

/// Looks, and tells what it found.
pub(crate) async fn tell(desk: &Desk<'_>) -> Result<(), Failed> {
    let command = desk.named(&LOOK)?;
    let output = desk.look(command, []).await?.well(command)?;
    let mut readings = Readings::new();
    for line in lines(command, output)? {
        let line = line.trim_end();
        let said = line.split_once('=').is_some_and(|(name, value)| readings.say(name, value));
        if !said && !line.is_empty() {
            let why = "which is no reading: name=value, each name once, at most 64";
            return Err(permanent(format!("the command {command} prints \"{}\", {why}", quote::text(line))));
        }
    }
    if readings.is_empty() {
        return Err(transient(format!("the command {command} prints no reading")));
    }
    desk.attach(readings).await
}

#[cfg(test)]
mod tests;
