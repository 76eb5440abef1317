//! Numbers as text, without the general machinery of formatting where they are short.

use std::fmt::{self, Write};

/// Whole thousandths up to here have so few digits that no shorter text means the same number.
const EXACT: f64 = 1e12;

/// Writes `number` as [`Display`](fmt::Display) does: in the fewest digits that mean it.
pub(super) fn write_float(out: &mut dyn Write, number: f64) -> fmt::Result {
    let thousandths = (number * 1000.0).round();
    // Durations in milliseconds and shares are of this kind. Two texts of up to fifteen digits never mean the same number.
    if !(0.0..EXACT).contains(&thousandths) || thousandths / 1000.0 != number || number.is_sign_negative() {
        return write!(out, "{number}");
    }
    let thousandths = thousandths as u64;
    let (whole, part) = (thousandths / 1000, thousandths % 1000);
    write_unsigned(out, whole)?;
    if part == 0 {
        return Ok(());
    }
    let digits = [part / 100, part / 10 % 10, part % 10].map(|digit| b'0' + digit as u8);
    let length = digits
        .iter()
        .rposition(|digit| *digit != b'0')
        .map_or(0, |last| last + 1);
    out.write_str(".")?;
    out.write_str(str::from_utf8(&digits[..length]).unwrap_or_default())
}

/// Writes `number` in decimal digits.
pub(super) fn write_unsigned(out: &mut dyn Write, mut number: u64) -> fmt::Result {
    // As many as the largest has.
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.write_str(str::from_utf8(&digits[first..]).unwrap_or_default())
}

/// Puts the hexadecimal digits of `bytes` to the beginning of `out`.
pub(super) fn write_hex(out: &mut [u8], bytes: &[u8]) {
    let digit = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
    for (place, byte) in out.as_chunks_mut().0.iter_mut().zip(bytes) {
        *place = [digit(byte >> 4), digit(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_display_writes_it() {
        let mut numbers = vec![
            0.0,
            -0.0,
            1.0,
            0.1,
            0.12,
            0.123,
            0.1234,
            0.001,
            0.0009,
            17.5,
            1e12,
            999_999_999.999,
            1e300,
            -3.25,
            f64::MIN_POSITIVE,
            f64::EPSILON,
            f64::NAN,
            f64::INFINITY,
            0.1 + 0.2,
        ];
        numbers.extend((0..200_000_u32).map(|micros| f64::from(micros * 7) / 1000.0));
        let mut random = 1_u64;
        numbers.extend((0..200_000).map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f64::from_bits(random)
        }));
        for number in numbers {
            let mut text = String::new();
            write_float(&mut text, number).unwrap();
            assert_eq!(text, number.to_string());
        }
    }

    #[test]
    fn a_whole_number_has_all_its_digits() {
        for number in [0, 7, 10, 4711, u64::MAX] {
            let mut text = String::new();
            write_unsigned(&mut text, number).unwrap();
            assert_eq!(text, number.to_string());
        }
        let mut hex = *b"........";
        write_hex(&mut hex, &[0x00, 0x9f, 0xa0]);
        assert_eq!(&hex, b"009fa0..");
    }
}
