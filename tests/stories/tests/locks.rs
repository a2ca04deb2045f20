//! Stories about the lock on a target: two servers, one that slept, and one that forgot.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{Lock, Locked, Stale};
use backstay_model::{Fence, Millis, Mono, Ticket};

const MINUTE: Millis = Millis::from_secs(60);

fn at(secs: u64) -> Mono {
    Mono(secs * 1000)
}

/// A run is begun, and its server's machine is paused for longer than the lock lasts. Nobody gets in before that, the next run does at that
/// very moment, and the paused one finds out before it does anything.
#[test]
fn a_server_that_slept_too_long_finds_out_before_it_acts() {
    let mut lock = Lock::default();
    let slept = lock.take(at(0), Ticket(1), MINUTE).unwrap();
    lock.renew(at(30), slept, MINUTE).unwrap();
    let left = Millis::from_secs(1);
    assert_eq!(lock.take(at(89), Ticket(2), MINUTE), Err(Locked { ticket: Ticket(1), left }));
    assert!(lock.renew(at(90), slept, MINUTE).is_err() && !lock.admits(at(90), slept));
    let next = lock.take(at(90), Ticket(2), MINUTE).unwrap();
    assert_eq!(lock.renew(at(91), slept, MINUTE), Err(Stale { fence: slept, newest: next }));
    assert_eq!(lock.release(slept), Err(Stale { fence: slept, newest: next }), "it lets go of nobody else's");
    assert!(lock.admits(at(91), next) && !lock.admits(at(91), slept));
}

/// A server's state is lost, and the journal and the target each know a number. The larger one counts, in whatever order they are
/// looked at: no number is ever given twice.
#[test]
fn a_server_that_forgot_goes_on_from_the_largest_number_that_anybody_saw() {
    for order in [[41, 7], [7, 41]] {
        let mut lock = Lock::default();
        order.into_iter().for_each(|number| lock.seen(Fence(number)));
        assert_eq!(lock.take(at(0), Ticket(9), MINUTE), Ok(Fence(42)), "{order:?}");
        // What it has given since is larger than what was seen: its own run keeps the lock.
        lock.seen(Fence(41));
        assert!(lock.admits(at(1), Fence(42)));
        // So does the run whose own number is seen, since the target has it by now.
        lock.seen(Fence(42));
        assert!(lock.admits(at(2), Fence(42)));
    }
}
