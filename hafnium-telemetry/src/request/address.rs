//! The address of a client as text, made without a detour for IPv4: each access log line has one.

use std::fmt::Write;
use std::net::{SocketAddr, SocketAddrV4};

/// Room for any address and port.
const LENGTH: usize = 64;

/// An address as [`Display`](std::fmt::Display) writes it.
pub(super) struct Address {
    text: [u8; LENGTH],
    length: usize,
}

impl Address {
    pub(super) fn of(address: SocketAddr) -> Self {
        let mut own = Self {
            text: [0; LENGTH],
            length: 0,
        };
        match address {
            SocketAddr::V4(address) => own.push_v4(address),
            // Room is for the longest there is.
            SocketAddr::V6(_) => drop(write!(own, "{address}")),
        }
        own
    }

    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }

    fn push_v4(&mut self, address: SocketAddrV4) {
        for (place, octet) in address.ip().octets().into_iter().enumerate() {
            if place > 0 {
                self.push(b'.');
            }
            self.push_number(octet.into());
        }
        self.push(b':');
        self.push_number(address.port());
    }

    fn push_number(&mut self, mut number: u16) {
        let mut digits = [0; 5];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        for digit in &digits[first..] {
            self.push(*digit);
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }
}

impl Write for Address {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_display_writes_it() {
        for text in [
            "0.0.0.0:0",
            "10.0.0.7:4711",
            "255.255.255.255:65535",
            "127.100.9.10:80",
            "[::1]:8080",
            "[2001:db8:1234:5678:9abc:def0:1234:5678%4294967295]:65535",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::of(address).as_str(), address.to_string());
        }
    }
}
