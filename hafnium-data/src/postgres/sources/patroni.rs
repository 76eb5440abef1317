//! Patroni's REST API as a source: `GET /cluster` of any member.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafnium_core::config::ByteSize;
use hafnium_core::secret::Secret;
use hafnium_core::upstream::{Upstream, UpstreamSettings};
use hafnium_core::{BoxFuture, Context};
use serde::Deserialize;

use super::{Member, MemberRole, PatroniSettings, SourceError, TopologySource};

/// For one member's answer, so that a silent one leaves time for the next.
const LIMIT: Duration = Duration::from_millis(700);
/// Far more than any cluster's description has.
const BODY_LIMIT: u64 = 1;

/// The REST API of the members that the settings name.
pub(crate) struct Patroni {
    upstreams: Vec<Upstream>,
    login: Option<(String, Option<Secret>)>,
    /// Which of them answered last.
    answering: AtomicUsize,
}

impl Patroni {
    /// `None` when no URL is named. Does no I/O.
    ///
    /// # Errors
    /// What can't be used, with the key.
    pub(crate) fn new(component: &str, settings: &PatroniSettings) -> Result<Option<Self>, String> {
        if settings.user.is_none() && settings.password.is_some() {
            return Err("patroni.password: expected patroni.user beside it".to_owned());
        }
        // Its health and its metrics would be told as those of a dependency, which it is not.
        let apart = Context::standalone();
        let name = format!("{component}.patroni");
        let upstream = |url: &String| {
            let mut upstream = UpstreamSettings::new(url);
            upstream.timeout = LIMIT.into();
            upstream.body_limit = ByteSize::from_mebibytes(BODY_LIMIT);
            upstream.tls = settings.tls.clone();
            Upstream::new(&name, &upstream, &apart).map_err(|error| format!("patroni.urls: {error}"))
        };
        let upstreams = settings
            .urls
            .iter()
            .map(upstream)
            .collect::<Result<Vec<_>, _>>()?;
        let login = settings
            .user
            .clone()
            .map(|user| (user, settings.password.clone()));
        let answering = AtomicUsize::new(0);
        Ok((!upstreams.is_empty()).then_some(Self {
            upstreams,
            login,
            answering,
        }))
    }

    async fn ask(&self, upstream: &Upstream) -> Result<Vec<Member>, SourceError> {
        upstream.open();
        let mut call = upstream.get("/cluster").within(LIMIT);
        if let Some((user, password)) = &self.login {
            let password = password.as_ref().map(Secret::current);
            let password = password.as_ref().map_or("", |password| password.expose());
            let login = STANDARD.encode(format!("{user}:{password}"));
            call = call.header("authorization", format!("Basic {login}"));
        }
        let wrong = |error: hafnium_core::upstream::UpstreamError| SourceError::new(error.to_string());
        let cluster: Cluster = call.send().await.map_err(wrong)?.json().map_err(wrong)?;
        Ok(cluster.members.into_iter().filter_map(Listed::member).collect())
    }
}

impl TopologySource for Patroni {
    fn name(&self) -> &'static str {
        "patroni"
    }

    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, SourceError>> {
        Box::pin(async move {
            let first = self.answering.load(Ordering::Relaxed);
            let mut failures = Vec::new();
            for place in (first..first + self.upstreams.len()).map(|place| place % self.upstreams.len()) {
                match self.ask(&self.upstreams[place]).await {
                    Ok(members) => {
                        self.answering.store(place, Ordering::Relaxed);
                        return Ok(members);
                    }
                    Err(error) => failures.push(error.to_string()),
                }
                // Where the whole is given up meanwhile, the next time begins with another one.
                self.answering.store(place + 1, Ordering::Relaxed);
            }
            Err(SourceError::new(failures.join("; ")))
        })
    }
}

/// What `/cluster` answers, as far as it is used.
#[derive(Deserialize)]
struct Cluster {
    members: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    role: String,
    host: Option<String>,
    port: Option<u16>,
    timeline: Option<u32>,
    lag: Option<Lag>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Lag {
    Bytes(u64),
    /// `"unknown"`.
    Said(#[expect(dead_code, reason = "only its being no number is of interest")] String),
}

impl Listed {
    /// `None` of one whose Postgres has no address yet.
    fn member(self) -> Option<Member> {
        let role = match self.role.as_str() {
            "leader" => MemberRole::Leader,
            // That of a standby cluster is no primary.
            _ => MemberRole::Replica,
        };
        let lag = match self.lag {
            Some(Lag::Bytes(bytes)) => Some(bytes),
            Some(Lag::Said(_)) | None => None,
        };
        Some(Member {
            timeline: self.timeline,
            lag,
            ..Member::new(self.host?, self.port.unwrap_or(5432), role)
        })
    }
}
