//! What a journal record changes in the view: values put and removed, in one of a few trees.
//!
//! Not here: what the bytes of a key or a value mean. The caller encodes them with a schema and a version of
//! their own.

/// The longest key, in bytes. With its escapes it stays a small part of one of sled's pages.
pub const KEY_BYTES_MAX: usize = 256;

/// The longest value, in bytes. The state of a plugin (64 KiB at most) fits with whatever is kept beside it.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;

/// The most bytes of keys and values in a view, unless [`Options`](crate::Options) says otherwise. sled keeps about
/// two bytes resident for each, so this is 4 MB on a device that has 16 for everything. What does not fit is refused
/// with [`ApplyError::Full`](crate::ApplyError::Full).
pub const BYTES_MAX: u64 = 2 * 1024 * 1024;

/// One of the few trees. The number is what stands on disk: it is never given to another tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tree {
    /// The state of machines and plugins, as of `applied`.
    State = 1,
    /// Runs that have begun, by their id.
    Runs = 2,
    /// Where in the journal that lies which has no receipt yet.
    Outbox = 3,
    /// Whatever helps to find something quickly.
    Index = 4,
}

impl Tree {
    /// All trees, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::State, Self::Runs, Self::Outbox, Self::Index];

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// The place of this tree in a list of as many as there are.
    pub(crate) const fn place(self) -> usize {
        self as usize - 1
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tree| tree.number() == number)
    }
}

/// A key and the value under it.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One change of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The value under the key is this from now on.
    Put {
        /// Where.
        tree: Tree,
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: Vec<u8>,
        /// At most [`VALUE_BYTES_MAX`] bytes.
        value: Vec<u8>,
    },
    /// There is nothing under the key from now on. That there was nothing before is fine.
    Remove {
        /// Where.
        tree: Tree,
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: Vec<u8>,
    },
}

impl Change {
    /// Puts `value` under `key`.
    #[must_use]
    pub fn put(tree: Tree, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put { tree, key: key.into(), value: value.into() }
    }

    /// Removes what is under `key`.
    #[must_use]
    pub fn remove(tree: Tree, key: impl Into<Vec<u8>>) -> Self {
        Self::Remove { tree, key: key.into() }
    }

    /// Where, under what key, and the new value if there is one.
    pub(crate) fn parts(&self) -> (Tree, &[u8], Option<&[u8]>) {
        match self {
            Self::Put { tree, key, value } => (*tree, key, Some(value)),
            Self::Remove { tree, key } => (*tree, key, None),
        }
    }
}
