//! The outcome as a picture: for each race a bar for each who took part, and a line where the floor
//! is.

use std::fmt::Write;

use super::race::{median, spread, Group, Race};
use super::table::absolute;

const WIDTH: f64 = 860.0;
/// Where the bars begin, and the length of one that is at the floor.
const LEFT: f64 = 170.0;
const FLOOR: f64 = 520.0;
const BAR: f64 = 15.0;
/// The longest ratio that is drawn.
const LONGEST: f64 = 1.2;

const STYLE: &str = "<style>\
    text { font: 12px system-ui, sans-serif; fill: #57606a } .title { font-weight: 600; fill: #24292f }\
    .ours { fill: #b7410e } .peer { fill: #8c959f } .spread { stroke: #24292f } .floor { stroke: #1a7f37; stroke-dasharray: 3 3 }\
    @media (prefers-color-scheme: dark) { text { fill: #9198a1 } .title { fill: #f0f6fc } .spread { stroke: #f0f6fc }\
    .ours { fill: #e8703a } .peer { fill: #656c76 } .floor { stroke: #3fb950 } }</style>";

pub fn svg(races: &[Race]) -> String {
    let mut body = String::new();
    let mut y = 24.0;
    for race in races {
        draw(race, &mut body, &mut y).expect("a string");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\">\n\
         {STYLE}\n{body}</svg>\n"
    )
}

fn draw(race: &Race, body: &mut String, y: &mut f64) -> std::fmt::Result {
    let group = match race.group {
        Group::Server => "Server",
        Group::Client => "Client",
        Group::Echo => "Both",
        Group::Steps => "Step by step",
    };
    let floor = absolute(race, &race.entries[0]).unwrap_or_default();
    writeln!(body, "<text class=\"title\" x=\"8\" y=\"{y}\">{group}: {}</text>", race.title)?;
    writeln!(
        body,
        "<text x=\"{}\" y=\"{y}\" text-anchor=\"middle\">floor: {floor}</text>",
        LEFT + FLOOR
    )?;
    *y += 8.0;
    let top = *y;
    for entry in &race.entries[1..] {
        let ratios = race.ratios(entry);
        let Some(ratio) = median(&ratios) else { continue };
        let is_ours = entry.name.starts_with("fcgi") || race.group == Group::Steps;
        let class = if is_ours { "ours" } else { "peer" };
        let (text_y, middle) = (*y + BAR - 3.5, *y + BAR / 2.0);
        let name = entry.name.replace('`', "");
        writeln!(
            body,
            "<text x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">{name}</text>",
            LEFT - 8.0
        )?;
        let width = length(ratio);
        writeln!(
            body,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\"/>",
            BAR - 2.0
        )?;
        let (low, high) = spread(&ratios)
            .map_or((0.0, 0.0), |(low, high)| (LEFT + length(low), LEFT + length(high)));
        let line = format!("x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\"");
        writeln!(body, "<line class=\"spread\" {line}/>")?;
        let text_x = high.max(LEFT + width) + 6.0;
        writeln!(body, "<text x=\"{text_x:.1}\" y=\"{text_y}\">{ratio:.2}</text>")?;
        *y += BAR;
    }
    let x = LEFT + FLOOR;
    writeln!(
        body,
        "<line class=\"floor\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{y}\"/>",
        top - 2.0
    )?;
    *y += 28.0;
    Ok(())
}

fn length(ratio: f64) -> f64 {
    FLOOR * ratio.min(LONGEST)
}
