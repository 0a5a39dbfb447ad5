//! What a job that goes on by itself has to pass before it is taken, and its row.
//!
//! Nothing here needs the server, so that it can be done where the disk may be waited for.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use super::Task;
use crate::billing::{Currency, JobId, Tariff, Usage};
use crate::expression::Program;
use crate::gemm::Peak;
use crate::large::{Rules, Work};
use crate::ledger::hash::Hash;
use crate::limits::JOB_KEEP_SECONDS_DEFAULT;
use crate::memory::{MemoryBudget, Shortage};
use crate::problem::{Problem, ProblemKind};
use crate::server::matrices::Desk;
use crate::server::payer::Payer;
use crate::store::{MatrixId, MatrixNumber, Store};
use crate::task::{Control, InputRecord, Record, State};
use crate::time::SECOND_NS;

/// What a job comes to, before it is done.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct TaskQuote {
    pub flops: u64,
    /// Operations that the order chosen for chains of products saves.
    pub saved_flops: u64,
    /// The most that it costs.
    pub amount_micros_max: u64,
    pub currency: Currency,
    pub memory_bytes: usize,
    /// Bytes of the disk that it takes at once for intermediate results, and for results.
    pub storage_bytes: u64,
    /// At the speed that this machine was measured to have, with nothing else to do.
    pub compute_seconds: f64,
}

/// How fast the machine is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    pub peak: Peak,
    pub threads: usize,
}

/// What is asked for besides what is to be computed.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    pub priority: u8,
    pub deadline_seconds: Option<u64>,
    pub keep_seconds: Option<u64>,
    /// By the program's results.
    pub references: Vec<Option<String>>,
}

/// Takes one job, or doesn't.
#[derive(Debug)]
pub(super) struct Clerk {
    pub id: JobId,
    pub desk: Desk,
    pub memory: MemoryBudget,
    pub speed: Speed,
    pub payer: Payer,
    /// Bytes of the request.
    pub bytes_in: u64,
}

impl Clerk {
    /// Checks that the machine and the account have what the job will need, of which so many bytes
    /// of operands are still to be stored, and holds what it may cost: what it comes to.
    ///
    /// # Errors
    ///
    /// What there is too little of.
    pub fn admit(
        &mut self,
        program: &Program,
        memory_bytes_asked: Option<u64>,
        operands_bytes: u64,
    ) -> Result<TaskQuote, Problem> {
        let memory_bytes = memory_for(program, memory_bytes_asked, &self.memory)?;
        let tariff = &self.payer.tariff;
        let quote = TaskQuote::of(program, tariff, (self.bytes_in, memory_bytes), self.speed);
        let free_bytes = self.desk.store.free_bytes();
        let storage_bytes = quote.storage_bytes.saturating_add(operands_bytes);
        if storage_bytes > free_bytes {
            let detail = format!("its matrices take {storage_bytes} bytes at once");
            return Err(Problem::new(ProblemKind::StorageFull, detail).limit(free_bytes));
        }
        self.desk.check_quota(program.result_bytes().saturating_add(operands_bytes))?;
        if let Some(allowance) = &mut self.payer.allowance {
            allowance.hold(quote.amount_micros_max, quote.flops)?;
        }
        Ok(quote)
    }

    /// Writes down a job that was admitted, and that a retry is to be known by its fingerprint:
    /// from now on it outlasts a power cut, and its operands stay until it has ended.
    ///
    /// # Errors
    ///
    /// That it could not be written, or that an operand has gone meanwhile.
    pub fn take(
        self,
        program: Program,
        inputs: Vec<(InputRecord, Option<MatrixId>)>,
        wishes: Wishes,
        memory_bytes: usize,
        fingerprint: Hash,
    ) -> Result<Task, Problem> {
        let Self { id, desk, payer, bytes_in, .. } = self;
        let now_unix_ns = desk.now_unix_ns;
        let after = |seconds: u64| now_unix_ns.saturating_add(seconds.saturating_mul(SECOND_NS));
        let (inputs, input_ids): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
        let record = Record {
            account: desk.account,
            state: State::Waiting,
            inputs,
            input_ids,
            references: wishes.references,
            steps: Vec::new(),
            results: Vec::new(),
            memory_bytes,
            rules: Rules::LATEST,
            priority: wishes.priority,
            keep_seconds: wishes.keep_seconds.unwrap_or(JOB_KEEP_SECONDS_DEFAULT),
            tariff: String::from(&*payer.tariff.name).into(),
            tariff_version: payer.tariff.version,
            bytes_in,
            submitted_unix_ns: now_unix_ns,
            started_unix_ns: None,
            ended_unix_ns: None,
            deadline_unix_ns: wishes.deadline_seconds.map(after),
            idempotency: payer.idempotency(Some(fingerprint)),
            failure: None,
            program,
        };
        need_operands(&desk.store, &record)?;
        let operands: Vec<MatrixNumber> = record.stored_inputs().collect();
        let control = Control::new(id, record);
        if let Err(error) = desk.store.commit(&control.row()) {
            release(&desk.store, &operands);
            return Err(error.into());
        }
        Ok(Task::new(control, payer))
    }
}

/// Sees to it that the operands of a job stay until it has ended.
fn need_operands(store: &Store, record: &Record) -> Result<(), Problem> {
    let mut needed = Vec::new();
    for (input, operand) in record.inputs.iter().zip(&record.program.inputs) {
        let InputRecord::Stored(number) = input else { continue };
        if !store.need(*number) {
            release(store, &needed);
            let detail = format!("the matrix {} was removed just now", operand.name);
            return Err(Problem::new(ProblemKind::UnknownMatrix, detail)
                .at(format!("/operands/{}", operand.name)));
        }
        needed.push(*number);
    }
    Ok(())
}

fn release(store: &Store, operands: &[MatrixNumber]) {
    for number in operands {
        // What can't be removed now is when the volume is opened again.
        let _ = store.release(*number);
    }
}

impl TaskQuote {
    /// Of a request of `bytes_in` bytes for a job that is to hold `memory_bytes`.
    pub fn of(
        program: &Program,
        tariff: &Tariff,
        (bytes_in, memory_bytes): (u64, usize),
        speed: Speed,
    ) -> Self {
        let results_bytes = program.result_bytes();
        Self {
            flops: program.flops(),
            saved_flops: program.saved_flops,
            amount_micros_max: tariff.task_amount_micros_max(&usages(program, bytes_in)),
            currency: tariff.currency,
            memory_bytes,
            storage_bytes: program.peak_intermediate_bytes().saturating_add(results_bytes),
            compute_seconds: speed.compute_seconds(program),
        }
    }
}

impl Speed {
    fn compute_seconds(self, program: &Program) -> f64 {
        let seconds = program.steps.iter().map(|step| {
            let rate = self.peak.of(step.layout.dtype) as f64 * self.threads as f64;
            if rate > 0.0 { step.flops as f64 / rate } else { 0.0 }
        });
        seconds.sum()
    }
}

/// The memory that a job is to hold while it runs: as much as is of use, but no more than half of
/// what there is, or than was asked for.
fn memory_for(
    program: &Program,
    asked: Option<u64>,
    memory: &MemoryBudget,
) -> Result<usize, Problem> {
    let total_bytes = memory.total_bytes();
    let bounds = program.steps.iter().map(|step| {
        let layouts: Vec<_> =
            step.operands.iter().map(|source| program.layout_of(*source)).collect();
        Work::from(&step.work).memory_bytes(&layouts, step.layout, Rules::LATEST)
    });
    let (least, most) = bounds.fold((0, 0), |(least, most), (step_least, step_most)| {
        (step_least.max(least), step_most.max(most))
    });
    let wanted = match asked {
        Some(asked) => usize::try_from(asked).unwrap_or(usize::MAX).min(total_bytes),
        None => (total_bytes / 2).max(least),
    };
    if least > wanted {
        let detail = format!("a step of the job needs at least {least} bytes of memory");
        return Err(Problem::new(ProblemKind::MemoryExceeded, detail)
            .at("/memory_bytes")
            .limit(wanted as u64));
    }
    let memory_bytes = most.clamp(least, wanted);
    match memory.promise(memory_bytes) {
        Err(Shortage::Never { total_bytes }) => {
            let detail = format!("the job needs {memory_bytes} bytes of memory");
            Err(Problem::new(ProblemKind::MemoryExceeded, detail).limit(total_bytes as u64))
        }
        // It may have to wait for what is held now.
        _ => Ok(memory_bytes),
    }
}

/// What the steps are billed for; the request's bytes are the first one's.
pub(super) fn usages(program: &Program, bytes_in: u64) -> Vec<Usage> {
    let steps = program.steps.iter().enumerate();
    let usages = steps.map(|(index, step)| Usage {
        dtype: step.layout.dtype,
        shape: program.shape_of(index),
        flops: step.flops,
        bytes_in: if index == 0 { bytes_in } else { 0 },
        bytes_out: 0,
        cached: false,
    });
    usages.collect()
}
