//! The specification of Adam: one element at a time, in f64.

use crate::AdamStep;

/// One step in place, see the contract of the module.
pub fn adam(step: &AdamStep, theta: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    let (beta1, beta2) = (step.beta1 as f64, step.beta2 as f64);
    for i in 0..theta.len() {
        let g = g[i] as f64;
        let first = beta1 * m[i] as f64 + (1.0 - beta1) * g;
        let second = beta2 * v[i] as f64 + (1.0 - beta2) * g * g;
        let scale = second.sqrt() * step.rsqrt_bias2 as f64 + step.eps as f64;
        m[i] = first as f32;
        v[i] = second as f32;
        theta[i] = (theta[i] as f64 - step.step_size as f64 * first / scale) as f32;
    }
}
