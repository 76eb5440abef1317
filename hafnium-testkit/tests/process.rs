//! Children die with whoever started them, and faults reach whole trees.

#![allow(
    clippy::unwrap_used,
    reason = "a test may end where it stands, its helpers too"
)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hafnium_testkit::Error;
use hafnium_testkit::process::{Keeper, Launch, Process, ProcessId, ProcessState, await_ready, wait_until};

/// A server whose two children are sessions of their own, as Postgres backends are.
fn family(keeper: &Keeper) -> Process {
    let script = "setsid sleep 1000 & setsid sleep 1000 & wait; wait";
    keeper
        .spawn(&Launch::new("family", "sh").args(["-c", script]))
        .unwrap()
}

async fn whole(process: &Process) -> Vec<ProcessId> {
    wait_until(
        "three processes",
        Duration::from_secs(5),
        async || match process.tree() {
            tree if tree.len() == 3 => Ok(tree),
            tree => Err(format!("{} processes", tree.len())),
        },
    )
    .await
    .unwrap()
}

fn all(processes: &[ProcessId], state: ProcessState) -> bool {
    processes.iter().all(|p| p.state() == state)
}

#[tokio::test]
async fn a_freeze_reaches_descendants_in_other_sessions_and_thaws_again() {
    let keeper = Keeper::new("test").unwrap();
    let server = family(&keeper);
    let tree = whole(&server).await;
    let proof = server.freeze().unwrap();
    println!("{proof}");
    assert_eq!(proof.processes.len(), 3);
    assert!(all(&tree, ProcessState::Stopped));
    server.thaw();
    wait_until("the tree to run", Duration::from_secs(2), async || {
        if all(&tree, ProcessState::Alive) {
            Ok(())
        } else {
            Err("stopped".into())
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_kill_reaches_descendants_in_other_sessions() {
    let keeper = Keeper::new("test").unwrap();
    let server = family(&keeper);
    let tree = whole(&server).await;
    let proof = server.kill9().unwrap();
    println!("{proof}");
    assert!(all(&tree, ProcessState::Gone));
    let again = server.kill9();
    assert!(
        matches!(again, Err(Error::Unproven { .. })),
        "a second kill proves nothing: {again:?}"
    );
}

#[tokio::test]
async fn a_dropped_server_is_dead_and_its_directory_gone_when_drop_returns() {
    let keeper = Keeper::new("test").unwrap();
    let directory = keeper.directory().to_owned();
    let server = family(&keeper);
    let tree = whole(&server).await;
    server.freeze().unwrap();
    let start = Instant::now();
    drop(keeper);
    assert!(directory.exists(), "a process still holds its keeper");
    drop(server);
    println!("dropped in {:?}", start.elapsed());
    assert!(all(&tree, ProcessState::Gone));
    assert!(!directory.exists());
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_server_outlives_the_thread_that_asked_for_it() {
    let keeper = Keeper::new("test").unwrap();
    let theirs = keeper.clone();
    let server = std::thread::spawn(move || family(&theirs)).join().unwrap();
    let tree = whole(&server).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(all(&tree, ProcessState::Alive));
}

#[tokio::test]
async fn a_server_that_ends_early_is_an_error_with_its_last_words() {
    let keeper = Keeper::new("test").unwrap();
    let server = keeper
        .spawn(&Launch::new("mayfly", "sh").args(["-c", "echo bad luck >&2; exit 3"]))
        .unwrap();
    let never = async || Err::<(), _>("nothing".to_owned());
    let error = await_ready(&[&server], "mayfly", Duration::from_secs(5), never)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("mayfly ended with exit status: 3") && text.contains("bad luck"),
        "{text}"
    );
}

#[tokio::test]
async fn a_wait_ends_at_its_limit_and_says_what_it_waited_for() {
    let start = Instant::now();
    let silence = async || -> Result<(), String> { std::future::pending().await };
    let error = wait_until("an answer", Duration::from_millis(150), silence)
        .await
        .unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1));
    let text = error.to_string();
    assert!(
        text.contains("for an answer") && text.contains("silence"),
        "{text}"
    );
}

#[tokio::test]
async fn servers_never_run_as_root_and_see_none_of_our_environment() {
    let keeper = Keeper::new("test").unwrap();
    let who = Launch::new("who", "sh").args(["-c", "id -u; env; touch mine"]);
    let printed = keeper.run(&who, Duration::from_secs(5)).await.unwrap();
    assert_ne!(printed.lines().next(), Some("0"));
    assert!(!printed.contains("CARGO_MANIFEST_DIR"), "{printed}");
    assert!(keeper.directory().join("mine").exists());
}

const REEXEC: &str = "HAFNIUM_TESTKIT_KILLED_TEST";

/// Not a test of its own: what [`nothing_survives_a_killed_test_process`] starts and kills.
#[tokio::test]
#[ignore = "started by nothing_survives_a_killed_test_process"]
async fn the_test_process_that_is_killed() {
    if std::env::var_os(REEXEC).is_none() {
        return;
    }
    let keeper = Keeper::new("test").unwrap();
    let (running, frozen) = (family(&keeper), family(&keeper));
    let mut tree = whole(&running).await;
    tree.extend(whole(&frozen).await);
    frozen.freeze().unwrap();
    println!("\ndirectory {}", keeper.directory().display());
    for process in tree {
        println!("process {} {}", process.pid, process.started);
    }
    println!("up");
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn nothing_survives_a_killed_test_process() {
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "the_test_process_that_is_killed",
            "--nocapture",
        ])
        .env(REEXEC, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut processes, mut directory) = (Vec::new(), None);
    for line in BufReader::new(test.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["process", pid, started] => {
                processes.push(ProcessId {
                    pid: pid.parse().unwrap(),
                    started: started.parse().unwrap(),
                });
            }
            ["directory", path] => directory = Some(PathBuf::from(path)),
            ["up"] => break,
            _ => {}
        }
    }
    let directory = directory.unwrap();
    assert_eq!(processes.len(), 6);
    assert!(directory.exists());
    assert!(processes.iter().all(|p| p.state() != ProcessState::Gone));
    test.kill().unwrap();
    test.wait().unwrap();
    let start = Instant::now();
    wait_until("all to be gone", Duration::from_secs(5), async || {
        let left = processes
            .iter()
            .filter(|p| p.state() != ProcessState::Gone)
            .count();
        match (left, directory.exists()) {
            (0, false) => Ok(()),
            (left, directory) => Err(format!("{left} processes, directory: {directory}")),
        }
    })
    .await
    .unwrap();
    println!(
        "six processes, half of them frozen, and their directory gone after {:?}",
        start.elapsed()
    );
}

#[test]
fn ports_lie_below_the_range_of_outgoing_connections() {
    let ports = hafnium_testkit::process::free_ports(3).unwrap();
    let first = ports[0];
    let listener = TcpListener::bind(("127.0.0.1", first)).unwrap();
    assert_eq!(listener.local_addr().unwrap().port(), first);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let low: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    assert!(
        low < 11_000 || ports.iter().all(|p| *p < low),
        "{ports:?} against {low}"
    );
}
