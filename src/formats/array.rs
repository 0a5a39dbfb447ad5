//! What stands before the elements of a matrix: their type, their order, the shape.

use alloc::format;

use crate::gemm::Dtype;
use crate::limits::DIMENSION_MAX;
use crate::problem::{Problem, ProblemKind};

/// One of the three matrices of `alpha A B + beta C`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    A,
    B,
    C,
}

impl Which {
    pub const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    /// `a`, `b` or `c`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
        }
    }

    /// The matrix of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|which| which.name() == name)
    }

    /// The matrix of that name in a file: in capitals as well, and as `numpy.savez` calls arrays
    /// that it is given no names for.
    pub fn from_member_name(name: &str) -> Option<Self> {
        const NAMES: [[&str; 3]; 3] =
            [["a", "A", "arr_0"], ["b", "B", "arr_1"], ["c", "C", "arr_2"]];
        let position = NAMES.iter().position(|names| names.contains(&name))?;
        Some(Self::ALL[position])
    }

    /// Where it is at fault in a problem: `/a`, `/b` or `/c`.
    pub const fn pointer(self) -> &'static str {
        match self {
            Self::A => "/a",
            Self::B => "/b",
            Self::C => "/c",
        }
    }
}

/// The type of the elements as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    F64,
    F32,
    /// IEEE 754's binary16.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    /// A byte: 0, or 1 for all others.
    Bool,
}

impl Scalar {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The dtype that it is multiplied in, unless told otherwise: `f32` holds every value of the
    /// shorter floats, and integers go to `f64`, as in NumPy those that `f32` can't hold do.
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => Dtype::F32,
            _ => Dtype::F64,
        }
    }

    /// The elements of that dtype as they are.
    pub const fn of_dtype(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
        }
    }
}

/// Which byte of an element comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    Little,
    Big,
}

/// A matrix whose elements are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayHeader {
    pub scalar: Scalar,
    pub order: ByteOrder,
    pub rows: usize,
    pub columns: usize,
    /// The elements come column by column.
    pub is_fortran: bool,
    /// It came with one dimension: its rows and columns may be exchanged.
    pub is_vector: bool,
}

impl ArrayHeader {
    /// The header of an array of these dimensions, little-endian and row by row. As for
    /// `numpy.matmul`, an A of one dimension is a row, and such a B is a column; such a C is the
    /// row or column that the product is.
    ///
    /// # Errors
    ///
    /// A problem where the dimensions are not one or two, or too large.
    pub fn new(which: Which, scalar: Scalar, dimensions: &[u64]) -> Result<Self, Problem> {
        let (rows, columns) = match (dimensions, which) {
            (&[rows, columns], _) => (rows, columns),
            (&[length], Which::A | Which::C) => (1, length),
            (&[length], Which::B) => (length, 1),
            _ => {
                let detail = format!("the array has {} dimensions", dimensions.len());
                return Err(Problem::new(ProblemKind::NotAMatrix, detail).at(which.pointer()));
            }
        };
        if rows.max(columns) > DIMENSION_MAX as u64 {
            let detail = format!("a matrix may have up to {DIMENSION_MAX} rows and columns");
            return Err(Problem::new(ProblemKind::DimensionTooLarge, detail)
                .at(which.pointer())
                .limit(DIMENSION_MAX as u64));
        }
        Ok(Self {
            scalar,
            order: ByteOrder::Little,
            rows: rows as usize,
            columns: columns as usize,
            is_fortran: false,
            is_vector: dimensions.len() == 1,
        })
    }

    /// The elements come in that byte order.
    pub const fn in_order(mut self, order: ByteOrder) -> Self {
        self.order = order;
        self
    }

    /// The elements come column by column, if so.
    pub const fn by_columns(mut self, is_fortran: bool) -> Self {
        self.is_fortran = is_fortran;
        self
    }

    /// Whether the bytes of its elements are those of the dtype in memory.
    pub fn is_as_it_lies(&self, dtype: Dtype) -> bool {
        let is_native = cfg!(target_endian = "little") && self.order == ByteOrder::Little;
        is_native && self.scalar == Scalar::of_dtype(dtype)
    }

    /// How many elements there are: at most the square of [`DIMENSION_MAX`].
    pub const fn elements(&self) -> usize {
        self.rows * self.columns
    }

    /// How many bytes they come in.
    pub const fn bytes(&self) -> u64 {
        self.elements() as u64 * self.scalar.bytes() as u64
    }
}

const _: () = assert!(
    DIMENSION_MAX.checked_mul(DIMENSION_MAX).unwrap().checked_mul(64).is_some(),
    "the bytes of all matrices of a request, and of their text, can be counted"
);
