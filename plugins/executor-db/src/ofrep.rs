//! The answer to one evaluation by OFREP, the OpenFeature Remote Evaluation Protocol: a boolean, or nothing.
//!
//! Source: `evaluationSuccess` in service/openapi.yaml of github.com/open-feature/protocol. Read as strictly as a decision
//! on it deserves: one object, `value` exactly once and `true` or `false`, `key` the one that was asked for, no error. An
//! answer without a value leaves it to the code's own default, which nobody here knows. Not here: the request (`switch`).

/// How deep an answer may be nested, metadata included.
const DEPTH_MAX: u32 = 16;

/// The value of the flag `key`.
pub(crate) fn value(answer: &[u8], key: &str) -> Result<bool, &'static str> {
    const BROKEN: &str = "the answer is no JSON object";
    let mut json = Json(answer);
    let (mut value, mut failed) = (None, false);
    json.space();
    json.take(b'{').ok_or(BROKEN)?;
    json.members(&mut |json, name| {
        match name {
            b"value" if value.is_some() => return None,
            b"value" => value = Some(json.boolean().or_else(|| json.any(0).map(|()| None))?),
            b"key" => failed |= json.string()? != key.as_bytes(),
            b"errorCode" => {
                failed = true;
                json.any(0)?;
            }
            _ => json.any(0)?,
        }
        Some(())
    })
    .ok_or(BROKEN)?;
    json.space();
    if !json.0.is_empty() {
        return Err(BROKEN);
    }
    match value {
        _ if failed => Err("the answer is an error, or is about another flag"),
        Some(Some(value)) => Ok(value),
        Some(None) => Err("its value is neither true nor false"),
        None => Err("the answer has no value: its server leaves that to the code"),
    }
}

/// What is left of a text in JSON (RFC 8259). Each method takes from the front; `None` where something else stands there.
struct Json<'a>(&'a [u8]);

impl<'a> Json<'a> {
    fn space(&mut self) {
        let end = self.0.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        self.0 = self.0.get(end.unwrap_or(self.0.len())..).unwrap_or_default();
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }

    fn boolean(&mut self) -> Option<Option<bool>> {
        if self.word(b"true").is_some() {
            return Some(Some(true));
        }
        self.word(b"false").map(|()| Some(false))
    }

    /// A string as it is written, escapes and all: the names that count here have none.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let whole = self.0;
        let mut at = 0;
        loop {
            match whole.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                0..0x20 => return None,
                _ => at += 1,
            }
        }
        self.0 = whole.get(at + 1..)?;
        core::str::from_utf8(whole.get(..at)?).ok().map(str::as_bytes)
    }

    /// The members of an object that was opened, to its end.
    fn members(&mut self, each: &mut dyn FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.take(b':')?;
            self.space();
            each(self, name)?;
            self.space();
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    /// Any value, passed over.
    fn any(&mut self, depth: u32) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.0.first()? {
            b'"' => self.string().map(|_| ()),
            b'{' => {
                self.take(b'{')?;
                self.members(&mut |json, _| json.any(depth + 1))
            }
            b'[' => {
                self.take(b'[')?;
                self.space();
                if self.take(b']').is_some() {
                    return Some(());
                }
                loop {
                    self.any(depth + 1)?;
                    self.space();
                    if self.take(b',').is_none() {
                        return self.take(b']');
                    }
                }
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => {
                let part = |b: &u8| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let end = self.0.iter().position(|b| !part(b)).unwrap_or(self.0.len());
                self.0 = self.0.get(end..)?;
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_wherever_it_stands() {
        for (answer, expected) in [
            (r#"{"key":"dual-write","reason":"STATIC","variant":"on","value":true}"#, true),
            (r#" { "value" : false , "metadata" : {"a":[1,-2.5e3,{"value":true}],"b":"\"}"}} "#, false),
            (r#"{"value":true,"cacheable":false,"key":"dual-write"}"#, true),
        ] {
            assert_eq!(value(answer.as_bytes(), "dual-write"), Ok(expected), "{answer}");
        }
    }

    #[test]
    fn what_says_nothing_for_certain_is_no_value() {
        for answer in [
            "",
            "true",
            "{}",
            "{",
            r#"{"key":"dual-write","reason":"DEFAULT"}"#,
            r#"{"value":"true"}"#,
            r#"{"value":null}"#,
            r#"{"value":1}"#,
            r#"{"value":truely}"#,
            r#"{"value":true"#,
            r#"{"value":true} {"#,
            r#"{"value":true,"value":false}"#,
            r#"{"value":true,"value":true}"#,
            r#"{"value":true,"key":"another"}"#,
            r#"{"key":"dual-write","errorCode":"GENERAL","value":true}"#,
            r#"{"metadata":{"value":true}}"#,
            "{\"value\":true,\"x\":\"\u{0}\"}",
        ] {
            assert!(value(answer.as_bytes(), "dual-write").is_err(), "{answer}");
        }
        let deep = ["{\"x\":", &"[".repeat(100_000)].concat();
        assert!(value(deep.as_bytes(), "dual-write").is_err());
    }

    #[test]
    fn every_beginning_of_an_answer_is_no_answer() {
        let answer = br#"{"key":"dual-write","reason":"STATIC","value":true}"#;
        for end in 0..answer.len() {
            assert!(value(&answer[..end], "dual-write").is_err(), "{end}");
        }
    }
}
