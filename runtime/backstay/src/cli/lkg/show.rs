//! `lkg show`: what one object has to be, for an executor that puts it back.
//!
//! Nothing is printed that wasn't checked by the signatures of the bundle. What a command says to a run has 4 KiB, so a longer answer
//! is asked for in parts; each says of which whole it is one, so that parts of two bundles are never put together.

use clap::Args;

use super::{
    bundle::{Believed, Checked},
    object::ObjectId,
};
use crate::{Desk, Exit, Failure, file};

/// The most of the whole that is in one part, in bytes. With the line before it, it fits the 4 KiB.
const PART_BYTES_MAX: usize = 3900;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Which, like prod/configmap/checkout
    #[arg(value_name = "NAMESPACE/KIND/NAME")]
    pub(super) object: ObjectId,
    /// Only this part of it, from 1 on
    pub(super) part: Option<usize>,
    #[command(flatten)]
    pub(super) believed: Believed,
}

impl Show {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        desk.printer.write(&self.text()?)?;
        Ok(Exit::Done)
    }

    pub(super) fn text(&self) -> Result<String, Failure> {
        let Checked { document, .. } = self.believed.check()?;
        let object = document.object(&self.object).ok_or_else(|| {
            let known: Vec<_> = document.objects.iter().map(|object| object.id.to_string()).collect();
            Failure::new(Exit::NotFound, format!("there is no {} in the bundle", self.object))
                .help(format!("there are {}", known.join(", ")))
        })?;
        let whole = document.wanted(object);
        match self.part {
            None => Ok(format!("{whole}\n")),
            Some(part) => {
                let parts = parts(&whole);
                let text = part.checked_sub(1).and_then(|at| parts.get(at)).ok_or_else(|| {
                    Failure::new(
                        Exit::Usage,
                        format!("there is no part {part}, they are 1 to {}", parts.len()),
                    )
                })?;
                Ok(format!("part {part} of {} of {}\n{text}", parts.len(), file::digest_of(whole.as_bytes())))
            }
        }
    }
}

/// A text in parts, none longer than fits. Never empty.
fn parts(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while text.len() > PART_BYTES_MAX {
        let end = (0..=PART_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let (part, rest) = text.split_at(end);
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole() {
        for text in ["", "short", &"x".repeat(3900), &"x".repeat(3901), &"äöü€".repeat(3000)] {
            let parts = parts(text);
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES_MAX));
            assert!(parts.iter().skip(1).all(|part| !part.is_empty()));
        }
    }
}
