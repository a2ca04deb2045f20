//! The kinds of statement. Not here: their form (`envelope`), and what each of them says.

use core::fmt;

/// The kinds of statement. Each is signed under its own name, so none can stand in for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Domain {
    /// A vendor releases a plugin.
    PluginRelease = 1,
    /// An operator lets it run.
    Grant = 2,
    /// The product has a release.
    ProductRelease = 3,
    /// The server steers the product of a cohort.
    SteerProduct = 4,
    /// The server steers the plugins of a cohort.
    SteerPlugins = 5,
    /// The server instructs one device.
    DeviceOrder = 6,
    /// The server says what the fleet trusts.
    TrustFloor = 7,
    /// The server says how far it has a device's journal.
    Receipt = 8,
    /// An operator seconds an order of the server.
    Consent = 9,
    /// A device asks to be enrolled.
    EnrolRequest = 10,
    /// The server enrols a device.
    Enrolment = 11,
    /// A device says what it runs.
    DeviceState = 12,
    /// A device says whether it is connected.
    DevicePresence = 13,
    /// A device sends journal records.
    DeviceLog = 14,
    /// The roots say which keys are trusted from now on.
    Keyring = 15,
    /// A revoker takes trust back.
    Revocation = 16,
    /// A device says which plugins it has.
    DevicePlugins = 17,
    /// The verdict keys tell a pipeline what to do about a build.
    Verdict = 18,
    /// The release keys say that a service's configuration was good.
    KnownGood = 19,
}

impl Domain {
    pub(crate) const ALL: [Self; 19] = [
        Self::PluginRelease,
        Self::Grant,
        Self::ProductRelease,
        Self::SteerProduct,
        Self::SteerPlugins,
        Self::DeviceOrder,
        Self::TrustFloor,
        Self::Receipt,
        Self::Consent,
        Self::EnrolRequest,
        Self::Enrolment,
        Self::DeviceState,
        Self::DevicePresence,
        Self::DeviceLog,
        Self::Keyring,
        Self::Revocation,
        Self::DevicePlugins,
        Self::Verdict,
        Self::KnownGood,
    ];

    /// Its number in an envelope.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|domain| domain.code() == code)
    }

    /// Its name, which is part of what is signed and never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PluginRelease => "plugin release",
            Self::Grant => "grant",
            Self::ProductRelease => "product release",
            Self::SteerProduct => "product steering",
            Self::SteerPlugins => "plugin steering",
            Self::DeviceOrder => "device order",
            Self::TrustFloor => "trust floor",
            Self::Receipt => "receipt",
            Self::Consent => "consent",
            Self::EnrolRequest => "enrolment request",
            Self::Enrolment => "enrolment",
            Self::DeviceState => "device state",
            Self::DevicePresence => "device presence",
            Self::DeviceLog => "device log",
            Self::Keyring => "keyring",
            Self::Revocation => "revocation",
            Self::DevicePlugins => "device plugin state",
            Self::Verdict => "verdict",
            Self::KnownGood => "known good",
        }
    }

    /// The most bytes of one, envelope included. Nothing larger is looked into.
    #[must_use]
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Grant => 64 * 1024,
            // A keyring of its greatest length, and all signatures.
            Self::Keyring => 36 * 1024,
            Self::Revocation => 32 * 1024,
            Self::PluginRelease | Self::ProductRelease => 16 * 1024,
            Self::SteerProduct
            | Self::SteerPlugins
            | Self::DeviceState
            | Self::DevicePlugins
            | Self::Enrolment
            | Self::Verdict => 8 * 1024,
            Self::DeviceOrder | Self::KnownGood => 4 * 1024,
            Self::TrustFloor | Self::Receipt | Self::Consent | Self::EnrolRequest | Self::DevicePresence => {
                1024
            }
            Self::DeviceLog => 120 * 1024,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_number_and_one_name() {
        for (at, one) in Domain::ALL.into_iter().enumerate() {
            assert_eq!(Domain::from_code(one.code()), Some(one));
            assert!(Domain::ALL.into_iter().skip(at + 1).all(|other| other.name() != one.name()));
        }
        assert_eq!(Domain::from_code(0), None);
    }
}
