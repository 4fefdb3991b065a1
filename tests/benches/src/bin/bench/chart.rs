//! The results as an SVG chart: for each comparison, a bar for each program, and a line for the
//! baseline.

use std::fmt::{Result, Write};

use super::comparison::{median, spread, Comparison, Entry};
use super::rows::Group;
use super::table::absolute;

const WIDTH: f64 = 860.0;
/// The left end of the bars.
const LEFT: f64 = 170.0;
/// The length of a bar whose ratio is 1.
const BASELINE: f64 = 520.0;
const BAR_HEIGHT: f64 = 15.0;
/// The maximum ratio that is drawn.
const MAX_RATIO: f64 = 1.2;
/// The right end of the ratios, which are beyond all bars and the line of the baseline.
const RATIOS: f64 = WIDTH - 16.0;

const STYLE: &str = "<style>\
    text { font: 12px system-ui, sans-serif; fill: #57606a } \
    .title { font-weight: 600; fill: #24292f } .background { fill: #ffffff } \
    .ours { fill: #b7410e } .peer { fill: #8c959f } .spread { stroke: #24292f } \
    .baseline { stroke: #1a7f37; stroke-dasharray: 3 3 } \
    @media (prefers-color-scheme: dark) { text { fill: #9198a1 } .title { fill: #f0f6fc } \
    .background { fill: #0d1117 } .spread { stroke: #f0f6fc } \
    .ours { fill: #e8703a } .peer { fill: #656c76 } .baseline { stroke: #3fb950 } }</style>";

pub fn svg(comparisons: &[Comparison]) -> String {
    let mut body = String::new();
    let mut y = 24.0;
    for comparison in comparisons.iter().filter(|comparison| comparison.unit.is_rate()) {
        draw_comparison(comparison, &mut body, &mut y).expect("a string");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" \
         height=\"{y}\">\n{STYLE}\n<rect class=\"background\" width=\"{WIDTH}\" height=\"{y}\" \
         rx=\"6\"/>\n{body}</svg>\n"
    )
}

fn draw_comparison(comparison: &Comparison, body: &mut String, y: &mut f64) -> Result {
    let title = comparison.full_title();
    let baseline = absolute(comparison, &comparison.entries[0]).unwrap_or_default();
    let x = LEFT + BASELINE;
    writeln!(body, "<text class=\"title\" x=\"8\" y=\"{y}\">{title}</text>")?;
    writeln!(body, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">baseline: {baseline}</text>")?;
    *y += 8.0;
    let top = *y - 2.0;
    for entry in &comparison.entries[1..] {
        draw_bar(comparison, entry, body, y)?;
    }
    writeln!(body, "<line class=\"baseline\" x1=\"{x}\" x2=\"{x}\" y1=\"{top}\" y2=\"{y}\"/>")?;
    *y += 28.0;
    Ok(())
}

/// Draws the name, the bar, the spread and the ratio of a program.
fn draw_bar(comparison: &Comparison, entry: &Entry, body: &mut String, y: &mut f64) -> Result {
    let ratios = comparison.ratios(entry);
    let Some(ratio) = median(&ratios) else { return Ok(()) };
    let is_ours =
        entry.name.split([' ', ',']).next() == Some("fcgi") || comparison.group == Group::Steps;
    let class = if is_ours { "ours" } else { "peer" };
    let (text_y, middle) = (*y + BAR_HEIGHT - 3.5, *y + BAR_HEIGHT / 2.0);
    let (name, name_x) = (entry.name.replace('`', ""), LEFT - 8.0);
    writeln!(body, "<text x=\"{name_x}\" y=\"{text_y}\" text-anchor=\"end\">{name}</text>")?;
    let (width, height) = (length(ratio), BAR_HEIGHT - 2.0);
    writeln!(
        body,
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\"/>"
    )?;
    let (low, high) =
        spread(&ratios).map_or((0.0, 0.0), |(low, high)| (LEFT + length(low), LEFT + length(high)));
    let line = format!("x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\"");
    writeln!(body, "<line class=\"spread\" {line}/>")?;
    writeln!(body, "<text x=\"{RATIOS}\" y=\"{text_y}\" text-anchor=\"end\">{ratio:.2}</text>")?;
    *y += BAR_HEIGHT;
    Ok(())
}

/// Returns the length of a bar.
fn length(ratio: f64) -> f64 {
    BASELINE * ratio.min(MAX_RATIO)
}
