//! What the programs end with: one number per thing that a script may want to tell apart.
//!
//! The numbers are a promise: they are never reused. 2 is wrong usage, as every parser of arguments does it; `backstay
//! verdict` ends with it whenever it wrote none, so that a pipeline has one number to know and not two. A script that knows only zero and the rest stays on the safe side: whatever isn't "done" or "go
//! on" isn't zero.

use std::process::ExitCode;

use backstay_api::Kind;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; or the rollout may go on; or nothing had to be changed.
    Done = 0,
    /// Something of our own, or of the disk.
    Trouble = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// A rail or the server's door held it back: lock, breaker, freeze, token.
    Refused = 4,
    /// A signature, a digest or a chain does not hold.
    Untrusted = 5,
    /// No answer in time. Whether it was done is not known.
    TimedOut = 6,
    /// The server can't be reached, or can't work now.
    Unreachable = 7,
    /// A check, a test or a replay found something.
    Differs = 8,
    /// The verdict is to wait: the rollout is held.
    Slow = 20,
    /// The verdict is to mend; mending began.
    Heal = 21,
    /// The verdict is to go back: the cohort was turned home.
    RollBack = 22,
    /// The verdict is to freeze.
    Freeze = 23,
    /// There is no verdict. Treat it as a freeze.
    NoVerdict = 24,
    /// The verdict is to pause: the data base is between two schemas.
    Pause = 25,
    /// A plan was asked for, and it holds changes.
    Changes = 30,
    /// Done but for a restart.
    NeedsRestart = 31,
    /// There is nothing in progress.
    NothingToDo = 32,
    /// A configuration, a manifest or a grant file is wrong. The agent ends with the same number.
    Configuration = 64,
}

const _: () = assert!(Exit::Configuration as u8 == backstay_config::EXIT_CODE);

impl Exit {
    /// All of them, for the help text.
    pub const ALL: [Self; 19] = [
        Self::Done,
        Self::Trouble,
        Self::Usage,
        Self::NotFound,
        Self::Refused,
        Self::Untrusted,
        Self::TimedOut,
        Self::Unreachable,
        Self::Differs,
        Self::Slow,
        Self::Heal,
        Self::RollBack,
        Self::Freeze,
        Self::NoVerdict,
        Self::Pause,
        Self::Changes,
        Self::NeedsRestart,
        Self::NothingToDo,
        Self::Configuration,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in a few words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or go on, or nothing had to be changed",
            Self::Trouble => "internal or disk error",
            Self::Usage => "wrong usage; of backstay verdict: none was written",
            Self::NotFound => "not found",
            Self::Refused => "refused: freeze, breaker, lock, token",
            Self::Untrusted => "a signature, a digest or a chain does not hold",
            Self::TimedOut => "timed out: whether it was done is not known",
            Self::Unreachable => "the server can't be reached",
            Self::Differs => "a check, a test or a replay found something",
            Self::Slow => "verdict: wait (the rollout is held)",
            Self::Heal => "verdict: heal",
            Self::RollBack => "verdict: roll back (the cohort was turned home)",
            Self::Freeze => "verdict: freeze",
            Self::NoVerdict => "no verdict: treat as freeze",
            Self::Pause => "verdict: pause",
            Self::Changes => "a plan holds changes",
            Self::NeedsRestart => "needs a restart to finish",
            Self::NothingToDo => "nothing in progress",
            Self::Configuration => "a configuration or manifest is wrong",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Usage => Self::Usage,
            Kind::Denied | Kind::Forbidden | Kind::Refused => Self::Refused,
            Kind::NotFound => Self::NotFound,
            Kind::Untrusted => Self::Untrusted,
            Kind::Unavailable => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_stay_as_they_are() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 21, 22, 23, 24, 25, 30, 31, 32, 64]);
    }

    #[test]
    fn what_the_server_says_has_a_number() {
        let kinds =
            [Kind::Usage, Kind::Denied, Kind::NotFound, Kind::Refused, Kind::Untrusted, Kind::Unavailable];
        assert_eq!(kinds.map(|kind| Exit::from(kind).code()), [2, 4, 3, 4, 5, 7]);
    }
}
