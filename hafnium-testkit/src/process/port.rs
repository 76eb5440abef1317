//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};

use crate::Error;

/// `count` distinct ports on 127.0.0.1 that nobody listens on.
///
/// They lie below the range the kernel takes outgoing connections' ports from: a port out of that range can be taken by
/// any client while its server is down, and the server then cannot come back on it.
///
/// # Errors
/// [`Error::Io`] when no ports can be bound.
pub fn free_ports(count: usize) -> Result<Vec<u16>, Error> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count * 200 {
        if held.len() == count {
            break;
        }
        if let Ok(listener) =
            TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(FIRST..ephemeral_start())))
        {
            held.push(listener);
        }
    }
    while held.len() < count {
        held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("bind a free port"))?);
    }
    // All are held until all are known, so they are distinct.
    held.iter()
        .map(|l| {
            l.local_addr()
                .map(|a| a.port())
                .map_err(Error::io("read a bound port"))
        })
        .collect()
}

const FIRST: u16 = 10_000;

fn ephemeral_start() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let start = range
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(32_768);
    // A machine whose ephemeral range starts this low leaves no room below it; then any port is as good.
    if start < FIRST + 1_000 { u16::MAX } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_can_be_bound() {
        let ports = free_ports(20).unwrap();
        let distinct: std::collections::HashSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), 20);
        TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
    }
}
