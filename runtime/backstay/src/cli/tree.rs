//! A fleet as a tree: cohorts, and below each the devices that somebody has to look at.
//!
//! Who is settled, connected and well is counted and not listed: of thousands, these are the ones that don't matter
//! now. Three things are kept apart, each with its age: what a device *says* that it runs, what *passed its trial*
//! there, and when it was last *heard* of.

use backstay_api::{CohortView, DeviceView, FleetView};
use backstay_model::{Channel, Direction, Health, Standing};

use crate::{
    printer::{Colour, Paint},
    text::{self, age, count, plain, proof, release, standing},
};

/// The most devices of a cohort that are listed, most urgent first.
const DEVICES_MAX: usize = 16;

/// How much a device wants to be looked at. What comes first is listed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Frozen,
    Stranded,
    Bad,
    GoingHome,
    OnTrial,
    Installing,
    SitsOut,
    Silent,
    Well,
}

impl Look {
    fn at(device: &DeviceView) -> Self {
        match device.standing {
            Some(Standing::Frozen) => Self::Frozen,
            Some(Standing::Stranded) => Self::Stranded,
            Some(Standing::GoingHome) => Self::GoingHome,
            _ if health(device) == Some(Health::Bad) => Self::Bad,
            Some(Standing::OnTrial) => Self::OnTrial,
            Some(Standing::Installing) => Self::Installing,
            Some(Standing::Excluded) => Self::SitsOut,
            Some(Standing::Settled) if device.online => Self::Well,
            Some(Standing::Settled) | None => Self::Silent,
        }
    }

    /// A sign that is told apart without its colour.
    const fn sign(self) -> (&'static str, Paint) {
        match self {
            Self::Frozen => ("!", Paint::Bad),
            Self::Stranded => ("~", Paint::Bad),
            Self::Bad => ("x", Paint::Bad),
            Self::GoingHome => ("<", Paint::Bad),
            Self::OnTrial => ("?", Paint::Busy),
            Self::Installing => (">", Paint::Busy),
            Self::SitsOut => ("-", Paint::Faint),
            Self::Silent => (".", Paint::Faint),
            Self::Well => ("+", Paint::Good),
        }
    }
}

/// The whole tree, line by line, each at most `columns` wide.
pub(crate) fn tree(fleet: &FleetView, columns: usize, colour: Colour) -> Vec<String> {
    let online = fleet.devices.iter().filter(|device| device.online).count() as u64;
    let devices = count(fleet.devices.len() as u64, "device", "devices");
    let mut lines = Lines { columns, colour, lines: Vec::new() };
    lines.push("", &format!("fleet {}: {devices}, {online} connected", fleet.fleet), Some(Paint::Strong));
    for (at, view) in fleet.cohorts.iter().enumerate() {
        let last = at + 1 == fleet.cohorts.len();
        let (branch, below) = if last { ("`- ", "   ") } else { ("|- ", "|  ") };
        lines.push(branch, &cohort(view), Some(Paint::Strong));
        lines.push(below, &counts(view), None);
        // The devices are listed once.
        if view.channel == Channel::Plugins {
            continue;
        }
        let mut here: Vec<_> = fleet.devices.iter().filter(|device| device.cohort == view.cohort).collect();
        here.sort_by(|a, b| Look::at(a).cmp(&Look::at(b)).then_with(|| a.device.cmp(&b.device)));
        let well = here.iter().filter(|device| Look::at(device) == Look::Well).count();
        let urgent = here.len() - well;
        for device in here.iter().take(urgent.min(DEVICES_MAX)) {
            let (sign, paint) = Look::at(device).sign();
            lines.push(&format!("{below}{sign} "), &line(device), Some(paint));
        }
        if urgent > DEVICES_MAX {
            lines.push(below, &format!("  and {} more like these", urgent - DEVICES_MAX), Some(Paint::Faint));
        }
        if well > 0 {
            lines.push(
                &format!("{below}+ "),
                &format!("{well} settled, connected and well"),
                Some(Paint::Good),
            );
        }
    }
    lines.lines
}

/// A cohort in one line.
pub(crate) fn cohort(view: &CohortView) -> String {
    let mut line = format!("{}: {}", text::lane(&view.cohort, view.channel), view.phase);
    if let (Some(rollout), Some(release)) = (&view.rollout, &view.release) {
        let way = match view.direction {
            Some(Direction::Forward) | None => "to",
            Some(Direction::Hold) => "held on the way to",
            Some(Direction::Home) => "home from",
        };
        line.push_str(&format!("; rollout {rollout} {way} {release}"));
    }
    if view.frozen {
        line.push_str("; frozen");
    }
    // Without its age: what only grows older is no change.
    if view.breaker_ms.is_some() {
        line.push_str("; breaker open");
    }
    line
}

/// Its numbers.
pub(crate) fn counts(view: &CohortView) -> String {
    let CohortView { reached, devices, confirmed, on_trial, failed, excluded, .. } = view;
    format!(
        "reached {reached} of {devices}: {confirmed} confirmed, {on_trial} on trial, {failed} failed, {excluded} sit out"
    )
}

/// A device in one line.
pub(crate) fn line(device: &DeviceView) -> String {
    let online = if device.online { "connected" } else { "away" };
    let mut line = format!("{}: {}, {online}", device.device, standing(device.standing));
    line.push_str(&format!("; booted {}", proof(device.booted.as_ref())));
    line.push_str(&format!("; confirmed {}", proof(device.confirmed.as_ref())));
    line.push_str(&format!("; heard {}", device.heard_ms.map_or_else(|| "never".into(), age)));
    if health(device) == Some(Health::Bad) {
        line.push_str("; health bad");
    }
    line
}

/// A device in one line without what changes by itself.
pub(crate) fn change(device: &DeviceView) -> String {
    let online = if device.online { "connected" } else { "away" };
    let booted = release(device.booted.as_ref().map(|proof| &proof.release));
    let confirmed = release(device.confirmed.as_ref().map(|proof| &proof.release));
    let (stands, does) = (standing(device.standing), text::health(health(device)));
    format!("{}: {stands}, {online}; booted {booted}; confirmed {confirmed}; health {does}", device.device)
}

struct Lines {
    columns: usize,
    colour: Colour,
    lines: Vec<String>,
}

impl Lines {
    fn push(&mut self, branch: &str, text: &str, paint: Option<Paint>) {
        let room = self.columns.saturating_sub(branch.chars().count());
        let text: String = plain(text).chars().take(room).collect();
        let text = paint.map_or_else(|| text.clone(), |paint| self.colour.paint(paint, &text));
        self.lines.push(format!("{branch}{text}"));
    }
}

/// How a device does by its newest word, signed or not: it is shown, and nothing is decided on it.
pub(crate) fn health(device: &DeviceView) -> Option<Health> {
    device.health_now.map(|now| now.health).or(device.health)
}

#[cfg(test)]
pub(crate) mod tests {
    use backstay_api::{HealthView, Proof};
    use backstay_model::{CohortId, DeviceId, Digest, Release, Version};

    use super::*;
    use crate::verdict::tests::underway;

    fn release(version: &str, byte: u8) -> Release {
        let version = Version::parse(version).unwrap();
        Release { version, digest: Digest([byte; 32]), length: 1, security_epoch: 0 }
    }

    pub(crate) fn device(name: &str, standing: Standing) -> DeviceView {
        let on_trial = standing == Standing::OnTrial;
        let booted = if on_trial { release("2.0.0", 0xab) } else { release("1.4.0", 0xcd) };
        DeviceView {
            device: DeviceId::parse(name).unwrap(),
            cohort: CohortId::parse("canary").unwrap(),
            labels: Vec::new(),
            key: Digest([7; 32]),
            online: true,
            heard_ms: Some(2_000),
            wanted: None,
            booted: Some(Proof { release: booted, age_ms: 61_000 }),
            confirmed: Some(Proof { release: release("1.4.0", 0xcd), age_ms: 200_000_000 }),
            standing: Some(standing),
            health: Some(Health::Good),
            health_now: Some(HealthView { health: Health::Good, age_ms: 2000, signed: false }),
            condemned: Vec::new(),
            journal: 12,
            journal_from: 1,
            journal_told: 12,
            plugins: None,
        }
    }

    fn fleet() -> FleetView {
        let devices = vec![
            device("pump-1", Standing::Settled),
            device("pump-2", Standing::OnTrial),
            device("pump-3", Standing::GoingHome),
            DeviceView { online: false, ..device("pump-4", Standing::Settled) },
        ];
        FleetView { fleet: "acme".into(), cohorts: vec![underway()], devices }
    }

    #[test]
    fn a_fleet_is_a_tree_with_the_urgent_first() {
        assert_eq!(
            tree(&fleet(), 200, Colour::Without).join("\n"),
            "fleet acme: 4 devices, 3 connected\n\
             `- canary: wave 2 of 4; rollout r-7 to 2.0.0 (abababab)\n\
             \u{20}  reached 12 of 24: 8 confirmed, 3 on trial, 1 failed, 0 sit out\n\
             \u{20}  < pump-3: going home, connected; booted 1.4.0 (cdcdcdcd) 1m; confirmed 1.4.0 (cdcdcdcd) 2d; heard 2s\n\
             \u{20}  ? pump-2: on trial, connected; booted 2.0.0 (abababab) 1m; confirmed 1.4.0 (cdcdcdcd) 2d; heard 2s\n\
             \u{20}  . pump-4: settled, away; booted 1.4.0 (cdcdcdcd) 1m; confirmed 1.4.0 (cdcdcdcd) 2d; heard 2s\n\
             \u{20}  + 1 settled, connected and well"
        );
    }

    #[test]
    fn a_large_cohort_is_folded_and_a_narrow_window_kept() {
        let mut fleet = fleet();
        fleet.devices = (0..1000).map(|n| device(&format!("pump-{n:04}"), Standing::OnTrial)).collect();
        let lines = tree(&fleet, 40, Colour::Without);
        assert_eq!(lines.len(), 3 + DEVICES_MAX + 1);
        assert_eq!(lines.last().unwrap(), "     and 984 more like these");
        assert!(lines.iter().all(|line| line.chars().count() <= 40));
    }

    #[test]
    fn what_only_grows_older_is_no_change() {
        let one = device("pump-1", Standing::Settled);
        let later = DeviceView { heard_ms: Some(9_000_000), ..one.clone() };
        assert_eq!(change(&one), change(&later));
        assert_ne!(change(&one), change(&DeviceView { online: false, ..one.clone() }));
    }
}
