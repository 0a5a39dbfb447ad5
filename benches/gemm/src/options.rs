//! The command line, and the one that the program gives itself.

use gemmule::gemm::Dtype;

use crate::contestants::Name;
use crate::shape::Shape;

const USAGE: &str = "usage: bench-gemm [--quick] [--filter TEXT]...
  --quick        fewer sizes and shorter samples: under two minutes
  --filter TEXT  only shapes whose \"dtype/threads/shape\" contains TEXT, as f64/1/256x256x256";

#[derive(Debug, Default)]
pub struct Options {
    pub quick: bool,
    filters: Vec<String>,
}

impl Options {
    /// Whether to measure this.
    pub fn wants(&self, dtype: Dtype, threads: usize, shape: Shape) -> bool {
        let path = format!("{}/{threads}/{shape}", dtype.name());
        (!self.quick || shape.is_quick())
            && (self.filters.is_empty() || self.filters.iter().any(|text| path.contains(text)))
    }
}

/// What one process measures: the contestants in turn, on one problem.
#[derive(Clone, Debug)]
pub struct Order {
    pub dtype: Dtype,
    pub threads: usize,
    pub shape: Shape,
    /// How long to measure each contestant.
    pub span_ms: u64,
    /// Whether to check the results.
    pub check: bool,
    pub names: Vec<Name>,
}

pub enum Role {
    Coordinator(Options),
    Worker(Order),
}

const WORKER: &str = "worker";

impl Order {
    pub fn to_args(&self) -> Vec<String> {
        let names: Vec<&str> = self.names.iter().map(|name| name.text()).collect();
        vec![
            WORKER.to_string(),
            self.dtype.name().to_string(),
            self.threads.to_string(),
            self.shape.to_string(),
            self.span_ms.to_string(),
            self.check.to_string(),
            names.join(","),
        ]
    }

    fn from_args(args: &[String]) -> Option<Self> {
        let [dtype, threads, shape, span_ms, check, names] = args else {
            return None;
        };
        Some(Self {
            dtype: Dtype::from_name(dtype)?,
            threads: threads.parse().ok()?,
            shape: Shape::parse(shape)?,
            span_ms: span_ms.parse().ok()?,
            check: check.parse().ok()?,
            names: names.split(',').map(Name::from_text).collect::<Option<_>>()?,
        })
    }
}

pub fn parse(args: impl Iterator<Item = String>) -> Result<Role, String> {
    let args: Vec<String> = args.collect();
    if args.first().is_some_and(|arg| arg == WORKER) {
        let order = Order::from_args(&args[1..]).ok_or_else(|| format!("bad order: {args:?}"))?;
        return Ok(Role::Worker(order));
    }
    let mut options = Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--filter" => options.filters.push(args.next().ok_or(USAGE)?),
            _ => return Err(USAGE.to_string()),
        }
    }
    Ok(Role::Coordinator(options))
}
