//! Bringing one side's rows into step with the other's, in batches.
//!
//! Not here: which side, and whether now (`steps`).

use alloc::{format, string::String};

use backstay_sdk::{
    deed,
    executor::{Ctx, Failed, permanent, transient},
};

use crate::{
    BATCHES, PAUSE,
    look::{Columns, columns, named, puzzled, said, well},
    switch::pause,
};

/// How many batches in a row may end badly or in doubt.
const TROUBLES_MAX: u32 = 3;

/// Which side is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The new columns, from the old ones.
    New,
    /// The old columns, from the new ones.
    Old,
}

/// Runs batches until no row is left that differs. Cut off, it goes on where it was: a batch takes rows that differ, whoever
/// left them so.
pub(crate) async fn fill(ctx: &Ctx, side: Side) -> Result<(), Failed> {
    let name = match side {
        Side::New => "backfill-batch",
        Side::Old => "fill-back-batch",
    };
    let (mut filled, mut troubles) = (0_u64, 0);
    for _ in 0..BATCHES.count(ctx.config()) {
        match ctx.change(deed::run(name, [])).await {
            Ok(reply) if reply.is_well() => {
                let text: String = said(name, reply)?;
                let rows: u64 = text.parse().map_err(|_| puzzled(name, &text, "a number of rows"))?;
                if rows == 0 {
                    return in_step(ctx, name).await;
                }
                filled = filled.saturating_add(rows);
                troubles = 0;
            }
            ended => {
                let failed = match ended {
                    Ok(reply) => well(name, reply).err(),
                    Err(trouble) if trouble.may_be_done() => None,
                    Err(refused) => return Err(named(name, refused.into())),
                };
                // It may have been the last one, and it may be that somebody took the columns away.
                match columns(ctx).await? {
                    Columns::InStep => return Ok(()),
                    Columns::Expanded => {}
                    Columns::Before | Columns::Contracted => {
                        return Err(permanent(format!("{name}: the columns are gone")));
                    }
                }
                troubles += 1;
                if troubles == TROUBLES_MAX {
                    let failed = failed.unwrap_or_else(|| transient("it ended in doubt"));
                    return Err(named(&format!("{name}, {troubles} times in a row"), failed));
                }
            }
        }
        pause(ctx, PAUSE.count(ctx.config()).into()).await?;
    }
    // The last batch may have been the last that was needed.
    match columns(ctx).await? {
        Columns::InStep => Ok(()),
        Columns::Before | Columns::Expanded | Columns::Contracted => {
            Err(transient(format!("{name}: {filled} rows were filled, and there are more")))
        }
    }
}

async fn in_step(ctx: &Ctx, name: &str) -> Result<(), Failed> {
    match columns(ctx).await? {
        Columns::InStep => Ok(()),
        Columns::Before | Columns::Expanded | Columns::Contracted => {
            Err(transient(format!("{name} finds no row, and schema-status says that some differ")))
        }
    }
}
