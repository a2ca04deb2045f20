//! Two images of a machine that bring plugins of their own, with one memory between them.
//!
//! The older image's grant is below the floor that the newer one's has set, and yet the older image is the way home: what
//! the configurations of both have brought stays good beside the floor. Not here: what a floor is (`trust`), and keeping
//! what was brought (whoever runs plugins).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use backstay_config::Plugin as PluginConfig;
use backstay_model::PluginId;
use backstay_trust::{Accepted, Floor, GrantedPlugin};

use crate::{LoadError, Loader, Ready};

/// The most grants of one plugin that configurations have brought and that stay good: one for each slot.
const IMAGES: usize = 2;

/// Notes that the configuration has brought a plugin under this grant. The newest comes first.
pub fn pin(pinned: &mut Vec<(PluginId, Accepted)>, granted: &GrantedPlugin) {
    let (id, accepted) = (granted.id(), granted.accepted());
    pinned.retain(|(plugin, other)| plugin != id || *other != accepted);
    pinned.insert(0, (id.clone(), accepted));
    let mut of_it = 0;
    pinned.retain(|(plugin, _)| {
        of_it += usize::from(plugin == id);
        plugin != id || of_it <= IMAGES
    });
}

/// The files that a configuration names for a job: the one that is to be used, and the last good one.
pub fn configured(config: &PluginConfig) -> impl Iterator<Item = &Path> {
    [Some(&config.bundle), config.last_good.as_ref()].into_iter().flatten().map(PathBuf::as_path)
}

impl Loader<'_> {
    /// What `load` gives where each of these grants is as good as those that were accepted.
    ///
    /// # Errors
    /// If it can't be used all the same.
    pub fn beside<P>(
        &self,
        pinned: &[(PluginId, Accepted)],
        load: impl Fn(&Loader<'_>) -> Result<Ready<P>, LoadError>,
    ) -> Result<Ready<P>, LoadError> {
        let mut loaded = load(self);
        for (plugin, accepted) in pinned {
            // Nothing else than what was accepted before is in question here.
            let Err(LoadError::Untrusted { .. }) = loaded else { break };
            let Some(floor) = self.floors.get(plugin) else { continue };
            let mut floors: BTreeMap<PluginId, Floor> = self.floors.clone();
            floors.insert(plugin.clone(), Floor { before: Some(*accepted), ..*floor });
            let again = load(&Loader { floors: &floors, mark: self.mark.clone(), ..*self });
            if again.is_ok() {
                loaded = again;
            }
        }
        loaded
    }
}
