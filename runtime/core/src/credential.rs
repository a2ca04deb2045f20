//! What a credential looks like, where no person has said: by the name of a key or a file, and by what it holds.
//!
//! A frozen copy of a credential that was changed since takes a service down, so a last known good configuration never holds
//! one, and where there is doubt it is one. `backstay lkg` classes keys by this, and a device its files. Not here: a person's
//! rules, and what becomes of either class (whoever keeps configurations).

use alloc::string::String;

/// Why a file of this name may hold a credential, if it may. It is looked at as a text of any format: each thing in it that is set
/// is seen by its name, wherever on a line it stands.
#[must_use]
pub fn in_file(name: &str, content: &[u8]) -> Option<&'static str> {
    let is_named = |name: &str| NAMES.iter().any(|pattern| fits(pattern, name));
    if is_named(name) {
        return Some("it is called like a credential");
    }
    if let Some(like) = looks_like(content) {
        return Some(like);
    }
    let text = String::from_utf8_lossy(content);
    let says = |name: &str, value: &str| is_named(name) && says_something(value);
    let by_sign = |(at, _): (usize, &str)| {
        let (before, after) = text.split_at(at);
        let is_loose = |c: char| matches!(c, ' ' | '\t' | '"' | '\'');
        let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name = before.trim_end_matches(is_loose).rsplit(|c| !in_name(c)).next();
        // The sign itself is one byte.
        let value = after.get(1..).unwrap_or_default().trim_start_matches(is_loose);
        let value = value.split(['\n', '\r', ',', ';', '}', ']', '<', '>', '"', '\'', '&']).next();
        says(name.unwrap_or_default(), value.unwrap_or_default().trim())
    };
    // `set password x` has no sign between the two.
    let by_place = |line: &str| {
        let mut words = line.split_whitespace();
        let [first, second, third] = [(); 3].map(|()| words.next().unwrap_or_default());
        let is_remark = ["#", "//", ";"].iter().any(|sign| first.starts_with(sign));
        let says = |name: &str, value: &str| {
            !value.starts_with(['=', ':']) && says(name, value.trim_matches(['"', '\'']))
        };
        !is_remark && (says(first, second) || says(second, third))
    };
    let sets = text.match_indices(['=', ':']).any(by_sign) || text.lines().any(by_place);
    sets.then_some("it sets what is called like a credential")
}

/// Whether `text` is as `pattern` has it, in which `*` is any text and capital letters are like small ones. The executors that
/// put keys back see it in the same way. In time that grows with their product: a star is only ever taken longer, never anew.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read, mut star) = (0, 0, None);
    while let Some(byte) = text.get(read) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(wanted) if wanted.eq_ignore_ascii_case(byte) => (at, read) = (at + 1, read + 1),
            Some(_) | None => {
                let Some((back, taken)) = star else { return false };
                star = Some((back, taken + 1));
                (at, read) = (back + 1, taken + 1);
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// What keys and files are called that hold credentials.
pub const NAMES: [&str; 31] = [
    "*password*",
    "*passwd*",
    "*passphrase*",
    "*_pwd",
    "*secret*",
    "*token*",
    "*credential*",
    "*apikey*",
    "*api_key*",
    "*api-key*",
    "*api.key*",
    "*accesskey*",
    "*access_key*",
    "*access-key*",
    "*access.key*",
    "*private*key*",
    "*htpasswd*",
    "*kubeconfig*",
    "*dockerconfig*",
    "id_rsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "*.key",
    "*.pem",
    "*.crt",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.keytab",
    "*_dsn",
];

/// What comes before a password in the text of a configuration.
const WORDS: [&str; 9] =
    ["password", "passwd", "passphrase", "secret", "token", "apikey", "api_key", "api-key", "access_key"];

/// How keys begin that services give out.
const BEGINNINGS: [&str; 9] =
    ["AKIA", "ASIA", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-"];

/// What a value looks like, if it looks like a credential: "a private key or a certificate".
#[must_use]
pub fn looks_like(value: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(value);
    if text.contains("-----BEGIN ") {
        return Some("a private key or a certificate");
    }
    let words = || text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '=' | ':'));
    if words().any(|word| BEGINNINGS.iter().any(|begins| word.starts_with(begins) && word.len() >= 16)) {
        return Some("a key as services give them out");
    }
    // A JSON Web Token: three parts of base64, of which two are objects.
    if words().any(|word| word.starts_with("eyJ") && word.split('.').count() == 3 && word.contains(".eyJ")) {
        return Some("a token");
    }
    if text.split_whitespace().any(has_password) {
        return Some("an address with a password in it");
    }
    text.lines().any(sets_password).then_some("a line that sets a password, a token or a key")
}

/// Whether an address says who is there, and their password (RFC 3986, section 3.2.1).
fn has_password(word: &str) -> bool {
    let Some((_, rest)) = word.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
    user.is_some_and(|(_, password)| !password.is_empty() && !is_placeholder(password))
}

/// Whether a line is `...password = something`, in the forms that properties, YAML, TOML and JSON have.
fn sets_password(line: &str) -> bool {
    let Some((name, value)) = line.split_once(['=', ':']) else { return false };
    let name = name.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let value = value.trim().trim_end_matches(',').trim_matches(['"', '\'']);
    // What a word ends in is what is set: "password.min-length" is a rule about passwords.
    WORDS.iter().any(|word| name.ends_with(word)) && says_something(value)
}

/// Whether a value isn't a mere mark of syntax, a switch, or where the real one is.
fn says_something(value: &str) -> bool {
    let plain = matches!(value, "" | "true" | "false" | "null" | "|" | ">" | "{" | "[");
    !plain && !is_placeholder(value) && !value.starts_with('/')
}

/// Whether a value says where the real one is: `${DB_PASSWORD}`, `{{ .Values.x }}`, `$(X)`, `<x>`.
fn is_placeholder(value: &str) -> bool {
    value.starts_with('$') || value.starts_with("{{") || value.starts_with('<')
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// The executors that put keys back read the same file: what is a credential here never is configuration there.
    #[test]
    fn keys_fit_patterns_as_the_executors_have_it() {
        let all = include_str!("../../../plugins/kubernetes/src/heal/lkg/patterns.txt");
        let lines = all.lines().map(str::trim);
        let cases: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert!(cases.len() > 40, "{} cases", cases.len());
        for case in cases {
            let words: Vec<&str> = case.split_whitespace().map(|word| word.trim_matches('"')).collect();
            let [expected, pattern, key] = words[..] else { panic!("{case}") };
            assert!(matches!(expected, "yes" | "no"), "{case}");
            assert_eq!(fits(pattern, key), expected == "yes", "{case}");
        }
    }

    #[test]
    fn a_file_that_may_hold_a_credential_is_told() {
        for (name, content) in [
            ("tls.key", ""),
            ("pump.toml", "[uplink]\nurl = \"mqtts://pump:hunter2@broker\"\n"),
            ("pump.toml", "speed = 3\n[uplink]\nauth_token = \"abc\"\n"),
            ("pump.json", "{\"speed\":3,\"password\":\"hunter2\"}"),
            ("pump.xml", "<pump><uplink host=\"b\" password=\"hunter2\"/></pump>"),
            ("pump.env", "export DB_PASSWORD=hunter2"),
            ("pump.ini", "uplink.dsn=1\r\nwifi_pwd = hunter2"),
            ("pump.conf", "set password hunter2"),
            ("pump.conf", "password hunter2"),
            ("pump.bin", "\u{1}\u{2}-----BEGIN PRIVATE KEY-----"),
        ] {
            assert!(in_file(name, content.as_bytes()).is_some(), "{name}: {content}");
        }
        for (name, content) in [
            ("pump.toml", "speed = 3\n# the password is elsewhere\n[uplink]\nurl = \"mqtts://broker\"\n"),
            ("pump.toml", "password_file = \"/run/secrets/uplink\"\nlogin = \"${USER}\"\n"),
            ("pump.json", "{\"speed\":3,\"token\":null}"),
            ("pump.conf", ""),
        ] {
            assert_eq!(in_file(name, content.as_bytes()), None, "{name}: {content}");
        }
    }
}
