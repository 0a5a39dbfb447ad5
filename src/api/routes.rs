//! Routes: one table of paths and methods.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::billing::JobId;
use crate::http::{Method, RequestHead};
use crate::problem::{Problem, ProblemKind};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /v1/multiply`
    Multiply,
    /// `GET /v1/jobs/{id}/bill`
    JobBill(JobId),
    /// `GET /healthz`
    Health,
    /// `GET /v1/version`
    Version,
    /// `GET /metrics`
    Metrics,
    /// `GET /problems/{name}`
    Problem(ProblemKind),
    /// `OPTIONS` of any path: the methods it takes.
    Options(String),
}

/// The paths, and what they take: `GET` brings `HEAD` with it, and every path takes `OPTIONS`.
const TABLE: &[(&[&str], Method)] = &[
    (&["v1", "multiply"], Method::Post),
    (&["v1", "jobs", "{}", "bill"], Method::Get),
    (&["healthz"], Method::Get),
    (&["v1", "version"], Method::Get),
    (&["metrics"], Method::Get),
    (&["problems", "{}"], Method::Get),
];

impl Route {
    /// Finds what the head asks for.
    ///
    /// # Errors
    ///
    /// An unknown path, job or problem; a method that the path does not take, with `Allow`.
    pub fn find(head: &RequestHead) -> Result<Self, Problem> {
        if head.method == Method::Options && head.path == "*" {
            return Ok(Self::Options(String::from("GET, HEAD, POST, OPTIONS")));
        }
        let segments: Vec<&str> = head.path.strip_prefix('/').unwrap_or("").split('/').collect();
        let found = TABLE.iter().position(|(pattern, _)| matches_pattern(pattern, &segments));
        let Some(index) = found else {
            return Err(Problem::new(
                ProblemKind::UnknownPath,
                format!("{} is not a path of this service", head.path),
            ));
        };
        let allowed = TABLE[index].1;
        let allow = allow_field(allowed);
        match head.method {
            Method::Options => return Ok(Self::Options(String::from(allow))),
            Method::Head if allowed == Method::Get => {}
            method if method == allowed => {}
            _ => {
                return Err(Problem::new(
                    ProblemKind::MethodNotAllowed,
                    format!("{} takes {allow}", head.path),
                )
                .with_response_field("Allow", allow));
            }
        }
        match index {
            0 => Ok(Self::Multiply),
            1 => segments[2].parse().map(Self::JobBill).map_err(|()| {
                Problem::new(ProblemKind::UnknownJob, "a job's id is 32 hexadecimal digits")
            }),
            2 => Ok(Self::Health),
            3 => Ok(Self::Version),
            4 => Ok(Self::Metrics),
            _ => ProblemKind::ALL
                .iter()
                .copied()
                .find(|kind| kind.name() == segments[1])
                .map(Self::Problem)
                .ok_or_else(|| Problem::new(ProblemKind::UnknownProblem, "see the README's list")),
        }
    }
}

fn matches_pattern(pattern: &[&str], segments: &[&str]) -> bool {
    pattern.len() == segments.len()
        && pattern.iter().zip(segments).all(|(part, segment)| *part == "{}" || part == segment)
}

fn allow_field(method: Method) -> &'static str {
    match method {
        Method::Get => "GET, HEAD, OPTIONS",
        _ => "POST, OPTIONS",
    }
}
