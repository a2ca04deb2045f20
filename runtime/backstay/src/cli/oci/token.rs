//! How a registry asks who somebody is, and the way to a token: the header `WWW-Authenticate` (RFC 9110, 11.6.1), and
//! where it sends the asker.
//!
//! Here: reading it, and the address that follows. Not here: asking, and whether credentials may go there (`session`).

use serde::Deserialize;
use zeroize::Zeroizing;

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With a name and a password.
    Basic,
    /// With a token, which somebody else gives.
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// Reads one header; `None` if it asks for something else.
    pub(super) fn read(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        for (name, value) in parameters(rest) {
            match name.as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                // What is wanted is known here; the registry has no say in how much is asked for.
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service })
    }
}

/// `name="value", name=value` in order. What can't be read ends it.
fn parameters(text: &str) -> Vec<(String, String)> {
    let (mut all, mut rest) = (Vec::new(), text.trim_start());
    while let Some((name, behind)) = rest.split_once('=') {
        let name = name.trim().to_ascii_lowercase();
        let (value, behind) = match behind.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let Some((value, behind)) = unquoted(quoted) else { break };
                (value, behind)
            }
            None => {
                let end = behind.find(',').unwrap_or(behind.len());
                let (value, behind) = behind.split_at(end);
                (value.trim().to_owned(), behind)
            }
        };
        all.push((name, value));
        rest = behind.trim_start().trim_start_matches(',').trim_start();
    }
    all
}

/// The text up to the closing quotation mark, and what is behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return Some((value, text.get(at + 1..)?)),
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            _ => value.push(c),
        }
        escaped = false;
    }
    None
}

/// Where the token for `scope` is asked for.
pub(super) fn address(realm: &str, service: Option<&str>, scope: &str) -> String {
    let mut address = realm.to_owned();
    let mut add = |name: &str, value: &str| {
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(name);
        address.push('=');
        address.push_str(&escaped(value));
    };
    if let Some(service) = service {
        add("service", service);
    }
    add("scope", scope);
    address
}

/// A text as a part of an address (RFC 3986, 2.3).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// What comes from there.
#[derive(Deserialize)]
pub(super) struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Answer {
    /// The token. Either name is allowed, and both are the same.
    pub(super) fn token(self) -> Option<Zeroizing<String>> {
        self.token.or(self.access_token).filter(|token| !token.is_empty()).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_ask_is_understood() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
        };
        let asked = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        assert_eq!(Challenge::read(asked), bearer("https://auth.example/token", Some("registry.example")));
        let asked = r#"bearer  service = x , realm= "https://auth.example/t" "#;
        assert_eq!(Challenge::read(asked), bearer("https://auth.example/t", Some("x")), "blanks are allowed");
        assert_eq!(
            Challenge::read(r#"bearer scope="a,b\"c", realm="https://auth.example/t""#),
            bearer("https://auth.example/t", None)
        );
        assert_eq!(Challenge::read(r#"Basic realm="Registry""#), Some(Challenge::Basic));
        assert_eq!(Challenge::read("basic"), Some(Challenge::Basic));
        for other in ["", "Bearer", r#"Bearer service="x""#, r#"Bearer realm="x"#, r#"Negotiate realm="x""#] {
            assert_eq!(Challenge::read(other), None, "{other}");
        }
    }

    #[test]
    fn an_address_says_what_is_wanted_and_nothing_else() {
        assert_eq!(
            address("https://auth.example/token", Some("a registry&x=1"), "repository:team/pump:pull,push"),
            "https://auth.example/token?service=a%20registry%26x%3D1&scope=repository%3Ateam%2Fpump%3Apull%2Cpush"
        );
        assert_eq!(address("https://x/t?a=b", None, "s"), "https://x/t?a=b&scope=s");
    }

    #[test]
    fn a_token_has_one_of_two_names() {
        let token =
            |text: &str| serde_json::from_str::<Answer>(text).unwrap().token().map(|token| token.to_string());
        assert_eq!(token(r#"{"token":"a"}"#).unwrap(), "a");
        assert_eq!(token(r#"{"access_token":"b","expires_in":300}"#).unwrap(), "b");
        assert_eq!(token(r#"{"token":""}"#), None);
    }
}
