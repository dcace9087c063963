//! Limits that a benchmark must keep.

use super::report::{self, Sample, milliseconds};
use super::take_number;
use miniserde::json::Object;

/// What a report must not exceed.
pub(super) struct Limits {
    /// In milliseconds.
    median: Option<u64>,
    p90: Option<u64>,
    bytes: Option<u64>,
}

impl Limits {
    pub(super) fn take(options: &mut Object) -> Self {
        let mut take = |name| take_number(options, name);
        Self { median: take("max_median"), p90: take("max_p90"), bytes: take("max_bytes") }
    }

    /// Returns a message about the first limit that is exceeded.
    pub(super) fn exceeded(&self, samples: &[Sample]) -> Option<String> {
        let over = |took: u64, limit: Option<u64>, what: &str, option: &str| {
            let limit = limit.filter(|limit| took > limit.saturating_mul(1000))?;
            Some(format!("bench: the {what} is {} ms, more than {option} {limit}", milliseconds(took)))
        };
        let (median, p90) = report::in_all(samples)?;
        let bytes = || {
            let (limit, most) = (self.bytes?, samples.iter().map(report::bytes).max()?);
            (most > limit).then(|| format!("bench: a fetch took {most} bytes, more than --max-bytes {limit}"))
        };
        over(median, self.median, "median", "--max-median")
            .or_else(|| over(p90, self.p90, "90th percentile", "--max-p90"))
            .or_else(bytes)
    }
}
