//! Texts that are checked once, where they come in: addresses, queries, header fields, paths, arguments.
//!
//! Not here: names of things that we configure (`model` has those), and whether an address answers.

use std::{borrow::Cow, fmt};

use backstay_signals::{AlertName, MetricName, Query};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

const URL_BYTES_MAX: usize = 2048;
const HEADER_BYTES_MAX: usize = 4096;
const PATH_BYTES_MAX: usize = 1024;
const WORD_BYTES_MAX: usize = 256;
const ARGUMENT_BYTES_MAX: usize = 4096;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $check:path, $schema:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and keeps the proof in the type.
            ///
            /// # Errors
            /// Says what was expected.
            pub fn parse(text: &str) -> Result<Self, String> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(expected) => Err(format!("expected {expected}, found {}", shown(text))),
                }
            }

            /// As it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                Self::parse(&text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

texts! {
    /// `https://host:port/path`: http or https, without user, password, query or fragment. At most 2048 bytes.
    HttpUrl: http_url, { "type": "string", "pattern": "^https?://[^@?#\\s]+$", "maxLength": 2048 };
    /// The name of a header field (RFC 9110, section 5.1), and none of those that the connection itself needs.
    HeaderName: header_name, { "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9a-zA-Z-]+$", "maxLength": 256 };
    /// What a header field holds, in visible characters of ASCII and spaces. At most 4096 bytes.
    HeaderValue: header_value, { "type": "string", "maxLength": 4096 };
    /// A path that may be asked for, with what is below it, level by level: `/stats`. At most 1024 bytes.
    PathPrefix: path_prefix, { "type": "string", "pattern": "^/[^?#%;]*$", "maxLength": 1024 };
    /// A path from the root on. At most 1024 bytes.
    AbsolutePath: absolute_path, { "type": "string", "pattern": "^/", "maxLength": 1024 };
    /// One argument of a command, given to it as it is. At most 4096 bytes.
    Argument: argument, { "type": "string", "maxLength": 4096 };
    /// The name of a variable of the environment. At most 256 bytes.
    Variable: variable, { "type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$", "maxLength": 256 };
    /// A host's name or address. At most 256 bytes.
    Host: host, { "type": "string", "pattern": "^[a-zA-Z0-9\\[][a-zA-Z0-9.:_\\]-]*$", "maxLength": 256 };
    /// Who a machine knows us as. At most 256 bytes.
    User: user, { "type": "string", "pattern": "^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$", "maxLength": 256 };
}

/// Texts of `signals`, as they are written.
macro_rules! written {
    ($($(#[$doc:meta])* $name:ident($of:ty): $parse:expr, $schema:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(try_from = "String")]
        pub(crate) struct $name(pub(crate) $of);

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                let parse: fn(&str) -> Result<$of, String> = $parse;
                parse(&text).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

written! {
    /// A query in PromQL that gives one number.
    QueryText(Query): query, { "type": "string", "minLength": 1, "maxLength": 8192 };
    /// What a pipeline calls a figure.
    MetricText(MetricName): |text| MetricName::parse(text).map_err(|error| error.to_string()),
        { "type": "string", "pattern": "^[a-z0-9_-]{1,64}$" };
    /// What a rule of Prometheus calls its alert.
    AlertText(AlertName): alert, { "type": "string", "minLength": 1, "maxLength": 128 };
}

fn query(text: &str) -> Result<Query, String> {
    Query::parse(text).map_err(|error| match error.help() {
        Some(help) => format!("{error}: {help}"),
        None => error.to_string(),
    })
}

fn alert(text: &str) -> Result<AlertName, String> {
    let expected =
        || format!("expected the name of an alert, 1 to 128 bytes that can be seen, found {}", shown(text));
    AlertName::parse(text).ok_or_else(expected)
}

/// As much of a text as fits a message. What stands where a password would is left out: messages go into logs.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let (front, rest) =
        text.split_once("://").map_or(("", text), |(_, rest)| (&text[..text.len() - rest.len()], rest));
    let text = match rest.rsplit_once('@') {
        Some((_, host)) => format!("{front}...@{host}"),
        None => text.to_owned(),
    };
    let start: String = text.chars().take(CHARS_MAX).collect();
    let dots = if start.len() < text.len() { "..." } else { "" };
    format!("{start:?}{dots}")
}

type Checked = Result<(), &'static str>;

fn holds(right: bool, expected: &'static str) -> Checked {
    if right { Ok(()) } else { Err(expected) }
}

fn http_url(text: &str) -> Checked {
    const EXPECTED: &str =
        "an address like https://host/path, without user, query or fragment, in at most 2048 bytes";
    let uri: http::Uri = text.parse().map_err(|_| EXPECTED)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host().unwrap_or_default();
    let plain = uri.query().is_none() && !text.contains(['@', '#']);
    holds(is_http && !host.is_empty() && plain && text.len() <= URL_BYTES_MAX, EXPECTED)
}

fn word(text: &str, first: fn(u8) -> bool, rest: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(first)
        && bytes.iter().skip(1).copied().all(rest)
        && text.len() <= WORD_BYTES_MAX
}

const fn letter(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_'
}

fn variable(text: &str) -> Checked {
    let right = word(text, letter, |b| b.is_ascii_alphanumeric() || b == b'_');
    holds(right, "the name of a variable: a letter or _, then letters, digits and _")
}

fn header_name(text: &str) -> Checked {
    // What frames a message is the connection's own, and a second one of these could smuggle a request.
    const OURS: &[&str] =
        &["host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"];
    let name = http::HeaderName::from_bytes(text.as_bytes());
    let right = name.is_ok_and(|name| !OURS.contains(&name.as_str())) && text.len() <= WORD_BYTES_MAX;
    holds(right, "the name of a header field, and none that the connection itself needs")
}

fn header_value(text: &str) -> Checked {
    let right = text.len() <= HEADER_BYTES_MAX && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    holds(right, "visible characters of ASCII and spaces, at most 4096")
}

fn path_prefix(text: &str) -> Checked {
    // What has more than one reading is never granted, so it can't be asked for in a configuration either.
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\' | b'%' | b';'));
    let climbs = text.split('/').any(|part| matches!(part, "." | ".."));
    let right =
        text.starts_with('/') && plain && !climbs && !text.contains("//") && text.len() <= PATH_BYTES_MAX;
    holds(right, "a path like \"/stats\" without dots alone, //, \\, %, ;, ? and #")
}

fn absolute_path(text: &str) -> Checked {
    let right = text.starts_with('/') && !text.contains('\0') && text.len() <= PATH_BYTES_MAX;
    holds(right, "a path from the root on, like \"/usr/bin/systemctl\"")
}

impl HttpUrl {
    /// Whether it takes a certificate to believe the other side.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }
}

fn argument(text: &str) -> Checked {
    holds(
        text.len() <= ARGUMENT_BYTES_MAX && !text.contains('\0'),
        "an argument of at most 4096 bytes, none of them 0",
    )
}

fn host(text: &str) -> Checked {
    // The first character is no `-`: ssh would take the host for an option.
    let right = word(
        text,
        |b| b.is_ascii_alphanumeric() || b == b'[',
        |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b']'),
    );
    holds(right, "the name or the address of a host")
}

fn user(text: &str) -> Checked {
    let right = word(
        text,
        |b| b.is_ascii_alphanumeric() || b == b'_',
        |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'),
    );
    holds(right, "the name of a user: letters, digits and _ . -")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_no_secret_and_no_second_meaning() {
        for right in [
            "http://127.0.0.1:9090",
            "https://lb.example/",
            "https://[::1]:8443/api",
            "HTTPS://wiki/checkout",
        ] {
            assert!(HttpUrl::parse(right).is_ok(), "{right}");
        }
        let long = format!("https://host/{}", "a".repeat(2048));
        for wrong in [
            "",
            "host",
            "ftp://host",
            "https://",
            "https://user:secret@host",
            "http://host/?q=1",
            "http://host/#a",
            "/path",
            "http://a b",
            &long,
        ] {
            assert!(HttpUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_that_a_program_would_read_as_an_option_is_a_host_or_a_user() {
        for wrong in ["-oProxyCommand=x", "", "a b", "a;b", "a\n"] {
            assert!(Host::parse(wrong).is_err() && User::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(
            Host::parse("10.0.0.5").is_ok()
                && Host::parse("fe80::1").is_ok()
                && User::parse("deploy").is_ok()
        );
    }

    #[test]
    fn a_header_frames_no_message() {
        for wrong in ["Host", "content-length", "a b", "", "x\n"] {
            assert!(HeaderName::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(HeaderName::parse("X-Scope-OrgID").is_ok());
        assert!(HeaderValue::parse("a\r\nb").is_err());
    }

    #[test]
    fn a_granted_path_does_not_climb() {
        for wrong in ["stats", "/a/../b", "/a?b", "/..", "/a\\b", "/a//b", "/%2e", "/a;b", ""] {
            assert!(PathPrefix::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(PathPrefix::parse("/").is_ok() && PathPrefix::parse("/a..b/").is_ok());
    }

    #[test]
    fn a_password_in_an_address_is_not_repeated() {
        for url in ["https://me:secret@host/", "https://me:secret@more@host/"] {
            let told = HttpUrl::parse(url).unwrap_err();
            assert!(told.ends_with("found \"https://...@host/\"") && !told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn a_long_text_is_not_repeated_whole() {
        let told = HttpUrl::parse(&"é".repeat(500)).unwrap_err();
        assert!(told.len() < 400 && told.ends_with("..."), "{told}");
    }
}
