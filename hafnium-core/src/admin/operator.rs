//! The operator listener on a thread of its own: a kubelet gets its answer also while every worker of the service's
//! runtime is blocked, and that answer says so. See `docs/decisions/0020-probes-on-a-thread-of-their-own.md`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::Router;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc as stops, oneshot};

use super::{Admin, AdminSettings};
use crate::component::{StartError, Stopped};
use crate::context::Context;
use crate::deadline::Deadline;

/// The thread's name, and the component's in errors.
const NAME: &str = "operator";

/// What the thread may take beyond the deadline to say how it ended.
const OVERRUN: Duration = Duration::from_millis(50);

/// The operator listener, served by a thread with a small runtime of its own. Dropping it cuts its connections and ends
/// the thread.
#[must_use]
pub struct Operator {
    address: SocketAddr,
    stop: stops::Sender<(Deadline, oneshot::Sender<Stopped>)>,
}

impl Operator {
    /// Serves `router`, usually [`Admin::router`], under `settings` on a new thread; `beside` is polled there too for as
    /// long as the listener lives.
    ///
    /// Handlers and `beside` must not block: they share the one thread with the probes. Returns once connections are
    /// taken.
    ///
    /// # Errors
    /// [`StartError::Configuration`] that names `admin.port` and the address when it is in use or not ours;
    /// [`StartError::Failed`] when there can be no thread.
    pub fn start(
        settings: &AdminSettings,
        router: Router,
        cx: &Context,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, StartError> {
        let failed = |error: io::Error| StartError::failed(NAME, error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let (stop, stops) = stops::channel(1);
        let (told, listening) = mpsc::sync_channel(1);
        let (settings, cx) = (settings.clone(), cx.clone());
        let serve = move || serve(&runtime, &settings, router, &cx, beside, stops, &told);
        thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(serve)
            .map_err(failed)?;
        let address = listening
            .recv()
            .map_err(|_| failed(io::Error::other("the thread of the operator listener ended")))??;
        Ok(Self { address, stop })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, finishes what is under way and closes all connections; what is not finished by `deadline` is
    /// cut and named. Then the thread ends; one that something blocks is left behind 50 ms after `deadline`, and named.
    ///
    /// Cancel-safety: the listener stays stopped.
    pub async fn drain(self, deadline: Deadline) -> Stopped {
        let (done, ended) = oneshot::channel();
        if self.stop.send((deadline, done)).await.is_err() {
            return Stopped::Incomplete(vec![format!("the thread {NAME} ended before")]);
        }
        // The thread itself keeps the deadline unless it is blocked; it drops the sender when it panics.
        let left_behind = deadline.instant() + OVERRUN;
        let said = match tokio::time::timeout_at(left_behind, ended).await {
            Ok(Ok(stopped)) => return stopped,
            Ok(Err(_)) => "panicked",
            Err(_) => "is blocked",
        };
        Stopped::Incomplete(vec![format!("the thread {NAME} {said}")])
    }
}

/// The whole life of the thread.
fn serve(
    runtime: &Runtime,
    settings: &AdminSettings,
    router: Router,
    cx: &Context,
    beside: impl Future<Output = ()>,
    mut stops: stops::Receiver<(Deadline, oneshot::Sender<Stopped>)>,
    told: &mpsc::SyncSender<Result<SocketAddr, StartError>>,
) {
    runtime.block_on(async {
        let listening = settings.bind().and_then(|bound| Admin::serve(bound, router, cx));
        let server = match listening {
            Ok(server) => server,
            Err(error) => {
                // Who started the thread waits for it.
                let _ = told.send(Err(error));
                return;
            }
        };
        let _ = told.send(Ok(server.local_addr()));
        let mut beside = pin!(async {
            beside.await;
            std::future::pending::<()>().await;
        });
        let stop = tokio::select! {
            stop = stops.recv() => stop,
            () = &mut beside => None,
        };
        if let Some((deadline, done)) = stop {
            let stopped = server.drain(deadline).await;
            let _ = done.send(stopped);
        }
    });
}
