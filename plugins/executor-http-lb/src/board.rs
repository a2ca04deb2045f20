//! What HAProxy's statistics page says of one backend.
//!
//! The page in CSV has a line for each server; which column is what is fixed (management guide, section 9.1): 0 proxy, 1
//! server, 4 sessions, 17 status, 18 weight, 36 result of the last check. An answer that is longer than what is given
//! back keeps its end, so that a large page loses its first lines. Then a server that isn't there isn't known, and what
//! is not known does not carry: the error is towards doing nothing.

use alloc::{format, string::String, vec::Vec};

use backstay_sdk::executor::{Failed, Output, permanent};

const PROXY: usize = 0;
const SERVER: usize = 1;
const SESSIONS: usize = 4;
const STATUS: usize = 17;
const WEIGHT: usize = 18;
const CHECK: usize = 36;
/// The first line, as far as it is read: a page that has it otherwise isn't one that is understood.
const COLUMNS: [(usize, &str); 6] = [
    (PROXY, "# pxname"),
    (SERVER, "svname"),
    (SESSIONS, "scur"),
    (STATUS, "status"),
    (WEIGHT, "weight"),
    (CHECK, "check_status"),
];
/// What stands in the place of a server's name for the backend as a whole.
const WHOLE: [&str; 2] = ["BACKEND", "FRONTEND"];
/// Results of a check that passed (management guide, 9.1, field 36). `L7OKC` is none: that server asks to be taken out.
const PASSED: [&str; 4] = ["L4OK", "L6OK", "L7OK", "PROCOK"];

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// It takes traffic.
    Up,
    /// It was taken out of the traffic softly, and its check doesn't say that it is down. A server that is drained and
    /// down is [`Does::Down`]: the page says no more.
    Drain,
    /// Its check fails.
    Down,
    /// Somebody took it out hard; it isn't checked.
    Maintenance,
    /// It is on its way out by its own wish.
    Stopping,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    name: String,
    pub(crate) does: Does,
    pub(crate) sessions: u32,
    weight: u32,
    check: String,
}

impl Server {
    /// Whether HAProxy's check passes. One that isn't checked has never passed.
    pub(crate) fn is_checked(&self) -> bool {
        PASSED.contains(&self.check.as_str())
    }

    /// Whether HAProxy checks it at all.
    pub(crate) fn has_check(&self) -> bool {
        !self.check.is_empty()
    }

    /// Whether traffic goes to it, and to good use.
    pub(crate) fn carries(&self) -> bool {
        self.does == Does::Up && self.weight > 0 && self.is_checked()
    }

    /// For people.
    pub(crate) fn told(&self) -> String {
        let does = match self.does {
            Does::Up => "up",
            Does::Drain => "drained",
            Does::Down => "down",
            Does::Maintenance => "in maintenance",
            Does::Stopping => "stopping",
        };
        let check = if self.has_check() { &self.check } else { "no check" };
        format!("{does} ({check}, {} sessions)", self.sessions)
    }
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Board {
    backend: String,
    servers: Vec<Server>,
    whole: bool,
}

impl Board {
    /// Reads the page.
    pub(crate) fn parse(backend: &str, page: Output) -> Result<Self, Failed> {
        let garbage = |why: &str| permanent(format!("the load balancer's page can't be read: {why}"));
        let whole = page.whole.is_none();
        // A long page is cut somewhere, maybe within a character; that line is left out anyway.
        let text = String::from_utf8_lossy(&page.bytes);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        if whole {
            let columns: Vec<&str> = first.split(',').collect();
            if COLUMNS.iter().any(|(at, name)| columns.get(*at) != Some(name)) {
                return Err(garbage("it doesn't begin with the names of HAProxy's columns"));
            }
        }
        let mut servers: Vec<Server> = Vec::new();
        for line in lines {
            let fields: Vec<&str> = line.split(',').collect();
            let field = |at: usize| fields.get(at).copied().unwrap_or_default();
            if field(PROXY) != backend || WHOLE.contains(&field(SERVER)) {
                continue;
            }
            let name = field(SERVER);
            if servers.iter().any(|server| server.name == name) {
                return Err(garbage("it has a server twice"));
            }
            let does = does(field(STATUS)).ok_or_else(|| garbage("it has a status that isn't known"))?;
            let number =
                |at: usize| field(at).parse::<u32>().map_err(|_| garbage("it has a number that is none"));
            let (sessions, weight) = (number(SESSIONS)?, number(WEIGHT)?);
            // A star stands before the result of the check before, while the next one runs.
            let check = field(CHECK).trim_start_matches("* ");
            if check.len() > 16 || !check.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(garbage("it has a result of a check that is none"));
            }
            servers.push(Server { name: name.into(), does, sessions, weight, check: check.into() });
        }
        Ok(Self { backend: backend.into(), servers, whole })
    }

    /// The server of this name.
    pub(crate) fn server(&self, name: &str) -> Result<&Server, Failed> {
        self.servers.iter().find(|server| server.name == name).ok_or_else(|| {
            let backend = &self.backend;
            permanent(match self.whole {
                true => format!("HAProxy has no server {backend}/{name}"),
                false => format!(
                    "{backend}/{name} isn't in the end of HAProxy's page, which is all that is read of it"
                ),
            })
        })
    }

    /// How many servers other than this carry traffic.
    pub(crate) fn others(&self, name: &str) -> u32 {
        let others = self.servers.iter().filter(|server| server.name != name && server.carries()).count();
        u32::try_from(others).unwrap_or(u32::MAX)
    }

    /// How many servers do this, if the page shows all there are.
    pub(crate) fn count(&self, does: Does) -> Result<usize, Failed> {
        let backend = &self.backend;
        if !self.whole {
            return Err(permanent(format!(
                "HAProxy's page is longer than an answer can hold: the servers of {backend} can't be counted"
            )));
        }
        if self.servers.is_empty() {
            return Err(permanent(format!("HAProxy has no server in {backend}")));
        }
        Ok(self.servers.iter().filter(|server| server.does == does).count())
    }
}

/// The beginning of a status says what it is; the rest counts checks ("UP 1/3", "DOWN 1/2") or names who said so.
fn does(status: &str) -> Option<Does> {
    match status {
        // Not checked, so that it takes traffic whatever its state.
        "no check" => Some(Does::Up),
        _ => match status.split(' ').next()? {
            "UP" => Some(Does::Up),
            "DRAIN" => Some(Does::Drain),
            "DOWN" => Some(Does::Down),
            "MAINT" => Some(Does::Maintenance),
            "NOLB" => Some(Does::Stopping),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as HAProxy 2.6 writes it, up to the column that is read last.
    fn line(name: &str, status: &str, weight: u32, check: &str) -> String {
        format!(
            "web,{name},0,0,3,1,,10,0,0,,0,,0,0,0,0,{status},{weight},1,0,0,0,5,0,,1,4,1,,10,,2,0,,1,{check},200,1\n"
        )
    }

    fn header() -> String {
        let mut columns = ["x"; 40];
        COLUMNS.iter().for_each(|(at, name)| columns[*at] = name);
        columns.join(",") + "\n"
    }

    fn parse(text: &str) -> Result<Board, Failed> {
        Board::parse("web", Output { bytes: text.as_bytes().to_vec(), whole: None })
    }

    #[test]
    fn only_what_is_up_checked_and_has_a_weight_carries() {
        let servers = [
            ("good", "UP", 10, "L7OK"),
            ("going", "UP 1/3", 10, "* L4OK"),
            ("light", "UP", 0, "L7OK"),
            ("blind", "no check", 10, ""),
            ("asked-out", "UP", 10, "L7OKC"),
            ("drained", "DRAIN", 10, "L7OK"),
            ("dead", "DOWN 1/2", 10, "L4CON"),
            ("gone", "MAINT (via x/y)", 10, ""),
        ];
        let lines: Vec<_> =
            servers.map(|(name, status, weight, check)| line(name, status, weight, check)).into();
        let other = lines[0].replace("web,good", "web-2,else");
        let board = parse(&(header() + &lines.concat() + &other + &line("BACKEND", "UP", 20, ""))).unwrap();
        let carry: Vec<_> = servers.map(|(name, ..)| board.server(name).unwrap().carries()).into();
        assert_eq!(carry, [true, true, false, false, false, false, false, false]);
        assert_eq!((board.others("good"), board.others("dead")), (1, 2));
        assert_eq!(board.server("drained").unwrap().told(), "drained (L7OK, 3 sessions)");
        assert_eq!(board.server("else").unwrap_err().why, "HAProxy has no server web/else");
    }

    #[test]
    fn of_a_cut_page_only_what_is_there_counts() {
        let text = line("lost", "UP", 1, "L7OK") + &line("here", "UP", 1, "L7OK");
        let output = Output { bytes: text.into_bytes(), whole: Some("a".repeat(64)) };
        let board = Board::parse("web", output).unwrap();
        assert_eq!(board.others("here"), 0);
        assert!(board.server("lost").unwrap_err().why.contains("the end of HAProxy's page"));
    }

    #[test]
    fn a_page_that_is_no_page_is_garbage() {
        let good = line("a", "UP", 1, "L7OK");
        for text in [
            String::new(),
            "<html>".into(),
            good.clone(),
            header() + &good + &good,
            header() + "web,a\n",
            header() + &good.replace(",UP,", ",FINE,"),
            header() + &good.replace(",3,1,", ",-3,1,"),
            header() + &good.replace("L7OK", "<b>L7OK</b>"),
        ] {
            assert!(parse(&text).is_err(), "{text}");
        }
        let binary = Output { bytes: vec![0xff; 4096], whole: Some("a".repeat(64)) };
        assert_eq!(Board::parse("web", binary).unwrap().others("a"), 0);
    }
}
