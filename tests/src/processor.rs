//! How much of the machine there was: where machines share processors, the others take some of it.

use anyhow::Context;

/// Time of all processors since the machine started, in ticks.
#[derive(Debug, Clone, Copy)]
pub struct ProcessorTime {
    used: u64,
    stolen: u64,
}

impl ProcessorTime {
    /// As it is now.
    pub fn now() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        Self::parse(&text).context("/proc/stat has no times of the processors")
    }

    /// Fields: user, nice, system, idle, waiting, interrupts, soft interrupts, stolen.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<u64> = text
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let [user, nice, system, _, _, interrupts, soft, stolen, ..] = fields[..] else {
            return None;
        };
        Some(Self { used: user + nice + system + interrupts + soft, stolen })
    }

    /// Which share of what was asked for since then was given: 1 on a machine of one's own.
    pub fn given_since(self, then: Self) -> f64 {
        let (used, stolen) =
            (self.used.saturating_sub(then.used), self.stolen.saturating_sub(then.stolen));
        if used + stolen == 0 { 1.0 } else { used as f64 / (used + stolen) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_took_is_missing() {
        let at = |text| ProcessorTime::parse(text).expect("a line of the kernel's");
        let then = at("cpu  100 0 50 1000 7 0 0 20 0 0\ncpu0 1 1");
        let now = at("cpu  160 10 70 2000 9 5 5 70 0 0\n");
        assert!((now.given_since(then) - 100.0 / 150.0).abs() < 1e-9);
        assert!((then.given_since(then) - 1.0).abs() < 1e-9);
        assert!(ProcessorTime::parse("intr 1 2 3").is_none());
    }
}
