//! Settings from the `[broker]` that every configuration has.

use backstay_config::Broker;

use crate::{Address, AddressError, Identity, Settings, Tls};

impl Settings {
    /// What `broker` says, for a client of this name. What it leaves out is as in [`Settings::new`].
    ///
    /// # Errors
    /// If its URL is none.
    pub fn of(broker: &Broker, client_id: impl Into<String>, seed: u64) -> Result<Self, AddressError> {
        let address: Address = broker.url.parse()?;
        let identity = match (&broker.user, &broker.password_file, &broker.certificate, &broker.key) {
            (Some(user), Some(file), _, _) => Identity::Password { user: user.clone(), file: file.clone() },
            (_, _, Some(certificate), Some(key)) => {
                Identity::Certificate { certificate: certificate.clone(), key: key.clone() }
            }
            _ => Identity::Anonymous,
        };
        let tls = broker.ca.as_ref().map(|ca| Tls { ca: ca.clone() });
        let keep_alive = broker.keep_alive.millis();
        Ok(Self { identity, tls, keep_alive, ..Self::new(address, client_id, seed) })
    }
}
