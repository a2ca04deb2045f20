//! The contract in `wit/` as the host's types, generated. Not here: anything written by hand.

#![allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated from wit/")]
#![allow(clippy::all, clippy::panic, clippy::allow_attributes_without_reason, reason = "generated from wit/")]

#[cfg(not(feature = "testing"))]
pub(crate) mod policy {
    wasmtime::component::bindgen!({ path: "../../wit", world: "policy" });
}

#[cfg(not(feature = "testing"))]
pub(crate) mod executor {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "executor",
        with: { "backstay:plugin/common": super::policy::backstay::plugin::common },
    });
}

// The same types, and they can be written down.
#[cfg(feature = "testing")]
pub(crate) mod policy {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "policy",
        additional_derives: [serde::Serialize, serde::Deserialize],
    });
}

#[cfg(feature = "testing")]
pub(crate) mod executor {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "executor",
        with: { "backstay:plugin/common": super::policy::backstay::plugin::common },
        additional_derives: [serde::Serialize, serde::Deserialize],
    });
}

pub(crate) use executor::backstay::plugin::{effects, orders};
pub(crate) use policy::backstay::plugin::{common, decisions, facts};
