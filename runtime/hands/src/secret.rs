//! A secret in memory: it shows itself to whoever sends it, and is taken out of whatever comes back.
//!
//! Not here: where it comes from (`credential`).

use std::{borrow::Cow, fmt};

use backstay_model::Output;

use crate::output::{Sink, Tail};

/// Stands where a credential was.
const INSTEAD: &[u8] = b"[credential]";

/// A credential, read. It shows itself only where it is asked to.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The credential itself, for whoever sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The ways in which a server is likely to say it back: as it is, and as JSON and addresses write it.
    fn guises(&self) -> Vec<String> {
        let json = self.0.replace('\\', r"\\").replace('"', r#"\""#);
        let slashes = json.replace('/', r"\/");
        let percent = |digits: fn(u8) -> String| -> String {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let one = |byte| if plain(byte) { char::from(byte).to_string() } else { digits(byte) };
            self.0.bytes().map(one).collect()
        };
        let (upper, lower) = (percent(|byte| format!("%{byte:02X}")), percent(|byte| format!("%{byte:02x}")));
        let mut guises = vec![self.0.clone(), json, slashes, upper, lower];
        // The longest first: where one begins another, the whole of it goes.
        guises.sort_by_key(|guise| std::cmp::Reverse(guise.len()));
        guises.dedup();
        guises
    }

    /// `text` with something else in the credential's place.
    #[must_use]
    pub fn taken_out_of(&self, text: &str) -> String {
        Cleaner::new(Some(self)).cleaned(text).into_owned()
    }
}

/// Takes a credential out of whole texts.
pub(crate) struct Cleaner(Vec<String>);

impl Cleaner {
    /// Of nothing, where there is no credential.
    pub(crate) fn new(secret: Option<&Secret>) -> Self {
        Self(secret.map(Secret::guises).unwrap_or_default())
    }

    /// Whether the credential is in `text`.
    pub(crate) fn finds(&self, text: &str) -> bool {
        self.0.iter().any(|guise| text.contains(guise))
    }

    /// `text` with something else in the credential's place.
    pub(crate) fn cleaned<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.finds(text) {
            return text.into();
        }
        let mut clean = Clean::of(self.0.clone());
        let mut out = Vec::new();
        clean.pass(text.as_bytes(), |bytes| out.extend_from_slice(bytes));
        out.extend_from_slice(&clean.held);
        String::from_utf8_lossy(&out).into_owned().into()
    }
}

/// Lets bytes through, and something else in a credential's place, also where it comes in pieces.
struct Clean {
    guises: Vec<Vec<u8>>,
    /// What may be the beginning of a credential.
    held: Vec<u8>,
}

impl Clean {
    fn of(guises: Vec<String>) -> Self {
        Self { guises: guises.into_iter().map(String::into_bytes).collect(), held: Vec::new() }
    }

    fn pass(&mut self, bytes: &[u8], mut on: impl FnMut(&[u8])) {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        let mut passed = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            if let Some(guise) = self.guises.iter().find(|guise| rest.starts_with(guise)) {
                on(&self.held[passed..at]);
                on(INSTEAD);
                at += guise.len();
                passed = at;
            } else if self.guises.iter().any(|guise| guise.starts_with(rest)) {
                break;
            } else {
                at += 1;
            }
        }
        on(&self.held[passed..at]);
        self.held.drain(..at);
    }
}

/// The end of an answer, without the credential.
pub(crate) struct CleanTail(Tail, Clean);

impl CleanTail {
    pub(crate) fn new(secret: Option<&Secret>) -> Self {
        Self(Tail::new(), Clean::of(secret.map(Secret::guises).unwrap_or_default()))
    }
}

impl Sink for CleanTail {
    fn take(&mut self, bytes: &[u8]) {
        let Self(tail, clean) = self;
        clean.pass(bytes, |bytes| tail.take(bytes));
    }

    fn finish(mut self) -> Output {
        self.0.take(&self.1.held);
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_taken_out_of_what_is_said_however_it_comes() {
        let secret = Secret::new(r#"a/"b"#.into());
        let said = r#"[a/"b] [a/\"b] [a\/\"b] [a%2F%22b] [a%2f%22b] a/ a/"a/"b a/""#;
        let clean = "[[credential]] [[credential]] [[credential]] [[credential]] [[credential]] \
                     a/ a/\"[credential] a/\"";
        assert_eq!(secret.taken_out_of(said), clean);
        for size in 1..9 {
            let mut tail = CleanTail::new(Some(&secret));
            said.as_bytes().chunks(size).for_each(|chunk| tail.take(chunk));
            assert_eq!(String::from_utf8(tail.finish().bytes).unwrap(), clean, "in pieces of {size}");
        }
        let mut plain = CleanTail::new(None);
        plain.take(said.as_bytes());
        assert_eq!(plain.finish().bytes, said.as_bytes());
    }
}
