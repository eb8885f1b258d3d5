//! `numeric` as it is sent: digits to the base 10,000, written out as the output function writes them.

use tidegate_model::Decimal;

use crate::postgres::reader::Reader;

/// Most digits after the point that the header can tell of.
const SCALE_MAX: u16 = 0x3FFF;

/// The decimal, with all the zeros of its scale.
pub(super) fn numeric_from_binary(bytes: &[u8]) -> Option<Decimal> {
    let mut reader = Reader(bytes);
    let count = reader.u16()?;
    let weight = i32::from(reader.i16()?);
    let sign = reader.u16()?;
    let scale = reader.u16()?;
    let groups: Vec<u16> = reader.0.as_chunks::<2>().0.iter().map(|group| u16::from_be_bytes(*group)).collect();
    if reader.0.len() != usize::from(count) * 2 || scale > SCALE_MAX || groups.iter().any(|group| *group > 9_999) {
        return None;
    }
    let text = match sign {
        0x0000 => digits("", &groups, weight, usize::from(scale)),
        0x4000 => digits("-", &groups, weight, usize::from(scale)),
        0xC000 => "NaN".to_owned(),
        0xD000 => "Infinity".to_owned(),
        0xF000 => "-Infinity".to_owned(),
        _ => return None,
    };
    text.parse().ok()
}

/// At most four digits for each of 32,768 groups before the point, and `scale` after it.
fn digits(sign: &str, groups: &[u16], weight: i32, scale: usize) -> String {
    use std::fmt::Write as _;
    // The group that stands for 10,000 to the power of `power`; those not sent are zero.
    let group = |power: i32| {
        let index = usize::try_from(weight - power).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = sign.to_owned();
    for power in (0..=weight).rev() {
        let _ = write!(text, "{:04}", group(power));
    }
    if weight < 0 {
        text.push('0');
    }
    if scale > 0 {
        text.push('.');
        let point = text.len();
        let mut power = -1;
        while text.len() < point + scale {
            let _ = write!(text, "{:04}", group(power));
            power -= 1;
        }
        text.truncate(point + scale);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(weight: i16, sign: u16, scale: u16, groups: &[u16]) -> Vec<u8> {
        let mut bytes = (groups.len() as u16).to_be_bytes().to_vec();
        bytes.extend(weight.to_be_bytes());
        bytes.extend(sign.to_be_bytes());
        bytes.extend(scale.to_be_bytes());
        bytes.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
        bytes
    }

    #[test]
    fn digits_come_out_as_printed() {
        for (weight, sign, scale, groups, text) in [
            (0, 0, 0, &[][..], "0"),
            (0, 0, 2, &[], "0.00"),
            (0, 0, 2, &[12, 3_400], "12.34"),
            (0, 0x4000, 1, &[1, 5_000], "-1.5"),
            (2, 0, 0, &[1], "100000000"),
            (-1, 0, 4, &[5], "0.0005"),
            (-2, 0, 9, &[12, 3_000], "0.000000123"),
            (0, 0xC000, 0, &[], "NaN"),
            (0, 0xD000, 0, &[], "Infinity"),
            (0, 0xF000, 0, &[], "-Infinity"),
        ] {
            let decimal = numeric_from_binary(&sent(weight, sign, scale, groups)).unwrap();
            assert_eq!(decimal.text(), text);
        }
    }

    #[test]
    fn hostile_headers_are_refused_or_bounded() {
        assert_eq!(numeric_from_binary(&sent(0, 0, 0x4000, &[])), None);
        assert_eq!(numeric_from_binary(&sent(0, 0, 0, &[10_000])), None);
        assert_eq!(numeric_from_binary(&sent(0, 1, 0, &[])), None);
        assert_eq!(numeric_from_binary(&[0, 9, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(numeric_from_binary(&[]), None);
        let zero = numeric_from_binary(&sent(i16::MIN, 0, SCALE_MAX, &[9_999])).unwrap();
        assert_eq!(zero, "0".parse().unwrap());
        let longest = numeric_from_binary(&sent(i16::MAX, 0, SCALE_MAX, &[9_999]));
        assert!(longest.is_some_and(|longest| longest.text().len() == 32_768 * 4 + 1 + usize::from(SCALE_MAX)));
    }
}
