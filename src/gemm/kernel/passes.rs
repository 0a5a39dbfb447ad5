//! The passes over a matrix that meets a vector: the same code for every width of vectors.

/// What is read of one row before the next one's turn: runs of cache lines are what memory and its
/// prefetchers deliver fastest.
pub const RUN_BYTES: usize = 1024;
/// Vectors of a result that are summed at once.
pub const SUMS: usize = 4;

/// Defines `dots` and `axpys` of a microkernel, by the intrinsics of an instruction set that load,
/// store, clear, spread and multiply-add a vector of `$lanes` elements.
macro_rules! vector_passes {
    (
        $features:literal, $element:ty, $lanes:literal,
        ($loadu:ident $storeu:ident $zero:ident $set1:ident $fmadd:ident)
    ) => {
        /// # Safety
        ///
        /// That of `Dots`; the instruction set.
        pub unsafe fn dots(
            rows: RowsAt<$element>,
            count: usize,
            vector: &[$element],
        ) -> [$element; STREAMS] {
            /// Each row in two sums a lane, so that none waits for the one before.
            ///
            /// # Safety
            ///
            /// There are as many rows, as long as the vector.
            #[target_feature(enable = $features)]
            unsafe fn sums<const ROWS: usize>(
                rows: RowsAt<$element>,
                vector: &[$element],
            ) -> [$element; ROWS] {
                const RUN: usize = RUN_BYTES / size_of::<$element>();
                let mut sums = [[$zero(); 2]; ROWS];
                let mut add = |row: usize, p: usize, parity: usize| {
                    // SAFETY: $lanes elements of the vector, from p on.
                    let factors = unsafe { $loadu(vector.as_ptr().add(p)) };
                    // SAFETY: as above, of a row.
                    let elements = unsafe { $loadu(rows.at(row).add(p)) };
                    sums[row][parity] = $fmadd(elements, factors, sums[row][parity]);
                };
                let mut p = 0;
                while p + RUN <= vector.len() {
                    for row in 0..ROWS {
                        for at in (0..RUN).step_by(2 * $lanes) {
                            add(row, p + at, 0);
                            add(row, p + at + $lanes, 1);
                        }
                    }
                    p += RUN;
                }
                while p + 2 * $lanes <= vector.len() {
                    for row in 0..ROWS {
                        add(row, p, 0);
                        add(row, p + $lanes, 1);
                    }
                    p += 2 * $lanes;
                }
                if p + $lanes <= vector.len() {
                    for row in 0..ROWS {
                        add(row, p, 0);
                    }
                    p += $lanes;
                }
                let mut results = [0.0; ROWS];
                for (row, (result, sums)) in results.iter_mut().zip(sums).enumerate() {
                    let [mut even, mut odd] = [[0.0; $lanes]; 2];
                    // SAFETY: what is written is $lanes elements long.
                    unsafe { $storeu(even.as_mut_ptr(), sums[0]) };
                    // SAFETY: as above.
                    unsafe { $storeu(odd.as_mut_ptr(), sums[1]) };
                    for (sum, p) in even.iter_mut().zip(p..vector.len()) {
                        // SAFETY: an element of the row.
                        *sum += unsafe { rows.at(row).add(p).read() } * vector[p];
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
            if count == STREAMS {
                // SAFETY: the caller's promise, and there are so many rows.
                return unsafe { sums(rows, vector) };
            }
            let mut results = [0.0; STREAMS];
            for (row, result) in results.iter_mut().enumerate().take(count) {
                // SAFETY: as above; one row.
                [*result] = unsafe { sums(RowsAt { first: rows.at(row), ..rows }, vector) };
            }
            results
        }

        /// # Safety
        ///
        /// That of `Axpys`; the instruction set.
        #[target_feature(enable = $features)]
        pub unsafe fn axpys(
            rows: RowsAt<$element>,
            factors: [$element; STREAMS],
            result: &mut [$element],
        ) {
            let rows = [rows.at(0), rows.at(1), rows.at(2), rows.at(3)];
            let mut spread = [$zero(); STREAMS];
            for (spread, factor) in spread.iter_mut().zip(factors) {
                *spread = $set1(factor);
            }
            let to = result.as_mut_ptr();
            let mut j = 0;
            while j + SUMS * $lanes <= result.len() {
                let mut sums = [$zero(); SUMS];
                for (at, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: $lanes elements of the result, which has SUMS times as many.
                    *sum = unsafe { $loadu(to.add(j + at * $lanes)) };
                }
                for (row, factor) in rows.into_iter().zip(spread) {
                    for (at, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: as above, of a row.
                        let elements = unsafe { $loadu(row.add(j + at * $lanes)) };
                        *sum = $fmadd(elements, factor, *sum);
                    }
                    // In this order: a few lines of a row, then of the next.
                    compiler_fence(Ordering::SeqCst);
                }
                for (at, sum) in sums.into_iter().enumerate() {
                    // SAFETY: as above, of the result.
                    unsafe { $storeu(to.add(j + at * $lanes), sum) };
                }
                j += SUMS * $lanes;
            }
            // Fused, whether they come behind such a run or within: parts begin between vectors.
            while j + $lanes <= result.len() {
                // SAFETY: $lanes elements of the result.
                let mut sum = unsafe { $loadu(to.add(j)) };
                for (row, factor) in rows.into_iter().zip(spread) {
                    // SAFETY: as above, of a row.
                    sum = $fmadd(unsafe { $loadu(row.add(j)) }, factor, sum);
                }
                // SAFETY: as above.
                unsafe { $storeu(to.add(j), sum) };
                j += $lanes;
            }
            for (row, factor) in rows.into_iter().zip(factors) {
                for (j, element) in result.iter_mut().enumerate().skip(j) {
                    // SAFETY: an element of the row.
                    *element += factor * unsafe { row.add(j).read() };
                }
            }
        }
    };
}

pub(super) use vector_passes;
