//! Another node became the master.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::identity::{Identity, Role};
use super::sentinel::{MASTER, RedisSentinel};
use crate::Error;
use crate::process::wait_until;

/// Detection after 1 s, a vote, and at worst a second vote after `failover-timeout` × 2.
const FAILOVER: Duration = Duration::from_secs(20);

/// A node that was a replica is the master: the sentinels say so, it says so, and it took a write.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Failover {
    /// The master before.
    pub before: Identity,
    /// The master now.
    pub after: Identity,
    /// The sentinels, of three, that name it.
    pub sentinels: u32,
    /// The epoch of their decision.
    pub epoch: u64,
    /// From the call to the first write that the new master took.
    #[serde(rename = "first_write_ms", serialize_with = "milliseconds")]
    pub first_write: Duration,
}

/// What the sentinels say together.
#[derive(Clone, Debug)]
struct Decision {
    port: u16,
    epoch: u64,
    votes: u32,
}

impl RedisSentinel {
    /// Waits until a majority of the sentinels names another node than `before`, and that node took a write as a master
    /// with another run id. Up to 20 s. Cancel-safe.
    ///
    /// The write is `SET hafnium-testkit:probe 1 PX 1`.
    ///
    /// # Errors
    /// [`Error::NotReady`] with what was seen last.
    pub async fn wait_for_new_master(&self, before: &Identity) -> Result<Failover, Error> {
        let start = Instant::now();
        let what = format!("another master than {}", before.address);
        wait_until(&what, FAILOVER, || async {
            let decision = self.decision().await?;
            let node = self
                .nodes()
                .iter()
                .find(|node| node.port == decision.port)
                .ok_or_else(|| format!("the sentinels name port {}", decision.port))?;
            let after = node.look().await?;
            if after.run_id == before.run_id || after.role != Role::Master {
                return Err(format!("the sentinels name the {after}"));
            }
            let _ok: () = node
                .ask(&["SET", "hafnium-testkit:probe", "1", "PX", "1"])
                .await?;
            Ok(Failover {
                before: before.clone(),
                after,
                sentinels: decision.votes,
                epoch: decision.epoch,
                first_write: start.elapsed(),
            })
        })
        .await
    }

    /// Asks a sentinel to fail over although the master is well (`SENTINEL FAILOVER`), and waits for the new one.
    ///
    /// # Errors
    /// [`Error::Refused`] with the sentinel's answer, e.g. `INPROG` or `NOGOODSLAVE`, and those of
    /// [`wait_for_new_master`](Self::wait_for_new_master).
    pub async fn failover(&self) -> Result<Failover, Error> {
        let before = self.master().await?.identity().await?;
        let doing = || "ask for a failover";
        let sentinel = self
            .sentinels()
            .first()
            .ok_or_else(|| Error::refused(doing(), "there is no sentinel"))?;
        let _ok: () = sentinel
            .ask(&["SENTINEL", "FAILOVER", MASTER])
            .await
            .map_err(|answer| Error::refused(doing(), answer))?;
        self.wait_for_new_master(&before).await
    }

    /// The port that at least two sentinels name, silent ones left out.
    pub(super) async fn named_port(&self) -> Result<u16, String> {
        Ok(self.decision().await?.port)
    }

    async fn decision(&self) -> Result<Decision, String> {
        let asked = self.sentinels().iter().map(|sentinel| async move {
            let fields: std::collections::HashMap<String, String> =
                sentinel.ask(&["SENTINEL", "MASTER", MASTER]).await?;
            let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok());
            let port = number("port").and_then(|port| u16::try_from(port).ok());
            port.zip(number("config-epoch"))
                .ok_or_else(|| format!("{} gave no port and epoch", sentinel.name))
        });
        let answers = futures_util::future::join_all(asked).await;
        let named: Vec<(u16, u64)> = answers.iter().flatten().copied().collect();
        let votes = |port: u16| named.iter().filter(|(other, _)| *other == port).count();
        named
            .iter()
            .find(|(port, _)| votes(*port) >= 2)
            .map(|(port, epoch)| Decision {
                port: *port,
                epoch: *epoch,
                votes: u32::try_from(votes(*port)).unwrap_or(u32::MAX),
            })
            .ok_or_else(|| format!("no two sentinels name the same master: {answers:?}"))
    }
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} → {}, epoch {}, named by {} of 3 sentinels, first write after {} ms",
            self.before,
            self.after,
            self.epoch,
            self.sentinels,
            self.first_write.as_millis()
        )
    }
}

pub(super) fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1e3)
}
