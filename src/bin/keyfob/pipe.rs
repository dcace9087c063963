//! Reads pipes, such as a shell makes for `<(command)`. Each is read once and with a time limit, because its writer may
//! be gone.

use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn is_pipe(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|file| file.file_type().is_fifo())
}

/// Opens and reads a pipe in a thread. Fails with `TimedOut` after 30 s and abandons the thread, because nothing can
/// interrupt the opening of a pipe.
pub(crate) fn read<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (send, result) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().spawn(move || send.send(read()))?;
    result.recv_timeout(PATIENCE).map_err(|_| {
        Error::new(ErrorKind::TimedOut, format!("no end within {} s: is the writer still running?", PATIENCE.as_secs()))
    })
}
