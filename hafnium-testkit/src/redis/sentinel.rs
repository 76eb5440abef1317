//! A master, two replicas and three sentinels.

use std::fmt;
use std::time::Duration;

use super::identity::{Identity, Role};
use super::server::{Kind, RedisServer, password};
use crate::Error;
use crate::process::{Keeper, Process, ProcessId, await_ready, free_ports, wait_until};

/// The name that the sentinels know the master by.
pub(super) const MASTER: &str = "mymaster";

/// Sentinels greet each other every 2 s; a machine under load gets the rest.
const READY: Duration = Duration::from_secs(20);

/// Three data nodes and three sentinels, `down-after` 1 s. All of them end when it is dropped.
pub struct RedisSentinel {
    nodes: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
    password: String,
}

impl RedisSentinel {
    /// Starts all six. Ready when every sentinel knows both replicas and both other sentinels and says that a failover
    /// would find its quorum: 2–3 s.
    ///
    /// # Errors
    /// [`Error::Missing`] without `redis-server`, [`Error::Ended`] or [`Error::NotReady`] when one does not come up.
    pub async fn start() -> Result<RedisSentinel, Error> {
        let keeper = Keeper::new("sentinel")?;
        let password = password();
        let ports = free_ports(6)?;
        let (data, watchers) = ports.split_at(3);
        let master = data.first().copied().unwrap_or_default();
        let nodes = (1..)
            .zip(data)
            .map(|(n, port)| {
                let follows = (*port != master).then_some(master);
                let kind = Kind::Data { master: follows };
                RedisServer::spawn(&keeper, &format!("n{n}"), *port, &password, kind)
            })
            .collect::<Result<Vec<_>, _>>()?;
        await_replication(&nodes).await?;
        // Only now: a sentinel asks the master for its replicas at once, and then not for another 10 s.
        let sentinels = (1..)
            .zip(watchers)
            .map(|(n, port)| {
                let kind = Kind::Sentinel { master };
                RedisServer::spawn(&keeper, &format!("s{n}"), *port, &password, kind)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let cluster = RedisSentinel {
            nodes,
            sentinels,
            password,
        };
        cluster.await_quorum().await?;
        Ok(cluster)
    }

    /// `redis+sentinel://:password@s1,s2,s3/mymaster`; the password is that of the data nodes.
    pub fn sentinel_url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(RedisServer::address).collect();
        format!("redis+sentinel://:{}@{}/{MASTER}", self.password, hosts.join(","))
    }

    /// The password of the data nodes; sentinels have none.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The three data nodes; the first one starts as the master.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The three sentinels.
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// Every process there is, also those of descendants.
    pub fn processes(&self) -> Vec<ProcessId> {
        let all = self.nodes.iter().chain(&self.sentinels);
        all.flat_map(|server| server.process().tree()).collect()
    }

    /// The node that at least two sentinels name as the master, whether it lives or not.
    ///
    /// # Errors
    /// [`Error::Refused`] when no two of them agree.
    pub async fn master(&self) -> Result<&RedisServer, Error> {
        let doing = "find the master";
        let port = self
            .named_port()
            .await
            .map_err(|answer| Error::refused(doing, answer))?;
        self.nodes
            .iter()
            .find(|node| node.port == port)
            .ok_or_else(|| Error::refused(doing, format!("port {port} is none of ours")))
    }

    /// Starts a killed node again as a replica of the master of now, and waits until it follows and every sentinel knows
    /// both replicas as healthy.
    ///
    /// # Errors
    /// [`Error::Refused`] while it runs or no master is known, [`Error::NotReady`] when it does not follow in 20 s.
    pub async fn restart_as_replica(&self, node: &RedisServer) -> Result<Identity, Error> {
        let master = self.master().await?.port;
        if master == node.port {
            return Err(Error::refused(
                format!("start {} as a replica", node.name),
                "the sentinels still name it as the master",
            ));
        }
        node.start_again(Kind::Data { master: Some(master) })?;
        let identity = self.await_replica(node).await?;
        self.await_quorum().await?;
        Ok(identity)
    }

    /// Waits until `node` is a replica that follows, e.g. a thawed master after the sentinels demoted it (up to 20 s: they
    /// wait for 8 s of a steady state first).
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub async fn await_replica(&self, node: &RedisServer) -> Result<Identity, Error> {
        let what = format!("{} to follow", node.name);
        wait_until(&what, READY, || async {
            let identity = node.look().await?;
            match (identity.role, identity.in_sync) {
                (Role::Replica, true) => Ok(identity),
                (role, in_sync) => Err(format!("role {role}, in sync {in_sync}")),
            }
        })
        .await
    }

    /// Waits until every sentinel sees two healthy replicas, two healthy other sentinels and a master that is up, and says
    /// that a failover would be authorised.
    ///
    /// # Errors
    /// [`Error::NotReady`] after 20 s.
    pub async fn await_quorum(&self) -> Result<(), Error> {
        let processes: Vec<_> = self.sentinels.iter().map(RedisServer::process).collect();
        let processes: Vec<&Process> = processes.iter().map(AsRef::as_ref).collect();
        let what = "three sentinels with two replicas, two others and a quorum";
        await_ready(&processes, what, READY, || async {
            for sentinel in &self.sentinels {
                well_connected(sentinel).await?;
            }
            Ok(())
        })
        .await
    }
}

impl fmt::Debug for RedisSentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSentinel")
            .field("nodes", &self.nodes)
            .field("sentinels", &self.sentinels)
            .finish_non_exhaustive()
    }
}

/// The replicas follow, and the master counts both.
async fn await_replication(nodes: &[RedisServer]) -> Result<(), Error> {
    let processes: Vec<_> = nodes.iter().map(RedisServer::process).collect();
    let processes: Vec<&Process> = processes.iter().map(AsRef::as_ref).collect();
    await_ready(&processes, "two replicas that follow", READY, || async {
        for node in nodes {
            let identity = node.look().await?;
            match identity.role {
                Role::Master if identity.replicas == 2 => {}
                Role::Replica if identity.in_sync => {}
                _ => return Err(format!("{identity:?}")),
            }
        }
        Ok(())
    })
    .await
}

async fn well_connected(sentinel: &RedisServer) -> Result<(), String> {
    type Fields = std::collections::HashMap<String, String>;
    let master: Fields = sentinel.ask(&["SENTINEL", "MASTER", MASTER]).await?;
    let replicas: Vec<Fields> = sentinel.ask(&["SENTINEL", "REPLICAS", MASTER]).await?;
    let others: Vec<Fields> = sentinel.ask(&["SENTINEL", "SENTINELS", MASTER]).await?;
    let up = |fields: &Fields, flags: &str| fields.get("flags").is_some_and(|own| own == flags);
    let seen = (
        up(&master, "master"),
        replicas.iter().filter(|replica| up(replica, "slave")).count(),
        others.iter().filter(|other| up(other, "sentinel")).count(),
    );
    if seen != (true, 2, 2) {
        return Err(format!(
            "{}: master up {}, replicas {}, other sentinels {}",
            sentinel.name, seen.0, seen.1, seen.2
        ));
    }
    let _quorum: String = sentinel.ask(&["SENTINEL", "CKQUORUM", MASTER]).await?;
    Ok(())
}
