//! A worker that misbehaves when it is asked, in the way that its last argument names: what a plugin could do that had got
//! out of its sandbox. Without one it is a worker like that of `backstay`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this program is here to go wrong")]

use std::{fs::File, net::TcpStream, process::Command, thread, time::Duration};

use backstay_plugins::worker;

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    assert_eq!(arguments.next().as_deref(), Some(worker::ARGUMENT));
    let how = arguments.next().unwrap_or_default();
    let well: u32 = arguments.next().map_or(0, |count| count.parse().unwrap());
    let mut asked = 0;
    worker::run(|| {
        asked += 1;
        if asked > well {
            misbehave(&how);
        }
    })
}

fn misbehave(how: &str) {
    match how {
        "" => {}
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        "panic" => panic!("as it was told to"),
        "open" => drop(File::open("/etc/hostname")),
        "connect" => drop(TcpStream::connect("127.0.0.1:1")),
        "run" => drop(Command::new("/bin/true").status()),
        "thread" => drop(thread::spawn(|| {}).join()),
        "say" => println!("something where nobody listens"),
        "kill" => drop(rustix::process::kill_process(
            rustix::process::Pid::from_raw(1).unwrap(),
            rustix::process::Signal::CONT,
        )),
        "gain" => drop(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)),
        "garbage" => {
            rustix::io::write(std::io::stdin(), &[0xff; 100]).unwrap();
        }
        // A lock that nobody opens: what a hang looks like to whoever waits.
        "hang" => thread::park_timeout(Duration::from_secs(3600)),
        other => panic!("{other} is no way to misbehave"),
    }
}
