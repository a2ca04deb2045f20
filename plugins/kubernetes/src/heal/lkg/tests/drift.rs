//! Drifts at random: whatever was changed, added, taken away or moved is as it was afterwards, and a run that is cut leaves no half.

use alloc::{format, vec, vec::Vec};

use backstay_sdk::executor::{Outcome, Transience};
use serde_json::{Value, json};

use super::world::{CONFIG, World, good};
use crate::testing::MISHAPS;

/// A small generator, so that a failing round can be had again.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const CONFIGURATION: [&str; 6] = ["mode", "app.properties", "password-rules", "a", "b.yaml", "C_d"];
const CREDENTIALS: [&str; 3] = ["db-password", "API_TOKEN", "password"];
const BINARY: [&str; 2] = ["logo", "cache"];
const SURPLUS: [&str; 4] = ["new", "x.json", "debug", "mode2"];

/// Good keys, and what a drift makes of them.
fn drifted(rng: &mut Rng) -> (Value, Value, Value) {
    let (mut data, mut binary) = (json!({}), json!({}));
    for key in CONFIGURATION.iter().filter(|_| rng.below(5) > 0).collect::<Vec<_>>() {
        data[*key] = format!("good {}", rng.below(9)).into();
    }
    for key in BINARY.iter().filter(|_| rng.below(3) > 0).collect::<Vec<_>>() {
        binary[*key] = "if8=".into();
    }
    let good_keys = (data.clone(), binary.clone());
    for key in CREDENTIALS {
        if rng.below(3) > 0 {
            data[key] = "hunter2".into();
        }
    }
    let take = |of: &mut Value, key: &str| of.as_object_mut().unwrap().remove(key);
    for _ in 0..rng.below(9) {
        match rng.below(7) {
            0 | 1 => {
                let key = rng.pick(&CONFIGURATION);
                if !data[key].is_null() {
                    data[key] = format!("bad {}", rng.below(9)).into();
                }
                // To ask for a key that isn't there has made it.
                if data[key].is_null() {
                    take(&mut data, key);
                }
            }
            2 => drop(take(&mut data, rng.pick(&CONFIGURATION))),
            3 => drop(take(&mut binary, rng.pick(&BINARY))),
            4 => data[rng.pick(&SURPLUS)] = "bad".into(),
            5 => data[rng.pick(&CREDENTIALS)] = "hunter3".into(),
            _ => {
                // It is in the other section now.
                let key = rng.pick(&CONFIGURATION);
                if take(&mut data, key).is_some() {
                    binary[key] = "AAAA".into();
                }
            }
        }
    }
    let config = json!({ "data": good_keys.0, "binaryData": good_keys.1 });
    (config, data, binary)
}

/// What has to come of it: the good keys, and the credentials as they were then.
fn restored(good: &Value, drifted: &Value) -> (Value, Value) {
    let mut data = good["data"].clone();
    for (key, value) in drifted.as_object().unwrap() {
        if CREDENTIALS.contains(&key.as_str()) {
            data[key] = value.clone();
        }
    }
    (data, good["binaryData"].clone())
}

fn keys(object: &Value, section: &str) -> Value {
    object.get(section).filter(|keys| !keys.is_null()).cloned().unwrap_or(json!({}))
}

/// Whatever was changed, added, taken away or moved: one run, and it is exactly as it was. Each credential is what it was before the run,
/// be it old, new, changed or gone.
#[test]
fn a_thousand_drifts_are_restored_exactly() {
    let (mut changed, mut rng) = (0, Rng(0x5eed));
    for round in 0..1000 {
        let (good_keys, data, binary) = drifted(&mut rng);
        let mut world = World::new();
        let credentials: Vec<&str> = if rng.below(2) == 0 { vec!["db-password"] } else { vec![] };
        world.knows(good(
            "prod/configmap/shop",
            good_keys["data"].clone(),
            good_keys["binaryData"].clone(),
            &credentials,
        ));
        let mut object = json!({});
        // Kubernetes leaves a section out that has nothing in it.
        for (section, keys) in [("data", &data), ("binaryData", &binary)] {
            if keys != &json!({}) {
                object[section] = keys.clone();
            }
        }
        world.has(CONFIG, object);
        world.api.changes.clear();
        world.runs(None).done();
        let now = world.at(CONFIG);
        let wanted = restored(&good_keys, &data);
        assert_eq!((keys(&now, "data"), keys(&now, "binaryData")), wanted, "round {round}");
        assert!(world.api.changes.len() <= 1, "round {round}: {:?}", world.api.changes);
        changed += world.api.changes.len();
        let ran = world.runs(None).done();
        assert!(
            world.api.changes.len() <= 1 && ran.effects <= 6,
            "a second run finds nothing to do: {ran:?}"
        );
    }
    assert!((700..1000).contains(&changed), "{changed} drifts were drifts");
}

/// Cut at each effect, in each way: what comes of it is what was, or what is wanted, never anything between. The next run restores it.
#[test]
fn a_run_that_is_cut_anywhere_leaves_no_half_of_a_configuration() {
    let mut rng = Rng(7);
    for _ in 0..12 {
        let (good_keys, data, binary) = drifted(&mut rng);
        let world = || {
            let mut world = World::new();
            let known = good(
                "prod/configmap/shop",
                good_keys["data"].clone(),
                good_keys["binaryData"].clone(),
                &["db-password"],
            );
            world.knows(known);
            world.has(CONFIG, json!({ "data": data, "binaryData": binary }));
            world
        };
        let wanted = restored(&good_keys, &data);
        let now = |world: &World| (keys(&world.at(CONFIG), "data"), keys(&world.at(CONFIG), "binaryData"));
        let effects = world().runs(None).done().effects;
        for at in 0..effects {
            for mishap in MISHAPS {
                let mut world = world();
                let ran = world.runs(Some((at, mishap)));
                match &ran.outcome {
                    Outcome::Done => assert_eq!(now(&world), wanted, "{mishap:?} at {at}"),
                    Outcome::Failed(failed) => {
                        assert_eq!(
                            failed.transience,
                            Transience::Transient,
                            "{mishap:?} at {at}: {failed:?}"
                        );
                        assert!(
                            now(&world) == wanted || now(&world) == (data.clone(), binary.clone()),
                            "{mishap:?} at {at}"
                        );
                    }
                }
                world.runs(None).done();
                assert_eq!(now(&world), wanted, "{mishap:?} at {at}");
            }
        }
    }
}
