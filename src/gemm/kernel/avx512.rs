//! Tiles of 8 rows by 3 vectors of 512 bits, in assembly: unrolled intrinsics end up with the loads
//! hoisted and the sums spilled.
//!
//! Registers: zmm0-2 a row of B, zmm3 one element of A in all lanes, zmm8-31 the sums, row by row;
//! k1 the lanes of the last vector that are within the tile. 24 independent sums cover the latency
//! of the fused multiply-add (4 cycles, 2 a cycle) threefold.
#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::offset_of;

use super::arguments::{READS_C, SCALES_C, SCALES_SUM};
use super::passes::vector_passes;
use super::{Left, Microkernel, Right, Scale, Size, Target};

const MR: usize = 8;
const VECTORS: usize = 3;

/// The mask has a bit for each lane.
type Arguments<T> = super::arguments::Arguments<T, u64>;

type TileFn<T> = unsafe fn(&Arguments<T>);

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
        concat!($load, " zmm", $b, $z, ",[{b}+", $at, "]\nprefetcht0 [{b}+{b_ahead}+", $at, "]\n")
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
        concat!($load, " [{c}+", $at, "]", $k, ",zmm", $c, "\n")
    };
}

// Rows.
macro_rules! clear_row {
    (($n:tt) $c0:tt $c1:tt $c2:tt $a:tt) => { vectors!($n, clear () $c0 $c1 $c2) };
}
macro_rules! fetch_c_row {
    (($n:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        concat!(vectors!($n, fetch_c () $c0 $c1 $c2), "add {t},{c_row}\n")
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
        concat!(vectors!($n, with_c ($add) $c0 $c1 $c2), "add {t},{c_row}\n")
    };
}
macro_rules! with_scaled_c_row {
    (($n:tt $fma:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        concat!(vectors!($n, with_scaled_c ($fma) $c0 $c1 $c2), "add {t},{c_row}\n")
    };
}
macro_rules! store_row {
    (($n:tt $load:tt) $c0:tt $c1:tt $c2:tt $a:tt) => {
        concat!(vectors!($n, store ($load) $c0 $c1 $c2), "add {c},{c_row}\n")
    };
}

/// One term of all sums, and on to the next.
macro_rules! term {
    ($m:tt $n:tt $load:tt $broadcast:tt $fma:tt) => {
        concat!(
            vectors!($n, load_b ($load) "" "" ""),
            rows!($m, add_product_row ($n $broadcast $fma)),
            "add {b},{b_row}\n",
            "add {a},{a_column}\nadd {a3},{a_column}\nadd {a6},{a_column}\n",
        )
    };
}

/// The code of a tile of `$m` rows and `$n` vectors.
macro_rules! tile {
    ($element:ty, $m:tt, $n:tt,
     $load:tt $broadcast:tt $fma:tt $mul:tt $add:tt) => {{
        /// # Safety
        ///
        /// The CPU has AVX-512 F, and the operands hold the tile, as `Microkernel::multiply` has
        /// checked.
        #[target_feature(enable = "avx512f")]
        unsafe fn tile(arguments: &Arguments<$element>) {
            // SAFETY: reads A, B, C and writes C only within the tile: the caller's promise. A
            // masked lane is not accessed, and a prefetch never faults.
            unsafe {
                asm!(
                    // Tiles of one row have no use for the row stride.
                    "/* {a_row} */",
                    "kmovw k1,[{arguments}+{MASK}]",
                    rows!($m, clear_row ($n)),
                    "mov {t},{c}",
                    rows!($m, fetch_c_row ($n)),
                    "sub {terms},4",
                    "jb 3f",
                    ".p2align 5",
                    "2:",
                    term!($m $n $load $broadcast $fma),
                    term!($m $n $load $broadcast $fma),
                    term!($m $n $load $broadcast $fma),
                    term!($m $n $load $broadcast $fma),
                    "sub {terms},4",
                    "jae 2b",
                    "3:",
                    "add {terms},4",
                    "jz 5f",
                    "4:",
                    term!($m $n $load $broadcast $fma),
                    "dec {terms}",
                    "jnz 4b",
                    "5:",
                    "test byte ptr [{arguments}+{STEPS}],{SCALES_SUM}",
                    "jz 6f",
                    concat!($broadcast, " zmm3,[{arguments}+{ALPHA}]"),
                    rows!($m, scale_sum_row ($n $mul)),
                    "6:",
                    "test byte ptr [{arguments}+{STEPS}],{READS_C}",
                    "jz 8f",
                    "mov {t},{c}",
                    "test byte ptr [{arguments}+{STEPS}],{SCALES_C}",
                    "jz 7f",
                    concat!($broadcast, " zmm3,[{arguments}+{BETA}]"),
                    rows!($m, with_scaled_c_row ($n $fma)),
                    "jmp 8f",
                    "7:",
                    rows!($m, with_c_row ($n $add)),
                    "8:",
                    rows!($m, store_row ($n $load)),
                    // Old SSE code is slow on some CPUs while the upper halves are in use.
                    "vzeroupper",
                    MASK = const offset_of!(Arguments<$element>, mask),
                    STEPS = const offset_of!(Arguments<$element>, steps),
                    ALPHA = const offset_of!(Arguments<$element>, alpha),
                    BETA = const offset_of!(Arguments<$element>, beta),
                    SCALES_SUM = const SCALES_SUM,
                    READS_C = const READS_C,
                    SCALES_C = const SCALES_C,
                    arguments = in(reg) arguments,
                    terms = inout(reg) arguments.terms => _,
                    a = inout(reg) arguments.a => _,
                    a3 = inout(reg) arguments.a.wrapping_byte_add(3 * arguments.a_row_stride) => _,
                    a6 = inout(reg) arguments.a.wrapping_byte_add(6 * arguments.a_row_stride) => _,
                    a_row = in(reg) arguments.a_row_stride,
                    a_column = in(reg) arguments.a_column_stride,
                    b = inout(reg) arguments.b => _,
                    b_row = in(reg) arguments.b_row_stride,
                    b_ahead = in(reg) arguments.b_ahead,
                    c = inout(reg) arguments.c => _,
                    c_row = in(reg) arguments.c_row_stride,
                    t = out(reg) _,
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
                    out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
                    out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                    out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                    out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
                    out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
                    out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
                    out("k1") _,
                    options(nostack),
                );
            }
        }
        tile
    }};
}

/// The code of every size of tile, by rows, then by vectors.
macro_rules! tiles {
    ($element:ty, $($instructions:tt)*) => {
        tiles!(@ $element, [1 2 3 4 5 6 7 8], ($($instructions)*))
    };
    (@ $element:ty, [$($m:tt)*], $instructions:tt) => {
        [$(tiles!(@row $element, $m, $instructions)),*]
    };
    (@row $element:ty, $m:tt, ($($i:tt)*)) => {
        [tile!($element, $m, 1, $($i)*), tile!($element, $m, 2, $($i)*),
         tile!($element, $m, 3, $($i)*)]
    };
}

macro_rules! microkernel {
    ($name:ident, $module:ident, $element:ty, $lanes:literal,
     ($loadu:ident $storeu:ident $zero:ident $fmadd:ident),
     $load:tt $broadcast:tt $fma:tt $mul:tt $add:tt) => {
        pub static $name: Microkernel<$element> = Microkernel {
            mr: MR,
            nr: VECTORS * $lanes,
            lanes: $lanes,
            dots: $module::dots,
            axpys: $module::axpys,
            tile: $module::tile,
        };

        mod $module {
            use super::*;

            static TILES: [[TileFn<$element>; VECTORS]; MR] =
                tiles!($element, $load $broadcast $fma $mul $add);

            #[inline]
            pub fn tile(
                size: Size,
                a: Left<$element>,
                b: Right<$element>,
                scale: Scale<$element>,
                c: Target<$element>,
            ) {
                let before_last = (size.columns - 1) / $lanes;
                let lanes = size.columns - before_last * $lanes;
                let mask = (1 << lanes) - 1;
                let arguments = Arguments::new(size, a, b, scale, c, mask);
                let tile = TILES[size.rows - 1][before_last];
                // SAFETY: of_f64 and of_f32 hand this kernel out only where the CPU has AVX-512 F,
                // and Microkernel::multiply has checked the operands.
                unsafe { tile(&arguments) }
            }

            vector_passes!("avx512f", $element, $lanes, ($loadu $storeu $zero $fmadd));
        }
    };
}

microkernel!(F64, f64_tiles, f64, 8,
    (_mm512_loadu_pd _mm512_storeu_pd _mm512_setzero_pd _mm512_fmadd_pd),
    "vmovupd" "vbroadcastsd" "vfmadd231pd" "vmulpd" "vaddpd");
microkernel!(F32, f32_tiles, f32, 16,
    (_mm512_loadu_ps _mm512_storeu_ps _mm512_setzero_ps _mm512_fmadd_ps),
    "vmovups" "vbroadcastss" "vfmadd231ps" "vmulps" "vaddps");
