//! The colours there are, and the 256 of them that a GIF may have.

/// Red, green, blue from 0 to 255.
pub type Rgb = [f64; 3];

/// At the horizon, and overhead.
pub const SKY: [Rgb; 2] = [[240.0, 244.0, 248.0], [208.0, 223.0, 240.0]];
/// Squares of the ground.
pub const GROUND: [Rgb; 2] = [[246.0, 248.0, 250.0], [205.0, 214.0, 224.0]];
/// What belongs to no body.
pub const SOLID: Rgb = [150.0, 158.0, 168.0];
/// The trunk and the limbs in turn: Okabe and Ito's colours, as in the charts.
pub const LIMBS: [Rgb; 6] = [
    [0.0, 114.0, 178.0],
    [213.0, 94.0, 0.0],
    [0.0, 158.0, 115.0],
    [204.0, 121.0, 167.0],
    [230.0, 159.0, 0.0],
    [86.0, 180.0, 233.0],
];
/// Text.
pub const INK: Rgb = [31.0, 35.0, 40.0];
const WHITE: Rgb = [255.0; 3];

/// a, and so much of b in its place.
pub fn mix(a: Rgb, b: Rgb, share: f64) -> Rgb {
    [0, 1, 2].map(|i| a[i] + share * (b[i] - a[i]))
}

/// A colour under so much light, from 0 (a dark tone of it) over 0.6 (itself) to 1 (a pale one).
pub fn under(colour: Rgb, light: f64) -> Rgb {
    let light = light.clamp(0.0, 1.0);
    match light < 0.6 {
        true => mix(colour.map(|c| 0.35 * c), colour, light / 0.6),
        false => mix(colour, WHITE, 0.6 * (light - 0.6) / 0.4),
    }
}

/// The number that stands for what was there before.
pub const UNCHANGED: u8 = 255;

/// A fixed palette, and the nearest of its colours to any.
pub struct Palette {
    colours: Vec<[u8; 3]>,
    /// of every colour of 7 bits a channel; 256 where nobody asked yet
    nearest: Vec<u16>,
}

const BITS: u32 = 7;
const UNKNOWN: u16 = 256;

impl Palette {
    /// Tones of the ground, of the sky, of text, and of every limb in all lights, alone and against the ground.
    pub fn new() -> Palette {
        let mut colours = Vec::new();
        let mut ramp = |from: Rgb, to: Rgb, n: u32| {
            let tone = |k: u32| mix(from, to, f64::from(k) / f64::from(n - 1));
            colours.extend((0..n).map(|k| tone(k).map(|c| (c + 0.5) as u8)));
        };
        ramp(GROUND[1].map(|c| 0.78 * c), GROUND[0], 30);
        ramp(SKY[0], SKY[1], 16);
        ramp(INK, WHITE, 22);
        for colour in LIMBS.iter().chain([&SOLID]) {
            ramp(under(*colour, 0.0), under(*colour, 0.6), 9);
            ramp(under(*colour, 0.65), under(*colour, 1.0), 6);
            for light in [0.1, 0.35, 0.6] {
                let pure = under(*colour, light);
                ramp(mix(pure, GROUND[0], 0.3), mix(pure, GROUND[0], 0.7), 3);
            }
        }
        assert!(colours.len() <= usize::from(UNCHANGED), "invariant: a GIF has 256 colours");
        Palette { colours, nearest: vec![UNKNOWN; 1 << (3 * BITS)] }
    }

    /// Red, green, blue of all 256 one after the other; those that are never used are black.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.colours.concat();
        bytes.resize(3 * 256, 0);
        bytes
    }

    /// The number of the nearest colour.
    pub fn nearest(&mut self, colour: [u8; 3]) -> u8 {
        let high = colour.map(|c| usize::from(c) >> (8 - BITS));
        let place = (high[0] << (2 * BITS)) | (high[1] << BITS) | high[2];
        if self.nearest[place] == UNKNOWN {
            let here = high.map(|c| (c << (8 - BITS)) as i32);
            let far = |c: &[u8; 3]| (0..3).map(|i| (i32::from(c[i]) - here[i]).pow(2)).sum::<i32>();
            let (number, _) =
                self.colours.iter().enumerate().min_by_key(|(_, c)| far(c)).expect("invariant: has colours");
            self.nearest[place] = number as u16;
        }
        self.nearest[place] as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_the_palette_are_near_to_themselves() {
        let mut palette = Palette::new();
        assert_eq!(palette.bytes().len(), 768);
        for colour in palette.colours.clone() {
            let number = palette.nearest(colour);
            let near = palette.colours[usize::from(number)];
            assert!((0..3).all(|i| near[i].abs_diff(colour[i]) <= 3), "{colour:?} became {near:?}");
        }
    }
}
