//! What the assembly of all tiles has in common: its operands.

/// `asm!` with the operands of a tile's code: `{tile}` is where its `Tile` is, or its `Copying`; the names
/// in capitals are the offsets of their fields and the bits of `steps`; all others are registers. The
/// second list names the vector registers that are written.
macro_rules! tile_asm {
    (
        $tile:ident: $element:ty,
        [$($template:expr),* $(,)?],
        [$($vector:tt)*] $(,)?
    ) => {
        asm!(
            // Not all kinds and sizes of tile need all of these.
            "/* {a_row} {a6} {p} {q} {A_AHEAD} {FROM} {TO} {LEFT} {PER_ROW} */",
            "/* {FROM_JUMP} {TO_JUMP} {TO_STEP} {COPY_AHEAD} {MASK} */",
            $($template,)*
            TERMS = const offset_of!(Tile<$element>, terms),
            A = const offset_of!(Tile<$element>, a),
            A_ROW = const offset_of!(Tile<$element>, a_row_stride),
            A_COLUMN = const offset_of!(Tile<$element>, a_column_stride),
            A_AHEAD = const offset_of!(Tile<$element>, a_ahead),
            B = const offset_of!(Tile<$element>, b),
            B_ROW = const offset_of!(Tile<$element>, b_row_stride),
            C = const offset_of!(Tile<$element>, c),
            C_ROW = const offset_of!(Tile<$element>, c_row_stride),
            MASK = const offset_of!(Tile<$element>, mask),
            STEPS = const offset_of!(Tile<$element>, steps),
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

pub(super) use tile_asm;
