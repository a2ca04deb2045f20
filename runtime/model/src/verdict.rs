//! What a pipeline is told about a build of a service before it deploys it.
//!
//! Here: the words of a verdict, and their bounds. Not here: how it comes about (`core`, and the server), who signs it
//! (`trust`), the document that a pipeline reads (`api`), and whether a pipeline goes on because of it (`core`'s gate).

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{BuildId, Digest, Reason, TargetId, Version};

/// One answer to one question of one build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The service that was judged.
    pub service: TargetId,
    /// The build that asked.
    pub build: BuildId,
    /// What the build asked with. It makes each answer good for one question only.
    pub nonce: Nonce,
    /// What to do.
    pub action: VerdictAction,
    /// With `slow`: after so many seconds ask again, 1 to [`Verdict::WAIT_SECS_MAX`]. Else 0.
    pub wait_secs: u32,
    /// The release that was judged, if one was named or found.
    pub digest: Option<Digest>,
    /// Its name, if it was asked for by name.
    pub version: Option<Version>,
    /// Why: 1 to [`Verdict::REASONS_MAX`], the weightiest first.
    pub reasons: Vec<Reason>,
    /// Where more can be read: a URL or a path of the server's API, in at most [`Verdict::EVIDENCE_BYTES_MAX`] printable
    /// ASCII characters.
    pub evidence: Option<String>,
}

impl Verdict {
    /// The version of what a verdict says. One of another version is nothing to go by.
    pub const SCHEMA: u32 = 1;
    /// The longest that one may ask a build to wait, in seconds.
    pub const WAIT_SECS_MAX: u32 = 3600;
    /// The most reasons.
    pub const REASONS_MAX: usize = 8;
    /// The longest link to evidence, in bytes.
    pub const EVIDENCE_BYTES_MAX: usize = 512;

    /// What doesn't go together in it, if anything.
    #[must_use]
    pub fn unfit(&self) -> Option<&'static str> {
        let waits = (1..=Self::WAIT_SECS_MAX).contains(&self.wait_secs);
        let is_link = |link: &String| {
            (1..=Self::EVIDENCE_BYTES_MAX).contains(&link.len()) && link.bytes().all(|b| b.is_ascii_graphic())
        };
        if self.action == VerdictAction::Slow && !waits {
            Some("it says slow, and not for how many seconds, or for too many")
        } else if self.action != VerdictAction::Slow && self.wait_secs != 0 {
            Some("it says how long to wait, and not slow")
        } else if !(1..=Self::REASONS_MAX).contains(&self.reasons.len()) {
            Some("it has no reason, or too many")
        } else if self.reasons.iter().any(|reason| reason.0.len() > Reason::BYTES_MAX) {
            Some("one of its reasons is too long")
        } else if !self.evidence.as_ref().is_none_or(is_link) {
            Some("its evidence is neither a URL nor a path")
        } else {
            None
        }
    }
}

/// The closed list of what a build can be told. As text it is the word that pipelines compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictAction {
    /// Deploy. The only one that says so.
    Proceed,
    /// Wait, then ask again.
    Slow,
    /// What runs is being mended.
    Heal,
    /// The release before is to be brought back, or already is.
    Rollback,
    /// Nothing moves.
    Freeze,
    /// The data base is between two schemas: neither forward nor back.
    Pause,
}

impl VerdictAction {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Proceed, Self::Slow, Self::Heal, Self::Rollback, Self::Freeze, Self::Pause];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Slow => "slow",
            Self::Heal => "heal",
            Self::Rollback => "rollback",
            Self::Freeze => "freeze",
            Self::Pause => "pause",
        }
    }
}

impl fmt::Display for VerdictAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// 16 random bytes that a build asks with. As text, 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

/// A text that is no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceError;

impl fmt::Display for NonceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a nonce is 32 lower-case hexadecimal digits")
    }
}

impl core::error::Error for NonceError {}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Nonce {
    type Err = NonceError;

    fn from_str(text: &str) -> Result<Self, NonceError> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NonceError),
        };
        if text.len() != 32 {
            return Err(NonceError);
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let &[high, low] = pair else { return Err(NonceError) };
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?.parse().map_err(de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(from).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec};

    use super::*;

    fn slow() -> Verdict {
        Verdict {
            service: TargetId::parse("checkout").unwrap(),
            build: BuildId::parse("1812").unwrap(),
            nonce: Nonce([7; 16]),
            action: VerdictAction::Slow,
            wait_secs: 180,
            digest: None,
            version: None,
            reasons: vec![Reason::new("too early to say".into())],
            evidence: Some("/v1/targets/checkout".into()),
        }
    }

    #[test]
    fn a_nonce_is_read_as_it_is_written_and_in_no_other_way() {
        let nonce = Nonce([0xa7; 16]);
        let text = nonce.to_string();
        assert_eq!(text.parse(), Ok(nonce));
        for wrong in ["", &text[1..], &text.to_uppercase(), &text.replace('a', "g"), &(text.clone() + "00")] {
            assert_eq!(wrong.parse::<Nonce>(), Err(NonceError), "{wrong:?}");
        }
    }

    #[test]
    fn a_verdict_that_contradicts_itself_is_unfit() {
        assert_eq!(slow().unfit(), None);
        let unfit = |change: fn(&mut Verdict)| {
            let mut verdict = slow();
            change(&mut verdict);
            verdict.unfit().is_some()
        };
        assert!(unfit(|verdict| verdict.wait_secs = 0));
        assert!(unfit(|verdict| verdict.wait_secs = 3601));
        assert!(unfit(|verdict| verdict.action = VerdictAction::Proceed));
        assert!(unfit(|verdict| verdict.reasons.clear()));
        assert!(unfit(|verdict| verdict.reasons = vec![Reason::new("x".into()); 9]));
        assert!(unfit(|verdict| verdict.reasons = vec![Reason("x".repeat(257))]));
        assert!(unfit(|verdict| verdict.evidence = Some(String::new())));
        assert!(unfit(|verdict| verdict.evidence = Some("a\u{1b}[2J".into())));
        assert!(unfit(|verdict| verdict.evidence = Some("x".repeat(513))));
    }

    #[test]
    fn an_action_is_one_word() {
        let words = VerdictAction::ALL.map(VerdictAction::as_str);
        assert_eq!(words, ["proceed", "slow", "heal", "rollback", "freeze", "pause"]);
    }
}
