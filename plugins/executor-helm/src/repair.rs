//! The playbook `repair`: a release that was left pending can be worked with again, and what runs stays the same release.
//!
//! What runs is what the workload says, where the settings name one, else what the pending revision was to bring: only another revision of
//! that is gone back to. So a roll-back that was cut off is finished, and an upgrade that changed no more than settings is taken back. An upgrade to
//! another release isn't: whether that one or the one before is right decides whoever sends it home.

use alloc::format;

use backstay_sdk::executor::{Failed, Order, permanent};

use crate::{
    book::{Book, Wanted},
    desk::Desk,
    home::{Journey, Purpose, under_lock},
    live,
};

/// What it is called.
pub(crate) const REPAIR: &str = "repair";

/// Repairs what is pending.
pub(crate) async fn repair(desk: &Desk<'_>, order: &Order) -> Result<(), Failed> {
    let history = desk.history().await?;
    let newest = history.newest();
    if !newest.status.is_pending() {
        return Ok(());
    }
    let mut book = Book::default();
    book.learn(desk, &[newest]).await?;
    let recorded = book.told(newest.revision).cloned();
    let unknown = || permanent(format!("which release {} was to bring isn't known", newest.told()));
    let mut runs = recorded.ok_or_else(unknown)?;
    if let Some(live) = live::told(desk).await? {
        if !runs.image.is_empty() {
            runs = live;
        } else if book.image(desk, newest).await?.is_none_or(|image| image.image != live.image) {
            // What a value says of a release can't be held against an image.
            let why = "what is live isn't what it was to bring: send it home instead";
            return Err(permanent(format!("{} can't be repaired: {why}", newest.told())));
        }
    }
    let wanted = Wanted::Same(runs);
    if book.find(desk, &history, &wanted, &[]).await?.is_none() {
        let why = "no whole revision runs the same release as what is live: send it home instead";
        return Err(permanent(format!("{} can't be repaired: {why}", newest.told())));
    }
    under_lock(desk, order, Journey { wanted, book, purpose: Purpose::Repair }).await
}

#[cfg(test)]
mod tests;
