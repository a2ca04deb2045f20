//! That there has been a journal: an empty file beside it.
//!
//! Journal, anchors and view can all be gone at once, and what is left looks like a first day. Damage can't change what this
//! says: it is there or it isn't. Not here: what a journal itself says of what it lost (`journal`).

use std::path::{Path, PathBuf};

use crate::file::keep_file;

/// Whether there has been a journal before.
#[derive(Debug)]
pub(crate) struct Begun {
    /// `None`: nothing is kept of this memory.
    file: Option<PathBuf>,
    is_kept: bool,
}

impl Begun {
    /// Beside a view.
    pub(crate) fn beside(view: Option<&Path>) -> Self {
        let file = view.map(|view| view.with_file_name("begun"));
        let is_kept = file.as_deref().is_none_or(Path::exists);
        Self { file, is_kept }
    }

    /// Whether there was one before this start.
    pub(crate) fn was(&self) -> bool {
        self.file.is_some() && self.is_kept
    }

    /// There is one now, durably. A disk that doesn't take it is asked again with the next record.
    pub(crate) fn keep(&mut self) {
        if let Some(file) = self.file.as_deref().filter(|_| !self.is_kept) {
            self.is_kept = keep_file(file, b"").is_ok();
        }
    }
}
