//! The comparison as a picture: for each scenario a bar for each path, by how much it is better
//! than kernel vxlan, on a logarithmic scale. A dot marks what weft has to reach.

use std::fmt::{self, Write};

use crate::bounds::{BOUNDS, Bound};
use crate::figure::Figure;
use crate::overlay::Kind;
use crate::report::Report;
use crate::scenario::Scenario;

/// Sizes in pixels: of a bar's row, of the room for titles, of the scale, of the whole.
const ROW: f64 = 18.0;
const TITLES: f64 = 330.0;
const SCALE: f64 = 480.0;
const WIDTH: f64 = TITLES + SCALE + 150.0;
/// The ends of the scale, and its lines.
const LEAST: f64 = 0.04;
const MOST: f64 = 5.0;
const LINES: [f64; 7] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0];

/// An SVG document.
pub(crate) fn draw(report: &Report) -> String {
    let (mut body, mut y) = (String::new(), 56.0);
    for scenario in report.scenarios() {
        for figure in scenario.figures().iter().filter(|it| it.compared()) {
            y = group(&mut body, report, (scenario, *figure), y).unwrap_or(y);
        }
    }
    let mut svg = String::new();
    // Writing to a String does not fail.
    let _never = frame(&mut svg, &body, y);
    svg
}

fn frame(svg: &mut String, body: &str, end: f64) -> fmt::Result {
    let height = end + 20.0;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="12" y="20" font-size="15">Times better than kernel vxlan (right of 1 is better; dot: what weft has to reach)</text>"#
    )?;
    for line in LINES {
        let x = place(line);
        let color = if line == 1.0 { "#333" } else { "#ddd" };
        writeln!(svg, r#"<line x1="{x:.1}" y1="46" x2="{x:.1}" y2="{end:.1}" stroke="{color}"/>"#)?;
        writeln!(
            svg,
            r##"<text x="{x:.1}" y="42" text-anchor="middle" fill="#666">{line}</text>"##
        )?;
    }
    writeln!(svg, "{body}</svg>")
}

/// Bars of one number; where the next may start, or `None` when there is nothing to compare.
fn group(
    svg: &mut String,
    report: &Report,
    (scenario, figure): (Scenario, Figure),
    mut y: f64,
) -> Option<f64> {
    let better = |kind| -> Option<(f64, f64)> {
        let ratio = report.ratio(scenario, [kind, Kind::Kernel], figure)?;
        Some((turned(figure, ratio), report.median(scenario, kind, figure)?))
    };
    let others = report.kinds(scenario).filter(|kind| *kind != Kind::Kernel);
    let bars: Vec<_> = others.filter_map(|kind| Some((kind, better(kind)?))).collect();
    let (_, (_, kernel)) = (bars.first()?, better(Kind::Kernel)?);
    y += ROW;
    let (title, unit, digits) = (scenario.title(), figure.title(), figure.digits());
    let head = format!("{title}: {unit} (kernel {kernel:.digits$})");
    writeln!(svg, r#"<text x="12" y="{y:.1}" font-weight="bold">{head}</text>"#).ok()?;
    for (kind, (times, median)) in bars {
        y += ROW;
        let (name, color) = (kind.title(), color(kind));
        let (from, to) = (place(times.min(1.0)), place(times.max(1.0)));
        let (top, width) = (y - 11.0, to - from);
        let dot = bound_of(scenario, kind, figure).map(|it| place(turned(figure, it.limit)));
        let label = dot.unwrap_or(to).max(to) + 8.0;
        writeln!(svg, r#"<text x="28" y="{y:.1}">{name}</text>"#).ok()?;
        writeln!(
            svg,
            r#"<rect x="{from:.1}" y="{top:.1}" width="{width:.1}" height="13" fill="{color}"/>"#
        )
        .ok()?;
        let says = format!("{times:.2} ({median:.digits$})");
        writeln!(svg, r#"<text x="{label:.1}" y="{y:.1}">{says}</text>"#).ok()?;
        if let Some(x) = dot {
            let middle = y - 4.5;
            writeln!(svg, r##"<circle cx="{x:.1}" cy="{middle:.1}" r="4.5" fill="#c00"/>"##)
                .ok()?;
        }
    }
    Some(y + 6.0)
}

/// A ratio to the kernel turned so that more is better.
fn turned(figure: Figure, ratio: f64) -> f64 {
    if figure.less_is_better() { 1.0 / ratio } else { ratio }
}

fn bound_of(scenario: Scenario, kind: Kind, figure: Figure) -> Option<&'static Bound> {
    let about = |it: &&Bound| (it.scenario, it.kind, it.figure) == (scenario, kind, figure);
    BOUNDS.iter().filter(about).find(|bound| bound.over == Some(Kind::Kernel))
}

/// Where a ratio is on the scale.
fn place(ratio: f64) -> f64 {
    let part = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    TITLES + SCALE * part
}

const fn color(kind: Kind) -> &'static str {
    match kind {
        Kind::Weft => "#2b6cb0",
        Kind::WeftSleeping => "#63a4dd",
        Kind::WeftPlain => "#a9cdec",
        Kind::WeftFast => "#2f855a",
        Kind::Kernel => "#555",
        Kind::Flannel => "#9a6fb0",
        Kind::Ovs => "#dd8b3a",
    }
}
