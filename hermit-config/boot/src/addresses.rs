//! Makes code easier to pack, and undoes that. Shared with `build.rs`, which packs.
//!
//! Calls, jumps and reads of constants tell an address by its distance from the next instruction, so
//! that the bytes for one function differ wherever it is called. Before the file is packed such
//! distances are turned into positions in the file, which are alike, and a sixteenth is saved.
//!
//! What is an instruction is guessed by its first bytes. A wrong guess does no harm: it is made again
//! where the file is unpacked, as the bytes that are guessed by never change, and each position
//! stands for one distance.

/// Turns distances into positions.
#[allow(dead_code, reason = "build.rs alone packs")]
pub fn make_absolute(file: &mut [u8]) {
    convert(file, |bytes, next, len| {
        let distance = i32::from_le_bytes(bytes);
        let position = match distance {
            _ if distance < -next || distance >= len => distance,
            _ if distance < len - next => distance + next,
            // It leads out of the file, and takes a number that is no position.
            _ => distance - len,
        };
        // The bytes that are most alike come first, next to those of the instruction.
        position.to_be_bytes()
    });
}

/// Turns positions back into distances.
#[allow(dead_code, reason = "the stub alone unpacks")]
pub fn make_relative(file: &mut [u8]) {
    convert(file, |bytes, next, len| {
        let position = i32::from_be_bytes(bytes);
        let distance = match position {
            _ if position < -next || position >= len => position,
            0.. => position - next,
            _ => position + len,
        };
        distance.to_le_bytes()
    });
}

/// Replaces the four bytes in each instruction that seem to be a distance by what `replaced` makes of
/// them, given the position of the next instruction and the length of the file.
fn convert(file: &mut [u8], replaced: impl Fn([u8; 4], i32, i32) -> [u8; 4]) {
    let Ok(len) = i32::try_from(file.len()) else { return };
    let mut at = 0;
    while let Some(code) = file.get_mut(at..) {
        let mut starts = code.array_windows().map(kind);
        let Some(skipped) = starts.position(|kind| kind != 0) else { return };
        let code = &mut code[skipped..];
        let opcode_bytes = code.first_chunk().map_or(0, kind).trailing_zeros() as usize + 1;
        let Some(distance) = code[opcode_bytes..].first_chunk_mut() else { return };
        at += skipped + opcode_bytes + distance.len();
        // At most `len`, which is an i32.
        *distance = replaced(*distance, at as i32, len);
    }
}

/// What instruction with a distance these bytes begin, if any: bit n - 1 where n bytes are before that.
///
/// Without a branch, as nobody could foretell it.
fn kind([first, second, third]: &[u8; 3]) -> u8 {
    KINDS[0][usize::from(*first)] & KINDS[1][usize::from(*second)] & KINDS[2][usize::from(*third)]
}

const KINDS: [[u8; 256]; 3] = {
    let mut kinds = [[0; 256]; 3];
    let mut byte = 0;
    while byte < 256 {
        kinds[0][byte] = match byte {
            // CALL and JMP.
            0xe8 | 0xe9 => 1,
            // JO to JG, with the next.
            0x0f => 2,
            // MOV and LEA of 64 bits, with the next two.
            0x48 | 0x4c => 4,
            _ => 0,
        };
        kinds[1][byte] = match byte {
            0x89 | 0x8b | 0x8d => 1 | 2 | 4,
            0x80..=0x8f => 1 | 2,
            _ => 1,
        };
        kinds[2][byte] = if byte & 0xc7 == 0x05 { 1 | 2 | 4 } else { 1 | 2 };
        byte += 1;
    }
    kinds
};
