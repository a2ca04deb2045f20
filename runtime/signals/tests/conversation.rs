//! A conversation with a server that answers as a test wants it to: what goes over the wire, and what comes of answers that
//! no honest Prometheus gives.
//!
//! Not here: an honest one (`tests/real/tests/prometheus.rs`), and bodies without a wire (`instant`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use backstay_model::{Millis, Mono, Name, Scope, UnixMs};
use backstay_signals::{
    NoData, ObjectiveSpec, Part, Prometheus, PrometheusSettings, Query, Ratio, Side, Source,
};

const AT: UnixMs = UnixMs(1_767_607_200_000);
const STALE: Millis = Millis::from_secs(60);
/// More than a loaded machine takes for a few bytes over the loopback.
const PATIENT: Millis = Millis::from_secs(30);
const SEVEN: &str = r#"{"status":"success","data":{"resultType":"scalar","result":[1767607200,"7"]}}"#;

/// What is sent back.
enum Reply {
    /// A body, on a connection that stays open.
    Body(&'static str, String),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, for as long as the other side waits.
    Silence,
}

fn ok(body: &str) -> Reply {
    Reply::Body("200 OK", body.into())
}

struct Server {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, heard: Arc::default(), connections: Arc::default() };
        let (heard, connections) = (Arc::clone(&server.heard), Arc::clone(&server.connections));
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                thread::spawn(move || serve(stream, &*answer, &heard));
            }
        });
        server
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn prometheus(&self) -> Prometheus {
        Prometheus::new(self.settings(PATIENT)).unwrap()
    }

    fn settings(&self, timeout: Millis) -> PrometheusSettings {
        let url = self.url.clone();
        PrometheusSettings { url, timeout, roots: None, headers: Vec::new(), credential: None }
    }
}

/// Answers one request after another on a connection.
fn serve(stream: TcpStream, answer: &(impl Fn(&str) -> Reply + ?Sized), heard: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut request, mut length) = (String::new(), 0);
        loop {
            let at = request.len();
            if reader.read_line(&mut request).unwrap_or(0) == 0 {
                return;
            }
            let line = request[at..].trim().to_lowercase();
            if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        request.push_str(&String::from_utf8(body).unwrap());
        let reply = answer(&request);
        heard.lock().unwrap().push(request);
        // Who asked may have gone away in the middle; that is its right.
        match reply {
            Reply::Body(status, body) => {
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice());
            }
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes);
                return;
            }
            Reply::Silence => {
                let _ = reader.read(&mut [0]);
                return;
            }
        }
    }
}

fn up() -> Query {
    Query::parse("up").unwrap()
}

async fn comes_of(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Result<f64, NoData> {
    let server = Server::start(answer);
    server.prometheus().ask(&up(), AT, STALE).await.map(|number| number.get())
}

#[tokio::test]
async fn a_question_is_a_form_and_a_connection_serves_for_many() {
    let server = Server::start(|_| ok(SEVEN));
    let prometheus = server.prometheus();
    for _ in 0..5 {
        assert_eq!(prometheus.ask(&up(), AT, STALE).await.map(|number| number.get()), Ok(7.0));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let heard = &server.heard()[0];
    assert!(heard.starts_with("POST /api/v1/query HTTP/1.1\r\n"), "{heard}");
    assert!(heard.to_lowercase().contains("content-type: application/x-www-form-urlencoded\r\n"), "{heard}");
    assert!(heard.contains("query=up&time=1767607200.000&timeout="), "{heard}");
}

/// A token is renewed while the server runs; each question is asked with the one of now.
#[tokio::test]
async fn the_credential_is_the_one_of_now_and_its_lack_asks_nothing() {
    let server = Server::start(|_| ok(SEVEN));
    let turn = AtomicUsize::new(0);
    let credential = move || match turn.fetch_add(1, Ordering::SeqCst) {
        2 => Err(std::io::Error::other("the file is gone")),
        turn => Ok(("authorization".to_owned(), format!("Bearer t{turn}"))),
    };
    let headers = vec![("x-scope-orgid".to_owned(), "shop".to_owned())];
    let settings =
        PrometheusSettings { credential: Some(Box::new(credential)), headers, ..server.settings(PATIENT) };
    let prometheus = Prometheus::new(settings).unwrap();
    assert!(prometheus.ask(&up(), AT, STALE).await.is_ok());
    assert!(prometheus.ask(&up(), AT, STALE).await.is_ok());
    let lack = prometheus.ask(&up(), AT, STALE).await.unwrap_err();
    assert_eq!(lack.to_string(), "there is no credential to ask with: the file is gone");
    let heard = server.heard();
    assert_eq!(heard.len(), 2);
    for (turn, request) in heard.iter().enumerate() {
        assert!(request.contains(&format!("authorization: Bearer t{turn}\r\n")), "{request}");
        assert!(request.contains("x-scope-orgid: shop\r\n"), "{request}");
    }
}

#[tokio::test]
async fn answers_that_are_no_answers_are_no_data() {
    let said = r#"{"status":"error","errorType":"timeout","error":"query timed out in query execution"}"#;
    let refused = comes_of(move |_| Reply::Body("503 Service Unavailable", said.into())).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the server answered with status 503: timeout: query timed out in query execution"
    );
    // A good number with a bad status is no number.
    let refused = comes_of(|_| Reply::Body("500 Internal Server Error", SEVEN.into())).await.unwrap_err();
    assert!(matches!(refused, NoData::Refused { status: 500, .. }), "{refused:?}");
    let html = comes_of(|_| ok("<html>please log in</html>")).await.unwrap_err();
    assert!(matches!(html, NoData::Malformed { .. }), "{html:?}");
    let nothing = comes_of(|_| ok("")).await.unwrap_err();
    assert!(matches!(nothing, NoData::Malformed { .. }), "{nothing:?}");
    for bytes in
        [&b""[..], b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"status\":"]
    {
        let broken = comes_of(move |_| Reply::Raw(bytes.into())).await.unwrap_err();
        assert!(matches!(broken, NoData::Unreachable { .. }), "{broken:?}");
    }
}

/// A proxy before Prometheus sends whoever isn't logged in to another place. The credential doesn't go there.
#[tokio::test]
async fn nobody_is_followed_to_another_place() {
    let elsewhere = Server::start(|_| ok(SEVEN));
    let to = elsewhere.url.clone();
    let moved = comes_of(move |_| {
        Reply::Raw(
            format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}/\r\nContent-Length: 0\r\n\r\n").into(),
        )
    });
    let moved = moved.await.unwrap_err();
    assert!(matches!(moved, NoData::Refused { status: 307, .. }), "{moved:?}");
    assert!(elsewhere.heard().is_empty());
}

#[tokio::test]
async fn what_is_too_long_is_given_up_with_or_without_a_length_said() {
    let long = || {
        let labels = "x".repeat(2 << 20);
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"a":"{labels}"}},"value":[1767607200,"7"]}}]}}}}"#
        )
    };
    let bytes_max = 1 << 20;
    assert_eq!(comes_of(move |_| ok(&long())).await, Err(NoData::TooLarge { bytes_max }));
    let unsaid = comes_of(move |_| Reply::Raw(format!("HTTP/1.1 200 OK\r\n\r\n{}", long()).into()));
    assert_eq!(unsaid.await, Err(NoData::TooLarge { bytes_max }));
    let head =
        comes_of(|_| Reply::Raw(format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "x".repeat(1 << 20)).into()));
    assert!(head.await.is_err());
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_the_time_that_it_has() {
    let server = Server::start(|_| Reply::Silence);
    let timeout = Millis(300);
    let prometheus = Prometheus::new(server.settings(timeout)).unwrap();
    assert_eq!(prometheus.ask(&up(), AT, STALE).await, Err(NoData::TimedOut { timeout }));
}

/// Of two objectives with the same two questions: after one whose time ran out nothing is asked, and nothing twice.
#[tokio::test]
async fn a_server_that_says_nothing_costs_an_objective_that_time_once() {
    let server = Server::start(|_| Reply::Silence);
    let timeout = Millis(300);
    let prometheus = Prometheus::new(server.settings(timeout)).unwrap();
    let spec = ObjectiveSpec {
        name: Name::parse("errors").unwrap(),
        critical: true,
        scope: Scope::Local,
        source: Source::Ratio { candidate: Ratio { bad: up(), total: up() }, baseline: None },
    };
    let specs = [spec.clone(), ObjectiveSpec { name: Name::parse("slow").unwrap(), ..spec }];
    let answers = prometheus.answers(&specs, AT, STALE).await.remove(0);
    let missing: Vec<_> = answers.missing().map(|(_, _, why)| why.clone()).collect();
    assert_eq!(missing, [NoData::TimedOut { timeout }, NoData::TimedOut { timeout }]);
    assert_eq!(server.heard().len(), 1);
}

/// Far more questions than turns, at a server that never answers: all end, and in between no more than four are with it.
#[tokio::test]
async fn no_more_than_four_are_asked_at_a_time_and_those_who_wait_give_up_too() {
    let server = Server::start(|_| Reply::Silence);
    let timeout = Millis(500);
    let prometheus = Prometheus::new(server.settings(timeout)).unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let prometheus = prometheus.clone();
        asking.spawn(async move { prometheus.ask(&up(), AT, STALE).await });
    }
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap(), Err(NoData::TimedOut { timeout }));
    }
    // Whoever was first in line when the first four gave up may still have been let in, with little time left.
    assert!((4..=8).contains(&server.connections.load(Ordering::SeqCst)), "{:?}", server.connections);
}

#[tokio::test]
async fn nobody_at_home_is_no_data() {
    let url = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let settings =
        PrometheusSettings { url, timeout: PATIENT, roots: None, headers: Vec::new(), credential: None };
    let gone = Prometheus::new(settings).unwrap().ask(&up(), AT, STALE).await.unwrap_err();
    assert!(matches!(gone, NoData::Unreachable { .. }), "{gone:?}");
}

/// The server was started anew between two questions: the connection that was kept is of no use, and the next one is made.
#[tokio::test]
async fn a_kept_connection_that_was_closed_is_made_anew() {
    let server = Server::start(|_| {
        Reply::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{SEVEN}", SEVEN.len()).into())
    });
    let prometheus = server.prometheus();
    for _ in 0..3 {
        assert_eq!(prometheus.ask(&up(), AT, STALE).await.map(|number| number.get()), Ok(7.0));
        // Until its end of the connection has reached us, nobody could know.
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

/// One of four questions is refused: its side has no data, and the other is told as it is.
#[tokio::test]
async fn an_objective_is_asked_for_in_one_turn_and_each_answer_finds_its_place() {
    let server = Server::start(|request| {
        let answer = |number: u32| ok(&SEVEN.replace("\"7\"", &format!("\"{number}\"")));
        match request {
            new if new.contains("query=new_bad") => answer(3),
            new if new.contains("query=new_all") => answer(100),
            old if old.contains("query=old_all") => answer(900),
            _ => Reply::Body("422 Unprocessable Entity", String::new()),
        }
    });
    let query = |text| Query::parse(text).unwrap();
    let spec = ObjectiveSpec {
        name: Name::parse("errors").unwrap(),
        critical: true,
        scope: Scope::Local,
        source: Source::Ratio {
            candidate: Ratio { bad: query("new_bad"), total: query("new_all") },
            baseline: Some(Ratio { bad: query("old_bad"), total: query("old_all") }),
        },
    };
    let answers = server.prometheus().answers(std::slice::from_ref(&spec), AT, STALE).await.remove(0);
    assert_eq!(answers.missing().count(), 1);
    assert!(matches!(answers.get(Side::Baseline, Part::Bad), Err(NoData::Refused { status: 422, .. })));
    let windows = spec.windows(&answers, Mono(0), STALE);
    assert_eq!((windows.candidate.samples, windows.candidate.bad), (100, 3));
    assert_eq!(windows.baseline.unwrap().samples, 0);
}
