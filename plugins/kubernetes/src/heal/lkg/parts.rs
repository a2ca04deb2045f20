//! What the command shows of an object, put together: it comes in parts, each of a run's room, with the digest of the whole.
//!
//! Not here: what the whole says (`wanted`).

use alloc::{format, string::String};

use backstay_sdk::{
    executor::{Exited, Failed, permanent, transient},
    quote,
};
use sha2::{Digest as _, Sha256};

use super::wanted::{Id, Wanted};

/// The most parts: more never fit into a run.
const PARTS_MAX: usize = 16;

/// The parts of an answer, asked for one after the other.
#[derive(Debug)]
pub(super) struct Parts {
    id: Id,
    /// How many there are, and the digest of the whole; known with the first.
    head: Option<(usize, String)>,
    taken: usize,
    text: String,
}

impl Parts {
    pub(super) fn of(id: Id) -> Self {
        Self { id, head: None, taken: 0, text: String::new() }
    }

    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    /// The number of the one to ask for next; none is left where all are there.
    pub(super) fn next(&self) -> Option<usize> {
        let all = self.head.as_ref().is_some_and(|(count, _)| self.taken >= *count);
        (!all).then_some(self.taken + 1)
    }

    /// How long the whole is, in bytes, as far as it is known: parts are of one length, but for the last.
    pub(super) fn length(&self) -> usize {
        match &self.head {
            Some((count, _)) if self.taken < *count => self.text.len() / self.taken.max(1) * count,
            Some(_) | None => self.text.len(),
        }
    }

    /// Takes what the command printed.
    pub(super) fn take(&mut self, command: &str, exited: Exited) -> Result<(), Failed> {
        let told = self.id.told();
        let Exited { code, output } = exited;
        if code != Some(0) {
            return Err(refused(command, code, &output.bytes));
        }
        let wrong = |what: &str| permanent(format!("the command {command} prints no part of {told}: {what}"));
        if output.whole.is_some() {
            return Err(wrong("it is longer than 4 KiB"));
        }
        let printed = core::str::from_utf8(&output.bytes).map_err(|_| wrong("it is no text"))?;
        let (head, text) = printed.split_once('\n').ok_or_else(|| wrong("it is one line"))?;
        let (number, count, digest) = read(head).ok_or_else(|| wrong(&quote::text(head)))?;
        if number != self.taken + 1 || count > PARTS_MAX {
            return Err(wrong(&format!("part {number} of {count}")));
        }
        match &self.head {
            None => self.head = Some((count, digest.into())),
            Some((known, of)) if (*known, of.as_str()) == (count, digest) => {}
            Some(_) => return Err(changed(&told)),
        }
        self.taken = number;
        self.text.push_str(text);
        Ok(())
    }

    /// The whole, once all parts are there.
    pub(super) fn whole(self) -> Result<Wanted, Failed> {
        let digest: String =
            Sha256::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        match &self.head {
            Some((_, wanted)) if *wanted == digest => Wanted::read(&self.id, &self.text),
            Some(_) | None => Err(changed(&self.id.told())),
        }
    }
}

/// The line before a part: `part 2 of 3 of <digest>`.
fn read(head: &str) -> Option<(usize, usize, &str)> {
    let rest = head.strip_prefix("part ")?;
    let (number, rest) = rest.split_once(" of ")?;
    let (count, digest) = rest.split_once(" of ")?;
    Some((number.parse().ok()?, count.parse().ok().filter(|count| *count > 0)?, digest))
}

fn changed(told: &str) -> Failed {
    transient(format!("the bundle was changed while it was read: {told}"))
}

/// Why the command shows nothing. What its exit codes mean beyond that is in its own help.
fn refused(command: &str, code: Option<i32>, said: &[u8]) -> Failed {
    let said = String::from_utf8_lossy(said);
    // It says what, why and what to do, a line each.
    let what = said.lines().find_map(|line| line.strip_prefix("error: ")).map(quote::text);
    let what = what.unwrap_or_else(|| quote::last_line(said.as_bytes()));
    match code {
        // Wrong usage, no such object, too old, not to be believed, a wrong configuration: the next try is no better.
        Some(code @ (2..=5 | 64)) => {
            permanent(format!("the command {command} ended with exit code {code}: {what}"))
        }
        Some(code) => transient(format!("the command {command} ended with exit code {code}: {what}")),
        None => transient(format!("the command {command} was ended by a signal")),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use backstay_sdk::executor::{Output, Transience};

    use super::{
        super::wanted::tests::{id, shown},
        *,
    };

    fn printed(text: &str) -> Exited {
        Exited { code: Some(0), output: Output { bytes: text.into(), whole: None } }
    }

    fn digest(text: &str) -> String {
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn parts_are_of_one_whole() {
        let text = shown(|_| {});
        let (one, two) = text.split_at(100);
        let part = |number: usize, count: usize, digest: &str, text: &str| {
            printed(&format!("part {number} of {count} of {digest}\n{text}"))
        };
        let all = digest(&text);
        let take = |them: Vec<Exited>| {
            let mut parts = Parts::of(id());
            for one in them {
                parts.take("lkg-show", one)?;
            }
            parts.whole()
        };
        assert!(take(vec![part(1, 2, &all, one), part(2, 2, &all, two)]).is_ok());
        let between = take(vec![part(1, 2, &all, one), part(2, 2, "other", two)]).unwrap_err();
        assert!(
            between.transience == Transience::Transient && between.why.contains("was changed"),
            "{between:?}"
        );
        let altered = take(vec![part(1, 2, &all, one), part(2, 2, &all, &two[1..])]).unwrap_err();
        assert!(altered.why.contains("was changed"), "{altered:?}");
        assert!(take(vec![part(2, 2, &all, two)]).unwrap_err().why.contains("part 2 of 2"));
        assert!(take(vec![part(1, 17, &all, one)]).unwrap_err().why.contains("part 1 of 17"));
        for odd in ["", "\n", "{}\n", "part 1 of 0 of x\n", "part one of 1 of x\n"] {
            assert!(
                take(vec![printed(odd)]).unwrap_err().why.contains("prints no part of ConfigMap prod/shop"),
                "{odd:?}"
            );
        }
    }

    #[test]
    fn why_nothing_is_shown_is_told() {
        let ended = |code, said: &str| refused("lkg-show", Some(code), said.as_bytes());
        let failed = ended(5, "error: the bundle in lkg is not to be believed\n  because: x\n  help:    y\n");
        assert_eq!(
            failed.why,
            "the command lkg-show ended with exit code 5: the bundle in lkg is not to be believed"
        );
        assert_eq!(failed.transience, Transience::Permanent);
        assert_eq!(ended(1, "a disk").transience, Transience::Transient);
        assert_eq!(ended(64, "x").transience, Transience::Permanent);
    }
}
