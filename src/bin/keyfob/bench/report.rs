//! The report of a benchmark: a table with a histogram, or JSON.

use crate::output;
use std::fmt::Write as _;
use std::time::Duration;

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

pub(super) fn to_json(host: &str, count: usize, samples: &[Sample]) -> String {
    let mut text = format!("{{\"host\":{},\"asked_for\":{count},\"fetched\":{}", output::to_json(&host), samples.len());
    for (row, (_, name)) in ROWS.iter().enumerate() {
        let values = values(samples, row);
        put(&mut text, format_args!(",\"{name}\":{{"));
        for ((column, _), value) in COLUMNS.iter().zip(spread(&values)) {
            put(&mut text, format_args!("\"{column}\":{value},"));
        }
        put(&mut text, format_args!("\"samples\":{values:?}}}"));
    }
    text.push('}');
    text
}

pub(super) fn to_table(host: &str, count: usize, samples: &[Sample]) -> String {
    let mut text = samples.len().to_string();
    if samples.len() < count {
        put(&mut text, format_args!(" of {count}"));
    }
    let fetches = if count == 1 { "fetch" } else { "fetches" };
    put(&mut text, format_args!(" cold-start {fetches} from {host}, in milliseconds\n\n{:15}", ""));
    for (column, _) in COLUMNS {
        put(&mut text, format_args!("{column:>11}"));
    }
    for (row, (name, _)) in ROWS.iter().enumerate() {
        let spread = spread(&values(samples, row));
        // Skip a step that never occurred.
        if spread == [0; COLUMNS.len()] {
            continue;
        }
        put(&mut text, format_args!("\n{name:15}"));
        for value in spread {
            let value = if row > IN_ALL { value.to_string() } else { milliseconds(value) };
            put(&mut text, format_args!("{value:>11}"));
        }
    }
    if samples.len() > 1 {
        draw(&mut text, &values(samples, IN_ALL));
    }
    text
}

const BARS: u64 = 8;
const LONGEST_BAR: usize = 40;

/// Draws a histogram of the total times.
fn draw(text: &mut String, values: &[u64]) {
    let [least, .., most] = spread(values);
    let width = (most - least) / BARS + 1;
    let mut counts = [0; BARS as usize];
    for value in values {
        counts[((value - least) / width) as usize] += 1;
    }
    let largest = counts.iter().fold(LONGEST_BAR, |largest, count| largest.max(*count));
    text.push_str("\n\nin all, from     fetches");
    for (bar, count) in (0..=(most - least) / width).zip(counts) {
        put(text, format_args!("\n{:>12}     ", milliseconds(least + bar * width)));
        // A count above zero gets a visible bar.
        for _ in 0..(count * LONGEST_BAR).div_ceil(largest) {
            text.push('█');
        }
        put(text, format_args!("{}{count}", if count > 0 { " " } else { "" }));
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(what);
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:02}", microseconds / 1000, microseconds % 1000 / 10)
}
