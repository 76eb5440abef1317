//! What stands in `Forwarded` and `X-Forwarded-*`: written by anybody.

use std::net::IpAddr;

use hafnium_core::http::{ForwardedBy, HttpSettings, Network, Scheme};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Lines of `name: value`. A stranger's change nothing; of a trusted proxy's, what it does not vouch for is not believed,
/// and a host can't break out of a link.
pub(crate) fn fuzz_forwarded_headers(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts
            .next()
            .and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let stranger: IpAddr = "198.51.100.7".parse().unwrap();
    let proxy: IpAddr = "10.0.0.1".parse().unwrap();
    let trusted: Network = "10.0.0.0/8".parse().unwrap();
    let mut settings = HttpSettings::default();
    for by in [ForwardedBy::XForwarded, ForwardedBy::Forwarded] {
        settings.forwarded_by = by;
        settings.trusted_proxies = vec![trusted];
        settings.forwarded_host = true;
        let direct = settings.caller(stranger, Scheme::Http, &headers);
        assert_eq!(
            (direct.address, direct.scheme, direct.host),
            (stranger, Scheme::Http, None)
        );
        let caller = settings.caller(proxy, Scheme::Http, &headers);
        if let Some(host) = caller.host {
            assert!(
                !host.contains(['/', '@', '\\', '?', '#', ' ']) && host.len() <= 255,
                "{host}"
            );
        }
        // What the proxy itself adds is what counts, whatever came before it.
        let mut added = headers.clone();
        added.append("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        added.append("forwarded", HeaderValue::from_static("for=192.0.2.1"));
        let caller = settings.caller(proxy, Scheme::Http, &added);
        assert_eq!(caller.address.to_string(), "192.0.2.1");
    }
}
