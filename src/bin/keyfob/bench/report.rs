//! The report of a benchmark: a table with a histogram, JSON or CSV.

use crate::helper;
use crate::output;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// The figures of a fetch, as named in the table and the JSON. Those up to `in all` are times in microseconds; the
/// steps add up to `in all`.
const ROWS: [(&str, &str); 11] = [
    ("process", "process_us"),
    ("preparing", "preparing_us"),
    ("look-up", "look_up_us"),
    ("connect", "connect_us"),
    ("TLS", "tls_us"),
    ("waiting", "waiting_us"),
    ("body", "body_us"),
    ("reading", "reading_us"),
    ("in all", "in_all_us"),
    ("bytes sent", "bytes_sent"),
    ("bytes received", "bytes_received"),
];
pub(super) const PROCESS: usize = 0;
pub(super) const PREPARING: usize = 1;
pub(super) const IN_ALL: usize = 8;
pub(super) type Sample = [u64; ROWS.len()];

/// The columns: each is the smallest value that at least this percentage of the values does not exceed (nearest rank).
const COLUMNS: [(&str, usize); 5] = [("min", 0), ("median", 50), ("p90", 90), ("p99", 99), ("max", 100)];

pub(super) fn microseconds(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// Returns a row's values in all samples, in the order of the fetches.
fn values(samples: &[Sample], row: usize) -> Vec<u64> {
    samples.iter().map(|sample| sample[row]).collect()
}

/// Returns the columns' values by the nearest rank, so each is a measured value.
fn spread(values: &[u64]) -> [u64; COLUMNS.len()] {
    let mut sorted: Vec<u64> = Vec::with_capacity(values.len());
    // There are few values, and a sort of the standard library would add as much code as this whole report.
    for value in values {
        sorted.insert(sorted.partition_point(|other| other < value), *value);
    }
    COLUMNS.map(|(_, percent)| sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)])
}

/// Returns the median and the 90th percentile of the whole fetch, in microseconds. `None` without samples.
pub(super) fn in_all(samples: &[Sample]) -> Option<(u64, u64)> {
    let values = values(samples, IN_ALL);
    (!values.is_empty()).then(|| spread(&values)).map(|[_, median, p90, ..]| (median, p90))
}

/// Returns the bytes of a fetch, sent and received.
pub(super) fn bytes(sample: &Sample) -> u64 {
    sample[IN_ALL + 1..].iter().sum()
}

/// The fetches to report.
pub(super) struct Run<'a> {
    pub(super) host: &'a str,
    pub(super) count: usize,
    pub(super) pause: Duration,
    pub(super) by_processes: bool,
    pub(super) begun: SystemTime,
    pub(super) samples: &'a [Sample],
}

/// The terminal, or what takes its place.
pub(super) struct Screen {
    columns: usize,
    bar: char,
}

impl Screen {
    /// The terminal at standard output; 80 columns elsewhere. A locale other than UTF-8 gets ASCII alone.
    pub(super) fn of_stdout() -> Self {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80);
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(|name| std::env::var(name).ok());
        let locale = locale.into_iter().find(|locale| !locale.is_empty()).map(|locale| locale.to_ascii_lowercase());
        let is_ascii = locale.is_some_and(|locale| !locale.contains("utf-8") && !locale.contains("utf8"));
        Self { columns, bar: if is_ascii { '#' } else { '█' } }
    }
}

/// The width of the names in a table, and of a column: as wide as the terminal allows.
const NAMES: usize = 15;

impl Run<'_> {
    /// Returns whether a step was measured in any fetch. One without a duration did not occur: TLS with http.
    fn is_measured(&self, row: usize) -> bool {
        row >= IN_ALL || self.samples.iter().any(|sample| sample[row] > 0)
    }

    pub(super) fn to_json(&self, error: Option<&str>) -> String {
        let Self { host, count, samples, .. } = self;
        let begun = self.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut text = format!(
            "{{\"version\":\"{}\",\"begun\":{},\"host\":{},\"processes\":{},\"pause_ms\":{}",
            env!("CARGO_PKG_VERSION"),
            output::to_json(&helper::rfc_3339(begun.as_secs())),
            output::to_json(host),
            self.by_processes,
            self.pause.as_millis()
        );
        put(&mut text, format_args!(",\"asked_for\":{count},\"fetched\":{}", samples.len()));
        for (row, (_, name)) in ROWS.iter().enumerate() {
            if samples.is_empty() || !self.is_measured(row) {
                put(&mut text, format_args!(",\"{name}\":null"));
                continue;
            }
            let values = values(samples, row);
            put(&mut text, format_args!(",\"{name}\":{{"));
            for ((column, _), value) in COLUMNS.iter().zip(spread(&values)) {
                put(&mut text, format_args!("\"{column}\":{value},"));
            }
            put(&mut text, format_args!("\"samples\":{values:?}}}"));
        }
        put(&mut text, format_args!(",\"error\":{}}}", error.unwrap_or("null")));
        text
    }

    /// Returns a line of names, then a line for each fetch.
    pub(super) fn to_csv(&self) -> String {
        let mut text = "fetch".to_owned();
        for (_, name) in ROWS {
            put(&mut text, format_args!(",{name}"));
        }
        for (index, sample) in self.samples.iter().enumerate() {
            put(&mut text, format_args!("\n{}", index + 1));
            for value in sample {
                put(&mut text, format_args!(",{value}"));
            }
        }
        text
    }

    pub(super) fn to_table(&self, screen: &Screen) -> String {
        let Self { host, count, samples, .. } = self;
        let width = (screen.columns.saturating_sub(NAMES) / COLUMNS.len()).clamp(8, 11);
        let mut text = samples.len().to_string();
        if samples.len() < *count {
            put(&mut text, format_args!(" of {count}"));
        }
        let fetches = if *count == 1 { "fetch" } else { "fetches" };
        put(&mut text, format_args!(" cold-start {fetches} from {host}, in milliseconds\n\n{:NAMES$}", ""));
        for (column, _) in COLUMNS {
            put(&mut text, format_args!("{column:>width$}"));
        }
        for (row, (name, _)) in ROWS.iter().enumerate() {
            if !self.is_measured(row) {
                continue;
            }
            put(&mut text, format_args!("\n{name:NAMES$}"));
            for value in spread(&values(samples, row)) {
                let value = if row > IN_ALL { value.to_string() } else { milliseconds(value) };
                put(&mut text, format_args!("{value:>width$}"));
            }
        }
        if samples.len() > 1 {
            draw(&mut text, &values(samples, IN_ALL), screen);
        }
        text
    }
}

const BARS: u64 = 8;
const LONGEST_BAR: usize = 40;
/// What is in a line besides the bar.
const BESIDES: usize = 22;

/// Draws a histogram of the total times.
fn draw(text: &mut String, values: &[u64], screen: &Screen) {
    let [least, .., most] = spread(values);
    let width = (most - least) / BARS + 1;
    let mut counts = [0; BARS as usize];
    for value in values {
        counts[((value - least) / width) as usize] += 1;
    }
    let longest = screen.columns.saturating_sub(BESIDES).clamp(1, LONGEST_BAR);
    let largest = counts.iter().fold(longest, |largest, count| largest.max(*count));
    text.push_str("\n\nin all, from     fetches");
    for (bar, count) in (0..=(most - least) / width).zip(counts) {
        put(text, format_args!("\n{:>12}     ", milliseconds(least + bar * width)));
        // A count above zero gets a visible bar.
        for _ in 0..(count * longest).div_ceil(largest) {
            text.push(screen.bar);
        }
        put(text, format_args!("{}{count}", if count > 0 { " " } else { "" }));
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(what);
}

pub(super) fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:02}", microseconds / 1000, microseconds % 1000 / 10)
}
