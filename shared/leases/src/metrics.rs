//! What the leases report.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, register_int_counter_vec, register_int_gauge_vec};

/// 1 while this process works on the slot.
pub(crate) static HELD: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lease_held",
        "1 while this process holds the slot, 0 after it held it.",
        &["group", "slot"]
    )
    .expect("registered once")
});

/// The epoch under which it was held last.
pub(crate) static EPOCH: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lease_epoch",
        "Epoch of the lease that this process holds, or held last.",
        &["group", "slot"]
    )
    .expect("registered once")
});

/// Held slots whose checkpoint stands still.
pub(crate) static STUCK: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "slots_stuck",
        "Held slots whose checkpoint stands still, so that their lag grows.",
        &["group"]
    )
    .expect("registered once")
});

/// Leases that began or ended, by reason (`taken`, `taken_over`, `retaken`, `released`, `lost`,
/// `expired`).
pub(crate) static CHANGES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "lease_changes_total",
        "Leases that this process gained or ended, by reason.",
        &["reason"]
    )
    .expect("registered once")
});

/// Members of the group as this process sees them.
pub(crate) static MEMBERS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lease_members",
        "Members of the group that this process sees alive, itself included.",
        &["group"]
    )
    .expect("registered once")
});
