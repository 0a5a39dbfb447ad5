//! `POST /v1/quote`: what a job would cost and take, by the shapes of its matrices alone.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::api::sizes::Sizes;
use crate::billing::{Currency, MonthToDate, Tariff, Usage, meter};
use crate::formats::{Format, in_lines};
use crate::gemm::{Dtype, Element, Extent, Peak, Shape};
use crate::job::reply::ReplyForm;
use crate::job::{memory_bytes, memory_problem, threads_of};
use crate::limits::{DIMENSION_MAX, JSON_MEMORY_BYTES_MIN, JSON_MEMORY_FACTOR};
use crate::memory::Shortage;
use crate::problem::{Problem, ProblemKind};

/// What is asked; names that jobs have as well mean the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuoteRequest {
    m: u64,
    n: u64,
    k: u64,
    #[serde(default, deserialize_with = "given")]
    dtype: Option<String>,
    #[serde(default)]
    transpose_a: bool,
    #[serde(default)]
    transpose_b: bool,
    /// The product is multiplied by another number than 1.
    #[serde(default)]
    alpha: bool,
    /// A matrix is added to it.
    #[serde(default)]
    c: bool,
    /// Media types of the body and the reply.
    #[serde(default, deserialize_with = "given")]
    format: Option<String>,
    #[serde(default, deserialize_with = "given")]
    reply_format: Option<String>,
    /// Of the body, where the client knows it.
    #[serde(default, deserialize_with = "given")]
    bytes_in: Option<u64>,
    /// What the client multiplies with by itself, in 10^9 operations a second.
    #[serde(default, deserialize_with = "given")]
    local_gflops: Option<f64>,
    /// What its connection carries, in 10^6 bits a second.
    #[serde(default, deserialize_with = "given")]
    bandwidth_mbit: Option<f64>,
}

/// A field that may be left out, and is not `null`.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// What multiplies.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub threads: usize,
    pub peak: Peak,
    /// That all requests together may hold.
    pub memory_bytes: usize,
}

/// The reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quote {
    flops: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Neither number of bytes is an estimate.
    is_exact: bool,
    tariff: Arc<str>,
    tariff_version: u32,
    amount_micros: u64,
    /// Whatever else the account is charged first, and however long numbers are in JSON.
    amount_micros_max: u64,
    currency: Currency,
    memory_bytes: usize,
    /// Whether the machine has as much.
    fits: bool,
    /// `None` where the machine has not measured what it can do.
    compute_us: Option<u64>,
    transfer_us: Option<u64>,
    /// To send, compute and receive; without what is not known of the client's connection.
    total_us: Option<u64>,
    local_us: Option<u64>,
    worth_sending: Option<bool>,
}

impl Quote {
    /// What a machine quotes for a job, to be priced by this tariff, of an account that has had so
    /// much in the month.
    ///
    /// # Errors
    ///
    /// A problem that names the field at fault, or that says that no machine has so much memory.
    pub fn new(
        request: &QuoteRequest,
        tariff: &Tariff,
        month: MonthToDate,
        machine: Machine,
    ) -> Result<Self, Problem> {
        let job = JobForm::check(request)?;
        let sizes = job.sizes(request.bytes_in);
        let flops = meter::flops(job.shape, job.scales_product, job.adds_c);
        let memory_bytes = job.memory_bytes(&sizes, machine.threads);
        let (Some(flops), Some(memory_bytes)) = (flops, memory_bytes) else {
            let shortage = Shortage::Never { total_bytes: machine.memory_bytes };
            return Err(memory_problem(shortage, usize::MAX));
        };
        let usage = Usage {
            dtype: job.dtype,
            shape: job.shape,
            flops,
            bytes_in: sizes.bytes_in,
            bytes_out: sizes.bytes_out,
            cached: false,
        };
        let usage_max =
            Usage { bytes_in: sizes.bytes_in_max, bytes_out: sizes.bytes_out_max, ..usage };
        let fits = memory_bytes <= machine.memory_bytes;
        let compute_us = job.compute_us(flops, machine);
        let bits = 8 * (u128::from(sizes.bytes_in) + u128::from(sizes.bytes_out));
        let rate = |value: Option<f64>, unit, field| {
            value.map(|value| per_second(value, unit, field)).transpose()
        };
        let transfer_us = rate(request.bandwidth_mbit, 1e6, "/bandwidth_mbit")?
            .map(|bits_per_second| micros(bits, bits_per_second));
        let local_us = rate(request.local_gflops, 1e9, "/local_gflops")?
            .map(|flops_per_second| micros(flops.into(), flops_per_second));
        let total_us = compute_us.map(|it| it.saturating_add(transfer_us.unwrap_or(0)));
        Ok(Self {
            flops,
            bytes_in: sizes.bytes_in,
            bytes_out: sizes.bytes_out,
            is_exact: sizes.is_exact,
            tariff: Arc::clone(&tariff.name),
            tariff_version: tariff.version,
            amount_micros: tariff.amount_micros(&usage, month),
            amount_micros_max: tariff.amount_micros_max(&usage_max),
            currency: tariff.currency,
            memory_bytes,
            fits,
            compute_us,
            transfer_us,
            total_us,
            local_us,
            worth_sending: total_us.zip(local_us).map(|(total, local)| fits && total < local),
        })
    }
}

/// A job's request without its matrices, checked.
#[derive(Clone, Copy, Debug)]
struct JobForm {
    shape: Shape,
    dtype: Dtype,
    transpose_a: bool,
    transpose_b: bool,
    scales_product: bool,
    adds_c: bool,
    format: Format,
    reply_format: Format,
}

/// Thousandths of its peak that a core reaches with a product that is not small; see
/// `docs/figures.md`.
const SHARE_OF_PEAK: u64 = 900;
/// Bytes a second that come from memory, which is what bounds products with a vector.
const MEMORY_BYTES_PER_SECOND: u128 = 25_000_000_000;
/// Bytes a second of matrices that are hashed.
const HASHED_BYTES_PER_SECOND: u128 = 7_500_000_000;
/// To read a number from JSON, or to print it there.
const JSON_NUMBER_NS: u128 = 15;

impl JobForm {
    fn check(request: &QuoteRequest) -> Result<Self, Problem> {
        let dimension = |value: u64, field: &str| match usize::try_from(value) {
            Ok(value) if value <= DIMENSION_MAX => Ok(value),
            _ => {
                let detail = format!("a matrix may have up to {DIMENSION_MAX} rows and columns");
                let problem = Problem::new(ProblemKind::DimensionTooLarge, detail).at(field);
                Err(problem.limit(DIMENSION_MAX as u64))
            }
        };
        let shape = Shape {
            m: dimension(request.m, "/m")?,
            n: dimension(request.n, "/n")?,
            k: dimension(request.k, "/k")?,
        };
        let dtype = request.dtype.as_deref().unwrap_or(Dtype::F64.name());
        let dtype = Dtype::from_name(dtype).ok_or_else(|| {
            let detail = format!("{dtype:?} is not a dtype of this service: f64, f32");
            Problem::new(ProblemKind::UnknownDtype, detail).at("/dtype")
        })?;
        let format_of = |name: &str, field: &str| {
            Format::from_media_type(name).ok_or_else(|| {
                let detail = format!("{name:?} is not one of {}", Format::accept_post());
                Problem::new(ProblemKind::InvalidValue, detail).at(field)
            })
        };
        let format = match &request.format {
            Some(name) => format_of(name, "/format")?,
            None => Format::Json,
        };
        let reply_format = match &request.reply_format {
            Some(name) => format_of(name, "/reply_format")?,
            None => format,
        };
        Ok(Self {
            shape,
            dtype,
            transpose_a: request.transpose_a,
            transpose_b: request.transpose_b,
            scales_product: request.alpha,
            adds_c: request.c,
            format,
            reply_format,
        })
    }

    /// A, B and C as they come.
    fn matrices(&self) -> [Option<(usize, usize)>; 3] {
        let Shape { m, n, k } = self.shape;
        let a = if self.transpose_a { (k, m) } else { (m, k) };
        let b = if self.transpose_b { (n, k) } else { (k, n) };
        [Some(a), Some(b), self.adds_c.then_some((m, n))]
    }

    fn sizes(&self, bytes_in: Option<u64>) -> Sizes {
        let result = (self.shape.m, self.shape.n);
        let sizes = Sizes::of(self.dtype, self.matrices(), result, self.format, self.reply_format);
        match bytes_in {
            Some(bytes_in) => Sizes {
                bytes_in,
                bytes_in_max: bytes_in,
                is_exact: self.reply_format != Format::Json,
                ..sizes
            },
            None => sizes,
        }
    }

    /// The most memory that the job holds at once, where nothing is compressed.
    fn memory_bytes(&self, sizes: &Sizes, threads: usize) -> Option<usize> {
        let bytes = match self.dtype {
            Dtype::F64 => self.memory_bytes_as::<f64>(threads),
            Dtype::F32 => self.memory_bytes_as::<f32>(threads),
        }?;
        if self.format != Format::Json {
            return Some(bytes);
        }
        let text_bytes = usize::try_from(sizes.bytes_in).ok()?;
        let reading_bytes =
            text_bytes.checked_mul(JSON_MEMORY_FACTOR)?.checked_add(JSON_MEMORY_BYTES_MIN)?;
        Some(bytes.max(reading_bytes))
    }

    fn memory_bytes_as<T: Element>(&self, threads: usize) -> Option<usize> {
        let Shape { m, n, k } = self.shape;
        let [a, b, _] = self.matrices();
        let extent = |matrix: Option<(usize, usize)>, transposed| {
            let (rows, columns) = matrix.unwrap_or_default();
            Extent { start: 0, rows, columns, transposed }
        };
        let extents = (extent(a, self.transpose_a), extent(b, self.transpose_b));
        let operands = [m.checked_mul(k)?, k.checked_mul(n)?];
        let [of_a, of_b] = match self.format {
            // Counted by their commas, of which shapes have some as well.
            Format::Json => operands.map(|elements| elements.saturating_add(2)),
            _ => operands.map(in_lines::<T>),
        };
        let elements = of_a.checked_add(of_b)?;
        let reply = ReplyForm { format: self.reply_format, coding: None, inference: None };
        memory_bytes::<T>(elements, extents, threads_of(self.shape, threads), false, &reply)
    }

    /// Microseconds that the machine works on the job, when no other is in its way.
    fn compute_us(&self, flops: u64, machine: Machine) -> Option<u64> {
        let peak = machine.peak.of(self.dtype);
        let threads = threads_of(self.shape, machine.threads) as u128;
        let flops_per_second = u128::from(peak) * threads * u128::from(SHARE_OF_PEAK) / 1000;
        if flops_per_second == 0 {
            return None;
        }
        let Shape { m, n, k } = self.shape;
        let area = |rows: usize, columns: usize| rows as u128 * columns as u128;
        let (numbers_in, numbers_out) =
            (area(m, k) + area(k, n) + if self.adds_c { area(m, n) } else { 0 }, area(m, n));
        let bytes = (numbers_in + numbers_out) * self.dtype.bytes() as u128;
        let product_us =
            micros(flops.into(), flops_per_second).max(micros(bytes, MEMORY_BYTES_PER_SECOND));
        let proof_us = micros(bytes, HASHED_BYTES_PER_SECOND);
        let text = |format, numbers| if format == Format::Json { numbers } else { 0 };
        let texts = text(self.format, numbers_in) + text(self.reply_format, numbers_out);
        let text_us = micros(texts * JSON_NUMBER_NS, 1_000_000_000);
        Some(product_us.saturating_add(proof_us).saturating_add(text_us))
    }
}

/// The least that a rate can be.
pub const RATE_MIN: f64 = 0.001;

/// A rate that a client states, as whole units a second.
fn per_second(value: f64, unit: f64, field: &str) -> Result<u128, Problem> {
    if value < RATE_MIN {
        let detail = format!("a rate is at least {RATE_MIN}");
        return Err(Problem::new(ProblemKind::InvalidValue, detail).at(field));
    }
    // What is beyond 64 bits is as good as endless.
    Ok(((value * unit) as u64).into())
}

/// Microseconds, rounded up, for so many units at a rate a second.
fn micros(units: u128, per_second: u128) -> u64 {
    let micros = units.saturating_mul(1_000_000).div_ceil(per_second);
    u64::try_from(micros).unwrap_or(u64::MAX)
}
