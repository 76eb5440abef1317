//! Deadlines in headers: each line is `name: value`.

use std::time::{Duration, SystemTime};

use hafnium_core::deadline::wire;
use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) fn fuzz_deadline_headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for line in data.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        if let Some(left) = wire::time_left_until_unix_millis(value, now) {
            assert!(left <= wire::LONGEST);
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            // The map panics beyond 32768 entries; a server refuses far fewer.
            if headers.len() < 1000 {
                headers.append(name, value);
            }
        }
    }
    if let Some(left) = wire::time_left(&headers) {
        assert!(left <= wire::LONGEST);
    }
}
