//! What went wrong, told to the person at the keyboard.
//!
//! Here: one error for the whole tool, because nobody but a person ever looks at it. Not here: errors that a
//! program tells apart; the crates under `runtime/` have those.

use std::fmt;

/// What failed, why, and what to do about it.
#[derive(Debug)]
pub(crate) struct Trouble {
    what: String,
    why: Option<String>,
    help: Option<String>,
}

impl Trouble {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Trouble { what: what.into(), why: None, help: None }
    }

    pub(crate) fn why(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for (label, text) in [("why: ", &self.why), ("help:", &self.help)] {
            let Some(text) = text else { continue };
            for (at, line) in text.trim_end().lines().enumerate() {
                match at {
                    0 => write!(f, "\n  {label} {line}")?,
                    _ => write!(f, "\n        {line}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_and_what_to_do_last() {
        let trouble =
            Trouble::new("core -> tokio is not allowed").help("take it out\nor say why").why("pure");
        let told = "core -> tokio is not allowed\n  why:  pure\n  help: take it out\n        or say why";
        assert_eq!(trouble.to_string(), told);
    }
}
