//! The text of a request on its way to be a job.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Taken;
use super::clerk::{Clerk, Wishes};
use crate::base64;
use crate::expression::{self, JobRequest, OperandContent};
use crate::job::errand::{Errand, Progress};
use crate::ledger::AccountId;
use crate::ledger::hash::Hash;
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::store::{Layout, MatrixId, Store};
use crate::task::InputRecord;

#[derive(Debug)]
pub(super) struct Submission {
    pub clerk: Clerk,
    pub text: Vec<u8>,
    /// Of the text.
    pub fingerprint: Hash,
}

/// Operands of a request that were found.
#[derive(Debug)]
struct Found {
    layouts: Vec<Layout>,
    inputs: Vec<(InputRecord, Option<MatrixId>)>,
}

impl Errand for Submission {
    fn advance(self: Box<Self>, _: &mut Promise, _: &dyn Fn() -> bool) -> Progress {
        match self.take() {
            Ok(taken) => Progress::Taken(Box::new(taken)),
            Err(problem) => Progress::Done(Err(problem)),
        }
    }
}

impl Submission {
    fn take(self) -> Result<Taken, Problem> {
        let Self { mut clerk, text, fingerprint } = self;
        let request = JobRequest::parse(&text)?;
        let Found { layouts, inputs } = operands(&request, &clerk.desk.account, &clerk.desk.store)?;
        let program = expression::plan(&request, &layouts)?;
        let quote = clerk.admit(&program, request.memory_bytes, 0)?;
        // Those that no result needs are not the program's.
        let inputs = program.inputs.iter().map(|input| {
            let at = request.operands.iter().position(|operand| operand.name == input.name);
            inputs[at.expect("an input is an operand")].clone()
        });
        let inputs = inputs.collect();
        let references = program.results.iter().map(|result| request.reference_of(&result.name));
        let wishes = Wishes {
            priority: request.priority,
            deadline_seconds: request.deadline_seconds,
            keep_seconds: request.keep_seconds,
            references: references.collect(),
        };
        let job = clerk.id;
        let task = clerk.take(program, inputs, wishes, quote.memory_bytes, fingerprint)?;
        Ok(Taken { job, task: Some(Box::new(task)), form: None })
    }
}

/// Finds the operands among what the account keeps.
fn operands(request: &JobRequest, account: &AccountId, store: &Store) -> Result<Found, Problem> {
    let mut found = Found { layouts: Vec::new(), inputs: Vec::new() };
    for operand in &request.operands {
        let place = || format!("/operands/{}", operand.name);
        let id = match &operand.content {
            OperandContent::Inline(inline) => {
                let mut text = String::new();
                base64::push(&mut text, inline.bytes());
                found.layouts.push(inline.layout());
                found.inputs.push((InputRecord::Inline(text), None));
                continue;
            }
            OperandContent::Matrix(id) => *id,
            OperandContent::Reference(name) => store.reference(account, name).ok_or_else(|| {
                let detail = format!("the account calls no matrix {name}");
                Problem::new(ProblemKind::UnknownReference, detail).at(place())
            })?,
        };
        let stored = store.find(account, id).ok_or_else(|| {
            let detail = format!("the account keeps no matrix {id}");
            Problem::new(ProblemKind::UnknownMatrix, detail).at(place())
        })?;
        found.layouts.push(stored.layout());
        found.inputs.push((InputRecord::Stored(stored.number()), Some(id)));
    }
    Ok(found)
}
