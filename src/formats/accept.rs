//! Weights in `Accept` and `Accept-Encoding` (RFC 9110, section 12.4.2).

/// An item of a list, in the order that its client gave, with its weight in thousandths.
pub struct Weighted<'a> {
    pub name: &'a [u8],
    /// How many parameters stand before the weight.
    parameters: usize,
    pub weight: u16,
}

/// The items of all values of a field. One that breaks the grammar has no weight: it is passed over
/// rather than refused, as a preference that can't be understood.
pub fn items<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = Weighted<'a>> {
    values.flat_map(|value| value.split(|byte| *byte == b',')).filter_map(|item| {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let mut parameters = 0;
        for part in parts {
            let (parameter, value) = part.split_at(part.iter().position(|byte| *byte == b'=')?);
            if parameter.trim_ascii().eq_ignore_ascii_case(b"q") {
                let weight = parse_weight(value[1..].trim_ascii())?;
                return Some(Weighted { name, parameters, weight });
            }
            parameters += 1;
        }
        Some(Weighted { name, parameters, weight: 1000 })
    })
}

/// The weight that an item of this name has, or 0.
pub fn name_weight<'a>(values: impl Iterator<Item = &'a [u8]>, name: &str) -> u16 {
    let named = items(values).filter(|item| item.name.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|item| item.weight).max().unwrap_or(0)
}

/// The weight of a media type: that of the most specific range which matches it, or 0.
pub fn media_weight<'a>(values: impl Iterator<Item = &'a [u8]>, media_type: &str) -> u16 {
    let (main_type, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let rank = |range: &[u8]| {
        let range_type = range.strip_suffix(b"/*").unwrap_or_default();
        if range.eq_ignore_ascii_case(media_type.as_bytes()) {
            Some(2)
        } else if range_type.eq_ignore_ascii_case(main_type.as_bytes()) {
            Some(1)
        } else {
            (range == b"*/*").then_some(0)
        }
    };
    items(values)
        .filter_map(|item| Some((rank(item.name)?, item)))
        // None of the types has parameters, so a range with some is one that may match as well, but
        // says less about the type alone.
        .max_by_key(|(rank, item)| (*rank, core::cmp::Reverse(item.parameters), item.weight))
        .map_or(0, |(_, item)| item.weight)
}

/// `0`, `1`, and up to three decimals.
fn parse_weight(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] => (whole, decimals),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || decimals.len() > 3 {
        return None;
    }
    let mut weight = u16::from(whole - b'0') * 1000;
    for (decimal, unit) in decimals.iter().zip([100, 10, 1]) {
        weight += u16::from(decimal.is_ascii_digit().then(|| decimal - b'0')?) * unit;
    }
    (weight <= 1000).then_some(weight)
}
