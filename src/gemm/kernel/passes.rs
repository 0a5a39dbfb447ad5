//! The passes over a matrix that meets a vector: the same code for every width of vectors.

/// Defines `dots` and `axpys` of a microkernel, by the intrinsics of an instruction set that load,
/// store, clear, spread and multiply-add a vector of `$lanes` elements.
macro_rules! vector_passes {
    (
        $features:literal, $element:ty, $lanes:literal,
        ($loadu:ident $storeu:ident $zero:ident $set1:ident $fmadd:ident)
    ) => {
        pub fn dots(rows: [&[$element]; STREAMS], vector: &[$element]) -> [$element; STREAMS] {
            /// Each row in two sums a lane, so that none waits for the one before.
            #[target_feature(enable = $features)]
            fn here(rows: [&[$element]; STREAMS], vector: &[$element]) -> [$element; STREAMS] {
                // SAFETY: what is read is $lanes elements long.
                let read = |part: &[$element; $lanes]| unsafe { $loadu(part.as_ptr()) };
                let (factors, rest) = vector.as_chunks::<$lanes>();
                let (pairs, last) = factors.as_chunks::<2>();
                let parts: [&[[$element; $lanes]]; STREAMS] =
                    core::array::from_fn(|i| &rows[i].as_chunks::<$lanes>().0[..factors.len()]);
                let pairs_of: [&[[[$element; $lanes]; 2]]; STREAMS] =
                    core::array::from_fn(|i| &parts[i].as_chunks::<2>().0[..pairs.len()]);
                let mut sums = [[$zero(); 2]; STREAMS];
                for (p, pair) in pairs.iter().enumerate() {
                    let pair = [read(&pair[0]), read(&pair[1])];
                    for (sums, parts) in sums.iter_mut().zip(&pairs_of) {
                        sums[0] = $fmadd(read(&parts[p][0]), pair[0], sums[0]);
                        sums[1] = $fmadd(read(&parts[p][1]), pair[1], sums[1]);
                    }
                }
                if let [factors] = last {
                    for (sums, parts) in sums.iter_mut().zip(&parts) {
                        sums[0] = $fmadd(read(&parts[2 * pairs.len()]), read(factors), sums[0]);
                    }
                }
                core::array::from_fn(|i| {
                    let mut lanes: [[$element; $lanes]; 2] = [[0.0; $lanes]; 2];
                    for (lanes, sum) in lanes.iter_mut().zip(sums[i]) {
                        // SAFETY: what is written is $lanes elements long.
                        unsafe { $storeu(lanes.as_mut_ptr(), sum) };
                    }
                    let [mut sums, odd] = lanes;
                    let row_rest = &rows[i][factors.len() * $lanes..];
                    for (sum, (one, factor)) in sums.iter_mut().zip(row_rest.iter().zip(rest)) {
                        *sum += one * factor;
                    }
                    sums.iter().zip(odd).map(|(even, odd)| even + odd).sum()
                })
            }
            // SAFETY: the kernel is handed out only where the CPU has these features.
            unsafe { here(rows, vector) }
        }

        pub fn axpys(
            rows: [&[$element]; STREAMS],
            factors: [$element; STREAMS],
            result: &mut [$element],
        ) {
            #[target_feature(enable = $features)]
            fn here(
                rows: [&[$element]; STREAMS],
                factors: [$element; STREAMS],
                result: &mut [$element],
            ) {
                // SAFETY: what is read is $lanes elements long.
                let read = |part: &[$element; $lanes]| unsafe { $loadu(part.as_ptr()) };
                let (parts, rest) = result.as_chunks_mut::<$lanes>();
                let parts_of: [&[[$element; $lanes]]; STREAMS] =
                    core::array::from_fn(|q| &rows[q].as_chunks::<$lanes>().0[..parts.len()]);
                let spread = factors.map(|factor| $set1(factor));
                for (j, part) in parts.iter_mut().enumerate() {
                    let mut sum = read(part);
                    for (rows, factor) in parts_of.iter().zip(spread) {
                        sum = $fmadd(read(&rows[j]), factor, sum);
                    }
                    // SAFETY: what is written is $lanes elements long.
                    unsafe { $storeu(part.as_mut_ptr(), sum) };
                }
                let done = parts.len() * $lanes;
                for (row, factor) in rows.iter().zip(factors) {
                    for (element, one) in rest.iter_mut().zip(&row[done..]) {
                        *element += factor * one;
                    }
                }
            }
            // SAFETY: the kernel is handed out only where the CPU has these features.
            unsafe { here(rows, factors, result) }
        }
    };
}

pub(super) use vector_passes;
