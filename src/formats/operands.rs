//! The matrices of a request on their way from bytes into their places, with one copy.
//!
//! A and B lie in one buffer, each from a boundary of cache lines on; C has a buffer of its own,
//! which becomes the result's. Nothing is written twice: a buffer is reserved, and elements are
//! appended. An operand that comes column by column is its transpose row by row, which the
//! multiply takes as it lies.

use alloc::format;
use core::mem;

use crate::api::encode::text_bytes_max;
use crate::api::operation::{MultiplyRequest, check_shapes};
use crate::formats::buffers::{Buffers, Plan, in_lines, place_of};
use crate::formats::place::{Partial, Source, fill};
use crate::formats::single::Matrix;
use crate::formats::{ArrayHeader, Settings, Which};
use crate::gemm::{Dtype, Element, Shape};
use crate::job;
use crate::limits::{DIMENSION_MAX, SMALL_JOB_FLOPS};
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};

/// The most that stands between and behind the arrays of a file that NumPy wrote, in bytes.
const FILE_HEADERS_BYTES_MAX: u64 = 1500;
/// The header of one such array.
const ARRAY_HEADER_BYTES: u64 = 128;

/// What a job needs besides its matrices.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Threads that may multiply.
    pub threads: usize,
    /// Whether the product is to be checked, whatever that costs.
    pub is_check_asked: bool,
    /// Whether the result is to be written as text, which takes memory beside it.
    pub reply_is_text: bool,
    /// Bytes that the request holds besides.
    pub kept_bytes: usize,
}

/// The matrices of one request.
#[derive(Debug)]
pub struct Operands {
    settings: Settings,
    demand: Demand,
    /// They are one matrix of any name, in the place of B: so that one of one dimension is a
    /// column.
    is_single: bool,
    headers: [Option<ArrayHeader>; 3],
    is_begun: [bool; 3],
    places: Places,
    coming: Option<Coming>,
}

/// The array whose elements are coming.
#[derive(Debug)]
struct Coming {
    which: Which,
    header: ArrayHeader,
    bytes_left: u64,
    partial: Partial,
}

#[derive(Debug)]
enum Places {
    F64(Buffers<f64>),
    F32(Buffers<f32>),
}

impl Operands {
    /// No matrix has come yet.
    pub fn new(settings: Settings, demand: Demand) -> Self {
        Self {
            settings,
            demand,
            is_single: false,
            headers: [None; 3],
            is_begun: [false; 3],
            places: Places::F32(Buffers::new()),
            coming: None,
        }
    }

    /// One matrix is to come, which is converted to `dtype` if that is given.
    pub fn single(dtype: Option<Dtype>, kept_bytes: usize) -> Self {
        let settings = Settings { dtype, ..Settings::default() };
        let demand = Demand { threads: 1, is_check_asked: false, reply_is_text: false, kept_bytes };
        Self { is_single: true, ..Self::new(settings, demand) }
    }

    /// What comes, where it has no names.
    pub fn in_order(&self) -> &'static [Which] {
        if self.is_single { &[Which::B] } else { &Which::ALL }
    }

    /// The matrix that has this name in a file.
    pub fn named(&self, name: &str) -> Option<Which> {
        if self.is_single { Some(Which::B) } else { Which::from_member_name(name) }
    }

    /// Notes what a matrix will be. A reader that knows several before their elements come declares
    /// all of them before it begins one: then all memory is promised at once.
    ///
    /// # Errors
    ///
    /// A problem where the matrix was declared before, or doesn't go with the others.
    pub fn declare(&mut self, which: Which, header: ArrayHeader) -> Result<(), Problem> {
        if self.headers[which as usize].replace(header).is_some() {
            let detail = format!("{} is given twice", which.name());
            return Err(Problem::new(ProblemKind::DuplicateField, detail).at(which.pointer()));
        }
        self.shape().map(|_| ())
    }

    /// Makes room for the elements of a declared matrix, which are pushed next, and promises the
    /// memory that the job is now known to need. Where matrices follow that are not declared yet,
    /// `following_bytes` says how many bytes the body still has behind this one, so that room for
    /// them is made at once: growing it later may copy.
    ///
    /// # Errors
    ///
    /// A problem where there isn't that much memory, or a factor overflows the dtype.
    ///
    /// # Panics
    ///
    /// Where the matrix was not declared or was begun before, or another one is incomplete.
    pub fn begin(
        &mut self,
        which: Which,
        following_bytes: Option<u64>,
        promise: &mut Promise,
    ) -> Result<(), Problem> {
        let header = self.headers[which as usize].expect("the matrix was declared");
        assert!(!mem::replace(&mut self.is_begun[which as usize], true), "a matrix begins once");
        assert!(self.coming.is_none(), "one matrix comes after the other");
        let dtype = self.dtype();
        let plan = match dtype {
            Dtype::F64 => self.plan::<f64>(following_bytes)?,
            Dtype::F32 => self.plan::<f32>(following_bytes)?,
        };
        if let (Places::F32(narrow), Dtype::F64) = (&mut self.places, dtype) {
            // What has come as f32 is followed by what f32 can't hold.
            let narrow = mem::replace(narrow, Buffers::new());
            self.places = Places::F64(narrow.widen(&plan, promise)?);
        }
        match &mut self.places {
            Places::F64(buffers) => buffers.begin(which, &header, &plan, promise)?,
            Places::F32(buffers) => buffers.begin(which, &header, &plan, promise)?,
        }
        if header.bytes() > 0 {
            let bytes_left = header.bytes();
            self.coming = Some(Coming { which, header, bytes_left, partial: Partial::default() });
        }
        Ok(())
    }

    /// Takes bytes of the matrix that was begun last; how many, which is all up to its end.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let Some(coming) = &mut self.coming else { return 0 };
        let used = bytes.len().min(usize::try_from(coming.bytes_left).unwrap_or(usize::MAX));
        match &mut self.places {
            Places::F64(buffers) => coming.push(&bytes[..used], buffers),
            Places::F32(buffers) => coming.push(&bytes[..used], buffers),
        }
        if coming.bytes_left == 0 {
            self.coming = None;
        }
        used
    }

    /// Has up to `most` bytes of the matrix that was begun last read right into its place; how
    /// many. `None` where they don't come as they lie: then they are to be pushed.
    pub fn fill(&mut self, most: usize, source: &mut Source) -> Option<usize> {
        let coming = self.coming.as_mut()?;
        let filled = match &mut self.places {
            Places::F64(buffers) => coming.fill(most, source, buffers),
            Places::F32(buffers) => coming.fill(most, source, buffers),
        };
        if coming.bytes_left == 0 {
            self.coming = None;
        }
        filled
    }

    /// Whether the matrix that was begun last has all its elements.
    pub fn is_complete(&self) -> bool {
        self.coming.is_none()
    }

    /// The request, checked.
    ///
    /// # Errors
    ///
    /// A problem that names the matrix that is missing, or whose shape doesn't go with the others.
    pub fn finish(self) -> Result<MultiplyRequest, Problem> {
        if let Some(coming) = &self.coming {
            return Err(truncated(coming.which));
        }
        let c = self.addend_shape();
        let Self { settings, places, headers, is_begun, .. } = self;
        if let Some(missing) = Which::ALL
            .into_iter()
            .find(|which| headers[*which as usize].is_some() && !is_begun[*which as usize])
        {
            return Err(truncated(missing));
        }
        match places {
            Places::F64(buffers) => buffers.finish(&settings, c).map(MultiplyRequest::F64),
            Places::F32(buffers) => buffers.finish(&settings, c).map(MultiplyRequest::F32),
        }
    }

    /// The one matrix.
    ///
    /// # Errors
    ///
    /// A problem where it is missing, or is not whole.
    pub fn finish_single(self) -> Result<Matrix, Problem> {
        if self.coming.is_some() || !self.is_begun[Which::B as usize] {
            let detail = "the body ends before the last element of its matrix";
            return Err(Problem::new(ProblemKind::MalformedBody, detail));
        }
        Ok(match self.places {
            Places::F64(buffers) => Matrix::F64(buffers.into_single()),
            Places::F32(buffers) => Matrix::F32(buffers.into_single()),
        })
    }

    /// The shape of the product, once both operands are declared.
    fn shape(&self) -> Result<Option<Shape>, Problem> {
        let [Some(a), Some(b), _] = self.headers else { return Ok(None) };
        let shape = |header: ArrayHeader, transpose| match transpose {
            true => (header.columns, header.rows),
            false => (header.rows, header.columns),
        };
        let a = shape(a, self.settings.transpose_a);
        let b = shape(b, self.settings.transpose_b);
        check_shapes(a, b, self.addend_shape()).map(Some)
    }

    /// The shape of C: one of one dimension is a column where the product is.
    fn addend_shape(&self) -> Option<(usize, usize)> {
        let c = self.headers[Which::C as usize]?;
        let n = self.headers[Which::B as usize].map(|b| match self.settings.transpose_b {
            true => b.rows,
            false => b.columns,
        });
        Some(if c.is_vector && n == Some(1) { (c.columns, c.rows) } else { (c.rows, c.columns) })
    }

    /// The dtype that the declared matrices are multiplied in.
    fn dtype(&self) -> Dtype {
        let promoted = || {
            let is_f64 = |header: &ArrayHeader| header.scalar.dtype() == Dtype::F64;
            let any = self.headers.iter().flatten().any(is_f64);
            if any { Dtype::F64 } else { Dtype::F32 }
        };
        self.settings.dtype.unwrap_or_else(promoted)
    }

    fn check_factors<T: Element>(&self) -> Result<(), Problem> {
        for factor in self.settings.alpha.iter().chain(&self.settings.beta) {
            factor.to::<T>()?;
        }
        Ok(())
    }

    /// What is known about the job, where it is one of this dtype.
    fn plan<T: Element>(&self, following_bytes: Option<u64>) -> Result<Plan, Problem> {
        self.check_factors::<T>()?;
        let [a, b, c] = self.headers;
        let shape = self.shape()?;
        let known: usize = a.iter().chain(&b).map(|header| in_lines::<T>(header.elements())).sum();
        let others = match (a, b, following_bytes) {
            (Some(header), None, Some(bytes)) => {
                guess_other(header, self.settings.transpose_a, true, c.is_some(), bytes)
            }
            (None, Some(header), Some(bytes)) => {
                guess_other(header, self.settings.transpose_b, false, c.is_some(), bytes)
            }
            _ => 0,
        };
        let reads_c = match &self.settings.beta {
            Some(beta) => beta.to::<T>()? != T::from_f64(0.0),
            None => true,
        };
        let operands = known + in_lines::<T>(others);
        let result = match shape {
            Some(shape) => shape.m * shape.n,
            None => c.map_or(0, |c| c.elements()),
        };
        let mut besides_bytes = self.demand.kept_bytes;
        let mut text_bytes = 0;
        if let (Some(shape), Some(a), Some(b)) = (shape, a, b) {
            // What is small is not shared.
            let threads = if shape.flops() < SMALL_JOB_FLOPS { 1 } else { self.demand.threads };
            let extent = |header, transpose| {
                let mut extent = place_of(header, 0);
                extent.transposed ^= transpose;
                extent
            };
            let (a, b) =
                (extent(a, self.settings.transpose_a), extent(b, self.settings.transpose_b));
            besides_bytes += job::besides_bytes::<T>(a, b, threads, self.demand.is_check_asked);
            text_bytes = match self.demand.reply_is_text {
                true => text_bytes_max(shape).unwrap_or(usize::MAX),
                false => 0,
            };
        }
        Ok(Plan { operands, result, besides_bytes, text_bytes, reads_c })
    }
}

impl Coming {
    fn push<T: Element>(&mut self, bytes: &[u8], buffers: &mut Buffers<T>) {
        self.bytes_left -= bytes.len() as u64;
        let size = self.header.scalar.bytes();
        let mut bytes = bytes;
        if !self.partial.is_empty() {
            let taken = self.partial.push(bytes, size);
            bytes = &bytes[taken..];
            if self.partial.bytes().len() < size {
                return;
            }
            buffers.take(self.which, &self.header, self.partial.bytes());
            self.partial.clear();
        }
        let whole = bytes.len() / size * size;
        buffers.take(self.which, &self.header, &bytes[..whole]);
        self.partial.push(&bytes[whole..], size);
    }

    fn fill<T: Element>(
        &mut self,
        most: usize,
        source: &mut Source,
        buffers: &mut Buffers<T>,
    ) -> Option<usize> {
        let elements = buffers.place(self.which, &self.header)?;
        let most = usize::try_from(self.bytes_left).map_or(most, |left| most.min(left));
        let filled = fill(elements, &mut self.partial, most, source);
        self.bytes_left -= filled as u64;
        Some(filled)
    }
}

/// How many elements the other operand has, by the bytes of what follows one of them in a file that
/// NumPy wrote: the other alone, or C with it. Too many are room that is never touched, and too few
/// are a copy, so this need not be right, though it mostly is.
fn guess_other(
    one: ArrayHeader,
    transpose: bool,
    is_a: bool,
    has_c: bool,
    following_bytes: u64,
) -> usize {
    let (rows, columns) = if transpose { (one.columns, one.rows) } else { (one.rows, one.columns) };
    let (inner, outer) = if is_a { (columns, rows) } else { (rows, columns) };
    let bytes = |elements: usize| elements as u64 * one.scalar.bytes() as u64;
    let arrays_bytes = following_bytes.saturating_sub(ARRAY_HEADER_BYTES);
    if inner == 0 {
        return 0;
    }
    let alone = arrays_bytes / bytes(inner);
    let is_alone = following_bytes - alone * bytes(inner) <= FILE_HEADERS_BYTES_MAX;
    let length = match is_alone || has_c {
        true => alone,
        false => arrays_bytes / bytes(inner + outer),
    };
    (length.min(DIMENSION_MAX as u64) as usize) * inner
}

fn truncated(which: Which) -> Problem {
    let detail = format!("the body ends before the last element of {}", which.name());
    Problem::new(ProblemKind::MalformedBody, detail).at(which.pointer())
}
