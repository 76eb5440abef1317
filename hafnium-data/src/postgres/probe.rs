//! The probe: one connection of its own per node, one query, short budgets; and where the node is when its name moves.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sqlx::Row;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use tokio::time::Instant;

use super::address::{Address, Spot};
use super::credentials::{Credentials, Seal, refuses};
use super::error::verdict;
use super::scout;
use super::sqlstate::{self, Consequence, Stage};
use super::tls;
use super::topology::{Evidence, Failure, FailureKind, Following, NodeId, Observation, Role};

/// For a new probe connection: TCP, TLS, authentication and the answer.
const BUDGET: Duration = Duration::from_secs(1);
/// A warm probe that takes longer is late; twice as long, and the connection is given up.
const LATE: Duration = Duration::from_millis(150);

/// The role functions need no grants. The timeline of a primary comes from the name of its current log file: the
/// control file's view is stale until a checkpoint. That of a standby is what it receives, which is seen with the rights
/// of `pg_read_all_stats` alone; the control file tells what it had reached at its last restart point.
const QUESTION: &str = "\
SELECT pg_is_in_recovery(), \
       (SELECT system_identifier FROM pg_control_system()), \
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, \
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END, \
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END \
           - '0/0'::pg_lsn)::bigint, \
       current_setting('transaction_read_only')::boolean, \
       CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver) END, \
       CASE WHEN pg_is_in_recovery() THEN \
           greatest((SELECT timeline_id FROM pg_control_checkpoint()), \
               (SELECT min_recovery_end_timeline FROM pg_control_recovery())) END";

/// Asks one node, keeping its connection warm between questions, and finds it again when its name moves.
pub(crate) struct Probe {
    door: Arc<Door>,
    link: Option<Link>,
    /// Where a primary was seen last.
    served: Option<Spot>,
    elsewhere: Pin<Box<dyn Future<Output = Found> + Send>>,
}

/// How a node is logged in to.
pub(crate) struct Door {
    pub(crate) node: NodeId,
    /// Without user and password.
    pub(crate) options: PgConnectOptions,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) address: Arc<Address>,
    /// The connection with which the node was found at a new address, for whoever opens the pool's there.
    pub(crate) found: Mutex<Option<(PgConnection, Seal)>>,
}

/// A connection and where it leads.
pub(crate) struct Link {
    connection: PgConnection,
    seal: Seal,
    spot: Spot,
}

/// A node that answered at a spot.
pub(crate) struct Found {
    pub(crate) link: Link,
    /// When it was asked.
    pub(crate) asked: Instant,
    pub(crate) seen: Observation,
}

impl Found {
    pub(crate) fn is_writable_primary(&self) -> bool {
        is_writable_primary(&self.seen)
    }
}

impl Door {
    /// Logs in at one spot and asks.
    async fn enter(&self, spot: Spot) -> Result<(Link, Observation), Arc<sqlx::Error>> {
        let admission = self.credentials.admission_now(self.node, &self.options);
        let (options, seal) = admission.map_err(|error| error.0)?;
        let connection = self.address.connect_at(&options, spot).await.map_err(Arc::new);
        if let Err(error) = &connection
            && refuses(error)
        {
            self.credentials.refused(self.node, &seal, error);
        }
        let mut connection = connection?;
        let seen = question(&mut connection).await?;
        let link = Link {
            connection,
            seal: seal.apart(),
            spot,
        };
        Ok((link, seen))
    }
}

impl Probe {
    pub(crate) fn new(door: Arc<Door>) -> Self {
        Self {
            elsewhere: Box::pin(scout::primary_elsewhere(door.clone())),
            door,
            link: None,
            served: None,
        }
    }

    /// Asks once. `tell` gets every evidence as it comes: a late answer counts before it arrives, and a node that is
    /// found at another address of its name ends the wait.
    ///
    /// Cancel-safety: dropping it gives up the probe connection only.
    pub(crate) async fn ask(&mut self, mut tell: impl FnMut(Instant, Evidence)) {
        let link = self.link.take();
        let found = tokio::select! {
            found = &mut self.elsewhere => {
                self.look_elsewhere_again();
                Some(found)
            }
            found = ask_at(&self.door, link, &mut tell) => found,
        };
        if let Some(found) = found {
            self.adopt(found, tell);
        }
    }

    /// Returns when the node was found at another address of its name; until then it only looks.
    ///
    /// Cancel-safe.
    pub(crate) async fn moved(&mut self, tell: impl FnMut(Instant, Evidence)) {
        let found = (&mut self.elsewhere).await;
        self.look_elsewhere_again();
        self.adopt(found, tell);
    }

    fn look_elsewhere_again(&mut self) {
        self.elsewhere = Box::pin(scout::primary_elsewhere(self.door.clone()));
    }

    fn adopt(&mut self, found: Found, mut tell: impl FnMut(Instant, Evidence)) {
        let spot = found.link.spot;
        let served = self.served;
        let primary = found.is_writable_primary();
        // Before it is told: what is logged in to from then on is the new address.
        self.door.address.found_at(spot);
        self.door.address.settle(primary);
        if primary {
            self.served = Some(spot);
        }
        let moved = primary && served.is_some_and(|served| served != spot);
        if moved {
            // A login less on the way of the first write there; the next question opens another.
            let Link { connection, seal, .. } = found.link;
            *self.door.found.lock().unwrap_or_else(PoisonError::into_inner) = Some((connection, seal));
            self.link = None;
        } else {
            self.link = Some(found.link);
        }
        if moved {
            tell(found.asked, Evidence::Moved(found.seen));
        } else {
            tell(found.asked, Evidence::Seen(found.seen));
        }
    }
}

/// Asks over `link`, or over a new connection without one; what failed or was late is told.
async fn ask_at(
    door: &Door,
    mut link: Option<Link>,
    tell: &mut impl FnMut(Instant, Evidence),
) -> Option<Found> {
    let mut asked = Instant::now();
    let address = &door.address;
    if link.as_ref().is_some_and(|link| !link.seal.is_current()) {
        // Its credentials were replaced. What a lagging standby refuses must not look like a failure.
        if let Ok(found) = connect(door).await {
            return Some(found);
        }
        asked = Instant::now();
    }
    let Some(mut link) = link.take() else {
        return match connect(door).await {
            Ok(found) => Some(found),
            Err(failure) => {
                address.settle(false);
                tell(asked, Evidence::Failed(failure));
                None
            }
        };
    };
    let answered = {
        let mut question = Box::pin(question(&mut link.connection));
        let mut patience = 2;
        loop {
            match tokio::time::timeout(LATE, &mut question).await {
                Ok(answer) => break Some(answer),
                Err(_) if patience == 0 => break None,
                Err(_) => {
                    patience -= 1;
                    address.settle(false);
                    tell(asked, Evidence::Late);
                }
            }
        }
    };
    match answered {
        Some(Ok(seen)) => Some(Found { link, asked, seen }),
        Some(Err(error)) => {
            address.settle(false);
            tell(asked, Evidence::Failed(failure(&error)));
            None
        }
        // Silent for long: the next question starts with a new connection.
        None => None,
    }
}

/// Looks for the node at every address it may have.
async fn connect(door: &Door) -> Result<Found, Failure> {
    let spots = match tokio::time::timeout(BUDGET, door.address.spots()).await {
        Ok(spots) => spots.map_err(|error| failure(&error))?,
        Err(_) => {
            return Err(Failure {
                kind: FailureKind::Unreachable,
                reason: format!("no address within {BUDGET:?}").into(),
            });
        }
    };
    look_at(door, &spots.all).await
}

/// Asks at all `spots` at once: the first writable primary, else whoever else answered, in the order of the spots.
pub(crate) async fn look_at(door: &Door, spots: &[Spot]) -> Result<Found, Failure> {
    let mut looks: FuturesUnordered<_> = spots
        .iter()
        .enumerate()
        .map(|(place, spot)| async move {
            let asked = Instant::now();
            let found = match tokio::time::timeout(BUDGET, door.enter(*spot)).await {
                Ok(Ok((link, seen))) => Ok(Found { link, asked, seen }),
                Ok(Err(error)) => Err(failure(&error)),
                Err(_) => Err(Failure {
                    kind: FailureKind::Silent,
                    reason: format!("no answer to a login within {BUDGET:?}").into(),
                }),
            };
            (place, found)
        })
        .collect();
    let mut second: Option<(usize, Result<Found, Failure>)> = None;
    while let Some((place, found)) = looks.next().await {
        if found.as_ref().is_ok_and(Found::is_writable_primary) {
            return found;
        }
        let better = match &second {
            None => true,
            Some((other, held)) => (found.is_err(), place) < (held.is_err(), *other),
        };
        if better {
            second = Some((place, found));
        }
    }
    second.map_or_else(
        || {
            Err(Failure {
                kind: FailureKind::Unreachable,
                reason: "the name has no address".into(),
            })
        },
        |(_, found)| found,
    )
}

fn is_writable_primary(seen: &Observation) -> bool {
    matches!(seen.role, Role::Primary { read_only: false, .. })
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
        let number =
            |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i32>, _>(column)?.map(i32::cast_unsigned));
        let received = number(6)?.map(Following::Received);
        Role::Standby {
            replayed: position,
            follows: received.or(number(7)?.map(Following::AtLeast)),
        }
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
        other => match tls::advice(other) {
            Some(advice) => format!("{other}: {advice}"),
            None => other.to_string(),
        },
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
