//! The contract in `wit/` as Rust types, generated. Not here: anything written by hand.

#![allow(unsafe_code, missing_docs, unreachable_pub, unused_qualifications, reason = "generated from wit/")]
#![allow(clippy::all, clippy::panic, clippy::allow_attributes_without_reason, reason = "generated from wit/")]

/// The world `policy`.
pub mod policy {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy",
        pub_export_macro: true,
        export_macro_name: "export_policy_world",
        default_bindings_module: "backstay_sdk::bindings::policy",
        additional_derives: [PartialEq, Eq],
    });
}

/// The world `executor`.
pub mod executor {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "executor",
        pub_export_macro: true,
        export_macro_name: "export_executor_world",
        default_bindings_module: "backstay_sdk::bindings::executor",
        with: { "backstay:plugin/common@0.1.0": super::policy::backstay::plugin::common },
        additional_derives: [PartialEq, Eq],
    });
}
