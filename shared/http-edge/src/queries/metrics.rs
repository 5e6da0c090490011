//! What is counted of queries.

use prometheus::{HistogramVec, exponential_buckets, register_histogram_vec};
use std::sync::LazyLock;

/// How long queries take, by query and outcome (`ok`, `not_found`, `refused`, `failed`).
pub(super) static QUERY_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "query_duration_seconds",
        "From a query to its answer, by query and outcome.",
        &["query", "outcome"],
        exponential_buckets(0.000_5, 2.0, 15).expect("a positive start and a factor above one")
    )
    .expect("registered once")
});
