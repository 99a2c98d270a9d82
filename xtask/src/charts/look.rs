//! How a contender is drawn, the same in all charts.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::{coord::Shift, style::TextStyle};

use super::Drawn;

/// The queue whose lines are bold.
const OURS: &str = "poolqueue";

const OURS_COLOURS: [RGBColor; 3] = [RGBColor(9, 80, 190), RGBColor(214, 82, 8), RGBColor(122, 40, 160)];
const OTHER_COLOURS: [RGBColor; 11] = [
    RGBColor(60, 66, 74),
    RGBColor(140, 149, 159),
    RGBColor(184, 160, 120),
    RGBColor(26, 127, 55),
    RGBColor(190, 30, 45),
    RGBColor(150, 110, 220),
    RGBColor(120, 80, 40),
    RGBColor(225, 90, 160),
    RGBColor(10, 145, 155),
    RGBColor(130, 130, 0),
    RGBColor(90, 170, 235),
];
/// Of all letters and lines that are of no contender.
pub const INK: RGBColor = RGBColor(36, 41, 47);
const EDGE: RGBColor = RGBColor(208, 215, 222);
pub const GRID: RGBColor = RGBColor(226, 230, 234);

/// Heights of letters as plotters wants them, which makes them pixels by dividing them by 1.24.
const LETTER: i32 = 15;
const TITLE_LETTER: i32 = 19;
/// Pixels: more than a bold letter of the usual fonts takes, over a whole word.
const LETTER_WIDTH: i32 = 8;

/// Pixels that are plotted on. White, so that it is read in front of anything.
pub type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What stands for a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Circle,
    Triangle,
    Cross,
}

const MARKS: [Mark; 3] = [Mark::Circle, Mark::Triangle, Mark::Cross];

/// Colour, mark and weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub ours: bool,
    pub mark: Mark,
    colour: RGBColor,
}

impl Look {
    /// One for the contender of this name that differs from those that are `taken`, as long as there are any.
    pub fn next(name: &str, taken: impl Iterator<Item = Look>) -> Self {
        let ours = name.split(':').next() == Some(OURS);
        let nth = taken.filter(|look| look.ours == ours).count();
        let colours = if ours { &OURS_COLOURS[..] } else { &OTHER_COLOURS[..] };
        Look { ours, mark: MARKS[nth % MARKS.len()], colour: colours[nth % colours.len()] }
    }

    /// The line of its figures.
    pub fn stroke(self) -> ShapeStyle {
        self.colour.stroke_width(if self.ours { 4 } else { 2 })
    }

    /// A line on which its marks are still seen.
    pub fn faint(self) -> ShapeStyle {
        ShapeStyle { color: self.colour.mix(0.45), ..self.stroke() }
    }

    /// A line that leads to its label.
    pub fn lead(self) -> ShapeStyle {
        ShapeStyle { stroke_width: 1, ..self.faint() }
    }

    /// Its label, which is placed by `pos`. In the ink of all letters: of the lighter colours only ours would be read well.
    pub fn text(self, pos: Pos) -> TextStyle<'static> {
        let (style, colour) =
            if self.ours { (FontStyle::Bold, self.colour) } else { (FontStyle::Normal, INK) };
        text(LETTER, style, colour, pos)
    }

    /// A point of its at these pixels.
    pub fn draw_mark(self, mark: Mark, on: &Canvas, at: (i32, i32)) -> Drawn<()> {
        draw_mark(mark, on, at, self.colour, if self.ours { 5 } else { 4 })
    }
}

/// A point at these pixels, `size` around.
pub fn draw_mark(mark: Mark, on: &Canvas, at: (i32, i32), colour: RGBColor, size: i32) -> Drawn<()> {
    match mark {
        Mark::Circle => on.draw(&Circle::new(at, size, colour.filled()))?,
        Mark::Triangle => on.draw(&TriangleMarker::new(at, size + 1, colour.filled()))?,
        Mark::Cross => on.draw(&Cross::new(at, size, colour.stroke_width(2)))?,
    }
    Ok(())
}

/// An empty picture.
pub fn canvas<'a>(svg: &'a mut String, size: (i32, i32), title: &str) -> Drawn<Canvas<'a>> {
    let size = (u32::try_from(size.0)?, u32::try_from(size.1)?);
    let canvas = SVGBackend::with_string(svg, size).into_drawing_area();
    canvas.fill(&WHITE)?;
    let (right, bottom) = (size.0.cast_signed() - 1, size.1.cast_signed() - 1);
    canvas.draw(&Rectangle::new([(0, 0), (right, bottom)], EDGE))?;
    let style = text(TITLE_LETTER, FontStyle::Bold, INK, RIGHT_OF);
    canvas.draw_text(title, &style, (16, 20))?;
    Ok(canvas)
}

/// Letters that are of no contender.
pub fn plain_text(pos: Pos) -> TextStyle<'static> {
    text(LETTER, FontStyle::Normal, INK, pos)
}

fn text(letter: i32, style: FontStyle, colour: RGBColor, pos: Pos) -> TextStyle<'static> {
    let font = ("sans-serif", letter, style).with_color(colour);
    font.with_anchor::<RGBColor>(pos).into_text_style(&(0, 0))
}

/// Where a text stands beside its place: to the right of it, or to the left.
pub const RIGHT_OF: Pos = Pos { h_pos: HPos::Left, v_pos: VPos::Center };
pub const LEFT_OF: Pos = Pos { h_pos: HPos::Right, v_pos: VPos::Center };

/// Pixels that the longest of the texts takes at most.
pub fn width<'a>(texts: impl Iterator<Item = &'a str>) -> i32 {
    let letters = texts.map(|text| text.chars().count()).max().unwrap_or(0);
    i32::try_from(letters).unwrap_or(i32::MAX).saturating_mul(LETTER_WIDTH)
}
