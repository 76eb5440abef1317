//! The probe: one connection of its own per node, one query, short budgets.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions, Row};
use tokio::time::Instant;

use super::credentials::{Credentials, Seal, refuses};
use super::error::verdict;
use super::sqlstate::{self, Consequence, Stage};
use super::topology::{Evidence, Failure, FailureKind, NodeId, Observation, Role};

/// For a new probe connection: TCP, TLS, authentication and the answer.
const BUDGET: Duration = Duration::from_secs(1);
/// A warm probe that takes longer is late; twice as long, and the connection is given up.
const LATE: Duration = Duration::from_millis(150);

/// The role functions need no grants. The timeline of a primary comes from the name of its current log file: the
/// control file's view is stale until a checkpoint. What is not a primary has none.
const QUESTION: &str = "\
SELECT pg_is_in_recovery(), \
       (SELECT system_identifier FROM pg_control_system()), \
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, \
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END, \
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END \
           - '0/0'::pg_lsn)::bigint, \
       current_setting('transaction_read_only')::boolean";

/// Asks one node, keeping its connection warm between questions.
pub(crate) struct Probe {
    node: NodeId,
    /// Without user and password.
    options: PgConnectOptions,
    credentials: Arc<Credentials>,
    link: Option<(PgConnection, Seal)>,
}

impl Probe {
    pub(crate) fn new(node: NodeId, options: PgConnectOptions, credentials: Arc<Credentials>) -> Self {
        Self {
            node,
            credentials,
            options: options.disable_statement_logging(),
            link: None,
        }
    }

    /// Asks once. `tell` gets every evidence as it comes: a late answer counts before it arrives.
    ///
    /// Cancel-safety: dropping it gives up the probe connection only.
    pub(crate) async fn ask(&mut self, mut tell: impl FnMut(Instant, Evidence)) {
        let mut asked = Instant::now();
        let mut kept = self.link.take();
        if kept.as_ref().is_some_and(|(_, seal)| !seal.is_current()) {
            // Its credentials were replaced. What a lagging standby refuses must not look like a failure.
            if let Ok(Ok((link, seal, seen))) = tokio::time::timeout(BUDGET, self.connect()).await {
                self.link = Some((link, seal));
                tell(asked, Evidence::Seen(seen));
                return;
            }
            asked = Instant::now();
        }
        let Some((mut link, seal)) = kept.take() else {
            let evidence = match tokio::time::timeout(BUDGET, self.connect()).await {
                Ok(Ok((link, seal, seen))) => {
                    self.link = Some((link, seal));
                    Evidence::Seen(seen)
                }
                Ok(Err(error)) => Evidence::Failed(failure(&error)),
                Err(_) => Evidence::Failed(Failure {
                    kind: FailureKind::Silent,
                    reason: format!("no answer to a login within {BUDGET:?}").into(),
                }),
            };
            tell(asked, evidence);
            return;
        };
        let answered = {
            let mut question = Box::pin(question(&mut link));
            let mut patience = 2;
            loop {
                match tokio::time::timeout(LATE, &mut question).await {
                    Ok(answer) => break Some(answer),
                    Err(_) if patience == 0 => break None,
                    Err(_) => {
                        patience -= 1;
                        tell(asked, Evidence::Late);
                    }
                }
            }
        };
        match answered {
            Some(Ok(seen)) => {
                self.link = Some((link, seal));
                tell(asked, Evidence::Seen(seen));
            }
            Some(Err(error)) => tell(asked, Evidence::Failed(failure(&error))),
            // Silent for long: the next question starts with a new connection.
            None => {}
        }
    }

    async fn connect(&self) -> Result<(PgConnection, Seal, Observation), Arc<sqlx::Error>> {
        let admission = self.credentials.admission_now(self.node, &self.options);
        let (options, seal) = admission.map_err(|error| error.0)?;
        let link = options.connect().await.map_err(Arc::new);
        if let Err(error) = &link
            && refuses(error)
        {
            self.credentials.refused(self.node, &seal, error);
        }
        let mut link = link?;
        let seen = question(&mut link).await?;
        Ok((link, seal.apart(), seen))
    }
}

async fn question(link: &mut PgConnection) -> Result<Observation, sqlx::Error> {
    // As one message, which a pooler can't tear apart.
    let row = sqlx::raw_sql(QUESTION).fetch_one(link).await?;
    observation(&row)
}

fn observation(row: &PgRow) -> Result<Observation, sqlx::Error> {
    let standby: bool = row.try_get(0)?;
    let file: Option<String> = row.try_get(3)?;
    let position: Option<i64> = row.try_get(4)?;
    let role = if standby {
        Role::Standby { replayed: position }
    } else {
        let timeline = file.as_deref().and_then(timeline);
        let timeline =
            timeline.ok_or_else(|| sqlx::Error::Protocol("no timeline in the log file's name".into()))?;
        Role::Primary {
            timeline,
            position: position.unwrap_or_default(),
            read_only: row.try_get(5)?,
        }
    };
    Ok(Observation {
        system: row.try_get(1)?,
        started: row.try_get(2)?,
        role,
    })
}

/// The first eight hex digits of a log file's name.
fn timeline(file: &str) -> Option<u32> {
    u32::from_str_radix(file.get(..8)?, 16).ok()
}

/// What a failed login or question says of the node.
pub(crate) fn failure(error: &sqlx::Error) -> Failure {
    let kind = match error {
        sqlx::Error::Database(database) => {
            let state = database.code().unwrap_or_default();
            if sqlstate::refuses_login(&state) {
                FailureKind::Refused
            } else if verdict(error, Stage::Statement).consequence == Consequence::Suspect {
                FailureKind::Busy
            } else {
                FailureKind::Silent
            }
        }
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::TimedOut => FailureKind::Silent,
        _ => FailureKind::Unreachable,
    };
    let reason = match error {
        sqlx::Error::Database(database) => {
            format!("{} ({})", database.message(), database.code().unwrap_or_default())
        }
        other => other.to_string(),
    };
    Failure {
        kind,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_is_the_first_eight_hex_digits_of_the_log_files_name() {
        assert_eq!(timeline("0000001A00000000000000FF"), Some(26));
        assert_eq!(timeline("0000"), None);
        assert_eq!(timeline("nothing at all"), None);
    }

    #[test]
    fn a_refused_connection_is_a_vanished_process_and_a_timeout_is_not() {
        let refused = sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert_eq!(failure(&refused).kind, FailureKind::Unreachable);
        let silent = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        assert_eq!(failure(&silent).kind, FailureKind::Silent);
    }
}
