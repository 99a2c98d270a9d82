//! A line for each contender over the sizes of a shape. The labels stand at the right, each as near to the end of its line
//! as the others let it, and are the legend.

use std::ops::Range;

use plotters::prelude::*;

use super::Drawn;
use super::figures::Line;
use super::look::{self, Canvas, GRID, RIGHT_OF};
use super::scale::{Scale, figure};

/// Pixels.
const WIDTH: i32 = 900;
const HEIGHT_MIN: i32 = 480;
const TOP: i32 = 48;
const LEFT: i32 = 96;
const BOTTOM: i32 = 60;
const LABEL_HEIGHT: i32 = 17;
/// From the plot to a label: a line that leads there, then a piece of the contender's line.
const LEAD: i32 = 34;
const SAMPLE: i32 = 28;
const MARGIN: i32 = 10;

/// What is written beside the figures.
pub struct Titles {
    pub chart: &'static str,
    pub x: &'static str,
    pub y: &'static str,
}

/// The chart, unless there is nothing on it.
pub fn draw(titles: &Titles, lines: &[Line<'_>]) -> Drawn<Option<String>> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (Some(x), Some(y)) = (Scale::of(points().map(|(x, _)| x)), Scale::around(points().map(|(_, y)| y)))
    else {
        return Ok(None);
    };
    let labels = i32::try_from(lines.len())? * LABEL_HEIGHT;
    let height = HEIGHT_MIN.max(TOP + BOTTOM + labels);
    let legend = LEAD + SAMPLE + look::width(lines.iter().map(|line| line.contender.label.as_str())) + MARGIN;
    let mut svg = String::new();
    {
        let canvas = look::canvas(&mut svg, (WIDTH + legend - LEFT, height), titles.chart)?;
        let mut chart = ChartBuilder::on(&canvas)
            .margin_top(TOP)
            .margin_right(legend)
            .margin_left(MARGIN)
            .margin_bottom(MARGIN)
            .set_label_area_size(LabelAreaPosition::Left, LEFT - MARGIN)
            .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM - MARGIN)
            .build_cartesian_2d(x.axis(), y.axis())?;
        let text = look::plain_text(RIGHT_OF);
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .axis_style(look::INK)
            .label_style(text.clone())
            .axis_desc_style(text)
            .x_label_formatter(&figure)
            .y_label_formatter(&figure)
            .x_desc(titles.x)
            .y_desc(titles.y)
            .draw()?;
        let plot = chart.plotting_area().get_pixel_range();
        let mut drawn: Vec<Plotted> = lines
            .iter()
            .map(|line| {
                let pixels = line.points.iter().map(|point| chart.backend_coord(point)).collect();
                Plotted { line, pixels }
            })
            .collect();
        draw_lines(&canvas, &mut drawn, &plot)?;
        canvas.present()?;
    }
    Ok(Some(svg))
}

/// A line in pixels.
struct Plotted<'a> {
    line: &'a Line<'a>,
    pixels: Vec<(i32, i32)>,
}

impl Plotted<'_> {
    fn end(&self) -> (i32, i32) {
        self.pixels.last().copied().unwrap_or_default()
    }
}

/// Ours last, so that they lie above the others.
fn draw_lines(canvas: &Canvas, lines: &mut [Plotted], plot: &(Range<i32>, Range<i32>)) -> Drawn<()> {
    lines.sort_by_key(|line| line.end().1);
    let ends: Vec<i32> = lines.iter().map(|line| line.end().1).collect();
    let places = spread(&ends, LABEL_HEIGHT, &plot.1);
    let mut placed: Vec<(&Plotted, i32)> = lines.iter().zip(places).collect();
    placed.sort_by_key(|(line, _)| line.line.contender.look.ours);
    for (line, place) in placed {
        let contender = line.line.contender;
        let (look, end) = (contender.look, line.end());
        let label = plot.0.end + LEAD;
        let lead = vec![end, (plot.0.end, end.1), (label - 4, place)];
        canvas.draw(&PathElement::new(lead, look.lead()))?;
        canvas.draw(&PathElement::new(line.pixels.clone(), look.stroke()))?;
        for pixel in &line.pixels {
            look.draw_mark(look.mark, canvas, *pixel)?;
        }
        let sample = vec![(label, place), (label + SAMPLE - 6, place)];
        canvas.draw(&PathElement::new(sample, look.stroke()))?;
        look.draw_mark(look.mark, canvas, (label + SAMPLE / 2 - 3, place))?;
        canvas.draw_text(&contender.label, &look.text(RIGHT_OF), (label + SAMPLE, place))?;
    }
    Ok(())
}

/// Where labels stand that want to be at `wanted`, which is in order: within `bounds`, if they all fit there, and no two
/// nearer than `gap`.
fn spread(wanted: &[i32], gap: i32, bounds: &Range<i32>) -> Vec<i32> {
    let mut free = bounds.start;
    let mut places: Vec<i32> = Vec::with_capacity(wanted.len());
    for place in wanted {
        let place = free.max(*place);
        places.push(place);
        free = place + gap;
    }
    let mut free = bounds.end;
    for place in places.iter_mut().rev() {
        *place = free.min(*place);
        free = *place - gap;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_want_the_same_place_are_spread_within_the_bounds() {
        for (wanted, places) in [
            (&[10, 50][..], &[10, 50][..]),
            (&[10, 10, 12], &[10, 20, 30]),
            (&[90, 98, 99], &[80, 90, 100]),
            (&[-5, 120], &[0, 100]),
            (&[], &[]),
        ] {
            assert_eq!(spread(wanted, 10, &(0..100)), places);
        }
    }
}
