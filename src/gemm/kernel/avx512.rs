//! Tiles of 8 rows by 3 vectors of 512 bits, in assembly: unrolled intrinsics end up with the loads
//! hoisted and the sums spilled.
//!
//! Registers: zmm0-2 a row of B, zmm3 one element of A in all lanes, zmm4-6 a piece of B or two of
//! A on their way into the packed block, zmm8-31 the sums, row by row; k1 the lanes of the last
//! vector that are within the tile. 24 independent sums cover the latency of the fused multiply-add
//! (4 cycles, 2 a cycle) threefold.
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

const MR: usize = 8;
const VECTORS: usize = 3;
/// No emulator that multiplies much has these instructions.
const SLICE_FLOPS: usize = 16 << 20;

/// The code `$row!($arguments, sums, address of A's element)` for each of the first rows.
macro_rules! rows {
    (1, $row:ident $x:tt) => { $row!($x "8" "9" "10" "{a}") };
    (2, $row:ident $x:tt) => {
        concat!(rows!(1, $row $x), $row!($x "11" "12" "13" "{a}+{a_row}"))
    };
    (3, $row:ident $x:tt) => {
        concat!(rows!(2, $row $x), $row!($x "14" "15" "16" "{a}+2*{a_row}"))
    };
    (4, $row:ident $x:tt) => { concat!(rows!(3, $row $x), $row!($x "17" "18" "19" "{a3}")) };
    (5, $row:ident $x:tt) => {
        concat!(rows!(4, $row $x), $row!($x "20" "21" "22" "{a3}+{a_row}"))
    };
    (6, $row:ident $x:tt) => {
        concat!(rows!(5, $row $x), $row!($x "23" "24" "25" "{a3}+2*{a_row}"))
    };
    (7, $row:ident $x:tt) => { concat!(rows!(6, $row $x), $row!($x "26" "27" "28" "{a6}")) };
    (8, $row:ident $x:tt) => {
        concat!(rows!(7, $row $x), $row!($x "29" "30" "31" "{a6}+{a_row}"))
    };
}

/// The code `$vector!($arguments, mask, zeroing mask, sum, register of B, offset)` for each of the
/// first vectors, the last one masked.
macro_rules! vectors {
    (1, $vector:ident $x:tt $c0:tt $c1:tt $c2:tt) => {
        $vector!($x "{{k1}}" "{{k1}}{{z}}" $c0 "0" "0")
    };
    (2, $vector:ident $x:tt $c0:tt $c1:tt $c2:tt) => {
        concat!(
            $vector!($x "" "" $c0 "0" "0"),
            $vector!($x "{{k1}}" "{{k1}}{{z}}" $c1 "1" "64"),
        )
    };
    (3, $vector:ident $x:tt $c0:tt $c1:tt $c2:tt) => {
        concat!(
            $vector!($x "" "" $c0 "0" "0"),
            $vector!($x "" "" $c1 "1" "64"),
            $vector!($x "{{k1}}" "{{k1}}{{z}}" $c2 "2" "128"),
        )
    };
}

// Single vectors.
macro_rules! clear {
    ($x:tt $k:tt $z:tt $c:tt $b:tt $at:tt) => {
        concat!("vpxorq zmm", $c, ",zmm", $c, ",zmm", $c, "\n")
    };
}
macro_rules! fetch_c {
    ($x:tt $k:tt $z:tt $c:tt $b:tt $at:tt) => {
        concat!("prefetchw [{t}+", $at, "]\n")
    };
}
macro_rules! load_b {
    (($load:tt) $k:tt $z:tt $c:tt $b:tt $at:tt) => {
        concat!($load, " zmm", $b, $z, ",[{b}+", $at, "]\n")
    };
}
macro_rules! add_product {
    (($fma:tt) $k:tt $z:tt $c:tt $b:tt $at:tt) => {
        concat!($fma, " zmm", $c, ",zmm3,zmm", $b, "\n")
    };
}
macro_rules! scale_sum {
    (($mul:tt) $k:tt $z:tt $c:tt $b:tt $at:tt) => {
        concat!($mul, " zmm", $c, ",zmm", $c, ",zmm3\n")
    };
}
/// `$operation sum, $factor, C`: an addition of C, or of beta times C.
macro_rules! with_c {
    (($operation:tt) $k:tt $z:tt $c:tt $b:tt $at:tt) => {
        concat!($operation, " zmm", $c, $k, ",zmm", $c, ",[{t}+", $at, "]\n")
    };
}
macro_rules! with_scaled_c {
    (($fma:tt) $k:tt $z:tt $c:tt $b:tt $at:tt) => {
        concat!($fma, " zmm", $c, $k, ",zmm3,[{t}+", $at, "]\n")
    };
}
macro_rules! store {
    (($load:tt) $k:tt $z:tt $c:tt $b:tt $at:tt) => {
        concat!($load, " [{t}+", $at, "]", $k, ",zmm", $c, "\n")
    };
}
/// Vectors that are written past the caches are whole.
macro_rules! stream {
    (($stream:tt) $k:tt $z:tt $c:tt $b:tt $at:tt) => {
        concat!($stream, " [{t}+", $at, "],zmm", $c, "\n")
    };
}

// Rows.
macro_rules! clear_row {
    (($n:tt) $c0:tt $c1:tt $c2:tt $a:tt) => { vectors!($n, clear () $c0 $c1 $c2) };
}
macro_rules! fetch_c_row {
    (($n:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        concat!(vectors!($n, fetch_c () $c0 $c1 $c2), "add {t},{s}\n")
    };
}
macro_rules! add_product_row {
    (($n:tt $broadcast:tt $fma:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        concat!(
            $broadcast, " zmm3,[", $a, "]\n",
            vectors!($n, add_product ($fma) $c0 $c1 $c2),
        )
    };
}
macro_rules! scale_sum_row {
    (($n:tt $mul:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        vectors!($n, scale_sum ($mul) $c0 $c1 $c2)
    };
}
macro_rules! with_c_row {
    (($n:tt $add:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        concat!(vectors!($n, with_c ($add) $c0 $c1 $c2), "add {t},{s}\n")
    };
}
macro_rules! with_scaled_c_row {
    (($n:tt $fma:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        concat!(vectors!($n, with_scaled_c ($fma) $c0 $c1 $c2), "add {t},{s}\n")
    };
}
macro_rules! store_row {
    (($n:tt $load:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        concat!(vectors!($n, store ($load) $c0 $c1 $c2), "add {t},{s}\n")
    };
}
macro_rules! stream_row {
    (($n:tt $stream:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        concat!(vectors!($n, stream ($stream) $c0 $c1 $c2), "add {t},{s}\n")
    };
}

/// What a packing tile does with a row of B, which comes from far: it fetches a later one.
macro_rules! pack_b {
    (packing_far_b $load:tt) => {
        concat!(
            "prefetcht0 [{b}+{p}]\nprefetcht0 [{b}+{p}+64]\nprefetcht0 [{b}+{p}+128]\n",
            $load,
            " [{q}],zmm0\n",
            $load,
            " [{q}+64],zmm1\n",
            $load,
            " [{q}+128],zmm2\nadd {q},192\n",
        )
    };
    ($kind:tt $load:tt) => {
        ""
    };
}

/// One term of all sums, and on to the next.
macro_rules! term {
    ($kind:tt $m:tt $n:tt ($load:tt $broadcast:tt $fma:tt)) => {
        concat!(
            vectors!($n, load_b ($load) "" "" ""),
            pack_b!($kind $load),
            rows!($m, add_product_row ($n $broadcast $fma)),
            "add {b},{b_row}\n",
            "add {a},{a_column}\nadd {a3},{a_column}\nadd {a6},{a_column}\n",
        )
    };
}

/// Copies two pieces of rows of A, four elements each, by the instruction and the register for so
/// many.
macro_rules! two_pieces {
    (($load:tt $part:tt), $from:tt $to:tt, $other_from:tt $other_to:tt) => {
        concat!(
            concat!($load, " ", $part, "4,[", $from, "]\n"),
            concat!($load, " ", $part, "5,[", $other_from, "]\n"),
            concat!($load, " [", $to, "],", $part, "4\n"),
            concat!($load, " [", $other_to, "],", $part, "5\n"),
        )
    };
}

/// What else the loop does with each of four terms, by the kind of tile.
///
/// A plain tile fetches rows of the next micropanel of A, at a distance of {q}. A copying one
/// copies a piece of B, from {p} to {q}, where {s} are left in its row. B itself comes from the
/// second-level cache in good time: to fetch it as well would cost more than it brings. One that
/// packs rows of A copies these terms of two rows at a time, the first three of them to {q} and the
/// others to {s}, and fetches the eight rows below, which are packed next.
macro_rules! aside {
    (copying, 0, ($load:tt $part:tt)) => {
        concat!(
            "mov {t},{p}\nadd {t},[{tile}+{COPY_AHEAD}]\n",
            $load,
            " zmm4,[{p}]\nprefetcht0 [{t}]\n",
            $load,
            " [{q}],zmm4\n",
        )
    };
    (copying, 1, ($load:tt $part:tt)) => {
        concat!($load, " zmm5,[{p}+64]\nprefetcht0 [{t}+64]\n", $load, " [{q}+64],zmm5\n",)
    };
    (copying, 2, ($load:tt $part:tt)) => {
        concat!($load, " zmm6,[{p}+128]\nprefetcht0 [{t}+128]\n", $load, " [{q}+128],zmm6\n",)
    };
    (copying, 3, $x:tt) => {
        next_piece!("192")
    };
    (packing_rows_of_a, 0, $moves:tt) => {
        concat!(
            two_pieces!($moves, "{a}-{SIZE}" "{q}", "{a}+{a_row}-{SIZE}" "{q}+{p}"),
            "lea {t},[{a6}+2*{a_row}]\nprefetcht1 [{t}]\nprefetcht1 [{t}+{a_row}]\n",
        )
    };
    (packing_rows_of_a, 1, $moves:tt) => {
        concat!(
            two_pieces!($moves, "{a}+2*{a_row}-2*{SIZE}" "{q}+2*{p}", "{a3}-2*{SIZE}" "{s}"),
            "lea {t},[{a6}+4*{a_row}]\nprefetcht1 [{t}]\nprefetcht1 [{t}+{a_row}]\n",
            "add {q},4*{SIZE}\n",
        )
    };
    (packing_rows_of_a, 2, $moves:tt) => {
        concat!(
            two_pieces!(
                $moves,
                "{a3}+{a_row}-3*{SIZE}" "{s}+{p}",
                "{a3}+2*{a_row}-3*{SIZE}" "{s}+2*{p}"
            ),
            "lea {t},[{a6}+4*{a_row}]\nprefetcht1 [{t}+2*{a_row}]\n",
            "add {t},{a_row}\nprefetcht1 [{t}+2*{a_row}]\n",
        )
    };
    (packing_rows_of_a, 3, $moves:tt) => {
        concat!(
            "lea {t},[{s}+2*{p}]\n",
            two_pieces!($moves, "{a6}-4*{SIZE}" "{t}+{p}", "{a6}+{a_row}-4*{SIZE}" "{t}+2*{p}"),
            "lea {t},[{a6}+8*{a_row}]\nprefetcht1 [{t}]\nprefetcht1 [{t}+{a_row}]\n",
            "add {s},4*{SIZE}\n",
        )
    };
    (packing_far_b, $at:tt, $x:tt) => {
        ""
    };
    ($kind:tt, 0, $x:tt) => {
        "prefetcht1 [{a}+{q}]\n"
    };
    ($kind:tt, 1, $x:tt) => {
        "prefetcht1 [{a3}+{q}]\n"
    };
    ($kind:tt, 2, $x:tt) => {
        "prefetcht1 [{a6}+{q}]\n"
    };
    ($kind:tt, $at:tt, $x:tt) => {
        ""
    };
}

/// What is done about C before the loop, and with it behind.
macro_rules! fetch_rows {
    (streaming, $m:tt, $n:tt) => {
        ""
    };
    (plain, 8, 3) => {
        concat!("cmp qword ptr [{tile}+{TERMS}],100\njae 8f\n", rows!(8, fetch_c_row(3)),)
    };
    ($kind:tt, $m:tt, $n:tt) => {
        rows!($m, fetch_c_row($n))
    };
}
macro_rules! store_rows {
    (streaming, $m:tt, $n:tt, $load:tt $stream:tt) => { rows!($m, stream_row ($n $stream)) };
    ($kind:tt, $m:tt, $n:tt, $load:tt $stream:tt) => { rows!($m, store_row ($n $load)) };
}

/// The plain full tile, if it has a hundred terms, fetches C along with the first 96, a cache line
/// every four: all at once would keep A and B waiting.
macro_rules! first_terms {
    (plain, 8, 3, $four:expr) => {
        concat!(
            "test byte ptr [{tile}+{FLAGS}],{FETCHES_C}\njz 31f\ncmp {terms},100\njb 31f\n",
            "mov {p},[{tile}+{C}]\nmov {s},[{tile}+{C_ROW}]\nmov {t},8\n.p2align 5\n30:\n",
            $four,
            "prefetchw [{p}]\n",
            $four,
            "prefetchw [{p}+64]\n",
            $four,
            "prefetchw [{p}+128]\nadd {p},{s}\ndec {t}\njnz 30b\nsub {terms},96\n31:\n",
        )
    };
    ($kind:tt, $m:tt, $n:tt, $four:expr) => {
        ""
    };
}

/// The code of a tile of `$m` rows and `$n` vectors.
macro_rules! tile {
    ($kind:tt, $element:ty, $m:tt, $n:tt,
     $load:tt $stream:tt $broadcast:tt $fma:tt $mul:tt $add:tt $part:tt) => {{
        /// # Safety
        ///
        /// That of `TileCode`; the instruction set is AVX-512 F.
        #[target_feature(enable = "avx512f")]
        unsafe fn code(tile: *mut Tile<$element>) {
            // SAFETY: reads A, B, C and writes C only within the tile, and copies as many pieces
            // as there are: the caller's promise. A masked lane is not accessed, and a prefetch
            // never faults.
            unsafe {
                tile_asm!(
                    $kind tile: $element,
                    mask: "kmovw k1,[{tile}+{MASK}]",
                    clear: rows!($m, clear_row ($n)),
                    fetch_c: fetch_rows!($kind, $m, $n),
                    more_rows_of_a: "lea {a6},[{a}+2*{a3}]",
                    term: term!($kind $m $n ($load $broadcast $fma)),
                    first_terms: first_terms!($kind, $m, $n, four_terms!($kind, ($load $part), term!($kind $m $n ($load $broadcast $fma)))),
                    terms: many_terms!(4, four_terms!($kind, ($load $part), term!($kind $m $n ($load $broadcast $fma)))),
                    spread: concat!($broadcast, " zmm3"),
                    scale_sum: rows!($m, scale_sum_row ($n $mul)),
                    with_scaled_c: rows!($m, with_scaled_c_row ($n $fma)),
                    with_c: rows!($m, with_c_row ($n $add)),
                    store: store_rows!($kind, $m, $n, $load $stream),
                    vectors: [
                        "zmm0" "zmm1" "zmm2" "zmm3" "zmm4" "zmm5" "zmm6" "zmm7"
                        "zmm8" "zmm9" "zmm10" "zmm11" "zmm12" "zmm13" "zmm14" "zmm15"
                        "zmm16" "zmm17" "zmm18" "zmm19" "zmm20" "zmm21" "zmm22" "zmm23"
                        "zmm24" "zmm25" "zmm26" "zmm27" "zmm28" "zmm29" "zmm30" "zmm31"
                        "k1"
                    ],
                );
            }
        }
        code
    }};
}

/// The code of every height of tile.
macro_rules! tiles {
    ($element:ty, $n:tt, $instructions:tt) => {
        tiles!(@ $element, $n, [1 2 3 4 5 6 7 8], $instructions)
    };
    (@ $element:ty, $n:tt, [$($m:tt)*], $instructions:tt) => {
        [$(tiles!(@one $element, $m, $n, $instructions)),*]
    };
    (@one $element:ty, $m:tt, $n:tt, ($($i:tt)*)) => {
        tile!(plain, $element, $m, $n, $($i)*)
    };
}

macro_rules! microkernel {
    ($name:ident, $module:ident, $element:ty, $lanes:literal,
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
            streaming: Some(&$module::STREAMING),
            dots: $module::dots,
            axpys: $module::axpys,
        };

        mod $module {
            use super::*;

            static TILES: [[TileCode<$element>; MR]; VECTORS] = [
                tiles!($element, 1, ($($i)*)),
                tiles!($element, 2, ($($i)*)),
                tiles!($element, 3, ($($i)*)),
            ];
            pub const COPYING: TileCode<$element> = tile!(copying, $element, 8, 3, $($i)*);
            pub const PACKING: Packing<$element> = Packing {
                a: tile!(packing_rows_of_a, $element, 8, 3, $($i)*),
                b: tile!(packing_far_b, $element, 8, 3, $($i)*),
            };
            pub static STREAMING: [TileCode<$element>; VECTORS] = [
                tile!(streaming, $element, 8, 1, $($i)*),
                tile!(streaming, $element, 8, 2, $($i)*),
                tile!(streaming, $element, 8, 3, $($i)*),
            ];

            /// The mask has a bit for each lane.
            pub fn panel(columns: usize) -> Panel<$element> {
                let before_last = (columns - 1) / $lanes;
                let lanes = columns - before_last * $lanes;
                Panel { mask: (1 << lanes) - 1, codes: &TILES[before_last] }
            }

            vector_passes!(
                "avx512f", $element, $lanes, ($loadu $storeu $zero $set1 $fmadd)
            );
        }
    };
}

microkernel!(F64, f64_tiles, f64, 8,
    (_mm512_loadu_pd _mm512_storeu_pd _mm512_setzero_pd _mm512_set1_pd _mm512_fmadd_pd),
    "vmovupd" "vmovntpd" "vbroadcastsd" "vfmadd231pd" "vmulpd" "vaddpd" "ymm");
microkernel!(F32, f32_tiles, f32, 16,
    (_mm512_loadu_ps _mm512_storeu_ps _mm512_setzero_ps _mm512_set1_ps _mm512_fmadd_ps),
    "vmovups" "vmovntps" "vbroadcastss" "vfmadd231ps" "vmulps" "vaddps" "xmm");
