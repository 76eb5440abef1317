//! Names to addresses, asked of the name servers directly: the system's own resolver tells nobody for how long an
//! answer may be believed, and a name that moves is believed for no longer than that.
//!
//! Invariant: an answer is used until its time to live is over and then only while no newer one can be had. One
//! question per name is under way at a time, on a task of its own and for two seconds at most: a caller who gives up
//! does not waste it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// For one question, its repetitions included.
const BUDGET: Duration = Duration::from_secs(2);
/// Until a question is repeated. A name server on the same network answers in a fraction of that.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a question is repeated.
const REPETITIONS: usize = 3;
/// How long a newer answer is waited for by whoever could do with the old one.
const OVERDUE: Duration = Duration::from_millis(250);
/// The shortest time an answer is believed, also where it says none at all, and before a failed question is repeated.
const HOLD: Duration = Duration::from_millis(50);
/// How long an answer of the system's resolver is believed, which says nothing of it.
const UNSAID: Duration = Duration::from_secs(1);

/// Asks name servers.
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    /// Made when the first name is asked for: it reads files.
    source: OnceLock<Source>,
    tracker: TaskTracker,
    names: Mutex<HashMap<String, Arc<Name>>>,
}

enum Source {
    Servers(Box<TokioResolver>),
    /// Where the system's configuration names no server.
    System,
}

/// No address for a name.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no address for {name}: {reason}")]
pub(crate) struct ResolveError {
    name: String,
    reason: Arc<str>,
}

/// What is known of one name.
#[derive(Debug)]
struct Name {
    news: watch::Sender<Known>,
    asking: AtomicBool,
}

#[derive(Debug, Clone, Default)]
struct Known {
    answer: Option<Answer>,
    /// Why the newest question failed, if it did.
    failure: Option<Arc<str>>,
    /// Before this nothing is asked again.
    until: Option<Instant>,
}

/// The addresses of a name, for a while.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) addresses: Arc<[IpAddr]>,
    /// When to ask again.
    pub(crate) until: Instant,
}

impl Resolver {
    /// Asks the name servers at `servers`; those of the system when there are none. `/etc/hosts` is read first, once.
    pub(crate) fn new(servers: Vec<SocketAddr>, tracker: TaskTracker) -> Self {
        Self {
            servers,
            source: OnceLock::new(),
            tracker,
            names: Mutex::default(),
        }
    }

    /// The addresses of `name` now, from memory while they may be believed. When no newer ones can be had the old ones
    /// go on being used: a name server that fails is no reason to leave a database that works.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the name has no address, or none could be had within two seconds and there never was one.
    pub(crate) async fn resolve(self: &Arc<Self>, name: &str) -> Result<Answer, ResolveError> {
        let known = self.name(name);
        let mut news = known.news.subscribe();
        loop {
            let now = Instant::now();
            let Known {
                answer,
                failure,
                until,
            } = news.borrow_and_update().clone();
            let current = until.filter(|until| *until > now);
            let old = |answer: Answer| Answer {
                until: current.unwrap_or(now + HOLD),
                ..answer
            };
            match (answer, failure) {
                (Some(answer), _) if current.is_some() => return Ok(old(answer)),
                (Some(answer), Some(_)) => {
                    // Not waited for: a name server that failed once may fail again.
                    self.ask(name, &known);
                    return Ok(old(answer));
                }
                (Some(answer), None) => {
                    self.ask(name, &known);
                    // The sender lives in `known`.
                    if tokio::time::timeout(OVERDUE, news.changed()).await.is_err() {
                        return Ok(old(answer));
                    }
                }
                (None, Some(reason)) if current.is_some() => {
                    return Err(ResolveError {
                        name: name.to_owned(),
                        reason,
                    });
                }
                (None, _) => {
                    self.ask(name, &known);
                    let _ = news.changed().await;
                }
            }
        }
    }

    fn source(&self) -> &Source {
        self.source.get_or_init(|| Source::new(&self.servers))
    }

    fn name(&self, name: &str) -> Arc<Name> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Name {
                news: watch::Sender::new(Known::default()),
                asking: AtomicBool::new(false),
            })
        });
        known.clone()
    }

    /// Asks, unless that is being done.
    fn ask(self: &Arc<Self>, name: &str, known: &Arc<Name>) {
        if known.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, known, name) = (self.clone(), known.clone(), name.to_owned());
        self.tracker.spawn(async move {
            let looked_up = tokio::time::timeout(BUDGET, this.source().look_up(&name)).await;
            let result = looked_up.unwrap_or_else(|_| Err(format!("no answer within {BUDGET:?}").into()));
            let now = Instant::now();
            // Before the news, so that whoever finds the answer outdated can ask at once.
            known.asking.store(false, Ordering::Release);
            known.news.send_modify(|known| match result {
                Ok((addresses, lifetime)) => {
                    let until = now + lifetime.max(HOLD);
                    known.answer = Some(Answer { addresses, until });
                    known.failure = None;
                    known.until = Some(until);
                }
                Err(reason) => {
                    if known.answer.is_some() && known.failure.is_none() {
                        tracing::warn!(name, %reason, "no new address: the last one is used");
                    }
                    known.failure = Some(reason);
                    known.until = Some(now + HOLD);
                }
            });
        });
    }
}

impl Source {
    fn new(servers: &[SocketAddr]) -> Self {
        let provider = TokioRuntimeProvider::default();
        let (config, mut options) = if servers.is_empty() {
            match hickory_resolver::system_conf::read_system_conf() {
                Ok(system) => system,
                Err(error) => {
                    tracing::debug!(%error, "no name server is configured: the system's resolver is asked");
                    return Self::System;
                }
            }
        } else {
            let servers = servers.iter().map(name_server).collect();
            (
                ResolverConfig::from_name_servers(servers),
                ResolverOpts::default(),
            )
        };
        options.timeout = options.timeout.min(PATIENCE);
        options.attempts = options.attempts.max(REPETITIONS);
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        // The memory is ours: that of the resolver gives out whole seconds only.
        options.cache_size = 0;
        let mut builder = TokioResolver::builder_with_config(config, provider);
        *builder.options_mut() = options;
        match builder.build() {
            Ok(resolver) => Self::Servers(Box::new(resolver)),
            Err(error) => {
                tracing::warn!(%error, "the system's resolver is asked");
                Self::System
            }
        }
    }

    /// The addresses of a name and for how long they may be believed.
    async fn look_up(&self, name: &str) -> Result<(Arc<[IpAddr]>, Duration), Arc<str>> {
        let (addresses, lifetime): (Vec<_>, _) = match self {
            Self::Servers(resolver) => {
                let found = resolver
                    .lookup_ip(name)
                    .await
                    .map_err(|error| Arc::from(error.to_string()))?;
                // Aliases on the way to the addresses count too.
                let seconds = found.as_lookup().answers().iter().map(|record| record.ttl).min();
                let lifetime = Duration::from_secs(seconds.unwrap_or_default().into());
                (found.iter().collect(), lifetime)
            }
            Self::System => {
                let found = tokio::net::lookup_host((name, 0))
                    .await
                    .map_err(|error| Arc::from(error.to_string()))?;
                (found.map(|found| found.ip()).collect(), UNSAID)
            }
        };
        if addresses.is_empty() {
            return Err("the name has no address".into());
        }
        Ok((addresses.into(), lifetime))
    }
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hafnium_testkit::dns::NameServer;

    const NAME: &str = "ledger.example";

    fn resolver(names: &NameServer) -> Arc<Resolver> {
        Arc::new(Resolver::new(vec![names.address()], TaskTracker::new()))
    }

    fn addresses(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn an_answer_is_believed_for_its_time_to_live_and_no_longer() {
        let names = NameServer::start().unwrap();
        names.set(NAME, addresses(&["127.0.0.1", "::1"]), Duration::from_secs(1));
        let resolver = resolver(&names);
        let first = resolver.resolve(NAME).await.unwrap();
        assert_eq!(first.addresses.to_vec(), addresses(&["127.0.0.1", "::1"]));
        names.set(NAME, addresses(&["127.0.0.2"]), Duration::from_secs(1));
        let asked = names.asked(NAME);
        let again = resolver.resolve(NAME).await.unwrap();
        assert_eq!(again.addresses, first.addresses);
        assert_eq!(names.asked(NAME), asked, "from memory");
        // By the clock, not by what the resolver says of its answer.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let moved = resolver.resolve(NAME).await.unwrap();
        assert_eq!(moved.addresses.to_vec(), addresses(&["127.0.0.2"]));
    }

    #[tokio::test]
    async fn all_who_want_the_same_name_share_one_question() {
        let names = NameServer::start().unwrap();
        names.set(NAME, addresses(&["127.0.0.1"]), Duration::from_secs(60));
        let resolver = resolver(&names);
        let many = (0..50).map(|_| resolver.resolve(NAME));
        for answer in futures_util::future::join_all(many).await {
            assert_eq!(answer.unwrap().addresses.to_vec(), addresses(&["127.0.0.1"]));
        }
        assert_eq!(names.asked(NAME), 2, "one for each kind of address");
    }

    #[tokio::test]
    async fn a_silent_name_server_costs_a_bounded_time_and_no_known_address() {
        let names = NameServer::start().unwrap();
        names.fall_silent();
        let strange = resolver(&names);
        let begun = Instant::now();
        let error = strange.resolve(NAME).await.unwrap_err();
        assert!(begun.elapsed() < BUDGET + Duration::from_secs(1));
        assert!(error.to_string().contains(NAME), "{error}");
        assert!(names.asked(NAME) > 0 && names.answers(NAME).is_empty());

        names.speak();
        names.set(NAME, addresses(&["127.0.0.1"]), Duration::ZERO);
        let resolver = resolver(&names);
        resolver.resolve(NAME).await.unwrap();
        names.fall_silent();
        tokio::time::sleep(HOLD * 2).await;
        let old = resolver.resolve(NAME).await.unwrap();
        assert_eq!(old.addresses.to_vec(), addresses(&["127.0.0.1"]));
    }

    #[tokio::test]
    async fn names_of_this_host_need_no_server_and_unknown_ones_are_named() {
        let names = NameServer::start().unwrap();
        let resolver = resolver(&names);
        let here = resolver.resolve("localhost").await.unwrap();
        assert!(here.addresses.iter().all(IpAddr::is_loopback), "{here:?}");
        assert_eq!(names.asked("localhost"), 0);
        let error = resolver.resolve("nobody.example").await.unwrap_err().to_string();
        assert!(error.starts_with("no address for nobody.example: "), "{error}");
        assert!(names.asked("nobody.example") > 0);
    }
}
