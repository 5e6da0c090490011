//! Events with their stored names, in one list.

/// Defines the events of an aggregate: the enum, tagged for serde as [`crate::codec`] needs it, and its
/// [`crate::DomainEvent`]. Each variant stands with its stored name and its schema version, so none of them can be
/// forgotten anywhere; `samples` is a function that gives at least one event of each.
///
/// ```text
/// events! {
///     /// What happened to an account.
///     pub enum AccountEvent, samples = samples::all;
///     /// It was opened.
///     Opened = "AccountOpened" 1 {
///         /// By whom.
///         owner: String,
///     }
///     /// Money came.
///     Deposited = "MoneyDeposited" 1 { amount_minor: i64 }
/// }
/// ```
///
/// Older schema versions are read by way of `upcasters = [Upcaster { … }];` behind `samples`.
#[macro_export]
macro_rules! events {
    (
        $(#[$of_enum:meta])*
        $visible:vis enum $name:ident, samples = $samples:path $(, upcasters = [$($upcaster:expr),* $(,)?])?;
        $(
            $(#[$of_variant:meta])*
            $variant:ident = $stored:literal $version:literal {
                $($(#[$of_field:meta])* $field:ident: $of_type:ty),* $(,)?
            }
        )+
    ) => {
        $(#[$of_enum])*
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(tag = "type", content = "data")]
        $visible enum $name {
            $(
                $(#[$of_variant])*
                #[serde(rename = $stored)]
                $variant { $($(#[$of_field])* $field: $of_type),* },
            )+
        }

        impl $crate::DomainEvent for $name {
            const KINDS: &'static [$crate::EventKind] =
                &[$($crate::EventKind::new($stored, $version)),+];
            $(const UPCASTERS: &'static [$crate::Upcaster] = &[$($upcaster),*];)?

            fn kind(&self) -> $crate::EventKind {
                match self {
                    $(Self::$variant { .. } => $crate::EventKind::new($stored, $version),)+
                }
            }

            fn samples() -> Vec<Self> {
                $samples()
            }
        }
    };
}
