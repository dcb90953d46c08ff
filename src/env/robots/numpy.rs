//! Sums in NumPy's order, which shows in their last bits.

use std::ops::{Add, Mul};

/// Longest sum that NumPy does in one block.
const BLOCK: usize = 128;

/// `np.sum(x)`: from 8 numbers on eight sums side by side, then those, then what is left.
pub fn sum<T: Copy + Default + Add<Output = T>>(x: impl ExactSizeIterator<Item = T>) -> T {
    let n = x.len();
    assert!(n <= BLOCK, "invariant: one block");
    let mut lanes = [T::default(); 8];
    let whole = if n < 8 { 0 } else { n - n % 8 };
    let mut total = T::default();
    for (i, x) in x.enumerate() {
        if i < whole {
            lanes[i % 8] = if i < 8 { x } else { lanes[i % 8] + x };
            if i + 1 == whole {
                let [a, b, c, d, e, f, g, h] = lanes;
                total = ((a + b) + (c + d)) + ((e + f) + (g + h));
            }
        } else {
            total = total + x;
        }
    }
    total
}

/// `np.sum(np.square(x))`.
pub fn sum_of_squares<T>(x: impl ExactSizeIterator<Item = T>) -> T
where
    T: Copy + Default + Add<Output = T> + Mul<Output = T>,
{
    sum(x.map(|x| x * x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_shows() {
        // NumPy 2.4: np.sum(np.float64([1e16, 1, 1, ...])) of as many numbers.
        let of = |n: usize| sum((0..n).map(|i| if i == 0 { 1e16 } else { 1.0 }));
        assert_eq!([7, 8, 9, 17].map(of).map(|x| x - 1e16), [0.0, 6.0, 8.0, 16.0]);
        assert_eq!(sum_of_squares([3.0_f32, 4.0].into_iter()), 25.0);
    }
}
