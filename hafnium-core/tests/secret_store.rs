//! The store: what is fetched before the start, how it is kept up to date, and what is said of it.

#![cfg(feature = "vault")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod secret_support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use hafnium_core::config::ProblemKind;
use hafnium_core::health::{Health, Registry};
use hafnium_core::lifecycle::{State, Watch};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::secret::{
    FetchErrorKind, OpenError, RefreshError, SecretState, Secrets, SecretsSettings, Version,
};
use hafnium_core::tasks::Tasks;
use hafnium_core::{Context, Deadline, ServiceInfo};
use secret_support::{Answer, CANARY, Settings, config, follow, loader, script, soon, store, wait};

const REFERENCE: &str = "vault:kv/ledger#password";

fn state(secrets: &Secrets) -> SecretState {
    secrets.report()[0].state
}

#[tokio::test(start_paused = true)]
async fn settings_with_a_secret_from_elsewhere_are_given_out_once_it_was_fetched() {
    let script = script();
    script.answer(REFERENCE, Answer::text(CANARY, "1"));
    let config = config(&[("settings.password", REFERENCE)]);
    let error = config.settings::<Settings>().unwrap_err();
    assert!(error.to_string().contains("settings.password"), "{error}");
    assert!(error.to_string().contains("was not fetched yet"), "{error}");
    let secrets = store(&script, &config);
    secrets.open(&config, soon()).await.unwrap();
    let settings = config.settings::<Settings>().unwrap();
    let value = settings.password.unwrap().current();
    assert_eq!(
        (value.expose(), value.version()),
        (CANARY, &Version("1".to_owned()))
    );
    let entry = config.entry("settings.password").unwrap();
    assert_eq!(
        (entry.value.as_str(), entry.version.as_deref()),
        ("***", Some("1"))
    );
    let report = &secrets.report()[0];
    assert_eq!(report.version.as_deref(), Some("1"));
    assert!(!format!("{report} {report:?} {config:?} {entry} {secrets:?} {value:?}").contains(CANARY));
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_denied_or_of_no_use_ends_the_start_with_every_key_and_no_value() {
    let script = script();
    script.answer("vault:kv/a#b", Answer::fails(FetchErrorKind::Denied));
    script.answer("vault:kv/url", Answer::text(CANARY, "1"));
    script.answer("vault:kv/login", Answer::text(CANARY, "1"));
    let config = config(&[
        ("settings.password", "vault:kv/a#b"),
        ("settings.again", "vault:kv/nothing"),
        ("settings.url", "vault:kv/url"),
        ("settings.login", "vault:kv/login"),
    ]);
    let Err(OpenError::Refused(error)) = store(&script, &config).open(&config, soon()).await else {
        panic!("not refused")
    };
    let report = error.to_string();
    for (key, origin, reason) in [
        (
            "settings.password",
            "HAFNIUM__SETTINGS__PASSWORD",
            "vault:kv/a#b: Denied",
        ),
        (
            "settings.again",
            "HAFNIUM__SETTINGS__AGAIN",
            "vault:kv/nothing: Missing",
        ),
        (
            "settings.url",
            "HAFNIUM__SETTINGS__URL",
            "vault:kv/url: not usable for settings.url: not a URL",
        ),
        (
            "settings.login",
            "HAFNIUM__SETTINGS__LOGIN",
            "vault:kv/login: no login",
        ),
    ] {
        let problem = error
            .problems()
            .iter()
            .find(|problem| problem.key() == key)
            .unwrap();
        assert_eq!(problem.kind(), &ProblemKind::Secret);
        assert_eq!(problem.origin().unwrap().to_string(), origin);
        assert!(problem.reason().contains(reason), "{problem}");
    }
    assert!(!report.contains(CANARY), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_source_out_of_reach_is_asked_again_until_the_deadline_of_the_start() {
    let script = script();
    script.answer(REFERENCE, Answer::fails(FetchErrorKind::Unavailable));
    let config = config(&[("settings.password", REFERENCE)]);
    let begun = tokio::time::Instant::now();
    let error = store(&script, &config).open(&config, soon()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unavailable { .. }));
    assert!(
        error
            .to_string()
            .contains("settings.password: vault:kv/ledger#password: Unavailable"),
        "{error}"
    );
    assert!(begun.elapsed() <= Duration::from_secs(30) && script.asked() > 5);

    // It comes back in time.
    let late = script.clone();
    tokio::spawn(async move {
        wait(10).await;
        late.answer(REFERENCE, Answer::text("x", "1"));
    });
    store(&script, &config).open(&config, soon()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_silent_does_not_hold_the_start_beyond_its_deadline() {
    let script = script();
    *script.delay.lock().unwrap() = Duration::from_secs(3600);
    let config = config(&[("settings.password", REFERENCE)]);
    let begun = tokio::time::Instant::now();
    let error = store(&script, &config).open(&config, soon()).await.unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
    assert!(begun.elapsed() <= Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_command_fetches_the_secrets_of_its_own_part_alone() {
    let script = script();
    let config = loader(&[("settings.password", REFERENCE)])
        .needs(["secrets"])
        .load()
        .unwrap();
    store(&script, &config).open(&config, soon()).await.unwrap();
    assert_eq!(script.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_handle_of_a_reference_follows_the_same_value() {
    let script = script();
    script.answer(REFERENCE, Answer::text("one", "1"));
    let loader = loader(&[("settings.password", REFERENCE), ("settings.again", REFERENCE)]);
    let config = loader.load().unwrap();
    let cx = Context::standalone();
    let secrets = follow(&script, &config, &cx).await;
    let settings = config.settings::<Settings>().unwrap();
    let (password, again) = (settings.password.unwrap(), settings.again.unwrap());
    let mut watch = again.watch();
    script.answer(REFERENCE, Answer::text("two", "2"));
    let value = watch.changed().await;
    assert_eq!(value.expose(), "two");
    assert_eq!(password.current().expose(), "two");
    assert_eq!(password.previous().unwrap().expose(), "one");
    // Another load of the configuration gives the same handles.
    let reloaded = loader.load().unwrap();
    secrets.open(&reloaded, soon()).await.unwrap();
    assert_eq!(reloaded.settings::<Settings>().unwrap().password, Some(password));
    assert_eq!(script.held.lock().unwrap().first(), Some(&None));
    assert_eq!(
        script.held.lock().unwrap().last(),
        Some(&Some(Version("1".to_owned())))
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_follows_its_secrets_takes_no_others_and_keeps_its_own() {
    let script = script();
    script.answer(REFERENCE, Answer::text("one", "1"));
    script.answer("vault:kv/new", Answer::text("new", "1"));
    let cx = Context::standalone();
    let secrets = follow(&script, &config(&[("settings.password", REFERENCE)]), &cx).await;
    let reloaded = config(&[("settings.password", "vault:kv/new")]);
    let error = secrets.open(&reloaded, soon()).await.unwrap_err().to_string();
    assert!(
        error.contains("settings.password") && error.contains("came after the start"),
        "{error}"
    );
    let report = secrets.report();
    assert_eq!(
        (report.len(), report[0].source.to_string().as_str()),
        (1, REFERENCE)
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_asked_for_every_five_minutes_or_when_its_source_says() {
    for (answer, least, most) in [
        (Answer::text("x", "1"), 270, 300),
        (Answer::text("x", "1").refresh_after(40), 36, 40),
        (Answer::text("x", "1").expires_after(90), 54, 60),
    ] {
        let script = script();
        script.answer(REFERENCE, answer);
        let cx = Context::standalone();
        let _secrets = follow(&script, &config(&[("settings.password", REFERENCE)]), &cx).await;
        wait(least - 1).await;
        assert_eq!(script.asked(), 1);
        wait(most - least + 2).await;
        assert_eq!(script.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_force_a_refresh_share_one_question_and_a_source_is_asked_once_a_second() {
    let script = script();
    script.answer(REFERENCE, Answer::text("one", "1"));
    let config = config(&[("settings.password", REFERENCE)]);
    let cx = Context::standalone();
    let _secrets = follow(&script, &config, &cx).await;
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    wait(10).await;
    script.answer(REFERENCE, Answer::text("two", "2"));
    *script.delay.lock().unwrap() = Duration::from_millis(200);
    let all = (0..50).map(|_| password.refresh(soon()));
    for refreshed in futures_util::future::join_all(all).await {
        assert_eq!(refreshed.unwrap().expose(), "two");
    }
    assert_eq!(script.asked(), 2);
    let begun = tokio::time::Instant::now();
    for _ in 0..5 {
        password.refresh(soon()).await.unwrap();
    }
    assert_eq!(script.asked(), 7);
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_while_an_unforced_question_is_under_way_is_asked_by_itself_and_wants_another_value() {
    let script = script();
    script.answer(REFERENCE, Answer::text("refused", "1").refresh_after(40));
    let config = config(&[("settings.password", REFERENCE)]);
    let cx = Context::standalone();
    let _secrets = follow(&script, &config, &cx).await;
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    *script.delay.lock().unwrap() = Duration::from_secs(5);
    while script.asked() == 1 {
        wait(1).await;
    }
    let held = Some(Version("1".to_owned()));
    assert_eq!(script.held.lock().unwrap().last(), Some(&held), "only renewed");
    let (first, second) = (password.clone(), password.clone());
    let refreshed = tokio::spawn(async move { first.refresh(soon()).await });
    tokio::task::yield_now().await;
    wait(5).await;
    script.answer(REFERENCE, Answer::text("another", "2"));
    // In the middle of the forced question: it is shared.
    let shared = second.refresh(soon()).await.unwrap();
    assert_eq!(shared.expose(), "another");
    assert_eq!(refreshed.await.unwrap().unwrap().expose(), "another");
    assert_eq!(script.asked(), 3);
    assert_eq!(script.held.lock().unwrap().last(), Some(&None));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_says_why_and_keeps_the_value() {
    let script = script();
    script.answer(REFERENCE, Answer::text("one", "1"));
    let config = config(&[("settings.password", REFERENCE)]);
    let cx = Context::standalone();
    let _secrets = follow(&script, &config, &cx).await;
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    script.answer(REFERENCE, Answer::fails(FetchErrorKind::Denied));
    let error = password.refresh(soon()).await.unwrap_err();
    assert!(matches!(&error, RefreshError::Source(error) if error.kind == FetchErrorKind::Denied));
    *script.delay.lock().unwrap() = Duration::from_secs(5);
    let error = password.refresh(Deadline::after(Duration::from_secs(2))).await;
    assert!(matches!(error, Err(RefreshError::Late(_))));
    assert_eq!(password.current().expose(), "one");
}

#[tokio::test(start_paused = true)]
async fn what_nothing_follows_is_given_at_once() {
    let config = config(&[("settings.password", "x")]);
    let cx = Context::standalone();
    let secrets = follow(&script(), &config, &cx).await;
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    assert_eq!(password.refresh(soon()).await.unwrap().expose(), "x");
    assert_eq!(state(&secrets), SecretState::Current);
}

#[tokio::test(start_paused = true)]
async fn the_last_value_serves_through_an_outage_and_the_check_is_degraded_after_the_grace() {
    let script = script();
    script.answer(REFERENCE, Answer::text("one", "1"));
    let config = config(&[("settings.password", REFERENCE)]);
    let cx = Context::standalone();
    let secrets = follow(&script, &config, &cx).await;
    cx.health().run(cx.tasks(), cx.metrics());
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    script.answer(REFERENCE, Answer::fails(FetchErrorKind::Unavailable));
    wait(29 * 60).await;
    assert_eq!(state(&secrets), SecretState::Retrying);
    assert_eq!(health(&cx), Health::Up);
    wait(2 * 60).await;
    assert_eq!(state(&secrets), SecretState::Stale);
    assert_eq!(health(&cx), Health::Degraded);
    assert_eq!(password.current().expose(), "one");
    script.answer(REFERENCE, Answer::text("two", "2"));
    wait(2 * 60).await;
    assert_eq!((state(&secrets), health(&cx)), (SecretState::Current, Health::Up));
    assert_eq!(password.current().expose(), "two");
}

fn health(cx: &Context) -> Health {
    let report = cx.health().report();
    let check = report.checks.iter().find(|check| check.name == "secrets");
    check.unwrap().health
}

#[tokio::test(start_paused = true)]
async fn a_service_is_not_ready_once_its_consumer_can_no_longer_log_in() {
    let script = script();
    script.answer(REFERENCE, Answer::text("one", "1"));
    let config = config(&[("settings.password", REFERENCE)]);
    let cx = Context::standalone();
    let secrets = follow(&script, &config, &cx).await;
    cx.health().run(cx.tasks(), cx.metrics());
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    password.refused(password.current().version());
    assert_eq!(state(&secrets), SecretState::Refused);
    wait(30).await;
    assert_eq!(health(&cx), Health::Degraded);
    script.answer(REFERENCE, Answer::fails(FetchErrorKind::Unavailable));
    wait(40 * 60).await;
    assert_eq!((state(&secrets), health(&cx)), (SecretState::Lost, Health::Down));
    let report = cx.health().report();
    let check = report
        .checks
        .iter()
        .find(|check| check.name == "secrets")
        .unwrap();
    assert!(
        check.counts
            && check
                .reason
                .as_ref()
                .unwrap()
                .contains("settings.password is lost")
    );
    // A new value is worth another try; that it works is for the consumer to say.
    script.answer(REFERENCE, Answer::text("two", "2"));
    wait(3 * 60).await;
    assert_eq!((state(&secrets), health(&cx)), (SecretState::Current, Health::Up));
    password.refused(password.current().version());
    password.accepted(&Version("1".to_owned()));
    assert_eq!(state(&secrets), SecretState::Refused);
    password.accepted(password.current().version());
    assert_eq!(state(&secrets), SecretState::Current);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_ends_without_another_is_degraded_at_once() {
    let script = script();
    script.answer(REFERENCE, Answer::text("one", "1").expires_after(60));
    let config = config(&[("settings.password", REFERENCE)]);
    let cx = Context::standalone();
    let secrets = follow(&script, &config, &cx).await;
    script.answer(REFERENCE, Answer::fails(FetchErrorKind::Unavailable));
    wait(61).await;
    assert_eq!(state(&secrets), SecretState::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_can_not_be_used_never_replaces_a_good_one() {
    let script = script();
    script.answer("vault:kv/url", Answer::text("postgres://host/db", "1"));
    let config = config(&[("settings.url", "vault:kv/url")]);
    let cx = Context::standalone();
    let secrets = follow(&script, &config, &cx).await;
    let url = config.settings::<Settings>().unwrap().url.unwrap();
    script.answer(
        "vault:kv/url",
        Answer::text(&format!("mysql://{CANARY}@host"), "2"),
    );
    let error = url.refresh(soon()).await.unwrap_err().to_string();
    assert!(
        error.contains("a URL of another scheme") && !error.contains(CANARY),
        "{error}"
    );
    assert_eq!(url.current().expose(), "postgres://host/db");
    assert_eq!(state(&secrets), SecretState::Rejected);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_too_old_is_degraded_with_an_age_of_its_own_per_key() {
    let script = script();
    script.answer(REFERENCE, Answer::text("one", "1"));
    script.answer("vault:kv/other", Answer::text("one", "1"));
    let config = config(&[
        ("settings.password", REFERENCE),
        ("settings.again", "vault:kv/other"),
        ("secrets.maximum_age", "40d"),
    ]);
    let mut settings = config.get::<SecretsSettings>().unwrap();
    settings.maximum_ages.insert(
        "settings.again".to_owned(),
        hafnium_core::config::Duration::from_secs(3600),
    );
    let secrets = Secrets::new(settings, vec![script.clone()]);
    secrets.open(&config, soon()).await.unwrap();
    let states = || secrets.report().iter().map(|one| one.state).collect::<Vec<_>>();
    wait(3601).await;
    assert_eq!(states(), [SecretState::Old, SecretState::Current]);
    wait(40 * 24 * 3600).await;
    assert_eq!(states(), [SecretState::Old, SecretState::Old]);
}

#[test]
fn a_maximum_age_for_a_key_without_a_secret_is_a_problem() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("hafnium.toml"),
        "[settings]\npassword = \"x\"\n[secrets]\nrefresh = \"10ms\"\n[secrets.maximum_ages]\n\"settings.pasword\" = \"1d\"\n",
    )
    .unwrap();
    let sources = hafnium_core::config::Sources::none().directory(directory.path());
    let error = loader(&[])
        .sources(sources)
        .check(SecretsSettings::problems)
        .load()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no secret has this key; those that are set: settings.password"),
        "{error}"
    );
    assert!(error.contains("secrets.refresh"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_user_and_its_password_change_together() {
    let script = script();
    script.answer("vault-db:ledger", Answer::login("v-1", "one", "lease-1"));
    script.answer(
        "vault:kv/rds",
        Answer::text(
            r#"{"username":"app","password":"one","engine":"postgres","port":5432}"#,
            "1",
        ),
    );
    for (reference, before, after) in [
        (
            "vault-db:ledger",
            ("v-1", "one"),
            Answer::login("v-2", "two", "lease-2"),
        ),
        (
            "vault:kv/rds",
            ("app", "one"),
            Answer::text(r#"{"username":"v-2","password":"two"}"#, "2"),
        ),
    ] {
        let config = config(&[("settings.login", reference)]);
        let cx = Context::standalone();
        let _secrets = follow(&script, &config, &cx).await;
        let login = config.settings::<Settings>().unwrap().login.unwrap();
        assert_eq!(login.current().login(), Some(before));
        script.answer(reference, after);
        login.secret().refresh(soon()).await.unwrap();
        assert_eq!(login.current().login(), Some(("v-2", "two")));
        assert_eq!(login.secret().previous().unwrap().login(), Some(before));
        // Half a document is no login, and changes nothing.
        script.answer(reference, Answer::text(r#"{"username":"v-3"}"#, "3"));
        assert!(login.secret().refresh(soon()).await.is_err());
        assert_eq!(login.current().login(), Some(("v-2", "two")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_lent_is_given_back() {
    let script = script();
    let secrets = store(&script, &config(&[]));
    secrets.release(soon()).await;
    assert!(script.released.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn age_version_severity_and_refreshes_are_measured() {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .build()
        .unwrap();
    let provider = opentelemetry_sdk::metrics::SdkMeterProvider::builder()
        .with_reader(exporter)
        .build();
    let cx = Context::new(
        ServiceInfo::new("risk-engine", "0"),
        Registry::new(),
        Metrics::from_provider(&provider),
        Propagation::none(),
        Tasks::new(),
        Watch::fixed(State::Ready),
    );
    let script = script();
    script.answer(REFERENCE, Answer::text(CANARY, "1"));
    let config = config(&[("settings.password", REFERENCE)]);
    let _secrets = follow(&script, &config, &cx).await;
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    password.refresh(soon()).await.unwrap();
    script.answer(REFERENCE, Answer::fails(FetchErrorKind::Denied));
    password.refresh(soon()).await.unwrap_err();
    wait(20).await;
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let value = |series: &str| {
        let mut samples = text.lines().filter(|line| !line.starts_with('#'));
        let line = samples.find(|line| line.contains(series));
        let line = line.unwrap_or_else(|| panic!("{series} in {text}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert!(value("hafnium_secret_age_seconds{") >= 20.0);
    assert!((value("hafnium_secret_maximum_age_seconds{") - 90.0 * 86400.0).abs() < 1.0);
    assert!((value("hafnium_secret_version") - f64::from(0x6b86_b273_u32)).abs() < 1.0);
    assert!((value("hafnium_secret_severity") - 1.0).abs() < 0.1);
    assert!((value("result=\"unchanged\"") - 1.0).abs() < 0.1);
    assert!(value("result=\"denied\"") >= 1.0);
    assert!(text.contains("secret=\"settings.password\"") && !text.contains(CANARY));
}
