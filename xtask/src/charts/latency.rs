//! Percentiles of times: a row for each contender, a panel for each shape. Points and not bars, since a bar has no foot on a
//! logarithmic axis.

use plotters::prelude::*;

use super::Drawn;
use super::figures::{Contender, Percentiles};
use super::look::{self, Canvas, GRID, INK, LEFT_OF, Mark, RIGHT_OF};
use super::scale::{Scale, figure};

/// Pixels.
const PLOTS: i32 = 720;
const GAP: i32 = 56;
const TOP: i32 = 96;
const PANEL_TITLE: i32 = 76;
const LEGEND: i32 = 46;
const LEGEND_STEP: i32 = 76;
const BOTTOM: i32 = 60;
const ROW: i32 = 24;
const MARGIN: i32 = 16;

const NAMES: [(&str, Mark); 3] = [("p50", Mark::Circle), ("p99", Mark::Triangle), ("p99.9", Mark::Cross)];

/// The chart of the panels that have something on them, unless there is none. All have the same axis, and the rows are in the
/// order of the first panel's p50.
pub fn draw(panels: &[(&str, Vec<Percentiles<'_>>)]) -> Drawn<Option<String>> {
    let panels: Vec<&(&str, Vec<Percentiles>)> =
        panels.iter().filter(|(_, times)| !times.is_empty()).collect();
    let times = panels.iter().flat_map(|(_, times)| times.iter().flat_map(|times| times.us));
    let Some(scale) = Scale::around(times) else {
        return Ok(None);
    };
    let rows = rows(&panels);
    let left = MARGIN + look::width(rows.iter().map(|row| row.label.as_str())) + MARGIN;
    let count = i32::try_from(panels.len())?;
    let width = (PLOTS - GAP * (count - 1)) / count;
    let bottom = TOP + ROW * i32::try_from(rows.len())?;
    let mut svg = String::new();
    {
        let size = (left + PLOTS + GAP, bottom + BOTTOM);
        let canvas = look::canvas(&mut svg, size, "From an enqueue until a worker has the job")?;
        draw_legend(&canvas, left)?;
        for (nth, row) in rows.iter().enumerate() {
            canvas.draw_text(&row.label, &row.look.text(LEFT_OF), (left - MARGIN / 2, middle(nth)))?;
        }
        let mut panel_left = left;
        for (title, times) in &panels {
            let title_place = (panel_left, PANEL_TITLE);
            canvas.draw_text(title, &look::plain_text(RIGHT_OF), title_place)?;
            let area = canvas.clone().shrink((panel_left, TOP), (width, bottom + BOTTOM - TOP));
            draw_panel(&canvas, &area, &scale, &rows, times)?;
            panel_left += width + GAP;
        }
        canvas.present()?;
    }
    Ok(Some(svg))
}

/// Every contender of a panel, those of the first panel first, the fastest at the top.
fn rows<'a>(panels: &[&(&str, Vec<Percentiles<'a>>)]) -> Vec<&'a Contender> {
    let mut rows: Vec<&Contender> = Vec::new();
    for (_, times) in panels {
        let mut times: Vec<&Percentiles> = times.iter().collect();
        times.sort_by(|one, other| one.us[0].total_cmp(&other.us[0]));
        for times in times {
            if !rows.contains(&times.contender) {
                rows.push(times.contender);
            }
        }
    }
    rows
}

/// The height at which a row's text and points are.
fn middle(row: usize) -> i32 {
    TOP + ROW / 2 + ROW * i32::try_from(row).unwrap_or(i32::MAX / ROW / 2)
}

fn draw_legend(canvas: &Canvas, left: i32) -> Drawn<()> {
    let mut place = left + 6;
    for (name, mark) in NAMES {
        look::draw_mark(mark, canvas, (place, LEGEND), INK, 4)?;
        canvas.draw_text(name, &look::plain_text(RIGHT_OF), (place + 12, LEGEND))?;
        place += LEGEND_STEP;
    }
    Ok(())
}

fn draw_panel(
    canvas: &Canvas,
    area: &Canvas,
    scale: &Scale,
    rows: &[&Contender],
    times: &[Percentiles],
) -> Drawn<()> {
    let mut chart = ChartBuilder::on(area)
        .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM - MARGIN)
        .margin_bottom(MARGIN)
        .build_cartesian_2d(scale.axis(), 0.0..1.0)?;
    let text = look::plain_text(RIGHT_OF);
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_label_formatter(&figure)
        .x_desc("microseconds (log)")
        .draw()?;
    let across = chart.plotting_area().get_pixel_range().0;
    for (nth, row) in rows.iter().enumerate() {
        let height = middle(nth);
        let guide = vec![(across.start, height), (across.end, height)];
        canvas.draw(&PathElement::new(guide, GRID))?;
        let Some(times) = times.iter().find(|times| times.contender == *row) else { continue };
        let pixels = times.us.map(|time| (chart.backend_coord(&(time, 0.0)).0, height));
        canvas.draw(&PathElement::new(pixels.to_vec(), row.look.faint()))?;
        for (pixel, (_, mark)) in pixels.into_iter().zip(NAMES) {
            row.look.draw_mark(mark, canvas, pixel)?;
        }
    }
    Ok(())
}
