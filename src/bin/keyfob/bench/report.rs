//! The report of a benchmark: a table with a histogram, CSV or JSON.

use crate::helper::rfc_3339;
use crate::output;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// The figures of a fetch, as named in the table and the JSON. Those up to `in all` are times in microseconds; the
/// steps add up to `in all`.
pub(super) const ROWS: [(&str, &str); 13] = [
    ("process", "process_us"),
    ("late", "late_us"),
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
    ("token's life, s", "life_s"),
];
pub(super) const PROCESS: usize = 0;
pub(super) const LATE: usize = 1;
pub(super) const PREPARING: usize = 2;
pub(super) const IN_ALL: usize = 9;
const SENT: usize = 10;
const RECEIVED: usize = 11;
const LIFE: usize = 12;
pub(super) type Sample = [u64; ROWS.len()];

/// The columns: each is the smallest value that at least this percentage of the values does not exceed (nearest rank).
const COLUMNS: [(&str, usize); 5] = [("min", 0), ("median", 50), ("p90", 90), ("p99", 99), ("max", 100)];

pub(super) fn microseconds(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// Returns a row's values in all samples, in the order of the fetches.
pub(super) fn values(samples: &[Sample], row: usize) -> Vec<u64> {
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

/// What a report says besides the samples.
#[derive(Default)]
pub(super) struct Headers {
    pub(super) host: String,
    pub(super) url: Option<String>,
    pub(super) count: usize,
    /// The options, as a JSON object.
    pub(super) options: String,
    /// Whether this is the process of a single fetch, which reports to its parent.
    pub(super) is_single: bool,
    pub(super) is_printed: bool,
}

/// Returns a percentile of the total times, in microseconds.
pub(super) fn in_all(samples: &[Sample], percent: usize) -> u64 {
    let spread = spread(&values(samples, IN_ALL));
    COLUMNS.iter().zip(spread).find(|((_, of), _)| *of == percent).map_or(0, |(_, value)| value)
}

/// Returns how many bytes the largest fetch sent and received.
pub(super) fn most_bytes(samples: &[Sample]) -> u64 {
    samples.iter().map(|sample| sample[SENT] + sample[RECEIVED]).max().unwrap_or(0)
}

/// Returns the bytes that such fetches cost in 30 days, one at the end of each token's life. None if that is unknown.
fn bytes_a_month(samples: &[Sample]) -> Option<u64> {
    const MONTH: u64 = 30 * 24 * 60 * 60;
    let [_, life, ..] = spread(&values(samples, LIFE));
    let bytes: u64 = samples.iter().map(|sample| sample[SENT] + sample[RECEIVED]).sum();
    (bytes / samples.len() as u64).saturating_mul(MONTH).checked_div(life)
}

pub(super) fn or_null(number: Option<u64>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

/// Returns one object. `error` is a JSON value.
pub(super) fn to_json(headers: &Headers, samples: &[Sample], error: &str) -> String {
    let optional = |text: &str| if text.is_empty() { "null".to_owned() } else { output::to_json(&text) };
    let time = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let mut text = format!(
        "{{\"version\":\"{}\",\"time\":\"{}\",\"url\":{},\"host\":{},\"options\":{},\"error\":{error},\"asked_for\":{},\"fetched\":{}",
        env!("CARGO_PKG_VERSION"),
        rfc_3339(time),
        optional(headers.url.as_deref().unwrap_or_default()),
        optional(&headers.host),
        if headers.options.is_empty() { "null" } else { &headers.options },
        headers.count,
        samples.len()
    );
    for (row, (_, name)) in ROWS.iter().enumerate() {
        let values = values(samples, row);
        // A step that never occurred was not measured.
        if values.iter().all(|value| *value == 0) {
            put(&mut text, format_args!(",\"{name}\":null"));
            continue;
        }
        put(&mut text, format_args!(",\"{name}\":{{"));
        for ((column, _), value) in COLUMNS.iter().zip(spread(&values)) {
            put(&mut text, format_args!("\"{column}\":{value},"));
        }
        put(&mut text, format_args!("\"samples\":{values:?}}}"));
    }
    let a_month = if samples.is_empty() { None } else { bytes_a_month(samples) };
    put(&mut text, format_args!(",\"bytes_a_month\":{}}}", or_null(a_month)));
    text
}

/// Returns a line of names and a line for each fetch.
pub(super) fn to_csv(samples: &[Sample]) -> String {
    let names: Vec<&str> = ROWS.iter().map(|(_, name)| *name).collect();
    let mut text = format!("fetch,{}", names.join(","));
    for (index, sample) in samples.iter().enumerate() {
        put(&mut text, format_args!("\n{}", index + 1));
        for value in sample {
            put(&mut text, format_args!(",{value}"));
        }
    }
    text
}

/// The width of the names.
const NAMES: usize = 15;

pub(super) fn to_table(headers: &Headers, samples: &[Sample]) -> String {
    let width = width();
    // A narrow terminal has room for the columns that matter most.
    let shown: &[usize] = if width < NAMES + 8 * COLUMNS.len() { &[1, 2, 4] } else { &[0, 1, 2, 3, 4] };
    let column_width = (width.saturating_sub(NAMES) / shown.len()).clamp(8, 11);
    let mut text = samples.len().to_string();
    if samples.len() < headers.count {
        put(&mut text, format_args!(" of {}", headers.count));
    }
    let fetches = if headers.count == 1 { "fetch" } else { "fetches" };
    put(&mut text, format_args!(" cold-start {fetches} from {}, in milliseconds\n\n{:NAMES$}", headers.host, ""));
    for column in shown {
        put(&mut text, format_args!("{:>column_width$}", COLUMNS[*column].0));
    }
    for (row, (name, _)) in ROWS.iter().enumerate() {
        let spread = spread(&values(samples, row));
        // Skip a step that never occurred.
        if spread == [0; COLUMNS.len()] {
            continue;
        }
        put(&mut text, format_args!("\n{name:NAMES$}"));
        for value in shown.iter().map(|column| spread[*column]) {
            let value = if row > IN_ALL { value.to_string() } else { milliseconds(value) };
            put(&mut text, format_args!("{value:>column_width$}"));
        }
    }
    if let Some(bytes) = bytes_a_month(samples) {
        let megabytes = milliseconds(bytes / 1000);
        put(&mut text, format_args!("\n\n{megabytes} MB a month, with a fetch at the end of each token's life"));
    }
    if samples.len() > 1 {
        draw(&mut text, &values(samples, IN_ALL), width);
    }
    text
}

/// Returns the columns of the terminal: `COLUMNS`, or what the terminal says, or 80.
fn width() -> usize {
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let measured = || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col.into());
    named.or_else(measured).filter(|columns| *columns > 0).unwrap_or(80)
}

/// Returns whether the locale has ASCII alone.
fn is_ascii() -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| locale == "C" || locale == "POSIX")
}

const BARS: u64 = 8;
const LONGEST_BAR: usize = 40;

/// Draws a histogram of the total times.
fn draw(text: &mut String, values: &[u64], width_of_terminal: usize) {
    let longest = width_of_terminal.saturating_sub(NAMES + 7).clamp(8, LONGEST_BAR);
    let block = if is_ascii() { '#' } else { '█' };
    let [least, .., most] = spread(values);
    let width = (most - least) / BARS + 1;
    let mut counts = [0; BARS as usize];
    for value in values {
        counts[((value - least) / width) as usize] += 1;
    }
    let largest = counts.iter().fold(longest, |largest, count| largest.max(*count));
    text.push_str("\n\nin all, from     fetches");
    for (bar, count) in (0..=(most - least) / width).zip(counts) {
        put(text, format_args!("\n{:>12}     ", milliseconds(least + bar * width)));
        // A count above zero gets a visible bar.
        for _ in 0..(count * longest).div_ceil(largest) {
            text.push(block);
        }
        put(text, format_args!("{}{count}", if count > 0 { " " } else { "" }));
    }
}

pub(super) fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(what);
}

pub(super) fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:02}", microseconds / 1000, microseconds % 1000 / 10)
}
