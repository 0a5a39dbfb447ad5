//! Everything that multiplies, behind one interface, and what is measured in between.

mod cblas;
mod libraries;
mod ours;
mod registry;

use std::hint::black_box;
use std::time::Duration;

pub use libraries::{foreign_settings, settings};

use crate::machine::{Clock, FmaLoop, ReadLoop};
use crate::problem::Problem;
use crate::real::Real;
use crate::shape::Shape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Ours,
    Matrixmultiply,
    Gemm,
    Faer,
    Openblas,
    Mkl,
    Blis,
    /// Nothing but FMAs: what the cores can do.
    Fma,
    /// Reading the larger operand once, from one place or from four at a time: what memory can do.
    ReadOne,
    ReadFour,
}

/// Those that multiply, in the order of the table's columns.
pub const FIELD: [Name; 7] = [
    Name::Ours,
    Name::Matrixmultiply,
    Name::Gemm,
    Name::Faer,
    Name::Openblas,
    Name::Mkl,
    Name::Blis,
];

const TEXTS: [(Name, &str); 10] = [
    (Name::Ours, "ours"),
    (Name::Matrixmultiply, "matrixmul"),
    (Name::Gemm, "gemm"),
    (Name::Faer, "faer"),
    (Name::Openblas, "openblas"),
    (Name::Mkl, "mkl"),
    (Name::Blis, "blis"),
    (Name::Fma, "fma"),
    (Name::ReadOne, "read1"),
    (Name::ReadFour, "read4"),
];

impl Name {
    pub fn text(self) -> &'static str {
        TEXTS.iter().find(|(name, _)| *name == self).expect("TEXTS is complete").1
    }

    pub fn from_text(text: &str) -> Option<Self> {
        TEXTS.iter().find(|(_, known)| *known == text).map(|(name, _)| *name)
    }

    /// What is measured along with the contestants at this shape.
    pub fn gauges(shape: Shape) -> &'static [Self] {
        if shape.is_memory_bound() {
            &[Self::Fma, Self::ReadOne, Self::ReadFour]
        } else {
            &[Self::Fma]
        }
    }
}

pub trait Contestant<T: Real> {
    /// Does all the products of the problem once, C overwritten.
    fn multiply(&mut self, problem: &mut Problem<T>);

    /// How long so many calls take; what this harness adds is left out.
    fn time(&mut self, problem: &mut Problem<T>, calls: usize, clock: Clock) -> Duration {
        let before = clock.now();
        for _ in 0..calls {
            self.multiply(black_box(problem));
        }
        clock.now() - before
    }

    /// Operations in a call; bytes, of those that read.
    fn work(&self, problem: &Problem<T>) -> f64 {
        problem.shape.flops()
    }

    /// Version and settings, as the library tells them.
    fn describe(&self) -> String;
}

/// Makes a contestant ready, or says why that cannot be.
pub fn recruit<T: Real>(name: Name, threads: usize) -> Result<Box<dyn Contestant<T>>, String> {
    Ok(match name {
        Name::Ours => Box::new(ours::Ours::<T>::new(threads)),
        Name::Matrixmultiply => Box::new(registry::Matrixmultiply),
        Name::Gemm => Box::new(registry::Gemm { threads }),
        Name::Faer => Box::new(registry::Faer { threads }),
        Name::Openblas => Box::new(cblas::Cblas::load(&libraries::OPENBLAS)?),
        Name::Mkl => Box::new(cblas::Cblas::load(&libraries::MKL)?),
        Name::Blis => Box::new(cblas::Cblas::load(&libraries::BLIS)?),
        Name::Fma => Box::new(FmaLoop { threads }),
        Name::ReadOne => Box::new(ReadLoop { threads, streams: 1 }),
        Name::ReadFour => Box::new(ReadLoop { threads, streams: 4 }),
    })
}
