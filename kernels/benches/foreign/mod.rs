//! Other people's matrix products, made safe to call, for comparison in `benches/kernels.rs` only.

/// c `[m, n]` = a `[m, k]` b `[k, n]`, row-major; a and b may be given transposed.
#[derive(Clone, Copy)]
pub struct Product {
    /// rows of c
    pub m: usize,
    /// length of the sums
    pub k: usize,
    /// columns of c
    pub n: usize,
    /// a is stored `[k, m]`
    pub a_transposed: bool,
    /// b is stored `[n, k]`
    pub b_transposed: bool,
}

impl Product {
    /// Strides (row, column) of a and of b.
    fn strides(self, a: &[f32], b: &[f32], c: &[f32]) -> [isize; 4] {
        let Self { m, k, n, a_transposed, b_transposed } = self;
        assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
        let (ar, ac) = if a_transposed { (1, m) } else { (k, 1) };
        let (br, bc) = if b_transposed { (1, k) } else { (n, 1) };
        [ar as isize, ac as isize, br as isize, bc as isize]
    }

    /// With the crate `matrixmultiply`.
    pub fn matrixmultiply(self, a: &[f32], b: &[f32], c: &mut [f32]) {
        let [ar, ac, br, bc] = self.strides(a, b, c);
        let (m, k, n) = (self.m, self.k, self.n);
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        // SAFETY: `strides` checked that the slices have these sizes; c is borrowed uniquely.
        unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a, ar, ac, b, br, bc, 0.0, c, n as isize, 1) }
    }

    /// With the crate `gemm`, one thread.
    pub fn gemm(self, a: &[f32], b: &[f32], c: &mut [f32]) {
        let [ar, ac, br, bc] = self.strides(a, b, c);
        let (m, k, n) = (self.m, self.k, self.n);
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        let one = gemm::Parallelism::None;
        // SAFETY: `strides` checked that the slices have these sizes; c is borrowed uniquely.
        unsafe {
            gemm::gemm(
                m, n, k, c, 1, n as isize, false, a, ac, ar, b, bc, br, 0.0, 1.0, false, false, false, one,
            )
        }
    }
}
