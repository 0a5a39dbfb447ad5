//! How much memory connections get.
//!
//! Most connections wait for a request, or for a small reply to be taken; a few move matrices. So
//! every connection has two small buffers of its own, and those that move much are lent large ones
//! for as long as they do.

use smoltcp::socket::tcp::SocketBuffer;

const KIB: usize = 1024;

/// Of the heap, the part for connections' buffers: one in this many bytes. The rest is for bodies
/// and products, which a client can't send faster than its buffer empties anyway.
const HEAP_SHARE: usize = 6;
/// A connection's own buffer for what it receives: ten full segments, which is what a client sends
/// before it hears from us (RFC 6928), and any request head.
const RECEIVE_BYTES: usize = 16 * KIB;
/// A connection's own buffer for what it sends: the reply of a small job.
const SEND_BYTES: usize = 8 * KIB;
const CONNECTION_BYTES: usize = RECEIVE_BYTES + SEND_BYTES;
/// Connections' own buffers get at most this part of it all, as a numerator and a denominator.
const CONNECTIONS_SHARE: (usize, usize) = (2, 3);
/// So many large buffers there should be; they are smaller where memory is short.
const LARGE_WANTED: usize = 32;
const LARGE_BYTES_MIN: usize = 32 * KIB;
/// Measured on one machine: uploads are a third faster with 256 KiB than with 64, and no faster
/// beyond. More is for peers that are far away: 100 MB/s at a round trip of 10 ms.
const LARGE_BYTES_MAX: usize = 1024 * KIB;

/// How many connections there may be, and what is lent to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferPlan {
    /// Connections open at once.
    pub connections_max: usize,
    /// Bytes of a large buffer.
    pub large_bytes: usize,
    large_count: usize,
}

impl BufferPlan {
    /// The plan for a heap of this size, and for no more connections than are asked for.
    pub fn new(heap_bytes: usize, connections_wanted: usize) -> Self {
        let budget = heap_bytes / HEAP_SHARE;
        let (numerator, denominator) = CONNECTIONS_SHARE;
        let connections_max = budget / denominator * numerator / CONNECTION_BYTES;
        let connections_max = connections_max.min(connections_wanted).max(1);
        let rest = budget.saturating_sub(connections_max * CONNECTION_BYTES);
        let large_bytes = power_of_two_below(rest / LARGE_WANTED);
        let large_bytes = large_bytes.clamp(LARGE_BYTES_MIN, LARGE_BYTES_MAX);
        Self { connections_max, large_bytes, large_count: rest / large_bytes }
    }

    /// A connection's own buffers, to receive and to send; none when the heap is full.
    pub fn own(&self) -> Option<(SocketBuffer<'static>, SocketBuffer<'static>)> {
        Some((buffer(RECEIVE_BYTES)?, buffer(SEND_BYTES)?))
    }

    /// A connection that has received so many bytes without a reply in between receives much.
    pub fn is_much(received_bytes: usize) -> bool {
        received_bytes > RECEIVE_BYTES / 2
    }
}

/// The large buffers. They are made when they are first needed, and kept.
pub struct LargeBuffers {
    bytes: usize,
    unmade: usize,
    idle: Vec<SocketBuffer<'static>>,
}

impl LargeBuffers {
    /// All of them, none made yet.
    pub fn new(plan: &BufferPlan) -> Self {
        Self { bytes: plan.large_bytes, unmade: plan.large_count, idle: Vec::new() }
    }

    /// One of them, if there is one left and the heap isn't full.
    pub fn lend(&mut self) -> Option<SocketBuffer<'static>> {
        if let Some(buffer) = self.idle.pop() {
            return Some(buffer);
        }
        self.unmade = self.unmade.checked_sub(1)?;
        let made = buffer(self.bytes);
        if made.is_none() {
            self.unmade += 1;
        }
        made
    }

    /// Takes one back.
    pub fn take_back(&mut self, buffer: SocketBuffer<'static>) {
        debug_assert_eq!(buffer.capacity(), self.bytes);
        self.idle.push(buffer);
    }
}

fn buffer(bytes: usize) -> Option<SocketBuffer<'static>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(bytes).ok()?;
    buffer.resize(bytes, 0);
    Some(SocketBuffer::new(buffer))
}

fn power_of_two_below(number: usize) -> usize {
    number.checked_ilog2().map_or(0, |log| 1 << log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_for_machines_of_several_sizes() {
        for (heap_mib, connections_max, large_kib, large_count) in
            [(8, 37, 32, 14), (48, 227, 64, 42), (230, 1024, 256, 57), (1800, 1024, 1024, 276)]
        {
            let plan = BufferPlan::new(heap_mib * 1024 * KIB, 1024);
            let large_bytes = large_kib * KIB;
            let expected = BufferPlan { connections_max, large_bytes, large_count };
            assert_eq!(plan, expected, "{heap_mib} MiB");
        }
    }

    #[test]
    fn large_buffers_are_as_many_as_planned_and_come_back() {
        let plan = BufferPlan { connections_max: 1, large_bytes: KIB, large_count: 2 };
        let mut large = LargeBuffers::new(&plan);
        let (first, second) = (large.lend(), large.lend());
        assert_eq!(first.as_ref().map(SocketBuffer::capacity), Some(KIB));
        assert!(second.is_some() && large.lend().is_none());
        large.take_back(first.expect("the first"));
        assert!(large.lend().is_some() && large.lend().is_none());
    }
}
