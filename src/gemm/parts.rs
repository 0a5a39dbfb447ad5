//! A product in parts, each a rectangle of the result, that threads compute at the same time.
//!
//! Every element of C is computed in one part, from the same terms in the same order wherever the
//! cuts are: the result does not depend on how many threads there are.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};

use super::crew::{Crew, Exclusive};
use super::direct::Direct;
use super::five_loops::FiveLoops;
use super::kernel::{Caches, Scale};
use super::one_pass::OnePass;
use super::plan::{self, Choice, Layout};
use super::reference::Reference;
use super::strassen::Sums;
use super::{Element, Kernel, Operands, Shape};

/// Memory to pack in that is kept from one product to the next.
#[derive(Debug, Default)]
pub struct Workspace<T> {
    /// A vector for each part that packs.
    pub(super) spare: Vec<Vec<T>>,
    /// What a product that is halved adds in.
    pub(super) sums: Sums<T>,
}

/// A product on its way.
#[derive(Debug)]
pub struct Parts<T: 'static> {
    parts: Vec<Part<T>>,
}

#[derive(Debug)]
struct Part<T: 'static> {
    rows: Range<usize>,
    columns: Range<usize>,
    way: Way<T>,
    flops_done: u64,
}

/// How a part is computed.
#[derive(Debug)]
pub enum Way<T: 'static> {
    /// C is scaled, and there is nothing to add.
    Scaling(bool),
    /// The matrix is A, the vector B.
    MatrixVector(OnePass<T>),
    /// The matrix is B, the vector A.
    VectorMatrix(OnePass<T>),
    Direct(Direct<T>),
    FiveLoops(FiveLoops<T>),
    Reference(Reference),
}

impl<T: Element> Parts<T> {
    /// Plans a product for so many threads, and allocates [`workspace_bytes`] or what the workspace
    /// lacks of it.
    pub fn new(
        kernel: Kernel,
        caches: Caches,
        layout: Layout,
        threads: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<Self, TryReserveError> {
        let mut parts = Vec::new();
        let cuts = cuts::<T>(kernel, caches, layout, threads);
        parts.try_reserve_exact(cuts.clone().count())?;
        for (rows, columns) in cuts {
            let way = Way::new(kernel, caches, layout, (rows.len(), columns.len()), workspace)?;
            parts.push(Part { rows, columns, way, flops_done: 0 });
        }
        Ok(Self { parts })
    }

    #[cfg(test)]
    pub fn of_way(shape: Shape, way: Way<T>) -> Self {
        let part = Part { rows: 0..shape.m, columns: 0..shape.n, way, flops_done: 0 };
        Self { parts: alloc::vec![part] }
    }

    #[cfg(test)]
    pub fn ways(&self) -> impl Iterator<Item = &Way<T>> {
        self.parts.iter().map(|part| &part.way)
    }

    pub fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.way.is_complete())
    }

    /// Gives back what was allocated to pack in.
    pub fn recycle(self, workspace: &mut Workspace<T>) {
        for part in self.parts {
            if let Way::FiveLoops(loops) = part.way {
                workspace.spare.push(loops.into_workspace());
            }
        }
    }

    /// Multiplications and additions done.
    pub fn flops_done(&self) -> u64 {
        self.parts.iter().map(|part| part.flops_done).sum()
    }

    /// Multiplies slices until all is done or `pause`, which is asked after each slice, says so.
    pub fn advance(
        &mut self,
        operands: Operands<T>,
        scale: Scale<T>,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) {
        let mut operands = operands;
        if let [part] = &mut self.parts[..] {
            part.advance(&mut operands, scale, pause);
            return;
        }
        let Operands { a, b, c } = operands;
        let mut shares = Vec::new();
        let mut below = c;
        for parts in self.parts.chunk_by_mut(|one, other| one.rows == other.rows) {
            let (mut right, rest) = below.split_at(Axis(0), parts[0].rows.len());
            below = rest;
            for part in parts {
                let (c, rest) = right.split_at(Axis(1), part.columns.len());
                right = rest;
                let a = a.slice_move(s![part.rows.clone(), ..]);
                let b = b.slice_move(s![.., part.columns.clone()]);
                shares.push(Exclusive::new((part, Operands { a, b, c })));
            }
        }
        crew.run(shares.len(), &|index| {
            shares[index].with(|(part, operands)| part.advance(operands, scale, pause));
        });
    }
}

impl<T: Element> Part<T> {
    fn advance(
        &mut self,
        operands: &mut Operands<T>,
        scale: Scale<T>,
        pause: &(dyn Fn() -> bool + Sync),
    ) {
        while !self.way.is_complete() {
            self.flops_done += self.way.advance(operands, scale);
            if pause() {
                break;
            }
        }
    }
}

/// Bytes that a product allocates besides its operands and result: for packing.
pub fn workspace_bytes<T: Element>(
    kernel: Kernel,
    caches: Caches,
    layout: Layout,
    threads: usize,
) -> usize {
    let lens = packing_lens::<T>(kernel, caches, layout, threads);
    lens.sum::<usize>().saturating_mul(size_of::<T>())
}

/// Elements that the part packs in that needs most of them.
pub fn packing_len<T: Element>(
    kernel: Kernel,
    caches: Caches,
    layout: Layout,
    threads: usize,
) -> usize {
    packing_lens::<T>(kernel, caches, layout, threads).max().unwrap_or(0)
}

/// Elements that each part packs in.
fn packing_lens<T: Element>(
    kernel: Kernel,
    caches: Caches,
    layout: Layout,
    threads: usize,
) -> impl Iterator<Item = usize> {
    let cuts = cuts::<T>(kernel, caches, layout, threads);
    cuts.map(move |(rows, columns)| {
        Way::<T>::workspace_len(kernel, caches, layout, (rows.len(), columns.len()))
    })
}

/// The rectangles of C that are the parts, row by row.
fn cuts<T: Element>(
    kernel: Kernel,
    caches: Caches,
    layout: Layout,
    threads: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + Clone {
    let Shape { m, n, .. } = layout.shape;
    let (rows, columns) = match kernel {
        Kernel::Own(isa) if m > 0 && n > 0 && threads > 1 => {
            let kernel = T::microkernel(isa);
            let (down, across) = plan::grid(kernel, caches, layout, threads);
            // A pass rounds the outputs behind its last whole vector otherwise than the others:
            // they must be the last of all.
            let unit = if n == 1 { kernel.lanes } else { kernel.mr };
            (plan::part_length(m, down, unit), plan::part_length(n, across, kernel.lanes))
        }
        _ => (m.max(1), n.max(1)),
    };
    (0..m.max(1)).step_by(rows).flat_map(move |row| {
        (0..n.max(1)).step_by(columns).map(move |column| {
            (row.min(m)..(row + rows).min(m), column.min(n)..(column + columns).min(n))
        })
    })
}

impl<T: Element> Way<T> {
    pub fn new(
        kernel: Kernel,
        caches: Caches,
        whole: Layout,
        part: (usize, usize),
        workspace: &mut Workspace<T>,
    ) -> Result<Self, TryReserveError> {
        let (m, n) = part;
        let shape = Shape { m, n, k: whole.shape.k };
        let kernel = match kernel {
            _ if m == 0 || n == 0 || shape.k == 0 => return Ok(Self::Scaling(false)),
            Kernel::Own(isa) => T::microkernel(isa),
            Kernel::Matrixmultiply => return Ok(Self::Reference(Reference::new(shape))),
        };
        Ok(match Choice::new(kernel, caches, whole, part) {
            Choice::MatrixVector { is_along_rows } => {
                Self::MatrixVector(OnePass::new(kernel, is_along_rows, (m, shape.k)))
            }
            Choice::VectorMatrix { is_along_rows } => {
                Self::VectorMatrix(OnePass::new(kernel, is_along_rows, (n, shape.k)))
            }
            Choice::Direct { block, order } => {
                Self::Direct(Direct::new(kernel, shape, block, order))
            }
            Choice::FiveLoops(blocking) => {
                let spare = workspace.spare.pop().unwrap_or_default();
                Self::FiveLoops(FiveLoops::new(kernel, shape, blocking, spare)?)
            }
        })
    }

    fn workspace_len(kernel: Kernel, caches: Caches, whole: Layout, part: (usize, usize)) -> usize {
        let kernel = match kernel {
            Kernel::Own(isa) if part.0 > 0 && part.1 > 0 && whole.shape.k > 0 => {
                T::microkernel(isa)
            }
            _ => return 0,
        };
        match Choice::new(kernel, caches, whole, part) {
            Choice::FiveLoops(blocking) => FiveLoops::workspace_len(kernel, &blocking, part.0),
            _ => 0,
        }
    }

    pub fn is_complete(&self) -> bool {
        match self {
            Self::Scaling(is_done) => *is_done,
            Self::MatrixVector(pass) | Self::VectorMatrix(pass) => pass.is_complete(),
            Self::Direct(direct) => direct.is_complete(),
            Self::FiveLoops(loops) => loops.is_complete(),
            Self::Reference(tiles) => tiles.is_complete(),
        }
    }

    /// One slice; the operations done.
    pub fn advance(&mut self, operands: &mut Operands<T>, scale: Scale<T>) -> u64 {
        match self {
            Self::Scaling(is_done) => {
                // An empty sum is zero, and so is alpha times it, without a sign.
                operands.c.map_inplace(|element| *element = scale.kept(element));
                *is_done = true;
                0
            }
            Self::MatrixVector(pass) => {
                let Operands { a, b, c } = operands;
                pass.advance(a, contiguous(b), scale, contiguous_mut(c))
            }
            Self::VectorMatrix(pass) => {
                let Operands { a, b, c } = operands;
                pass.advance(&b.t(), contiguous(a), scale, contiguous_mut(c))
            }
            Self::Direct(direct) => direct.advance(operands, scale),
            Self::FiveLoops(loops) => loops.advance(operands, scale),
            Self::Reference(tiles) => tiles.advance(operands, scale),
        }
    }
}

/// The elements of a vector without gaps.
fn contiguous<'a, T>(vector: &ArrayView2<'a, T>) -> &'a [T] {
    vector.to_slice_memory_order().expect("the layout says that vectors have no gaps")
}

fn contiguous_mut<'a, T>(vector: &'a mut ArrayViewMut2<T>) -> &'a mut [T] {
    vector.as_slice_memory_order_mut().expect("the layout says that vectors have no gaps")
}
