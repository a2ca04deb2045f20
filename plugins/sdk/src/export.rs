//! The way out of a component: what policies and executors have in common of it.

/// Makes `$plugin` the component of a world. Does nothing in a native build, where a plugin is an ordinary library.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($world:ident, $export:ident, $plugin:ty, $kind:path, $($own:tt)*) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(
            unsafe_code,
            missing_docs,
            unreachable_pub,
            reason = "the way out of the component, generated"
        )]
        const _: () = {
            use $crate::bindings::$world as world;
            struct Component;
            impl world::Guest for Component {
                fn describe() -> world::Description {
                    <$plugin as $kind>::describe()
                }
                fn validate(config: $crate::__Vec<world::Setting>) -> $crate::__Vec<world::Problem> {
                    <$plugin as $kind>::validate(&config)
                }
                $($own)*
            }
            $crate::bindings::$world::$export!(Component);
        };
    };
}
