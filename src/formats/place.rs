//! Room for content that is read right to where it belongs, without being cleared before.

use alloc::vec::Vec;
use core::mem::{self, MaybeUninit};

use bytemuck::Pod;

/// The longest element.
const ELEMENT_BYTES_MAX: usize = 8;

/// Brings content: puts bytes into a place, or none where there are none now.
pub type Source<'a> = dyn FnMut(&mut Place) + 'a;

/// Room for bytes, of which the first were written.
#[derive(Debug)]
pub struct Place<'a> {
    bytes: &'a mut [MaybeUninit<u8>],
    filled: usize,
}

/// The first bytes of an element whose others are still to come.
#[derive(Debug, Default)]
pub struct Partial {
    bytes: [u8; ELEMENT_BYTES_MAX],
    count: usize,
}

impl<'a> Place<'a> {
    fn new(bytes: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { bytes, filled: 0 }
    }

    /// The bytes that were not written yet.
    pub fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.bytes[self.filled..]
    }

    /// Those that were.
    pub fn filled(&self) -> &[u8] {
        // SAFETY: `pass` has the word of its callers that they are written.
        #[allow(unsafe_code)]
        unsafe {
            self.bytes[..self.filled].assume_init_ref()
        }
    }

    /// The first bytes of the room count as written.
    ///
    /// # Safety
    ///
    /// They are.
    ///
    /// # Panics
    ///
    /// Where the room is not as long.
    #[allow(unsafe_code)]
    pub unsafe fn pass(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes.len() - self.filled, "what is written is within the room");
        self.filled += bytes;
    }

    /// Copies as many bytes as there is room for; how many.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = bytes.len().min(room.len());
        room[..count].write_copy_of_slice(&bytes[..count]);
        // SAFETY: so many were just written.
        #[allow(unsafe_code)]
        unsafe {
            self.pass(count);
        }
        count
    }
}

impl Partial {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes that have come.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.count]
    }

    /// Adds bytes up to the end of an element of `size` bytes; how many.
    pub fn push(&mut self, bytes: &[u8], size: usize) -> usize {
        let taken = bytes.len().min(size - self.count);
        self.bytes[self.count..][..taken].copy_from_slice(&bytes[..taken]);
        self.count += taken;
        taken
    }

    pub fn clear(&mut self) {
        self.count = 0;
    }
}

/// Has up to `most` bytes read behind the last element, within the capacity; how many. Those of an
/// element that is not whole are kept as `partial`, and come first the next time.
pub fn fill<T: Pod>(
    elements: &mut Vec<T>,
    partial: &mut Partial,
    most: usize,
    source: &mut Source,
) -> usize {
    let size = mem::size_of::<T>();
    let begun = mem::take(partial);
    let (length, spare) = (elements.len(), elements.spare_capacity_mut());
    let spare = bytes_of(spare);
    let most = most.min(spare.len().saturating_sub(begun.count));
    if most == 0 {
        *partial = begun;
        return 0;
    }
    let (front, room) = spare.split_at_mut(begun.count);
    front.write_copy_of_slice(begun.bytes());
    let mut place = Place::new(&mut room[..most]);
    source(&mut place);
    let come = place.filled();
    let whole = (begun.count + come.len()) / size;
    if whole == 0 {
        partial.push(begun.bytes(), size);
        partial.push(come, size);
    } else {
        let rest = (begun.count + come.len()) % size;
        partial.push(&come[come.len() - rest..], size);
    }
    let count = come.len();
    // SAFETY: the bytes of so many elements were written, first those that had come and then those
    // of the place, behind the last and within the capacity; and any bytes make an element.
    #[allow(unsafe_code)]
    unsafe {
        elements.set_len(length + whole);
    }
    count
}

/// Room for elements as room for their bytes.
fn bytes_of<T: Pod>(elements: &mut [MaybeUninit<T>]) -> &mut [MaybeUninit<u8>] {
    let bytes = mem::size_of_val(elements);
    // SAFETY: it is the same memory, for as long, and a byte has no alignment; a byte that is not
    // initialised is one of `MaybeUninit`, as are all that are written.
    #[allow(unsafe_code)]
    unsafe {
        core::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), bytes)
    }
}
