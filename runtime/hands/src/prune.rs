//! Taking fields out of a JSON answer while it comes in.
//!
//! Here: what is kept, in which form, and how much of it there may be. Not here: which fields are wanted (`mask`), and where
//! the answer comes from (`json`).
//!
//! What is kept is written as it was: objects in their order, numbers digit by digit, arrays with each element in its
//! place. Only space between values goes. Where the mask finds nothing, an object is `{}` and an array is `[]`; a text, a number
//! or a word that it leads into is `null`. So `/data/*/-` asks which keys `data` has, and not what they hold.

use std::{collections::BTreeSet, fmt, io};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    mask::{Mask, Step, Wanted},
    secret::Cleaner,
};

/// How many arrays and objects may be in one another where something is kept: as many as `serde_json` reads, and with it
/// whoever asked.
const DEPTH_MAX: usize = 127;

/// What was taken out of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pruned {
    /// The fields, as compact JSON.
    Fields(Vec<u8>),
    /// There is more of them than there may be.
    TooLong {
        /// How much there is.
        bytes: u64,
    },
    /// The credential is in them, and not in a text, where it could be taken out.
    Exposed,
}

/// Reads an answer to its end and keeps what `mask` wants of it, at most `bytes_max`.
///
/// # Errors
/// It can't be read, or it is no JSON, or not JSON that everybody reads in the same way.
pub(crate) fn prune(
    answer: impl io::Read,
    mask: &Mask,
    cleaner: &Cleaner,
    bytes_max: usize,
) -> Result<Pruned, serde_json::Error> {
    let mut kept = Kept { bytes: Vec::new(), length: 0, bytes_max, cleaner };
    let mut answer = serde_json::Deserializer::from_reader(answer);
    let pick = Pick { parts: &mask.parts(), depth: 0, kept: &mut kept };
    if pick.deserialize(&mut answer)? == Found::Nothing {
        kept.push("null");
    }
    // What follows it belongs to the answer, too. And only a connection that was read to its end can be used again.
    answer.end()?;
    Ok(kept.finish())
}

/// What is kept, while it is being found.
struct Kept<'a> {
    bytes: Vec<u8>,
    /// How much there is of it. Beyond the bound it is only counted.
    length: u64,
    bytes_max: usize,
    cleaner: &'a Cleaner,
}

impl Kept<'_> {
    fn push(&mut self, text: &str) {
        self.length += text.len() as u64;
        if self.length <= self.bytes_max as u64 {
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    /// A text, without the credential.
    fn text(&mut self, text: &str) {
        // To write a text to memory doesn't fail.
        self.push(&serde_json::to_string(&self.cleaner.cleaned(text)).unwrap_or_default());
    }

    /// A number or a word, as it was written. One that has the credential in it becomes a text.
    fn plain(&mut self, plain: &str) {
        if self.cleaner.finds(plain) { self.text(plain) } else { self.push(plain) }
    }

    /// Takes back what was pushed since it had this length.
    fn back_to(&mut self, length: u64) {
        self.length = length;
        self.bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    }

    fn finish(self) -> Pruned {
        if self.length > self.bytes_max as u64 {
            return Pruned::TooLong { bytes: self.length };
        }
        // In texts it isn't any more. What is between them can look like a credential only if that is an odd one.
        match self.cleaner.finds(&String::from_utf8_lossy(&self.bytes)) {
            true => Pruned::Exposed,
            false => Pruned::Fields(self.bytes),
        }
    }
}

/// Whether there is anything to show of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Something,
    Nothing,
}

/// Takes out of a value what some paths lead to.
struct Pick<'a, 'm, 'k> {
    parts: &'a [&'m [Step]],
    depth: usize,
    kept: &'a mut Kept<'k>,
}

impl<'de> DeserializeSeed<'de> for Pick<'_, '_, '_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Found, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_, '_, '_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let Self { parts, depth, kept } = self;
        let mut keys = BTreeSet::new();
        let mut between = "";
        kept.push("{");
        while let Some(key) = object.next_key::<String>()? {
            let wanted = Wanted::member(parts, &key);
            if wanted == Wanted::Parts(Vec::new()) {
                object.next_value::<IgnoredAny>()?;
                continue;
            }
            kept.push(between);
            kept.text(&key);
            kept.push(":");
            // Of two of the same, one reader takes the first and another one the last.
            if !keys.insert(key) {
                return Err(A::Error::custom(TWICE));
            }
            let found = match wanted {
                Wanted::All => copy(object.next_value::<Box<RawValue>>()?.get(), depth + 1, kept)?,
                Wanted::Parts(parts) => {
                    object.next_value_seed(Pick { parts: &parts, depth: depth + 1, kept: &mut *kept })?
                }
            };
            match found {
                Found::Something => {}
                Found::Nothing => kept.push("null"),
            }
            between = ",";
        }
        kept.push("}");
        Ok(Found::Something)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Found, A::Error> {
        let Self { parts, depth, kept } = self;
        let wanted = Wanted::element(parts);
        let mut between = "";
        kept.push("[");
        if wanted == Wanted::Parts(Vec::new()) {
            while array.next_element::<IgnoredAny>()?.is_some() {}
        } else {
            loop {
                let before = kept.length;
                kept.push(between);
                let found = match &wanted {
                    Wanted::All => match array.next_element::<Box<RawValue>>()? {
                        Some(element) => Some(copy(element.get(), depth + 1, kept)?),
                        None => None,
                    },
                    Wanted::Parts(parts) => {
                        array.next_element_seed(Pick { parts, depth: depth + 1, kept: &mut *kept })?
                    }
                };
                match found {
                    Some(Found::Something) => {}
                    Some(Found::Nothing) => kept.push("null"),
                    None => {
                        kept.back_to(before);
                        break;
                    }
                }
                between = ",";
            }
        }
        kept.push("]");
        Ok(Found::Something)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_str<E>(self, _: &str) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Nothing)
    }
}

const TWICE: &str = "a key is twice in one object";

/// Copies all of a value, whose syntax is known to be right, without the space in it.
fn copy<E: serde::de::Error>(value: &str, depth: usize, kept: &mut Kept<'_>) -> Result<Found, E> {
    /// What a value stands in: an object with the keys that it had so far, or an array.
    enum In {
        Object(BTreeSet<String>),
        Array,
    }
    let mut stack: Vec<In> = Vec::new();
    let mut key_next = false;
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => text_length(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            first if first.is_ascii_whitespace() => 1,
            _ => rest.find(|c: char| c.is_ascii_whitespace() || ",]}".contains(c)).unwrap_or(rest.len()),
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        match first {
            '"' => {
                let text: String = serde_json::from_str(token).map_err(E::custom)?;
                kept.text(&text);
                if key_next
                    && let Some(In::Object(keys)) = stack.last_mut()
                    && !keys.insert(text)
                {
                    return Err(E::custom(TWICE));
                }
            }
            '{' | '[' => {
                kept.push(token);
                stack.push(if first == '{' { In::Object(BTreeSet::new()) } else { In::Array });
                key_next = first == '{';
                if depth + stack.len() > DEPTH_MAX {
                    return Err(E::custom(format_args!("it is more than {DEPTH_MAX} levels deep")));
                }
            }
            '}' | ']' => {
                kept.push(token);
                stack.pop();
            }
            ',' => {
                kept.push(token);
                key_next = matches!(stack.last(), Some(In::Object(_)));
            }
            ':' => {
                kept.push(token);
                key_next = false;
            }
            first if first.is_ascii_whitespace() => {}
            _ => kept.plain(token),
        }
    }
    Ok(Found::Something)
}

/// How long the text at the beginning of `rest` is, with its quotes.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |end| end + 2)
}

#[cfg(test)]
mod tests;
