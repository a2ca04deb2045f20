//! The memory of an executor's answer, written down as data: effects as a guest asks for them, checked by nobody.
//!
//! Not here: the guest around it (`guest`).

use std::fmt::Write as _;

use serde::Deserialize;

/// One effect, as a guest asks for it: nothing about it is checked.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Effect {
    /// Its place, if nothing is said.
    ordinal: Option<u32>,
    access: String,
    run: Option<String>,
    args: Vec<String>,
    file: Option<String>,
    content: Option<usize>,
    http: Option<[String; 3]>,
    body: usize,
    publish: Option<String>,
    attach: Option<String>,
    payload: usize,
    slot: Option<String>,
    sleep: Option<u64>,
    /// So often.
    pub(super) times: u32,
    /// A kind that there isn't.
    kind: Option<u8>,
}

impl Default for Effect {
    fn default() -> Self {
        Self {
            ordinal: None,
            access: "changes".into(),
            run: None,
            args: Vec::new(),
            file: None,
            content: None,
            http: None,
            body: 0,
            publish: None,
            attach: None,
            payload: 0,
            slot: None,
            sleep: None,
            times: 1,
            kind: None,
        }
    }
}

impl Effect {
    /// A command.
    pub(super) fn run(command: &str) -> Self {
        Self { run: Some(command.into()), ..Self::default() }
    }
}

/// Where a guest has what.
pub(super) const EFFECTS_AT: u32 = 0x8000;
const TEXTS_AT: u32 = 0x1_0000;
/// Bytes of one effect.
const EFFECT_BYTES: u32 = 56;

/// The memory of an executor's answer, written down as data.
#[derive(Default)]
pub(super) struct Image {
    effects: Vec<u8>,
    texts: Vec<u8>,
}

impl Image {
    pub(super) fn text(&mut self, text: &[u8]) -> [u8; 8] {
        let at = TEXTS_AT + self.texts.len() as u32;
        self.texts.extend_from_slice(text);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&at.to_le_bytes());
        bytes[4..].copy_from_slice(&(text.len() as u32).to_le_bytes());
        bytes
    }

    fn list(&mut self, texts: &[String]) -> [u8; 8] {
        let items: Vec<u8> = texts.iter().flat_map(|text| self.text(text.as_bytes())).collect();
        // Pairs of pointer and length stand on a multiple of four.
        self.texts.resize(self.texts.len().next_multiple_of(4), 0);
        let mut bytes = self.text(&items);
        bytes[4..].copy_from_slice(&(texts.len() as u32).to_le_bytes());
        bytes
    }

    pub(super) fn effect(&mut self, effect: &Effect, ordinal: u32) {
        let mut bytes = [0; EFFECT_BYTES as usize];
        bytes[..4].copy_from_slice(&effect.ordinal.unwrap_or(ordinal).to_le_bytes());
        bytes[4] = match effect.access.as_str() {
            "looks" => 0,
            "changes" => 1,
            _ => 9,
        };
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        if let Some([endpoint, method, path]) = &effect.http {
            put(16, &self.text(endpoint.as_bytes()));
            put(24, &self.text(method.as_bytes()));
            put(32, &self.text(path.as_bytes()));
            put(40, &self.text(&vec![0; effect.body]));
        } else if let Some(command) = &effect.run {
            put(8, &[1]);
            put(16, &self.text(command.as_bytes()));
            put(24, &self.list(&effect.args));
        } else if let Some(slot) = &effect.slot {
            put(8, &[2]);
            put(
                16,
                &[match slot.as_str() {
                    "status" => 0,
                    "stage" => 1,
                    _ => 9,
                }],
            );
            put(24, &self.text(b"1.5.0"));
            put(32, &self.text(b"not a digest"));
        } else if let Some(path) = &effect.file {
            put(8, &[3]);
            put(16, &self.text(path.as_bytes()));
            if let Some(content) = effect.content {
                put(24, &[1]);
                put(28, &self.text(&vec![0; content]));
            }
        } else if let Some(topic) = &effect.publish {
            put(8, &[4]);
            put(16, &self.text(topic.as_bytes()));
            put(24, &self.text(&vec![0; effect.payload]));
        } else if let Some(ms) = effect.sleep {
            put(8, &[5]);
            put(16, &ms.to_le_bytes());
        } else if let Some(name) = &effect.attach {
            put(8, &[6]);
            put(16, &self.text(name.as_bytes()));
            put(24, &self.text(&vec![0; effect.payload]));
        }
        if let Some(kind) = effect.kind {
            bytes[8] = kind;
        }
        self.effects.extend_from_slice(&bytes);
    }

    pub(super) fn data(&self) -> String {
        let mut text = String::new();
        for (at, bytes) in [(EFFECTS_AT, &self.effects), (TEXTS_AT, &self.texts)] {
            let _ = write!(text, "(data (i32.const {at}) \"");
            bytes.iter().for_each(|byte| {
                let _ = write!(text, "\\{byte:02x}");
            });
            text.push_str("\")\n");
        }
        text
    }
}
