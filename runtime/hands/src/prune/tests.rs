//! What a mask leaves of an answer.

use serde_json::Value;

use super::*;
use crate::secret::Secret;

/// What is kept of `answer`, as far as it comes to anything.
fn kept(mask: &str, answer: &str) -> String {
    match pruned(mask, answer, None) {
        Ok(Pruned::Fields(fields)) => String::from_utf8(fields).unwrap(),
        other => panic!("{mask}: {other:?}"),
    }
}

fn pruned(mask: &str, answer: &str, secret: Option<&str>) -> Result<Pruned, String> {
    let secret = secret.map(|secret| Secret::new(secret.into()));
    let cleaner = Cleaner::new(secret.as_ref());
    let mask = Mask::parse(mask).unwrap();
    prune(answer.as_bytes(), &mask, &cleaner, 32 << 10).map_err(|error| error.to_string())
}

fn why_not(mask: &str, answer: &str) -> String {
    pruned(mask, answer, None).unwrap_err()
}

/// A list as a cluster gives it: what is asked for takes a hundredth of it.
const PODS: &str = r#"{
    "kind": "PodList",
    "metadata": {"resourceVersion": "10453", "continue": "eyJ2Ijoib"},
    "items": [
        {
            "metadata": {"name": "shop-1", "annotations": {"a.b/revision": "3", "other": "x"}},
            "status": {"phase": "Running", "containerStatuses": [{"restartCount": 0}, {"restartCount": 2}]}
        },
        {"metadata": {"name": "shop-2"}, "status": {"phase": "Pending"}}
    ]
}"#;

#[test]
fn only_what_is_asked_for_is_kept() {
    for (mask, fields) in [
        ("/metadata/continue", r#"{"metadata":{"continue":"eyJ2Ijoib"}}"#),
        (
            "/items/*/status/containerStatuses/*/restartCount,/items/*/metadata/name",
            r#"{"items":[{"metadata":{"name":"shop-1"},"status":{"containerStatuses":[{"restartCount":0},{"restartCount":2}]}},{"metadata":{"name":"shop-2"},"status":{}}]}"#,
        ),
        (
            "/items/*/metadata/annotations/a.b~1revision",
            r#"{"items":[{"metadata":{"annotations":{"a.b/revision":"3"}}},{"metadata":{}}]}"#,
        ),
        (
            "/items/*/metadata/annotations/*",
            r#"{"items":[{"metadata":{"annotations":{"a.b/revision":"3","other":"x"}}},{"metadata":{}}]}"#,
        ),
        (
            "/metadata,/metadata/continue",
            r#"{"metadata":{"resourceVersion":"10453","continue":"eyJ2Ijoib"}}"#,
        ),
        ("/*/continue", r#"{"kind":null,"metadata":{"continue":"eyJ2Ijoib"},"items":[]}"#),
        ("/nothing/of/this", "{}"),
    ] {
        assert_eq!(kept(mask, PODS), fields, "{mask}");
    }
    let compact = PODS.replace([' ', '\n'], "");
    assert_eq!(kept("/*", PODS), compact);
}

/// Which keys there are is one question, what they hold is another: a run that asks for the first keeps nothing of the second.
#[test]
fn names_are_asked_for_without_what_they_hold() {
    let answer = r#"{"data":{"mode":"safe","token":"hunter2"},"x":{"a":{"b":"hunter3"},"c":[1],"d":7}}"#;
    assert_eq!(kept("/data/*/-", answer), r#"{"data":{"mode":null,"token":null}}"#);
    assert_eq!(kept("/x/*/-", answer), r#"{"x":{"a":{},"c":[],"d":null}}"#);
    assert_eq!(kept("/data/*/-,/data/mode", answer), r#"{"data":{"mode":"safe","token":null}}"#);
}

/// Who asked for the second element finds it in the second place.
#[test]
fn elements_keep_their_place() {
    let answer = r#"{"a":[{"b":1},{"c":2},3,"x",null,[{"b":4}],{"b":{"d":5}}]}"#;
    assert_eq!(kept("/a/*/b", answer), r#"{"a":[{"b":1},{},null,null,null,[],{"b":{"d":5}}]}"#);
    assert_eq!(
        kept("/a/*/*/b", answer),
        r#"{"a":[{"b":null},{"c":null},null,null,null,[{"b":4}],{"b":{}}]}"#
    );
    assert_eq!(kept("/a/*/b/d", answer), r#"{"a":[{"b":null},{},null,null,null,[],{"b":{"d":5}}]}"#);
    assert_eq!(kept("/a/b", answer), r#"{"a":[]}"#);
    assert_eq!(kept("/*/b", r#"[{"b":[ ]},[],{ }]"#), r#"[{"b":[]},[],{}]"#);
    assert_eq!(kept("/*", "[1, [2 , 3],\n{} ]"), "[1,[2,3],{}]");
    for scalar in ["1", "-2.5", "true", "null", r#""x""#] {
        assert_eq!(kept("/a", scalar), "null");
    }
}

/// Whole numbers beyond 64 bits, and fractions that no machine number has, come as they were.
#[test]
fn numbers_are_kept_digit_by_digit() {
    let numbers =
        "[18446744073709551616,123456789012345678901234567890,0.10000000000000000000001,1.0,-0,1E+2,1e999]";
    assert_eq!(kept("/*", numbers), numbers);
    assert_eq!(
        kept("/a/*,/b", &format!(r#"{{"a": {numbers}, "b": 1.50}}"#)),
        format!(r#"{{"a":{numbers},"b":1.50}}"#)
    );
}

#[test]
fn texts_are_kept_whatever_is_in_them() {
    let answer = r#"{"a\u0062": "\"]},:{[\\", "c\n": {"\\": "\ud83d\ude00 ü \u0000"}, "d": "\/"}"#;
    assert_eq!(
        kept("/*", answer),
        "{\"ab\":\"\\\"]},:{[\\\\\",\"c\\n\":{\"\\\\\":\"😀 ü \\u0000\"},\"d\":\"/\"}"
    );
    assert_eq!(
        kept("/ab,/c%0A/%5C,/x", answer),
        "{\"ab\":\"\\\"]},:{[\\\\\",\"c\\n\":{\"\\\\\":\"😀 ü \\u0000\"}}"
    );
}

#[test]
fn what_is_no_json_gives_no_fields() {
    for (answer, why) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("<html>", "expected value at line 1 column 1"),
        (r#"{"a":1"#, "EOF while parsing an object at line 1 column 6"),
        (r#"{"a":1} {"a":2}"#, "trailing characters at line 1 column 9"),
        (r#"{"a":01}"#, "invalid number at line 1 column 7"),
        (r#"{"a":"\ud800"}"#, "unexpected end of hex escape at line 1 column 8"),
        (r#"{"a":1,}"#, "trailing comma at line 1 column 8"),
        (
            "{\"a\":\"\n\"}",
            "control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0",
        ),
        ("{\"x\":1,\"a\":[1,2}", "expected `,` or `]` at line 1 column 16"),
    ] {
        let told = why_not("/a", answer);
        assert!(told.starts_with(why), "{answer}: {told}");
    }
    let mask = Mask::parse("/a").unwrap();
    let torn = prune(&b"{\"a\":\"\xff\"}"[..], &mask, &Cleaner::new(None), 99);
    assert!(torn.is_err());
}

/// One reader takes the first, another one the last. So nobody is given either.
#[test]
fn a_key_that_is_there_twice_gives_no_fields() {
    for (mask, answer) in [
        ("/a", r#"{"a":1,"b":2,"a":3}"#),
        ("/a/b", r#"{"a":{"b":1,"\u0062":2}}"#),
        ("/a", r#"{"a":{"b":[{"c":1,"c":1}]}}"#),
        ("/*", r#"{"a":1,"a":1}"#),
        ("/a/*", r#"{"a":[{"b":1},{"b":1,"c":{"d":"","d":""}}]}"#),
        ("/a/b", r#"{"a":5,"a":{"b":1}}"#),
    ] {
        let told = why_not(mask, answer);
        assert!(told.starts_with("a key is twice in one object"), "{answer}: {told}");
    }
    assert_eq!(kept("/a", r#"{"b":1,"a":[{"c":1},{"c":2}],"b":2}"#), r#"{"a":[{"c":1},{"c":2}]}"#);
}

/// The ones that are passed over are no matter; the others have to be read by whoever asked.
#[test]
fn an_answer_that_is_deep_without_end_is_not_kept() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let mixed = |levels: usize| format!("{}1{}", r#"{"a":["#.repeat(levels), "]}".repeat(levels));
    assert_eq!(kept("/b", &format!(r#"{{"a":{},"b":1}}"#, deep(200_000))), r#"{"b":1}"#);
    assert_eq!(kept("/a", &format!(r#"{{"a":{}}}"#, deep(126))), format!(r#"{{"a":{}}}"#, deep(126)));
    serde_json::from_str::<Value>(&format!(r#"{{"a":{}}}"#, deep(126))).unwrap();
    for answer in [format!(r#"{{"a":{}}}"#, deep(127)), format!(r#"{{"a":{}}}"#, deep(200_000)), mixed(64)] {
        let told = why_not("/a", &answer);
        assert!(told.starts_with("it is more than 127 levels deep"), "{told}");
    }
    let steps = "/*".repeat(400);
    assert!(why_not(&steps, &deep(200_000)).starts_with("recursion limit exceeded"));
    assert_eq!(kept(&"/*".repeat(62), &mixed(31)), mixed(31));
}

#[test]
fn fields_that_are_too_long_are_counted_and_not_kept() {
    let answer = format!(r#"{{"b":"{}","a":"{}"}}"#, "y".repeat(100_000), "x".repeat(32_758));
    assert_eq!(kept("/a,/c", &answer).len(), 32_766);
    let named = Pruned::TooLong { bytes: 32_766 + r#""b":null,"#.len() as u64 };
    assert_eq!(pruned("/a,/b/c", &answer, None), Ok(named));
    let answer = answer.replace("xx", "xxy");
    assert_eq!(pruned("/a", &answer, None), Ok(Pruned::TooLong { bytes: 8 + 32_758 / 2 * 3 }));
    // What isn't wanted doesn't count, wherever it is. A name is wanted by itself.
    let scalars = format!("[{}1]", "1,".repeat(40_000));
    assert_eq!(kept("/a/*/b", &format!(r#"{{"c":{scalars},"a":[]}}"#)), r#"{"a":[]}"#);
    let mut many: String = (0..20_000).map(|n| format!(r#""k{n}":1,"#)).collect();
    many.pop();
    let named = Pruned::TooLong { bytes: format!("{{{many}}}").len() as u64 + 3 * 20_000 };
    assert_eq!(pruned("/*/b", &format!("{{{many}}}"), None), Ok(named));
}

/// Whatever way it is written in, and in whichever place.
#[test]
fn a_credential_is_taken_out_of_what_is_kept() {
    let secret = r#"canary/"7"#;
    let clean = |mask: &str, answer: &str| match pruned(mask, answer, Some(secret)) {
        Ok(Pruned::Fields(fields)) => String::from_utf8(fields).unwrap(),
        other => panic!("{other:?}"),
    };
    for said in [
        r#"canary/\"7"#,
        r#"canary\/\"7"#,
        r#"\u0063anary\u002f\u00227"#,
        r#"canary/\\\"7"#,
        r#"canary\\/\\\"7"#,
        "canary%2F%227",
        "canary%2f%227",
        r"\u0063anary%2F%227",
    ] {
        let answer = format!(r#"{{"a":"x {said} y","b":{{"{said}":["{said}{said}"]}}}}"#);
        let fields = r#"{"a":"x [credential] y","b":{"[credential]":["[credential][credential]"]}}"#;
        assert_eq!(clean("/*", &answer), fields, "{said}");
        assert_eq!(clean("/a,/b/*/*", &answer), fields, "{said}");
    }
}

/// A credential of digits may be in a number, and one of odd signs between values.
#[test]
fn a_credential_is_not_shown_outside_of_texts_either() {
    let found = |secret: &str, answer: &str| pruned("/a", answer, Some(secret));
    let fields = |fields: &str| Ok(Pruned::Fields(fields.as_bytes().to_vec()));
    assert_eq!(
        found("4711", r#"{"a":[147112,4711.5,47]}"#),
        fields(r#"{"a":["1[credential]2","[credential].5",47]}"#)
    );
    assert_eq!(found("tru", r#"{"a":true}"#), fields(r#"{"a":"[credential]e"}"#));
    assert_eq!(found(r#"1,"2"#, r#"{"a":[1, "2"]}"#), Ok(Pruned::Exposed));
    assert_eq!(found(r#"1,"2"#, r#"{"a":[1,2],"b":[1,"2"]}"#), fields(r#"{"a":[1,2]}"#));
}

/// Numbers that are the same in every run (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % sides
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const KEYS: [&str; 6] = ["a", "b", "c/d", "~", "*", "é,\""];

fn value(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 3 } else { 7 }) {
        0 => Value::Null,
        1 => Value::from(dice.below(1000)),
        2 => Value::from(dice.one_of(&["", "x\"y", "{", "é\n"])),
        3 | 4 => (0..dice.below(4)).map(|_| value(dice, depth - 1)).collect(),
        _ => Value::Object(
            (0..dice.below(5)).map(|_| (dice.one_of(&KEYS).to_owned(), value(dice, depth - 1))).collect(),
        ),
    }
}

/// With space wherever there may be some.
fn spaced(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// A path by dice, and how a mask writes it. `None` is each.
fn path(dice: &mut Dice) -> (Vec<Option<&'static str>>, String) {
    let steps: Vec<_> =
        (0..=dice.below(4)).map(|_| (dice.below(3) > 0).then(|| dice.one_of(&KEYS))).collect();
    let written = steps.iter().map(|step| match step {
        None => "/*".to_owned(),
        Some(key) => {
            let key = key.replace('~', "~0").replace('/', "~1").replace('*', "%2A");
            format!("/{}", key.replace(',', "%2C").replace('"', "%22").replace('é', "%c3%A9"))
        }
    });
    let written = written.collect();
    (steps, written)
}

/// All that a path leads to, each with its way.
fn read<'v>(value: &'v Value, steps: &[Option<&str>]) -> Vec<(String, &'v Value)> {
    let Some((step, rest)) = steps.split_first() else { return vec![(String::new(), value)] };
    let below: Vec<(String, &Value)> = match (value, step) {
        (Value::Object(members), Some(key)) => {
            members.get_key_value(*key).map(|(key, value)| (key.clone(), value)).into_iter().collect()
        }
        (Value::Object(members), None) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        (Value::Array(elements), None) => {
            elements.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    let below = below.into_iter().flat_map(|(way, value)| {
        read(value, rest).into_iter().map(move |(behind, value)| (format!("{way}/{behind}"), value))
    });
    below.collect()
}

/// Whether there is nothing in `part` that `whole` doesn't have in the same place. What an element was may be gone.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| is_part(part, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.is_empty()
                || part.len() == whole.len()
                    && part.iter().zip(whole).all(|(part, whole)| is_part(part, whole))
        }
        (Value::Null, _) => true,
        (part, whole) => part == whole,
    }
}

/// Whoever reads a field that was asked for reads the same in what is kept as in the whole answer, and what is kept has nothing
/// that the answer doesn't have.
#[test]
fn a_field_reads_the_same_in_what_is_kept_and_in_the_whole() {
    let (mut fields, mut less) = (0, 0);
    for seed in 0..16_000 {
        let mut dice = Dice(seed);
        let whole = value(&mut dice, 4);
        let paths: Vec<_> = (0..=dice.below(3)).map(|_| path(&mut dice)).collect();
        let mask = paths.iter().map(|(_, written)| written.as_str()).collect::<Vec<_>>().join(",");
        let text = kept(&mask, &spaced(&whole));
        let part: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&part).unwrap(), text, "it is compact");
        for (steps, _) in &paths {
            let found = read(&whole, steps);
            assert_eq!(read(&part, steps), found, "seed {seed}: {mask} of {whole} is {part}");
            fields += found.len();
        }
        assert!(is_part(&part, &whole), "seed {seed}: {mask} of {whole} is {part}");
        // Once more, it changes nothing.
        assert_eq!(kept(&mask, &text), text, "seed {seed}: {mask} of {whole}");
        less += usize::from(part != whole);
    }
    assert!(fields > 2000 && less > 2000, "{fields} fields were read, {less} answers became less");
}
