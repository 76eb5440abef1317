//! A running service.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::Instant;

use super::http::{self, Answer, Request};

/// A started service. Dropping it kills it.
pub(crate) struct Service {
    child: Child,
    /// The port of the application listener, unless configured otherwise.
    pub(crate) port: u16,
    /// The port of the operator listener, unless configured otherwise.
    pub(crate) admin: u16,
    home: tempfile::TempDir,
}

/// How a service ended, and everything it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Time since the test began to wait for the end.
    pub(crate) took: Duration,
}

/// Asks `probe` again and again until it gives something; panics with what it said last after `limit`.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let begun = Instant::now();
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(last) if begun.elapsed() > limit => panic!("{what}: not within {limit:?}; last: {last}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

impl Service {
    pub(super) fn new(child: Child, port: u16, admin: u16, home: tempfile::TempDir) -> Self {
        Self {
            child,
            port,
            admin,
            home,
        }
    }

    pub(crate) async fn ask(&self, request: Request) -> Answer {
        let sent = request.clone().send(self.port).await;
        sent.unwrap_or_else(|error| panic!("{request:?}: {error}\n{}", self.said()))
    }

    /// The answer of the operator listener.
    pub(crate) async fn probe(&self, path: &str) -> Answer {
        let sent = http::get(path).send(self.admin).await;
        sent.unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.said()))
    }

    /// Waits until `/readyz` is 200.
    pub(crate) async fn ready(&mut self, limit: Duration) {
        self.probes("/readyz", 200, limit).await;
    }

    /// Waits until a probe answers with that status.
    pub(crate) async fn probes(&mut self, path: &str, status: u16, limit: Duration) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = http::get(path).send(self.admin).await;
            match answer {
                Ok(answer) if answer.status == status => return answer,
                _ => {}
            }
            if let Ok(Some(end)) = self.child.try_wait() {
                panic!("ended ({end}) before {path} was {status}\n{}", self.said());
            }
            assert!(
                begun.elapsed() < limit,
                "{path} not {status} within {limit:?}: {answer:?}\n{}",
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Writes a file into the directory that the service was started in, whole or not at all.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.home.path().join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(self.home.path().join("stdout")).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.home.path().join("stderr")).unwrap()
    }

    /// The log so far, line by line.
    pub(crate) fn log(&self) -> Vec<Value> {
        lines(&self.stdout())
    }

    fn said(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr())
    }

    /// Waits until a line of the log is as wanted, and gives it.
    pub(crate) async fn logged(&self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, limit, async || {
            self.log()
                .into_iter()
                .find(|line| wanted(line))
                .ok_or_else(|| self.said())
        })
        .await
    }

    /// SIGTERM, and then the end.
    pub(crate) async fn stop(self, limit: Duration) -> Ended {
        self.signal(Signal::TERM);
        self.end(limit).await
    }

    /// Waits for the end.
    pub(crate) async fn end(mut self, limit: Duration) -> Ended {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ended {
                    code: status.code(),
                    signal: status.signal(),
                    stdout: self.stdout(),
                    stderr: self.stderr(),
                    took: begun.elapsed(),
                };
            }
            assert!(
                begun.elapsed() < limit,
                "did not end within {limit:?}\n{}",
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The log, line by line.
    pub(crate) fn log(&self) -> Vec<Value> {
        lines(&self.stdout)
    }

    /// Panics with everything that was said unless that was the exit code; gives what was said on stderr.
    #[track_caller]
    pub(crate) fn exited(&self, code: i32) -> &str {
        let Self {
            stdout,
            stderr,
            signal,
            ..
        } = self;
        assert_eq!(
            self.code,
            Some(code),
            "signal {signal:?}\nstdout:\n{stdout}\nstderr:\n{stderr}"
        );
        stderr
    }
}

/// Every whole line is an object; the last one may still be being written.
fn lines(text: &str) -> Vec<Value> {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
