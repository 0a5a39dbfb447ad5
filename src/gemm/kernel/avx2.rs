//! Tiles of 6 rows by 2 vectors of 256 bits, in assembly, as for AVX-512.
//!
//! Registers: ymm0-1 a row of B, ymm2 the lanes of the last vector that are within the tile (or, in
//! a copying tile, which is whole, a half of a piece of B on its way into the packed block), ymm3
//! one element of A in all lanes, ymm4-15 the sums, row by row. 12 independent sums cover the
//! latency of the fused multiply-add (4 or 5 cycles, 2 a cycle). Masked stores are slow on some
//! CPUs, so tiles whose last vector is whole have code of their own.
#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, compiler_fence};

use super::passes::{RUN_BYTES, SUMS, vector_passes};
use super::tile_asm::{
    begin_asides, end_asides, end_packing, four_terms, many_terms, next_ahead, next_piece, tile_asm,
};
use super::{
    Copying, FETCHES_C, Microkernel, Packing, Panel, READS_C, RowsAt, SCALES_C, SCALES_SUM,
    STREAMS, Tile, TileCode,
};

const MR: usize = 6;
const VECTORS: usize = 2;
/// Some tens of milliseconds in an emulator.
const SLICE_FLOPS: usize = 4 << 20;

/// The code `$row!($arguments, sums, address of A's element)` for each of the first rows.
macro_rules! rows {
    (1, $row:ident $x:tt) => { $row!($x "4" "5" "{a}") };
    (2, $row:ident $x:tt) => { concat!(rows!(1, $row $x), $row!($x "6" "7" "{a}+{a_row}")) };
    (3, $row:ident $x:tt) => { concat!(rows!(2, $row $x), $row!($x "8" "9" "{a}+2*{a_row}")) };
    (4, $row:ident $x:tt) => { concat!(rows!(3, $row $x), $row!($x "10" "11" "{a3}")) };
    (5, $row:ident $x:tt) => { concat!(rows!(4, $row $x), $row!($x "12" "13" "{a3}+{a_row}")) };
    (6, $row:ident $x:tt) => {
        concat!(rows!(5, $row $x), $row!($x "14" "15" "{a3}+2*{a_row}"))
    };
}

/// The code `$vector!($arguments, sum, register of B, offset)` for each of the first vectors. The
/// last one is by the macro `masked`, or `whole` as the others.
macro_rules! vectors {
    (1, whole $whole:ident $masked:ident $x:tt $c0:tt $c1:tt) => { $whole!($x $c0 "0" "0") };
    (2, whole $whole:ident $masked:ident $x:tt $c0:tt $c1:tt) => {
        concat!($whole!($x $c0 "0" "0"), $whole!($x $c1 "1" "32"))
    };
    (1, masked $whole:ident $masked:ident $x:tt $c0:tt $c1:tt) => { $masked!($x $c0 "0" "0") };
    (2, masked $whole:ident $masked:ident $x:tt $c0:tt $c1:tt) => {
        concat!($whole!($x $c0 "0" "0"), $masked!($x $c1 "1" "32"))
    };
}

// Single vectors.
macro_rules! clear {
    ($x:tt $c:tt $b:tt $at:tt) => {
        concat!("vxorps xmm", $c, ",xmm", $c, ",xmm", $c, "\n")
    };
}
macro_rules! fetch_c {
    ($x:tt $c:tt $b:tt $at:tt) => {
        concat!("prefetcht0 [{t}+", $at, "]\n")
    };
}
macro_rules! load_b {
    (($load:tt $part:tt) $c:tt $b:tt $at:tt) => {
        concat!($load, " ymm", $b, ",[{b}+", $at, "]\n")
    };
}
macro_rules! load_part_of_b {
    (($load:tt $part:tt) $c:tt $b:tt $at:tt) => {
        concat!($part, " ymm", $b, ",ymm2,[{b}+", $at, "]\n")
    };
}
macro_rules! add_product {
    (($fma:tt) $c:tt $b:tt $at:tt) => {
        concat!($fma, " ymm", $c, ",ymm3,ymm", $b, "\n")
    };
}
macro_rules! scale_sum {
    (($mul:tt) $c:tt $b:tt $at:tt) => {
        concat!($mul, " ymm", $c, ",ymm", $c, ",ymm3\n")
    };
}
macro_rules! with_c {
    (($add:tt $part:tt) $c:tt $b:tt $at:tt) => {
        concat!($add, " ymm", $c, ",ymm", $c, ",[{t}+", $at, "]\n")
    };
}
macro_rules! with_part_of_c {
    (($add:tt $part:tt) $c:tt $b:tt $at:tt) => {
        concat!($part, " ymm0,ymm2,[{t}+", $at, "]\n", $add, " ymm", $c, ",ymm", $c, ",ymm0\n",)
    };
}
macro_rules! with_scaled_c {
    (($fma:tt $part:tt) $c:tt $b:tt $at:tt) => {
        concat!($fma, " ymm", $c, ",ymm3,[{t}+", $at, "]\n")
    };
}
macro_rules! with_part_of_scaled_c {
    (($fma:tt $part:tt) $c:tt $b:tt $at:tt) => {
        concat!($part, " ymm0,ymm2,[{t}+", $at, "]\n", $fma, " ymm", $c, ",ymm3,ymm0\n")
    };
}
macro_rules! store {
    (($load:tt $part:tt) $c:tt $b:tt $at:tt) => {
        concat!($load, " [{t}+", $at, "],ymm", $c, "\n")
    };
}
macro_rules! store_part {
    (($load:tt $part:tt) $c:tt $b:tt $at:tt) => {
        concat!($part, " [{t}+", $at, "],ymm2,ymm", $c, "\n")
    };
}

// Rows.
macro_rules! clear_row {
    (($n:tt) $c0:tt $c1:tt $a:tt) => { vectors!($n, whole clear clear () $c0 $c1) };
}
macro_rules! fetch_c_row {
    (($n:tt) $c0:tt $c1:tt $a:tt) => {
        concat!(vectors!($n, whole fetch_c fetch_c () $c0 $c1), "add {t},{s}\n")
    };
}
macro_rules! add_product_row {
    (($kind:tt $n:tt $broadcast:tt $fma:tt $put:tt) $c0:tt $c1:tt $a:tt) => {
        concat!(
            $broadcast, " ymm3,[", $a, "]\n",
            pack_a!($kind $put),
            vectors!($n, whole add_product add_product ($fma) $c0 $c1),
        )
    };
}
macro_rules! scale_sum_row {
    (($n:tt $mul:tt) $c0:tt $c1:tt $a:tt) => {
        vectors!($n, whole scale_sum scale_sum ($mul) $c0 $c1)
    };
}
macro_rules! with_c_row {
    (($n:tt $last:tt $add:tt $part:tt) $c0:tt $c1:tt $a:tt) => {
        concat!(
            vectors!($n, $last with_c with_part_of_c ($add $part) $c0 $c1),
            "add {t},{s}\n",
        )
    };
}
macro_rules! with_scaled_c_row {
    (($n:tt $last:tt $fma:tt $part:tt) $c0:tt $c1:tt $a:tt) => {
        concat!(
            vectors!($n, $last with_scaled_c with_part_of_scaled_c ($fma $part) $c0 $c1),
            "add {t},{s}\n",
        )
    };
}
macro_rules! store_row {
    (($n:tt $last:tt $load:tt $part:tt) $c0:tt $c1:tt $a:tt) => {
        concat!(
            vectors!($n, $last store store_part ($load $part) $c0 $c1),
            "add {t},{s}\n",
        )
    };
}

/// What a packing tile does with an element of A, and a row of B.
macro_rules! pack_a {
    (packing_a $put:tt) => {
        concat!($put, " [{q}],xmm3\nadd {q},{SIZE}\n")
    };
    ($kind:tt $put:tt) => {
        ""
    };
}
macro_rules! pack_b {
    (packing_b $load:tt) => {
        concat!($load, " [{q}],ymm0\n", $load, " [{q}+32],ymm1\nadd {q},64\n")
    };
    ($kind:tt $load:tt) => {
        ""
    };
}

/// One term of all sums, and on to the next.
macro_rules! term {
    ($kind:tt $m:tt $n:tt $last:tt $load:tt $part:tt $broadcast:tt $fma:tt $put:tt) => {
        concat!(
            vectors!($n, $last load_b load_part_of_b ($load $part) "" ""),
            pack_b!($kind $load),
            rows!($m, add_product_row ($kind $n $broadcast $fma $put)),
            "add {b},{b_row}\n",
            "add {a},{a_column}\nadd {a3},{a_column}\n",
        )
    };
}

/// Loads the mask of the last vector.
macro_rules! load_mask {
    (masked) => {
        "mov {t},[{tile}+{MASK}]\nvmovups ymm2,[{t}]\n"
    };
    (whole) => {
        ""
    };
}

/// What else the loop does with each of four terms, by the kind of tile.
///
/// A plain tile fetches rows of the next micropanel of A, at a distance of {q}. A copying one
/// copies a piece of B, from {p} to {q}, where {s} are left in its row.
macro_rules! aside {
    (copying, 0, $load:tt) => {
        concat!(
            "mov {t},{p}\nadd {t},[{tile}+{COPY_AHEAD}]\n",
            $load,
            " ymm2,[{p}]\nprefetcht0 [{t}]\n",
            $load,
            " [{q}],ymm2\n",
        )
    };
    (copying, 1, $load:tt) => {
        concat!($load, " ymm2,[{p}+32]\n", $load, " [{q}+32],ymm2\n")
    };
    (copying, 2, $load:tt) => {
        ""
    };
    (copying, 3, $load:tt) => {
        next_piece!("64")
    };
    (plain, 0, $load:tt) => {
        "prefetcht0 [{a}+{q}]\n"
    };
    (plain, 1, $load:tt) => {
        "prefetcht0 [{a3}+{q}]\n"
    };
    ($kind:tt, $at:tt, $load:tt) => {
        ""
    };
}

/// The loop over the terms, longer for the tile that does nearly all of the work.
macro_rules! terms {
    (6, 2, whole, $four:expr) => {
        many_terms!(8, $four)
    };
    ($m:tt, $n:tt, $last:tt, $four:expr) => {
        many_terms!(4, $four)
    };
}

/// The code of a tile of `$m` rows and `$n` vectors, the last one `whole` or `masked`.
macro_rules! tile {
    ($kind:tt, $element:ty, $m:tt, $n:tt, $last:tt,
     $load:tt $part:tt $broadcast:tt $fma:tt $mul:tt $add:tt $put:tt) => {{
        /// # Safety
        ///
        /// That of `TileCode`; the instruction sets are AVX2 and FMA.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn code(tile: *mut Tile<$element>) {
            // SAFETY: reads A, B, C and writes C only within the tile, and copies as many pieces
            // as there are: the caller's promise. A masked lane is not accessed, and a prefetch
            // never faults.
            unsafe {
                tile_asm!(
                    $kind tile: $element,
                    mask: load_mask!($last),
                    clear: rows!($m, clear_row ($n)),
                    fetch_c: rows!($m, fetch_c_row ($n)),
                    more_rows_of_a: "",
                    term: term!($kind $m $n $last $load $part $broadcast $fma $put),
                    first_terms: "",
                    terms: terms!($m, $n, $last, four_terms!($kind, $load, term!($kind $m $n $last $load $part $broadcast $fma $put))),
                    spread: concat!($broadcast, " ymm3"),
                    scale_sum: rows!($m, scale_sum_row ($n $mul)),
                    with_scaled_c: rows!($m, with_scaled_c_row ($n $last $fma $part)),
                    with_c: rows!($m, with_c_row ($n $last $add $part)),
                    store: rows!($m, store_row ($n $last $load $part)),
                    vectors: [
                        "ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5" "ymm6" "ymm7"
                        "ymm8" "ymm9" "ymm10" "ymm11" "ymm12" "ymm13" "ymm14" "ymm15"
                    ],
                );
            }
        }
        code
    }};
}

/// The code of every height of tile.
macro_rules! tiles {
    ($element:ty, $n:tt, $last:tt, $instructions:tt) => {
        tiles!(@ $element, $n, $last, [1 2 3 4 5 6], $instructions)
    };
    (@ $element:ty, $n:tt, $last:tt, [$($m:tt)*], $instructions:tt) => {
        [$(tiles!(@one $element, $m, $n, $last, $instructions)),*]
    };
    (@one $element:ty, $m:tt, $n:tt, $last:tt, ($($i:tt)*)) => {
        tile!(plain, $element, $m, $n, $last, $($i)*)
    };
}

/// Vectors of lanes, the first of which are on: the mask of some lanes begins that many lanes
/// before the middle.
macro_rules! masks {
    ($integer:ty, $lanes:literal) => {{
        const fn masks() -> [$integer; 2 * $lanes] {
            let (mut masks, mut lane) = ([0; 2 * $lanes], 0);
            while lane < $lanes {
                masks[lane] = -1;
                lane += 1;
            }
            masks
        }
        masks()
    }};
}

macro_rules! microkernel {
    ($name:ident, $module:ident, $element:ty, $integer:ty, $lanes:literal,
     ($loadu:ident $storeu:ident $zero:ident $set1:ident $fmadd:ident),
     $($i:tt)*) => {
        pub static $name: Microkernel<$element> = Microkernel {
            mr: MR,
            nr: VECTORS * $lanes,
            lanes: $lanes,
            slice_flops: SLICE_FLOPS,
            panel: $module::panel,
            copying: Some($module::COPYING),
            packing: Some($module::PACKING),
            // No store of half a cache line is worth going past the caches.
            streaming: None,
            dots: $module::dots,
            axpys: $module::axpys,
        };

        mod $module {
            use super::*;

            static WHOLE: [[TileCode<$element>; MR]; VECTORS] =
                [tiles!($element, 1, whole, ($($i)*)), tiles!($element, 2, whole, ($($i)*))];
            static MASKED: [[TileCode<$element>; MR]; VECTORS] =
                [tiles!($element, 1, masked, ($($i)*)), tiles!($element, 2, masked, ($($i)*))];
            pub static COPYING: TileCode<$element> =
                tile!(copying, $element, 6, 2, whole, $($i)*);
            pub const PACKING: Packing<$element> = Packing {
                a: tile!(packing_a, $element, 6, 2, whole, $($i)*),
                b: tile!(packing_b, $element, 6, 2, whole, $($i)*),
            };
            static MASKS: [$integer; 2 * $lanes] = masks!($integer, $lanes);

            /// The mask is the address of a vector, in which the lanes are on.
            pub fn panel(columns: usize) -> Panel<$element> {
                let before_last = (columns - 1) / $lanes;
                let lanes = columns - before_last * $lanes;
                let mask = MASKS[$lanes - lanes..].as_ptr().expose_provenance() as u64;
                let tiles = if lanes == $lanes { &WHOLE } else { &MASKED };
                Panel { mask, codes: &tiles[before_last] }
            }

            vector_passes!(
                "avx2,fma", $element, $lanes, ($loadu $storeu $zero $set1 $fmadd)
            );
        }
    };
}

microkernel!(F64, f64_tiles, f64, i64, 4,
    (_mm256_loadu_pd _mm256_storeu_pd _mm256_setzero_pd _mm256_set1_pd _mm256_fmadd_pd),
    "vmovupd" "vmaskmovpd" "vbroadcastsd" "vfmadd231pd" "vmulpd" "vaddpd" "vmovsd");
microkernel!(F32, f32_tiles, f32, i32, 8,
    (_mm256_loadu_ps _mm256_storeu_ps _mm256_setzero_ps _mm256_set1_ps _mm256_fmadd_ps),
    "vmovups" "vmaskmovps" "vbroadcastss" "vfmadd231ps" "vmulps" "vaddps" "vmovss");
