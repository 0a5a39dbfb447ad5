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

/// Bytes that one thread packs in at most for products up to this shape: two blocks of B that fill
/// the second-level cache together, and one of A that is four times as large, with gaps between its
/// rows; but no more than twice what the operands have, each side as long as whole tiles.
pub fn workspace_bytes_max<T>(shape: Shape) -> usize {
    const SIDE_MORE: usize = 64;
    let l2_bytes = caches().l2_bytes;
    let row_bytes = shape.k.clamp(1, 64) * size_of::<T>();
    let blocks = 6 * l2_bytes + 4 * l2_bytes * 64 / row_bytes;
    let sides = (shape.m + SIDE_MORE).saturating_add(shape.n + SIDE_MORE);
    let operands = sides.saturating_mul(2 * (shape.k + SIDE_MORE) * size_of::<T>());
    blocks.min(operands) + (512 << 10)
}
