//! The linear family for AVX-512F.

use super::micro::{self, Dots, Micro, Tile, TileFn};
use super::pack;
use crate::simd::Avx512;
use crate::{Activation, Linear, Scratch};

#[target_feature(enable = "avx512f")]
unsafe fn tile<const MR: usize, const NV: usize, const TR: bool, const SUMS: bool, const PART: bool>(
    t: &Tile,
) {
    // SAFETY: this function enables the instruction set; the caller promises the rest.
    unsafe { micro::tile::<Avx512, MR, NV, TR, SUMS, PART>(t) }
}

#[target_feature(enable = "avx512f")]
unsafe fn dots<const MR: usize, const NR: usize>(t: &Dots) {
    // SAFETY: this function enables the instruction set; the caller promises the rest.
    unsafe { micro::dots::<Avx512, MR, NR>(t) }
}

/// Kernels of two vectors for 1 to 12 rows: 24 running sums, two vectors of b, one of a.
macro_rules! tall {
    ($tr:literal, $sums:literal, $part:literal) => {
        [
            tile::<1, 2, $tr, $sums, $part>,
            tile::<2, 2, $tr, $sums, $part>,
            tile::<3, 2, $tr, $sums, $part>,
            tile::<4, 2, $tr, $sums, $part>,
            tile::<5, 2, $tr, $sums, $part>,
            tile::<6, 2, $tr, $sums, $part>,
            tile::<7, 2, $tr, $sums, $part>,
            tile::<8, 2, $tr, $sums, $part>,
            tile::<9, 2, $tr, $sums, $part>,
            tile::<10, 2, $tr, $sums, $part>,
            tile::<11, 2, $tr, $sums, $part>,
            tile::<12, 2, $tr, $sums, $part>,
        ]
    };
}

impl Micro for Avx512 {
    const TALL: usize = 12;
    const DOTS: usize = 4;
    const UNPACKED: usize = 24;

    fn wide(rows: usize) -> usize {
        match rows {
            1 => 16,
            2 | 3 => 8,
            4..=6 => 4,
            _ => 2,
        }
    }

    fn tile(rows: usize, vectors: usize, transposed: bool, sums: bool, part: bool) -> TileFn {
        const PLAIN: [[TileFn; 12]; 2] = [tall!(false, false, false), tall!(false, false, true)];
        const TURNED: [[TileFn; 12]; 2] = [tall!(true, false, false), tall!(true, false, true)];
        const SUMMED: [[TileFn; 12]; 2] = [tall!(true, true, false), tall!(true, true, true)];
        const WIDE: [[TileFn; 6]; 2] = [
            [
                tile::<1, 16, false, false, false>,
                tile::<2, 8, false, false, false>,
                tile::<3, 8, false, false, false>,
                tile::<4, 4, false, false, false>,
                tile::<5, 4, false, false, false>,
                tile::<6, 4, false, false, false>,
            ],
            [
                tile::<1, 16, true, false, false>,
                tile::<2, 8, true, false, false>,
                tile::<3, 8, true, false, false>,
                tile::<4, 4, true, false, false>,
                tile::<5, 4, true, false, false>,
                tile::<6, 4, true, false, false>,
            ],
        ];
        if vectors > 2 {
            assert!(vectors == Self::wide(rows) && !sums && !part, "invariant: a wide kernel that exists");
            WIDE[usize::from(transposed)][rows - 1]
        } else {
            let table = match (transposed, sums) {
                (false, _) => &PLAIN,
                (true, false) => &TURNED,
                (true, true) => &SUMMED,
            };
            table[usize::from(part)][rows - 1]
        }
    }

    fn dots_rows(cols: usize) -> usize {
        [16, 8, 4, 4][cols - 1]
    }

    fn dots(cols: usize, one_row: bool) -> unsafe fn(&Dots) {
        const MANY: [unsafe fn(&Dots); 4] = [dots::<16, 1>, dots::<8, 2>, dots::<4, 3>, dots::<4, 4>];
        const ONE: [unsafe fn(&Dots); 4] = [dots::<1, 1>, dots::<1, 2>, dots::<1, 3>, dots::<1, 4>];
        if one_row { ONE[cols - 1] } else { MANY[cols - 1] }
    }
}

pub(crate) fn linear_scratch(s: &Linear) -> usize {
    pack::scratch::<Avx512>(s)
}

crate::simd::variants! {
    Avx512, "avx512f";
    fn linear(s: &Linear, x: &[f32], w: &[f32], b: Option<&[f32]>, act: Activation, y: &mut [f32], scratch: Scratch<'_>);
    fn linear_dx(s: &Linear, dy: &[f32], w: &[f32], mask: Option<(Activation, &[f32])>, dx: &mut [f32], scratch: Scratch<'_>);
    fn linear_dw(s: &Linear, x: &[f32], dy: &[f32], dw: &mut [f32], db: Option<&mut [f32]>, add: bool, scratch: &mut [f32]);
}
