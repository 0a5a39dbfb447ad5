//! Nothing is read or written beyond the operands, by assembly neither, which no sanitizer sees:
//! they lie at the very end, or the beginning, of memory that is there.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::ptr;

use super::*;

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        length: usize,
        access: c_int,
        flags: c_int,
        file: c_int,
        offset: isize,
    ) -> *mut c_void;
    fn mprotect(at: *mut c_void, length: usize, access: c_int) -> c_int;
    fn munmap(at: *mut c_void, length: usize) -> c_int;
}

const NONE: c_int = 0;
const READ_AND_WRITE: c_int = 3;
const PRIVATE_ANONYMOUS: c_int = 0x22;
const PAGE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Right before a page that is not there.
    End,
    /// Right behind one.
    Start,
}

/// Elements between two pages that are not there.
struct Guarded<T> {
    pages: *mut c_void,
    bytes: usize,
    first: *mut T,
    count: usize,
}

impl<T: Number> Guarded<T> {
    fn new(elements: &[T], place: Place) -> Self {
        let used = size_of_val(elements);
        let bytes = used.next_multiple_of(PAGE) + 2 * PAGE;
        // SAFETY: new pages, of which nobody else knows.
        let pages = unsafe { mmap(ptr::null_mut(), bytes, NONE, PRIVATE_ANONYMOUS, -1, 0) };
        assert_ne!(pages.addr(), usize::MAX, "mmap");
        let inner = pages.wrapping_byte_add(PAGE);
        let inner_bytes = bytes - 2 * PAGE;
        // SAFETY: within these pages.
        let result = unsafe { mprotect(inner, inner_bytes, READ_AND_WRITE) };
        assert_eq!(result, 0, "mprotect");
        let skipped = if place == Place::End { inner_bytes - used } else { 0 };
        let first = inner.wrapping_byte_add(skipped).cast::<T>();
        // SAFETY: there is room for so many elements.
        unsafe { ptr::copy_nonoverlapping(elements.as_ptr(), first, elements.len()) };
        Self { pages, bytes, first, count: elements.len() }
    }

    fn elements(&self) -> &[T] {
        // SAFETY: written in `new`.
        unsafe { core::slice::from_raw_parts(self.first, self.count) }
    }

    fn elements_mut(&mut self) -> &mut [T] {
        // SAFETY: written in `new`.
        unsafe { core::slice::from_raw_parts_mut(self.first, self.count) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the pages of `new`, of which there is no reference any more.
        let result = unsafe { munmap(self.pages, self.bytes) };
        assert_eq!(result, 0, "munmap");
    }
}

/// What is guarded stays where it is while all plans are tried.
fn check_guarded<T: Number>(
    shape: Shape,
    turned: (bool, bool),
    place: Place,
    plans: &[&dyn Fn(Layout) -> Parts<T>],
) {
    let Shape { m, n, k } = shape;
    let (a_at, b_at) = extents(shape, turned);
    let (a_at, b_at) = (Extent { start: 0, ..a_at }, Extent { start: 0, ..b_at });
    let a = Guarded::new(&integers::<T>(m * k, 1), place);
    let b = Guarded::new(&integers::<T>(k * n, 2), place);
    let (a, b) = (a_at.view(a.elements()), b_at.view(b.elements()));
    let c_before = integers::<T>(m * n, 3);
    let mut c = Guarded::new(&c_before, place);
    let scale = scale_of((1.0, -1.0));
    let view_of_c = ArrayView2::from_shape((m, n), &c_before).expect("m n elements");
    let expected = definition(&a, &b, scale, &view_of_c);
    for plan in plans {
        c.elements_mut().copy_from_slice(&c_before);
        let view_of_c = ArrayViewMut2::from_shape((m, n), c.elements_mut());
        let operands = Operands { a, b, c: view_of_c.expect("m n elements") };
        let mut parts = plan(operands.layout());
        parts.advance(operands, scale, &Alone, &|| false);
        assert_eq!(c.elements(), expected, "{shape:?} {turned:?} {place:?}");
    }
}

/// A read or write beyond ends the tests by a signal.
#[test]
fn nothing_beyond_the_operands_is_touched() {
    fn check_kernel<T: Number>(isa: Isa) {
        let kernel = T::microkernel(isa);
        let (mr, nr, lanes) = (kernel.mr, kernel.nr, kernel.lanes);
        let blocking = Blocking { kc: 8, nc: 2 * nr, streams: true, ..BLOCKING };
        let planned = planned::<T>(Kernel::Own(isa), 1);
        let unpacked = by_five_loops(kernel, blocking);
        let packed = by_five_loops(kernel, Blocking { packs_a: true, ..blocking });
        let plans: [&dyn Fn(Layout) -> Parts<T>; 3] = [&planned, &unpacked, &packed];
        let rows = [1, mr - 1, mr, 6 * mr + 1];
        let columns =
            [1, 2, lanes - 1, lanes, lanes + 1, nr - 1, nr, nr + 1, nr + lanes, 5 * nr + 3];
        let terms = [1, 3, 4, 9, 2 * lanes + 1, 40];
        for (m, n) in rows.into_iter().flat_map(|m| columns.map(|n| (m, n))) {
            for (k, place) in terms.into_iter().flat_map(|k| [(k, Place::End), (k, Place::Start)]) {
                for turned in TRANSPOSES {
                    check_guarded(Shape { m, n, k }, turned, place, &plans);
                }
            }
        }
    }
    for isa in isas() {
        check_kernel::<f64>(isa);
        check_kernel::<f32>(isa);
    }
}
