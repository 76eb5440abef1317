//! The load: open loop, arrival times fixed in advance, so that a client that stalls is charged for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::{Classify, Outcome};
use hafnium_data::postgres::{Done, MARKERS, Postgres, Token, View, classify};
use hafnium_testkit::Referee;
use hafnium_testkit::referee::{Ticket, Witness};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::mix::{Kind, Pace, Writes};
use super::report::{Ack, Failure, Report};

/// Requests against one handle until [`Load::stop`].
pub(crate) struct Load {
    shared: Arc<Shared>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    pace: Pace,
    began: Instant,
    next: AtomicU64,
    stop: CancellationToken,
    referee: Referee,
    witness: Witness,
    /// The id acknowledged last; 0 before the first.
    newest: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: u64,
    slowest: Duration,
    past_deadline: u64,
    acks: Vec<Ack>,
    failures: Vec<Failure>,
}

impl Load {
    /// Makes the tables. `payments` lets an id in twice, so that a write that was repeated shows; where writes are
    /// idempotent it does not.
    pub(crate) async fn prepare(postgres: &Postgres, writes: Writes) -> Result<(), sqlx::Error> {
        let unique = if writes == Writes::Idempotent {
            "UNIQUE"
        } else {
            ""
        };
        for statement in [
            MARKERS.to_owned(),
            "CREATE TABLE payments (id bigint NOT NULL, port int NOT NULL DEFAULT inet_server_port())"
                .to_owned(),
            format!("CREATE {unique} INDEX payments_id ON payments (id)"),
            "CREATE TABLE pairs (id bigint NOT NULL)".to_owned(),
            format!("CREATE {unique} INDEX pairs_id ON pairs (id)"),
        ] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
                .execute(postgres)
                .await?;
        }
        Ok(())
    }

    /// Starts the workers on the current runtime.
    pub(crate) fn start(postgres: &Postgres, pace: Pace) -> Load {
        let referee = Referee::new();
        let shared = Arc::new(Shared {
            pace,
            began: Instant::now(),
            next: AtomicU64::new(0),
            stop: CancellationToken::new(),
            witness: referee.witness(),
            referee,
            newest: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let workers = (0..pace.workers)
            .map(|_| tokio::spawn(shared.clone().work(postgres.clone())))
            .collect();
        Load { shared, workers }
    }

    /// Waits until `count` more writes are acknowledged.
    ///
    /// # Panics
    /// When that takes more than 30 s.
    pub(crate) async fn more(&self, count: usize) {
        let acknowledged = || self.shared.seen.lock().unwrap().acks.len();
        let goal = acknowledged() + count;
        let end = Instant::now() + Duration::from_secs(30);
        while acknowledged() < goal {
            let failures = || self.shared.seen.lock().unwrap().failures.clone();
            assert!(
                Instant::now() < end,
                "no more writes come through: {:?}",
                failures()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets no request arrive any more and waits for those under way, which their deadline bounds.
    pub(crate) async fn stop(self) -> Report {
        self.shared.stop.cancel();
        for worker in self.workers {
            worker.await.unwrap();
        }
        let seen = std::mem::take(&mut *self.shared.seen.lock().unwrap());
        Report {
            pace: self.shared.pace,
            referee: self.shared.referee.clone(),
            requests: seen.requests,
            slowest: seen.slowest,
            past_deadline: seen.past_deadline,
            acks: seen.acks,
            failures: seen.failures,
        }
    }
}

impl Shared {
    async fn work(self: Arc<Self>, postgres: Postgres) {
        let mut own = None;
        loop {
            // 0 stands for "none".
            let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
            let arrival = self.began + self.pace.arrival(number);
            let turn = tokio::time::sleep_until(arrival);
            if self.stop.run_until_cancelled(turn).await.is_none() {
                return;
            }
            self.serve(&postgres, number, arrival, &mut own).await;
            let took = arrival.elapsed();
            let mut seen = self.seen.lock().unwrap();
            seen.requests += 1;
            seen.slowest = seen.slowest.max(took);
            // What a clock of a busy machine may add.
            let late = took > self.pace.deadline + Duration::from_millis(50);
            seen.past_deadline += u64::from(late);
        }
    }

    async fn serve(&self, postgres: &Postgres, number: u64, arrival: Instant, own: &mut Option<Receipt>) {
        let kind = self.pace.kind(number);
        let begun = Instant::now();
        let due = arrival + self.pace.deadline;
        let view = postgres.within(due.saturating_duration_since(begun));
        let result = match kind {
            Kind::Insert | Kind::Transaction => self.write(&view, kind, number, own).await,
            Kind::PrimaryRead => self.read_primary(&view).await,
            Kind::ReplicaRead => self.read_replica(&view, own.as_ref()).await,
        };
        if let Err(error) = result {
            let answer = classify(&error);
            self.seen.lock().unwrap().failures.push(Failure {
                number,
                kind,
                begun,
                ended: Instant::now(),
                outcome: answer.outcome(),
                code: answer.code(),
                text: error.to_string(),
            });
        }
    }

    async fn write(
        &self,
        view: &View,
        kind: Kind,
        id: u64,
        own: &mut Option<Receipt>,
    ) -> Result<(), sqlx::Error> {
        let idempotent = self.pace.writes == Writes::Idempotent;
        let view = if idempotent {
            view.idempotent()
        } else {
            view.clone()
        };
        let ticket = self.witness.attempt(id);
        let result = match kind {
            _ if self.pace.writes == Writes::ExactlyOnce => once(&view, kind, id as i64).await,
            Kind::Transaction => transaction(&view, idempotent, id as i64).await,
            _ => insert(&view, idempotent, id as i64)
                .await
                .map(|port| (port, None)),
        };
        match result {
            Ok((port, receipt)) => {
                let at = Instant::now();
                ticket.acknowledged();
                self.newest.fetch_max(id, Ordering::Relaxed);
                if receipt.is_some() {
                    *own = receipt;
                }
                self.seen.lock().unwrap().acks.push(Ack { id, at, port });
                Ok(())
            }
            Err(error) => {
                settle(ticket, classify(&error).outcome());
                Err(error)
            }
        }
    }

    async fn read_primary(&self, view: &View) -> Result<(), sqlx::Error> {
        let id = self.newest.load(Ordering::Relaxed);
        let check = self.witness.read(id);
        if there(&view.read_only(), id).await? {
            check.found();
        } else {
            check.absent();
        }
        Ok(())
    }

    /// Under the token of the own write, which must be seen. Without one nothing is promised, only an answer.
    async fn read_replica(&self, view: &View, own: Option<&Receipt>) -> Result<(), sqlx::Error> {
        let Some(Receipt { id, token }) = own else {
            return there(&view.reader(), self.newest.load(Ordering::Relaxed))
                .await
                .map(drop);
        };
        let check = self.witness.read(*id);
        if there(&view.reader_after(*token), *id).await? {
            check.found();
        } else {
            check.absent();
        }
        Ok(())
    }
}

/// A transaction of this worker, to be read back from a replica.
struct Receipt {
    id: u64,
    token: Token,
}

fn settle(ticket: Ticket, outcome: Outcome) {
    match outcome {
        Outcome::NotRun | Outcome::RolledBack => ticket.not_run(),
        _ => ticket.unknown(),
    }
}

async fn there(view: &View, id: u64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM payments WHERE id = $1)")
        .bind(id as i64)
        .fetch_one(view)
        .await
}

/// The port of the server that did it, which a proxy in between does not change.
async fn insert<'c, E>(on: E, idempotent: bool, id: i64) -> Result<i32, sqlx::Error>
where
    E: sqlx::Executor<'c, Database = sqlx::Postgres>,
{
    let statement = if idempotent {
        "INSERT INTO payments (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING inet_server_port()"
    } else {
        "INSERT INTO payments (id) VALUES ($1) RETURNING inet_server_port()"
    };
    sqlx::query_scalar(statement).bind(id).fetch_one(on).await
}

async fn transaction(view: &View, idempotent: bool, id: i64) -> Result<(i32, Option<Receipt>), sqlx::Error> {
    let (port, token) = view
        .transaction(async |mut tx| {
            let pair = if idempotent {
                "INSERT INTO pairs VALUES ($1) ON CONFLICT DO NOTHING"
            } else {
                "INSERT INTO pairs VALUES ($1)"
            };
            sqlx::query(pair).bind(id).execute(&mut *tx).await?;
            let port = insert(&mut *tx, idempotent, id).await?;
            Ok::<_, sqlx::Error>((port, tx.token()))
        })
        .await?;
    let receipt = token.get().map(|token| Receipt { id: id as u64, token });
    Ok((port, receipt))
}

/// By a key, which is the id: each is asked for once, so that it never was done before the call.
async fn once(view: &View, kind: Kind, id: i64) -> Result<(i32, Option<Receipt>), sqlx::Error> {
    let done = view
        .exactly_once(&id.to_string(), async |mut tx| {
            if kind == Kind::Transaction {
                sqlx::query("INSERT INTO pairs VALUES ($1)")
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
            }
            insert(&mut *tx, false, id).await
        })
        .await?;
    match done {
        Done::Now(port) => Ok((port, None)),
        Done::Before => Err(sqlx::Error::Protocol(format!("key {id} had been used"))),
    }
}
