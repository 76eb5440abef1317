//! Asks a source again and again, and passes its hints on.

use std::sync::Arc;
use std::time::Duration;

use hafnium_core::metrics::{Counter, Metrics};

use super::{Member, MemberRole, SourceError, TopologySource};
use crate::postgres::handle::Postgres;
use crate::postgres::monitor::Monitor;

/// From one question to the next while there is a primary, and while there is none.
const CALM: Duration = Duration::from_secs(1);
const EAGER: Duration = Duration::from_millis(100);
/// For one answer.
const LIMIT: Duration = Duration::from_secs(2);

/// What is recorded of a source.
struct SourceInstruments {
    answered: Counter,
    failed: Counter,
}

impl SourceInstruments {
    fn new(metrics: &Metrics, name: &str, source: &str) -> Self {
        let asked = metrics.counter(
            "hafnium.postgres.topology.asked",
            "{question}",
            "Questions to a topology source",
        );
        let result = |result| {
            asked.with(&[
                ("db.client.connection.pool.name", name),
                ("source", source),
                ("result", result),
            ])
        };
        Self {
            answered: result("answered"),
            failed: result("failed"),
        }
    }
}

impl Postgres {
    /// Takes hints from `source` until the handle is stopped: the node that it names as the leader is asked more often
    /// until it says itself that it is the primary, and members that the URL does not name are told in the log and shown
    /// in the report. Who takes writes stays decided by what the nodes say of themselves. Must be called within a tokio
    /// runtime.
    ///
    /// ```no_run
    /// use hafnium_core::BoxFuture;
    /// use hafnium_data::postgres::{Member, MemberRole, Postgres, SourceError, TopologySource};
    ///
    /// struct Inventory;
    ///
    /// impl TopologySource for Inventory {
    ///     fn name(&self) -> &'static str {
    ///         "inventory"
    ///     }
    ///
    ///     fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, SourceError>> {
    ///         Box::pin(async { Ok(vec![Member::new("pg-0.pg", 5432, MemberRole::Leader)]) })
    ///     }
    /// }
    ///
    /// # async fn example(ledger: Postgres) {
    /// ledger.consult(Inventory);
    /// # }
    /// ```
    pub fn consult(&self, source: impl TopologySource) {
        let client = self.client();
        let instruments = SourceInstruments::new(&self.shared.metrics, &self.shared.database, source.name());
        let following = follow(Arc::new(source), instruments, client.monitor.clone());
        let stop = client.stop.clone();
        let following = async move {
            stop.run_until_cancelled(following).await;
        };
        let name = &self.shared.component;
        client.tracker.spawn(self.shared.tasks.guard(name, following));
    }
}

/// Never returns.
async fn follow(source: Arc<dyn TopologySource>, instruments: SourceInstruments, monitor: Arc<Monitor>) {
    let mut snapshots = monitor.watch();
    let mut heard = Heard::default();
    loop {
        let answer = tokio::time::timeout(LIMIT, source.members()).await;
        let answer = answer.unwrap_or_else(|_| Err(SourceError::new(format!("no answer within {LIMIT:?}"))));
        match &answer {
            Ok(_) => instruments.answered.add(1),
            Err(_) => instruments.failed.add(1),
        }
        match answer {
            Ok(members) => {
                let news = heard.members(&members);
                monitor.hear(source.name(), members, &news);
            }
            Err(reason) if heard.falls_silent() => {
                tracing::warn!(source = source.name(), %reason, "the topology source does not answer");
            }
            Err(_) => {}
        }
        let pause = match snapshots.borrow_and_update().writer {
            Ok(_) => CALM,
            Err(_) => EAGER,
        };
        // The sender lives in the monitor.
        let lost = snapshots.wait_for(|snapshot| snapshot.writer.is_err());
        if pause == CALM {
            let _ = tokio::time::timeout(pause, lost).await;
        } else {
            tokio::time::sleep(pause).await;
        }
    }
}

/// What a source said last.
#[derive(Default)]
struct Heard {
    leader: Option<String>,
    labels: Vec<String>,
    silent: bool,
}

/// What is new in an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The leader, if it is another one than before: a source that goes on naming a node that is not the primary must
    /// not keep it being asked.
    pub(crate) leader: Option<Member>,
    /// Whether there are other members than before.
    pub(crate) changed: bool,
}

impl Heard {
    /// Whether it answered before.
    fn falls_silent(&mut self) -> bool {
        !std::mem::replace(&mut self.silent, true)
    }

    fn members(&mut self, members: &[Member]) -> News {
        self.silent = false;
        let labels: Vec<_> = members.iter().map(Member::label).collect();
        let leader = members.iter().find(|member| member.role == MemberRole::Leader);
        let label = leader.map(Member::label);
        let former = std::mem::replace(&mut self.leader, label.clone());
        News {
            leader: leader.filter(|_| label != former).cloned(),
            changed: std::mem::replace(&mut self.labels, labels.clone()) != labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(leader: &str) -> Vec<Member> {
        ["a", "b"]
            .map(|host| {
                let role = match host == leader {
                    true => MemberRole::Leader,
                    false => MemberRole::Replica,
                };
                Member::new(host, 5432, role)
            })
            .into()
    }

    #[test]
    fn a_leader_is_news_once_and_silence_too() {
        let mut heard = Heard::default();
        let mut told = |members: &[Member]| {
            let News { leader, changed } = heard.members(members);
            (leader.map(|leader| leader.host), changed)
        };
        let named = |host: &str| Some(host.to_owned());
        assert_eq!(told(&members("a")), (named("a"), true));
        assert_eq!(told(&members("a")), (None, false));
        let mut more = members("a");
        more.push(Member::new("c", 5432, MemberRole::Replica));
        assert_eq!(told(&more), (None, true));
        assert_eq!(told(&members("b")), (named("b"), true));
        assert_eq!(told(&members("")), (None, false));
        assert_eq!(told(&members("b")), (named("b"), false));
        assert!(heard.falls_silent() && !heard.falls_silent());
        assert_eq!(heard.members(&members("b")), News::default());
        assert!(heard.falls_silent());
    }
}
