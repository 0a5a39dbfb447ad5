//! The passes over a matrix that meets a vector: the same code for every width of vectors.

/// Cache lines behind the end of a row that are fetched while it is finished.
pub const FETCHED_LINES: usize = 16;

/// Defines `dots` and `axpys` of a microkernel, by the intrinsics of an instruction set that load,
/// store, clear, spread and multiply-add a vector of `$lanes` elements.
macro_rules! vector_passes {
    (
        $features:literal, $element:ty, $lanes:literal,
        ($loadu:ident $storeu:ident $zero:ident $set1:ident $fmadd:ident)
    ) => {
        pub fn dots(rows: [&[$element]; STREAMS], vector: &[$element]) -> [$element; STREAMS] {
            /// Each row in two sums a lane, so that none waits for the one before.
            ///
            /// # Safety
            ///
            /// The rows are as long as the vector.
            #[target_feature(enable = $features)]
            unsafe fn sums(
                rows: [*const $element; STREAMS],
                vector: &[$element],
            ) -> [[[$element; $lanes]; 2]; STREAMS] {
                let mut sums = [[$zero(); 2]; STREAMS];
                let mut add = |p: usize, parity: usize| {
                    // SAFETY: $lanes elements of the vector and of a row, from p on.
                    let factors = unsafe { $loadu(vector.as_ptr().add(p)) };
                    for (sums, row) in sums.iter_mut().zip(rows) {
                        // SAFETY: as above.
                        let elements = unsafe { $loadu(row.add(p)) };
                        sums[parity] = $fmadd(elements, factors, sums[parity]);
                    }
                };
                let mut p = 0;
                while p + 2 * $lanes <= vector.len() {
                    add(p, 0);
                    add(p + $lanes, 1);
                    p += 2 * $lanes;
                }
                if p + $lanes <= vector.len() {
                    add(p, 0);
                }
                // The next rows are on their way while these sums are added up.
                for row in rows {
                    for line in 0..FETCHED_LINES {
                        let there = row.wrapping_add(vector.len()).wrapping_byte_add(64 * line);
                        _mm_prefetch::<_MM_HINT_T0>(there.cast());
                    }
                }
                let mut lanes = [[[0.0; $lanes]; 2]; STREAMS];
                for (lanes, sums) in lanes.iter_mut().zip(sums) {
                    // SAFETY: what is written is $lanes elements long.
                    unsafe { $storeu(lanes[0].as_mut_ptr(), sums[0]) };
                    // SAFETY: as above.
                    unsafe { $storeu(lanes[1].as_mut_ptr(), sums[1]) };
                }
                lanes
            }
            let rows = rows.map(|row| &row[..vector.len()]);
            // SAFETY: the kernel is handed out only where the CPU has these features, and the rows
            // have just been cut.
            let lanes = unsafe { sums(rows.map(<[$element]>::as_ptr), vector) };
            let done = vector.len() / $lanes * $lanes;
            let mut results = [0.0; STREAMS];
            for ((result, [mut even, odd]), row) in results.iter_mut().zip(lanes).zip(rows) {
                let rest = row[done..].iter().zip(&vector[done..]);
                for (sum, (one, factor)) in even.iter_mut().zip(rest) {
                    *sum += one * factor;
                }
                for (sum, odd) in even.iter_mut().zip(odd) {
                    *sum += odd;
                }
                // Halves on halves, which vectors do at once.
                let mut width = $lanes;
                while width > 1 {
                    width /= 2;
                    for lane in 0..width {
                        even[lane] += even[lane + width];
                    }
                }
                *result = even[0];
            }
            results
        }

        pub fn axpys(
            rows: [&[$element]; STREAMS],
            factors: [$element; STREAMS],
            result: &mut [$element],
        ) {
            /// The elements of whole vectors.
            ///
            /// # Safety
            ///
            /// The rows are as long as the result.
            #[target_feature(enable = $features)]
            unsafe fn add(
                rows: [*const $element; STREAMS],
                factors: [$element; STREAMS],
                result: &mut [$element],
            ) {
                let spread = factors.map(|factor| $set1(factor));
                let to = result.as_mut_ptr();
                let add = |j: usize| {
                    // SAFETY: $lanes elements of the result, from j on.
                    let mut sum = unsafe { $loadu(to.add(j)) };
                    for (row, factor) in rows.iter().zip(spread) {
                        // SAFETY: as above, of a row.
                        sum = $fmadd(unsafe { $loadu(row.add(j)) }, factor, sum);
                    }
                    // SAFETY: as above.
                    unsafe { $storeu(to.add(j), sum) };
                };
                let mut j = 0;
                while j + 2 * $lanes <= result.len() {
                    add(j);
                    add(j + $lanes);
                    j += 2 * $lanes;
                }
                if j + $lanes <= result.len() {
                    add(j);
                }
            }
            let rows = rows.map(|row| &row[..result.len()]);
            // SAFETY: the kernel is handed out only where the CPU has these features, and the rows
            // have just been cut.
            unsafe { add(rows.map(<[$element]>::as_ptr), factors, result) };
            let done = result.len() / $lanes * $lanes;
            for (row, factor) in rows.iter().zip(factors) {
                for (element, one) in result[done..].iter_mut().zip(&row[done..]) {
                    *element += factor * one;
                }
            }
        }
    };
}

pub(super) use vector_passes;
