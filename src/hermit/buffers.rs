//! How much memory connections get.

const KIB: usize = 1024;

/// Of the heap, the part for connections' buffers: one in this many bytes. The rest is for bodies
/// and products, which a client can't send faster than its buffer empties anyway.
const HEAP_SHARE: usize = 6;
/// The numbers of connections that a small machine and an ordinary one aim at.
const CONNECTIONS_SMALL: usize = 64;
const CONNECTIONS_ORDINARY: usize = 128;
/// What a small machine's connections should have: a round trip of 1 ms at 65 MB/s.
const BUFFER_BYTES_SMALL: usize = 64 * KIB;
/// Measured: uploads are a third faster with buffers of 256 KiB than of 64, and no faster beyond.
const BUFFER_BYTES_MAX: usize = 256 * KIB;
const BUFFER_BYTES_MIN: usize = 8 * KIB;

/// How many connections there may be, and the size of each of a connection's two buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferPlan {
    /// Connections open at once.
    pub connections_max: usize,
    buffer_bytes: usize,
}

impl BufferPlan {
    /// The plan for a heap of this size, and for no more connections than are asked for.
    pub fn new(heap_bytes: usize, connections_wanted: usize) -> Self {
        let budget = heap_bytes / HEAP_SHARE;
        let for_ordinary = power_of_two_below(budget / (2 * CONNECTIONS_ORDINARY));
        let for_small = power_of_two_below(budget / (2 * CONNECTIONS_SMALL));
        let buffer_bytes = for_ordinary
            .max(for_small.min(BUFFER_BYTES_SMALL))
            .clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
        let connections_max = (budget / (2 * buffer_bytes)).min(connections_wanted).max(1);
        Self { connections_max, buffer_bytes }
    }

    /// One buffer, or none when the heap is full.
    pub fn buffer(&self) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(self.buffer_bytes).ok()?;
        buffer.resize(self.buffer_bytes, 0);
        Some(buffer)
    }
}

fn power_of_two_below(number: usize) -> usize {
    number.checked_ilog2().map_or(0, |log| 1 << log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_for_machines_of_several_sizes() {
        for (heap_mib, buffer_kib, connections_max) in
            [(8, 8, 85), (24, 32, 64), (48, 64, 64), (230, 128, 153), (1800, 256, 600)]
        {
            let plan = BufferPlan::new(heap_mib * 1024 * KIB, 1024);
            let expected = BufferPlan { connections_max, buffer_bytes: buffer_kib * KIB };
            assert_eq!(plan, expected, "{heap_mib} MiB");
        }
    }
}
