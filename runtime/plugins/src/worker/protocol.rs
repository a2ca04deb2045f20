//! What a worker and the process that started it say to each other.
//!
//! One question, one answer, in turns. Each is a length of four bytes, little-endian, and that many bytes of postcard, written
//! and read in one go where it fits. Both ends are the same program, but neither believes the other: a length is held
//! against a bound before there is room for it, and what comes out of turn is an error. Not here: what runs at which end.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of input and output errors are not a closed list"
)]

use std::{
    borrow::Cow,
    error, fmt,
    io::{self, Read, Write},
};

use backstay_host::{CallError, Decided, Event, Problem, Stepped, Strike, Value};
use backstay_model::{Equipped, Facts, Name, PluginId, PluginRole};
use backstay_trust::{Bundle, Keyring};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The most bytes of all setups together: a thousand targets, each with as much as a target may have, and what stands around it.
const SETUPS_BYTES_MAX: usize = 20 << 20;

/// The most bytes of a first message and of the answer to it: a bundle, a keyring, and setups.
pub(super) const LOAD_BYTES_MAX: usize = Bundle::BYTES_MAX + Keyring::BYTES_MAX + SETUPS_BYTES_MAX;

/// The most bytes of any other message. Facts and a memo have some 100 KiB at most, effects of a step 1 MiB by the limit
/// on what a plugin returns.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// Read in one go; most messages have less.
const FIRST_READ: usize = 16 << 10;

const HEADER: usize = 4;

/// What a worker is told first, and only first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Load<'a> {
    /// Who may vouch for plugins. The proof that the bundle is genuine can't be sent, so the worker makes it again.
    pub(super) keyring: Cow<'a, [u8]>,
    /// The plugin.
    pub(super) bundle: Cow<'a, [u8]>,
    /// What it is to be asked.
    pub(super) role: PluginRole,
    /// How it is set up: what it is told with a call, one of these.
    pub(super) setups: Cow<'a, [Vec<(Name, Value)>]>,
}

/// A call.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask<'a> {
    Decide { facts: Cow<'a, Facts>, prior: Cow<'a, [u8]> },
    Step { setup: usize, state: Cow<'a, [u8]>, event: Cow<'a, Event> },
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// To the first message: it is confined, and can be asked, configured like each of these.
    Ready(Vec<Equipped>),
    /// To the first message: it can't be asked, and why.
    Unfit(Unfit),
    Decided(Decided),
    Stepped(Stepped),
    Fault(Fault),
}

/// Why a plugin can't be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Unfit {
    /// The settings of a setup are not what it takes.
    Settings { setup: usize, problems: Vec<Problem> },
    /// Anything else, in words.
    Other(String),
}

/// A [`CallError`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Fault {
    Strike(Strike),
    Configuration(Vec<Problem>),
    Diverged(String),
    Unexpected(String),
    TooLarge { what: String, has: u64, most: u64 },
    Host(String),
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Strike(strike) => Self::Strike(strike),
            CallError::Configuration { problems, .. } => Self::Configuration(problems),
            CallError::Diverged { why, .. } => Self::Diverged(why),
            CallError::Unexpected { why, .. } => Self::Unexpected(why),
            CallError::TooLarge { what, has, most } => {
                Self::TooLarge { what: what.into(), has: has as u64, most: most as u64 }
            }
            CallError::Host { source, .. } => Self::Host(source.to_string()),
        }
    }
}

impl Fault {
    pub(super) fn of(self, plugin: &PluginId) -> CallError {
        let plugin = plugin.clone();
        match self {
            // Which plugin it was is known here, whatever the worker says.
            Self::Strike(strike) => CallError::Strike(Strike { plugin, ..strike }),
            Self::Configuration(problems) => CallError::Configuration { plugin, problems },
            Self::Diverged(why) => CallError::Diverged { plugin, why },
            Self::Unexpected(why) => CallError::Unexpected { plugin, why },
            Self::TooLarge { what, has, most } => {
                let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
                CallError::TooLarge { what: what.into(), has: size(has), most: size(most) }
            }
            Self::Host(why) => CallError::Host { plugin, source: why.into() },
        }
    }
}

/// A message that did not come, or isn't one.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other end is gone.
    Ended,
    /// Nothing came in time.
    Silent,
    /// "it can't be read from, or written to"
    Io(io::Error),
    /// "a message of 4294967295 bytes, at most 4194304 are taken"
    TooLong { has: usize, most: usize },
    /// "a message that is none"
    Malformed,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the other end is gone"),
            Self::Silent => f.write_str("nothing came in time"),
            Self::Io(error) => error.fmt(f),
            Self::TooLong { has, most } => write!(f, "a message of {has} bytes, at most {most} are taken"),
            Self::Malformed => f.write_str("a message that is none"),
        }
    }
}

impl error::Error for Broken {}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
                Self::Ended
            }
            _ => Self::Io(error),
        }
    }
}

/// One end of the line, and the room for what goes over it.
#[derive(Debug)]
pub(super) struct Line<S> {
    pub(super) stream: S,
    room: Vec<u8>,
}

impl<S: Read + Write> Line<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, room: vec![0; FIRST_READ] }
    }

    pub(super) fn send<T: Serialize>(&mut self, message: &T, most: usize) -> Result<(), Broken> {
        let frame = frame(message, most)?;
        Ok(self.stream.write_all(&frame)?)
    }

    /// Sends what [`frame`] made.
    pub(super) fn send_frame(&mut self, frame: &[u8]) -> Result<(), Broken> {
        Ok(self.stream.write_all(frame)?)
    }

    /// The next message. `patient` is asked before each read but the first.
    pub(super) fn receive<T: DeserializeOwned>(
        &mut self,
        most: usize,
        patient: impl Fn() -> bool,
    ) -> Result<T, Broken> {
        let (mut has, mut whole) = (0, HEADER);
        loop {
            let room = self.room.get_mut(has..).filter(|room| !room.is_empty()).ok_or(Broken::Malformed)?;
            match self.stream.read(room) {
                Ok(0) => return Err(Broken::Ended),
                Ok(read) => has += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(header) = self.room.first_chunk::<HEADER>().filter(|_| has >= HEADER) {
                let length = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
                if length > most {
                    return Err(Broken::TooLong { has: length, most });
                }
                whole = HEADER + length;
                if self.room.len() < whole {
                    self.room.resize(whole, 0);
                }
            }
            if has >= whole && has >= HEADER {
                break;
            }
            if !patient() {
                return Err(Broken::Silent);
            }
        }
        // Nobody speaks out of turn, so nothing follows.
        let body = self.room.get(HEADER..whole).filter(|_| has == whole).ok_or(Broken::Malformed)?;
        let message = match postcard::take_from_bytes(body) {
            Ok((message, [])) => Ok(message),
            Ok((_, [_, ..])) | Err(_) => Err(Broken::Malformed),
        };
        // The room that a bundle took is not kept for messages of a kilobyte.
        if self.room.len() > FIRST_READ {
            self.room = vec![0; FIRST_READ];
        }
        message
    }
}

/// A message as it goes over the line.
pub(super) fn frame<T: Serialize>(message: &T, most: usize) -> Result<Vec<u8>, Broken> {
    // Writing to memory can't fail.
    let mut frame = postcard::to_extend(message, vec![0; HEADER]).map_err(|_| Broken::Malformed)?;
    let length = frame.len() - HEADER;
    let header = u32::try_from(length).ok().filter(|_| length <= most);
    let header = header.ok_or(Broken::TooLong { has: length, most })?;
    for (to, from) in frame.iter_mut().zip(header.to_le_bytes()) {
        *to = from;
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was sent, and a place for what is said.
    struct Sent<'a>(&'a [u8], usize);

    impl Read for Sent<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let take = self.1.min(room.len()).min(self.0.len());
            let (now, later) = self.0.split_at(take);
            room[..take].copy_from_slice(now);
            self.0 = later;
            Ok(take)
        }
    }

    impl Write for Sent<'_> {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            unreachable!("these tests only listen")
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// As many targets as a server has, each with as much to be told of it as it may have.
    #[test]
    fn the_settings_of_all_targets_have_room() {
        use backstay_config::Plugin;
        use backstay_model::{Digest, Told, Version};
        let name = |at: usize| Name::parse(&format!("setting-{at}")).unwrap();
        let (settings, targets) = (64, 1000);
        let text = "x".repeat(Plugin::SETTINGS_BYTES_MAX / settings - "setting-0".len());
        let setup: Vec<_> = (0..settings).map(|at| (name(at), Value::Text(text.clone()))).collect();
        let load = Load {
            keyring: Cow::Borrowed(&[]),
            bundle: Cow::Borrowed(&[]),
            role: PluginRole::Executor,
            setups: Cow::Owned(vec![setup; targets]),
        };
        assert!(frame(&load, SETUPS_BYTES_MAX).is_ok());
        let equipped = Equipped {
            role: PluginRole::Executor,
            plugin: PluginId::parse("acme/pump").unwrap(),
            version: Version::parse("1.0.0").unwrap(),
            grant: Digest([1; 32]),
            settings: (0..settings).map(|at| (name(at), Told::Text(text.clone()))).collect(),
            withheld: Vec::new(),
        };
        assert!(frame(&Reply::Ready(vec![equipped; targets]), SETUPS_BYTES_MAX).is_ok());
    }

    fn heard(bytes: &[u8], at_once: usize) -> Result<Reply, Broken> {
        Line::new(Sent(bytes, at_once)).receive(BYTES_MAX, || true)
    }

    fn reply() -> Vec<u8> {
        let unfit = Reply::Unfit(Unfit::Other("x".repeat(20_000)));
        frame(&unfit, BYTES_MAX).unwrap()
    }

    #[test]
    fn a_message_comes_whole_in_whatever_pieces() {
        for at_once in [1, 3, 4, 5, 1000, 1 << 20] {
            let Ok(Reply::Unfit(Unfit::Other(why))) = heard(&reply(), at_once) else { panic!("{at_once}") };
            assert_eq!(why.len(), 20_000);
        }
    }

    #[test]
    fn what_is_cut_off_too_long_or_out_of_turn_is_no_message() {
        let whole = reply();
        for cut in [0, 1, 3, 4, 5, whole.len() - 1] {
            assert!(matches!(heard(&whole[..cut], 1 << 20), Err(Broken::Ended)), "cut at {cut}");
        }
        assert!(matches!(heard(&[0xff; 64], 64), Err(Broken::TooLong { .. })));
        let mut more = frame(&Reply::Unfit(Unfit::Other("no".into())), BYTES_MAX).unwrap();
        more.push(0);
        assert!(matches!(heard(&more, 64), Err(Broken::Malformed)));
        for garbage in [&[1, 0, 0, 0, 77][..], &[2, 0, 0, 0, 0, 1], &[0, 0, 0, 0]] {
            assert!(matches!(heard(garbage, 64), Err(Broken::Malformed)), "{garbage:?}");
        }
        let impatient = Line::new(Sent(&whole, 100)).receive::<Reply>(BYTES_MAX, || false);
        assert!(matches!(impatient, Err(Broken::Silent)));
        assert!(matches!(frame(&vec![0_u8; 100], 99), Err(Broken::TooLong { .. })));
    }
}
