//! The playbook `look`: what is so right now, told as readings.
//!
//! One look that fails, or makes no sense, costs its own name only; the others are told all the same. Not here: how an
//! answer is read (`look`, `switch`), and what follows from it (the server).

use alloc::string::{String, ToString as _};

use backstay_sdk::{
    executor::{Ctx, Failed, transient},
    readings::Readings,
};

use crate::{
    look::{Columns, columns, new_code, old_code},
    switch::{DUAL_WRITE, READ_NEW, Switch},
};

/// Looks at everything, and tells what it found. A data base of which nothing can be told may be there again later.
pub(crate) async fn tell(ctx: &Ctx) -> Result<(), Failed> {
    let mut readings = Readings::new();
    let mut first = None;
    let mut take = |name: &str, seen: Result<String, Failed>| match seen {
        Ok(seen) => {
            readings.say(name, seen);
        }
        Err(failed) => {
            first.get_or_insert(failed.why);
        }
    };
    take("schema", columns(ctx).await.map(|seen| Columns::word(seen).into()));
    take("old-code", old_code(ctx).await.map(|count| count.to_string()));
    take("new-code", new_code(ctx).await.map(|count| count.to_string()));
    take("dual-write", switch(ctx, DUAL_WRITE).await);
    take("read-new", switch(ctx, READ_NEW).await);
    match first {
        Some(why) if readings.is_empty() => Err(transient(why)),
        Some(_) | None => {
            ctx.look(readings.deed()).await?;
            Ok(())
        }
    }
}

async fn switch(ctx: &Ctx, switch: Switch) -> Result<String, Failed> {
    Ok(Switch::word(switch.is_on(ctx).await?).into())
}

#[cfg(test)]
mod tests;
