//! Randomness that nobody can guess: from a virtio entropy device, the processor, or both.
//!
//! The time of the boot is not a source: whoever started the machine knows it.

use std::time::{Duration, Instant};

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::DeviceType;
use x86_64::instructions::random::RdRand;

use super::bus::{Bus, Device};
use super::fault::Fault;
use super::memory::{DmaBuffer, Machine};

/// Bytes of a seed, for a 256-bit generator.
pub const SEED_BYTES: usize = 32;
/// The host may have to gather entropy first, but not for longer than this.
const DEVICE_TIMEOUT: Duration = Duration::from_secs(2);

/// A seed from every source there is: with several, knowing one of them tells nothing.
pub fn seed(bus: &mut Bus) -> Result<[u8; SEED_BYTES], Fault> {
    let from_device = match bus.take(DeviceType::EntropySource) {
        Some(device) => match device.and_then(read_device) {
            Ok(bytes) => Some(bytes),
            Err(fault) => {
                println!("gemmule: entropy device: {fault}");
                None
            }
        },
        None => None,
    };
    match (from_device, read_processor()) {
        (Some(mut bytes), Some(others)) => {
            bytes.iter_mut().zip(others).for_each(|(byte, other)| *byte ^= other);
            Ok(bytes)
        }
        (Some(bytes), None) | (None, Some(bytes)) => Ok(bytes),
        (None, None) => Err(Fault::NoEntropy),
    }
}

/// A seed from the processor alone, where it has a generator that works.
pub fn read_processor() -> Option<[u8; SEED_BYTES]> {
    /// Intel's advice: ten failures in a row mean that the generator is broken.
    const ATTEMPTS: usize = 10;
    let generator = RdRand::new()?;
    let mut bytes = [0; SEED_BYTES];
    for word in bytes.chunks_exact_mut(8) {
        let value = (0..ATTEMPTS).find_map(|_| generator.get_u64())?;
        word.copy_from_slice(&value.to_ne_bytes());
    }
    // Some processors' generators fail by repeating one value, all ones, and call it success.
    let first = &bytes[..8];
    if bytes.chunks_exact(8).all(|word| word == first) { None } else { Some(bytes) }
}

const QUEUE: u16 = 0;
const QUEUE_ENTRIES: usize = 8;

fn read_device(mut device: Device) -> Result<[u8; SEED_BYTES], Fault> {
    device.negotiate(0)?;
    let mut queue: VirtQueue<Machine, QUEUE_ENTRIES> = device.queue(QUEUE)?;
    queue.set_dev_notify(false);
    let mut buffer = DmaBuffer::new(SEED_BYTES)?;
    device.start();
    let answer = fill(&mut device, &mut queue, &mut buffer);
    // Resets the device, which may still hold the buffer when it didn't answer.
    drop(device);
    answer
}

/// A device may give fewer bytes than asked for, so it is asked until the seed is full.
fn fill(
    device: &mut Device,
    queue: &mut VirtQueue<Machine, QUEUE_ENTRIES>,
    buffer: &mut DmaBuffer,
) -> Result<[u8; SEED_BYTES], Fault> {
    let broken = |_| Fault::Ring { index: QUEUE };
    let deadline = Instant::now() + DEVICE_TIMEOUT;
    let mut seed = Vec::with_capacity(SEED_BYTES);
    while seed.len() < SEED_BYTES {
        // SAFETY: the buffer isn't touched until `pop_used`, and outlives the device.
        let token = unsafe { queue.add(&[], &mut [buffer.bytes_mut()]) }.map_err(broken)?;
        device.notify(QUEUE, queue);
        while !queue.can_pop() {
            if Instant::now() > deadline {
                return Err(Fault::Silent);
            }
            std::hint::spin_loop();
        }
        // SAFETY: the same buffer was added under this token.
        let written = unsafe { queue.pop_used(token, &[], &mut [buffer.bytes_mut()]) };
        let written = written.map_err(broken)? as usize;
        let bytes = buffer.bytes().get(..written).ok_or(Fault::Ring { index: QUEUE })?;
        if bytes.is_empty() {
            return Err(Fault::Silent);
        }
        seed.extend(bytes.iter().take(SEED_BYTES - seed.len()));
    }
    seed.try_into().map_err(|_| Fault::Silent)
}
