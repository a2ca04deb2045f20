//! What may be asked of an endpoint: by which methods, and for what below its base.
//!
//! Not here: which plugin may ask at all (its signed grant, `trust`), and asking (`guarded`).

use std::{collections::BTreeSet, fmt};

/// The most paths that one endpoint may list.
const PATHS_MAX: usize = 64;

/// What may be asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are called what RFC 9110 and RFC 5789 call them")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// A method by its name, in capitals as it is sent.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => return None,
        })
    }
}

/// What may be asked of an endpoint. By default only what looks (`GET`, `HEAD`), at all below its base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    methods: BTreeSet<Method>,
    /// Levels of granted paths: what begins with one of these lists.
    paths: Vec<Vec<Vec<u8>>>,
}

impl Default for HttpGrant {
    fn default() -> Self {
        Self { methods: BTreeSet::from([Method::Get, Method::Head]), paths: vec![Vec::new()] }
    }
}

/// A grant that grants nothing that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpGrantError {
    /// There is no such method here.
    Method {
        /// What was given.
        method: String,
    },
    /// The path has more than one reading.
    Path {
        /// What was given.
        path: String,
    },
    /// No method, no path, or more than 64 paths.
    Count,
}

impl HttpGrantError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Method { .. } => Some("give some of GET, HEAD, POST, PUT, PATCH and DELETE, in capitals"),
            Self::Path { .. } => {
                Some("give paths below the base that begin with /, without dots alone, //, \\, ? and #")
            }
            Self::Count => Some("leave the key out for its default, or list 1 to 64"),
        }
    }
}

impl fmt::Display for HttpGrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method { method } => write!(f, "{method:?} is no method that can be granted"),
            Self::Path { path } => write!(f, "{path:?} is no path that can be granted"),
            Self::Count => f.write_str("a grant lists no methods, no paths, or too many"),
        }
    }
}

impl std::error::Error for HttpGrantError {}

impl HttpGrant {
    /// Grants `methods` on `paths` and what is below them, level by level: `/stats` grants `/stats`, `/stats/` and
    /// `/stats/a?b`, not `/statsx`. `/` is all below the base.
    ///
    /// # Errors
    /// Names the first that can't be granted.
    pub fn new(methods: &[impl AsRef<str>], paths: &[impl AsRef<str>]) -> Result<Self, HttpGrantError> {
        if methods.is_empty() || paths.is_empty() || paths.len() > PATHS_MAX {
            return Err(HttpGrantError::Count);
        }
        let method = |name: &str| {
            Method::parse(name).ok_or_else(|| HttpGrantError::Method { method: name.to_owned() })
        };
        let path = |path: &str| {
            let refused = || HttpGrantError::Path { path: path.to_owned() };
            if path.contains(['?', '#']) {
                return Err(refused());
            }
            let mut levels = levels(path).ok_or_else(refused)?;
            levels.pop_if(|last| last.is_empty());
            Ok(levels)
        };
        Ok(Self {
            methods: methods.iter().map(|name| method(name.as_ref())).collect::<Result<_, _>>()?,
            paths: paths.iter().map(|text| path(text.as_ref())).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it has this. What has more than one reading is never granted.
    #[must_use]
    pub fn has(&self, method: &str, path: &str) -> bool {
        let Some(levels) = levels(path) else { return false };
        Method::parse(method).is_some_and(|method| self.methods.contains(&method))
            && self.paths.iter().any(|granted| levels.starts_with(granted))
    }
}

/// The levels of a path as a server would come to see them (RFC 3986, 6.2.2.2), if there is but one way to see them.
///
/// Servers differ in what they undo, and in what order. So what only some of them undo is not taken at all: hidden
/// slashes, dots and percent signs, `..;x` (a level with parameters, to some), empty levels, and backslashes.
fn levels(path: &str) -> Option<Vec<Vec<u8>>> {
    let route = path.split(['?', '#']).next()?.strip_prefix('/')?;
    let all: Vec<_> = route.split('/').map(decoded).collect::<Option<_>>()?;
    let (last, before) = all.split_last()?;
    let dots = |level: &Vec<u8>| {
        let name = level.split(|byte| *byte == b';').next().unwrap_or_default();
        name == b"." || name == b".."
    };
    let one_reading = before.iter().all(|level| !level.is_empty() && !dots(level)) && !dots(last);
    one_reading.then_some(all)
}

fn decoded(level: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(level.len());
    let mut bytes = level.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                let byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
                if matches!(byte, b'/' | b'\\' | b'%' | b'?' | b'#' | b';') {
                    return None;
                }
                byte
            }
            byte => byte,
        };
        if byte.is_ascii_control() || byte == b'\\' {
            return None;
        }
        decoded.push(byte);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_granted_with_what_is_below_it_and_nothing_beside_it() {
        let grant = HttpGrant::new(&["GET", "POST"], &["/stats", "/api/v1/"]).unwrap();
        for path in
            ["/stats", "/stats/", "/stats/a", "/stats?x=/../y", "/%73tats", "/api/v1", "/api/v1/x%20y"]
        {
            assert!(grant.has("GET", path) && grant.has("POST", path), "{path}");
            assert!(!grant.has("DELETE", path) && !grant.has("get", path), "{path}");
        }
        for path in [
            "/",
            "",
            "stats",
            "/statsx",
            "/Stats",
            "/api",
            "/api/v1x",
            "/x/stats",
            "//stats",
            "/stats//x",
            "/stats/../x",
            "/stats/%2e%2E/x",
            "/stats/..;a/x",
            "/stats/..%3ba/x",
            "/stats/%252e%252e/x",
            "/stats/..%2fx",
            "/stats/a%5cb",
            "/stats/a\\..\\x",
            "/stats/%0a",
            "/stats/%00",
            "/stats/%",
            "/stats/%4",
            "/stats/%zz",
            "/stats/.",
            "/stats/%2e",
            "/api%2fv1",
            "/stats;a",
        ] {
            assert!(!grant.has("GET", path), "{path}");
        }
    }

    #[test]
    fn by_default_all_may_be_looked_at() {
        let grant = HttpGrant::default();
        assert!(grant.has("GET", "/") && grant.has("HEAD", "/a/b?c") && !grant.has("POST", "/"));
        assert_eq!(grant, HttpGrant::new(&["HEAD", "GET"], &["/"]).unwrap());
    }

    #[test]
    fn a_grant_is_checked_where_it_is_configured() {
        let none: [&str; 0] = [];
        assert_eq!(HttpGrant::new(&none, &["/"]), Err(HttpGrantError::Count));
        assert_eq!(HttpGrant::new(&["GET"], &none), Err(HttpGrantError::Count));
        assert_eq!(HttpGrant::new(&["GET"], &vec!["/"; 65]), Err(HttpGrantError::Count));
        for method in ["get", "TRACE", "CONNECT", "*", ""] {
            let refused = HttpGrant::new(&[method], &["/"]);
            assert_eq!(refused, Err(HttpGrantError::Method { method: method.into() }));
        }
        for path in ["", "x", "/../x", "//", "/a?b", "/a#b", "/%2e", "/a\\b", "/a/*\n"] {
            assert_eq!(HttpGrant::new(&["GET"], &[path]), Err(HttpGrantError::Path { path: path.into() }));
        }
    }
}
