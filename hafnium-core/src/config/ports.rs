//! The two listeners can't share a port.

use super::effective::Config;
use super::problem::Problem;

/// The keys of the ports a service listens on.
const PORTS: [&str; 2] = ["http.port", "admin.port"];

/// A problem when both ports are the same; `0` asks for any free port and is never the same.
pub(crate) fn check(config: &Config) -> Option<Problem> {
    let [http, admin] = PORTS.map(|key| config.entry(key));
    let (http, admin) = (http?, admin?);
    if http.value != admin.value || http.value == "0" {
        return None;
    }
    let reason = format!(
        "both {} ({}) and {} ({}) are {}; give one of them another port",
        http.key, http.origin, admin.key, admin.origin, http.value
    );
    Some(Problem::new(http.key, reason).at(http.origin))
}
