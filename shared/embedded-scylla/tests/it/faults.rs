//! Faults, set over their port, as clients of the database meet them.

mod clock;
mod generations;
mod log_rows;
mod lwt;
mod power_cut;
mod statements;

use crate::support::{Stand, http};
use serde_json::Value;

impl Stand {
    /// Asks the fault port something that it does.
    pub(crate) async fn port(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.try_port(method, path, body).await;
        assert_eq!(status, 200, "{body}: {answer}");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{answer}: {error}"))
    }

    async fn try_port(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let address = self.server.fault_address().expect("the fault port is open");
        http(address, method, path, body).await
    }

    /// Adds a rule.
    async fn rule(&self, rule: &str) {
        self.port("POST", "/faults", rule).await;
    }

    /// How often a kind of fault has befallen something.
    async fn fired(&self, kind: &str) -> u64 {
        let report = self.port("GET", "/faults", "").await;
        report["fired"][kind].as_u64().unwrap_or_else(|| panic!("{kind} is not in {report}"))
    }
}
