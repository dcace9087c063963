//! The picture of a benchmark: the steps of each fetch, stacked, and the distribution of the total times.

use super::report::{Headers, IN_ALL, ROWS, Sample, milliseconds, put, values};
use crate::members::config;
use crate::output::reason;
use keyfob::{Error, ErrorKind};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A color for each step. They are of medium lightness, so they can be seen on white and on a dark background.
const COLORS: [&str; IN_ALL] =
    ["#8c8c8c", "#d46a9f", "#b07aa1", "#4e9a57", "#3b82c4", "#d9772b", "#c7504f", "#2a9d9d", "#a6812b"];
const INK: &str = "#808080";
const WIDTH: usize = 640;
const HEIGHT: usize = 200;
const LEFT: usize = 70;
const TOP: usize = 60;
/// The top of the distribution.
const BELOW: usize = TOP + HEIGHT + 50;

/// Returns the picture. It depends on the samples and the host alone.
pub(super) fn draw(headers: &Headers, samples: &[Sample]) -> String {
    let mut totals = values(samples, IN_ALL);
    totals.sort_unstable();
    let most = totals.last().copied().unwrap_or(0).max(1);
    let host = headers.host.replace('&', "&amp;").replace('<', "&lt;");
    let (width, height) = (LEFT + WIDTH + 20, BELOW + HEIGHT + 40);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"{INK}\">\n"
    );
    let s = if samples.len() == 1 { "" } else { "es" };
    put(&mut text, format_args!("<title>{} cold-start fetch{s} from {host}</title>\n", samples.len()));
    put(
        &mut text,
        format_args!("<text x=\"{LEFT}\" y=\"18\">{} cold-start fetch{s} from {host}, in ms</text>\n", samples.len()),
    );
    let mut x = LEFT;
    for (step, color) in COLORS.iter().enumerate().filter(|(step, _)| samples.iter().any(|sample| sample[*step] > 0)) {
        let name = ROWS[step].0;
        put(&mut text, format_args!("<rect x=\"{x}\" y=\"30\" width=\"10\" height=\"10\" fill=\"{color}\"/>"));
        put(&mut text, format_args!("<text x=\"{}\" y=\"40\">{name}</text>\n", x + 14));
        x += 28 + 7 * name.len();
    }
    for (top, lowest, highest) in
        [(TOP, "0".to_owned(), milliseconds(most)), (BELOW, "0 %".to_owned(), "100 %".to_owned())]
    {
        for (y, label) in [(top, highest), (top + HEIGHT, lowest)] {
            put(&mut text, format_args!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>", LEFT - 6, y + 4));
            let right = LEFT + WIDTH;
            put(&mut text, format_args!("<path d=\"M{LEFT} {y}H{right}\" stroke=\"{INK}\" stroke-width=\"0.5\"/>\n"));
        }
    }
    // Tenths of a unit: whole numbers look the same everywhere.
    let (slot, scale) = (WIDTH * 10 / samples.len(), |time: u64, room: usize| time * room as u64 * 10 / most);
    for (index, sample) in samples.iter().enumerate() {
        let (x, mut below) = (LEFT * 10 + index * slot, 0);
        for (step, color) in COLORS.iter().enumerate() {
            let start = scale(below, HEIGHT);
            below += sample[step];
            let high = scale(below, HEIGHT) - start;
            if high > 0 {
                let y = ((TOP + HEIGHT) * 10) as u64 - start - high;
                put(
                    &mut text,
                    format_args!(
                        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{color}\"/>\n",
                        tenths(x as u64),
                        tenths(y),
                        tenths((slot * 4 / 5).max(1) as u64),
                        tenths(high)
                    ),
                );
            }
        }
    }
    // The share of the fetches that took at most so long.
    let mut path = format!("M{LEFT} {}", BELOW + HEIGHT);
    for (index, total) in totals.iter().enumerate() {
        let y = ((BELOW + HEIGHT) * 10 - (index + 1) * HEIGHT * 10 / totals.len()) as u64;
        put(&mut path, format_args!("H{}V{}", tenths(LEFT as u64 * 10 + scale(*total, WIDTH)), tenths(y)));
    }
    put(&mut text, format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n", COLORS[3]));
    for (x, anchor, label) in [
        (LEFT, "start", "0".to_owned()),
        (LEFT + WIDTH / 2, "middle", "fetches that took at most so long".to_owned()),
        (LEFT + WIDTH, "end", milliseconds(most)),
    ] {
        let y = BELOW + HEIGHT + 20;
        put(&mut text, format_args!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>\n"));
    }
    text.push_str("</svg>\n");
    text
}

fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

/// The file of the picture.
pub(super) struct Picture(PathBuf);

impl Picture {
    /// Returns an error if the path is that of anything but a regular file: it would be replaced.
    pub(super) fn new(path: PathBuf) -> Result<Self, Error> {
        match path.symlink_metadata() {
            Ok(found) if !found.is_file() => Err(config("--plot: not a regular file")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(config(format!("--plot: {}", reason(&error)))),
            _ if path.file_name().is_none() => Err(config("--plot: not the name of a file")),
            _ => Ok(Self(path)),
        }
    }

    /// Writes the file whole, or not at all.
    pub(super) fn write(self, text: &str) -> Result<(), Error> {
        let Self(path) = Self::new(self.0)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&part)
            .and_then(|file| replace(file, &part, &path, text).inspect_err(|_| _ = std::fs::remove_file(&part)));
        written
            .map_err(|error| Error::new(ErrorKind::Internal, format!("--plot: {}", reason(&error))).with_source(error))
    }
}

fn replace(mut file: File, part: &Path, path: &Path, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    std::fs::rename(part, path)
}
