//! What TLS costs that is carried over a socket of our own, as it is for a host that is a name (decision 30): our client by
//! the name against itself by the address, where sqlx dials, and against `sqlx::PgPool` by the name.

use std::path::PathBuf;

use benches::Ratio;
use hafnium_testkit::postgres::PostgresCluster;
use hafnium_testkit::referee::Figures;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::postgres::{PgPool, PgPoolOptions};

use hafnium_data::postgres::Postgres;

use super::load::{Run, measure};
use super::peers::{Contender, Query};
use super::{CONNECTIONS, Effort, all};

/// Known to every machine, without a name server.
const NAME: &str = "localhost";
const TASKS: [usize; 2] = [8, 64];

/// Who is measured, in the order of a round.
const NAMES: [&str; 3] = [
    "hafnium, TLS by a name: carried",
    "hafnium, TLS by an address",
    "sqlx::PgPool tuned, TLS by a name",
];

struct Contenders {
    carried: Contender<Postgres>,
    dialled: Contender<Postgres>,
    pool: Contender<PgPool>,
    _authority: Authority,
}

/// The certificate of an authority in a file that goes with it.
struct Authority(PathBuf);

impl Drop for Authority {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// A server with a certificate for its name and its address, which is checked (`verify-full`).
async fn sealed(cluster: &PostgresCluster) -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let path = std::env::temp_dir().join(format!("hafnium-bench-{}.pem", std::process::id()));
    std::fs::write(&path, issuer.pem()).expect("a file for the authority");
    let names = [NAME, "127.0.0.1"].map(str::to_owned);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(names).expect("names");
    let signed = params.signed_by(&key, &issuer).expect("a certificate");
    let offered = cluster.offer_tls(0, &signed.pem(), &key.serialize_pem()).await;
    offered.expect("a server with TLS");
    Authority(path)
}

impl Contenders {
    async fn connect(cluster: &PostgresCluster, rows: i64) -> Self {
        let authority = sealed(cluster).await;
        let url = format!(
            "{}?sslmode=verify-full&sslrootcert={}",
            cluster.url("ledger"),
            authority.0.display()
        );
        let named = url.replace("127.0.0.1", NAME);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .connect(&named)
            .await;
        let contenders = Self {
            carried: Contender::new(super::peers::ours(&named, CONNECTIONS).await, rows),
            dialled: Contender::new(super::peers::ours(&url, CONNECTIONS).await, rows),
            pool: Contender::new(pool.expect("a pool of sqlx"), rows),
            _authority: authority,
        };
        let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        for client in [&contenders.carried, &contenders.dialled] {
            let encrypted = sqlx::query_scalar::<_, bool>(encrypted).fetch_one(client.pool());
            assert!(encrypted.await.expect("an answer"), "TLS is on");
        }
        let encrypted = sqlx::query_scalar::<_, bool>(encrypted).fetch_one(contenders.pool.pool());
        assert!(encrypted.await.expect("an answer"), "TLS is on");
        contenders
    }

    async fn round(&self, round: usize, query: Query, tasks: usize, effort: &Effort) -> [Option<Run>; 3] {
        let mut runs = [None; 3];
        for index in benches::turned::<3>(round) {
            runs[index] = match index {
                0 => measure(&self.carried, query, tasks, effort.window).await,
                1 => measure(&self.dialled, query, tasks, effort.window).await,
                _ => measure(&self.pool, query, tasks, effort.window).await,
            };
        }
        runs
    }
}

/// Measures and adds the rows; `wanted` is the beginning of the cases that are.
pub(crate) async fn compare(
    cluster: &PostgresCluster,
    effort: &Effort,
    wanted: Option<&str>,
    figures: &mut Figures,
) {
    let case = |query: Query, tasks| format!("TLS: {}, {tasks} tasks", query.name());
    let cases = [Query::One, Query::Read].map(|query| TASKS.map(|tasks| (query, tasks)));
    let mut cases = cases.into_iter().flatten().collect::<Vec<_>>();
    cases.retain(|(query, tasks)| wanted.is_none_or(|wanted| case(*query, *tasks).starts_with(wanted)));
    if cases.is_empty() {
        return;
    }
    let contenders = Contenders::connect(cluster, effort.rows).await;
    for (query, tasks) in cases {
        let mut rounds = Vec::new();
        for round in 0..effort.rounds {
            rounds.push(contenders.round(round, query, tasks, effort).await);
        }
        report(figures, &case(query, tasks), &rounds);
    }
}

/// No targets: it is a price, and the alternative is a name that is not followed.
fn report(figures: &mut Figures, case: &str, rounds: &[[Option<Run>; 3]]) {
    println!("{case}");
    for (index, name) in NAMES.iter().enumerate() {
        let of = |part: fn(&Run) -> f64| all(rounds.iter().map(|runs| runs[index].as_ref().map(part)));
        match (of(|run| run.rate), of(|run| run.p99)) {
            (Some(rate), Some(p99)) => {
                println!("  {name:<38} {:>8.0}/s  p99 {:>6.0} us", rate.median, p99.median);
            }
            _ => println!("  {name:<38} n/a"),
        }
        if index == 0 {
            continue;
        }
        let ratio = |part: fn(&Run) -> f64| -> Option<Ratio> {
            all(rounds.iter().map(|runs| {
                let (carried, other) = (runs[0].as_ref()?, runs[index].as_ref()?);
                Some(part(carried) / part(other))
            }))
        };
        for (figure, ratio) in [
            ("throughput_ratio", ratio(|run| run.rate)),
            ("p99_ratio", ratio(|run| run.p99)),
        ] {
            if let Some(ratio) = ratio {
                println!("    {figure} {ratio}");
                figures.add(ratio.row(figure, format!("{case}, {name}")).against(*name));
            }
        }
    }
}
