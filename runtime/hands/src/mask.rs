//! Which fields of a JSON answer are kept: what an effect's path may end in, behind `#`.
//!
//! Here: what a mask looks like, and what it wants of a value that is reached. Not here: taking the fields out of an answer
//! (`prune`), and that no server sees the mask (`guarded`).
//!
//! A mask is paths with `,` between them. A path is keys with `/` before each, as RFC 6901 has it: `~1` is `/` and `~0` is `~`.
//! `*` is every member of an object, or every element of an array. `%2C` is how a key holds what would end it or what an
//! address can't hold, and `%2A` is a key that is called `*`.

/// The fields that are kept: at least one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask(Vec<Vec<Step>>);

/// One level of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Every member of an object, every element of an array.
    Each,
    /// A member of an object.
    Key(String),
}

/// What a mask wants of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'m> {
    /// All of it.
    All,
    /// What these lead to, from here on. Where there are none, nothing.
    Parts(Vec<&'m [Step]>),
}

impl Mask {
    /// Reads a mask.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub(crate) fn parse(mask: &str) -> Result<Self, String> {
        let mut at = 0;
        let mut paths = Vec::new();
        for path in mask.split(',') {
            let read = steps(path);
            paths.push(read.map_err(|why| {
                format!("the fields {:?}, from byte {at} of the mask on, can't be read: {why}", shown(path))
            })?);
            at += path.len() + 1;
        }
        Ok(Self(paths))
    }

    /// What it wants of an answer.
    pub(crate) fn parts(&self) -> Vec<&[Step]> {
        self.0.iter().map(Vec::as_slice).collect()
    }
}

impl<'m> Wanted<'m> {
    /// What is wanted of a member of the object that is reached.
    pub(crate) fn member(parts: &[&'m [Step]], key: &str) -> Self {
        Self::below(parts, |step| match step {
            Step::Each => true,
            Step::Key(wanted) => wanted == key,
        })
    }

    /// What is wanted of each element of the array that is reached.
    pub(crate) fn element(parts: &[&'m [Step]]) -> Self {
        Self::below(parts, |step| *step == Step::Each)
    }

    /// Several paths may lead through one value; what one of them wants whole is whole.
    fn below(parts: &[&'m [Step]], leads: impl Fn(&Step) -> bool) -> Self {
        let mut wanted = Vec::new();
        for (step, rest) in parts.iter().filter_map(|path| path.split_first()) {
            if leads(step) {
                if rest.is_empty() {
                    return Self::All;
                }
                wanted.push(rest);
            }
        }
        Self::Parts(wanted)
    }
}

/// A path, short enough to be quoted.
fn shown(path: &str) -> &str {
    let end = (0..=path.len().min(80)).rev().find(|&end| path.is_char_boundary(end)).unwrap_or(0);
    path.get(..end).unwrap_or_default()
}

fn steps(path: &str) -> Result<Vec<Step>, &'static str> {
    if !path.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && !matches!(byte, b'#' | b'\\')) {
        return Err("it has bytes that belong encoded");
    }
    let keys = path.strip_prefix('/').ok_or("a path begins with /")?;
    keys.split('/').map(|key| if key == "*" { Ok(Step::Each) } else { named(key).map(Step::Key) }).collect()
}

/// A key as it is called, from how a mask writes it.
fn named(key: &str) -> Result<String, &'static str> {
    let mut decoded = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        decoded.push(match byte {
            b'%' => digit()
                .zip(digit())
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                .ok_or("% is followed by two digits from 0 to F")?,
            byte => byte,
        });
    }
    let decoded = String::from_utf8(decoded).map_err(|_| "a key is not UTF-8")?;
    let mut parts = decoded.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // RFC 6901, section 4: each ~ begins one of two escapes.
        let (escaped, rest) = match part.split_at_checked(1) {
            Some(("0", rest)) => ('~', rest),
            Some(("1", rest)) => ('/', rest),
            Some(_) | None => return Err("~ is followed by 0 or 1"),
        };
        name.push(escaped);
        name.push_str(rest);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(mask: &str) -> Vec<Vec<String>> {
        let shown = |step: &Step| match step {
            Step::Each => "(each)".to_owned(),
            Step::Key(key) => key.clone(),
        };
        Mask::parse(mask).unwrap().0.iter().map(|path| path.iter().map(shown).collect()).collect()
    }

    #[test]
    fn a_mask_is_paths_of_keys() {
        assert_eq!(
            keys("/metadata/continue,/items/*/metadata/annotations/deployment.kubernetes.io~1revision"),
            [
                vec!["metadata", "continue"],
                vec!["items", "(each)", "metadata", "annotations", "deployment.kubernetes.io/revision"]
            ]
        );
        assert_eq!(
            keys("/a~0b~1c~01,/%2A/%2c/x%2Fy/%7e1,/%C3%BC%20%23,/,/*"),
            [vec!["a~b/c~1"], vec!["*", ",", "x/y", "/"], vec!["ü #"], vec![""], vec!["(each)"]]
        );
        assert_eq!(keys("/**/a*"), [["**", "a*"]]);
    }

    #[test]
    fn a_mask_that_cannot_be_read_is_told_with_its_place() {
        for (mask, why) in [
            ("", r#"the fields "", from byte 0 of the mask on, can't be read: a path begins with /"#),
            ("/a,b", r#"the fields "b", from byte 3 of the mask on, can't be read: a path begins with /"#),
            ("/a,,/b", r#"the fields "", from byte 3 of the mask on, can't be read: a path begins with /"#),
            (
                "/a,/b~2",
                r#"the fields "/b~2", from byte 3 of the mask on, can't be read: ~ is followed by 0 or 1"#,
            ),
            ("/~", r#"the fields "/~", from byte 0 of the mask on, can't be read: ~ is followed by 0 or 1"#),
            (
                "/%4",
                r#"the fields "/%4", from byte 0 of the mask on, can't be read: % is followed by two digits from 0 to F"#,
            ),
            ("/%ff", r#"the fields "/%ff", from byte 0 of the mask on, can't be read: a key is not UTF-8"#),
            (
                "/a#/b",
                r#"the fields "/a#/b", from byte 0 of the mask on, can't be read: it has bytes that belong encoded"#,
            ),
            (
                "/a b",
                r#"the fields "/a b", from byte 0 of the mask on, can't be read: it has bytes that belong encoded"#,
            ),
        ] {
            assert_eq!(Mask::parse(mask), Err(why.to_owned()));
        }
        let long = Mask::parse(&format!("/a,{}", "x".repeat(900))).unwrap_err();
        assert!(long.len() < 256 && long.ends_with("a path begins with /"), "{long}");
    }

    #[test]
    fn what_one_path_wants_whole_is_whole() {
        let mask = Mask::parse("/a/b,/a,/*/c,/d/*").unwrap();
        let parts = mask.parts();
        assert_eq!(Wanted::member(&parts, "a"), Wanted::All);
        let Wanted::Parts(below) = Wanted::member(&parts, "d") else { panic!() };
        assert_eq!(below.len(), 2, "both /*/c and /d/* lead on from here");
        assert_eq!(Wanted::member(&below, "x"), Wanted::All);
        let Wanted::Parts(elements) = Wanted::element(&parts) else { panic!() };
        assert_eq!(Wanted::member(&elements, "c"), Wanted::All);
        assert_eq!(Wanted::member(&elements, "x"), Wanted::Parts(vec![]));
    }
}
