//! A device in memory that can be cut off at every effect, before it is done or after.

use backstay_sdk::executor::{
    Access, Answer, Answered, Effect, Event, Exited, Order, Outcome, Output, Run, Slot, Task, Transience,
    step,
};

use super::*;
use crate::Ota;

/// A run that takes more steps than this doesn't end.
const STEPS_MAX: u32 = 100;

fn release(version: &str) -> Release {
    let digest = version.bytes().cycle().take(32).map(|byte| format!("{byte:02x}")).collect();
    Release { version: version.into(), digest, length: 1000, security_epoch: 0 }
}

/// What the device is like.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    slots: SlotStatus,
    /// What was changed, in order.
    deeds: Vec<&'static str>,
    /// Releases that panic at boot.
    broken: Vec<Release>,
    /// What the restart command ends with.
    restart_code: i32,
}

impl Device {
    fn on(version: &str) -> Self {
        let runs = release(version);
        let slots = SlotStatus { booted: runs.clone(), confirmed: runs, other: None, trying: None };
        Self { slots, deeds: vec![], broken: vec![], restart_code: 0 }
    }

    fn other(mut self, version: &str) -> Self {
        self.slots.other = Some(release(version));
        self
    }

    /// On trial of `version`, with what ran before as the way home.
    fn on_trial(mut self, version: &str) -> Self {
        self.slots.other = Some(self.slots.confirmed.clone());
        self.slots.booted = release(version);
        self.slots.trying = Some(release(version));
        self
    }

    fn does(&mut self, deed: &Deed) -> Answer {
        let slots = &mut self.slots;
        match deed {
            Deed::Slot(Slot::Status) => return Answer::Slots(slots.clone()),
            Deed::Slot(Slot::Stage(release)) => {
                if slots.trying.is_some() {
                    return Answer::Failed(permanent("a try is open"));
                }
                self.deeds.push("stage");
                slots.other = Some(release.clone());
            }
            Deed::Slot(Slot::TryNext(release)) => {
                if !has(slots.other.as_ref(), release) {
                    return Answer::Failed(permanent("it isn't there"));
                }
                self.deeds.push("try");
                slots.trying = Some(release.clone());
            }
            Deed::Slot(Slot::Confirm(release)) => {
                assert!(same(&slots.booted, release));
                self.deeds.push("confirm");
                slots.confirmed = release.clone();
                slots.trying = None;
            }
            Deed::Slot(Slot::GoHome(release)) => {
                assert!(same(&slots.confirmed, release) || has(slots.other.as_ref(), release));
                self.deeds.push("home");
                slots.confirmed = release.clone();
                slots.trying = None;
            }
            Deed::Run(Run { command, .. }) if command == "restart" => {
                self.deeds.push("restart");
                if self.restart_code == 0 {
                    self.restarts();
                }
                let output = Output { bytes: vec![], whole: None };
                return Answer::Exited(Exited { code: Some(self.restart_code), output });
            }
            Deed::Run(_) => {
                self.deeds.push("playbook");
                let output = Output { bytes: vec![], whole: None };
                return Answer::Exited(Exited { code: Some(0), output });
            }
            Deed::Sleep(_) => {}
            Deed::Http(_) | Deed::File(_) | Deed::Publish(_) | Deed::Attach(_) => {
                return Answer::Refused("not here".into());
            }
        }
        Answer::Done
    }

    fn restarts(&mut self) {
        let slots = &mut self.slots;
        let before = slots.booted.clone();
        if slots.trying.as_ref().is_some_and(|tried| self.broken.contains(tried)) {
            slots.trying = None;
        }
        slots.booted = slots.trying.as_ref().unwrap_or(&slots.confirmed).clone();
        if !same(&before, &slots.booted) {
            slots.other = Some(before);
        }
    }
}

/// What happens to one of the effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The power goes before anything is done.
    Before,
    /// The power goes when all is done, and nobody hears of it.
    After,
}

/// Runs `task` to its end, with the power cut at the effect that has the ordinal `at`.
fn run(device: &mut Device, task: Task, cut: Option<(u32, Cut)>) -> (Outcome, u32) {
    let order = Order { ticket: 1, fence: 1, task };
    let mut stepped = step::<Ota>(&[], &[], Event::Begin(order)).unwrap();
    for asked in 0..STEPS_MAX {
        if let Some(end) = stepped.end {
            return (end, asked);
        }
        let [Effect { ordinal, access, deed }] = &stepped.effects[..] else { panic!("{stepped:?}") };
        let before = device.deeds.len();
        let answer = match cut.filter(|(at, _)| at == ordinal) {
            None => device.does(deed),
            Some((_, Cut::Before)) => {
                device.restarts();
                Answer::InDoubt
            }
            Some((_, Cut::After)) => {
                device.does(deed);
                device.restarts();
                Answer::InDoubt
            }
        };
        assert!(
            *access == Access::Changes || device.deeds.len() == before,
            "a look changed something: {deed:?}"
        );
        let answered = Event::Answered(Answered { ordinal: *ordinal, answer });
        stepped = step::<Ota>(&[], &stepped.state, answered).unwrap();
    }
    panic!("the run doesn't end: {device:?}")
}

fn install(version: &str) -> Task {
    Task::Install(release(version))
}

fn home(version: &str) -> Task {
    Task::GoHome(release(version))
}

#[test]
fn a_release_comes_in_is_confirmed_and_goes_home() {
    let mut device = Device::on("1.4.0");
    assert_eq!(run(&mut device, install("1.5.0"), None).0, Outcome::Done);
    assert_eq!(device.deeds, ["stage", "try", "restart"]);
    assert_eq!(device.slots.booted, release("1.5.0"));
    assert_eq!(device.slots.confirmed, release("1.4.0"));

    let mut confirmed = device.clone();
    assert_eq!(run(&mut confirmed, Task::Confirm(release("1.5.0")), None).0, Outcome::Done);
    assert_eq!(confirmed.slots.confirmed, release("1.5.0"));
    assert_eq!(run(&mut confirmed, home("1.4.0"), None).0, Outcome::Done);
    assert_eq!((confirmed.slots.booted, confirmed.slots.confirmed), (release("1.4.0"), release("1.4.0")));

    device.deeds.clear();
    assert_eq!(run(&mut device, home("1.4.0"), None).0, Outcome::Done);
    assert_eq!(device.deeds, ["home", "restart"]);
    assert_eq!(device.slots.booted, release("1.4.0"));
    assert_eq!(device.slots.trying, None);
}

/// The starting points and tasks that are cut and repeated below.
fn stories() -> Vec<(&'static str, Device, Task)> {
    vec![
        ("install", Device::on("1.4.0"), install("1.5.0")),
        ("install over another", Device::on("1.4.0").other("1.3.0"), install("1.5.0")),
        ("install what is staged", Device::on("1.4.0").other("1.5.0"), install("1.5.0")),
        ("install what runs", Device::on("1.5.0"), install("1.5.0")),
        ("confirm", Device::on("1.4.0").on_trial("1.5.0"), Task::Confirm(release("1.5.0"))),
        ("home from a trial", Device::on("1.4.0").on_trial("1.5.0"), home("1.4.0")),
        ("home from a confirmed one", Device::on("1.5.0").other("1.4.0"), home("1.4.0")),
        ("home by download", Device::on("1.5.0").other("1.3.0"), home("1.4.0")),
        ("home to what runs", Device::on("1.4.0"), home("1.4.0")),
    ]
}

#[test]
fn cut_off_at_every_effect_the_run_comes_to_the_same_end() {
    for (told, device, task) in stories() {
        let mut whole = device.clone();
        let (end, effects) = run(&mut whole, task.clone(), None);
        assert_eq!(end, Outcome::Done, "{told}");
        for at in 0..effects {
            for cut in [Cut::Before, Cut::After] {
                let mut device = device.clone();
                let end = run(&mut device, task.clone(), Some((at, cut))).0;
                assert_eq!(end, Outcome::Done, "{told}, {cut:?} effect {at}");
                let (cut_slots, whole) = (&device.slots, &whole.slots);
                assert_eq!(cut_slots.booted, whole.booted, "{told}, {cut:?} effect {at}");
                assert_eq!(cut_slots.confirmed, whole.confirmed, "{told}, {cut:?} effect {at}");
                let staged = device.deeds.iter().filter(|deed| **deed == "stage").count();
                assert!(staged <= 1, "{told}, {cut:?} effect {at}: staged {staged} times");
            }
        }
    }
}

#[test]
fn an_order_that_comes_twice_does_nothing_twice() {
    for (told, mut device, task) in stories() {
        assert_eq!(run(&mut device, task.clone(), None).0, Outcome::Done, "{told}");
        let once = device.clone();
        assert_eq!(run(&mut device, task, None).0, Outcome::Done, "{told}");
        assert_eq!(device, once, "{told}");
    }
}

#[test]
fn a_release_that_does_not_boot_was_brought_in_and_the_slots_say_what_runs() {
    let mut device = Device::on("1.4.0");
    device.broken.push(release("1.5.0"));
    let (end, _) = run(&mut device, install("1.5.0"), None);
    assert_eq!(end, Outcome::Done);
    assert!(same(&device.slots.booted, &release("1.4.0")));
    assert_eq!(device.deeds, ["stage", "try", "restart"]);
}

#[test]
fn a_restart_that_fails_is_said() {
    let mut device = Device::on("1.4.0");
    device.restart_code = 7;
    let (end, _) = run(&mut device, install("1.5.0"), None);
    assert_eq!(end, Outcome::Failed(transient("the command ended with exit code 7")));
}

#[test]
fn what_does_not_run_can_not_be_confirmed() {
    let mut device = Device::on("1.4.0");
    let (end, _) = run(&mut device, Task::Confirm(release("1.5.0")), None);
    let Outcome::Failed(failed) = end else { panic!("{end:?}") };
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(device.deeds.is_empty());
}

#[test]
fn a_look_is_no_command() {
    let mut device = Device::on("1.4.0");
    let (end, asked) = run(&mut device, Task::Heal("look".into()), None);
    let Outcome::Failed(failed) = end else { panic!("{end:?}") };
    assert_eq!((failed.transience, asked), (Transience::Permanent, 0));
    assert!(device.deeds.is_empty());
}

#[test]
fn a_playbook_is_run_once() {
    let mut device = Device::on("1.4.0");
    assert_eq!(run(&mut device, Task::Heal("clear-cache".into()), None).0, Outcome::Done);
    assert_eq!(device.deeds, ["playbook"]);
    let (end, _) = run(&mut device, Task::Heal("clear-cache".into()), Some((0, Cut::After)));
    assert_eq!(end, Outcome::Failed(transient("the host went down in the middle")));
    assert_eq!(device.deeds, ["playbook", "playbook"]);
}
