//! Boxes and their labels drawn on a picture, for people to look at.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};
use std::ops::Range;
use unbraid_runtime::detect::Rect;

/// Rows and columns of a letter of the font.
const GLYPH: u32 = 8;

/// What is drawn for a letter that the font does not have.
const UNKNOWN: [u8; 8] = [0x7e, 0x42, 0x42, 0x42, 0x42, 0x42, 0x7e, 0x00];

/// Colours that most eyes tell apart (Okabe and Ito, "Color Universal Design", 2008), without
/// black, which the letters have.
const COLOURS: [[u8; 3]; 7] = [
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [0, 114, 178],
    [213, 94, 0],
    [204, 121, 167],
];

/// Draws the outline of `rect` (pixels of the picture) in the colour of its class, and `label`
/// above it, or inside where there is no room. Lines and letters grow with the picture.
pub fn draw(picture: &mut RgbImage, rect: &Rect, class: u32, label: &str) {
    let side = picture.width().min(picture.height());
    let (line, scale) = ((side / 160).max(2), (side / 240).max(1));
    let colour = Rgb(COLOURS[class as usize % COLOURS.len()]);
    // No picture is larger, and sums with such edges do not overflow.
    let edge = |value: f32| value.clamp(-1e9, 1e9);
    let [left, top] = [rect.left, rect.top].map(|value| edge(value).floor() as i64);
    let [right, bottom] = [rect.right, rect.bottom].map(|value| edge(value).ceil() as i64);
    outline(picture, left..right, top..bottom, i64::from(line), colour);
    let height = i64::from(scale * (GLYPH + 1));
    let above = if top >= height { top - height } else { top };
    write(picture, label, (left.max(0), above), i64::from(scale), colour);
}

/// The four sides, `line` pixels thick, inside the columns and rows.
fn outline(
    picture: &mut RgbImage,
    columns: Range<i64>,
    rows: Range<i64>,
    line: i64,
    colour: Rgb<u8>,
) {
    let sides = [
        (columns.clone(), rows.start..rows.start + line),
        (columns.clone(), rows.end - line..rows.end),
        (columns.start..columns.start + line, rows.clone()),
        (columns.end - line..columns.end, rows),
    ];
    sides.into_iter().for_each(|(columns, rows)| fill(picture, columns, rows, colour));
}

/// Black letters of `scale` times the font's size on a plate of this colour, from `(x, y)` on; moved
/// to the left where they would leave the picture.
fn write(picture: &mut RgbImage, text: &str, (x, y): (i64, i64), scale: i64, colour: Rgb<u8>) {
    let glyph = scale * i64::from(GLYPH);
    let width = text.chars().count() as i64 * glyph;
    let x = x.min(i64::from(picture.width()) - width).max(0);
    fill(picture, x..x + width, y..y + glyph + scale, colour);
    for (index, letter) in text.chars().enumerate() {
        let rows = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter)).unwrap_or(UNKNOWN);
        let left = x + index as i64 * glyph;
        for (row, bits) in rows.iter().enumerate() {
            let top = y + scale * (row as i64 + 1);
            for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                let left = left + scale * i64::from(column);
                fill(picture, left..left + scale, top..top + scale, Rgb([0; 3]));
            }
        }
    }
}

/// The pixels of these columns and rows that the picture has.
fn fill(picture: &mut RgbImage, columns: Range<i64>, rows: Range<i64>, colour: Rgb<u8>) {
    let inside = |range: Range<i64>, end: u32| {
        range.start.max(0) as u32..range.end.clamp(0, i64::from(end)) as u32
    };
    for y in inside(rows, picture.height()) {
        for x in inside(columns.clone(), picture.width()) {
            picture.put_pixel(x, y, colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: Rgb<u8> = Rgb([128; 3]);

    fn rect(left: f32, top: f32, right: f32, bottom: f32) -> Rect {
        Rect { left, top, right, bottom }
    }

    #[test]
    fn a_box_is_outlined_and_its_inside_left_alone() {
        let mut picture = RgbImage::from_pixel(100, 80, GREY);
        draw(&mut picture, &rect(20.5, 30.0, 60.2, 70.0), 8, "");
        let colour = Rgb(COLOURS[1]);
        for (x, y) in [(20, 30), (21, 50), (60, 69), (40, 31), (40, 68), (59, 50)] {
            assert_eq!(*picture.get_pixel(x, y), colour, "({x}, {y})");
        }
        for (x, y) in [(19, 50), (22, 50), (58, 50), (61, 50), (40, 29), (40, 32), (40, 70)] {
            assert_eq!(*picture.get_pixel(x, y), GREY, "({x}, {y})");
        }
    }

    #[test]
    fn a_label_stands_above_its_box_or_inside_where_there_is_no_room() {
        for (top, plate) in [(40.0, 31..40), (5.0, 5..14)] {
            let mut picture = RgbImage::from_pixel(100, 80, GREY);
            draw(&mut picture, &rect(90.0, top, 99.0, 75.0), 0, "LI é");
            let black = picture.enumerate_pixels().filter(|(_, _, p)| p.0 == [0; 3]);
            let places: Vec<(u32, u32)> = black.map(|(x, y, _)| (x, y)).collect();
            assert!(places.len() > 30, "letters are drawn");
            assert!(places.iter().all(|(_, y)| plate.contains(y)), "on the plate");
            assert!(places.iter().any(|(x, _)| *x < 76), "moved to the left until it fits");
        }
    }

    #[test]
    fn boxes_outside_the_picture_draw_what_is_inside_and_nothing_else() {
        let mut picture = RgbImage::from_pixel(20, 10, GREY);
        draw(&mut picture, &rect(-50.0, -9.0, 900.0, 5.0), 0, "a label wider than the picture");
        draw(&mut picture, &rect(40.0, 40.0, 41.0, 41.0), 0, "");
        draw(&mut picture, &rect(f32::NAN, 0.0, f32::INFINITY, f32::NEG_INFINITY), 0, "");
        let untouched = RgbImage::from_pixel(20, 10, GREY);
        assert_ne!(picture, untouched);
    }
}
