//! Sessions that the server ends.

use std::net::SocketAddr;
use std::time::Duration;

use hafnium_core::{Classify, Outcome};
use hafnium_data::postgres::{Detail, Postgres, Tx, classify, detail};

use super::peer::Peer;
use super::place::{Expected, Place, act, act_late, code, shared};
use super::{Case, Made};

const CRASH: &str = "a server that crashes says it as a notice before the end of file, if at all";
const CONFLICT: &str = "said when a standby's database is dropped under a session";
const NEWER: &str = "transaction_timeout is of PostgreSQL 17";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "57P01",
            "one session is ended in a statement",
            "rolled back",
            "connection discarded, node left alone, repeated",
            Made::Server,
            one_ended,
        ),
        Case::new(
            "57P01",
            "several sessions of a node are ended together",
            "rolled back",
            "connections discarded, node suspected, repeated",
            Made::Server,
            several_ended,
        ),
        Case::new(
            "57P01",
            "in a transaction, before COMMIT",
            "rolled back",
            "connection discarded, node left alone, the closure runs again",
            Made::Server,
            ended_in_transaction,
        ),
        Case::new(
            "57P01",
            "in reply to COMMIT",
            "unknown",
            "connection discarded, surfaced",
            Made::Server,
            ended_in_commit,
        ),
        Case::new(
            "57P02",
            "as an error in reply to a statement",
            "rolled back",
            "connection discarded, node suspected, repeated",
            Made::Peer(CRASH),
            crashed,
        ),
        Case::new(
            "57P02",
            "as a notice before the end of file",
            "unknown",
            "as an end of file",
            Made::Peer(CRASH),
            crashed_with_notice,
        ),
        Case::new(
            "57P02",
            "in reply to COMMIT",
            "unknown",
            "connection discarded, node suspected, surfaced",
            Made::Peer(CRASH),
            crashed_in_commit,
        ),
        Case::new(
            "57P04",
            "in reply to a statement",
            "rolled back",
            "connection discarded, node left alone, surfaced",
            Made::Peer(CONFLICT),
            database_dropped,
        ),
        Case::new(
            "57P05",
            "the session was idle for too long",
            "not run",
            "connection discarded, node left alone, repeated",
            Made::Server,
            idle,
        ),
        Case::new(
            "25P03",
            "the transaction was idle for too long",
            "rolled back",
            "connection discarded, node left alone, surfaced",
            Made::Server,
            idle_in_transaction,
        ),
        Case::new(
            "25P04",
            "the transaction took too long",
            "rolled back",
            "connection discarded, node left alone, surfaced",
            Made::Peer(NEWER),
            long_transaction,
        ),
    ]
}

const REPEATED: Expected = Expected {
    outcome: None,
    retries: 1,
    suspected: false,
    kept: false,
};

const SURFACED: Expected = Expected {
    outcome: Some(Outcome::RolledBack),
    retries: 0,
    suspected: false,
    kept: false,
};

const UNKNOWN: Expected = Expected {
    outcome: Some(Outcome::Unknown),
    ..SURFACED
};

/// Ends the session that sleeps in `act`, once it does.
async fn end_sleeper(place: &Place) {
    let pid = place.session_where("wait_event = 'PgSleep'").await;
    let end = "SELECT pg_terminate_backend($1)";
    place.session.execute(end, &[&pid]).await.unwrap();
}

async fn one_ended() {
    let place = Place::new("oneended").await;
    let (ended, ()) = tokio::join!(
        place.sees(REPEATED, async |postgres| act(postgres, "slow", 1).await),
        end_sleeper(&place)
    );
    ended.unwrap();
    assert_eq!((place.calls().await, place.rows("t").await), (2, 1));
}

async fn several_ended() {
    let place = Place::with("severalended", |settings| settings.max = 4).await;
    let sleeping = (0..4).map(|_| {
        let postgres = place.postgres.clone();
        tokio::spawn(async move { act(&postgres, "slow", 4).await })
    });
    let sleeping: Vec<_> = sleeping.collect();
    let asleep =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    while place
        .session
        .query_one(asleep, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        < 4
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
               AND datname = current_database()";
    place.session.batch_execute(end).await.unwrap();
    for write in sleeping {
        write.await.unwrap().unwrap();
    }
    let counts = place.counts();
    assert!(counts.retries >= 4 && counts.suspected >= 1, "{counts:?}");
    assert_eq!((place.rows("t").await, counts.unknown_outcomes), (4, 0));
}

async fn transact(postgres: &Postgres, state: &str) -> Result<(), sqlx::Error> {
    postgres
        .transaction(async |mut tx: Tx| act(&mut *tx, state, i32::from(state != "00000")).await)
        .await
}

async fn commit_late(postgres: &Postgres, state: &str) -> Result<(), sqlx::Error> {
    postgres
        .transaction(async |mut tx: Tx| act_late(&mut tx, state, 1).await)
        .await
}

async fn ended_in_transaction() {
    let place = Place::new("endedintransaction").await;
    let (ended, ()) = tokio::join!(
        place.sees(REPEATED, async |postgres| transact(postgres, "slow").await),
        end_sleeper(&place)
    );
    ended.unwrap();
    assert_eq!((place.calls().await, place.rows("t").await), (2, 1));
}

async fn ended_in_commit() {
    let place = Place::new("endedincommit").await;
    let (ended, ()) = tokio::join!(
        place.sees(UNKNOWN, async |postgres| commit_late(postgres, "slow").await),
        end_sleeper(&place)
    );
    let error = ended.unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::CommitUnknown { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("57P01"), "{error}");
    assert!(!classify(&error).retryable());
    assert_eq!(place.calls().await, 1);
}

async fn with_peer(case: &str) -> (Peer, Place) {
    let server = SocketAddr::from(([127, 0, 0, 1], shared().await.port(0)));
    let peer = Peer::before(server).await;
    let place = Place::via(case, peer.address()).await;
    (peer, place)
}

/// What the peer answers in place of `act`.
const CUE: &str = "SELECT act(";

async fn crashed() {
    let (peer, place) = with_peer("crashed").await;
    let expected = Expected {
        suspected: true,
        ..REPEATED
    };
    place
        .sees(expected, async |postgres| {
            peer.end_session(CUE, "57P02");
            act(postgres, "00000", 0).await
        })
        .await
        .unwrap();
    assert!(peer.is_done());
}

async fn crashed_with_notice() {
    let (peer, place) = with_peer("crashednotice").await;
    let expected = Expected {
        suspected: true,
        ..UNKNOWN
    };
    let lost = place
        .sees(expected, async |postgres| {
            peer.warn_and_end_session(CUE, "57P02");
            act(postgres, "00000", 0).await
        })
        .await;
    assert_eq!(code(&lost.unwrap_err()), "postgres.connection_lost");
    assert!(peer.is_done());
}

async fn crashed_in_commit() {
    let (peer, place) = with_peer("crashedcommit").await;
    let expected = Expected {
        suspected: true,
        ..UNKNOWN
    };
    let lost = place
        .sees(expected, async |postgres| {
            peer.warn_and_end_session("COMMIT", "57P02");
            transact(postgres, "00000").await
        })
        .await;
    assert!(matches!(
        detail(&lost.unwrap_err()),
        Some(Detail::CommitUnknown { .. })
    ));
    assert!(peer.is_done());
}

async fn database_dropped() {
    let (peer, place) = with_peer("dropped").await;
    let dropped = place
        .sees(SURFACED, async |postgres| {
            peer.end_session(CUE, "57P04");
            act(postgres, "00000", 0).await
        })
        .await;
    assert_eq!(code(&dropped.unwrap_err()), "postgres.57P04");
}

async fn idle() {
    let place = Place::new("idle").await;
    // Longer than a probe's period, so that only the pool's connection idles that long.
    let limit = format!(
        "ALTER DATABASE {} SET idle_session_timeout = '1200ms'",
        place.database
    );
    place.session.batch_execute(&limit).await.unwrap();
    // The setting is that of sessions that begin now.
    let end = "SELECT pg_terminate_backend($1, 2000)";
    place.session.execute(end, &[&place.pid().await]).await.unwrap();
    place
        .sees(REPEATED, async |postgres| {
            tokio::time::sleep(Duration::from_millis(1600)).await;
            act(postgres, "00000", 0).await
        })
        .await
        .unwrap();
    assert_eq!((place.calls().await, place.rows("t").await), (1, 1));
}

async fn idle_in_transaction() {
    let place = Place::with("idletransaction", |settings| {
        settings.idle_in_transaction_timeout = Some(Duration::from_millis(200).into());
    })
    .await;
    let idle = place
        .sees(SURFACED, async |postgres| {
            postgres
                .transaction(async |mut tx| {
                    act(&mut *tx, "00000", 0).await?;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    act(&mut *tx, "00000", 0).await
                })
                .await
        })
        .await;
    assert_eq!(code(&idle.unwrap_err()), "postgres.25P03");
    assert_eq!((place.calls().await, place.rows("t").await), (1, 0));
}

async fn long_transaction() {
    let (peer, place) = with_peer("longtransaction").await;
    let long = place
        .sees(SURFACED, async |postgres| {
            peer.end_session(CUE, "25P04");
            transact(postgres, "00000").await
        })
        .await;
    assert_eq!(code(&long.unwrap_err()), "postgres.25P04");
}
