//! Microkernels, and their contract.
//!
//! A microkernel computes one tile of the result,
//!
//! ```text
//! C[i, j] <- alpha * sum over p < terms of A[i, p] * B[p, j]  +  beta * C[i, j]
//! ```
//!
//! for i < rows <= `mr` and j < columns <= `nr`, with the whole sum in registers. Its operands:
//!
//! - A has any two strides, so it may be as it came, the transpose of that, or packed.
//! - The rows of B are contiguous. Packed, it is in micropanels of `nr` columns, row after row.
//! - The rows of C are contiguous too. Nothing between `columns` and the row stride is touched.
//! - Where `beta` is zero, C is not read: it may hold anything, NaN included.
//!
//! The sum of one element is taken in the order of p, fused multiply-adds in the vector kernels,
//! whatever the position of the element in the tile and the size of the tile.
//!
//! A tile of full size has room for one load and one store a term beside its multiply-adds. The
//! [copying](Copying) one uses it to pack the next block of B, and the [packing](Packing) ones pack what
//! they read for those that come after, so that packing costs no time of its own. The streaming one
//! writes C past the caches, where C is too large to be found there again.
#![allow(unsafe_code)]

use core::ops::{Add, Mul};
use core::ptr;

mod cpu;
mod portable;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod passes;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod tile_asm;

// Where the target has no vector registers (kernels of operating systems), the portable one serves.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod avx2;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod avx512;

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
use portable as avx2;
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
use portable as avx512;

pub use cpu::{Caches, Isa, caches, has_bit_counts, has_byte_vectors, isa};

/// The unrolled code of a tile takes this many terms at a time, and copies one piece with them.
pub const UNROLLED: usize = 4;

/// What the code of a tile is told: of one tile, or of a run of them with the same steps from each
/// to the next. Strides, steps and distances are in bytes. Where the next run begins must be said
/// anew.
#[repr(C)]
#[derive(Debug)]
pub struct Tile<T> {
    /// Tiles of the run, at least one; none when it is over.
    pub tiles: usize,
    pub steps: Steps,
    pub terms: usize,
    pub a: *const T,
    pub a_row_stride: isize,
    pub a_column_stride: isize,
    pub b: *const T,
    pub b_row_stride: isize,
    pub c: *mut T,
    pub c_row_stride: isize,
    /// Which lanes of the last vector are within the tile, as the kernel's `panel` says it.
    pub mask: u64,
    flags: u64,
    alpha: T,
    beta: T,
    /// From A to the rows that are fetched meanwhile, the next micropanel of A. A wrong guess costs
    /// time only.
    pub a_ahead: isize,
    /// Where a packing tile packs.
    pub packed: *mut T,
    /// From one row to the next there, if it packs A by rows.
    pub packed_row_stride: isize,
}

/// How far the next tile of a run is from the one before, in A, B and C, and what it adds to how
/// far ahead it fetches.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    pub a: isize,
    pub b: isize,
    pub c: isize,
    pub a_ahead: isize,
}

/// What the code of a copying tile is told: of pieces of B, each a row of a micropanel, on their
/// way into the packed block.
#[repr(C)]
#[derive(Debug)]
pub struct Copying<T> {
    pub tile: Tile<T>,
    pub from: *const T,
    pub to: *mut T,
    /// Pieces left in the row of B.
    pub left: usize,
    /// Pieces in a row.
    pub per_row: usize,
    /// From behind the last piece of a row to the first of the next, at both ends.
    pub from_jump: isize,
    pub to_jump: isize,
    /// From a piece to the next at the packed end: a micropanel.
    pub to_step: isize,
    /// From a piece to one that is fetched meanwhile.
    pub ahead: isize,
}

/// `alpha` is not one.
const SCALES_SUM: u64 = 1;
/// `beta` is not zero.
const READS_C: u64 = 2;
/// `beta` is neither zero nor one.
const SCALES_C: u64 = 4;
/// C comes from afar, and is fetched before it is needed.
const FETCHES_C: u64 = 8;

impl<T: Copy + PartialEq + From<u8>> Tile<T> {
    /// A tile that multiplies nothing yet.
    #[inline]
    pub fn new(scale: Scale<T>) -> Self {
        let (zero, one) = (T::from(0), T::from(1));
        let flag = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
        Self {
            tiles: 1,
            steps: Steps::default(),
            terms: 0,
            a: ptr::null(),
            a_row_stride: 0,
            a_column_stride: 0,
            b: ptr::null(),
            b_row_stride: 0,
            c: ptr::null_mut(),
            c_row_stride: 0,
            mask: 0,
            flags: flag(scale.alpha != one, SCALES_SUM)
                | flag(scale.beta != zero, READS_C)
                | flag(scale.beta != zero && scale.beta != one, SCALES_C),
            alpha: scale.alpha,
            beta: scale.beta,
            a_ahead: 0,
            packed: ptr::null_mut(),
            packed_row_stride: 0,
        }
    }

    /// Has C fetched while the sums are taken: worth it where it is not in the second-level cache.
    pub fn fetch_c(&mut self) {
        self.flags |= FETCHES_C;
    }
}

impl<T> Copying<T> {
    /// A tile that copies nothing yet.
    pub fn new(tile: Tile<T>) -> Self {
        let (from, to) = (ptr::null(), ptr::null_mut());
        let (left, per_row) = (0, 0);
        let (from_jump, to_jump, to_step, ahead) = (0, 0, 0, 0);
        Self { tile, from, to, left, per_row, from_jump, to_jump, to_step, ahead }
    }
}

/// The code of one size of tile, which takes all tiles of a run.
///
/// # Safety
///
/// The CPU has the instruction set, and the tile may be written. Of every tile of the run, A holds
/// rows x terms, B terms x columns and C rows x columns elements at the places that pointers,
/// strides, steps and mask say, and nothing else uses those of C at the same time. A copying tile
/// is that of a `Copying`, and each of the run takes `terms / UNROLLED` pieces from where there are
/// as many, to where there is room for them; a packing one has room for what it packs; a streaming
/// one has C on boundaries of whole vectors.
pub type TileCode<T> = unsafe fn(*mut Tile<T>);

/// The code of the tiles of one micropanel of B.
#[derive(Clone, Copy, Debug)]
pub struct Panel<T: 'static> {
    pub mask: u64,
    /// By rows, from one on.
    pub codes: &'static [TileCode<T>],
}

/// The code of the largest tiles that write a micropanel, in the order in which it is packed, where
/// `packed` of the tile says: of A, column after column where tiles are narrow, and else row by
/// row; or of B, in which case `packed` is then behind it.
#[derive(Clone, Copy, Debug)]
pub struct Packing<T: 'static> {
    pub a: TileCode<T>,
    pub b: TileCode<T>,
}

/// The microkernel of one instruction set and element type, with its passes over matrices that
/// meet a vector.
#[derive(Clone, Copy, Debug)]
pub struct Microkernel<T: 'static> {
    /// The tallest tile.
    pub mr: usize,
    /// The widest tile.
    pub nr: usize,
    /// Elements of a vector, which `nr` is a multiple of.
    pub lanes: usize,
    /// Operations of a slice of work: some tens of microseconds, or some tens of milliseconds in
    /// an emulator of the instruction set.
    pub slice_flops: usize,
    /// The code for micropanels of so many columns, one to `nr`.
    pub panel: fn(columns: usize) -> Panel<T>,
    /// The code of the largest tile that copies pieces meanwhile.
    pub copying: Option<TileCode<T>>,
    /// The code of the largest tiles that pack what they read.
    pub packing: Option<Packing<T>>,
    /// The code of the tallest tiles that write C past the caches, by whole vectors from one on.
    pub streaming: Option<&'static [TileCode<T>]>,
    pub dots: Dots<T>,
    pub axpys: Axpys<T>,
}

impl<T> Microkernel<T> {
    /// The tile is so narrow that a row of A is used for little work.
    pub fn is_narrow(&self) -> bool {
        self.nr < 3 * self.lanes
    }
}

/// Rows of the matrix that are passed at once: memory is read in as many streams, which is what it
/// takes to keep it busy, and the vector is loaded once for all.
pub const STREAMS: usize = 4;

/// Rows of a matrix that are passed at once, each as far from the one before. What a pass reads
/// first must not wait for addresses in memory that has just been written, so these are none.
#[derive(Clone, Copy, Debug)]
pub struct RowsAt<T> {
    pub first: *const T,
    /// In elements.
    pub distance: isize,
}

impl<T> RowsAt<T> {
    /// Where a row is.
    #[inline(always)]
    fn at(&self, row: usize) -> *const T {
        self.first.wrapping_offset((row as isize).wrapping_mul(self.distance))
    }
}

/// The dot products of `count` rows, `STREAMS` at most, with a vector, each summed in the same
/// order whoever its neighbours are.
///
/// # Safety
///
/// The CPU has the instruction set, and there are so many rows, as long as the vector.
pub type Dots<T> = unsafe fn(rows: RowsAt<T>, count: usize, vector: &[T]) -> [T; STREAMS];

/// `result[j] += sum over q of factors[q] * rows[q][j]`, term by term.
///
/// # Safety
///
/// The CPU has the instruction set, and there are `STREAMS` rows, as long as the result.
pub type Axpys<T> = unsafe fn(rows: RowsAt<T>, factors: [T; STREAMS], result: &mut [T]);

/// What becomes of a sum: `alpha * sum + beta * C`.
#[derive(Clone, Copy, Debug)]
pub struct Scale<T> {
    pub alpha: T,
    pub beta: T,
}

impl<T: Copy + Default + PartialEq + Add<Output = T> + Mul<Output = T>> Scale<T> {
    /// What is left of what is there, which is not read where `beta` is zero.
    #[inline(always)]
    pub fn kept(&self, present: &T) -> T {
        if self.beta == T::default() { T::default() } else { self.beta * *present }
    }

    /// What to write for a sum over what is there, which is not read where `beta` is zero.
    #[inline(always)]
    pub fn of(&self, sum: T, present: &T) -> T {
        let scaled = self.alpha * sum;
        if self.beta == T::default() { scaled } else { scaled + self.beta * *present }
    }
}

/// Has so many bytes fetched, wherever they may be; a wrong guess costs time only.
#[inline]
pub fn fetch<T>(start: *const T, bytes: usize) {
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    let _ = (start, bytes);
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    for at in (0..bytes).step_by(64) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU with SSE has the instruction, which never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_byte_add(at).cast()) };
    }
}

/// Sees to it that what streaming tiles have written is seen by whoever is told of it.
pub fn finish_streaming() {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    // SAFETY: every x86-64 CPU with SSE has the instruction.
    unsafe {
        core::arch::x86_64::_mm_sfence();
    }
}

macro_rules! microkernel_of {
    ($of:ident, $element:ty, $constant:ident) => {
        /// The microkernel of an instruction set.
        ///
        /// # Panics
        ///
        /// Where this CPU does not have it.
        pub fn $of(isa: Isa) -> &'static Microkernel<$element> {
            assert!(isa.is_here(), "this CPU has no {}", isa.name());
            match isa {
                Isa::Avx512 => &avx512::$constant,
                Isa::Avx2 => &avx2::$constant,
                Isa::Portable => &portable::$constant,
            }
        }
    };
}

microkernel_of!(of_f64, f64, F64);
microkernel_of!(of_f32, f32, F32);
