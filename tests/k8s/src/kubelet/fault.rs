//! What can be wrong with a container.
//!
//! Said by a pod's annotation, by the name of an image, or by a test. Not here: how it looks from outside (`container`).

use std::{fmt, time::Duration};

use super::quantity;

/// What a pod says of its first container: `crash-loop`, `crash-loop 2`, `out-of-memory 256Mi`, `image-pull`, `not-ready`,
/// `slow-ready 5s`, `evicted`, `none`.
pub(crate) const ANNOTATION: &str = "kubelet.backstay.test/fault";

/// Without a number: a container with less is killed.
const BELOW_BYTES: u64 = 256 << 20;
/// Without a number: so much later it is ready.
const SLOW: Duration = Duration::from_secs(5);

/// Something that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends with 1 soon after each start.
    CrashLoop,
    /// It does so as often as this in all, and then runs.
    Crashes(u32),
    /// It is killed soon after each start while its memory limit is below so many bytes. Without a limit it isn't.
    OutOfMemory {
        /// As much is enough.
        below: u64,
    },
    /// Its image can't be had.
    ImagePull,
    /// It runs, and is never ready.
    NotReady,
    /// It takes so long until it is ready.
    SlowReady(Duration),
    /// The node put its pod out, for want of disk.
    Evicted,
}

impl Fault {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (word, number) = text.split_once(' ').map_or((text, None), |(word, number)| (word, Some(number)));
        Some(match word {
            "crash-loop" => match number.and_then(|number| number.parse().ok()) {
                Some(times) => Self::Crashes(times),
                None => Self::CrashLoop,
            },
            "out-of-memory" => {
                Self::OutOfMemory { below: number.and_then(quantity::bytes).unwrap_or(BELOW_BYTES) }
            }
            "image-pull" => Self::ImagePull,
            "not-ready" => Self::NotReady,
            "slow-ready" => {
                let seconds = number.and_then(|number| number.strip_suffix('s')?.parse().ok());
                Self::SlowReady(seconds.map_or(SLOW, Duration::from_secs))
            }
            "evicted" => Self::Evicted,
            _ => return None,
        })
    }

    /// An image whose name says it: `registry.test/shop:2.0.0-crash-loop`.
    pub(crate) fn in_image(image: &str) -> Option<Self> {
        let words = ["crash-loop", "out-of-memory", "image-pull", "not-ready", "slow-ready"];
        words.into_iter().find(|word| image.contains(word)).and_then(Self::parse)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CrashLoop => f.write_str("crash-loop"),
            Self::Crashes(times) => write!(f, "crash-loop {times}"),
            Self::OutOfMemory { below } => write!(f, "out-of-memory {below}"),
            Self::ImagePull => f.write_str("image-pull"),
            Self::NotReady => f.write_str("not-ready"),
            Self::SlowReady(time) => write!(f, "slow-ready {}s", time.as_secs()),
            Self::Evicted => f.write_str("evicted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let all = [
            Fault::CrashLoop,
            Fault::Crashes(2),
            Fault::OutOfMemory { below: 1 << 28 },
            Fault::ImagePull,
            Fault::NotReady,
            Fault::SlowReady(Duration::from_secs(7)),
            Fault::Evicted,
        ];
        for fault in all {
            assert_eq!(Fault::parse(&fault.to_string()), Some(fault));
        }
        assert_eq!(Fault::parse("none"), None);
    }

    #[test]
    fn an_image_can_say_it() {
        assert_eq!(Fault::in_image("registry.test/shop:2.0.0-crash-loop"), Some(Fault::CrashLoop));
        assert_eq!(
            Fault::in_image("registry.test/out-of-memory:1"),
            Some(Fault::OutOfMemory { below: 1 << 28 })
        );
        assert_eq!(Fault::in_image("registry.test/shop:2.0.0"), None);
    }
}
