//! Postgres' `numeric` as text: groups of four decimal digits on the wire.

use super::value::ValueError;

const NEGATIVE: u16 = 0x4000;
const NOT_A_NUMBER: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;
/// Digits that Postgres takes before the point, and after it.
const DIGITS_MAX: usize = 131_072;
const FRACTION_MAX: usize = 16_383;

pub(super) fn decode(bytes: &[u8]) -> Result<String, ValueError> {
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 2).ok_or(ValueError::Malformed("numeric"))?;
        Ok::<_, ValueError>(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let (groups, weight, sign, scale) = (word(0)?, word(2)? as i16, word(4)?, usize::from(word(6)?));
    match sign {
        NOT_A_NUMBER => return Ok("NaN".to_owned()),
        INFINITY => return Ok("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Ok("-Infinity".to_owned()),
        _ => {}
    }
    // The group that stands for 10000 to the power of `power`.
    let group = |power: i32| {
        let index = i32::from(weight) - power;
        match usize::try_from(index).ok().filter(|index| *index < usize::from(groups)) {
            Some(index) => word(8 + 2 * index),
            None => Ok(0),
        }
    };
    let mut text = String::new();
    for power in (0..=i32::from(weight).max(0)).rev() {
        text.push_str(&format!("{:04}", group(power)?));
    }
    let whole = text.trim_start_matches('0');
    let mut text = if whole.is_empty() { "0".to_owned() } else { whole.to_owned() };
    if scale > 0 {
        let mut fraction = String::new();
        let mut power = -1;
        while fraction.len() < scale {
            fraction.push_str(&format!("{:04}", group(power)?));
            power -= 1;
        }
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Ok(if sign == NEGATIVE { format!("-{text}") } else { text })
}

pub(super) fn encode(text: &str) -> Result<Vec<u8>, ValueError> {
    let bad = || ValueError::NoDecimal(text.chars().take(64).collect());
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let empty = whole.is_empty() && fraction.is_empty();
    let too_long = whole.len() > DIGITS_MAX || fraction.len() > FRACTION_MAX;
    if empty || too_long || !all_digits(whole) || !all_digits(fraction) {
        return Err(bad());
    }
    let whole = whole.trim_start_matches('0');
    let padded_whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded_fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let weight = (padded_whole.len() / 4) as i32 - 1;
    let digits = padded_whole + &padded_fraction;
    let groups: Vec<u16> = (0..digits.len() / 4)
        .map(|group| digits[4 * group..4 * group + 4].parse())
        .collect::<Result<_, _>>()
        .map_err(|_| bad())?;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let trailing = groups.iter().skip(leading).rev().take_while(|group| **group == 0).count();
    let groups = &groups[leading..groups.len() - trailing];
    let weight = if groups.is_empty() { 0 } else { weight - leading as i32 };
    let sign = if negative && !groups.is_empty() { NEGATIVE } else { 0 };
    let head = [groups.len() as u16, weight as i16 as u16, sign, fraction.len() as u16];
    Ok(head.iter().chain(groups).flat_map(|word| word.to_be_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_come_back_as_they_were_written() {
        for text in [
            "0",
            "1",
            "-1",
            "9999",
            "10000",
            "123456789",
            "0.1",
            "0.0001",
            "0.00001",
            "-0.00012300",
            "1.50",
            "100000000",
            "100000000.00000001",
            "-98765432109876543210.0123456789",
        ] {
            assert_eq!(decode(&encode(text).unwrap()).unwrap(), text);
        }
        for (text, normal) in
            [("+5", "5"), ("007", "7"), (".5", "0.5"), ("5.", "5"), ("-0", "0"), ("000.10", "0.10")]
        {
            assert_eq!(decode(&encode(text).unwrap()).unwrap(), normal, "{text}");
        }
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in ["", "-", ".", "1e5", "1,5", "--1", "0x1", "1.2.3", "NaN", "٣"] {
            assert!(encode(text).is_err(), "{text}");
        }
        assert!(encode(&"9".repeat(DIGITS_MAX + 1)).is_err());
        for bytes in [&[][..], &[0, 1, 0, 0, 0, 0, 0, 0]] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
