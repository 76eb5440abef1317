//! Values with a written unit: `"250ms"`, `"64MiB"`, `"10%"`. A bare number is refused, because its unit would be a
//! guess.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// Why a value with a unit was not understood; says what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
#[non_exhaustive]
pub struct UnitError {
    /// The accepted forms.
    pub expected: &'static str,
}

/// The number in front of a unit. Whole numbers are kept as such: what is written is what is meant, to the last digit.
#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    Decimal(f64),
}

impl Number {
    fn decimal(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Decimal(number) => number,
        }
    }
}

/// Splits `text` into a non-negative number and the unit behind it.
fn split(text: &str) -> Option<(Number, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let number = match number.parse() {
        Ok(number) => Number::Whole(number),
        Err(_) => Number::Decimal(number.parse().ok()?),
    };
    Some((number, unit.trim_start()))
}

/// A length of time: a number and one of `ms`, `s`, `m`, `h`, `d`, such as `"250ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

impl Duration {
    pub(crate) const EXPECTED: &'static str =
        "a duration such as \"250ms\", \"5s\", \"10m\", \"2h\" or \"7d\"";

    /// A duration of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// A duration of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// The duration of the standard library.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        value.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        Self(value)
    }
}

impl FromStr for Duration {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = UnitError {
            expected: Self::EXPECTED,
        };
        let (number, unit) = split(text).ok_or(error.clone())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(error),
        };
        let duration = match number {
            Number::Whole(number) => number.checked_mul(millis).map(std::time::Duration::from_millis),
            Number::Decimal(number) => {
                std::time::Duration::try_from_secs_f64(number * millis as f64 / 1000.0).ok()
            }
        };
        duration.map(Self).ok_or(error)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0s"),
            _ if millis.is_multiple_of(86_400_000) => write!(f, "{}d", millis / 86_400_000),
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{}m", millis / 60_000),
            _ if millis.is_multiple_of(1000) => write!(f, "{}s", millis / 1000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

/// A number of bytes: a whole or decimal number and one of `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    pub(crate) const EXPECTED: &'static str = "a size such as \"512KiB\", \"64MiB\" or \"1GB\"";

    /// A size in bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size in mebibytes.
    pub const fn from_mebibytes(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = UnitError {
            expected: Self::EXPECTED,
        };
        let (number, unit) = split(text).ok_or(error.clone())?;
        let factor: u64 = match unit {
            "B" => 1,
            "kB" | "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(error),
        };
        let bytes = match number {
            Number::Whole(number) => number.checked_mul(factor),
            Number::Decimal(number) => Some(number * factor as f64)
                .filter(|bytes| *bytes < u64::MAX as f64)
                .map(|bytes| bytes as u64),
        };
        bytes.map(Self).ok_or(error)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes != 0 && bytes % (1 << 30) == 0 => write!(f, "{}GiB", bytes >> 30),
            bytes if bytes != 0 && bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes != 0 && bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

/// A share between 0 and 1, written in percent: `"10%"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    pub(crate) const EXPECTED: &'static str = "a ratio between \"0%\" and \"100%\"";

    /// The share, between 0 and 1.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// A ratio of whole percent; more than 100 counts as 100.
    pub const fn from_percent(percent: u8) -> Self {
        Self(if percent > 100 {
            1.0
        } else {
            percent as f64 / 100.0
        })
    }
}

impl FromStr for Ratio {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        match split(text) {
            Some((number, "%")) if number.decimal() <= 100.0 => Ok(Self(number.decimal() / 100.0)),
            _ => Err(UnitError {
                expected: Self::EXPECTED,
            }),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Binary fractions: 0.07 * 100 is 7.000000000000001.
        write!(f, "{}%", (self.0 * 1e11).round() / 1e9)
    }
}

macro_rules! text_value {
    ($type:ty, $format:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(<$type>::EXPECTED)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $format.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

text_value!(Duration, "duration");
text_value!(ByteSize, "byte-size");
text_value!(Ratio, "ratio");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whole_values_survive_print_and_parse(millis in any::<u32>(), days in 0..36_500_u64, bytes in any::<u64>()) {
            for duration in [Duration::from_millis(millis.into()), Duration::from_millis(days * 86_400_000 + 1)] {
                prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            }
            let size = ByteSize::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn percents_survive_print_and_parse(percent in 0..=100_u8) {
            let ratio = Ratio::from_percent(percent);
            prop_assert_eq!(ratio.to_string(), format!("{percent}%"));
            prop_assert_eq!(ratio.to_string().parse(), Ok(ratio));
        }

        #[test]
        fn a_unit_multiplies(number in 0..1_000_000_u64) {
            let millis = |text: String| text.parse::<Duration>().unwrap().get().as_millis() as u64;
            for (unit, factor) in [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)] {
                prop_assert_eq!(millis(format!("{number}{unit}")), number * factor);
                prop_assert_eq!(millis(format!(" {number} {unit} ")), number * factor);
            }
            for (unit, factor) in [("B", 1), ("kB", 1000), ("KiB", 1 << 10), ("MB", 1_000_000), ("GiB", 1 << 30)] {
                let size = format!("{number}{unit}").parse::<ByteSize>().unwrap();
                prop_assert_eq!(size.bytes(), number * factor);
            }
        }

        #[test]
        fn nothing_panics_and_no_bare_number_passes(text in "\\PC*", number in any::<u64>()) {
            let _ = (text.parse::<Duration>(), text.parse::<ByteSize>(), text.parse::<Ratio>());
            let bare = number.to_string();
            prop_assert!(bare.parse::<Duration>().is_err());
            prop_assert!(bare.parse::<ByteSize>().is_err());
            prop_assert!(bare.parse::<Ratio>().is_err());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!("18446744073709551615d".parse::<Duration>().is_err());
        assert!("18446744073709551615KiB".parse::<ByteSize>().is_err());
        assert!("18446744073709551616B".parse::<ByteSize>().is_err());
        assert_eq!("1.5KiB".parse(), Ok(ByteSize::from_bytes(1536)));
        assert_eq!("0.5s".parse(), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn a_bare_number_is_refused_and_the_accepted_forms_are_named() {
        for text in ["5", "", "5 parsecs", "-5s", "ms", "1e400s"] {
            let error = text.parse::<Duration>().unwrap_err();
            assert!(error.to_string().contains("\"250ms\""), "{text}");
        }
        assert!("64".parse::<ByteSize>().is_err());
        assert!("0.5".parse::<Ratio>().is_err());
        assert!("101%".parse::<Ratio>().is_err());
    }

    #[test]
    fn what_is_printed_parses_to_the_same_value() {
        for text in ["250ms", "5s", "10m", "2h", "7d", "0s"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        for text in ["1B", "1KiB", "64MiB", "1GiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!("10%".parse::<Ratio>().unwrap().to_string(), "10%");
    }
}
