//! All that is wrong with a document at once, and what can be read of it nevertheless.
//!
//! A parser ends at the first value that it can't take. Here that value is set aside and the rest is read again, until all of
//! it is either read or told. So rules across keys can be held against what is right, and a person mends a file once.
//! Not here: which rules there are. Rules leave alone what was set aside ([`Whole::is_sound`]): what follows from a mistake
//! isn't another one.

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

use crate::{Document, Problem};

/// The most problems that are told of one document. Beyond it nobody reads on.
const PROBLEMS_MAX: usize = 100;

/// Which of a document's top-level keys are read. Two readers can share a file in this way, each with its own keys.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// All of them.
    All,
    /// These; whatever else there is belongs to others.
    Only(&'a [&'a str]),
    /// All but these, which belong to others.
    Without(&'a [&'a str]),
}

/// What could be read of a document, and what couldn't.
#[derive(Clone, Debug)]
pub struct Whole<T> {
    /// What it says where it is right. None: not even its outline can be read.
    pub value: Option<T>,
    /// Everything that couldn't be read, by line.
    pub problems: Vec<Problem>,
    /// The keys that were set aside, so that `value` holds nothing of them.
    pub aside: Vec<String>,
}

impl<T> Whole<T> {
    /// Whether `key`, all that is below it and all that it is in were read: a rule can be held against it.
    #[must_use]
    pub fn is_sound(&self, key: &str) -> bool {
        self.value.is_some() && !self.aside.iter().any(|aside| is_in(aside, key) || is_in(key, aside))
    }
}

/// Whether `inner` is `outer`, or below it.
fn is_in(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl Document {
    /// What its `keys` say as a `T`, as far as they do, and everything that is wrong with the others. At most 100 problems.
    #[must_use]
    pub fn whole<T: DeserializeOwned>(&self, keys: Keys<'_>) -> Whole<T> {
        let mut whole = Whole { value: None, problems: Vec::new(), aside: Vec::new() };
        let mut table = match DeTable::parse(&self.text) {
            Ok(table) => table,
            Err(error) => {
                whole.problems.push(self.located(&error));
                return whole;
            }
        };
        let all = std::mem::take(table.get_mut());
        *table.get_mut() = all.into_iter().filter(|(name, _)| keys.mean(name.get_ref())).collect();
        while whole.problems.len() < PROBLEMS_MAX {
            let error = match T::deserialize(Deserializer::from(table.clone())) {
                Ok(value) => {
                    whole.value = Some(value);
                    break;
                }
                Err(error) => error,
            };
            let mut problem = self.located(&error);
            let key = problem.key.clone();
            // A key that was set aside is missing by our own doing.
            let is_ours = missing(&problem.why).is_some_and(|field| {
                let field = if key.is_empty() { field.to_owned() } else { format!("{key}.{field}") };
                whole.aside.contains(&field)
            });
            if !is_ours {
                keys.add_others(&mut problem);
                whole.problems.push(problem);
            }
            match set_aside(&mut table, &key) {
                Some(aside) => whole.aside.push(aside),
                None => break,
            }
        }
        whole.problems.sort_by_key(|problem| problem.line);
        whole
    }
}

impl Keys<'_> {
    fn mean(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.contains(&name),
            Self::Without(keys) => !keys.contains(&name),
        }
    }

    /// Whoever wrote an unknown key at the top may have meant one that another reader knows.
    fn add_others(self, problem: &mut Problem) {
        let Self::Without(others) = self else { return };
        if problem.why.starts_with("unknown field") && !problem.key.contains('.') {
            for other in others {
                problem.why.push_str(&format!(", `{other}`"));
            }
        }
    }
}

/// Which field is missing, if that is what the parser says.
fn missing(why: &str) -> Option<&str> {
    why.strip_prefix("missing field `")?.strip_suffix('`')
}

/// Takes `key` out of `table`, or the nearest that holds it: an item goes with its whole array, because those behind
/// it would get other numbers. Says what was taken; none: there is nothing left to take.
fn set_aside(table: &mut Spanned<DeTable<'_>>, key: &str) -> Option<String> {
    let mut key = key;
    while !key.is_empty() {
        if !key.ends_with(']') && take(table.get_mut(), key) {
            return Some(key.to_owned());
        }
        key = key.rfind(['.', '[']).map_or("", |at| &key[..at]);
    }
    None
}

fn take(table: &mut DeTable<'_>, key: &str) -> bool {
    let end = key.find(['.', '[']).unwrap_or(key.len());
    let (name, rest) = key.split_at(end);
    if rest.is_empty() {
        return table.remove(name).is_some();
    }
    let found = table.iter_mut().find(|(other, _)| other.get_ref() == name);
    found.is_some_and(|(_, value)| take_below(value.get_mut(), rest))
}

/// The same with what follows a name: `.name` or `[number]`, and more.
fn take_below(value: &mut DeValue<'_>, rest: &str) -> bool {
    match value {
        DeValue::Table(table) => rest.strip_prefix('.').is_some_and(|key| take(table, key)),
        DeValue::Array(items) => {
            let Some((number, rest)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
                return false;
            };
            let item = number.parse().ok().and_then(|at: usize| items.get_mut(at));
            item.is_some_and(|item| take_below(item.get_mut(), rest))
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::*;
    use crate::Span;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        name: String,
        #[serde(default)]
        trial: Option<Trial>,
        #[serde(default)]
        probe: Vec<Trial>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Trial {
        length: Span,
        #[serde(default)]
        tries: u8,
    }

    fn read(text: &str, keys: Keys<'_>) -> Whole<Config> {
        Document::new(Path::new("a.toml"), text).whole(keys)
    }

    fn told(whole: &Whole<Config>) -> Vec<String> {
        whole.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_at_once_and_the_rest_is_read() {
        let whole = read(
            "name = \"a\"\ncolour = 1\n[trial]\nlength = \"soon\"\ntries = 2\n[[probe]]\nlength = \"1s\"\n[[probe]]\nlength = \"2s\"\ntries = 300\n",
            Keys::All,
        );
        let told = told(&whole);
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(told[0].starts_with("a.toml:2: colour: unknown field"), "{told:#?}");
        assert!(told[1].starts_with("a.toml:4: trial.length: expected a span"), "{told:#?}");
        assert!(told[2].starts_with("a.toml:10: probe[1].tries: "), "{told:#?}");
        let value = whole.value.as_ref().unwrap();
        assert_eq!((value.name.as_str(), value.probe.len(), value.probe[1].tries), ("a", 2, 0));
        assert_eq!(value.probe[0].length, Span::from_secs(1));
        assert!(value.trial.is_none(), "a trial without its length is none");
        assert!(whole.is_sound("probe[0]") && whole.is_sound("name"));
        for unsound in ["probe[1]", "probe", "probe[1].tries", "trial", "trial.tries"] {
            assert!(!whole.is_sound(unsound), "{unsound}");
        }
    }

    #[test]
    fn what_follows_from_a_mistake_is_not_another_one() {
        let whole = read("name = 5\n", Keys::All);
        let told = told(&whole);
        assert!(told.len() == 1 && told[0].starts_with("a.toml:1: name: invalid type"), "{told:#?}");
        assert!(whole.value.is_none());
    }

    #[test]
    fn two_readers_share_a_file() {
        let text = "name = \"a\"\n[others]\nkey = 1\n";
        assert!(read(text, Keys::Without(&["others"])).problems.is_empty());
        assert!(read(text, Keys::Only(&["name"])).problems.is_empty());
        let typo = read("name = \"a\"\n[otehrs]\nkey = 1\n", Keys::Without(&["others"]));
        let told = told(&typo);
        assert!(
            told[0].ends_with("or `probe`, `others`") || told[0].ends_with("`probe`, `others`"),
            "{told:#?}"
        );
    }

    #[test]
    fn no_text_makes_it_panic_or_go_on_for_ever() {
        for text in [
            "",
            "[",
            "a.b.c = 1",
            "\"a.b\" = 1\nname = 2",
            "probe = [1, [2], {}]",
            "name.x = 1",
            "trial = []",
        ] {
            let whole = read(text, Keys::All);
            assert!(!whole.problems.is_empty(), "{text:?}");
        }
        let many: String = (0..1000).map(|n| format!("k{n} = {n}\n")).collect();
        assert_eq!(read(&many, Keys::All).problems.len(), PROBLEMS_MAX);
    }
}
