//! Messages that Alertmanager 0.25 (Debian) sent: two alerts of a service come on, and one of them is over.
//!
//! Not here: messages that it never sends (`alert`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use backstay_model::{Infra, InfraKind, Millis, Mono, TargetId};
use backstay_signals::{AlertName, Firing, NoData, alerts};

const FIRING: &[u8] = include_bytes!("fixtures/alertmanager-0.25-firing.json");
const RESOLVED: &[u8] = include_bytes!("fixtures/alertmanager-0.25-resolved.json");

#[test]
fn what_alertmanager_sends_is_understood() {
    let span = Millis::from_secs(60);
    let mut firing = Firing::new(Millis::from_secs(3600));
    let checkout = TargetId::parse("checkout").unwrap();
    let errors = AlertName::parse("CheckoutErrors").unwrap();
    let asked = |firing: &Firing, now| {
        (
            firing.answer(now, span, &checkout, &errors).map(|number| number.get()),
            firing.infra(now, &checkout),
        )
    };
    let oom = vec![Infra { kind: InfraKind::OutOfMemory, count: 1 }];

    let delivery = alerts(FIRING).unwrap();
    assert_eq!((delivery.alerts.len(), delivery.passed_over.len(), delivery.truncated), (2, 0, 0));
    firing.hear(Mono(0), delivery.alerts);
    assert_eq!(asked(&firing, Mono(1000)), (Ok(1.0), oom.clone()));

    firing.hear(Mono(5000), alerts(RESOLVED).unwrap().alerts);
    assert_eq!(asked(&firing, Mono(6000)), (Ok(0.0), oom.clone()));
    // A window later nobody has said anything of it any more; what is on goes on.
    assert_eq!(asked(&firing, Mono(66_000)), (Err(NoData::NotAsked), oom));
}
