use futures_util::FutureExt;
use hafnium_core::metrics::Metrics;
use hafnium_core::secret::Secret;
use hafnium_testkit::postgres::PostgresCluster;

use super::*;
use crate::postgres::PostgresSettings;
use crate::postgres::address::Address;
use crate::postgres::credentials::Credentials;
use crate::postgres::pool::IDLE;
use crate::postgres::resolver::Resolver;
use crate::postgres::topology::NodeId;
use crate::postgres::url::Host;

const MAX: usize = 1;

fn opener(cluster: &PostgresCluster) -> Arc<Opener> {
    let url = cluster.node_url(0, "postgres");
    let options = url.parse().unwrap();
    let settings = PostgresSettings::new(Secret::new(url));
    let credentials = Credentials::new("postgres.test", &settings, &Metrics::noop(), "test").unwrap();
    let occupancy = Occupancy::new(&Metrics::noop(), "test", "node", MAX);
    let budget = Duration::from_secs(30);
    let tracker = TaskTracker::new();
    let host = Host {
        name: "127.0.0.1".into(),
        port: cluster.port(0),
    };
    let resolver = Arc::new(Resolver::new(Vec::new(), tracker.clone()));
    let door = Door {
        node: NodeId(0),
        options,
        credentials: Arc::new(credentials),
        address: Arc::new(Address::new(&host, &resolver)),
        found: Mutex::default(),
    };
    let opener = Opener::new(Arc::new(door), budget, Arc::default(), occupancy, tracker);
    Arc::new(opener.bounded(MAX))
}

fn patience() -> Patience {
    let begun = Instant::now();
    Patience {
        begun,
        due: begun + Duration::from_secs(30),
    }
}

async fn finish(opener: &Opener) {
    opener.tracker.close();
    opener.tracker.wait().await;
}

#[tokio::test]
async fn spares_are_no_more_than_the_node_may_have_and_none_is_given_out_that_is_old() {
    let cluster = PostgresCluster::single().await.unwrap();
    let warmed = opener(&cluster);
    warmed.warm(MAX + 3);
    finish(&warmed).await;
    assert_eq!(warmed.spares(), MAX);
    {
        let queue = warmed.queue();
        let (spare, tenure) = (&queue.spare[0], &warmed.tenure);
        assert!(spare.serves(tenure, spare.since + IDLE));
        assert!(!spare.serves(tenure, spare.since + IDLE + Duration::from_millis(1)));
        tenure.renew();
        assert!(!spare.serves(tenure, spare.since));
    }

    let given_up = opener(&cluster);
    let mut callers: Vec<_> = (0..MAX + 3)
        .map(|_| Box::pin(given_up.open(patience())))
        .collect();
    for caller in &mut callers {
        assert!(caller.now_or_never().is_none());
    }
    drop(callers);
    finish(&given_up).await;
    assert_eq!(given_up.spares(), MAX);
}
