//! What the parts of a zip archive look like, to its reader and its writer (PKWARE's APPNOTE.TXT,
//! sections 4.3 and 4.5.3).

use alloc::vec::Vec;

pub const LOCAL: u32 = 0x0403_4b50;
pub const DESCRIPTOR: u32 = 0x0807_4b50;
pub const CENTRAL: u32 = 0x0201_4b50;
pub const END: u32 = 0x0605_4b50;
pub const END_ZIP64: u32 = 0x0606_4b50;
pub const END_ZIP64_LOCATOR: u32 = 0x0706_4b50;

/// The bytes of a part, its signature included, before those whose lengths stand in it.
pub const LOCAL_BYTES: usize = 30;
pub const CENTRAL_BYTES: usize = 46;
pub const END_BYTES: usize = 22;
/// Up to the length of what follows, and the least that this is.
pub const END_ZIP64_BYTES: usize = 12;
pub const END_ZIP64_REST_BYTES: u64 = 44;
pub const END_ZIP64_LOCATOR_BYTES: usize = 20;

/// The extra field with the sizes that 32 bits can't hold.
pub const EXTRA_ZIP64: u16 = 1;
/// Stands where such a size would.
pub const IN_EXTRA: u32 = u32::MAX;

/// The version of the format that can have such sizes.
const VERSION_ZIP64: u16 = 45;
const VERSION: u16 = 20;
/// The first of January 1980, the first day there is: the archive is the same whenever it is made.
const DATE: u16 = 1 << 5 | 1;

/// A member that is stored as it is, the only one of its archive.
#[derive(Clone, Copy, Debug)]
pub struct StoredMember<'a> {
    pub name: &'a str,
    pub bytes: u64,
    pub checksum: u32,
}

impl StoredMember<'_> {
    fn is_large(&self) -> bool {
        self.bytes >= u64::from(IN_EXTRA)
    }

    /// What stands before the member.
    pub fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        head.extend(LOCAL.to_le_bytes());
        self.describe(&mut head);
        head.extend(self.name.bytes());
        self.extra(&mut head);
        head
    }

    /// What stands behind it: the directory.
    pub fn tail(&self) -> Vec<u8> {
        let directory_start = self.head().len() as u64 + self.bytes;
        let mut tail = Vec::new();
        tail.extend(CENTRAL.to_le_bytes());
        tail.extend(self.version().to_le_bytes());
        self.describe(&mut tail);
        // No comment, the first disk, no attributes, and the local header at the start.
        tail.extend([0; 14]);
        tail.extend(self.name.bytes());
        self.extra(&mut tail);
        let directory_bytes = tail.len() as u64;
        let end_start = directory_start + directory_bytes;
        if end_start >= u64::from(IN_EXTRA) {
            tail.extend(END_ZIP64.to_le_bytes());
            tail.extend(END_ZIP64_REST_BYTES.to_le_bytes());
            tail.extend([VERSION_ZIP64.to_le_bytes(), VERSION_ZIP64.to_le_bytes()].concat());
            tail.extend([0; 8]);
            for number in [1, 1, directory_bytes, directory_start] {
                tail.extend(u64::to_le_bytes(number));
            }
            tail.extend(END_ZIP64_LOCATOR.to_le_bytes());
            tail.extend([0; 4]);
            tail.extend(end_start.to_le_bytes());
            tail.extend(1_u32.to_le_bytes());
        }
        tail.extend(END.to_le_bytes());
        tail.extend([0, 0, 0, 0, 1, 0, 1, 0]);
        tail.extend((directory_bytes as u32).to_le_bytes());
        tail.extend(u32::try_from(directory_start).unwrap_or(IN_EXTRA).to_le_bytes());
        tail.extend([0; 2]);
        tail
    }

    fn version(&self) -> u16 {
        if self.is_large() { VERSION_ZIP64 } else { VERSION }
    }

    /// What both headers have in common, from the version that is needed to the lengths.
    fn describe(&self, out: &mut Vec<u8>) {
        let size = if self.is_large() { IN_EXTRA } else { self.bytes as u32 };
        // Flags, the method, which is none, and the time are all 0.
        for number in [self.version(), 0, 0, 0, DATE] {
            out.extend(number.to_le_bytes());
        }
        for number in [self.checksum, size, size] {
            out.extend(number.to_le_bytes());
        }
        let extra_bytes = if self.is_large() { 20_u16 } else { 0 };
        out.extend((self.name.len() as u16).to_le_bytes());
        out.extend(extra_bytes.to_le_bytes());
    }

    fn extra(&self, out: &mut Vec<u8>) {
        if self.is_large() {
            out.extend(EXTRA_ZIP64.to_le_bytes());
            out.extend(16_u16.to_le_bytes());
            out.extend([self.bytes.to_le_bytes(), self.bytes.to_le_bytes()].concat());
        }
    }
}
