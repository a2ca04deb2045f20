//! Secrets that are planted where a fleet keeps them, and looked for wherever anybody gets to see something: logs, journals and all else that is
//! kept, evidence, errors, answers of the API, what the command line prints, and what goes to the broker.
//!
//! The story is one of things that go wrong, since that is when something is told: a mistyped token, a damaged key, a server that says the
//! credential back, a release that fails. Each secret is looked for as it is, in hexadecimal, in base64 and encoded for a URL.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use backstay_test_fleet::{Broker, Device, Fleet, Pace, free_port};
use backstay_test_real::{built, program};

const PATIENCE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(180);

/// Something that nobody is to see.
struct Secret {
    what: &'static str,
    bytes: Vec<u8>,
}

impl Secret {
    fn text(what: &'static str, text: &str) -> Self {
        Self { what, bytes: text.as_bytes().into() }
    }

    /// How it could stand somewhere.
    fn forms(&self) -> Vec<Vec<u8>> {
        let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let percent = |byte: &u8, code: String| {
            let is_plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
            if is_plain { char::from(*byte).to_string() } else { code }
        };
        let url: String = self.bytes.iter().map(|byte| percent(byte, format!("%{byte:02X}"))).collect();
        let lower: String = self.bytes.iter().map(|byte| percent(byte, format!("%{byte:02x}"))).collect();
        let numbers: Vec<String> = self.bytes.iter().map(u8::to_string).collect();
        let mut forms = vec![self.bytes.clone()];
        forms.extend([hex.clone(), hex.to_uppercase(), url, lower, numbers.join(", ")].map(Vec::from));
        // In base64 it depends on what stands before it: three ways, each without the characters that its neighbours change.
        for before in 0..3 {
            let padded = [vec![0; before], self.bytes.clone()].concat();
            let text = base64(&padded[..padded.len() / 3 * 3]);
            let own = text[if before == 0 { 0 } else { 4 }..].to_owned();
            forms.push(own.replace('+', "-").replace('/', "_").into());
            forms.push(own.into());
        }
        forms
    }
}

/// Looks for all forms of all secrets in one go: by their first bytes, and then whole.
struct Search<'a>(HashMap<[u8; 8], Vec<(&'a Secret, Vec<u8>)>>);

impl<'a> Search<'a> {
    fn of(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut forms: HashMap<[u8; 8], Vec<_>> = HashMap::new();
        for secret in secrets {
            for form in secret.forms() {
                forms.entry(form[..8].try_into().unwrap()).or_default().push((secret, form));
            }
        }
        Self(forms)
    }

    /// What of it is in there, in the order of its places.
    fn finds(&self, bytes: &[u8]) -> Vec<&'a str> {
        let at = |place: usize| {
            let begins: [u8; 8] = bytes[place..place + 8].try_into().ok()?;
            let (secret, _) =
                self.0.get(&begins)?.iter().find(|(_, form)| bytes[place..].starts_with(form))?;
            Some(secret.what)
        };
        (0..bytes.len().saturating_sub(7)).filter_map(at).collect()
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let triple = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[bits >> shift & 63]))
    };
    bytes.chunks_exact(3).flat_map(triple).collect()
}

fn from_base64(text: &str) -> Vec<u8> {
    let values = text.bytes().filter_map(|letter| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let values: Vec<u8> = values.collect();
    let four = |values: &[u8]| {
        let bits = (0..4).fold(0_u32, |bits, at| bits << 6 | u32::from(values.get(at).copied().unwrap_or(0)));
        bits.to_be_bytes()[1..values.len()].to_vec()
    };
    values.chunks(4).flat_map(four).collect()
}

/// The seed in a file with a key of ours: the last 32 bytes of what PEM holds.
fn seed(what: &'static str, path: &Path) -> Secret {
    let pem = fs::read_to_string(path).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    // PKCS#8 of the first version ends with the seed; of the second the public key follows.
    let der = from_base64(&body);
    let at = der.windows(4).position(|bytes| bytes == [0x04, 0x22, 0x04, 0x20]).unwrap() + 4;
    Secret { what, bytes: der[at..at + 32].into() }
}

/// A search that finds nothing in anything would be green, too.
#[test]
fn a_secret_is_found_however_it_stands_there() {
    let secret = Secret::text("it", "pa55+w0rd/with=signs:in it");
    let search = Search::of([&secret]);
    for stands in [
        "x pa55+w0rd/with=signs:in it y",
        "706135352b773072642f776974683d7369676e733a696e206974",
        "706135352B773072642F776974683D7369676E733A696E206974",
        "?p=pa55%2Bw0rd%2Fwith%3Dsigns%3Ain%20it",
        "?p=pa55%2bw0rd%2fwith%3dsigns%3ain%20it",
        "[112, 97, 53, 53, 43, 119, 48, 114, 100, 47, 119, 105, 116, 104, 61, 115, 105, 103, 110, 115, 58, 105, 110, 32, 105, 116]",
        // Alone, behind "u:" and behind "user:" in base64.
        "cGE1NSt3MHJkL3dpdGg9c2lnbnM6aW4gaXQ=",
        "dTpwYTU1K3cwcmQvd2l0aD1zaWduczppbiBpdA==",
        "dXNlcjpwYTU1K3cwcmQvd2l0aD1zaWduczppbiBpdA==",
    ] {
        assert_eq!(search.finds(stands.as_bytes()).first(), Some(&"it"), "{stands}");
    }
    assert!(search.finds(b"pa55+w0rd/with=signs:in  it and cGE1NSt3MHJkL3dpdGg").is_empty());
    assert_eq!(from_base64("aGVsbG8="), b"hello");
}

/// A server that answers whoever asks with an error, and says everything back that it was sent.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || says_back(stream));
        }
    });
    port
}

fn says_back(stream: TcpStream) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let (mut said, mut reader) = (String::new(), BufReader::new(stream));
    while !said.ends_with("\r\n\r\n") {
        if reader.read_line(&mut said).ok()? == 0 {
            return None;
        }
    }
    let body = format!("{{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":{said:?}}}");
    let head =
        format!("HTTP/1.1 400 {}\r\ncontent-type: application/json\r\n", said.lines().last().unwrap_or("no"));
    let answer = format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    reader.into_inner().write_all(answer.as_bytes()).ok()
}

/// One request over a connection of its own: everything that came back.
fn asks(port: u16, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    drop(stream.write_all(request.as_bytes()));
    drop(stream.read_to_end(&mut answer));
    answer
}

fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n")
}

/// Everything in a folder, but for what is named.
fn files(dir: &Path, but: &[PathBuf], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if but.contains(&path) || kind.is_symlink() {
            continue;
        }
        if kind.is_dir() { files(&path, but, found) } else { found.push(path) }
    }
}

#[test]
fn nothing_that_anybody_gets_to_see_holds_a_secret() {
    let (Some(mosquitto), Some(passwd), Some(listens)) =
        (program("mosquitto"), program("mosquitto_passwd"), program("mosquitto_sub"))
    else {
        return;
    };
    let (built, dir) = (built(), tempfile::tempdir().unwrap());
    let mut fleet = Fleet::start(dir.path(), &built.programs, &built.plugins, Pace::default()).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };

    // What is planted.
    let admin = fs::read_to_string(dir.path().join("server/token")).unwrap();
    let [viewer, metrics, pager] =
        ["v1ewer/T0ken+of=Vera:xyz", "metr1cs/T0ken+of=Main:xyz", "pag3r/Cred+ential=of:Duty"];
    let password = "br0ker/Pass+word=of:all";
    let mut secrets = vec![
        Secret::text("the admin's token", &admin),
        Secret::text("the viewer's token", viewer),
        Secret::text("Prometheus' credential", metrics),
        Secret::text("the pager's credential", pager),
        Secret::text("the broker's password", password),
    ];
    let keys = fleet.layout.keys.clone();
    for (what, name) in
        [("the director's key", "director"), ("the release key", "release"), ("the root key", "root")]
    {
        secrets.push(seed(what, &keys.join(format!("{name}.pem"))));
    }
    let (metrics_file, pager_file) = (file("metrics-token", metrics), file("pager-token", pager));
    let password_file = file("broker-password", password);

    // A broker that asks for the password, on the same port.
    fleet.kill_server();
    fleet.broker.take();
    let users = dir.path().join("users");
    let made = Command::new(passwd).args(["-c", "-b"]).arg(&users).args(["all", password]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let more = format!("password_file {}\nlog_type all\n", users.display());
    let port = fleet.layout.broker;
    fleet.broker =
        Some(Broker::start_with(mosquitto, &dir.path().join("asking"), port, 256 * 1024, &more).unwrap());
    let heard = dir.path().join("heard");
    let mut listening = Command::new(listens)
        .args(["-p", &port.to_string(), "-t", "backstay/#", "-u", "all", "-P", password, "-v"])
        .stdout(Stdio::from(fs::File::create(&heard).unwrap()))
        .spawn()
        .unwrap();

    // A server that has all of it in its configuration, and a target whose Prometheus and pager say everything back.
    let double = echo();
    let config = dir.path().join("server/backstay.toml");
    let reach = format!("url = \"mqtt://127.0.0.1:{port}\"\n");
    let with_password = format!("{reach}user = \"all\"\npassword_file = \"{}\"\n", password_file.display());
    let written = fs::read_to_string(&config).unwrap().replace(&reach, &with_password);
    fs::write(&config, written).unwrap();
    let targets = dir.path().join("targets.d");
    fs::create_dir(&targets).unwrap();
    fs::write(
        targets.join("checkout.toml"),
        "mode = \"observe\"\nwindow = \"5s\"\npolicy = \"tree\"\nprometheus = \"main\"\n\n[[objective]]\nname = \"errors\"\nvalue = { candidate = \"errors\" }\nabove = 0.1\n",
    )
    .unwrap();
    fleet
        .configure(
            &format!("targets = \"{}\"\n", targets.display()),
            &format!(
                "[policies.tree]\nbundle = \"{}/policy-tree.bundle\"\n\n\
                 [prometheus.main]\nurl = \"http://127.0.0.1:{double}\"\n\
                 credential = {{ file = \"{}\", scheme = \"Bearer\" }}\n\n\
                 [page]\nurl = \"http://127.0.0.1:{double}/hook\"\n\
                 credential = {{ file = \"{}\", header = \"x-api-key\" }}\n",
                fleet.layout.plugins.display(),
                metrics_file.display(),
                pager_file.display()
            ),
        )
        .unwrap();
    let tokens = format!("ann admin {admin}\nvera viewer {viewer}\n");
    fs::write(dir.path().join("server/token"), &tokens).unwrap();
    // The command line shows a token of its own file.
    let own = file("own-token", &admin);
    fleet.cli = backstay_test_fleet::Cli::new(&built.programs, &fleet.layout.url(), &own);
    fleet.start_server().unwrap();

    // Two devices; and a release that fails, so that there is something to tell.
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for name in ["pump-1", "pump-2", "pump-3"] {
        let minted = fleet.cli.ask(&["enrol", "token", "--device", name, "--cohort", "field"]).unwrap();
        let token = minted["token"].as_str().unwrap().to_owned();
        secrets.push(Secret::text("a token for enrolment", &token));
        let mut device = Device::make(&fleet.layout, name, "field", &token, free_port().unwrap()).unwrap();
        let agent = device.dir().join("agent.toml");
        let written = fs::read_to_string(&agent).unwrap().replace(&reach, &with_password);
        assert!(written.contains("password_file"), "{written}");
        fs::write(&agent, written).unwrap();
        device.start().unwrap();
        fleet.devices.push(device);
    }
    let enrolled = |fleet: &Fleet| {
        fleet.view().is_ok_and(|view| view["devices"].as_array().is_some_and(|all| all.len() == 3))
    };
    fleet.wait("three devices are enrolled", PATIENCE, || enrolled(&fleet)).unwrap();
    for device in &fleet.devices {
        let key = device.dir().join("state/device.pem");
        if key.is_file() {
            secrets.push(seed("a device's key", &key));
        }
    }
    fleet.cli.exit(&["rollout", "start", "--cohort", "field", "--version", "2.0.0"]).unwrap();
    let came_home = |fleet: &Fleet| {
        fleet.cli.records("pump-1").is_ok_and(|all| format!("{all:?}").contains("came home"))
            || fleet
                .rollout("field")
                .is_ok_and(|said| said.to_string().contains("breaker") && said.to_string().contains("open"))
    };
    fleet.wait("a release was left", LONG, || came_home(&fleet)).unwrap();

    // Everything that can be asked, by whoever may and whoever mistyped their token.
    let api = fleet.layout.api;
    for path in [
        "/v1/fleet",
        "/v1/releases",
        "/v1/plugins",
        "/v1/trust",
        "/v1/cohorts/field",
        "/v1/cohorts/field/order",
        "/v1/quarantine",
        "/v1/breakers",
        "/v1/enrolments",
        "/v1/events",
        "/v1/targets",
        "/v1/targets/checkout",
        "/v1/targets/checkout/plan?action=rollback",
        "/v1/incidents",
        "/metrics",
        "/v1/devices/pump-1/evidence",
    ] {
        let answer = asks(api, &get(path, &admin));
        assert!(answer.starts_with(b"HTTP/1.1 "), "{path}");
        seen.push((format!("the answer to {path}"), answer));
        for (why, token) in [("mistyped", format!("{viewer}x")), ("doubled", format!("{viewer} {viewer}"))] {
            seen.push((format!("the answer to {path}, {why}"), asks(api, &get(path, &token))));
        }
    }
    // In places where nobody expects one.
    let astray = format!("{{\"cohort\": \"{viewer}\", \"version\": 5}}");
    for request in [
        get(&format!("/v1/targets/{viewer}"), viewer),
        get(&format!("/v1/fleet?token={viewer}"), "none"),
        format!(
            "POST /v1/rollouts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {viewer}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{astray}",
            astray.len()
        ),
        format!(
            "GET /v1/fleet HTTP/1.1\r\nhost: x\r\nauthorization: Basic {viewer}\r\nconnection: close\r\n\r\n"
        ),
        format!("{viewer}\r\n\r\n"),
    ] {
        // What is asked for comes back in an error; who asks like this has said it themselves. The log is another matter.
        asks(api, &request);
    }
    let view = fleet.cli.ask(&["target", "ls"]).unwrap().to_string();
    assert!(view.contains("checkout"), "{view}");
    seen.push(("backstay target ls".into(), view.into()));
    for arguments in [
        &["fleet", "ls"][..],
        &["events"],
        &["evidence", "show", "pump-1"],
        &["incident", "ls"],
        &["rollout", "status", "--cohort", "field"],
    ] {
        let (_, out, err) = fleet.cli.exit(arguments).unwrap();
        seen.push((format!("backstay {}", arguments.join(" ")), [out, err].concat().into()));
    }

    // Files in which something is wrong, each told by who reads them.
    let serve = |config: &Path| {
        let mut command = Command::new(built.programs.join("backstay"));
        let done = command.args(["serve", "--check", "--config"]).arg(config).output().unwrap();
        assert!(!done.status.success());
        [done.stdout, done.stderr].concat()
    };
    let good = fs::read_to_string(&config).unwrap();
    let token_file = dir.path().join("server/token").display().to_string();
    let director = keys.join("director.pem").display().to_string();
    let key = fs::read_to_string(keys.join("director.pem")).unwrap();
    for (name, from, text) in [
        ("swapped", &token_file, format!("vera {viewer} viewer\n")),
        ("first", &token_file, format!("{viewer} vera viewer\n")),
        ("joined", &token_file, format!("vera:viewer:{viewer} and more\n")),
        ("not-text", &token_file, format!("vera viewer {viewer}\u{7f}\n")),
        ("cut", &director, key[..key.len() - 40].to_owned()),
        ("longer", &director, key.replace("\n-----END", "AAAA\n-----END")),
        ("a-password", &director, password.to_owned()),
    ] {
        let wrong = file(name, &text);
        let config = file("wrong.toml", &good.replace(from.as_str(), &wrong.display().to_string()));
        seen.push((format!("backstay serve --check, {name}"), serve(&config)));
    }
    // A credential where only the place of one is asked for.
    let (place, url) =
        (format!("file = \"{}\"", metrics_file.display()), format!("http://127.0.0.1:{double}\"\n"));
    for (name, from, to) in [
        ("a value for a file", &place, format!("file = \"{metrics}\"")),
        (
            "in an address",
            &url,
            format!("http://user:{}@127.0.0.1\"\n", "metr1cs/T0ken+of=Main:xyz".replace('/', "-")),
        ),
    ] {
        let config = file("wrong.toml", &good.replacen(from.as_str(), &to, 1));
        let told = serve(&config);
        // Whoever writes a secret into the configuration itself sees their own line; said for what it is, not held against us.
        println!("{name}: {}", String::from_utf8_lossy(&told).lines().next().unwrap_or_default());
    }

    // All that is kept, but for the files that hold them on purpose.
    fleet.devices.iter_mut().for_each(Device::stop);
    fleet.kill_server();
    listening.kill().unwrap();
    listening.wait().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut on_purpose: Vec<PathBuf> = [
        "keys",
        "server/token",
        "own-token",
        "metrics-token",
        "pager-token",
        "broker-password",
        "users",
        "artifacts",
    ]
    .map(at)
    .into();
    on_purpose.extend(
        ["swapped", "first", "joined", "not-text", "cut", "longer", "a-password", "wrong.toml"].map(at),
    );
    // What is released is for everybody to see, and large.
    on_purpose.extend(["server/state/register/tokens", "server/state/artifacts"].map(at));
    for device in &fleet.devices {
        on_purpose.extend(
            ["enrol-token", "state/device.pem", "state/device-spare.pem", "slots"]
                .map(|name| device.dir().join(name)),
        );
    }
    let mut kept = Vec::new();
    files(dir.path(), &on_purpose, &mut kept);
    for path in kept {
        let name = path.strip_prefix(dir.path()).unwrap().display().to_string();
        seen.push((name, fs::read(&path).unwrap()));
    }
    let is_there = |what: &str| seen.iter().any(|(name, bytes)| name.contains(what) && !bytes.is_empty());
    for what in ["server/log", "agent.log", "server/state", "devices/pump-1/state", "heard", "asking/log"] {
        assert!(is_there(what), "{what} is missing, or empty");
    }
    let log = fs::read_to_string(at("server/log")).unwrap();
    let search = Search::of(&secrets);
    let tell = |(place, bytes): &(String, Vec<u8>)| {
        search.finds(bytes).first().map(|what| format!("{what} is in {place}"))
    };
    let shown: Vec<String> = seen.iter().filter_map(tell).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
    let bytes: usize = seen.iter().map(|(_, bytes)| bytes.len()).sum();
    println!(
        "summary: {} secrets, 12 forms of each, are in none of {} places ({} KiB); the server's log has {} lines",
        secrets.len(),
        seen.len(),
        bytes / 1024,
        log.lines().count()
    );
}
