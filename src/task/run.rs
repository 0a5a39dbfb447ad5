//! Computes the steps of a job, one after the other.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::record::{InputRecord, ResultRecord, StepRecord};
use super::{Control, Order};
use crate::base64;
use crate::expression::{Program, Source, operation_key};
use crate::gemm::{Crew, Kernel};
use crate::large::{Resources, Rules, StepError, StepRun};
use crate::ledger::AccountId;
use crate::ledger::hash::Hash;
use crate::problem::{Problem, ProblemKind};
use crate::store::{AddressHasher, Draft, Keep, Purpose, Store, StoreError, Stored};
use crate::time::{Now, SECOND_NS};

/// How a job came back from the threads that compute.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All results are there, and are the account's.
    Finished,
    /// It is to go on another time.
    Paused,
    Cancelled,
    Failed(Problem),
}

/// A job on its way through its steps.
#[derive(Debug)]
pub(crate) struct TaskRun {
    control: Arc<Control>,
    store: Arc<Store>,
    resources: Resources,
    account: AccountId,
    program: Program,
    inputs: Vec<Option<Arc<Stored>>>,
    outputs: Vec<Option<Arc<Stored>>>,
    /// Steps whose results are still needed and not there.
    is_due: Vec<bool>,
    current: Option<Box<Current>>,
    /// Nanoseconds of Unix time at zero of the monotonic clock.
    unix_base_ns: u64,
    now_ns: u64,
}

/// The step that is computed.
#[derive(Debug)]
struct Current {
    step: usize,
    run: StepRun,
    draft: Arc<Draft>,
    /// What it is, for whoever asks again.
    key: Hash,
    since_ns: u64,
}

impl TaskRun {
    /// Goes on where `control` says that it has come to.
    pub fn new(
        control: Arc<Control>,
        store: Arc<Store>,
        resources: Resources,
        now: Now,
    ) -> Box<Self> {
        let record = control.record();
        let program = record.program.clone();
        let inputs = record.inputs.iter().map(|input| match input {
            InputRecord::Stored(number) => store.by_number(*number),
            InputRecord::Inline(_) => None,
        });
        let inputs = inputs.collect();
        let outputs = (0..program.steps.len()).map(|step| {
            let number = record.steps.get(step).filter(|step| step.id.is_some())?.output;
            store.by_number(number)
        });
        let outputs: Vec<_> = outputs.collect();
        let is_due = due(&program, &outputs);
        Box::new(Self {
            account: record.account,
            control,
            store,
            resources,
            program,
            inputs,
            outputs,
            is_due,
            current: None,
            unix_base_ns: now.unix_ns.saturating_sub(now.monotonic_ns),
            now_ns: now.monotonic_ns,
        })
    }

    /// Tells it the time, on the monotonic clock.
    pub fn note_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Goes on until `pause` says so, or until the end of a step; how it ended, once it has.
    pub fn advance(&mut self, crew: &dyn Crew, pause: &(dyn Fn() -> bool + Sync)) -> Option<Ended> {
        let control = self.control.clone();
        let pause = &|| control.ordered() != Order::GoOn || pause();
        let ended = match control.ordered() {
            Order::Pause => Ended::Paused,
            Order::Cancel => Ended::Cancelled,
            Order::GoOn => match self.go_on(crew, pause) {
                Ok(false) => return None,
                Ok(true) => Ended::Finished,
                Err(problem) => Ended::Failed(problem),
            },
        };
        // Operands that are part of its row are made again when it goes on.
        for (input, stored) in self.inputs.iter().enumerate() {
            if let Some(stored) = stored.as_ref().filter(|_| self.is_inline(input))
                && let Err(error) = self.store.remove(stored)
            {
                return Some(Ended::Failed(error.into()));
            }
        }
        Some(ended)
    }

    fn is_inline(&self, input: usize) -> bool {
        self.control.with(|record| matches!(record.inputs[input], InputRecord::Inline(_)))
    }

    fn go_on(
        &mut self,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, Problem> {
        let Some(mut current) = self.current.take() else { return self.begin_next() };
        let before = self.control.with(|record| record.flops_of_done_steps());
        // Nobody may want the threads for hours, and is told how far it is nevertheless.
        let is_done = loop {
            let is_done = current.run.step(crew, pause).map_err(step_problem)?;
            self.control.note_flops(before.saturating_add(current.run.flops_done()));
            if is_done || pause() {
                break is_done;
            }
        };
        if is_done {
            self.end_step(*current)?;
        } else {
            self.current = Some(current);
        }
        Ok(false)
    }

    /// Begins what comes next: an operand that came with the request, a step, or the end, which
    /// returns true.
    fn begin_next(&mut self) -> Result<bool, Problem> {
        let missing = |input: &usize| self.inputs[*input].is_none() && self.is_needed(*input);
        if let Some(input) = (0..self.inputs.len()).find(missing) {
            let stored = self.input(input)?;
            self.control.update(|record| record.input_ids[input] = Some(stored.id()));
            self.inputs[input] = Some(stored);
            return Ok(false);
        }
        match self.is_due.iter().position(|is_due| *is_due) {
            Some(step) => self.begin_step(step).map(|()| false),
            None => self.publish().map(|()| true),
        }
    }

    /// Whether something is still to be made of an operand.
    fn is_needed(&self, input: usize) -> bool {
        let source = Source::Input(input);
        let mut steps = self.program.steps.iter().zip(&self.is_due);
        self.program.is_result(source)
            || steps.any(|(step, is_due)| *is_due && step.operands.contains(&source))
    }

    /// Makes a matrix of an operand that is part of the job's row.
    fn input(&self, input: usize) -> Result<Arc<Stored>, Problem> {
        let gone = || {
            let name = &self.program.inputs[input].name;
            let detail = format!("the matrix {name} was removed while the job waited");
            Problem::new(ProblemKind::UnknownMatrix, detail).at(format!("/operands/{name}"))
        };
        let text = self.control.with(|record| match &record.inputs[input] {
            InputRecord::Inline(text) => Some(text.clone()),
            InputRecord::Stored(_) => None,
        });
        let bytes = text.and_then(|text| base64::decode(&text)).ok_or_else(gone)?;
        let layout = self.program.inputs[input].layout;
        if bytes.len() as u64 != layout.bytes() {
            return Err(gone());
        }
        let now = self.now_unix_ns();
        let draft = self.store.begin(layout, Purpose::Operand, &self.account, now)?;
        let mut hasher = AddressHasher::new(&layout);
        hasher.update(&bytes);
        let mut writer = draft.clone().rows_writer();
        writer.push(&bytes)?;
        draft.commit()?;
        Ok(self.store.finish(&draft, hasher.finish(), Keep::default(), now)?)
    }

    fn begin_step(&mut self, step: usize) -> Result<(), Problem> {
        let operands = self.program.steps[step].operands.iter().map(|source| {
            self.matrix(*source).expect("steps are in an order in which operands come first")
        });
        let operands: Vec<Arc<Stored>> = operands.collect();
        let ids: Vec<_> = operands.iter().map(|operand| operand.id()).collect();
        let kernel = Kernel::of_this_machine().name();
        // The last bits of a product depend on the parts that it is computed in, and so on the
        // memory.
        let Resources { memory_bytes, rules, .. } = self.resources;
        let how = match rules {
            Rules::First => format!("{kernel} {memory_bytes}"),
            _ => format!("{kernel} {memory_bytes} {rules:?}"),
        };
        let key = operation_key(&self.program.steps[step], &ids, &how);
        if let Some(known) = self.store.recall(&self.account, key) {
            return self.take_known(step, known);
        }
        if let Some(there) = self.finished_before(step) {
            let id = Some(there.id());
            let done =
                StepRecord { id, kernel: kernel.into(), ..StepRecord::begun(there.number()) };
            self.outputs[step] = Some(there);
            return self.note_step(step, done);
        }
        let draft = self.draft_of(step)?;
        let work = &self.program.steps[step];
        let run =
            StepRun::new((&work.work).into(), operands, draft.clone(), self.resources.clone());
        let run = run.map_err(step_problem)?;
        self.current = Some(Box::new(Current { step, run, draft, key, since_ns: self.now_ns }));
        Ok(())
    }

    /// Takes what an earlier job has made for the result of a step.
    fn take_known(&mut self, step: usize, known: Arc<Stored>) -> Result<(), Problem> {
        let begun = StepRecord {
            id: Some(known.id()),
            is_cached: true,
            kernel: Kernel::of_this_machine().name().into(),
            ..StepRecord::begun(known.number())
        };
        self.outputs[step] = Some(known);
        self.note_step(step, begun)
    }

    /// The result of a step that was finished just before the machine ended, so that nothing tells
    /// of that but the matrix.
    fn finished_before(&self, step: usize) -> Option<Arc<Stored>> {
        let begun = self.control.with(|record| record.steps.get(step).map(|step| step.output))?;
        self.store.by_number(begun)
    }

    /// Where the result of a step is written, of which parts may be there.
    fn draft_of(&self, step: usize) -> Result<Arc<Draft>, Problem> {
        let begun = self.control.with(|record| record.steps.get(step).map(|step| step.output));
        if let Some(draft) = begun.and_then(|number| self.store.draft(number)) {
            return Ok(draft);
        }
        let layout = self.program.steps[step].layout;
        let now = self.now_unix_ns();
        let draft = self.store.begin(layout, Purpose::Result, &self.account, now)?;
        self.control.update(|record| {
            let begun = StepRecord::begun(draft.number());
            match record.steps.get_mut(step) {
                // It was there, and is not any more.
                Some(there) => *there = begun,
                None => record.steps.push(begun),
            }
        });
        self.store.commit(&self.control.row())?;
        Ok(draft)
    }

    fn end_step(&mut self, current: Current) -> Result<(), Problem> {
        let Current { step, run, draft, key, since_ns } = current;
        let (id, counts) = (run.id().expect("it is done"), run.counts());
        let now = self.now_unix_ns();
        let stored = self.store.finish(&draft, id, Keep::default(), now)?;
        let flops = self.program.steps[step].flops;
        // What is kept in memory would take that of requests.
        if self.store.is_durable() && flops > stored.layout().bytes() {
            self.store.remember(&stored, key, flops)?;
        }
        let done = StepRecord {
            id: Some(id),
            executed_flops: counts.executed_flops,
            kernel: Kernel::of_this_machine().name().into(),
            elapsed_us: self.now_ns.saturating_sub(since_ns) / 1_000,
            bytes_read: counts.bytes_read,
            bytes_written: counts.bytes_written,
            blocks_again: counts.blocks_again,
            ..StepRecord::begun(stored.number())
        };
        self.outputs[step] = Some(stored);
        self.note_step(step, done)
    }

    /// A step is done: what it was the last to read is let go.
    fn note_step(&mut self, step: usize, done: StepRecord) -> Result<(), Problem> {
        self.is_due[step] = false;
        self.control.update(|record| match record.steps.get_mut(step) {
            Some(there) => *there = done,
            None => record.steps.push(done),
        });
        self.store.commit(&self.control.row())?;
        let flops = self.control.with(|record| record.flops_of_done_steps());
        self.control.note_flops(flops);
        for source in self.program.released_after(step) {
            match source {
                Source::Input(index) => {
                    let is_inline = self.is_inline(index);
                    let stored = self.inputs[index].take();
                    // Others can't be made again, should the results of steps be gone when it goes
                    // on.
                    if let Some(stored) = stored.filter(|_| is_inline) {
                        self.store.remove(&stored)?;
                    }
                }
                Source::Step(index) => {
                    if let Some(stored) = self.outputs[index].take() {
                        self.let_go(&stored)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the result of a step, which was made for this job alone.
    fn let_go(&self, stored: &Stored) -> Result<(), StoreError> {
        match stored.purpose() {
            Purpose::Result => self.store.remove(stored),
            Purpose::Operand | Purpose::Upload | Purpose::Cache => Ok(()),
        }
    }

    /// Makes the results the account's.
    fn publish(&mut self) -> Result<(), Problem> {
        let now = self.now_unix_ns();
        let (keep_seconds, references) =
            self.control.with(|record| (record.keep_seconds, record.references.clone()));
        let until_unix_ns = now.checked_add(keep_seconds.saturating_mul(SECOND_NS));
        let keep = Keep { until_unix_ns, is_pinned: false };
        let mut results = vec![];
        for (at, result) in self.program.results.iter().enumerate() {
            let made = self.matrix(result.source).expect("all steps are done");
            let is_own =
                matches!(result.source, Source::Input(_)) && made.purpose() == Purpose::Upload;
            let stored = if is_own { made } else { self.store.publish(&made, keep)? };
            if let Some(reference) = references.get(at).and_then(Option::as_deref) {
                self.store.refer(&self.account, reference, Some(stored.id()))?;
            }
            results.push(ResultRecord { name: result.name.to_string(), matrix: stored.id() });
        }
        for stored in self.outputs.iter().flatten() {
            self.let_go(stored)?;
        }
        self.control.update(|record| record.results = results);
        Ok(())
    }

    fn matrix(&self, source: Source) -> Option<Arc<Stored>> {
        match source {
            Source::Input(index) => self.inputs[index].clone(),
            Source::Step(index) => self.outputs[index].clone(),
        }
    }

    fn now_unix_ns(&self) -> u64 {
        self.unix_base_ns.saturating_add(self.now_ns)
    }
}

/// The steps that are still to be computed, for results that are not there: those included that
/// were done, and whose results went since their room was needed.
fn due(program: &Program, outputs: &[Option<Arc<Stored>>]) -> Vec<bool> {
    let mut is_due = vec![false; program.steps.len()];
    let mut wanted: Vec<Source> = program.results.iter().map(|result| result.source).collect();
    while let Some(source) = wanted.pop() {
        let Source::Step(step) = source else { continue };
        if outputs[step].is_none() && !is_due[step] {
            is_due[step] = true;
            wanted.extend(&program.steps[step].operands);
        }
    }
    is_due
}

pub(crate) fn step_problem(error: StepError) -> Problem {
    match error {
        StepError::Store(error) => error.into(),
        StepError::TooSmall { needed_bytes } => {
            let detail = format!("a step needs {needed_bytes} bytes of memory");
            Problem::new(ProblemKind::MemoryExceeded, detail).at("/memory_bytes")
        }
        StepError::Wrong { .. } => Problem::new(ProblemKind::ArithmeticFault, error.to_string()),
        StepError::Memory => Problem::new(ProblemKind::Overloaded, error.to_string())
            .with_response_field("Retry-After", "1"),
    }
}
