//! Replies that need no job, and the reply of a job.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;
use serde_json::json;

use crate::api::quote::{Machine, Quote, QuoteRequest};
use crate::api::{OPENAPI, Route, body, to_json};
use crate::billing::{Bill, JobId, Tariff};
use crate::gemm::{self, Peak, Shape};
use crate::http::connection::Broken;
use crate::http::head::HeadError;
use crate::http::{Payload, RequestHead, Response};
use crate::inference::{self, Model};
use crate::job::reply::{ReplyForm, Written};
use crate::ledger::receipt::{JobReceipts, Receipt};
use crate::limits::{
    BATCH_MAX, CHAIN_LENGTH_MAX, CHUNK_BYTES_MAX, DIMENSION_MAX, DRAIN_TIMEOUT_NS, EVENTS_MAX,
    EXPONENT_MAX, EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX, FIELDS_MAX,
    HEAD_BYTES_MAX, HEAD_TIMEOUT_NS, IDEMPOTENCY_KEY_BYTES_MAX, IDLE_TIMEOUT_NS,
    INFERENCE_HEADER_BYTES_MAX, INFERENCE_ID_BYTES_MAX, ITERATE_STEPS_MAX,
    JOB_DEADLINE_SECONDS_MAX, JOB_OPERANDS_MAX, JOB_RESULTS_MAX, JOB_STEPS_MAX, KEEP_SECONDS_MAX,
    MATRICES_MAX, OPERAND_NAME_BYTES_MAX, READOUT_HOURS_MAX, READOUT_ROWS_MAX, READOUT_SUMS_MAX,
    RECENT_BILLS_MAX, REFERENCE_NAME_BYTES_MAX, REFERENCES_MAX, SMALL_BODY_BYTES_MAX,
    SNAPSHOTS_MAX, TARGET_BYTES_MAX, TASKS_ENDED_MAX, TASKS_RUNNING_MAX, TASKS_WAITING_MAX,
    TRANSFER_BYTES_PER_SECOND_MIN, TRANSFER_GRACE_NS, UPLOAD_IDLE_NS, UPLOADS_MAX,
    WAIT_SECONDS_MAX,
};
use crate::problem::{Problem, ProblemKind};
use crate::server::Server;
use crate::server::intake::{Intake, text_bytes_max};
use crate::server::payer::Caller;
use crate::time::{Now, SECOND_NS};

/// `GET /healthz`.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    ledger: &'static str,
    /// Connections, the one that asks included.
    sessions_open: usize,
    /// Memory that requests hold.
    memory_bytes_promised: usize,
}

/// `GET /v1/version`.
#[derive(Serialize)]
struct Version<'a> {
    name: &'static str,
    version: &'static str,
    api: &'static str,
    platform: &'static str,
    kernel: &'static str,
    caches: Caches,
    threads: usize,
    core_peak_flops_per_second: Peak,
    dtypes: [&'static str; 2],
    tariff: &'a Tariff,
    limits: Limits,
}

/// Of one core, as the kernel uses them.
#[derive(Serialize)]
struct Caches {
    l1_bytes: usize,
    l2_bytes: usize,
}

#[derive(Serialize)]
struct Limits {
    memory_bytes: usize,
    json_body_bytes: usize,
    dimension: usize,
    head_bytes: usize,
    fields: usize,
    target_bytes: usize,
    inference_header_bytes: usize,
    inference_id_bytes: usize,
    small_body_bytes: usize,
    sessions: usize,
    recent_bills: usize,
    readout_rows: usize,
    readout_hours: u32,
    readout_sums: usize,
    events: usize,
    jobs_running: usize,
    jobs_waiting: usize,
    jobs_ended: usize,
    wait_seconds: u64,
    job_operands: usize,
    expression_bytes: usize,
    expression_nodes: usize,
    expression_depth: usize,
    chain_length: usize,
    exponent: u64,
    batch: usize,
    job_results: usize,
    job_steps: usize,
    iterate_steps: u64,
    snapshots: u64,
    operand_name_bytes: usize,
    reference_bytes: usize,
    references: usize,
    matrices: usize,
    uploads: usize,
    upload_idle_seconds: u64,
    chunk_bytes: usize,
    idempotency_key_bytes: usize,
    job_deadline_seconds: u64,
    keep_seconds: u64,
    head_seconds: u64,
    idle_seconds: u64,
    transfer_grace_seconds: u64,
    transfer_bytes_per_second: u64,
    drain_seconds: u64,
}

impl Server {
    /// Decides, before its body is read, whether a multiplication is taken; by which model, where
    /// it is one of the inference protocol.
    pub(super) fn admit(
        &self,
        head: &RequestHead,
        model: Option<Model>,
    ) -> Result<Intake, Problem> {
        if self.is_draining() {
            return Err(draining());
        }
        self.check_ledger_room()?;
        Intake::admit(head, model, &self.memory, self.config.threads, self.checks_all)
    }

    /// Whether the ledger has room for what new jobs would be charged.
    pub(super) fn check_ledger_room(&self) -> Result<(), Problem> {
        if self.book.volume().is_some_and(|volume| volume.is_full()) {
            let detail = "no more jobs are taken until the volume's disk is larger";
            return Err(Problem::new(ProblemKind::LedgerFull, detail));
        }
        Ok(())
    }

    /// The reply to a request that needs no job.
    pub(super) fn reply(
        &mut self,
        route: &Route,
        caller: Option<Caller>,
    ) -> Result<Response, Problem> {
        let response = match route {
            Route::JobReceipt(job) if let Some(bill) = self.task_bill(*job, caller)? => {
                let receipts = bill.lines.iter().map(|line| self.receipt_of(line));
                let receipts = receipts.collect::<Result<Vec<_>, _>>()?;
                Response::json(200, to_json(&JobReceipts { job: *job, receipts }))
            }
            Route::JobReceipt(job) => {
                let bill = self.bill_for(*job, caller)?;
                Response::json(200, to_json(&self.receipt_of(&bill)?))
            }
            Route::ReceiptKeys => Response::json(200, to_json(self.book.receipt_keys())),
            Route::JobBill(job) if let Some(bill) = self.task_bill(*job, caller)? => {
                let mut text = String::new();
                bill.push_json(&mut text);
                Response::json(200, text.into_bytes())
            }
            Route::JobBill(job) => {
                let bill = self.bill_for(*job, caller)?;
                let corrected = self.book.corrected_micros(*job);
                let corrected_micros = corrected.map_err(|error| self.ledger_problem(&error))?;
                let mut text = String::new();
                bill.push_json_corrected(corrected_micros, &mut text);
                Response::json(200, text.into_bytes())
            }
            Route::Health if self.is_draining() => return Err(draining()),
            Route::Health => {
                let health = Health {
                    status: "ok",
                    ledger: self.book.kind(),
                    sessions_open: self.sessions(),
                    memory_bytes_promised: self.promised_bytes(),
                };
                Response::json(200, to_json(&health))
            }
            Route::Version => Response::json(200, to_json(&self.version())),
            Route::Metrics => self.metrics(),
            Route::OpenApi => Response::json(200, OPENAPI),
            Route::Problem(kind) => Response::json(
                200,
                to_json(&json!({
                    "type": format!("/problems/{}", kind.name()),
                    "status": kind.status(),
                    "title": kind.title(),
                })),
            ),
            Route::Options(allow) => Response::empty(204).with_field("Allow", allow),
            Route::Inference(call) => return self.reply_inference(*call),
            Route::Multiply | Route::Quote | Route::Change(_) | Route::Submit(_) => {
                unreachable!("these have a body")
            }
            Route::Admin(_)
            | Route::Readout(_)
            | Route::Matrices(_)
            | Route::Job(..)
            | Route::Jobs
            | Route::Drain => {
                unreachable!("these have their query as well, or change something")
            }
        };
        Ok(response)
    }

    /// The reply to a request whose small body has this text.
    pub(super) fn reply_to(
        &mut self,
        route: &Route,
        body: &[u8],
        caller: Option<Caller>,
        now: Now,
    ) -> Result<Response, Problem> {
        match route {
            Route::Quote => {
                let machine = Machine {
                    threads: self.config.threads,
                    peak: self.config.peak,
                    memory_bytes: self.config.memory_bytes,
                };
                let request: QuoteRequest = body::read(body)?;
                let caller = caller.expect("a quote needs a scope");
                let tariff = self.tariff_of(caller.account, now)?;
                let month = self.book.account(caller.account).month_at(now.unix_ns).to_date();
                let quote = Quote::new(&request, &tariff, month, machine)?;
                Ok(Response::json(200, to_json(&quote)))
            }
            Route::Change(path) => {
                self.change(path, body, caller.expect("a change needs a scope"), now)
            }
            _ => unreachable!("the others have none: see Route::takes_small_body"),
        }
    }

    /// The bill of a job of the caller.
    pub(super) fn bill_for(&mut self, job: JobId, caller: Option<Caller>) -> Result<Bill, Problem> {
        let bill = self.bill_of(job)?;
        let is_theirs = |bill: &Bill| {
            caller.is_some_and(|caller| {
                let account = self.book.account_index(&bill.charge.account);
                caller.is_admin || account == Some(caller.account)
            })
        };
        bill.filter(is_theirs).ok_or_else(|| {
            let detail = match self.book.volume() {
                Some(_) => format!("no job {job} of this account was done"),
                None => format!("{job} is not among the last {RECENT_BILLS_MAX} jobs"),
            };
            Problem::new(ProblemKind::UnknownJob, detail)
        })
    }

    fn receipt_of(&mut self, bill: &Bill) -> Result<Receipt, Problem> {
        let receipt = self.book.receipt(bill.sequence);
        receipt.map_err(|error| self.ledger_problem(&error))?.ok_or_else(|| {
            let detail = format!("the entry of {} is not kept any more", bill.charge.job);
            Problem::new(ProblemKind::UnknownJob, detail)
        })
    }

    fn version(&self) -> Version<'_> {
        let gemm::Caches { l1_bytes, l2_bytes, .. } = gemm::caches();
        Version {
            name: "gemmule",
            version: env!("CARGO_PKG_VERSION"),
            api: "v1",
            platform: self.config.platform,
            kernel: gemm::Kernel::of_this_machine().name(),
            caches: Caches { l1_bytes, l2_bytes },
            threads: self.config.threads,
            core_peak_flops_per_second: self.config.peak,
            dtypes: ["f64", "f32"],
            tariff: &self.config.tariff,
            limits: Limits {
                memory_bytes: self.config.memory_bytes,
                json_body_bytes: text_bytes_max(self.config.memory_bytes),
                dimension: DIMENSION_MAX,
                head_bytes: HEAD_BYTES_MAX,
                fields: FIELDS_MAX,
                target_bytes: TARGET_BYTES_MAX,
                inference_header_bytes: INFERENCE_HEADER_BYTES_MAX,
                inference_id_bytes: INFERENCE_ID_BYTES_MAX,
                small_body_bytes: SMALL_BODY_BYTES_MAX,
                sessions: self.config.sessions_max,
                recent_bills: RECENT_BILLS_MAX,
                readout_rows: READOUT_ROWS_MAX,
                readout_hours: READOUT_HOURS_MAX,
                readout_sums: READOUT_SUMS_MAX,
                events: EVENTS_MAX,
                jobs_running: TASKS_RUNNING_MAX,
                jobs_waiting: TASKS_WAITING_MAX,
                jobs_ended: TASKS_ENDED_MAX,
                wait_seconds: WAIT_SECONDS_MAX,
                job_operands: JOB_OPERANDS_MAX,
                expression_bytes: EXPRESSION_BYTES_MAX,
                expression_nodes: EXPRESSION_NODES_MAX,
                expression_depth: EXPRESSION_DEPTH_MAX,
                chain_length: CHAIN_LENGTH_MAX,
                exponent: EXPONENT_MAX,
                batch: BATCH_MAX,
                job_results: JOB_RESULTS_MAX,
                job_steps: JOB_STEPS_MAX,
                iterate_steps: ITERATE_STEPS_MAX,
                snapshots: SNAPSHOTS_MAX,
                operand_name_bytes: OPERAND_NAME_BYTES_MAX,
                reference_bytes: REFERENCE_NAME_BYTES_MAX,
                references: REFERENCES_MAX,
                matrices: MATRICES_MAX,
                uploads: UPLOADS_MAX,
                upload_idle_seconds: UPLOAD_IDLE_NS / SECOND_NS,
                chunk_bytes: CHUNK_BYTES_MAX,
                idempotency_key_bytes: IDEMPOTENCY_KEY_BYTES_MAX,
                job_deadline_seconds: JOB_DEADLINE_SECONDS_MAX,
                keep_seconds: KEEP_SECONDS_MAX,
                head_seconds: HEAD_TIMEOUT_NS / SECOND_NS,
                idle_seconds: IDLE_TIMEOUT_NS / SECOND_NS,
                transfer_grace_seconds: TRANSFER_GRACE_NS / SECOND_NS,
                transfer_bytes_per_second: TRANSFER_BYTES_PER_SECOND_MIN,
                drain_seconds: DRAIN_TIMEOUT_NS / SECOND_NS,
            },
        }
    }
}

/// The reply, which says so if the request was answered before.
pub(super) fn replayed_if(is_replayed: bool, response: Response) -> Response {
    if is_replayed { response.with_field("Idempotency-Replayed", "true") } else { response }
}

pub(super) fn draining() -> Problem {
    Problem::new(ProblemKind::Draining, "no more jobs are taken")
        .with_response_field("Retry-After", "5")
}

/// The reply of a finished job: its result, the bill where the format has a place for it, and the
/// bill's figures as response fields.
pub(super) fn product(written: Written, reply: &ReplyForm, bill: &Bill) -> Response {
    let mut response = match written {
        Written::Text { mut text, .. } => {
            text.extend_from_slice(end(reply, bill).as_bytes());
            Response::json(200, text)
        }
        Written::Compressed { compressed, .. } => {
            let coding = compressed.coding.name();
            Response::json(200, compressed.finish(end(reply, bill).as_bytes()))
                .with_field("Content-Encoding", coding)
        }
        Written::Binary { payload, .. } if let Some(reply) = &reply.inference => {
            let shape = Shape { m: bill.charge.m, n: bill.charge.n, k: bill.charge.k };
            let json = reply.before_bytes(shape, payload.bytes(), bill);
            let json_bytes = json.len() as u64;
            let mut body = Payload::from(json.into_bytes());
            payload.into_pieces().for_each(|piece| body.push(piece));
            let content_type = "application/octet-stream";
            Response { status: 200, content_type, fields: String::new(), body }
                .with_number(inference::reader::HEADER_FIELD, json_bytes)
        }
        Written::Binary { format, payload } => {
            let content_type = format.media_type();
            Response { status: 200, content_type, fields: String::new(), body: payload }
                .with_field("Gemmule-Shape", &format!("{}x{}", bill.charge.m, bill.charge.n))
                .with_field("Gemmule-Dtype", bill.charge.dtype.name())
        }
    };
    response.fields.reserve(FIELDS_BYTES);
    response
        .with_field_of("Gemmule-Job", |text| bill.charge.job.push_to(text))
        .with_number("Gemmule-Flops", bill.charge.flops)
        .with_number("Gemmule-Amount-Micros", bill.charge.amount_micros)
        .with_field("Gemmule-Currency", bill.charge.currency.as_str())
}

/// Room for what stands behind the matrix, and for a bill's response fields, so that each is made
/// in one piece.
const BILL_BYTES: usize = 512;
const FIELDS_BYTES: usize = 320;

/// What stands behind the matrix in a reply in JSON.
fn end(reply: &ReplyForm, bill: &Bill) -> String {
    if let Some(reply) = &reply.inference {
        return reply.behind_data(bill);
    }
    let mut end = String::with_capacity(BILL_BYTES);
    end.push_str(",\"bill\":");
    bill.push_json(&mut end);
    end.push('}');
    end
}

/// What to say to a client whose bytes are not HTTP.
pub(super) fn broken(broken: Broken) -> Problem {
    match broken {
        Broken::Body(error) => Problem::new(ProblemKind::MalformedRequest, error.0),
        Broken::Head(HeadError::Malformed(what)) => {
            Problem::new(ProblemKind::MalformedRequest, format!("in the head: {what}"))
        }
        Broken::Head(HeadError::TooLarge) => {
            let detail =
                format!("a head is at most {HEAD_BYTES_MAX} bytes and {FIELDS_MAX} fields");
            Problem::new(ProblemKind::HeadTooLarge, detail).limit(HEAD_BYTES_MAX as u64)
        }
        Broken::Head(HeadError::TargetTooLong) => {
            let detail = format!("a target is at most {TARGET_BYTES_MAX} bytes");
            Problem::new(ProblemKind::TargetTooLong, detail).limit(TARGET_BYTES_MAX as u64)
        }
        Broken::Head(HeadError::Version) => {
            Problem::new(ProblemKind::VersionNotSupported, "the request line names another version")
        }
        Broken::Head(HeadError::TransferCoding) => {
            Problem::new(ProblemKind::UnsupportedTransferCoding, "only chunked is taken")
                .at("Transfer-Encoding")
        }
        Broken::Head(HeadError::Expectation) => {
            Problem::new(ProblemKind::ExpectationFailed, "only 100-continue is taken").at("Expect")
        }
    }
}
