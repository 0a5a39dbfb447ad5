//! The end of a job that has a result: its charges and the row that says that it is done come to be
//! at one moment.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Task;
use super::clerk::usages;
use crate::billing::{Bill, JobId, Usage};
use crate::expression::{Source, StepWork};
use crate::gemm::Algorithm;
use crate::http::Response;
use crate::job::Job;
use crate::job::errand::{Errand, Progress};
use crate::ledger::entry::{Addresses, Charge};
use crate::ledger::hash::Hash;
use crate::limits::NODE_NAME_BYTES_MAX;
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::server::{Server, SessionId};
use crate::store::{MatrixNumber, Store};
use crate::task::{Ended, Failure, Record, State};
use crate::time::Now;

impl Server {
    /// A job comes back from the threads that compute.
    pub(in crate::server) fn end_task(&mut self, job: Box<Job>, now: Now) {
        let id = job.id;
        let Some(ended) = job.into_task_end() else { return };
        self.tasks.running -= 1;
        let Some(task) = self.tasks.by_id.get_mut(&id) else { return };
        task.is_running = false;
        match ended {
            // Its row says all that there is to say.
            Ended::Paused if !task.is_given_up() => {
                task.control.update(|record| record.state = State::Waiting);
            }
            Ended::Paused | Ended::Cancelled => self.send_end(id, SessionId::NOBODY, now),
            Ended::Failed(problem) => {
                task.failure = Some(Failure::from(&problem));
                self.print(format!("job={id} failed: {}: {}", problem.kind.name(), problem.detail));
                if problem.kind == ProblemKind::ArithmeticFault {
                    self.counters.checks_failed.add(1);
                }
                self.send_end(id, SessionId::NOBODY, now);
            }
            Ended::Finished => self.charge_task(id, now),
        }
        self.tell_followers(id, now);
        self.answer_waiters(id, now);
        self.tasks.forget_some();
        self.start_tasks(now);
    }

    /// Counts what checks of steps have said, and tells the console of faults.
    fn note_checks(&mut self, id: JobId, record: &Record) {
        for (step, done) in record.program.steps.iter().zip(&record.steps) {
            match done.blocks_again {
                None => {}
                Some(0) => self.counters.checks_passed.add(1),
                Some(blocks) => {
                    self.counters.checks_recomputed.add(1);
                    let step = &step.id;
                    self.print(format!(
                        "fault job={id} step={step}: {blocks} blocks were wrong, and right when \
                         computed again"
                    ));
                }
            }
        }
    }

    /// Charges for the steps, each a line, and notes the end with them.
    fn charge_task(&mut self, id: JobId, now: Now) {
        let Some(task) = self.tasks.by_id.get_mut(&id) else { return };
        task.control.update(|record| {
            record.state = State::Finished;
            record.ended_unix_ns = Some(now.unix_ns);
        });
        self.tasks.going -= 1;
        let record = task.control.record();
        let month = self.book.account(task.account).month_at(now.unix_ns).to_date();
        let mut usages = usages(&record.program, record.bytes_in);
        for (usage, step) in usages.iter_mut().zip(&record.steps) {
            usage.cached = step.is_cached;
        }
        let amounts = task.tariff.task_amounts_micros(&usages, month);
        let charges = (0..record.steps.len())
            .map(|step| charge(id, &record, step, task, (usages[step], amounts[step])));
        let charges: Vec<Arc<Charge>> = charges.collect();
        let (amount, flops) = charges.iter().fold((0_u64, 0_u64), |(amount, flops), charge| {
            (amount + charge.amount_micros, flops.saturating_add(charge.flops))
        });
        for (charge, usage) in charges.iter().zip(&usages) {
            self.counters.billed(usage, charge.amount_micros);
        }
        self.note_checks(id, &record);
        let Some(task) = self.tasks.by_id.get_mut(&id) else { return };
        let (account, allowance) = (task.account, task.allowance.take());
        let row = task.control.row();
        self.post_hold(account, allowance, amount, flops);
        let recorded = self.book.record_task(now.unix_ns, charges.clone(), row);
        for (sequence, charge) in recorded.sequences.zip(charges) {
            let (issued_unix_ns, ledger) = (now.unix_ns, self.book.kind());
            self.waiting.bills.push_back(Bill { sequence, issued_unix_ns, charge, ledger });
        }
        // Its results are the account's from now on.
        let bytes = self.store.bytes_of(&record.account);
        self.charge_stored(&record.account, bytes, now);
        self.note_stored(now);
        let until = self.book.sequence();
        if let Some(task) = self.tasks.by_id.get_mut(&id) {
            task.told_from = until;
        }
        let spent: Vec<_> = record.stored_inputs().collect();
        if !spent.is_empty() {
            self.tasks.spent.push((until, account, spent));
        }
        self.tasks.has_news = true;
        self.announce();
        self.release_spent(now);
    }

    /// Removes what came with jobs whose end is durable.
    pub(in crate::server) fn release_spent(&mut self, now: Now) {
        let durable_until = self.book.durable_until();
        let spent = self.tasks.spent.extract_if(.., |(until, ..)| *until <= durable_until);
        let spent: Vec<_> = spent.collect();
        for (_, account, numbers) in spent {
            let store = self.store.clone();
            let promise = self.memory.promise(0).expect("nothing is always there");
            let release = Box::new(Release { store, numbers });
            self.send_errand(SessionId::NOBODY, account, release, promise, now);
        }
    }
}

/// The entry of one step.
fn charge(
    id: JobId,
    record: &Record,
    step: usize,
    task: &Task,
    (usage, amount_micros): (Usage, u64),
) -> Arc<Charge> {
    let (work, done) = (&record.program.steps[step], &record.steps[step]);
    let result = done.id.map_or(Hash::ZERO, |id| id.0);
    let operands = operand_hashes(record, step);
    let is_fewer = done.executed_flops < usage.flops && !done.is_cached;
    let whose = (record.account.clone(), id.of_step(Some(step)));
    Arc::new(Charge {
        kernel: done.kernel.clone(),
        elapsed_us: done.elapsed_us,
        task: Some(id),
        node: Some(node_name(&work.id).into()),
        algorithm: match work.work {
            StepWork::Gemm { algorithm, .. } if algorithm != Algorithm::Classical => {
                Some(algorithm.name().into())
            }
            _ => None,
        },
        executed_flops: is_fewer.then_some(done.executed_flops),
        addresses: Some(Box::new(Addresses { operands, result })),
        ..Charge::of_usage(whose, &usage, &task.tariff, amount_micros)
    })
}

/// As much of a step's name as a charge has room for.
fn node_name(name: &str) -> &str {
    let end = name.floor_char_boundary(NODE_NAME_BYTES_MAX);
    &name[..end]
}

/// The addresses of what a step has read.
fn operand_hashes(record: &Record, step: usize) -> Vec<Hash> {
    let id = |source: &Source| match source {
        Source::Step(index) => record.steps[*index].id,
        Source::Input(index) => record.input_ids[*index],
    };
    let operands = record.program.steps[step].operands.iter();
    operands.map(|source| id(source).map_or(Hash::ZERO, |id| id.0)).collect()
}

/// Removes what came with a job.
#[derive(Debug)]
struct Release {
    store: Arc<Store>,
    numbers: Vec<MatrixNumber>,
}

impl Errand for Release {
    fn advance(self: Box<Self>, _: &mut Promise, _: &dyn Fn() -> bool) -> Progress {
        let released = self.numbers.iter().try_for_each(|number| self.store.release(*number));
        // What stays is removed when the volume is opened again.
        Progress::Done(released.map(|()| Response::empty(204)).map_err(Problem::from))
    }
}
