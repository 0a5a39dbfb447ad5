//! What stands before the packed application. Shared with `build.rs`, which writes it.
//!
//! LZ4 was taken for its speed: it unpacks two megabytes in about one millisecond, or seven on an
//! emulator. Deflate, whose result would be a tenth smaller, takes ten times as long. Most of that is
//! got by `addresses`, in half the time.

/// Tells how long the application's file is, and what its checksum.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub file_bytes: u64,
    pub checksum: u64,
}

pub const HEADER_BYTES: usize = 16;

impl Header {
    pub fn of(file: &[u8]) -> Self {
        Self { file_bytes: file.len() as u64, checksum: checksum(file) }
    }

    #[allow(dead_code, reason = "build.rs alone writes it")]
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        (u128::from(self.checksum) << 64 | u128::from(self.file_bytes)).to_le_bytes()
    }

    #[allow(dead_code, reason = "the stub alone reads it")]
    pub fn from_bytes(bytes: [u8; HEADER_BYTES]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self { file_bytes: both as u64, checksum: (both >> 64) as u64 }
    }
}

/// FNV-1a over words of eight bytes. Each step can be undone, so a change of one word always shows.
fn checksum(file: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let (words, rest) = file.as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().map(|byte| u64::from(*byte));
    words.chain(rest).fold(BASIS, |sum, word| (sum ^ word).wrapping_mul(PRIME))
}
