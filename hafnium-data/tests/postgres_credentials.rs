//! Users and passwords that change under a running service. Real servers; a trio where load runs.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod credentials;
mod faults;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hafnium_core::Deadline;
use hafnium_core::component::BoxFuture;
use hafnium_core::secret::{Address, FetchError, Fetched, Provider, SecretState, Version};
use hafnium_data::postgres::Postgres;
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use tokio::time::Instant;

use credentials::{
    LOGIN, PASSWORD, Service, Source, all_moved, backends, login, now, refusals, refused, text,
};
use faults::figures::{Case, Outcome, suite};
use faults::load::Load;
use faults::mix::{Pace, Writes};
use faults::report::{halves, rows};

/// Runs of each where figures are made.
const FEW: u32 = 3;
/// A source that nobody asks without need within a test.
const ON_DEMAND: Duration = Duration::from_secs(3600);
/// A source that is asked about every second.
const OFTEN: Duration = Duration::from_secs(1);

async fn trio() -> PostgresCluster {
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .synchronous(Synchronous::AnyOne)
        .start()
        .await
        .unwrap();
    cluster.create_database("ledger").await.unwrap();
    cluster
}

async fn single() -> PostgresCluster {
    let cluster = PostgresCluster::single().await.unwrap();
    cluster.create_database("ledger").await.unwrap();
    cluster
}

async fn loaded(service: &Service, pace: Pace) -> Load {
    Load::prepare(&service.postgres, Writes::Plain).await.unwrap();
    let load = Load::start(&service.postgres, pace);
    load.more(100).await;
    load
}

/// Ends the load and counts what it came to.
async fn account(cluster: &PostgresCluster, load: Load) -> Outcome {
    load.more(100).await;
    let report = load.stop().await;
    let session = cluster.connect(cluster.primary(), "ledger").await.unwrap();
    let verdict = report.verdict(&rows(&session).await);
    println!("{verdict}failed: {}", report.failures_in_short());
    assert!(halves(&session, &report.pace).await.is_empty());
    assert!(verdict.strange.is_empty() && verdict.denied.is_empty());
    Outcome {
        lost_acknowledged: Some(verdict.lost.len() as u64),
        doubled: verdict.doubled.len() as u64,
        stale_reads: verdict.stale,
        past_deadline: report.past_deadline,
        failed: report.failures.len() as u64,
        unknown: report.unknown() as u64,
        ..Outcome::default()
    }
}

/// Asks for as many connections as the pool may hold, so that it has to log in.
async fn fill(postgres: &Postgres, count: usize, seconds: f64) {
    let slow = (0..count).map(|_| async {
        sqlx::query("SELECT pg_sleep($1)")
            .bind(seconds)
            .execute(&postgres.read_only())
            .await
    });
    for done in futures_util::future::join_all(slow).await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_changes_under_load_fails_no_request() {
    suite(Case::new("F8 password sync", 0), FEW, password_changes).await;
}

async fn password_changes(pace: Pace) -> Outcome {
    let cluster = trio().await;
    let source = Source::new(OFTEN);
    source.gives(PASSWORD, text(&cluster.password()), "1");
    let service = Service::start(
        &cluster,
        source.clone(),
        Some(&cluster.user()),
        // More than the load needs, so that logins are wanted at once when it is asked for.
        &[("password", PASSWORD), ("max", "30")],
    )
    .await;
    let load = loaded(&service, pace).await;

    // The server is told first, so that for a while the source has nothing but what the server refuses.
    let begun = now();
    let before = refusals(&cluster, cluster.primary()).await;
    let proof = cluster.set_password("the-second-password").await.unwrap();
    println!("{proof:?}");
    // Short: what is open has to serve them all within their deadline, beside the load.
    fill(&service.postgres, 30, 0.05).await;
    let tried = refusals(&cluster, cluster.primary()).await - before;
    println!("logins that the primary refused, the referee's included: {tried}");
    source.gives(PASSWORD, text("the-second-password"), "2");
    all_moved(&cluster, |backend| backend.begun > begun).await;
    for node in 0..cluster.len() {
        println!("{}: {:?}", cluster.name(node), backends(&cluster, node).await);
    }
    assert!(tried > 1, "no login of the service was refused: no fault");
    assert_eq!(service.trouble(), None);
    account(&cluster, load).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_that_take_turns_under_load_fail_no_request() {
    suite(Case::new("F8 user sync", 0), FEW, users_take_turns).await;
}

async fn users_take_turns(pace: Pace) -> Outcome {
    let cluster = trio().await;
    let (first, second) = (cluster.user(), "app_second");
    let mut password = cluster.create_user(second).await.unwrap();
    let source = Source::new(OFTEN);
    source.gives(LOGIN, login(&first, &cluster.password()), "1");
    let service = Service::start(&cluster, source.clone(), None, &[("login", LOGIN)]).await;
    let load = loaded(&service, pace).await;
    let mut old = (first, cluster.password());
    let mut new = second.to_owned();
    for turn in 0..3 {
        source.gives(LOGIN, login(&new, &password), &format!("turn {turn}"));
        all_moved(&cluster, |backend| backend.user == new).await;
        // Whoever is not in turn gets another password, and the old one is worth nothing.
        let session = cluster.connect(cluster.primary(), "postgres").await.unwrap();
        let next = format!("password-of-turn-{turn}");
        let change = format!("ALTER ROLE \"{}\" PASSWORD '{next}'", old.0);
        session.batch_execute(&change).await.unwrap();
        let answer = refused(&cluster, &old.0, &old.1)
            .await
            .expect("the old login works");
        println!("{new} serves; {}: {answer}", old.0);
        old = (
            std::mem::replace(&mut new, old.0),
            std::mem::replace(&mut password, next),
        );
    }
    account(&cluster, load).await
}

/// Lends tokens: each is a user whose password ends.
struct Tokens {
    cluster: Arc<PostgresCluster>,
    lent: AtomicUsize,
    life: Duration,
}

impl Provider for Tokens {
    fn schemes(&self) -> &'static [&'static str] {
        &["vault-db"]
    }

    fn fetch<'a>(
        &'a self,
        _: &'a Address,
        _: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let number = self.lent.fetch_add(1, Ordering::SeqCst);
            let session = self
                .cluster
                .connect(self.cluster.primary(), "postgres")
                .await
                .unwrap();
            let (app, end) = (self.cluster.user(), ends(&session, self.life).await);
            // What they make belongs to the application, not to a user that ends.
            let lend = format!(
                "CREATE ROLE token_{number} LOGIN PASSWORD 'token-{number}' IN ROLE \"{app}\" VALID UNTIL '{end}'; \
                 ALTER ROLE token_{number} SET role = '{app}'"
            );
            session.batch_execute(&lend).await.unwrap();
            Ok(Fetched {
                material: login(&format!("token_{number}"), &format!("token-{number}")),
                version: Version(number.to_string()),
                refresh_after: None,
                expires_after: Some(self.life),
                changed: None,
            })
        })
    }

    fn release(&self, _: Deadline) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

async fn ends(session: &hafnium_testkit::postgres::Session, life: Duration) -> String {
    let seconds = life.as_secs_f64();
    let end = "SELECT (now() + make_interval(secs => $1))::text";
    session.query_one(end, &[&seconds]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_after_15_seconds_is_replaced_ahead_and_fails_no_request() {
    suite(Case::new("F8 token sync", 0), FEW, token_ends).await;
}

async fn token_ends(pace: Pace) -> Outcome {
    let cluster = Arc::new(trio().await);
    let life = Duration::from_secs(15);
    let tokens = Arc::new(Tokens {
        cluster: cluster.clone(),
        lent: AtomicUsize::new(0),
        life,
    });
    let service = Service::start(&cluster, tokens.clone(), None, &[("login", LOGIN)]).await;
    let begun = Instant::now();
    let load = loaded(&service, pace).await;
    // Until the first two have ended.
    tokio::time::sleep_until(begun + 2 * life + Duration::from_secs(2)).await;
    let lent = tokens.lent.load(Ordering::SeqCst);
    assert!(lent >= 3, "{lent} lent in {:?}", begun.elapsed());
    for number in 0..2 {
        let (user, password) = (format!("token_{number}"), format!("token-{number}"));
        let answer = refused(&cluster, &user, &password).await.expect("it still works");
        println!("{user}: {answer}");
        all_moved(&cluster, |backend| backend.user != user).await;
    }
    account(&cluster, load).await
}

#[tokio::test]
async fn a_version_that_does_not_work_never_replaces_a_good_one_and_is_named() {
    let cluster = single().await;
    let source = Source::new(ON_DEMAND);
    source.gives(PASSWORD, text(&cluster.password()), "good");
    let user = cluster.user();
    let service = Service::start(&cluster, source.clone(), Some(&user), &[("password", PASSWORD)]).await;
    fill(&service.postgres, 5, 0.1).await;
    source.gives(PASSWORD, text("c4n4ry-no-password"), "bad");
    service.refresh().await;
    eventually("the new version is rejected", || service.trouble().is_some()).await;
    let trouble = service.trouble().unwrap();
    assert!(
        trouble.contains("postgres.ledger.password") && trouble.contains("stays in use"),
        "{trouble}"
    );
    assert!(!trouble.contains("c4n4ry"), "{trouble}");
    // New logins too: more than are open, with what is good.
    fill(&service.postgres, 10, 0.3).await;
    let begun = now();
    cluster.set_password("the-second-password").await.unwrap();
    source.gives(PASSWORD, text("the-second-password"), "good again");
    service.refresh().await;
    all_moved(&cluster, |backend| backend.begun > begun).await;
    assert_eq!(service.trouble(), None);
}

async fn eventually(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_asks_the_source_once_for_all_who_wait_and_no_other_host() {
    let cluster = trio().await;
    let source = Source::new(ON_DEMAND);
    source.gives(PASSWORD, text(&cluster.password()), "1");
    // No connection is open but the probes'.
    let keys = [
        ("password", PASSWORD),
        ("warm", "0"),
        ("max", "40"),
        ("timeout", "30s"),
    ];
    let service = Service::start(&cluster, source.clone(), Some(&cluster.user()), &keys).await;
    cluster.set_password("the-second-password").await.unwrap();
    cluster.await_replay().await.unwrap();
    source.gives(PASSWORD, text("the-second-password"), "2");
    let (asked, mut before) = (source.asked(), Vec::new());
    for node in 0..cluster.len() {
        before.push(refusals(&cluster, node).await);
    }
    let ask = || async {
        sqlx::query("SELECT pg_sleep(0.2)")
            .execute(&service.postgres)
            .await
    };
    let all = futures_util::future::join_all((0..50).map(|_| ask())).await;
    for done in all {
        done.unwrap();
    }
    assert_eq!(source.asked() - asked, 1, "questions to the source");
    for (node, before) in before.into_iter().enumerate() {
        let tried = refusals(&cluster, node).await - before;
        println!("{} refused {tried} logins", cluster.name(node));
        match node == cluster.primary() {
            // Those that were in flight when the first answer came.
            true => assert!((1..=9).contains(&tried), "{tried}"),
            false => assert_eq!(tried, 0),
        }
    }
}

#[tokio::test]
async fn what_is_open_serves_on_while_nothing_works_and_the_secret_is_said_to_be_refused() {
    let cluster = single().await;
    let source = Source::new(ON_DEMAND);
    source.gives(PASSWORD, text(&cluster.password()), "1");
    let user = cluster.user();
    let keys = [("password", PASSWORD), ("max", "4")];
    let service = Service::start(&cluster, source.clone(), Some(&user), &keys).await;
    sqlx::query("SELECT 1").execute(&service.postgres).await.unwrap();
    let before = refusals(&cluster, 0).await;
    cluster.set_password("the-second-password").await.unwrap();
    // Twenty at once want more than is open, and have to wait for it.
    let asks = (0..20).map(|_| sqlx::query("SELECT pg_sleep(0.05)").execute(&service.postgres));
    for done in futures_util::future::join_all(asks).await {
        done.unwrap();
    }
    eventually("the refusal is told", || service.trouble().is_some()).await;
    let trouble = service.trouble().unwrap();
    assert!(trouble.contains("postgres.ledger: url and password"), "{trouble}");
    let password = service
        .secrets
        .report()
        .into_iter()
        .find(|one| one.key.ends_with("password"));
    assert_eq!(password.unwrap().state, SecretState::Refused);
    let tried = refusals(&cluster, 0).await - before;
    assert!(tried <= 8, "{tried} logins with a password that is refused");
    source.gives(PASSWORD, text("the-second-password"), "2");
    service.refresh().await;
    eventually("it works again", || service.trouble().is_none()).await;
}
