//! Who may call, by the token that they show, and what each of them may do.
//!
//! ```text
//!   viewer    looks
//!   ci        looks, says what is out and what was measured, asks for verdicts
//!   operator  all that changes something, apart from whom the fleet trusts
//!   admin     everything
//! ```
//!
//! Not here: which path takes which role (`routes`, `target_routes`), and that it is asked for it (`route`).

use std::{fmt, str::FromStr, sync::Arc};

use axum::http::{HeaderMap, header};
use backstay_model::Name;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::{ApiError, Kind};

/// The most callers with a token of their own.
const CALLERS_MAX: usize = 256;
/// The shortest token.
const TOKEN_CHARS_MIN: usize = 16;

/// What a caller may do. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Be a pipeline.
    Ci,
    /// Change what runs.
    Operator,
    /// Change whom the fleet trusts.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Ci, Self::Operator, Self::Admin];

    /// As it is written in a file of tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Ci => "ci",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| "no role: viewer, ci, operator or admin".into())
    }
}

/// One who may call.
#[derive(Clone)]
struct Caller {
    name: Name,
    role: Role,
    /// The digest of their token: the token itself is kept nowhere, and all are of one length.
    token: [u8; 32],
}

/// Those who may call.
#[derive(Clone)]
pub struct Tokens(Arc<Vec<Caller>>);

impl fmt::Debug for Tokens {
    /// Without the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|caller| (&caller.name, caller.role))).finish()
    }
}

impl Tokens {
    /// One token for everything, whose holder is called `operator`.
    ///
    /// # Errors
    /// If it is shorter than 16 characters, or holds anything that isn't printable.
    pub fn single(token: &str) -> Result<Self, String> {
        let name = Name::parse("operator").map_err(|error| error.to_string())?;
        let token = checked(token)?;
        Ok(Self(Arc::new(vec![Caller { name, role: Role::Admin, token }])))
    }

    /// A file of tokens: a line for each caller, `NAME ROLE TOKEN`; empty lines and those that begin with `#` are passed over.
    /// A file with nothing but one token is one for everything.
    ///
    /// # Errors
    /// The first line that is none, by number.
    pub fn read(text: &str) -> Result<Self, String> {
        let lines = text
            .lines()
            .map(str::trim)
            .enumerate()
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<(usize, &str)> = lines.collect();
        if let [(_, line)] = lines.as_slice()
            && line.split_whitespace().count() == 1
        {
            return Self::single(line);
        }
        if lines.is_empty() || lines.len() > CALLERS_MAX {
            return Err(format!(
                "expected 1 to {CALLERS_MAX} lines of NAME ROLE TOKEN, found {}",
                lines.len()
            ));
        }
        let mut callers: Vec<Caller> = Vec::new();
        for (at, line) in lines {
            let wrong = |why: String| format!("line {}: {why}", at + 1);
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, role, token] = words.as_slice() else {
                return Err(wrong("expected NAME ROLE TOKEN".into()));
            };
            // What stands there is not told: in the wrong order it is the token.
            let none = |what: &str| wrong(format!("expected NAME ROLE TOKEN, and {what}"));
            let name = Name::parse(name).map_err(|_| none("the first is no name"))?;
            let role = role.parse().map_err(|why: String| none(&format!("the second is {why}")))?;
            let token = checked(token).map_err(wrong)?;
            if callers.iter().any(|caller| caller.name == name || caller.token == token) {
                return Err(wrong(format!("{name}, or its token, is there already")));
            }
            callers.push(Caller { name, role, token });
        }
        Ok(Self(Arc::new(callers)))
    }

    /// Who shows this. Every token is compared, so how long it takes tells nothing.
    fn who(&self, shown: &str) -> Option<&Caller> {
        let shown = digest(shown);
        let is = |caller: &Caller| bool::from(caller.token.ct_eq(&shown));
        self.0.iter().fold(None, |found, caller| if is(caller) { Some(caller) } else { found })
    }

    /// Who calls with these headers, if they may do what takes `least`.
    ///
    /// # Errors
    /// If they show no token, more than one, one that is nobody's, or one of a role that may less.
    pub(crate) fn admit(&self, headers: &HeaderMap, least: Role) -> Result<Name, ApiError> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let shown = values.next().and_then(|value| value.to_str().ok());
        let Some(shown) = shown.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Err(ApiError::new(Kind::Denied, "this call needs a token")
                .help("send it as \"Authorization: Bearer ...\", or give --token-file to the command line"));
        };
        if values.next().is_some() {
            // Whoever stands before us may have looked at the other one.
            return Err(ApiError::new(Kind::Denied, "this call shows more than one token").help("send one"));
        }
        let Some(caller) = self.who(shown) else {
            return Err(ApiError::new(Kind::Denied, "this token is not the server's")
                .help("see the server's api.token_file"));
        };
        if caller.role < least {
            let what =
                format!("{} is a {}, and this takes {} {least}", caller.name, caller.role, article(least));
            return Err(
                ApiError::new(Kind::Forbidden, what).help("use the token of somebody who may, or ask them")
            );
        }
        Ok(caller.name.clone())
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn checked(token: &str) -> Result<[u8; 32], String> {
    let is_plain = token.chars().all(|char| char.is_ascii_graphic());
    if is_plain && token.len() >= TOKEN_CHARS_MIN {
        return Ok(digest(token));
    }
    Err(format!("expected a token of at least {TOKEN_CHARS_MIN} printable characters"))
}

const fn article(role: Role) -> &'static str {
    match role {
        Role::Viewer | Role::Ci => "a",
        Role::Operator | Role::Admin => "an",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tokens_says_who_may_what() {
        let text = "# who may call\nann operator 0123456789abcdef\n\njenkins ci fedcba9876543210\n";
        let tokens = Tokens::read(text).unwrap();
        let who = |shown| tokens.who(shown).map(|caller| (caller.name.as_str(), caller.role));
        assert_eq!(who("0123456789abcdef"), Some(("ann", Role::Operator)));
        assert_eq!(who("fedcba9876543210"), Some(("jenkins", Role::Ci)));
        assert_eq!(who("fedcba987654321"), None);
        assert!(!format!("{tokens:?}").contains("0123"));
        let single = Tokens::read("0123456789abcdef\n").unwrap();
        assert_eq!(single.who("0123456789abcdef").map(|caller| caller.role), Some(Role::Admin));
    }

    #[test]
    fn a_line_that_is_none_is_told_by_its_number() {
        for (text, told) in [
            ("", "expected 1 to 256 lines of NAME ROLE TOKEN, found 0"),
            ("short", "expected a token of at least 16 printable characters"),
            ("ann operator", "line 1: expected NAME ROLE TOKEN"),
            (
                "\nann boss 0123456789abcdef",
                "line 2: expected NAME ROLE TOKEN, and the second is no role: viewer, ci, operator or admin",
            ),
            ("ann ci 0123", "line 1: expected a token of at least 16 printable characters"),
            ("a ci 0123456789abcdef\nb ci 0123456789abcdef", "line 2: b, or its token, is there already"),
        ] {
            assert_eq!(Tokens::read(text).unwrap_err(), told, "{text:?}");
        }
    }

    /// Three words in the wrong order: whichever is the token, it isn't shown to whoever reads the error.
    #[test]
    fn a_token_in_the_wrong_place_is_not_told() {
        let token = "0123456789ABCDEF";
        for words in [
            ["ann", token, "operator"],
            [token, "ann", "operator"],
            [token, "operator", "ann"],
            ["operator", token, "ann"],
            ["ann:operator:0123456789ABCDEF", "and", "more"],
        ] {
            let told = Tokens::read(&words.join(" ")).unwrap_err();
            assert!(!told.to_uppercase().contains(token), "{told}");
        }
    }
}
