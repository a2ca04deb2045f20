//! A small real HTTP service: `GET /health` and `GET /version`, until its version goes bad.
//!
//! Usage: `demo-service PORT`. Which version it is, the end of its own file says.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use backstay_test_service::{Fault, Nature};

fn main() -> ExitCode {
    let port = env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let nature = env::current_exe().and_then(fs::read).ok().and_then(|program| Nature::of(&program));
    let (Some(port), Some(nature)) = (port, nature) else {
        eprintln!("demo-service: expected a port, and a version at the end of this program");
        return ExitCode::from(2);
    };
    let listener = match TcpListener::bind(("127.0.0.1", port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("demo-service: cannot listen on port {port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("serves {} on port {port}", nature.version);
    let since = Instant::now();
    for stream in listener.incoming().flatten() {
        let nature = nature.clone();
        thread::spawn(move || answer(stream, &nature, since.elapsed()));
    }
    ExitCode::SUCCESS
}

fn answer(mut stream: TcpStream, nature: &Nature, up: Duration) {
    let (status, body) = match nature.fault {
        Fault::Fails(secs) if up.as_secs() >= secs => ("500 Internal Server Error", "out of order"),
        Fault::Hangs(secs) if up.as_secs() >= secs => {
            // Holds the connection open and says nothing: what a dead-locked service looks like.
            thread::park_timeout(Duration::from_secs(30));
            return;
        }
        Fault::None | Fault::Fails(_) | Fault::Hangs(_) => ("200 OK", nature.version.as_str()),
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut lines = BufReader::new(&stream).lines();
    // The head of the request is read and not looked at: every path tells the version.
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let length = body.len();
    let _ =
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}
