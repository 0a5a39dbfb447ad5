//! Routes: one table of paths and methods.

use alloc::format;
use alloc::string::String;

use crate::api::admin::AdminPath;
use crate::api::matrices::{MatrixCall, ReferenceName, UploadId};
use crate::api::methods::{DELETE, GET, Methods, PATCH, POST, PUT};
use crate::billing::JobId;
use crate::http::{Method, RequestHead};
use crate::inference::{Call, Model};
use crate::ledger::hash::Hash;
use crate::ledger::key::KeyId;
use crate::ledger::{AccountId, Scope};
use crate::problem::{Problem, ProblemKind};
use crate::readout::{Month, Readout};
use crate::store::MatrixId;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /v1/multiply`
    Multiply,
    /// `POST /v1/quote`
    Quote,
    /// `GET /v1/jobs`
    Jobs,
    /// `POST /v1/jobs`, with what its idempotency key comes to, once that is known
    Submit(Option<Hash>),
    /// What is asked of a job that goes on by itself.
    Job(JobCall, JobId),
    /// `POST /v1/admin/drain`
    Drain,
    /// `GET /v1/jobs/{id}/bill`
    JobBill(JobId),
    /// `GET /v1/jobs/{id}/receipt`
    JobReceipt(JobId),
    /// `GET /v1/receipt-keys`
    ReceiptKeys,
    /// `GET` of what the ledger comes to.
    Readout(Readout),
    /// `GET /healthz`
    Health,
    /// `GET /v1/version`
    Version,
    /// `GET /metrics`
    Metrics,
    /// `GET /openapi.json`
    OpenApi,
    /// `GET /problems/{name}`
    Problem(ProblemKind),
    /// What lies under `/v1/matrices` and `/v1/references`.
    Matrices(MatrixCall),
    /// What lies under `/v2`.
    Inference(Call),
    /// `GET` of what lies under `/v1/admin`.
    Admin(AdminPath),
    /// `POST` of what lies under `/v1/admin`.
    Change(AdminPath),
    /// `OPTIONS` of any path: the methods it takes.
    Options(String),
}

/// What is asked of a job that goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobCall {
    /// `GET /v1/jobs/{id}`
    Status,
    /// `GET /v1/jobs/{id}/events`
    Events,
    /// `GET /v1/jobs/{id}/result`
    Result,
    /// `POST /v1/jobs/{id}:cancel`
    Cancel,
}

/// Who may ask for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody.
    Nothing,
    /// Whoever has a key with this scope.
    Scope(Scope),
}

/// One line of the table.
struct Row {
    /// The path; `{}` stands for any one segment that is not empty, and for the front of one where
    /// something stands behind it.
    pattern: &'static str,
    methods: Methods,
    /// What they ask for.
    find: fn(Variables<'_>) -> Result<Route, Problem>,
}

/// The variable segments of a path in order, and empty text for those it lacks.
type Variables<'a> = [&'a str; 2];

const fn row(
    pattern: &'static str,
    methods: Methods,
    find: fn(Variables<'_>) -> Result<Route, Problem>,
) -> Row {
    Row { pattern, methods, find }
}

/// Every path. The first that matches counts; where its methods ask for different things, it has
/// several rows.
static TABLE: &[Row] = &[
    row("/v1/multiply", POST, |_| Ok(Route::Multiply)),
    row("/v1/quote", POST, |_| Ok(Route::Quote)),
    row("/v1/jobs", GET, |_| Ok(Route::Jobs)),
    row("/v1/jobs", POST, |_| Ok(Route::Submit(None))),
    row("/v1/jobs/{}:cancel", POST, |path| of_job(path, |job| Route::Job(JobCall::Cancel, job))),
    row("/v1/jobs/{}", GET, |path| of_job(path, |job| Route::Job(JobCall::Status, job))),
    row("/v1/jobs/{}/events", GET, |path| of_job(path, |job| Route::Job(JobCall::Events, job))),
    row("/v1/jobs/{}/result", GET, |path| of_job(path, |job| Route::Job(JobCall::Result, job))),
    row("/v1/jobs/{}/bill", GET, |path| of_job(path, Route::JobBill)),
    row("/v1/jobs/{}/receipt", GET, |path| of_job(path, Route::JobReceipt)),
    row("/v1/receipt-keys", GET, |_| Ok(Route::ReceiptKeys)),
    row("/v1/admin/drain", POST, |_| Ok(Route::Drain)),
    row("/v1/admin/accounts", GET.and(POST), |_| admin(AdminPath::Accounts)),
    row("/v1/admin/accounts/{}", GET.and(POST), |path| of_account(path, AdminPath::Account)),
    row("/v1/admin/accounts/{}/keys", GET.and(POST), |path| of_account(path, AdminPath::Keys)),
    row("/v1/admin/accounts/{}/credits", POST, |path| of_account(path, AdminPath::Credits)),
    row("/v1/admin/keys/{}/revoke", POST, |path| of_key(path, AdminPath::Revoke)),
    row("/v1/admin/keys/{}/rotate", POST, |path| of_key(path, AdminPath::Rotate)),
    row("/v1/admin/tariffs", GET.and(POST), |_| admin(AdminPath::Tariffs)),
    row("/v1/admin/corrections", POST, |_| admin(AdminPath::Corrections)),
    row("/v1/admin/receipt-keys/rotate", POST, |_| admin(AdminPath::RotateReceiptKey)),
    row("/v1/matrices", GET, |_| matrices(MatrixCall::List)),
    row("/v1/matrices", POST, |_| matrices(MatrixCall::Store)),
    row("/v1/matrices/uploads", POST, |_| matrices(MatrixCall::Begin)),
    row("/v1/matrices/uploads/{}", GET, |path| of_upload(path, MatrixCall::Progress)),
    row("/v1/matrices/uploads/{}", PATCH, |path| of_upload(path, MatrixCall::Append)),
    row("/v1/matrices/uploads/{}", PUT, |path| of_upload(path, MatrixCall::Complete)),
    row("/v1/matrices/uploads/{}", DELETE, |path| of_upload(path, MatrixCall::Cancel)),
    row("/v1/matrices/{}", GET, |path| of_matrix(path, MatrixCall::Read)),
    row("/v1/matrices/{}", PATCH, |path| of_matrix(path, MatrixCall::Change)),
    row("/v1/matrices/{}", DELETE, |path| of_matrix(path, MatrixCall::Remove)),
    row("/v1/references", GET, |_| matrices(MatrixCall::References)),
    row("/v1/references/{}", GET, |path| of_reference(path, MatrixCall::Reference)),
    row("/v1/references/{}", PUT, |path| of_reference(path, MatrixCall::Refer)),
    row("/v1/references/{}", DELETE, |path| of_reference(path, MatrixCall::Unrefer)),
    row("/v1/usage", GET, |_| Ok(Route::Readout(Readout::Usage))),
    row("/v1/usage/events", GET, |_| Ok(Route::Readout(Readout::Events))),
    row("/v1/invoices/{}", GET, invoice),
    row("/healthz", GET, |_| Ok(Route::Health)),
    row("/v1/version", GET, |_| Ok(Route::Version)),
    row("/metrics", GET, |_| Ok(Route::Metrics)),
    row("/openapi.json", GET, |_| Ok(Route::OpenApi)),
    row("/problems/{}", GET, problem_page),
    // The inference protocol.
    row("/v2", GET, |_| call(Call::Server)),
    row("/v2/health/live", GET, |_| call(Call::Live)),
    row("/v2/health/ready", GET, |_| call(Call::Ready)),
    row("/v2/models/stats", GET, |_| call(Call::AllStats)),
    row("/v2/models/{}", GET, |path| of_model(path, Call::Model)),
    row("/v2/models/{}/versions/{}", GET, |path| of_model(path, Call::Model)),
    row("/v2/models/{}/ready", GET, |path| of_model(path, Call::ModelReady)),
    row("/v2/models/{}/versions/{}/ready", GET, |path| of_model(path, Call::ModelReady)),
    row("/v2/models/{}/config", GET, |path| of_model(path, Call::ModelConfig)),
    row("/v2/models/{}/versions/{}/config", GET, |path| of_model(path, Call::ModelConfig)),
    row("/v2/models/{}/stats", GET, |path| of_model(path, Call::ModelStats)),
    row("/v2/models/{}/versions/{}/stats", GET, |path| of_model(path, Call::ModelStats)),
    row("/v2/models/{}/infer", POST, |path| of_model(path, Call::Infer)),
    row("/v2/models/{}/versions/{}/infer", POST, |path| of_model(path, Call::Infer)),
    row("/v2/repository/index", POST, |_| call(Call::Index)),
    // What the protocol's clients can ask for and this service has no use for.
    row("/v2/repository/models/{}/load", POST, |_| not_offered(LOADING)),
    row("/v2/repository/models/{}/unload", POST, |_| not_offered(LOADING)),
    row("/v2/systemsharedmemory/status", GET, |_| call(Call::SharedMemory)),
    row("/v2/systemsharedmemory/region/{}/status", GET, |_| not_offered(SHARING)),
    row("/v2/systemsharedmemory/region/{}/register", POST, |_| not_offered(SHARING)),
    row("/v2/systemsharedmemory/region/{}/unregister", POST, |_| not_offered(SHARING)),
    row("/v2/systemsharedmemory/unregister", POST, |_| not_offered(SHARING)),
    row("/v2/cudasharedmemory/status", GET, |_| call(Call::SharedMemory)),
    row("/v2/cudasharedmemory/region/{}/status", GET, |_| not_offered(SHARING)),
    row("/v2/cudasharedmemory/region/{}/register", POST, |_| not_offered(SHARING)),
    row("/v2/cudasharedmemory/region/{}/unregister", POST, |_| not_offered(SHARING)),
    row("/v2/cudasharedmemory/unregister", POST, |_| not_offered(SHARING)),
    row("/v2/trace/setting", GET.and(POST), |_| not_offered(TRACING)),
    row("/v2/models/{}/trace/setting", GET.and(POST), |_| not_offered(TRACING)),
    row("/v2/logging", GET.and(POST), |_| not_offered(LOGGING)),
];

const LOADING: &str = "the models are always loaded, and can't be unloaded";
const SHARING: &str = "there is no shared memory: tensors are sent in the request and the reply";
const TRACING: &str = "there are no trace settings";
const LOGGING: &str = "there are no log settings";

/// Every path, with the methods that it takes as `Allow` lists them.
pub fn all() -> impl Iterator<Item = (&'static str, String)> {
    let is_first = |row: &&Row| {
        let first = TABLE.iter().find(|other| other.pattern == row.pattern);
        first.is_some_and(|first| core::ptr::eq(first, *row))
    };
    TABLE.iter().filter(is_first).map(|row| (row.pattern, methods_of(row.pattern).allow_field()))
}

/// The methods that a path of the table takes.
fn methods_of(pattern: &str) -> Methods {
    let rows = TABLE.iter().filter(|row| row.pattern == pattern);
    rows.fold(Methods::default(), |methods, row| methods.and(row.methods))
}

impl Route {
    /// Who may ask for it.
    pub fn needs(&self) -> Needs {
        match self {
            Self::Multiply
            | Self::Inference(Call::Infer(_))
            | Self::Quote
            | Self::Submit(_)
            | Self::Job(JobCall::Cancel, _) => Needs::Scope(Scope::Submit),
            Self::Matrices(call) if !call.is_read() => Needs::Scope(Scope::Submit),
            Self::JobBill(_)
            | Self::JobReceipt(_)
            | Self::Readout(_)
            | Self::Jobs
            | Self::Matrices(_)
            | Self::Job(..) => Needs::Scope(Scope::Read),
            Self::Admin(_) | Self::Change(_) | Self::Drain => Needs::Scope(Scope::Admin),
            Self::ReceiptKeys
            | Self::Health
            | Self::Version
            | Self::Metrics
            | Self::OpenApi
            | Self::Problem(_)
            | Self::Inference(_)
            | Self::Options(_) => Needs::Nothing,
        }
    }

    /// Whether the reply tells what the ledger's entries come to, and so waits until they are
    /// durable.
    pub fn reads_ledger(&self) -> bool {
        matches!(self, Self::JobBill(_) | Self::JobReceipt(_) | Self::ReceiptKeys)
    }

    /// Finds what the head asks for.
    ///
    /// # Errors
    ///
    /// An unknown path, job, problem or model; a method that the path does not take, with `Allow`.
    pub fn find(head: &RequestHead) -> Result<Self, Problem> {
        if head.method == Method::Options && head.path == "*" {
            let all = TABLE.iter().fold(Methods::default(), |all, row| all.and(row.methods));
            return Ok(Self::Options(all.allow_field()));
        }
        let found = TABLE.iter().enumerate().find_map(|(index, row)| {
            let variables = match_pattern(row.pattern, &head.path)?;
            Some((row.pattern, &TABLE[index..], variables))
        });
        let Some((pattern, rows, variables)) = found else {
            return Err(Problem::new(
                ProblemKind::UnknownPath,
                format!("{} is not a path of this service", head.path),
            ));
        };
        if head.method == Method::Options {
            return Ok(Self::Options(methods_of(pattern).allow_field()));
        }
        let takes = |row: &&Row| row.pattern == pattern && row.methods.contain(head.method);
        let Some(row) = rows.iter().find(takes) else {
            let allow = methods_of(pattern).allow_field();
            return Err(Problem::new(
                ProblemKind::MethodNotAllowed,
                format!("{} takes {allow}", head.path),
            )
            .with_response_field("Allow", allow));
        };
        match (row.find)(variables)? {
            Self::Admin(path) if head.method == Method::Post => Ok(Self::Change(path)),
            route => Ok(route),
        }
    }
}

impl Route {
    /// Whether its request has a small body in JSON.
    pub fn takes_small_body(&self) -> bool {
        matches!(self, Self::Quote | Self::Change(_) | Self::Submit(_))
    }
}

/// The variable segments of a path that has this pattern.
fn match_pattern<'a>(pattern: &str, path: &'a str) -> Option<Variables<'a>> {
    let mut variables = Variables::default();
    // No path has braces, so this pattern has no variables.
    if pattern == path {
        return Some(variables);
    }
    let mut free = variables.iter_mut();
    let (mut parts, mut segments) = (pattern.split('/'), path.split('/'));
    loop {
        match (parts.next(), segments.next()) {
            (None, None) => return Some(variables),
            (Some(part), Some(segment)) => match part.strip_prefix("{}") {
                Some(behind) => {
                    let variable = segment.strip_suffix(behind)?;
                    *free.next().filter(|_| !variable.is_empty())? = variable;
                }
                None if part == segment => {}
                None => return None,
            },
            _ => return None,
        }
    }
}

fn of_job([job, _]: Variables<'_>, route: fn(JobId) -> Route) -> Result<Route, Problem> {
    job.parse()
        .map(route)
        .map_err(|()| Problem::new(ProblemKind::UnknownJob, "a job's id is 32 hexadecimal digits"))
}

fn admin(path: AdminPath) -> Result<Route, Problem> {
    Ok(Route::Admin(path))
}

fn of_account([id, _]: Variables<'_>, path: fn(AccountId) -> AdminPath) -> Result<Route, Problem> {
    let detail = "an account's id is 1 to 32 of a-z, 0-9 and -";
    let id = id.parse().map_err(|_| Problem::new(ProblemKind::UnknownAccount, detail))?;
    admin(path(id))
}

fn of_key([id, _]: Variables<'_>, path: fn(KeyId) -> AdminPath) -> Result<Route, Problem> {
    let detail = "a key's id is 16 hexadecimal digits";
    let id = KeyId::parse(id).ok_or_else(|| Problem::new(ProblemKind::UnknownKeyId, detail))?;
    admin(path(id))
}

fn matrices(call: MatrixCall) -> Result<Route, Problem> {
    Ok(Route::Matrices(call))
}

fn of_matrix([id, _]: Variables<'_>, call: fn(MatrixId) -> MatrixCall) -> Result<Route, Problem> {
    let detail = "an address is sha256: and 64 hexadecimal digits";
    let id = id.parse().map_err(|()| Problem::new(ProblemKind::UnknownMatrix, detail))?;
    matrices(call(id))
}

fn of_upload([id, _]: Variables<'_>, call: fn(UploadId) -> MatrixCall) -> Result<Route, Problem> {
    let detail = "an upload's id is 32 hexadecimal digits";
    let id = UploadId::parse(id).ok_or_else(|| Problem::new(ProblemKind::UnknownUpload, detail))?;
    matrices(call(id))
}

fn of_reference(
    [name, _]: Variables<'_>,
    call: fn(ReferenceName) -> MatrixCall,
) -> Result<Route, Problem> {
    let detail = "a name is letters, digits, '.', '-' and '_', and no '.' first";
    let name = ReferenceName::parse(name);
    matrices(call(name.ok_or_else(|| Problem::new(ProblemKind::UnknownReference, detail))?))
}

fn invoice([period, _]: Variables<'_>) -> Result<Route, Problem> {
    let detail = "a month is its year, - and its two digits";
    let period = Month::parse(period);
    let period = period.ok_or_else(|| Problem::new(ProblemKind::UnknownPeriod, detail))?;
    Ok(Route::Readout(Readout::Invoice(period)))
}

fn problem_page([name, _]: Variables<'_>) -> Result<Route, Problem> {
    ProblemKind::ALL
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
        .map(Route::Problem)
        .ok_or_else(|| Problem::new(ProblemKind::UnknownProblem, "see the list in docs/api.md"))
}

fn call(call: Call) -> Result<Route, Problem> {
    Ok(Route::Inference(call))
}

fn of_model([name, version]: Variables<'_>, call: fn(Model) -> Call) -> Result<Route, Problem> {
    Model::find(name, version).map(call).map(Route::Inference)
}

fn not_offered(why: &str) -> Result<Route, Problem> {
    Err(Problem::new(ProblemKind::NotOffered, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_whole_segments_and_fronts_of_them() {
        for (pattern, path, variables) in [
            ("/a/{}", "/a/b", Some(["b", ""])),
            ("/a/{}", "/a/", None),
            ("/a/{}", "/a/b/c", None),
            ("/a/{}/c/{}", "/a/b/c/d", Some(["b", "d"])),
            ("/a/{}:cancel", "/a/b:cancel", Some(["b", ""])),
            ("/a/{}:cancel", "/a/b", None),
            ("/a/{}:cancel", "/a/:cancel", None),
            ("/a/{}:cancel", "/a/b:cancel/c", None),
            ("/a", "/b", None),
        ] {
            assert_eq!(match_pattern(pattern, path), variables, "{path} by {pattern}");
        }
    }
}
