//! A replica of the service as its own process, like a pod: started, probed over HTTP, signalled.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What every replica is configured with.
pub(crate) struct Fleet {
    pub(crate) binary: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// One replica.
pub(crate) struct Replica {
    pub(crate) name: String,
    child: Child,
    admin: u16,
}

impl Fleet {
    /// Starts a replica on free ports. Must be called on the main thread: the kernel kills the replica with the
    /// thread that started it.
    pub(crate) fn start(&self, name: &str) -> Result<Replica, Box<dyn std::error::Error>> {
        let ports = hafnium_testkit::process::free_ports(2)?;
        let log = std::fs::File::create(self.log_of(name))?;
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig").arg("KILL").arg(&self.binary);
        command.envs(self.variables.iter().map(|(key, value)| (key, value)));
        command.env("POD_NAME", name);
        command.env("HAFNIUM__HTTP__PORT", ports[0].to_string());
        command.env("HAFNIUM__ADMIN__PORT", ports[1].to_string());
        command.current_dir(&self.logs).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Replica {
            name: name.to_owned(),
            child: command.spawn()?,
            admin: ports[1],
        })
    }

    pub(crate) fn log_of(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

impl Replica {
    /// The status of `/readyz`, if it answers within 300 ms.
    pub(crate) async fn readiness(&self) -> Option<u16> {
        let probe = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).await.ok()?;
            stream
                .write_all(b"GET /readyz HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n")
                .await
                .ok()?;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.ok()?;
            std::str::from_utf8(&head[9..]).ok()?.parse().ok()
        };
        tokio::time::timeout(Duration::from_millis(300), probe)
            .await
            .ok()
            .flatten()
    }

    /// Waits until the replica is ready; an error when it ended instead.
    pub(crate) async fn ready(&mut self, limit: Duration) -> Result<(), String> {
        let begun = Instant::now();
        while self.readiness().await != Some(200) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "{} ended before it was ready: {}",
                    self.name,
                    exit(status)
                ));
            }
            if begun.elapsed() > limit {
                return Err(format!("{} was not ready within {limit:?}", self.name));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Sends SIGTERM, as a kubelet does.
    pub(crate) fn terminate(&self) {
        if let Ok(pid) = i32::try_from(self.child.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// How the replica ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(exit)
    }

    /// Waits for the end; after `limit` the replica is killed and that is what is reported.
    pub(crate) async fn end(&mut self, limit: Duration) -> String {
        let begun = Instant::now();
        loop {
            if let Some(end) = self.ended() {
                return end;
            }
            if begun.elapsed() > limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return format!("killed: still running {limit:?} after SIGTERM");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// The service's binary: built by the same command into the same directory as this one.
pub(crate) fn sibling(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let binary = own.parent().unwrap_or(Path::new(".")).join(name);
    if binary.is_file() {
        Ok(binary)
    } else {
        Err(format!(
            "{} is missing: build it first, as `make demo` does",
            binary.display()
        ))
    }
}
