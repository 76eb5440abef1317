//! Signals, seen from outside: this binary runs itself as the process that gets them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]
#![allow(
    clippy::disallowed_methods,
    reason = "real processes take real time, and one ends itself"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hafnium_core::lifecycle::Signals;

const BEHAVIOUR: &str = "HAFNIUM_TEST_SIGNAL_CHILD";

#[test]
#[ignore = "not a test of its own: what the process does that gets the signals"]
fn child() {
    let behaviour = std::env::var(BEHAVIOUR).unwrap_or_else(|_| "prompt".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let signals = Signals::listen().unwrap();
        let mut hangups = signals.hangups();
        say("listening");
        if behaviour == "reload" {
            hangups.next().await;
            say("SIGHUP");
        }
        let signal = signals.received().await;
        say(signal.as_str());
        if behaviour == "stuck" {
            // The runtime of the service is blocked: a second signal must end the process all the same.
            std::thread::sleep(Duration::from_secs(30));
        }
    });
    std::process::exit(0);
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\nchild: {line}").unwrap();
    out.flush().unwrap();
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn start(behaviour: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(BEHAVIOUR, behaviour)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, lines };
        process.expect("child: listening");
        process
    }

    fn expect(&mut self, wanted: &str) {
        let found = self.lines.by_ref().any(|line| line.unwrap() == wanted);
        assert!(found, "the child never said {wanted:?}");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            // The shell's own: a small machine has no program of that name.
            Command::new("sh")
                .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "the child did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_first_signal_is_handed_to_the_service() {
    for name in ["TERM", "INT", "QUIT"] {
        let mut process = Process::start("prompt");
        process.signal(name);
        process.expect(&format!("child: SIG{name}"));
        assert_eq!(process.ended().code(), Some(0));
    }
}

#[test]
fn a_hang_up_neither_ends_the_process_nor_starts_a_drain_and_is_handed_on() {
    let mut process = Process::start("reload");
    process.signal("HUP");
    process.expect("child: SIGHUP");
    process.signal("HUP");
    process.signal("TERM");
    // What the service is handed first is the SIGTERM.
    process.expect("child: SIGTERM");
    assert_eq!(process.ended().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_process_at_once_even_with_a_blocked_runtime() {
    for (name, code) in [("TERM", 143), ("INT", 130), ("QUIT", 131)] {
        let mut process = Process::start("stuck");
        process.signal("TERM");
        process.expect("child: SIGTERM");
        process.signal(name);
        assert_eq!(process.ended().code(), Some(code));
    }
}
