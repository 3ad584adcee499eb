//! The tray icon: the mark in the shape of this device's state, drawn in whole pixels.
//!
//! It refuses colour as a signal: one colour, readable on light and dark panels, and the shape tells.

use tauri::image::Image;

/// What the icon tells of this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A person is inside.
    Normal,
    /// A close is under way.
    Closing,
    /// Nobody is inside.
    Closed,
    /// What is inside is not known.
    Unknown,
}

/// Side of the design grid.
const GRID: u32 = 16;
/// Pixels a grid cell.
const SCALE: u32 = 2;
/// 3.8:1 on white and 4.2:1 on the dark surface: a panel's own colour is not known.
const COLOUR: [u8; 4] = [0x76, 0x84, 0x8f, 0xff];

/// A rectangle on the grid: left, top, right, bottom.
type Rect = [u32; 4];

impl Mark {
    /// The icon, 32 pixels square.
    pub(crate) fn image(self) -> Image<'static> {
        let side = GRID * SCALE;
        let mut pixels = Vec::new();
        for y in 0..side {
            for x in 0..side {
                let inside = self.covers(x / SCALE, y / SCALE);
                pixels.extend_from_slice(if inside { &COLOUR } else { &[0; 4] });
            }
        }
        Image::new_owned(pixels, side, side)
    }

    /// Its rectangles as shares of its side: left, top, right, bottom.
    #[cfg(target_os = "linux")]
    pub(crate) fn parts(self) -> impl Iterator<Item = [f64; 4]> {
        self.rects().iter().map(|rect| rect.map(|edge| f64::from(edge) / f64::from(GRID)))
    }

    fn covers(self, x: u32, y: u32) -> bool {
        self.rects().iter().any(|&[left, top, right, bottom]| {
            (left..right).contains(&x) && (top..bottom).contains(&y)
        })
    }

    fn rects(self) -> &'static [Rect] {
        match self {
            Mark::Normal => &[[2, 2, 12, 4], [2, 2, 4, 14], [2, 12, 12, 14], [4, 7, 10, 9]],
            Mark::Closing => &[[2, 2, 10, 4], [2, 2, 4, 14], [2, 12, 10, 14], [8, 7, 16, 9]],
            Mark::Closed => &[[2, 2, 14, 4], [2, 2, 4, 14], [12, 2, 14, 14], [2, 12, 14, 14]],
            Mark::Unknown => &[
                [2, 2, 6, 4],
                [2, 2, 4, 6],
                [10, 2, 14, 4],
                [12, 2, 14, 6],
                [12, 10, 14, 14],
                [10, 12, 14, 14],
                [2, 12, 6, 14],
                [2, 10, 4, 14],
                [7, 7, 9, 9],
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_shape_of_its_own() {
        let marks = [Mark::Normal, Mark::Closing, Mark::Closed, Mark::Unknown];
        for (i, one) in marks.iter().enumerate() {
            for other in &marks[i + 1..] {
                assert_ne!(one.image().rgba(), other.image().rgba(), "{one:?} {other:?}");
            }
        }
    }
}
