//! Which buffer holds which value: liveness, then reuse.

/// Buffers of a program: their lengths in floats.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) lens: Vec<usize>,
}

impl Layout {
    /// A buffer that is never given to anybody else.
    pub(super) fn fixed(&mut self, len: usize) -> usize {
        self.lens.push(len);
        self.lens.len() - 1
    }
}

/// A value that lives from the instruction that writes it to the last one that reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    pub(super) len: usize,
    pub(super) written: usize,
    pub(super) last_read: usize,
}

/// Gives each value a buffer, reusing those of dead values; `values` are in order of writing.
/// Best fit: the free buffer that wastes least, enlarged if none is big enough.
pub(super) fn assign(values: &[Lifetime], layout: &mut Layout) -> Vec<usize> {
    let mut free: Vec<usize> = Vec::new();
    let mut busy: Vec<(usize, usize)> = Vec::new(); // (last read, buffer)
    let mut assigned = Vec::with_capacity(values.len());
    for v in values {
        busy.retain(|&(last, buffer)| {
            if last < v.written {
                free.push(buffer);
            }
            last >= v.written
        });
        let fit = |b: &usize| {
            let have = layout.lens[*b];
            if have >= v.len { (0, have - v.len) } else { (1, v.len - have) }
        };
        let buffer = match free.iter().enumerate().min_by_key(|(i, b)| (fit(b), *i)).map(|(i, _)| i) {
            Some(i) => free.swap_remove(i),
            None => layout.fixed(0),
        };
        layout.lens[buffer] = layout.lens[buffer].max(v.len);
        busy.push((v.last_read, buffer));
        assigned.push(buffer);
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_alive_together_never_share_a_buffer() {
        let mut x = 12345u64;
        let mut next = |n: u64| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (x >> 33) % n
        };
        let values: Vec<Lifetime> = (0..200)
            .map(|i| Lifetime { len: 1 + next(50) as usize, written: i, last_read: i + next(12) as usize })
            .collect();
        let mut layout = Layout::default();
        let buffers = assign(&values, &mut layout);
        for (i, a) in values.iter().enumerate() {
            assert!(layout.lens[buffers[i]] >= a.len);
            for (j, b) in values.iter().enumerate().skip(i + 1) {
                let together = b.written <= a.last_read;
                assert!(!(together && buffers[i] == buffers[j]), "values {i} and {j} share a buffer");
            }
        }
        assert!(layout.lens.len() < 30, "{} buffers for 200 values", layout.lens.len());
    }
}
