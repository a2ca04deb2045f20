//! How large a run is, and how finely its time is cut.
//!
//! Not here: what may go wrong in it (`weather`), and the run as it is asked for (`trial`).

use backstay_model::Millis;

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Devices.
    pub devices: usize,
    /// Cohorts that they are spread over.
    pub cohorts: usize,
    /// For so long things go wrong.
    pub days: f64,
    /// Between two beats of a device.
    pub beat: Millis,
    /// Between two readings of a probe.
    pub probe: Millis,
}

impl Size {
    /// `devices` for `days`, with beats and probes as seldom as windows bear.
    #[must_use]
    pub fn of(devices: usize, days: f64) -> Self {
        let span = Millis::from_secs(300);
        Self { devices, cohorts: if devices >= 20 { 2 } else { 1 }, days, beat: span, probe: span }
    }

    /// The same with as many devices.
    #[must_use]
    pub fn with_devices(self, devices: usize) -> Self {
        let Self { devices, cohorts, .. } = Self::of(devices, self.days);
        Self { devices, cohorts, ..self }
    }
}
