//! The steps: what each looks at, what it insists on, what it changes.
//!
//! The gate in `core` has said already that a step may come now. A step asks the data base and the flags themselves all the same: what
//! was known when it was ordered may have changed, and what it can destroy isn't brought back.

use alloc::format;

use backstay_sdk::{
    deed,
    executor::{Ctx, Failed, permanent, transient},
};

use crate::{
    fill::{Side, fill},
    look::{Columns, columns, old_code, until},
    switch::{DUAL_WRITE, READ_NEW},
};

/// Adds the new columns.
pub(crate) async fn expand(ctx: &Ctx) -> Result<(), Failed> {
    match columns(ctx).await? {
        Columns::Expanded | Columns::InStep => Ok(()),
        Columns::Contracted => Err(past_contract()),
        Columns::Before => {
            let seen = async || Ok(columns(ctx).await? != Columns::Before);
            until(ctx, "expand", deed::run("expand", []), seen).await
        }
    }
}

/// Takes the new columns away. Nobody may read them, or write to them.
pub(crate) async fn expand_undo(ctx: &Ctx) -> Result<(), Failed> {
    match columns(ctx).await? {
        Columns::Before => Ok(()),
        Columns::Contracted => Err(past_contract()),
        Columns::Expanded | Columns::InStep => {
            READ_NEW.must_be(ctx, false).await?;
            DUAL_WRITE.must_be(ctx, false).await?;
            let seen = async || Ok(columns(ctx).await? == Columns::Before);
            until(ctx, "expand-undo", deed::run("expand-undo", []), seen).await
        }
    }
}

/// Lets what is written go to both columns. Where new ones are read already, the old ones lack what was written meanwhile.
pub(crate) async fn dual_write_on(ctx: &Ctx) -> Result<(), Failed> {
    both_sides(ctx).await?;
    DUAL_WRITE.turn(ctx, true).await?;
    if READ_NEW.is_on(ctx).await? && columns(ctx).await? != Columns::InStep {
        fill(ctx, Side::Old).await?;
    }
    Ok(())
}

/// Lets what is written go to the old columns only.
pub(crate) async fn dual_write_off(ctx: &Ctx) -> Result<(), Failed> {
    // Off while new columns are read, it would cut the way back.
    READ_NEW.must_be(ctx, false).await?;
    DUAL_WRITE.turn(ctx, false).await
}

/// Brings the new columns into step with the old ones.
pub(crate) async fn backfill(ctx: &Ctx) -> Result<(), Failed> {
    let before = both_sides(ctx).await?;
    // Where the new columns are read, they are the newer ones: a batch would overwrite them.
    READ_NEW.must_be(ctx, false).await?;
    DUAL_WRITE.must_be(ctx, true).await?;
    match before {
        Columns::InStep => Ok(()),
        Columns::Before | Columns::Expanded | Columns::Contracted => fill(ctx, Side::New).await,
    }
}

/// Lets new code read the new columns.
pub(crate) async fn read_new(ctx: &Ctx) -> Result<(), Failed> {
    if READ_NEW.is_on(ctx).await? {
        return Ok(());
    }
    DUAL_WRITE.must_be(ctx, true).await?;
    match both_sides(ctx).await? {
        Columns::InStep => READ_NEW.turn(ctx, true).await,
        Columns::Before | Columns::Expanded | Columns::Contracted => {
            Err(permanent("some rows differ: the backfill has to be done again"))
        }
    }
}

/// Lets new code read the old columns again, with all that was written to the new ones in them.
pub(crate) async fn read_old(ctx: &Ctx) -> Result<(), Failed> {
    let before = both_sides(ctx).await?;
    if !READ_NEW.is_on(ctx).await? {
        return Ok(());
    }
    DUAL_WRITE.must_be(ctx, true).await?;
    if before != Columns::InStep {
        fill(ctx, Side::Old).await?;
    }
    READ_NEW.turn(ctx, false).await
}

/// Takes the old columns away, if nobody needs them any more.
pub(crate) async fn contract(ctx: &Ctx) -> Result<(), Failed> {
    // A flag tells code to write to columns that are about to go. A trigger goes with them, in the same transaction.
    let by_flag = DUAL_WRITE.flag(ctx).is_some();
    match columns(ctx).await? {
        Columns::Contracted if by_flag => return DUAL_WRITE.turn(ctx, false).await,
        Columns::Contracted => return Ok(()),
        Columns::Before => return Err(permanent("there are no new columns that could take over")),
        // Off in a run that was cut off here, it lets old columns fall behind: they aren't needed any more.
        Columns::Expanded if !by_flag || DUAL_WRITE.is_on(ctx).await? => {
            return Err(permanent("some rows differ: the old columns can't go"));
        }
        Columns::Expanded | Columns::InStep => {}
    }
    READ_NEW.must_be(ctx, true).await?;
    nobody_needs_them(ctx).await?;
    let ended = drop_old(ctx, by_flag).await;
    // A failure leaves all as it was, the way back included. A look that doesn't come leaves it to the next attempt.
    if ended.is_err() && by_flag && columns(ctx).await? != Columns::Contracted {
        dual_write_on(ctx).await?;
    }
    ended
}

async fn drop_old(ctx: &Ctx, by_flag: bool) -> Result<(), Failed> {
    if by_flag {
        DUAL_WRITE.turn(ctx, false).await?;
    }
    let seen = async || Ok(columns(ctx).await? == Columns::Contracted);
    until(ctx, "contract", deed::run("contract", []), seen).await
}

async fn nobody_needs_them(ctx: &Ctx) -> Result<(), Failed> {
    match old_code(ctx).await? {
        0 => Ok(()),
        count => Err(transient(format!("{count} instances of old code are there: the old columns can't go"))),
    }
}

/// The columns, if both kinds are there.
async fn both_sides(ctx: &Ctx) -> Result<Columns, Failed> {
    match columns(ctx).await? {
        both @ (Columns::Expanded | Columns::InStep) => Ok(both),
        Columns::Before => Err(permanent("the new columns are not there: expand first")),
        Columns::Contracted => Err(past_contract()),
    }
}

fn past_contract() -> Failed {
    permanent("the old columns are gone: nothing leads back from the contract")
}

#[cfg(test)]
mod tests;
