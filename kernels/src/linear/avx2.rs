//! The linear family for AVX2 with FMA.

use super::micro::{self, Dots, Micro, Tile, TileFn};
use super::pack;
use crate::simd::Avx2;
use crate::{Activation, Linear, Scratch};

#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const MR: usize, const NV: usize, const TR: bool, const SUMS: bool, const PART: bool>(
    t: &Tile,
) {
    // SAFETY: this function enables the instruction set; the caller promises the rest.
    unsafe { micro::tile::<Avx2, MR, NV, TR, SUMS, PART>(t) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn dots<const MR: usize, const NR: usize>(t: &Dots) {
    // SAFETY: this function enables the instruction set; the caller promises the rest.
    unsafe { micro::dots::<Avx2, MR, NR>(t) }
}

/// Kernels of two vectors for 1 to 6 rows: 12 running sums, two vectors of b, one of a.
macro_rules! tall {
    ($tr:literal, $sums:literal, $part:literal) => {
        [
            tile::<1, 2, $tr, $sums, $part>,
            tile::<2, 2, $tr, $sums, $part>,
            tile::<3, 2, $tr, $sums, $part>,
            tile::<4, 2, $tr, $sums, $part>,
            tile::<5, 2, $tr, $sums, $part>,
            tile::<6, 2, $tr, $sums, $part>,
        ]
    };
}

impl Micro for Avx2 {
    const TALL: usize = 6;
    const DOTS: usize = 3;
    const UNPACKED: usize = 24;

    fn wide(rows: usize) -> usize {
        match rows {
            1 => 8,
            2 | 3 => 4,
            _ => 2,
        }
    }

    fn tile(rows: usize, vectors: usize, transposed: bool, sums: bool, part: bool) -> TileFn {
        const PLAIN: [[TileFn; 6]; 2] = [tall!(false, false, false), tall!(false, false, true)];
        const TURNED: [[TileFn; 6]; 2] = [tall!(true, false, false), tall!(true, false, true)];
        const SUMMED: [[TileFn; 6]; 2] = [tall!(true, true, false), tall!(true, true, true)];
        const WIDE: [[TileFn; 3]; 2] = [
            [
                tile::<1, 8, false, false, false>,
                tile::<2, 4, false, false, false>,
                tile::<3, 4, false, false, false>,
            ],
            [
                tile::<1, 8, true, false, false>,
                tile::<2, 4, true, false, false>,
                tile::<3, 4, true, false, false>,
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
        [8, 4, 4][cols - 1]
    }

    fn dots(cols: usize, one_row: bool) -> unsafe fn(&Dots) {
        const MANY: [unsafe fn(&Dots); 3] = [dots::<8, 1>, dots::<4, 2>, dots::<4, 3>];
        const ONE: [unsafe fn(&Dots); 3] = [dots::<1, 1>, dots::<1, 2>, dots::<1, 3>];
        if one_row { ONE[cols - 1] } else { MANY[cols - 1] }
    }
}

pub(crate) fn linear_scratch(s: &Linear) -> usize {
    pack::scratch::<Avx2>(s)
}

crate::simd::variants! {
    Avx2, "avx2,fma";
    fn linear(s: &Linear, x: &[f32], w: &[f32], b: Option<&[f32]>, act: Activation, y: &mut [f32], scratch: Scratch<'_>);
    fn linear_dx(s: &Linear, dy: &[f32], w: &[f32], mask: Option<(Activation, &[f32])>, dx: &mut [f32], scratch: Scratch<'_>);
    fn linear_dw(s: &Linear, x: &[f32], dy: &[f32], dw: &mut [f32], db: Option<&mut [f32]>, add: bool, scratch: &mut [f32]);
}
