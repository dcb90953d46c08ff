//! Extents of tensors, and their axes.

/// Extents of a tensor: heads J, rows B, columns N. Row-major, heads outermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// J: independent copies (critics of an ensemble)
    pub heads: usize,
    /// B: rows (batch), or K, the inputs of a weight
    pub rows: usize,
    /// N: columns (features)
    pub cols: usize,
}

impl Shape {
    /// `[heads, rows, cols]`
    pub const fn new(heads: usize, rows: usize, cols: usize) -> Shape {
        Shape { heads, rows, cols }
    }

    /// One number.
    pub const SCALAR: Shape = Shape::new(1, 1, 1);

    /// Number of elements.
    #[expect(clippy::len_without_is_empty, reason = "an empty shape has no use")]
    pub const fn len(self) -> usize {
        self.heads * self.rows * self.cols
    }

    /// The three extents.
    pub const fn dims(self) -> [usize; 3] {
        [self.heads, self.rows, self.cols]
    }

    /// The shape both broadcast to; panics if they do not agree.
    pub fn broadcast(self, other: Shape) -> Shape {
        let join = |a: usize, b: usize| match (a, b) {
            (1, n) | (n, 1) => n,
            (a, b) if a == b => a,
            _ => panic!("shapes {self} and {other} do not broadcast"),
        };
        Shape::new(join(self.heads, other.heads), join(self.rows, other.rows), join(self.cols, other.cols))
    }

    /// Element strides, 0 along extents of 1.
    pub(in crate::autodiff) fn strides(self) -> [usize; 3] {
        let step = |extent: usize, stride: usize| if extent == 1 { 0 } else { stride };
        [step(self.heads, self.rows * self.cols), step(self.rows, self.cols), step(self.cols, 1)]
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.heads {
            1 => write!(f, "[{}, {}]", self.rows, self.cols),
            j => write!(f, "[{j}, {}, {}]", self.rows, self.cols),
        }
    }
}

/// One of the three extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// over the heads of an ensemble
    Heads,
    /// over the batch
    Rows,
    /// over the features
    Cols,
}

impl Axis {
    pub(in crate::autodiff) fn index(self) -> usize {
        match self {
            Axis::Heads => 0,
            Axis::Rows => 1,
            Axis::Cols => 2,
        }
    }

    /// `[outer, along the axis, inner]` of a dense tensor.
    pub(in crate::autodiff) fn split(self, s: Shape) -> [usize; 3] {
        match self {
            Axis::Heads => [1, s.heads, s.rows * s.cols],
            Axis::Rows => [s.heads, s.rows, s.cols],
            Axis::Cols => [s.heads * s.rows, s.cols, 1],
        }
    }
}
