//! Where the elements of a request's matrices go, and the memory that this takes.

use alloc::vec::Vec;
use core::mem;

use crate::api::operation::{Addend, Operation, Parts};
use crate::formats::convert::convert;
use crate::formats::single::Elements;
use crate::formats::{ArrayHeader, Settings, Which};
use crate::gemm::{Element, Extent};
use crate::job::memory_problem;
use crate::memory::{Promise, Shortage};
use crate::problem::Problem;

/// Operands start on multiples of this.
const LINE_BYTES: usize = 64;

/// Where elements go.
#[derive(Debug)]
pub struct Buffers<T> {
    operands: Vec<T>,
    a: Option<Extent>,
    b: Option<Extent>,
    /// C, where it is read.
    c: Vec<T>,
    /// How many elements of a C that comes column by column have come.
    c_elements: usize,
}

/// The memory that a job needs, as far as is known.
#[derive(Debug)]
pub struct Plan {
    /// Elements of A and B, and of what lies between them.
    pub operands: usize,
    /// Elements of the result.
    pub result: usize,
    pub besides_bytes: usize,
    /// Bytes of the result's text, which is written when the operands are gone.
    pub text_bytes: usize,
    pub reads_c: bool,
}

impl<T: Element> Buffers<T> {
    pub const fn new() -> Self {
        Self { operands: Vec::new(), a: None, b: None, c: Vec::new(), c_elements: 0 }
    }

    /// Makes room for a matrix, and notes where it will be.
    pub fn begin(
        &mut self,
        which: Which,
        header: &ArrayHeader,
        plan: &Plan,
        promise: &mut Promise,
    ) -> Result<(), Problem> {
        let is_room = self.operands.capacity() >= plan.operands;
        // What grows may be copied, and held twice.
        let moved_bytes = if is_room { 0 } else { self.operands.len() * mem::size_of::<T>() };
        self.promise(plan, moved_bytes, promise)?;
        if which == Which::C {
            if plan.reads_c {
                reserve(&mut self.c, header.elements())?;
                if header.is_fortran {
                    // Its elements come in another order than that of their places.
                    self.c.resize(header.elements(), T::from_f64(0.0));
                }
            }
            return Ok(());
        }
        let start = in_lines::<T>(self.operands.len());
        if !is_room {
            reserve(&mut self.operands, plan.operands)?;
            self.promise(plan, 0, promise)?;
        }
        self.operands.resize(start, T::from_f64(0.0));
        let extent = Some(place_of(*header, start));
        match which {
            Which::A => self.a = extent,
            _ => self.b = extent,
        }
        Ok(())
    }

    /// Promises the whole job's memory, as far as it is known, and some more for a while.
    fn promise(
        &self,
        plan: &Plan,
        more_bytes: usize,
        promise: &mut Promise,
    ) -> Result<(), Problem> {
        let size = mem::size_of::<T>();
        let operands_bytes = self.operands.capacity().max(plan.operands) * size + more_bytes;
        let multiply_bytes = operands_bytes.saturating_add(plan.besides_bytes);
        let needed_bytes = multiply_bytes.max(plan.text_bytes).saturating_add(plan.result * size);
        promise.resize(needed_bytes).map_err(|shortage| memory_problem(shortage, needed_bytes))
    }

    /// Puts whole elements into their places.
    pub fn take(&mut self, which: Which, header: &ArrayHeader, bytes: &[u8]) {
        if which != Which::C {
            return convert::<T, _>(header, bytes, &mut self.operands);
        }
        if self.c.capacity() == 0 {
            // C is not read, where beta is 0.
            return;
        }
        if !header.is_fortran {
            return convert::<T, _>(header, bytes, &mut self.c);
        }
        let mut places = ByColumns {
            elements: &mut self.c,
            rows: header.rows,
            columns: header.columns,
            next: &mut self.c_elements,
        };
        convert::<T, _>(header, bytes, &mut places);
    }

    /// Where elements are appended that come as they lie, if these do.
    pub fn place(&mut self, which: Which, header: &ArrayHeader) -> Option<&mut Vec<T>> {
        if !header.is_as_it_lies(T::DTYPE) {
            return None;
        }
        match which {
            Which::A | Which::B => Some(&mut self.operands),
            Which::C if self.c.capacity() == 0 || header.is_fortran => None,
            Which::C => Some(&mut self.c),
        }
    }

    pub fn finish(
        self,
        settings: &Settings,
        c: Option<(usize, usize)>,
    ) -> Result<Operation<T>, Problem> {
        let Self { operands, a, b, c: elements, .. } = self;
        Operation::check(Parts {
            elements: operands,
            a,
            b,
            c: c.map(|(rows, columns)| Addend { elements, rows, columns }),
            alpha: settings.alpha.as_ref().map(|alpha| alpha.to()).transpose()?,
            beta: settings.beta.as_ref().map(|beta| beta.to()).transpose()?,
            transpose_a: settings.transpose_a,
            transpose_b: settings.transpose_b,
        })
    }

    /// The one matrix that has come, as B.
    pub fn into_single(self) -> Elements<T> {
        Elements { elements: self.operands, extent: self.b.unwrap_or_default() }
    }
}

impl Buffers<f32> {
    /// The same elements as `f64`, with room for those that the plan knows of.
    pub fn widen(self, plan: &Plan, promise: &mut Promise) -> Result<Buffers<f64>, Problem> {
        let held_bytes = (self.operands.capacity() + self.c.capacity()) * mem::size_of::<f32>();
        if held_bytes > 0 {
            Buffers::<f64>::new().promise(plan, held_bytes, promise)?;
        }
        let widen = |narrow: Vec<f32>, room: usize| {
            let mut wide = Vec::new();
            reserve(&mut wide, narrow.len().max(room))?;
            wide.extend(narrow.iter().map(|element| f64::from(*element)));
            Ok::<_, Problem>(wide)
        };
        let Self { operands, a, b, c, c_elements } = self;
        let operands = widen(operands, if held_bytes > 0 { plan.operands } else { 0 })?;
        Ok(Buffers { operands, a, b, c: widen(c, 0)?, c_elements })
    }
}

/// The places, row by row, of elements that come column by column.
struct ByColumns<'a, T> {
    elements: &'a mut [T],
    rows: usize,
    columns: usize,
    next: &'a mut usize,
}

impl<T> Extend<T> for ByColumns<'_, T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        let (mut row, mut column) = (*self.next % self.rows, *self.next / self.rows);
        for element in elements {
            self.elements[row * self.columns + column] = element;
            *self.next += 1;
            row += 1;
            if row == self.rows {
                (row, column) = (0, column + 1);
            }
        }
    }
}

/// Where a matrix lies, row by row: what comes column by column is the transpose of that.
pub fn place_of(header: ArrayHeader, start: usize) -> Extent {
    let ArrayHeader { rows, columns, is_fortran, .. } = header;
    let (rows, columns) = if is_fortran { (columns, rows) } else { (rows, columns) };
    Extent { start, rows, columns, transposed: is_fortran }
}

/// So many elements, rounded up to whole lines.
pub fn in_lines<T>(elements: usize) -> usize {
    elements.next_multiple_of(LINE_BYTES / mem::size_of::<T>())
}

fn reserve<T>(elements: &mut Vec<T>, total: usize) -> Result<(), Problem> {
    let additional = total.saturating_sub(elements.len());
    elements
        .try_reserve_exact(additional)
        .map_err(|_| memory_problem(Shortage::Now, total.saturating_mul(mem::size_of::<T>())))
}
