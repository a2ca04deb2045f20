//! Which bundles a device has for each job: the one of its configuration, and those that it was steered to.
//!
//! Not here: when one of them gets a job or loses it (`upgrade`), and where they are kept.

use alloc::vec::Vec;

use backstay_model::{Digest, PluginRole, Release};
use serde::{Deserialize, Serialize};

use super::input::Configured;

/// The most bundles of one job that came by steering: the one that has it, and the one before.
const TAKEN_MAX: usize = 2;

/// A plugin as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Version of the plugin, digest and length of the file.
    pub release: Release,
    /// Of its grant.
    pub grant: Digest,
}

/// The bundles of all jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seats(Vec<Seat>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seat {
    role: PluginRole,
    /// The digest of the bundle that the configuration names.
    named: Option<Digest>,
    /// The first of the configuration's that can be used.
    configured: Option<Bundle>,
    /// Newest first.
    taken: Vec<Bundle>,
    /// Steering has led back since the newest came.
    stepped_back: bool,
}

impl Seat {
    fn trusted(&self) -> Option<&Bundle> {
        self.taken.first().or(self.configured.as_ref())
    }
}

impl Seats {
    /// Takes note of the configuration. Where it names another bundle than before, somebody wants that: what came by
    /// steering is given up for it. Gives what was given up, and for what.
    pub(super) fn configure(&mut self, configured: Vec<Configured>) -> Vec<(Release, Option<Release>)> {
        let mut given_up = Vec::new();
        for Configured { role, named, usable } in configured {
            let seat = self.seat(role);
            let is_other = seat.named.is_some() && named.is_some() && seat.named != named;
            if is_other && let Some(had) = seat.taken.first() {
                let to = usable.as_ref().map(|to| to.release.clone());
                given_up.push((had.release.clone(), to));
                seat.taken.clear();
            }
            seat.taken.retain(|taken| Some(taken.release.digest) != named);
            seat.named = named.or(seat.named);
            seat.configured = usable;
        }
        given_up
    }

    /// The bundle that has the job.
    pub(super) fn trusted(&self, role: PluginRole) -> Option<&Bundle> {
        self.0.iter().find(|seat| seat.role == role)?.trusted()
    }

    /// Whether a bundle has a job.
    pub(super) fn has_job(&self, bundle: &Digest) -> bool {
        self.0.iter().filter_map(Seat::trusted).any(|trusted| trusted.release.digest == *bundle)
    }

    /// The job that a bundle has, or had.
    pub(super) fn role_of(&self, bundle: &Digest) -> Option<PluginRole> {
        let is = |of: &Bundle| of.release.digest == *bundle;
        let seat = self.0.iter().find(|seat| seat.taken.iter().chain(&seat.configured).any(is));
        seat.map(|seat| seat.role)
    }

    /// Those that came by steering, job by job, newest first.
    pub(super) fn taken(&self) -> Vec<(PluginRole, Bundle)> {
        let of = |seat: &Seat| {
            let role = seat.role;
            seat.taken.iter().map(move |bundle| (role, bundle.clone())).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// The one that came by steering under a grant.
    pub(super) fn of_grant(&self, grant: &Digest) -> Option<Bundle> {
        self.0.iter().flat_map(|seat| &seat.taken).find(|bundle| bundle.grant == *grant).cloned()
    }

    /// Whether steering may lead back from a bundle. None: it has no job.
    pub(super) fn step_back(&mut self, bundle: &Digest) -> Option<Result<(), &'static str>> {
        let has = |seat: &&mut Seat| seat.trusted().is_some_and(|trusted| trusted.release.digest == *bundle);
        let seat = self.0.iter_mut().find(has)?;
        let is_taken = seat.taken.first().is_some_and(|taken| taken.release.digest == *bundle);
        Some(if !is_taken {
            Err("the configuration names it, and no other one is here")
        } else if seat.taken.len() == 1 && seat.configured.is_none() {
            Err("no other one is here")
        } else if core::mem::replace(&mut seat.stepped_back, true) {
            Err("this device came back already, and further back leads what operators grant anew")
        } else {
            Ok(())
        })
    }

    /// Whether the configuration's own bundle runs under a grant.
    pub(super) fn is_configured(&self, grant: &Digest) -> bool {
        self.0.iter().filter_map(|seat| seat.configured.as_ref()).any(|of| of.grant == *grant)
    }

    /// Gives a bundle its job. What there is no more room for comes back.
    pub(super) fn take(&mut self, role: PluginRole, bundle: Bundle) -> Option<Bundle> {
        let seat = self.seat(role);
        seat.stepped_back = false;
        let taken = &mut seat.taken;
        taken.retain(|other| other.release.digest != bundle.release.digest);
        taken.insert(0, bundle);
        (taken.len() > TAKEN_MAX).then(|| taken.pop()).flatten()
    }

    /// Takes a bundle away that came by steering.
    pub(super) fn remove(&mut self, bundle: &Digest) -> Option<(PluginRole, Bundle)> {
        self.0.iter_mut().find_map(|seat| {
            let at = seat.taken.iter().position(|taken| taken.release.digest == *bundle)?;
            Some((seat.role, seat.taken.remove(at)))
        })
    }

    fn seat(&mut self, role: PluginRole) -> &mut Seat {
        if let Some(at) = self.0.iter().position(|seat| seat.role == role) {
            return &mut self.0[at];
        }
        let (named, configured) = (None, None);
        self.0.push(Seat { role, named, configured, taken: Vec::new(), stepped_back: false });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}
