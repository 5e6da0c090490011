//! The ScyllaDB releases that differ in what they make of keyspaces.
//!
//! | release | the clause `tablets = {…}` | a new keyspace without it | CDC and LWTs on tablets |
//! | --- | --- | --- | --- |
//! | lenient, the default | only `{'enabled': false}` is taken | on vnodes | |
//! | 5.4 | a syntax error | on vnodes | |
//! | 6.2 (6.0 to 6.2, 2024.2) | known | on tablets with `NetworkTopologyStrategy`, else on vnodes | refused |
//! | 2025.1 (to 2025.3) | known | the same | refused |
//! | 2025.4 (and 2026.1) | known | the same | work |
//! | 2026.2 | known | on tablets; other strategies are refused | work |
//!
//! Everything else is as 5.4 has it in all of them.

/// Which release the server is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are the releases'")]
pub enum Release {
    /// 5.4, but a schema that is written for all releases is taken as it is.
    #[default]
    Lenient,
    V5_4,
    V6_2,
    V2025_1,
    V2025_4,
    V2026_2,
}

impl Release {
    /// What `system.versions` says.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Lenient | Self::V5_4 => "5.4.6",
            Self::V6_2 => "6.2.3",
            Self::V2025_1 => "2025.1.0",
            Self::V2025_4 => "2025.4.0",
            Self::V2026_2 => "2026.2.0",
        }
    }

    /// Whether the clause is one of CQL.
    pub(crate) fn knows_clause(self) -> bool {
        self != Self::V5_4
    }

    /// Whether keyspaces may be on tablets.
    pub(crate) fn has_tablets(self) -> bool {
        !matches!(self, Self::Lenient | Self::V5_4)
    }

    /// Whether any strategy stands for tablets unless the clause says otherwise, and not only
    /// `NetworkTopologyStrategy`.
    pub(crate) fn prefers_tablets_always(self) -> bool {
        self == Self::V2026_2
    }

    /// Whether tables on tablets may neither have CDC nor be written under conditions.
    pub(crate) fn refuses_cdc_and_lwt_on_tablets(self) -> bool {
        matches!(self, Self::V6_2 | Self::V2025_1)
    }
}
