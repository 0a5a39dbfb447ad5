//! What the assembly of all tiles has in common: the loop over the terms with what stands around
//! it, and the operands.

/// The code of a tile, from what differs by instruction set, kind and size of tile: `{tile}` is
/// where its `Tile` is, or its `Copying`; the names in capitals are the offsets of their fields and
/// the bits of `flags`; all others are registers.
///
/// The loop around that over the terms takes one tile of a run after the other.
///
/// - `mask`: loads the mask of the last vector.
/// - `clear`, `scale_sum`, `with_c`, `with_scaled_c`, `store`: for all sums, where `{t}` is the first row
///   of C, if it is needed, and `{s}` from one row to the next.
/// - `fetch_c`: fetches these rows.
/// - `more_rows_of_a`: addresses beyond `{a3}`, where that is still three rows, and `{a}` the first.
/// - `first_terms`: adds some terms to all sums, and fetches C with them, where it is to be fetched and there
///   are terms enough: where nothing is left for `fetch_c` to do.
/// - `term`: adds one term to all sums, and goes on to the next.
/// - `terms`: the same for four terms at a time, with what else is done meanwhile, by `many_terms`, behind
///   which `{terms}` is four less than the terms that are left.
/// - `spread`: the instruction and the register that take one element into all lanes.
/// - `vectors`: the vector registers that are written.
macro_rules! tile_asm {
    (
        $kind:tt $tile:ident: $element:ty,
        mask: $mask:expr,
        clear: $clear:expr,
        fetch_c: $fetch_c:expr,
        more_rows_of_a: $more_rows_of_a:expr,
        term: $term:expr,
        first_terms: $first_terms:expr,
        terms: $terms:expr,
        spread: $spread:expr,
        scale_sum: $scale_sum:expr,
        with_scaled_c: $with_scaled_c:expr,
        with_c: $with_c:expr,
        store: $store:expr,
        vectors: [$($vector:tt)*] $(,)?
    ) => {
        asm!(
            // Not all kinds and sizes of tile need all of these.
            "/* {a_row} {a6} {p} {q} {A_AHEAD} {FROM} {TO} {LEFT} {PER_ROW} */",
            "/* {FROM_JUMP} {TO_JUMP} {TO_STEP} {COPY_AHEAD} {MASK} {A_AHEAD_STEP} {PACKED} {PACKED_ROW} {SIZE} */",
            $mask,
            "mov {a_row},[{tile}+{A_ROW}]",
            "mov {a_column},[{tile}+{A_COLUMN}]",
            "mov {b_row},[{tile}+{B_ROW}]",
            "22:",
            $clear,
            "test byte ptr [{tile}+{FLAGS}],{FETCHES_C}",
            "jz 8f",
            "mov {t},[{tile}+{C}]",
            "mov {s},[{tile}+{C_ROW}]",
            $fetch_c,
            "8:",
            "mov {terms},[{tile}+{TERMS}]",
            "mov {a},[{tile}+{A}]",
            "mov {b},[{tile}+{B}]",
            "lea {a3},[{a_row}+2*{a_row}]",
            $more_rows_of_a,
            "add {a3},{a}",
            begin_asides!($kind),
            $first_terms,
            $terms,
            end_asides!($kind),
            "add {terms},4",
            "jz 5f",
            "4:",
            $term,
            "dec {terms}",
            "jnz 4b",
            "5:",
            end_packing!($kind),
            "mov {s},[{tile}+{C_ROW}]",
            "test byte ptr [{tile}+{FLAGS}],{SCALES_SUM}",
            "jz 6f",
            concat!($spread, ",[{tile}+{ALPHA}]"),
            $scale_sum,
            "6:",
            "test byte ptr [{tile}+{FLAGS}],{READS_C}",
            "jz 8f",
            "mov {t},[{tile}+{C}]",
            "test byte ptr [{tile}+{FLAGS}],{SCALES_C}",
            "jz 7f",
            concat!($spread, ",[{tile}+{BETA}]"),
            $with_scaled_c,
            "jmp 8f",
            "7:",
            $with_c,
            "8:",
            "mov {t},[{tile}+{C}]",
            $store,
            "dec qword ptr [{tile}+{TILES}]",
            "jz 23f",
            "mov {t},[{tile}+{A_STEP}]",
            "add [{tile}+{A}],{t}",
            "mov {t},[{tile}+{B_STEP}]",
            "add [{tile}+{B}],{t}",
            "mov {t},[{tile}+{C_STEP}]",
            "add [{tile}+{C}],{t}",
            next_ahead!($kind),
            "jmp 22b",
            "23:",
            // Old SSE code is slow on some CPUs while the upper halves are in use.
            "vzeroupper",
            TILES = const offset_of!(Tile<$element>, tiles),
            A_STEP = const offset_of!(Tile<$element>, steps.a),
            B_STEP = const offset_of!(Tile<$element>, steps.b),
            C_STEP = const offset_of!(Tile<$element>, steps.c),
            A_AHEAD_STEP = const offset_of!(Tile<$element>, steps.a_ahead),
            TERMS = const offset_of!(Tile<$element>, terms),
            A = const offset_of!(Tile<$element>, a),
            A_ROW = const offset_of!(Tile<$element>, a_row_stride),
            A_COLUMN = const offset_of!(Tile<$element>, a_column_stride),
            A_AHEAD = const offset_of!(Tile<$element>, a_ahead),
            B = const offset_of!(Tile<$element>, b),
            B_ROW = const offset_of!(Tile<$element>, b_row_stride),
            C = const offset_of!(Tile<$element>, c),
            C_ROW = const offset_of!(Tile<$element>, c_row_stride),
            PACKED = const offset_of!(Tile<$element>, packed),
            PACKED_ROW = const offset_of!(Tile<$element>, packed_row_stride),
            SIZE = const size_of::<$element>(),
            MASK = const offset_of!(Tile<$element>, mask),
            FLAGS = const offset_of!(Tile<$element>, flags),
            ALPHA = const offset_of!(Tile<$element>, alpha),
            BETA = const offset_of!(Tile<$element>, beta),
            FROM = const offset_of!(Copying<$element>, from),
            TO = const offset_of!(Copying<$element>, to),
            LEFT = const offset_of!(Copying<$element>, left),
            PER_ROW = const offset_of!(Copying<$element>, per_row),
            FROM_JUMP = const offset_of!(Copying<$element>, from_jump),
            TO_JUMP = const offset_of!(Copying<$element>, to_jump),
            TO_STEP = const offset_of!(Copying<$element>, to_step),
            COPY_AHEAD = const offset_of!(Copying<$element>, ahead),
            FETCHES_C = const FETCHES_C,
            SCALES_SUM = const SCALES_SUM,
            READS_C = const READS_C,
            SCALES_C = const SCALES_C,
            tile = in(reg) $tile,
            terms = out(reg) _,
            a = out(reg) _,
            a3 = out(reg) _,
            a6 = out(reg) _,
            a_row = out(reg) _,
            a_column = out(reg) _,
            b = out(reg) _,
            b_row = out(reg) _,
            p = out(reg) _,
            q = out(reg) _,
            s = out(reg) _,
            t = out(reg) _,
            $(out($vector) _,)*
            options(nostack),
        )
    };
}

/// Four terms, and what else is done meanwhile, by the `aside` of the instruction set.
macro_rules! four_terms {
    ($kind:tt, $load:tt, $term:expr) => {
        concat!(
            $term,
            aside!($kind, 0, $load),
            $term,
            aside!($kind, 1, $load),
            $term,
            aside!($kind, 2, $load),
            $term,
            aside!($kind, 3, $load),
        )
    };
}

/// The loop over the terms, from the code for four of them, which is there once or twice: twice
/// takes a cycle less now and then, but the same place again.
macro_rules! many_terms {
    (4, $four:expr) => {
        concat!("sub {terms},4\njb 3f\n.p2align 5\n2:\n", $four, "sub {terms},4\njae 2b\n3:\n",)
    };
    (8, $four:expr) => {
        concat!(
            "sub {terms},8\njb 24f\n.p2align 5\n2:\n",
            $four,
            $four,
            "sub {terms},8\njae 2b\n24:\nadd {terms},4\njs 3f\n",
            $four,
            "sub {terms},4\n3:\n",
        )
    };
}

/// What a kind of tile loads before its loop: a copying one where it copies from and to, and how
/// many pieces are left in the row; a packing one where it packs, three rows further down in {s} if
/// these are {p} apart, or how far ahead it fetches, 32 rows of B; all others how far ahead they
/// fetch.
macro_rules! begin_asides {
    (copying) => {
        "mov {p},[{tile}+{FROM}]\nmov {q},[{tile}+{TO}]\nmov {s},[{tile}+{LEFT}]\n"
    };
    (packing_a) => {
        "mov {q},[{tile}+{PACKED}]\n"
    };
    (packing_rows_of_a) => {
        concat!(
            "mov {q},[{tile}+{PACKED}]\nmov {p},[{tile}+{PACKED_ROW}]\n",
            "lea {s},[{p}+2*{p}]\nadd {s},{q}\n",
        )
    };
    (packing_b) => {
        "mov {q},[{tile}+{PACKED}]\n"
    };
    (packing_far_b) => {
        "mov {q},[{tile}+{PACKED}]\nmov {p},{b_row}\nshl {p},5\n"
    };
    ($kind:tt) => {
        "mov {q},[{tile}+{A_AHEAD}]\n"
    };
}

/// Where a copying tile has come to.
macro_rules! end_asides {
    (copying) => {
        "mov [{tile}+{FROM}],{p}\nmov [{tile}+{TO}],{q}\nmov [{tile}+{LEFT}],{s}\n"
    };
    ($kind:tt) => {
        ""
    };
}

/// Where a packing tile has come to.
macro_rules! end_packing {
    (packing_a) => {
        "mov [{tile}+{PACKED}],{q}\n"
    };
    (packing_b) => {
        "mov [{tile}+{PACKED}],{q}\n"
    };
    (packing_far_b) => {
        "mov [{tile}+{PACKED}],{q}\n"
    };
    ($kind:tt) => {
        ""
    };
}

/// What a kind of tile fetches next.
macro_rules! next_ahead {
    (plain) => {
        "mov {t},[{tile}+{A_AHEAD_STEP}]\nadd [{tile}+{A_AHEAD}],{t}\n"
    };
    (streaming) => {
        "mov {t},[{tile}+{A_AHEAD_STEP}]\nadd [{tile}+{A_AHEAD}],{t}\n"
    };
    ($kind:tt) => {
        ""
    };
}

/// On to the next piece, behind one of so many bytes.
macro_rules! next_piece {
    ($bytes:literal) => {
        concat!(
            "add {p},",
            $bytes,
            "\nadd {q},[{tile}+{TO_STEP}]\n",
            "dec {s}\njnz 9f\n",
            "add {p},[{tile}+{FROM_JUMP}]\nadd {q},[{tile}+{TO_JUMP}]\n",
            "mov {s},[{tile}+{PER_ROW}]\n9:\n",
        )
    };
}

pub(super) use {
    begin_asides, end_asides, end_packing, four_terms, many_terms, next_ahead, next_piece, tile_asm,
};
