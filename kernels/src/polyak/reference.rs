//! The specification of the slow copy: one element at a time, in f64.

/// target ← target + rate · (source - target)
pub fn polyak(rate: f32, target: &mut [f32], source: &[f32]) {
    for (t, &s) in target.iter_mut().zip(source) {
        *t = (*t as f64 + rate as f64 * (s as f64 - *t as f64)) as f32;
    }
}
