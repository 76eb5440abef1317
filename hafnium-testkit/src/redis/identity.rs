//! What a node says of itself.

use std::fmt;

/// Whether a node takes writes, as it believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// It takes writes.
    Master,
    /// It follows a master.
    Replica,
    /// It watches the others.
    Sentinel,
}

/// A process of a node: the run id is new with every start, so a node that was restarted is another one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Identity {
    /// `host:port`.
    pub address: String,
    /// 40 hexadecimal digits.
    pub run_id: String,
    /// What it believes to be.
    pub role: Role,
    /// Replicas attached to a master, in whatever state.
    pub replicas: u32,
    /// For a replica: whether it follows its master now.
    pub in_sync: bool,
}

impl Identity {
    /// Reads the answer to `INFO`.
    pub(super) fn parse(address: String, info: &str) -> Result<Identity, String> {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let role = match (field("redis_mode"), field("role")) {
            (Some("sentinel"), _) => Role::Sentinel,
            (_, Some("master")) => Role::Master,
            (_, Some("slave")) => Role::Replica,
            (mode, role) => return Err(format!("{address} says mode {mode:?} and role {role:?}")),
        };
        let syncing = field("master_sync_in_progress") == Some("1");
        Ok(Identity {
            run_id: field("run_id")
                .ok_or_else(|| format!("{address} has no run id"))?
                .to_owned(),
            role,
            replicas: field("connected_slaves")
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
            in_sync: field("master_link_status") == Some("up") && !syncing,
            address,
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Master => "master",
            Role::Replica => "replica",
            Role::Sentinel => "sentinel",
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.run_id.get(..8).unwrap_or(&self.run_id);
        write!(f, "{} {} (run {short})", self.role, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_still_loads_is_not_in_sync() {
        let info = "redis_mode:standalone\r\nrun_id:abc\r\nrole:slave\r\nmaster_link_status:up\r\n\
                    master_sync_in_progress:1\r\n";
        let node = Identity::parse("h:1".into(), info).unwrap();
        assert_eq!((node.role, node.in_sync), (Role::Replica, false));
    }

    #[test]
    fn a_sentinel_is_told_by_its_mode() {
        let node = Identity::parse("h:1".into(), "run_id:abc\r\nredis_mode:sentinel\r\n").unwrap();
        assert_eq!(node.role, Role::Sentinel);
    }
}
