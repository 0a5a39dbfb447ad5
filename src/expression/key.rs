//! What a result is kept under, to be found by whoever asks for it again.

use alloc::format;
use alloc::vec::Vec;
use core::mem;

use super::program::{Step, StepWork};
use crate::api::to_json;
use crate::ledger::hash::Hash;
use crate::store::MatrixId;

/// The SHA-256 that stands for what a step computes: the same for steps that give the same result
/// to the bit, of operands with these addresses, by the kernel of this name.
pub fn operation_key(step: &Step, operands: &[MatrixId], kernel: &str) -> Hash {
    let mut work = step.work.clone();
    let mut operands: Vec<&MatrixId> = operands.iter().collect();
    // A sum is the same whichever way round it is written.
    if let (StepWork::Add { alpha, beta }, [x, y]) = (&mut work, &mut operands[..])
        && (*y, beta.to_bits()) < (*x, alpha.to_bits())
    {
        mem::swap(alpha, beta);
        mem::swap(x, y);
    }
    let mut text = format!("gemmule operation 1\n{kernel}\n").into_bytes();
    text.append(&mut to_json(&work));
    text.extend(operands.iter().flat_map(|address| format!("\n{address}").into_bytes()));
    Hash::of(&text)
}
