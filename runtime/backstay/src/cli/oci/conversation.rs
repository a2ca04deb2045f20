//! What is said to a registry and what is not: the requests against somebody on this machine who gives set answers, and
//! who need not mean well.
//!
//! Not here: that a real registry understands them (`tests/real/tests/registry.rs`).

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::{
    session::Session,
    tests::{bundle, claim},
    *,
};

/// "ann:secret", as a header has it.
const BASIC: &str = "Basic YW5uOnNlY3JldA==";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    what: String,
    authorization: Option<String>,
}

/// Somebody who answers.
struct Somebody {
    at: SocketAddr,
    heard: Arc<Mutex<Vec<Asked>>>,
}

impl Somebody {
    /// Gives `answer` to each request, and the connection up after it.
    fn who(answer: impl Fn(&Asked) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, heard) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Asked>>>::default());
        let hears = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut head, mut line) = (Vec::new(), String::new());
                while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                    head.push(std::mem::take(&mut line).trim_end().to_owned());
                }
                let header = |name: &str| {
                    let lines = head.iter().filter_map(|line| line.split_once(": "));
                    let mut found = lines.filter(|(has, _)| has.eq_ignore_ascii_case(name));
                    found.next().map(|(_, value)| value.to_owned())
                };
                let Some(first) = head.first() else { continue };
                let length = header("content-length").map_or(0, |length| length.parse().unwrap());
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let what = first.trim_end_matches(" HTTP/1.1").to_owned();
                let asked = Asked { what, authorization: header("authorization") };
                hears.lock().unwrap().push(asked.clone());
                // Who asked may have heard enough and be gone.
                let _ = stream.get_mut().write_all(&answer(&asked));
            }
        });
        Self { at, heard }
    }

    fn heard(&self) -> Vec<Asked> {
        self.heard.lock().unwrap().clone()
    }
}

fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut all = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        all.push_str(&format!("{name}: {value}\r\n"));
    }
    [all.as_bytes(), b"\r\n", body].concat()
}

fn registry_at(at: SocketAddr, purpose: Purpose) -> Registry {
    let Place::Registry(repository, _) = format!("{at}/acme/pump:1.2.0").parse().unwrap() else {
        panic!("it is one")
    };
    let sources =
        Sources { user: Some("ann".into()), password: Some(Zeroizing::new("secret".into())), config: None };
    Registry::new(&repository, purpose, &Access::default(), sources).unwrap()
}

fn pull_at(at: SocketAddr) -> Result<Pulled, Failure> {
    pull_from(&registry_at(at, Purpose::Pull), &At::Tag("1.2.0".into()))
}

/// A registry with one bundle in it, which is read with what `allows`; what else is asked gets `otherwise`.
struct Kept {
    bundle: Vec<u8>,
    manifest: Vec<u8>,
}

impl Kept {
    fn new() -> Self {
        let bundle = bundle(b"code");
        let manifest = Artifact::of(&bundle, &claim(&bundle)).unwrap().manifest().bytes.to_vec();
        Self { bundle, manifest }
    }

    fn answer(&self, asked: &Asked) -> Vec<u8> {
        let blob = format!("GET /v2/acme/pump/blobs/{SHA256}{}", file::digest_of(&self.bundle));
        match asked.what.as_str() {
            "GET /v2/acme/pump/manifests/1.2.0" => answer("200 OK", &[], &self.manifest),
            what if what == blob => answer("200 OK", &[], &self.bundle),
            _ => answer("404 Not Found", &[], b"{\"errors\":[{\"code\":\"NAME_UNKNOWN\"}]}"),
        }
    }
}

#[test]
fn a_password_goes_to_who_gives_tokens_and_the_token_to_the_registry() {
    let giver = Somebody::who(|_| answer("200 OK", &[], br#"{"token":"t1","expires_in":60}"#));
    let (kept, realm) = (Kept::new(), format!("http://{}/token", giver.at));
    let registry = Somebody::who(move |asked| match asked.authorization.as_deref() {
        Some("Bearer t1") => kept.answer(asked),
        _ => {
            let asks = format!("Bearer realm=\"{realm}\",service=\"here\",scope=\"registry:catalog:*\"");
            answer("401 Unauthorized", &[("www-authenticate", &asks)], b"")
        }
    });
    assert_eq!(pull_at(registry.at).unwrap().bytes, Kept::new().bundle);
    let what = "GET /token?service=here&scope=repository%3Aacme%2Fpump%3Apull".to_owned();
    assert_eq!(giver.heard(), [Asked { what, authorization: Some(BASIC.into()) }]);
    let shown: Vec<_> = registry.heard().into_iter().map(|asked| asked.authorization).collect();
    let token = || Some("Bearer t1".to_owned());
    assert_eq!(shown, [None, token(), token()], "asked once, and the password never");
}

#[test]
fn a_redirect_is_followed_without_a_word_about_who_asks() {
    let kept = Kept::new();
    let bundle = kept.bundle.clone();
    let elsewhere = Somebody::who(move |_| answer("200 OK", &[], &bundle));
    let there = format!("http://{}/store?signature=x", elsewhere.at);
    let registry = Somebody::who(move |asked| match asked.authorization.as_deref() {
        Some(BASIC) if asked.what.contains("/blobs/") => {
            answer("307 Temporary Redirect", &[("location", &there)], b"")
        }
        Some(BASIC) => kept.answer(asked),
        _ => answer("401 Unauthorized", &[("www-authenticate", "Basic realm=\"x\"")], b""),
    });
    assert_eq!(pull_at(registry.at).unwrap().bytes, Kept::new().bundle);
    assert_eq!(elsewhere.heard(), [Asked { what: "GET /store?signature=x".into(), authorization: None }]);
}

/// The store behind a registry is somebody else. It asks for a password, and names itself as the giver of tokens.
#[test]
fn whoever_a_redirect_leads_to_is_not_told_who_asks_when_it_asks() {
    for asks in ["Basic realm=\"x\"", "Bearer realm=\"http://127.0.0.1:9/token\""] {
        let elsewhere =
            Somebody::who(move |_| answer("401 Unauthorized", &[("www-authenticate", asks)], b""));
        let (kept, there) = (Kept::new(), format!("http://{}/store", elsewhere.at));
        let registry = Somebody::who(move |asked| match asked.what.contains("/blobs/") {
            true => answer("307 Temporary Redirect", &[("location", &there)], b""),
            false => kept.answer(asked),
        });
        assert_eq!(pull_at(registry.at).unwrap_err().exit(), Exit::Refused);
        assert_eq!(elsewhere.heard().iter().map(|asked| &asked.authorization).collect::<Vec<_>>(), [&None]);
        assert!(registry.heard().iter().all(|asked| asked.authorization.is_none()));
    }
}

#[test]
fn bytes_go_where_the_registry_says_and_the_password_only_to_the_registry() {
    let elsewhere = Somebody::who(|_| answer("201 Created", &[], b""));
    let there = format!("http://{}/upload?state=x", elsewhere.at);
    let registry = Somebody::who(move |asked| {
        let (method, _) = asked.what.split_once(' ').unwrap();
        match (asked.authorization.as_deref(), method) {
            (None, _) => answer("401 Unauthorized", &[("www-authenticate", "Basic realm=\"x\"")], b""),
            (_, "POST") => answer("202 Accepted", &[("location", &there)], b""),
            (_, "PUT") => answer("201 Created", &[], b""),
            _ => answer("404 Not Found", &[], b""),
        }
    });
    let bundle = bundle(b"code");
    let artifact = Artifact::of(&bundle, &claim(&bundle)).unwrap();
    let pushed = push_to(&registry_at(registry.at, Purpose::Push), &artifact, "1.2.0").unwrap();
    assert!(pushed.changed);
    let heard = elsewhere.heard();
    assert_eq!(heard.len(), 2, "the empty configuration and the bundle");
    assert!(heard.iter().all(|asked| asked.authorization.is_none()), "{heard:?}");
    assert!(heard[1].what.ends_with(&format!("?state=x&digest={SHA256}{}", file::digest_of(&bundle))));
}

#[test]
fn no_password_goes_to_another_machine_without_encryption() {
    for realm in
        ["http://auth.example.invalid/token", "http://localhost:x@192.0.2.1/token", "ftp://x/", "nowhere"]
    {
        let asks = format!("Bearer realm=\"{realm}\"");
        let registry =
            Somebody::who(move |_| answer("401 Unauthorized", &[("www-authenticate", &asks)], b""));
        let failure = pull_at(registry.at).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused, "{realm}: {failure}");
        assert!(
            !failure.to_string().contains("secret") && !failure.to_string().contains("YW5u"),
            "{failure}"
        );
    }
}

#[test]
fn a_password_that_is_wrong_is_tried_once_and_never_shown() {
    let words = br#"{"errors":[{"code":"UNAUTHORIZED","message":"access \u001b[31mdenied"}]}"#;
    let registry =
        Somebody::who(|_| answer("401 Unauthorized", &[("www-authenticate", "Basic realm=\"x\"")], words));
    let failure = pull_at(registry.at).unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
    let told = failure.to_string();
    assert!(told.contains("401 Unauthorized: UNAUTHORIZED, access ?[31mdenied"), "{told}");
    assert!(!told.contains("secret") && !told.contains("YW5u"), "{told}");
    assert_eq!(registry.heard().len(), 2);
}

#[test]
fn no_length_is_believed() {
    let manifest = |head: &'static str, body: usize| {
        Somebody::who(move |_| {
            [format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{head}\r\n").as_bytes(), &vec![b' '; body]]
                .concat()
        })
    };
    let (most, max) = (MANIFEST_BYTES_MAX as usize, MANIFEST_BYTES_MAX);
    for registry in [manifest("", most + 1000), manifest("content-length: 99999999999\r\n", most + 1000)] {
        let failure = pull_at(registry.at).unwrap_err();
        assert_eq!(failure.exit(), Exit::Untrusted, "{failure}");
        assert!(failure.to_string().contains(&format!("goes on behind its {max} bytes")), "{failure}");
    }
    let short = manifest("content-length: 2000\r\n", 1000);
    assert_eq!(pull_at(short.at).unwrap_err().exit(), Exit::Unreachable, "it broke off");

    for more in [-1_isize, 1] {
        let kept = Kept::new();
        let registry = Somebody::who(move |asked| match asked.what.contains("/blobs/") {
            true => {
                let mut bytes = kept.bundle.clone();
                bytes.resize(bytes.len().strict_add_signed(more), 0);
                answer("200 OK", &[], &bytes)
            }
            false => kept.answer(asked),
        });
        assert_eq!(pull_at(registry.at).unwrap_err().exit(), Exit::Untrusted);
    }
}

#[test]
fn what_a_registry_gives_is_what_was_asked_for() {
    let kept = Kept::new();
    let digest = file::digest_of(&kept.manifest);
    let registry = Somebody::who(move |asked| match asked.what.contains("/manifests/") {
        true => answer("200 OK", &[], &kept.manifest),
        false => kept.answer(asked),
    });
    let from = registry_at(registry.at, Purpose::Pull);
    assert_eq!(pull_from(&from, &At::Digest(digest)).unwrap().digest, digest);
    let other = At::Digest(file::digest_of(b"another"));
    assert_eq!(pull_from(&from, &other).unwrap_err().exit(), Exit::Untrusted);

    let (kept, lies) = (Kept::new(), format!("{SHA256}{}", file::digest_of(b"another")));
    let registry =
        Somebody::who(move |_| answer("200 OK", &[("docker-content-digest", &lies)], &kept.manifest));
    assert_eq!(pull_at(registry.at).unwrap_err().exit(), Exit::Untrusted, "it contradicts itself");
}

#[test]
fn each_way_to_fail_has_its_number() {
    for (status, exit) in [
        ("404 Not Found", Exit::NotFound),
        ("403 Forbidden", Exit::Refused),
        ("500 Internal Server Error", Exit::Trouble),
        ("503 Service Unavailable", Exit::Unreachable),
        ("504 Gateway Timeout", Exit::TimedOut),
        ("429 Too Many Requests", Exit::Unreachable),
    ] {
        let registry = Somebody::who(move |_| answer(status, &[], b"not even JSON"));
        assert_eq!(pull_at(registry.at).unwrap_err().exit(), exit, "{status}");
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(pull_at(free).unwrap_err().exit(), Exit::Unreachable);
}

#[test]
fn a_registry_on_another_machine_is_reached_with_encryption_unless_it_is_said_otherwise() {
    let dir = TempDir::new().unwrap();
    let Place::Registry(repository, _) = "registry.example.invalid/pump:1".parse().unwrap() else {
        panic!("it is one")
    };
    let new = |access: &Access| Session::new(&repository, Purpose::Pull, access, Sources::default());
    let origin = |access: &Access| new(access).unwrap().origin().to_owned();
    assert_eq!(origin(&Access::default()), "https://registry.example.invalid");
    let plain = Access { plain_http: true, registry_ca: None };
    assert_eq!(origin(&plain), "http://registry.example.invalid");
    let empty = dir.path().join("ca.pem");
    fs::write(&empty, "").unwrap();
    let wrong = Access { plain_http: false, registry_ca: Some(empty) };
    assert_eq!(new(&wrong).err().unwrap().exit(), Exit::Usage);
}
