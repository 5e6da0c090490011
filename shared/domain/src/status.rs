//! Where an aggregate stands: a closed list of names.

/// An enum of statuses with the name that each is stored and published under. Everything that has to know all of them
/// is made of the same list, so a new one is known everywhere.
macro_rules! statuses {
    ($(#[$about:meta])* $status:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $status {
            $($(#[$doc])* $variant,)+
        }

        impl $status {
            /// Every status, in the order of a life.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The stored and published name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// The status of that name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $status {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
