//! A status as JSON, for scripts: `format` is 1, and stays it as long as nothing is taken away or means something else.
//!
//! Not here: the sealed lines that the agent reads (`backstay_slots::SlotAnswer`).

use std::{fmt::Write as _, path::Path};

use backstay_model::Release;
use backstay_slots::{BootWord, Slot, SlotAnswer};

/// What is in the slots, in one line.
pub fn json(answer: &SlotAnswer) -> String {
    let SlotAnswer { status, word, findings } = answer;
    let (word, left, from) = match word {
        BootWord::Confirmed => ("confirmed", None, None),
        BootWord::Trial { tries_left } => ("trial", Some(*tries_left), None),
        BootWord::FellBack { from } => ("fell-back", None, from.as_ref()),
        BootWord::Rescued => ("rescued", None, None),
    };
    let left = left.map_or("null".to_owned(), |left| left.to_string());
    let (booted, confirmed) = (release(Some(&status.booted)), release(Some(&status.confirmed)));
    let (other, trying, from) =
        (release(status.other.as_ref()), release(status.trying.as_ref()), release(from));
    format!(
        "{{\"format\":1,\"booted\":{booted},\"confirmed\":{confirmed},\"other\":{other},\"trying\":{trying},\
         \"word\":\"{word}\",\"tries_left\":{left},\"fell_back_from\":{from},\"findings\":{}}}",
        texts(findings)
    )
}

/// Where what runs lies, in one line.
pub fn running(slot: Slot, device: &Path) -> String {
    let device = text(&device.display().to_string());
    format!("{{\"format\":1,\"slot\":\"{slot}\",\"from\":{device}}}")
}

/// A list of texts.
pub fn texts(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|item| text(item)).collect();
    format!("[{}]", texts.join(","))
}

fn release(release: Option<&Release>) -> String {
    let Some(Release { version, digest, length, security_epoch }) = release else { return "null".into() };
    let version = text(version.as_str());
    format!(
        "{{\"version\":{version},\"digest\":\"{digest}\",\"length\":{length},\"security_epoch\":{security_epoch}}}"
    )
}

fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Writing to a string can't fail.
            c if c.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use backstay_model::{Digest, SlotStatus, Version};

    use super::*;

    #[test]
    fn a_status_is_json() {
        let version = Version::parse("1.0").unwrap();
        let release = Release { version, digest: Digest([0xab; 32]), length: 5, security_epoch: 3 };
        let status =
            SlotStatus { booted: release.clone(), confirmed: release.clone(), other: None, trying: None };
        let word = BootWord::FellBack { from: Some(release) };
        let findings = vec!["a \"quoted\"\n\\ word \u{e4}".to_owned(), String::new()];
        let digest = "ab".repeat(32);
        let held =
            format!("{{\"version\":\"1.0\",\"digest\":\"{digest}\",\"length\":5,\"security_epoch\":3}}");
        assert_eq!(
            json(&SlotAnswer { status, word, findings }),
            format!(
                "{{\"format\":1,\"booted\":{held},\"confirmed\":{held},\"other\":null,\"trying\":null,\
                 \"word\":\"fell-back\",\"tries_left\":null,\"fell_back_from\":{held},\
                 \"findings\":[\"a \\\"quoted\\\"\\u000a\\\\ word \u{e4}\",\"\"]}}"
            )
        );
    }
}
