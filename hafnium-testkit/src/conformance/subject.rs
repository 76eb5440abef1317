//! The service under test as a process of its own.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::Conformance;
use super::ask::{Answer, ask};
use crate::process::free_ports;

/// How often something is asked again.
const EVERY: Duration = Duration::from_millis(20);

/// A started service, in a directory of its own. Dropping it kills it.
pub(super) struct Subject {
    child: Child,
    pub(super) begun: Instant,
    /// The port of the application listener.
    pub(super) port: u16,
    /// The port of the operator listener.
    pub(super) admin: u16,
    home: TempDir,
}

impl Subject {
    /// Starts it with those arguments, on free ports. Variables of the kit come first, then the user's, then `more`.
    pub(super) fn start(
        kit: &Conformance<'_>,
        arguments: &[String],
        more: Vec<(String, String)>,
    ) -> Result<Self, String> {
        let failed = |doing: &str, error: &dyn std::fmt::Display| format!("could not {doing}: {error}");
        let home = tempfile::Builder::new().prefix("hafnium-conformance-").tempdir();
        let home = home.map_err(|error| failed("make a directory", &error))?;
        for (name, content) in &kit.files {
            std::fs::write(home.path().join(name), content)
                .map_err(|error| failed(&format!("write {name}"), &error))?;
        }
        let ports = free_ports(2).map_err(|error| failed("find free ports", &error))?;
        let output = |name: &str| File::create(home.path().join(name));
        let stdout = output("stdout").map_err(|error| failed("make its output", &error))?;
        let stderr = output("stderr").map_err(|error| failed("make its output", &error))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&kit.binary)
            .args(arguments);
        command.env_clear().env("HOME", home.path());
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let own = [
            ("ENVIRONMENT", "staging".to_owned()),
            ("HAFNIUM__TELEMETRY__LOG_FORMAT", "json".to_owned()),
            ("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "2s".to_owned()),
            ("HAFNIUM__HTTP__PORT", ports[0].to_string()),
            ("HAFNIUM__ADMIN__PORT", ports[1].to_string()),
        ];
        command.envs(own).envs(kit.variables.iter().cloned()).envs(more);
        command.current_dir(home.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let begun = Instant::now();
        let child = command.spawn();
        let child = child.map_err(|error| failed(&format!("start {}", kit.binary.display()), &error))?;
        Ok(Self {
            child,
            begun,
            port: ports[0],
            admin: ports[1],
            home,
        })
    }

    /// The answer of the operator listener.
    pub(super) async fn probe(&self, path: &str) -> Result<Answer, String> {
        ask(self.admin, path, &[])
            .await
            .map_err(|error| format!("{path}: {error}"))
    }

    /// The value in force of a key, as `/config` shows it.
    pub(super) async fn configured(&self, key: &str) -> Result<String, String> {
        let answer = self.probe("/config").await?;
        let config = answer.json();
        let entries = config["entries"].as_array().cloned().unwrap_or_default();
        let entry = entries.iter().find(|entry| entry["key"] == key);
        let entry = entry.ok_or_else(|| format!("/config is {} and shows no {key}", answer.status))?;
        let value = &entry["value"];
        Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Waits until a probe answers with that status; says after what time it did.
    pub(super) async fn becomes(
        &mut self,
        path: &str,
        status: u16,
        limit: Duration,
    ) -> Result<Duration, String> {
        self.until(limit, async |subject| match subject.probe(path).await {
            Ok(answer) if answer.status == status => Ok(()),
            Ok(answer) => Err(format!("{path} is {}: {}", answer.status, answer.body.trim())),
            Err(error) => Err(error),
        })
        .await
    }

    /// Asks until the answer is `Ok`; says after what time it was. Ends early with the process.
    pub(super) async fn until(
        &mut self,
        limit: Duration,
        probe: impl AsyncFn(&Self) -> Result<(), String>,
    ) -> Result<Duration, String> {
        let begun = Instant::now();
        loop {
            let last = match probe(self).await {
                Ok(()) => return Ok(begun.elapsed()),
                Err(last) => last,
            };
            if let Some(status) = self.ended_with() {
                return Err(format!("the process ended ({status}): {}", self.last_words()));
            }
            if begun.elapsed() > limit {
                return Err(format!("not within {limit:?}; last: {last}"));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It is a child that was not waited for, so that its number is its own; one that ended takes no harm.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    pub(super) fn ended_with(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(super) async fn ends(&mut self, limit: Duration) -> Result<(ExitStatus, Duration), String> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended_with() {
                return Ok((status, begun.elapsed()));
            }
            if begun.elapsed() > limit {
                return Err(format!("it still runs after {limit:?}: {}", self.last_words()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What it said on stderr.
    pub(super) fn stderr(&self) -> String {
        std::fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default()
    }

    /// The last lines of what it said.
    pub(super) fn last_words(&self) -> String {
        let stdout = std::fs::read_to_string(self.home.path().join("stdout")).unwrap_or_default();
        let said = [stdout, self.stderr()].concat();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(4)..].join(" | ")
    }
}

/// `code 78` or `signal 9`.
pub(super) fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "no status".to_owned(),
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
