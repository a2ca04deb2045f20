//! A section of docs/firmware.md whose commands are run as they stand.
//!
//! Here: the section's blocks, in their order, and whose they are. Not here: running them (`stock`).

use backstay_test_fleet::Trouble;

/// The page, as it is in the tree.
const PAGE: &str = include_str!("../../../docs/firmware.md");

/// Who runs a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The workstation, and what it makes is kept for the next run.
    Once,
    /// The workstation.
    Workstation,
    /// Whoever sits at the board's serial line.
    Board,
}

impl By {
    /// Who it is by the words behind the fence.
    fn read(words: &str) -> Option<Self> {
        match words {
            "sh once" => Some(Self::Once),
            "sh" => Some(Self::Workstation),
            "sh board" => Some(Self::Board),
            _ => None,
        }
    }
}

/// The blocks of a section that nobody has run yet.
#[derive(Debug)]
pub(crate) struct Blocks {
    left: std::vec::IntoIter<(By, String)>,
}

impl Blocks {
    /// Those of a section of the page.
    ///
    /// # Errors
    /// If there is no such section.
    pub(crate) fn of(section: &str) -> Result<Self, Trouble> {
        Self::read(PAGE, section)
            .ok_or_else(|| Trouble(format!("docs/firmware.md has no section `{section}`")))
    }

    fn read(page: &str, section: &str) -> Option<Self> {
        let head = format!("## {section}");
        let lines = page.lines().skip_while(|line| *line != head);
        let mut blocks = Vec::new();
        let (mut open, mut is_there, mut is_over) = (None, false, false);
        for line in lines {
            if !is_there {
                is_there = true;
            } else if let Some(words) = line.strip_prefix("```") {
                open = match open {
                    None => Some((By::read(words), String::new())),
                    Some((by, text)) => {
                        blocks.extend(by.map(|by| (by, text)));
                        None
                    }
                };
            } else if let Some((_, text)) = &mut open {
                text.push_str(line);
                text.push('\n');
            } else if line.starts_with("## ") {
                is_over = true;
            }
            if is_over {
                break;
            }
        }
        is_there.then(|| Self { left: blocks.into_iter() })
    }

    /// The next ones, as many as are one after the other for the same.
    ///
    /// # Errors
    /// If the next is somebody else's, or there is none: the page and the lab tell different stories.
    pub(crate) fn next(&mut self, by: By) -> Result<Vec<String>, Trouble> {
        let is_next = |left: &[(By, String)]| left.first().is_some_and(|(of, _)| *of == by);
        let mut next = Vec::new();
        while is_next(self.left.as_slice()) {
            next.extend(self.left.next().map(|(_, text)| text));
        }
        if next.is_empty() {
            let is = self.left.next().map_or("nobody's".into(), |(of, text)| format!("{of:?}'s:\n{text}"));
            return Err(Trouble(format!("the next block of the page has to be for {by:?}, and is {is}")));
        }
        Ok(next)
    }

    /// That all were run.
    ///
    /// # Errors
    /// If one was not.
    pub(crate) fn end(mut self) -> Result<(), Trouble> {
        self.left.next().map_or(Ok(()), |(by, text)| {
            Err(Trouble(format!("the page has a block for {by:?} that nobody has run:\n{text}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sections_blocks_come_in_order_and_no_others() {
        let page = "## One\n```sh\nno\n```\n## Two\n```sh once\n## a\nb\n```\ntext\n```console\n$ no\n```\n\
                    ```sh board\nc\n```\n```sh board\nd\n```\n## Three\n```sh\nno\n```\n";
        let mut blocks = Blocks::read(page, "Two").unwrap();
        assert_eq!(blocks.next(By::Once).unwrap(), ["## a\nb\n"]);
        assert_eq!(blocks.next(By::Board).unwrap(), ["c\n", "d\n"]);
        assert!(blocks.next(By::Board).unwrap_err().to_string().contains("is nobody's"));
        blocks.end().unwrap();
        let mut blocks = Blocks::read(page, "Two").unwrap();
        assert!(blocks.next(By::Workstation).unwrap_err().to_string().contains("is Once's"));
        assert!(Blocks::read(page, "Four").is_none());
        let left = Blocks::read(page, "One").unwrap();
        assert!(left.end().unwrap_err().to_string().contains("nobody has run"));
    }

    #[test]
    fn the_page_has_the_section_that_the_lab_runs() {
        let blocks = Blocks::of(crate::stock::SECTION).unwrap();
        let of = |by| blocks.left.as_slice().iter().filter(|(of, _)| *of == by).count();
        assert!(of(By::Once) == 1 && of(By::Workstation) > 1 && of(By::Board) > 1);
        // One goes to the board at once, and its serial line takes no more.
        assert!(blocks.left.as_slice().iter().all(|(by, text)| *by != By::Board || text.len() < 3_500));
    }
}
