//! The element types of matrices.

use core::ops::Mul;

use ndarray::LinalgScalar;
use serde::{Deserialize, Serialize};

use super::kernel::{self, Isa, Microkernel};

/// Names of the element types, as in requests and bills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    F64,
    F32,
}

impl Dtype {
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
        }
    }

    /// Of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F64 => size_of::<f64>(),
            Self::F32 => size_of::<f32>(),
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::F64, Self::F32].into_iter().find(|dtype| dtype.name() == name)
    }
}

/// A type that matrices are made of.
pub trait Element:
    LinalgScalar
    + 'static
    + Mul<Output = Self>
    + Default
    + PartialEq
    + From<u8>
    + zmij::Float
    + bytemuck::Pod
    + Send
    + Sync
{
    const DTYPE: Dtype;
    /// Half the distance from 1 to the next number.
    const UNIT_ROUNDOFF: f64;
    /// The least normal number.
    const MIN_POSITIVE: f64;
    const MAX: f64;

    /// The microkernel for an instruction set that this CPU has.
    fn microkernel(isa: Isa) -> &'static Microkernel<Self>;

    /// The nearest element to `value`.
    fn from_f64(value: f64) -> Self;

    /// The same number, exactly.
    fn to_f64(self) -> f64;

    /// The nearest element to `value`.
    fn from_u64(value: u64) -> Self;

    /// The nearest element to `value`.
    fn from_i64(value: i64) -> Self;

    /// The integer that is next to this towards zero, or the end of the range.
    fn to_i64(self) -> i64;

    fn is_finite(self) -> bool;
}

macro_rules! impl_element {
    ($element:ty, $dtype:expr, $microkernel:path) => {
        impl Element for $element {
            const DTYPE: Dtype = $dtype;
            const UNIT_ROUNDOFF: f64 = <$element>::EPSILON as f64 / 2.0;
            const MIN_POSITIVE: f64 = <$element>::MIN_POSITIVE as f64;
            const MAX: f64 = <$element>::MAX as f64;

            fn microkernel(isa: Isa) -> &'static Microkernel<Self> {
                $microkernel(isa)
            }

            fn from_f64(value: f64) -> Self {
                value as $element
            }

            fn to_f64(self) -> f64 {
                self.into()
            }

            fn from_u64(value: u64) -> Self {
                value as $element
            }

            fn from_i64(value: i64) -> Self {
                value as $element
            }

            fn to_i64(self) -> i64 {
                self as i64
            }

            fn is_finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}

impl_element!(f64, Dtype::F64, kernel::of_f64);
impl_element!(f32, Dtype::F32, kernel::of_f32);
