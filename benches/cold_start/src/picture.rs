//! The chart: each program's wall time and instructions as bars from the floor, which is 1, on a logarithmic scale.

use crate::report::{Scenario, times};
use crate::{PLAIN, TLS};
use std::fmt::Write;

const WIDTH: f64 = 800.0;
const LEFT: f64 = 210.0;
const PLOT: f64 = 540.0;
const LEAST: f64 = 0.2;
const MOST: f64 = 2000.0;
const BAR: f64 = 11.0;

fn x(ratio: f64) -> f64 {
    LEFT + PLOT * (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln()
}

pub fn picture(scenarios: &[Scenario]) -> String {
    let (mut body, mut y) = (String::new(), 76.0);
    for scenario in scenarios.iter().filter(|scenario| [TLS, PLAIN].contains(&scenario.title)) {
        let floor = &scenario.rows[0];
        let title = format!("{}: to {}", scenario.title, floor.subject.name);
        text(&mut body, (LEFT, y), r##"font-size="14" fill="#111""##, &title);
        y += 12.0;
        let top = y;
        let mut bars = String::new();
        for row in &scenario.rows[1..] {
            let name = row.subject.name;
            let colors = if name.starts_with("keyfob") { ["#1d5fa8", "#8fb4dc"] } else { ["#b3541e", "#e0ac8c"] };
            let style = format!(r##"text-anchor="end" fill="{}""##, colors[0]);
            text(&mut bars, (LEFT - 8.0, y + BAR + 4.0), &style, name);
            let instructions = row.instructions.zip(floor.instructions).map(|(this, floor)| this / floor);
            for (ratio, color) in [Some(row.wall() / floor.wall()), instructions].into_iter().zip(colors) {
                if let Some(ratio) = ratio {
                    let (from, to) = (x(ratio.min(1.0)), x(ratio.max(1.0)));
                    let width = (to - from).max(1.0);
                    writeln!(
                        bars,
                        r##"<rect x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}" fill="{color}"/>"##
                    )
                    .unwrap();
                    text(&mut bars, (to + 4.0, y + BAR - 2.0), r##"fill="#333""##, &times(ratio));
                }
                y += BAR;
            }
            y += 8.0;
        }
        for ratio in [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0] {
            let (at, height) = (x(ratio), y - top);
            let color = if ratio == 1.0 { "#555" } else { "#d5d9de" };
            writeln!(body, r##"<path d="M{at:.1} {top:.1}v{height:.1}" stroke="{color}"/>"##).unwrap();
            text(&mut body, (at, y + 12.0), r##"text-anchor="middle" fill="#555""##, &format!("{ratio}"));
        }
        body += &bars;
        y += 44.0;
    }
    let height = y - 16.0;
    let mut svg = format!(r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" "##);
    writeln!(svg, r##"width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">"##).unwrap();
    writeln!(svg, r##"<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##).unwrap();
    let title = "From the start of the process to the token, as a multiple of the floor";
    text(&mut svg, (16.0, 24.0), r##"font-size="16" font-weight="bold" fill="#111""##, title);
    let note = "Dark: wall time. Light: instructions in user space, where they can be counted. Logarithmic.";
    text(&mut svg, (16.0, 44.0), r##"fill="#555""##, note);
    svg + &body + "</svg>\n"
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    writeln!(svg, r##"<text x="{x:.1}" y="{y:.1}" {style}>{text}</text>"##).unwrap();
}
