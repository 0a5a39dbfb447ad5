//! Packs by LZ4, in its block format, into as few bytes as that format allows, nearly.
//!
//! The library that unpacks packs for speed, to a result that is a quarter longer. Here speed does
//! not matter: the longest match of every position is looked for, then the cheapest way through them
//! is found from the end backwards.

/// Matches reach back so far, and no further.
const WINDOW_BYTES: usize = 65_535;
/// A match has at least so many bytes.
const MATCH_BYTES_MIN: usize = 4;
/// The format wants the last bytes to be literals, and the last match to begin before these.
const LITERALS_AT_END: usize = 5;
const MATCH_START_BEFORE_END: usize = 12;
/// Earlier positions with the same hash that are looked at, the latest first.
const CANDIDATES_MAX: usize = 1024;
/// A match that long is taken whole.
const MATCH_BYTES_SPLIT_MAX: usize = 512;
const HASH_BITS: u32 = 16;
const NONE: usize = usize::MAX;

#[derive(Clone, Copy, Default)]
struct Match {
    bytes: usize,
    distance: usize,
}

/// The block that unpacks to `bytes`.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let chosen = choose(bytes.len(), &longest_matches(bytes));
    let mut block = Vec::new();
    let (mut at, mut literals_from) = (0, 0);
    while at < bytes.len() {
        // What lies within a match that was taken is passed over, whatever was chosen there.
        let Match { bytes: match_bytes, distance } = chosen[at];
        if match_bytes == 0 {
            at += 1;
            continue;
        }
        let literals = &bytes[literals_from..at];
        let excess = match_bytes - MATCH_BYTES_MIN;
        block.push((literals.len().min(15) << 4 | excess.min(15)) as u8);
        push_length(&mut block, literals.len());
        block.extend_from_slice(literals);
        block.extend_from_slice(&(distance as u16).to_le_bytes());
        push_length(&mut block, excess);
        at += match_bytes;
        literals_from = at;
    }
    let literals = &bytes[literals_from..];
    block.push((literals.len().min(15) << 4) as u8);
    push_length(&mut block, literals.len());
    block.extend_from_slice(literals);
    block
}

/// What of a length did not fit the token's half.
fn push_length(block: &mut Vec<u8>, length: usize) {
    if let Some(rest) = length.checked_sub(15) {
        block.extend(std::iter::repeat_n(255, rest / 255));
        block.push((rest % 255) as u8);
    }
}

/// Bytes that [`push_length`] takes.
fn length_bytes(length: usize) -> usize {
    length.checked_sub(15).map_or(0, |rest| rest / 255 + 1)
}

/// The longest match of each position, of which the nearest; of no bytes where there is none.
fn longest_matches(bytes: &[u8]) -> Vec<Match> {
    let mut matches = vec![Match::default(); bytes.len()];
    let mut latest = vec![NONE; 1 << HASH_BITS];
    // Of each position, the one before with the same hash.
    let mut before = vec![NONE; bytes.len()];
    for at in 0..bytes.len().saturating_sub(MATCH_START_BEFORE_END) {
        let head: [u8; MATCH_BYTES_MIN] = std::array::from_fn(|index| bytes[at + index]);
        let hash = u32::from_le_bytes(head).wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS);
        let latest = &mut latest[hash as usize];
        before[at] = std::mem::replace(latest, at);
        matches[at] = longest_match(bytes, at, &before);
    }
    matches
}

fn longest_match(bytes: &[u8], at: usize, before: &[usize]) -> Match {
    let here = &bytes[at..bytes.len() - LITERALS_AT_END];
    let mut longest = Match { bytes: MATCH_BYTES_MIN - 1, distance: 0 };
    let mut candidate = before[at];
    for _ in 0..CANDIDATES_MAX {
        if candidate == NONE || at - candidate > WINDOW_BYTES {
            break;
        }
        let there = &bytes[candidate..];
        // Only what has the byte behind the longest so far can be longer.
        if here.get(longest.bytes).is_some_and(|byte| there[longest.bytes] == *byte) {
            let same = here.iter().zip(there).take_while(|(one, other)| one == other).count();
            if same > longest.bytes {
                longest = Match { bytes: same, distance: at - candidate };
            }
        }
        candidate = before[candidate];
    }
    if longest.distance == 0 { Match::default() } else { longest }
}

/// At each position the match to take there, shortened where that is cheaper, or none for a literal.
fn choose(bytes: usize, longest: &[Match]) -> Vec<Match> {
    let mut chosen = vec![Match::default(); bytes];
    // Bytes of the block from each position on, and how many literals it begins with.
    let mut cost = vec![0; bytes + 1];
    let mut literals = vec![0_usize; bytes + 1];
    for at in (0..bytes).rev() {
        let run = literals[at + 1] + 1;
        cost[at] = cost[at + 1] + 1 + length_bytes(run) - length_bytes(run - 1);
        literals[at] = run;
        let Match { bytes: most, distance } = longest[at];
        let least = if most > MATCH_BYTES_SPLIT_MAX { most } else { MATCH_BYTES_MIN };
        for match_bytes in least..=most {
            // A token and a distance.
            let own = 3 + length_bytes(match_bytes - MATCH_BYTES_MIN);
            let all = own + cost[at + match_bytes];
            if all < cost[at] {
                cost[at] = all;
                literals[at] = 0;
                chosen[at] = Match { bytes: match_bytes, distance };
            }
        }
    }
    chosen
}
