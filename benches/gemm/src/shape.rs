//! The sizes that the bars are about.

use std::fmt;

/// `count` products of m x k times k x n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub count: usize,
}

const SQUARES: [usize; 15] =
    [8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096];

pub const SMALL_K: Shape = Shape::new(4096, 4096, 32);
pub const SMALL_M: Shape = Shape::new(32, 4096, 4096);
pub const MATRIX_VECTOR: Shape = Shape::new(4096, 1, 4096);
pub const VECTOR_MATRIX: Shape = Shape::new(1, 4096, 4096);
const EDGES: Shape = Shape::new(100, 3000, 17);
const BATCH: Shape = Shape { m: 16, n: 16, k: 16, count: 1000 };

/// Every shape, in the order of the table.
pub fn all() -> impl Iterator<Item = Shape> {
    let squares = SQUARES.into_iter().map(|n| Shape::new(n, n, n));
    squares.chain([SMALL_K, SMALL_M, MATRIX_VECTOR, VECTOR_MATRIX, EDGES, BATCH])
}

impl Shape {
    pub const fn new(m: usize, n: usize, k: usize) -> Self {
        Self { m, n, k, count: 1 }
    }

    /// `MxNxK`, or `COUNTx(MxNxK)`, as `Display` prints it.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, sizes) = match text.split_once("x(") {
            Some((count, rest)) => (count.parse().ok()?, rest.strip_suffix(')')?),
            None => (1, text),
        };
        let sizes: Vec<usize> = sizes.split('x').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [m, n, k] = sizes[..] else {
            return None;
        };
        Some(Self { m, n, k, count })
    }

    /// Multiplications and additions.
    pub fn flops(self) -> f64 {
        2.0 * (self.m * self.n * self.k * self.count) as f64
    }

    /// The side of a square product.
    pub fn square(self) -> Option<usize> {
        (self.m == self.n && self.n == self.k && self.count == 1).then_some(self.m)
    }

    /// One operand is a vector: as fast as memory is read, whatever the arithmetic.
    pub fn is_memory_bound(self) -> bool {
        self.m == 1 || self.n == 1
    }

    pub fn is_quick(self) -> bool {
        const QUICK: [usize; 8] = [8, 32, 64, 128, 256, 512, 1024, 2048];
        self.square().is_none_or(|n| QUICK.contains(&n))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { m, n, k, count } = self;
        match count {
            1 => f.pad(&format!("{m}x{n}x{k}")),
            _ => f.pad(&format!("{count}x({m}x{n}x{k})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_read_as_it_is_printed() {
        for shape in all() {
            assert_eq!(Shape::parse(&shape.to_string()), Some(shape));
        }
    }
}
