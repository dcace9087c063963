//! A logger that keeps all records.

use log::{LevelFilter, Log, Metadata, Record};
use std::sync::Mutex;

struct Records(Mutex<Vec<String>>);

static RECORDS: Records = Records(Mutex::new(Vec::new()));

impl Log for Records {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = format!("{} {}: {}", record.level(), record.target(), record.args());
        self.0.lock().unwrap().push(text);
    }

    fn flush(&self) {}
}

/// Keeps the records of all levels from now on.
pub(crate) fn keep() {
    log::set_logger(&RECORDS).unwrap();
    log::set_max_level(LevelFilter::Trace);
}

/// Returns the records since the last call.
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *RECORDS.0.lock().unwrap())
}
