//! What is told of a Rollout at each stage.

use alloc::format;

use backstay_kubernetes::{
    json::json,
    testing::{MISHAPS, shop::template},
};
use backstay_sdk::{executor::Task, readings::LOOK};

use crate::{
    Rollouts,
    shop::{SHOP, Shop, blue_green, canary},
};

fn told(shop: &mut Shop) -> (char, u32) {
    shop.api.attached.clear();
    shop.api.react(|_, _| {});
    shop.api.run::<Rollouts>(Task::Heal(LOOK.into()), None).done();
    assert!(shop.api.changes.is_empty());
    let said = &shop.api.attached[0].1;
    let reading = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("{name} isn't said: {said}")).to_owned()
    };
    let version = reading("out-version").chars().next().unwrap();
    assert_eq!(reading("out-digest"), version.to_string().repeat(64));
    (version, reading("out-stage").parse().unwrap())
}

#[test]
fn what_is_out_and_how_much_of_it_is_told() {
    let mut shop = Shop::of(canary());
    assert_eq!(told(&mut shop), ('a', 1000));
    shop.lets_out(template('b', ""));
    assert_eq!(told(&mut shop), ('b', 250), "one pod of four");
    shop.api
        .objects
        .edit(SHOP, |shop| shop["status"]["canary"] = json!({ "weights": { "canary": { "weight": 20 } } }));
    assert_eq!(told(&mut shop), ('b', 200), "what the router says goes before pods");
    shop.api.objects.edit(SHOP, |shop| {
        shop["spec"]["strategy"]["canary"]["trafficRouting"] = json!({ "maxTrafficWeight": 1000 })
    });
    shop.api.objects.edit(SHOP, |shop| {
        shop["status"]["observedGeneration"] = format!("{}", shop["metadata"]["generation"]).into()
    });
    assert_eq!(told(&mut shop), ('b', 20));
    shop.api.objects.edit(SHOP, |shop| shop["spec"]["template"] = template('c', ""));
    assert_eq!(told(&mut shop), ('c', 0), "nobody has acted on it yet");
}

#[test]
fn what_was_aborted_is_not_out() {
    let mut shop = Shop::of(canary());
    shop.lets_out(template('b', ""));
    shop.api.objects.edit(SHOP, |shop| shop["status"]["abort"] = true.into());
    shop.passes();
    assert_eq!(told(&mut shop), ('a', 1000));
}

#[test]
fn blue_or_green_has_all_of_it() {
    let mut shop = Shop::of(blue_green());
    shop.lets_out(template('b', ""));
    assert_eq!(told(&mut shop), ('b', 0));
    shop.api.objects.edit(SHOP, |shop| {
        shop["status"]["blueGreen"]["activeSelector"] = shop["status"]["currentPodHash"].clone()
    });
    assert_eq!(told(&mut shop), ('b', 1000));
}

#[test]
fn a_look_changes_nothing_whatever_happens() {
    for at in 0..4 {
        for mishap in MISHAPS {
            let mut shop = Shop::of_reference(canary());
            let _ = shop.api.run::<Rollouts>(Task::Heal(LOOK.into()), Some((at, mishap)));
            assert!(shop.api.changes.is_empty());
        }
    }
}
