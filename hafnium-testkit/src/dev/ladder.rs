//! Which rungs a dependency may take, and in which order. Pure.

use std::fmt;

/// Where a dependency can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rung {
    /// A container of the official image.
    Docker,
    /// The server that is installed on this machine, as a child process.
    Local,
    /// librdkafka's mock cluster, inside this process: Kafka only. Enough to produce and consume; no transactions, and
    /// it silently drops the oldest records above 5 MiB per partition.
    Mock,
    /// A server named by the pin; nothing was started.
    Url,
}

impl Rung {
    /// As it is written in `HAFNIUM_DEV_<NAME>`.
    pub fn as_str(self) -> &'static str {
        match self {
            Rung::Docker => "docker",
            Rung::Local => "local",
            Rung::Mock => "mock",
            Rung::Url => "url",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of `HAFNIUM_DEV_<NAME>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    Rung(Rung),
    Off,
    Url(String),
}

impl Pin {
    /// `rungs` are those that the dependency has. `None` for what is neither a rung, `off`, nor an address.
    pub(crate) fn parse(value: &str, rungs: &[Rung]) -> Option<Pin> {
        let value = value.trim();
        if value == "off" {
            return Some(Pin::Off);
        }
        if let Some(rung) = rungs.iter().find(|rung| rung.as_str() == value) {
            return Some(Pin::Rung(*rung));
        }
        // A URL or, for Kafka, host:port. A misspelled rung has no colon.
        value.contains(':').then(|| Pin::Url(value.to_owned()))
    }
}

/// The rungs to be tried, first to last.
pub(crate) fn ladder(pin: Option<&Pin>, rungs: &[Rung]) -> Vec<Rung> {
    match pin {
        None => rungs.to_vec(),
        Some(Pin::Rung(rung)) => vec![*rung],
        Some(Pin::Off | Pin::Url(_)) => Vec::new(),
    }
}

/// The variable that pins a dependency. What a variable's name cannot hold becomes `_`.
pub(crate) fn variable(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("HAFNIUM_DEV_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Rung] = &[Rung::Docker, Rung::Local, Rung::Mock];
    const SQL: &[Rung] = &[Rung::Docker, Rung::Local];

    #[test]
    fn without_a_pin_every_rung_is_tried_in_order() {
        assert_eq!(ladder(None, ALL), ALL);
    }

    #[test]
    fn a_pinned_rung_is_the_only_one() {
        let pin = Pin::parse("local", ALL);
        assert_eq!(pin, Some(Pin::Rung(Rung::Local)));
        assert_eq!(ladder(pin.as_ref(), ALL), [Rung::Local]);
    }

    #[test]
    fn only_what_has_a_mock_can_be_pinned_to_it() {
        assert_eq!(Pin::parse("mock", ALL), Some(Pin::Rung(Rung::Mock)));
        assert_eq!(Pin::parse("mock", SQL), None);
    }

    #[test]
    fn an_address_is_taken_as_it_is_and_a_misspelled_rung_is_not() {
        assert_eq!(
            Pin::parse("postgres://h/x", SQL),
            Some(Pin::Url("postgres://h/x".into()))
        );
        assert_eq!(
            Pin::parse("localhost:9092", ALL),
            Some(Pin::Url("localhost:9092".into()))
        );
        assert_eq!(Pin::parse("dokcer", SQL), None);
        assert_eq!(Pin::parse("off", SQL), Some(Pin::Off));
    }

    #[test]
    fn the_variable_is_the_name_in_capitals() {
        assert_eq!(variable("ledger"), "HAFNIUM_DEV_LEDGER");
        assert_eq!(variable("risk-scores"), "HAFNIUM_DEV_RISK_SCORES");
    }
}
