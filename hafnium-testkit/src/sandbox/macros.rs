//! The macro by which tests get a place.

/// Tests with a database of their own; see [`sandbox`](crate::sandbox). The argument's type, [`Sandbox`] or
/// [`Breakable`], says whether the test may break the servers.
///
/// [`Sandbox`]: crate::sandbox::Sandbox
/// [`Breakable`]: crate::sandbox::Breakable
#[macro_export]
macro_rules! test {
    ($(
        $(#[$attribute:meta])*
        async fn $name:ident($place:ident: $kind:ident) $(-> $verdict:ty)? $body:block
    )+) => {$(
        $(#[$attribute])*
        #[::core::prelude::v1::test]
        fn $name() {
            async fn body($place: &$crate::sandbox::$kind) $(-> $verdict)? $body
            $crate::sandbox::run(::core::stringify!($name), body)
        }
    )+};
}
