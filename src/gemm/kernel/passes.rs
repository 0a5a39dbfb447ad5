//! The passes over a matrix that meets a vector: the same code for every width of vectors.

/// Defines `dots` and `axpys` of a microkernel, by the intrinsics of an instruction set that load,
/// store, clear and multiply-add a vector of `$lanes` elements.
macro_rules! vector_passes {
    (
        $features:literal, $element:ty, $lanes:literal,
        ($loadu:ident $storeu:ident $zero:ident $fmadd:ident)
    ) => {
        /// The dot products of some rows with the vector, each in one sum a lane.
        #[target_feature(enable = $features)]
        #[inline]
        fn sums<const ROWS: usize>(
            rows: [&[$element]; ROWS],
            vector: &[$element],
        ) -> [$element; ROWS] {
            // SAFETY: what is read is $lanes elements long.
            let vector_of = |part: &[$element; $lanes]| unsafe { $loadu(part.as_ptr()) };
            let (factors, factors_rest) = vector.as_chunks::<$lanes>();
            let parts: [&[[$element; $lanes]]; ROWS] =
                core::array::from_fn(|i| &rows[i].as_chunks::<$lanes>().0[..factors.len()]);
            let mut sums = [$zero(); ROWS];
            for (p, factors) in factors.iter().enumerate() {
                let factors = vector_of(factors);
                for (sum, parts) in sums.iter_mut().zip(&parts) {
                    *sum = $fmadd(vector_of(&parts[p]), factors, *sum);
                }
            }
            core::array::from_fn(|i| {
                let mut lanes: [$element; $lanes] = [0.0; $lanes];
                // SAFETY: what is written is $lanes elements long.
                unsafe { $storeu(lanes.as_mut_ptr(), sums[i]) };
                let rest = rows[i].as_chunks::<$lanes>().1;
                for (lane, (one, factor)) in lanes.iter_mut().zip(rest.iter().zip(factors_rest)) {
                    *lane += one * factor;
                }
                lanes.into_iter().sum()
            })
        }

        pub fn dots(
            matrix: &[$element],
            stride: usize,
            vector: &[$element],
            scale: Scale<$element>,
            result: &mut [$element],
        ) {
            #[target_feature(enable = $features)]
            fn here(
                matrix: &[$element],
                stride: usize,
                vector: &[$element],
                scale: Scale<$element>,
                result: &mut [$element],
            ) {
                let one = |rows: [&[$element]; 1], vector: &[$element]| sums(rows, vector);
                let some = |rows: [&[$element]; $crate::gemm::vector::STREAMS],
                            vector: &[$element]| sums(rows, vector);
                $crate::gemm::vector::dots((matrix, stride), vector, scale, result, some, one);
            }
            // SAFETY: the kernel is handed out only where the CPU has these features.
            unsafe { here(matrix, stride, vector, scale, result) }
        }

        pub fn axpys(
            matrix: &[$element],
            stride: usize,
            vector: &[$element],
            alpha: $element,
            result: &mut [$element],
        ) {
            #[target_feature(enable = $features)]
            fn here(
                matrix: &[$element],
                stride: usize,
                vector: &[$element],
                alpha: $element,
                result: &mut [$element],
            ) {
                $crate::gemm::vector::axpys::<$element>(matrix, stride, vector, alpha, result);
            }
            // SAFETY: the kernel is handed out only where the CPU has these features.
            unsafe { here(matrix, stride, vector, alpha, result) }
        }
    };
}

pub(super) use vector_passes;
