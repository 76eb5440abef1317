//! The rules of the envelope: what of the settings every request looks up.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;

use super::forwarded::{Caller, Scheme, Trust};
use super::gate::Room;
use super::settings::HttpSettings;

/// Replaced as a whole when settings change; a request goes by those it began under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) body_limit: u64,
    pub(super) body_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) room: Room,
    pub(super) compression: bool,
}

impl Rules {
    pub(super) fn of(settings: &HttpSettings) -> Self {
        Self {
            body_limit: settings.body_limit.bytes(),
            body_timeout: settings.body_timeout.get(),
            request_timeout: settings.request_timeout.get(),
            room: Room {
                places: settings.max_concurrent_requests,
                wait: settings.queue_timeout.get(),
            },
            compression: settings.compression,
        }
    }
}

impl HttpSettings {
    /// Who asked, over a connection from `peer` that spoke `scheme` to us, as these settings have it: what every request
    /// finds in its extensions.
    pub fn caller(&self, peer: IpAddr, scheme: Scheme, headers: &HeaderMap) -> Caller {
        self.trust().caller(peer, scheme, headers)
    }

    pub(super) fn trust(&self) -> Trust {
        Trust {
            proxies: self.trusted_proxies.clone(),
            by: self.forwarded_by,
            host: self.forwarded_host,
        }
    }
}
