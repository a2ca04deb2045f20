//! A hundred thousand verdicts that somebody got at, through the functions that `backstay gate` uses: reading, verifying, the
//! gate. None opens it but those that say exactly what was signed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{collections::BTreeMap, thread};

use backstay_api::{SignedVerdict, VerdictError};
use backstay_core::{Asked, Gate, Heard, Patience, Unheard};
use backstay_model::{BuildId, Digest, Millis, Nonce, TargetId, UnixMs, VerdictAction};
use backstay_test_gate::Shop;
use base64ct::{Base64, Encoding};
use serde_json::{Map, Value, json};

/// How many.
const INPUTS: u64 = 100_000;
/// Another seed makes other inputs; one that fails is printed with its number.
const SEED: u64 = 0x0bac_57a4;
const ISSUED: UnixMs = UnixMs(1_800_000_000_000);
const NOW: UnixMs = UnixMs(ISSUED.0 + 1000);
const NONCE: Nonce = Nonce([7; 16]);

/// What is done to a verdict.
const KINDS: [&str; 17] = [
    "nothing",
    "set out anew",
    "bits flipped",
    "truncated",
    "bytes moved",
    "fields swapped",
    "other schema",
    "huge",
    "other types",
    "key twice",
    "deep nesting",
    "another field",
    "signed for others",
    "signed bits flipped",
    "signature of another",
    "forged",
    "noise",
];

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on any machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(most.max(1)).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

struct World {
    shop: Shop,
    genuine: Vec<SignedVerdict>,
}

impl World {
    fn new() -> Self {
        let shop = Shop::new();
        let document = |action: &VerdictAction| shop.document(&Shop::verdict(*action, NONCE), ISSUED);
        let genuine = VerdictAction::ALL.iter().map(document).collect();
        Self { shop, genuine }
    }

    fn asked() -> Asked {
        Asked {
            service: TargetId::parse("checkout").unwrap(),
            build: BuildId::parse("1812").unwrap(),
            digest: None,
            version: None,
            nonce: NONCE,
        }
    }

    /// What a build does that finds these bytes in the place of its verdict.
    fn gate(&self, bytes: &[u8]) -> Gate {
        let mut patience = Patience::new(5, Millis::from_secs(1800));
        let verified = SignedVerdict::read(bytes).and_then(|document| document.verify(self.shop.keyring()));
        let heard = verified.as_ref().map_err(|why| match why {
            VerdictError::Untrusted(_) | VerdictError::Differs { .. } => Unheard::Untrusted,
            VerdictError::TooLarge { .. }
            | VerdictError::Malformed(_)
            | VerdictError::Schema { .. }
            | VerdictError::NotBase64 => Unheard::Unreadable,
        });
        let heard = heard.map(|verified| Heard {
            verdict: verified.verdict(),
            issued: verified.issued(),
            expires: verified.expires(),
        });
        Self::asked().gate(heard, NOW, &mut patience)
    }

    /// Whether these bytes say what the genuine verdict of this action says, all of it and nothing else, under the same
    /// signed words.
    fn is_identical(&self, bytes: &[u8], action: VerdictAction) -> bool {
        let Some(genuine) = self.genuine.iter().find(|genuine| genuine.action == action) else {
            return false;
        };
        let Ok(mut said) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return false };
        let Some(Value::String(signature)) = said.remove("signature") else { return false };
        let Value::Object(mut meant) = serde_json::to_value(genuine).unwrap() else { unreachable!() };
        meant.remove("signature");
        // A field that may be left out says the same as null.
        said.retain(|_, value| !value.is_null());
        let verified = |signature: &str| {
            let bytes = Base64::decode_vec(signature).ok()?;
            self.shop.keyring().verify_verdict(&bytes).ok()
        };
        said == meant && verified(&signature) == verified(&genuine.signature)
    }

    /// One input: what was done to a verdict, and what came of it.
    fn input(&self, number: u64) -> (usize, Vec<u8>) {
        let mut dice = Dice(SEED ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let kind = usize::try_from(number).unwrap() % KINDS.len();
        // Mostly one that would open the gate, or one that must not and is to look as if.
        let at = *dice.of(&[0, 0, 0, 0, 1, 2, 3, 3, 4, 5]);
        let genuine = &self.genuine[at];
        let text = serde_json::to_string(genuine).unwrap();
        let object = || -> Map<String, Value> { serde_json::from_str(&text).unwrap() };
        let bytes = match KINDS[kind] {
            "nothing" => text.into_bytes(),
            "set out anew" => set_out(&mut dice, object()),
            "bits flipped" => flipped(&mut dice, text.into_bytes()),
            "truncated" => text.as_bytes()[..dice.below(text.len())].to_vec(),
            "bytes moved" => moved(&mut dice, text.into_bytes()),
            "fields swapped" => {
                let mut object = object();
                let names: Vec<String> = object.keys().cloned().collect();
                let (one, other) = (dice.of(&names).clone(), dice.of(&names).clone());
                let (first, second) = (object[&one].clone(), object[&other].clone());
                object.insert(one, second);
                object.insert(other, first);
                Value::Object(object).to_string().into_bytes()
            }
            "other schema" => {
                let mut object = object();
                let odd =
                    [json!(0), json!(2), json!(-1), json!(1.5), json!("1"), json!(null), json!(u64::MAX)];
                object.insert("schema".into(), dice.of(&odd).clone());
                Value::Object(object).to_string().into_bytes()
            }
            "huge" => huge(&mut dice, &text),
            "other types" => {
                let mut object = object();
                let names: Vec<String> = object.keys().cloned().collect();
                let odd = [
                    json!(null),
                    json!(true),
                    json!(7),
                    json!(-7),
                    json!(0.1),
                    json!("proceed"),
                    json!([]),
                    json!(["proceed"]),
                    json!({}),
                    json!({"action": "proceed"}),
                    json!(""),
                ];
                object.insert(dice.of(&names).clone(), dice.of(&odd).clone());
                Value::Object(object).to_string().into_bytes()
            }
            "key twice" => {
                let key = *dice.of(&[
                    "\"action\":\"proceed\"",
                    "\"schema\":1",
                    "\"build\":\"1812\"",
                    "\"wait_secs\":0",
                ]);
                match dice.below(2) {
                    0 => text.replacen('{', &format!("{{{key},"), 1).into_bytes(),
                    _ => format!("{},{key}}}", text.trim_end_matches('}')).into_bytes(),
                }
            }
            "deep nesting" => {
                let depth = 1 + dice.below(12_000);
                let (open, close) = *dice.of(&[("[", "]"), ("{\"a\":", "}")]);
                let nest = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                let key = *dice.of(&["action", "reasons", "signature", "evidence", "more"]);
                format!("{{\"{key}\":{nest},{}", &text[1..]).into_bytes()
            }
            "another field" => {
                let mut object = object();
                let name =
                    *dice.of(&["deploy", "Action", "action ", "override", "schema_version", "\u{0}action"]);
                object.insert(name.into(), dice.of(&[json!(true), json!("proceed"), json!(1)]).clone());
                Value::Object(object).to_string().into_bytes()
            }
            "signed for others" => self.for_others(&mut dice),
            "signed bits flipped" => {
                let statement = Base64::decode_vec(&genuine.signature).unwrap();
                let statement = match dice.below(4) {
                    0 => statement[..dice.below(statement.len())].to_vec(),
                    1 => moved(&mut dice, statement),
                    _ => flipped(&mut dice, statement),
                };
                let mut document = genuine.clone();
                document.signature = Base64::encode_string(&statement);
                serde_json::to_vec(&document).unwrap()
            }
            "signature of another" => {
                let mut document = genuine.clone();
                let other = (at + 1 + dice.below(self.genuine.len() - 1)) % self.genuine.len();
                document.signature = self.genuine[other].signature.clone();
                if dice.below(2) == 0 {
                    document.action = self.genuine[other].action;
                }
                serde_json::to_vec(&document).unwrap()
            }
            "forged" => {
                let verdict = Shop::verdict(VerdictAction::Proceed, NONCE);
                serde_json::to_vec(&self.shop.forged().document(&verdict, ISSUED)).unwrap()
            }
            "noise" => (0..dice.below(600)).map(|_| dice.roll().to_le_bytes()[0]).collect(),
            _ => unreachable!(),
        };
        (kind, bytes)
    }

    /// Well signed, and not the answer to this question.
    fn for_others(&self, dice: &mut Dice) -> Vec<u8> {
        let mut verdict = Shop::verdict(VerdictAction::Proceed, NONCE);
        let mut issued = ISSUED;
        match dice.below(6) {
            0 => verdict.build = BuildId::parse(&(dice.roll() % 1812).to_string()).unwrap(),
            1 => verdict.nonce = Nonce(std::array::from_fn(|_| dice.roll().to_le_bytes()[0])),
            2 => {
                verdict.service =
                    TargetId::parse(["cart", "checkout-2", "check", "x"][dice.below(4)]).unwrap()
            }
            3 => issued = UnixMs(dice.roll() % (ISSUED.0 - 600_000)),
            4 => issued = UnixMs(ISSUED.0 + 121_001 + dice.roll() % 1_000_000_000_000),
            _ => {
                verdict.build = BuildId::parse("1812-").unwrap();
                verdict.digest = Some(Digest([dice.roll().to_le_bytes()[0]; 32]));
            }
        }
        serde_json::to_vec(&self.shop.document(&verdict, issued)).unwrap()
    }
}

/// The same in another order, with other white space, and with letters written by their numbers.
fn set_out(dice: &mut Dice, object: Map<String, Value>) -> Vec<u8> {
    let mut fields: Vec<(String, Value)> = object.into_iter().collect();
    for at in (1..fields.len()).rev() {
        fields.swap(at, dice.below(at + 1));
    }
    let space = *dice.of(&["", " ", "\n  ", "\t", "\r\n"]);
    let name = |name: &str, dice: &mut Dice| match dice.below(3) {
        0 => {
            let first = name.chars().next().unwrap();
            format!("\"\\u{:04x}{}\"", u32::from(first), &name[first.len_utf8()..])
        }
        _ => format!("\"{name}\""),
    };
    let fields: Vec<String> = fields
        .iter()
        .map(|(field, value)| format!("{space}{}{space}:{space}{value}", name(field, dice)))
        .collect();
    format!("{{{}{space}}}{space}", fields.join(",")).into_bytes()
}

fn flipped(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..1 + dice.below(8) {
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
    }
    bytes
}

/// A piece is left out, written twice, or put elsewhere.
fn moved(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    let from = dice.below(bytes.len());
    let to = from + 1 + dice.below((bytes.len() - from).min(64));
    let piece = bytes[from..to.min(bytes.len())].to_vec();
    match dice.below(3) {
        0 => drop(bytes.drain(from..to.min(bytes.len()))),
        1 => drop(bytes.splice(from..from, piece)),
        _ => {
            bytes.drain(from..to.min(bytes.len()));
            let at = dice.below(bytes.len() + 1);
            bytes.splice(at..at, piece);
        }
    }
    bytes
}

/// Made of text: a hundred thousand large values in memory would be most of the time that this takes.
fn huge(dice: &mut Dice, text: &str) -> Vec<u8> {
    let much = 55_000 + dice.below(20_000);
    let text = match dice.below(4) {
        0 => format!("{text}{}", " ".repeat(much)),
        1 => text.replacen("\"reasons\":[", &format!("\"reasons\":[{}", "\"x\",".repeat(much / 4)), 1),
        2 => text.replacen("\"signature\":\"", &format!("\"signature\":\"{}", "A".repeat(much)), 1),
        _ => text.replacen("\"schema\":1", &format!("\"schema\":1{}", "0".repeat(much)), 1),
    };
    text.into_bytes()
}

#[test]
fn a_verdict_that_somebody_got_at_never_opens_the_gate() {
    let world = World::new();
    let threads =
        u64::try_from(thread::available_parallelism().map_or(1, |threads| threads.get().min(8))).unwrap();
    // By what was done: how many stopped, and how many went through because they say what was signed.
    let mut counts: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
    let shares: Vec<_> = thread::scope(|scope| {
        let world = &world;
        let running: Vec<_> = (0..threads)
            .map(|share| {
                scope.spawn(move || {
                    let mut counts: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
                    for number in (share..INPUTS).step_by(usize::try_from(threads).unwrap()) {
                        let (kind, bytes) = world.input(number);
                        // What opens the gate says all of what was signed, and that was to open it.
                        let signed = match world.gate(&bytes) {
                            Gate::Stop { .. } => None,
                            Gate::Deploy => Some(VerdictAction::Proceed),
                            Gate::Wait { .. } => Some(VerdictAction::Slow),
                        };
                        let through = signed.is_some();
                        assert!(
                            signed.is_none_or(|action| world.is_identical(&bytes, action)),
                            "input {number} ({}) opened the gate:\n{}",
                            KINDS[kind],
                            String::from_utf8_lossy(&bytes)
                        );
                        counts.entry(kind).or_default()[usize::from(through)] += 1;
                    }
                    counts
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (kind, [stopped, through]) in shares.into_iter().flatten() {
        let all = counts.entry(kind).or_default();
        all[0] += stopped;
        all[1] += through;
    }
    let told = |kind: &usize| {
        let [stopped, through] = counts[kind];
        format!("{:<21} {stopped:>6} stopped {through:>6} identical", KINDS[*kind])
    };
    counts.keys().map(told).for_each(|line| println!("{line}"));
    let [stopped, through] = counts.values().fold([0, 0], |sum, more| [sum[0] + more[0], sum[1] + more[1]]);
    println!(
        "summary: {INPUTS} verdicts, seed {SEED:#x}: {stopped} stopped, {through} said what was signed, 0 others went through"
    );
    assert_eq!(stopped + through, INPUTS);
    // What is untouched, or only set out anew, goes through where it says so: else this would prove nothing.
    for kind in [0, 1] {
        let [stopped, through] = counts[&kind];
        assert!(through * 10 > (stopped + through) * 4, "{}", told(&kind));
    }
    for (kind, [_, through]) in counts
        .iter()
        .filter(|(kind, _)| ["forged", "signed for others", "key twice", "noise"].contains(&KINDS[**kind]))
    {
        assert_eq!(*through, 0, "{}", KINDS[*kind]);
    }
}
