//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B). Decodes only: what this crate sends is not coded.
//!
//! The code is canonical (codes of one length count up in the order of their symbols), so the lengths say all of it.

/// Bits of each symbol's code, 0 to 255. The end-of-string symbol, 30 ones, must not occur.
#[rustfmt::skip]
const BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

const BITS_MAX: u32 = 30;

/// Where the codes of one length begin, and whose they are.
#[derive(Clone, Copy)]
struct Length {
    // First code of this length; 0 where there are none.
    first: u32,
    count: u32,
    // Place of the first code's symbol in `SYMBOLS`.
    symbols_at: u32,
}

/// Symbols in the order of their codes.
const SYMBOLS: [u8; 256] = symbols();

const LENGTHS: [Length; 31] = lengths();

/// Symbol and length of the code that a byte begins with, for codes of up to eight bits; length 0 where it is longer.
const SHORT: [(u8, u8); 256] = short();

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "runs at build time")]
const fn symbols() -> [u8; 256] {
    let mut sorted = [0; 256];
    let (mut at, mut bits) = (0, 0);
    while bits <= BITS_MAX as usize {
        let mut symbol = 0;
        while symbol < 256 {
            if BITS[symbol] as usize == bits {
                sorted[at] = symbol as u8;
                at += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    sorted
}

#[expect(clippy::indexing_slicing, reason = "runs at build time")]
const fn lengths() -> [Length; 31] {
    let mut lengths = [Length { first: 0, count: 0, symbols_at: 0 }; 31];
    let mut symbol = 0;
    while symbol < 256 {
        lengths[BITS[symbol] as usize].count += 1;
        symbol += 1;
    }
    let (mut code, mut at, mut bits) = (0, 0, 1);
    while bits <= BITS_MAX as usize {
        code <<= 1;
        lengths[bits].first = code;
        lengths[bits].symbols_at = at;
        code += lengths[bits].count;
        at += lengths[bits].count;
        bits += 1;
    }
    lengths
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "runs at build time")]
const fn short() -> [(u8, u8); 256] {
    let mut short = [(0, 0); 256];
    let mut bits = 5;
    while bits <= 8 {
        let length = LENGTHS[bits];
        let mut nth = 0;
        while nth < length.count {
            let from = ((length.first + nth) << (8 - bits)) as usize;
            let mut low = 0;
            while low < 1 << (8 - bits) {
                short[from + low] = (SYMBOLS[(length.symbols_at + nth) as usize], bits as u8);
                low += 1;
            }
            nth += 1;
        }
        bits += 1;
    }
    short
}

/// Appends what `coded` means to `out`. `None` when it is no valid coding: the end-of-string symbol, or padding that is longer
/// than seven bits or not of ones.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // The low `bits` bits of `window` are read and not decoded yet; fewer than 30 of them before each byte.
    let (mut window, mut bits) = (0_u64, 0_u32);
    for byte in coded {
        window = (window << 8) | u64::from(*byte);
        bits += 8;
        while bits >= 8
            && let Some((symbol, used)) = first_symbol(window, bits)
        {
            out.push(symbol);
            bits -= used;
        }
        if bits >= BITS_MAX {
            return None;
        }
    }
    // What is left: codes shorter than eight bits, then padding of ones (section 5.2).
    while bits > 0 {
        let ones = (1_u64 << bits) - 1;
        if window & ones == ones && bits < 8 {
            return Some(());
        }
        let (symbol, used) =
            first_symbol((window << 8) | 0xff, bits + 8).filter(|(_, used)| *used <= bits)?;
        out.push(symbol);
        bits -= used;
    }
    Some(())
}

/// The first symbol of the low `bits` bits of `window`, at least eight, and the length of its code; `None` when its code is
/// longer than what is there.
fn first_symbol(window: u64, bits: u32) -> Option<(u8, u32)> {
    let next = window >> (bits - 8) & 0xff;
    let (symbol, used) = usize::try_from(next).ok().and_then(|next| SHORT.get(next).copied())?;
    if used > 0 {
        return Some((symbol, u32::from(used)));
    }
    (9..=bits.min(BITS_MAX)).zip(LENGTHS.iter().skip(9)).find_map(|(used, length)| {
        let code = window >> (bits - used) & ((1 << used) - 1);
        let nth = code.checked_sub(u64::from(length.first)).filter(|nth| *nth < u64::from(length.count))?;
        let at = usize::try_from(u64::from(length.symbols_at) + nth).ok()?;
        Some((*SYMBOLS.get(at)?, used))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(plain: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for symbol in plain {
            let used = BITS[usize::from(*symbol)];
            let length = LENGTHS[usize::from(used)];
            let of_length = SYMBOLS[length.symbols_at as usize..].iter().position(|s| s == symbol).unwrap();
            let code = length.first + u32::try_from(of_length).unwrap();
            bits.extend((0..used).rev().map(|bit| (code >> bit) & 1 == 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(true);
        }
        bits.chunks(8).map(|eight| eight.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
    }

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    /// RFC 7541, appendix C.4.1 and C.6.1.
    #[test]
    fn examples_of_the_standard() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&coded).unwrap(), b"www.example.com");
        assert_eq!(decoded(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(decoded(&[0xae, 0xc3, 0x77, 0x1a, 0x4b]).unwrap(), b"private");
    }

    #[test]
    fn every_pair_of_symbols_comes_back() {
        for first in 0..=255 {
            for second in (0..=255).step_by(3) {
                for plain in [&[first, second][..], &[b'a', first, b'0', second, second]] {
                    assert_eq!(decoded(&encode(plain)).as_deref(), Some(plain), "{plain:?}");
                }
            }
        }
        assert_eq!(decoded(&[]).unwrap(), b"");
    }

    #[test]
    fn bad_padding_and_end_of_string_are_refused() {
        assert_eq!(decoded(&[0xff]), None, "eight bits of padding");
        assert_eq!(decoded(&[0x18]), None, "padding of zeros");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), None, "end of string");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
