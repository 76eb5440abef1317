//! The status page and what it is made of, as a person and their browser get them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod admin_support;
mod http_client;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use admin_support::Service;
use admin_support::html::Page;
use hafnium_core::health::{Check, Status};
use hafnium_core::lifecycle::State;
use hafnium_core::resilience::BreakerSettings;
use hafnium_core::topology::{Node, NodeState, Pool, View};
use hafnium_core::{Classified, Fault, Outcome};
use tokio::time::sleep;

const CANARY: &str = "<script>alert('canary')</script><img src=x onerror=\"alert(1)\">&amp;";

async fn page(service: &Service) -> Page {
    let answer = service.get("/").await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    Page::read(&answer.body)
}

fn ledger(service: &Service) -> hafnium_core::topology::Registration {
    service.cx.topology().register("postgres.ledger", "postgres", || {
        View::new().nodes([
            Node::new("pg-1:5432")
                .role("primary")
                .state(NodeState::Up)
                .place("eu-west-1", "a")
                .pool(Pool::new(3, 5, 16).waiting(2)),
            Node::new("pg-2:5432")
                .role("standby")
                .state(NodeState::Down)
                .detail("connection refused"),
        ])
    })
}

#[tokio::test]
async fn the_page_tells_state_checks_dependencies_pools_tasks_and_build() {
    let service = Service::start();
    let _up = service
        .cx
        .health()
        .register(Check::own("pool"), || async { Status::Up });
    let _down = service
        .cx
        .health()
        .register(Check::shared("redis.velocity").thresholds(1, 1), || async {
            Status::Down("no primary".into())
        });
    let _ledger = ledger(&service);
    let _heartbeat = service
        .cx
        .health()
        .heartbeat("http.accept", Duration::from_secs(60));
    sleep(Duration::from_millis(50)).await;

    let starting = page(&service).await;
    assert_eq!(starting.texts("title"), ["risk-engine: starting"]);
    assert!(starting.visible().contains("not ready"), "{}", starting.visible());
    service.lifecycle.advance(State::Ready);
    let page = page(&service).await;
    assert_eq!(page.texts("title"), ["risk-engine: ready"]);
    assert_eq!(page.texts("h1"), ["risk-engine 1.2.3"]);
    assert!(page.visible().contains("takes requests"));

    let row = page.row("pool");
    assert!(row.contains("up") && row.contains("yes"), "{row}");
    let row = page.row("redis.velocity");
    assert!(row.contains("down") && row.contains("no primary"), "{row}");
    assert!(row.contains("shared with other replicas"), "{row}");
    assert!(page.row("http.accept").contains("turns"));
    let row = page.row("pg-1:5432");
    for told in [
        "primary",
        "up",
        "eu-west-1 / a",
        "3 in use, 5 idle of 16, 2 waiting",
    ] {
        assert!(row.contains(told), "{told}: {row}");
    }
    let row = page.row("pg-2:5432");
    for told in ["standby", "down", "connection refused"] {
        assert!(row.contains(told), "{told}: {row}");
    }
    assert!(
        page.row("health").contains('1'),
        "the scheduler of the checks is a task"
    );
    for told in ["0123abcd", "rustc 1.", &std::process::id().to_string()] {
        assert!(page.visible().contains(told), "{told}");
    }
}

#[tokio::test]
async fn a_check_shows_what_became_of_it_the_newest_first() {
    let service = Service::start();
    let well = Arc::new(AtomicBool::new(false));
    let seen = well.clone();
    let check = Check::own("pool")
        .thresholds(1, 1)
        .period(Duration::from_millis(30));
    let _check = service.cx.health().register(check, move || {
        let well = seen.load(Ordering::Relaxed);
        async move {
            match well {
                true => Status::Up,
                false => Status::Down("empty".into()),
            }
        }
    });
    sleep(Duration::from_millis(100)).await;
    well.store(true, Ordering::Relaxed);
    sleep(Duration::from_millis(200)).await;
    let row = page(&service).await.row("pool");
    let (up, down) = (
        row.find("ago: up").unwrap(),
        row.find("ago: down, empty").unwrap(),
    );
    assert!(up < down, "{row}");
}

#[tokio::test]
async fn an_open_breaker_shows() {
    let service = Service::start();
    let mut settings = BreakerSettings::default();
    settings.minimum_calls = 2;
    let breaker = service.cx.breakers().named("scoring", &settings);
    assert!(page(&service).await.row("scoring").contains("closed"));
    for _ in 0..2 {
        let down = Classified::new(Outcome::NotRun, true, Fault::Dependency, "scoring.refused");
        let _ = breaker.call(async { Err::<(), _>(down) }).await;
    }
    let row = page(&service).await.row("scoring");
    assert!(row.contains("open") && row.contains("2, 2 failed"), "{row}");
}

#[tokio::test]
async fn nothing_that_others_wrote_breaks_out_of_the_page() {
    let service = Service::start();
    let _check = service
        .cx
        .health()
        .register(Check::own(format!("check {CANARY}")), || async {
            Status::Degraded(format!("{CANARY}\u{1b}[31m"))
        });
    let _dependency = service
        .cx
        .topology()
        .register(format!("postgres {CANARY}"), "postgres", || {
            let node = Node::new(CANARY).role(CANARY).detail(CANARY);
            View::new().nodes([node.place(CANARY, CANARY)]).trouble(CANARY)
        });
    service.cx.health().require([format!("required {CANARY}")]);
    sleep(Duration::from_millis(50)).await;
    let answer = service.get("/").await;
    let page = Page::read(&answer.body);
    assert_eq!(page.all("script").len(), 1, "only the page's own");
    assert!(page.all("img").is_empty());
    assert!(!answer.body.contains("<script>alert"), "{}", answer.body);
    assert!(!answer.body.contains('\u{1b}'));
    // Shown as it was written, in each of its places.
    assert!(page.visible().matches(CANARY).count() >= 8, "{}", page.visible());
}

#[tokio::test]
async fn the_policy_lets_a_browser_run_the_pages_own_script_and_style_only() {
    let service = Service::start();
    let answer = service.get("/").await;
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for forbidden in ["unsafe-inline", "unsafe-eval", "http:", "https:", "*"] {
        assert!(!policy.contains(forbidden), "{policy}");
    }
    let page = Page::read(&answer.body);
    for (element, directive) in [("style", "style-src"), ("script", "script-src")] {
        let [text] = &page.texts(element)[..] else {
            panic!("one {element} expected");
        };
        let hash = format!("{directive} 'sha256-{}'", sha256_base64(text));
        assert!(policy.contains(&hash), "{hash} in {policy}");
    }
    // A handler or a style in an attribute would not run.
    assert!(!answer.body.contains(" style=\"") && !answer.body.contains(" onclick"));
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

/// By the tool that every Debian has, so that it is not our own code that agrees with itself.
fn sha256_base64(text: &str) -> String {
    use std::io::Write;
    let mut child = std::process::Command::new("sh")
        .args([
            "-c",
            "sha256sum | cut -c1-64 | perl -ne 'chomp; print pack(\"H*\", $_)' | base64 -w0",
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[tokio::test]
async fn the_page_works_without_a_script_and_is_made_for_everyone() {
    let service = Service::start();
    let _check = service
        .cx
        .health()
        .register(Check::own("pool"), || async { Status::Up });
    let _ledger = ledger(&service);
    sleep(Duration::from_millis(50)).await;
    let answer = service.get("/").await;
    let page = Page::read(&answer.body);
    let refresh = "<noscript><meta http-equiv=\"refresh\" content=\"10\" /></noscript>";
    assert!(
        answer.body.contains(refresh),
        "refreshes itself without JavaScript"
    );
    assert!(page.all("link").is_empty(), "nothing is fetched from elsewhere");
    assert_eq!(page.all("html"), [[("lang".to_owned(), "en".to_owned())]]);
    assert!(
        answer
            .body
            .contains("content=\"width=device-width, initial-scale=1\"")
    );
    // One heading of the first rank, and every section is named by its own.
    assert_eq!(page.texts("h1").len(), 1);
    for section in page.all("section") {
        let (_, id) = section
            .iter()
            .find(|(name, _)| name == "aria-labelledby")
            .unwrap();
        assert!(answer.body.contains(&format!("<h2 id=\"{id}\">")), "{id}");
    }
    assert_eq!(page.all("caption").len(), page.all("table").len());
    assert!(page.all("table").len() >= 3);
    for cell in page.all("th") {
        assert!(cell.iter().any(|(name, _)| name == "scope"), "{cell:?}");
    }
    // A state is a word; its colour and shape only repeat it.
    let states: Vec<String> = page.texts("span");
    for state in states.iter().filter(|state| state.contains('●')) {
        assert!(
            state.chars().filter(char::is_ascii_alphabetic).count() >= 2 || state == "●",
            "{state}"
        );
    }
    let style = page.texts("style").concat();
    assert!(style.contains("prefers-color-scheme: dark") && style.contains("max-width: 44rem"));
}

#[tokio::test]
async fn the_topology_is_a_document_for_programs() {
    let service = Service::start();
    let ledger = ledger(&service);
    let body = service.get("/topology").await.json();
    assert_eq!(body["service"], "risk-engine");
    assert_eq!(
        body["dependencies"],
        serde_json::json!([{
            "name": "postgres.ledger",
            "kind": "postgres",
            "nodes": [
                {
                    "address": "pg-1:5432", "role": "primary", "state": "up", "region": "eu-west-1", "zone": "a",
                    "pool": { "in_use": 3, "idle": 5, "max": 16, "waiting": 2 }
                },
                {
                    "address": "pg-2:5432", "role": "standby", "state": "down", "detail": "connection refused"
                }
            ]
        }])
    );
    drop(ledger);
    let body = service.get("/topology").await.json();
    assert_eq!(body["dependencies"], serde_json::json!([]));
}

#[tokio::test]
async fn info_tells_how_it_was_built_and_since_when_it_runs() {
    let service = Service::start();
    let info = service.get("/info").await.json();
    assert_eq!(info["build"]["commit"], "0123abcd");
    assert!(
        info["build"]["rustc"].as_str().unwrap().starts_with("rustc 1."),
        "{info}"
    );
    assert_eq!(info["pid"], std::process::id());
    let started = info["started"].as_str().unwrap();
    assert!(started.len() == 20 && started.ends_with('Z'), "{started}");
    assert!(info["uptime_seconds"].as_f64().unwrap() < 60.0);
}
