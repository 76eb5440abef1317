//! The Docker rung: a thread of its own that starts containers and removes them at the end.
//!
//! Its own thread and runtime because the end must work wherever it comes: in a drop, on a one-worker runtime, after the
//! service's runtime is gone. testcontainers' own drop needs a live runtime around it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use testcontainers::bollard::Docker as Client;
use testcontainers::bollard::query_parameters::RemoveContainerOptionsBuilder;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::sync::{mpsc, oneshot};

use super::container::{URL_LABEL, Wanted};
use super::lock::{self, Abandoned, Lock};
use super::services::Keep;

/// A daemon that does not say who it is within this time is not used.
const PROBE: Duration = Duration::from_secs(2);
/// A first pull on a slow line. Where no registry answers, the daemon says so much sooner.
const PULL: Duration = Duration::from_secs(300);
const START: Duration = Duration::from_secs(60);
const REMOVE: Duration = Duration::from_secs(10);

type Answer = oneshot::Sender<Result<String, String>>;

/// The thread. Dropping it removes the containers and waits until they are gone.
pub(crate) struct Docker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    /// Answers with the daemon's version.
    Probe(Answer),
    /// Answers with the URL.
    Run(Box<Wanted>, Answer),
    /// For one that did not become ready; answers with its last lines.
    Discard(String, Answer),
}

/// What the thread's tasks share.
struct Hold {
    service: String,
    keep: Keep,
    locks: PathBuf,
    lock: Mutex<Option<Arc<Lock>>>,
    containers: Mutex<Vec<ContainerAsync<GenericImage>>>,
}

impl Docker {
    pub(crate) fn start(service: &str, keep: Keep) -> std::io::Result<Docker> {
        let (jobs, incoming) = mpsc::channel(8);
        let hold = Arc::new(Hold {
            service: service.to_owned(),
            keep,
            locks: lock::directory(),
            lock: Mutex::default(),
            containers: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("hafnium-dev-docker".into())
            .spawn(move || runtime.block_on(serve(hold, incoming)))?;
        Ok(Docker {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// The daemon's version and address; takes at most 2 s.
    pub(crate) async fn probe(&self) -> Result<String, String> {
        self.ask(Job::Probe).await
    }

    /// Starts a container, pulling its image if it must.
    pub(crate) async fn run(&self, wanted: Wanted) -> Result<String, String> {
        self.ask(|answer| Job::Run(Box::new(wanted), answer)).await
    }

    /// Removes one that did not become ready; what it printed last, if that can be had.
    pub(crate) async fn discard(&self, name: &str) -> String {
        self.ask(|answer| Job::Discard(name.to_owned(), answer))
            .await
            .unwrap_or_default()
    }

    async fn ask(&self, job: impl FnOnce(Answer) -> Job) -> Result<String, String> {
        let ended = || String::from("the Docker thread has ended");
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(job(answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

async fn serve(hold: Arc<Hold>, mut jobs: mpsc::Receiver<Job>) {
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(job) = jobs.recv().await {
        let hold = hold.clone();
        // Whoever asked may be gone: then nobody needs the answer, and the end removes the container.
        tasks.spawn(async move {
            let _asker = match job {
                Job::Probe(answer) => answer.send(probe().await),
                Job::Run(wanted, answer) => answer.send(run(&hold, &wanted).await),
                Job::Discard(name, answer) => answer.send(Ok(discard(&hold, &name).await)),
            };
        });
    }
    // A start in flight is not awaited but ended: what it created is in the lock file and removed by name.
    tasks.shutdown().await;
    let containers = std::mem::take(&mut *hold.containers.lock().unwrap_or_else(PoisonError::into_inner));
    futures_util::future::join_all(containers.into_iter().map(|container| async {
        let _removed = tokio::time::timeout(REMOVE, container.rm()).await;
    }))
    .await;
    let lock = hold.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(lock) = lock {
        for name in lock.containers() {
            remove(&name).await;
        }
    }
}

async fn probe() -> Result<String, String> {
    within(PROBE, "an answer of the daemon", async {
        let version = client()
            .await?
            .version()
            .await
            .map_err(|error| error.to_string())?;
        Ok(version.version.unwrap_or_else(|| "of unknown version".into()))
    })
    .await
}

async fn run(hold: &Hold, wanted: &Wanted) -> Result<String, String> {
    let client = within(PROBE, "the daemon", client()).await?;
    if hold.keep == Keep::ForNextRun {
        if let Some(url) = within(PROBE, "the daemon", kept(&client, &wanted.name)).await? {
            return Ok(url);
        }
    } else {
        reap(hold).await;
        let noted = hold.own().and_then(|lock| lock.add(&wanted.name));
        noted.map_err(|error| {
            format!("{error}: without a lock file a killed run would leave its containers")
        })?;
    }
    let image = wanted.image.to_string();
    if within(PROBE, "the daemon", async {
        Ok(client.inspect_image(&image).await.is_err())
    })
    .await?
    {
        tracing::info!(%image, limit = ?PULL, "pulling an image");
        let pulled = async {
            wanted
                .request()
                .pull_image()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        };
        within(PULL, "the registry", pulled)
            .await
            .map_err(|reason| format!("{image} cannot be had: {reason}"))?;
    }
    let request = wanted.request().with_startup_timeout(START);
    let container = within(START, "the container", async {
        request
            .start()
            .await
            .map_err(|error| format!("{image} does not start: {error}"))
    })
    .await?;
    match hold.keep {
        // Its guard would remove it.
        Keep::ForNextRun => std::mem::forget(container),
        Keep::WhileRunning => hold
            .containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(container),
    }
    Ok(wanted.url.clone())
}

/// The URL of the kept container of this name, if it runs; one that does not run is removed.
async fn kept(client: &Client, name: &str) -> Result<Option<String>, String> {
    let Ok(found) = client.inspect_container(name, None).await else {
        return Ok(None);
    };
    let running = found.state.and_then(|state| state.running).unwrap_or(false);
    let url = found.config.and_then(|config| config.labels?.remove(URL_LABEL));
    match url {
        Some(url) if running => Ok(Some(url)),
        Some(_) => {
            remove(name).await;
            Ok(None)
        }
        None => Err(format!("there is a container named {name} that is not ours")),
    }
}

async fn discard(hold: &Hold, name: &str) -> String {
    let at =
        |containers: &[ContainerAsync<GenericImage>], id: &str| containers.iter().position(|c| c.id() == id);
    let id = match client().await {
        Ok(client) => client
            .inspect_container(name, None)
            .await
            .ok()
            .and_then(|found| found.id),
        Err(_) => None,
    };
    let container = {
        let mut containers = hold.containers.lock().unwrap_or_else(PoisonError::into_inner);
        id.and_then(|id| at(&containers, &id))
            .map(|at| containers.remove(at))
    };
    let Some(container) = container else {
        remove(name).await;
        return String::new();
    };
    let output = within(PROBE, "its output", async {
        let both = (container.stdout_to_vec().await, container.stderr_to_vec().await);
        let bytes = [both.0.unwrap_or_default(), both.1.unwrap_or_default()].concat();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    let output = output.await.unwrap_or_default();
    let _removed = tokio::time::timeout(REMOVE, container.rm()).await;
    let lines: Vec<_> = output.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// Removes what killed runs left.
async fn reap(hold: &Hold) {
    for abandoned in Abandoned::find(&hold.locks) {
        tracing::info!(containers = ?abandoned.containers, "removing what a killed run left");
        for name in &abandoned.containers {
            remove(name).await;
        }
        abandoned.forget();
    }
}

/// Gone is as good as removed.
async fn remove(name: &str) {
    let removed = within(REMOVE, "a removal", async {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let _absent = client().await?.remove_container(name, Some(options)).await;
        Ok(())
    });
    if let Err(reason) = removed.await {
        tracing::warn!(container = name, reason, "a container could not be removed");
    }
}

impl Hold {
    fn own(&self) -> Result<Arc<Lock>, crate::Error> {
        let mut own = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        match &*own {
            Some(lock) => Ok(lock.clone()),
            None => Ok(own
                .insert(Arc::new(Lock::create(&self.locks, &self.service)?))
                .clone()),
        }
    }
}

async fn client() -> Result<Client, String> {
    docker_client_instance().await.map_err(|error| error.to_string())
}

async fn within<T>(
    limit: Duration,
    what: &str,
    future: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_| Err(format!("waited {limit:?} for {what}")))
}
