//! A product of views, in slices: for one who has the matrices in other hands meanwhile.

use alloc::collections::TryReserveError;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::kernel::{Scale, caches};
use super::strassen::Plan;
use super::{Algorithm, Course, Crew, Element, Kernel, Operands, Shape, Workspace, checked_shape};

/// `c <- alpha a b + beta c` on its way, of views that are shown again for every slice: the same
/// elements in the same places. The rows of `c` are contiguous.
#[derive(Debug)]
pub struct Slices<T: 'static> {
    course: Course<T>,
    scale: Scale<T>,
    shape: Shape,
}

impl<T: Element> Slices<T> {
    /// Sets up a product in parts for so many threads, which packs in the workspace; fails where
    /// there is no memory for that.
    ///
    /// # Panics
    ///
    /// Where the shapes do not go together, or rows of `c` have gaps.
    pub fn new(
        algorithm: Algorithm,
        (alpha, beta): (T, T),
        ((a, b), c): ((ArrayView2<T>, ArrayView2<T>), ArrayViewMut2<T>),
        threads: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<Self, TryReserveError> {
        let shape = checked_shape(&a, &b, &c);
        let layout = Operands { a, b, c }.layout();
        let plan = Plan::new(algorithm, shape, beta != T::default());
        let way = (Kernel::of_this_machine(), caches());
        let course = Course::new(way, plan, layout, threads, workspace)?;
        Ok(Self { course, scale: Scale { alpha, beta }, shape })
    }

    /// Multiplies slices until `pause`, which every thread asks after each, says so; true once `c`
    /// is complete.
    ///
    /// # Panics
    ///
    /// Where the shapes are others than before.
    pub fn advance(
        &mut self,
        (a, b): (ArrayView2<T>, ArrayView2<T>),
        c: ArrayViewMut2<T>,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> bool {
        assert_eq!(checked_shape(&a, &b, &c), self.shape, "the views are the same every time");
        if !self.course.is_complete() {
            self.course.advance(Operands { a, b, c }, self.scale, crew, pause);
        }
        self.course.is_complete()
    }

    /// Multiplications and additions done, of 2 m n k, and those that were executed: fewer in the
    /// end, by an algorithm that takes fewer.
    pub fn flops(&self) -> (u64, u64) {
        (self.course.flops_done(), self.course.executed_flops())
    }

    /// Gives back what was allocated to pack in.
    pub fn recycle(self, workspace: &mut Workspace<T>) {
        self.course.recycle(workspace);
    }
}

/// Bytes that one thread packs in at most for products of so many terms: two blocks of B that fill the
/// second-level cache together, and one of A that is four times as large, with gaps between its rows.
pub fn workspace_bytes_max<T>(terms: usize) -> usize {
    let l2_bytes = caches().l2_bytes;
    let row_bytes = terms.clamp(1, 64) * size_of::<T>();
    6 * l2_bytes + 4 * l2_bytes * 64 / row_bytes + (512 << 10)
}
