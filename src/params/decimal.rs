//! Parses numbers.

/// Parses a decimal number, which consists of digits only. Returns `None` for other text, and for
/// a number of 2⁶⁴ or more.
#[inline]
pub(crate) fn parse_decimal(text: &[u8]) -> Option<u64> {
    let next = |number: u64, &byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    text.iter().try_fold(0, next).filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_number() {
        for (text, expected) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("18446744073709551620", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            (" 1", None),
            ("1 ", None),
            ("0x1", None),
            ("1.0", None),
            ("\u{661}", None),
        ] {
            assert_eq!(parse_decimal(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(parse_decimal(b"1\xff"), None);
    }
}
