//! The playbook `look`: which release is out and how much of it, told as readings.

use backstay_kubernetes::{api::Cluster, look, workload::Workload};
use backstay_sdk::{
    executor::{Failed, both},
    readings::Readings,
};

use crate::seen::Seen;

/// Looks, and tells what it found. What of it can't be read is left out.
pub(crate) async fn tell(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let mut readings = Readings::new();
    let (seen, looked) =
        both(Seen::of(cluster, workload), look::tell(cluster, workload, &mut readings)).await;
    if let Ok(seen) = &seen {
        if let Some(told) = &seen.told {
            told.say(&mut readings);
        }
        let (updated, _, all) = seen.progress.counts();
        // Pods of the newest template, in permille of those that there are. Those of one that nobody has acted on yet are none.
        let updated = if seen.progress.is_observed() { updated } else { 0 };
        if all > 0 {
            readings.say("out-stage", (updated * 1000 / all).clamp(0, 1000));
        }
    }
    if readings.is_empty() {
        return seen.map(|_| ()).and(looked);
    }
    cluster.ctx().look(readings.deed()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use backstay_kubernetes::testing::MISHAPS;
    use backstay_sdk::{executor::Task, readings::LOOK};

    use crate::{Deployment, shop::Shop};

    fn told(shop: &mut Shop) -> String {
        shop.api.attached.clear();
        shop.api.run::<Deployment>(Task::Heal(LOOK.into()), None).done();
        assert_eq!(shop.api.attached.len(), 1);
        shop.api.attached[0].1.clone()
    }

    #[test]
    fn what_is_out_is_told() {
        let mut shop = Shop::of(&['a']);
        let digest = "a".repeat(64);
        let whole = format!("out-version=a\nout-digest={digest}\nout-stage=1000\n");
        assert!(told(&mut shop).ends_with(&whole));
        shop.lets_out_half('b');
        let digest = "b".repeat(64);
        let half = format!("out-version=b\nout-digest={digest}\nout-stage=250\n");
        assert!(told(&mut shop).ends_with(&half));
    }

    #[test]
    fn a_look_changes_nothing_whatever_happens() {
        for at in 0..3 {
            for mishap in MISHAPS {
                let mut shop = Shop::of(&['a', 'b']);
                let _ = shop.api.run::<Deployment>(Task::Heal(LOOK.into()), Some((at, mishap)));
                assert!(shop.api.changes.is_empty());
            }
        }
    }
}
