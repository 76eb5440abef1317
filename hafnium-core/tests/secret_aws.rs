//! Secrets of AWS: against a real moto, and a scripted peer for what moto never answers (it checks no permissions and
//! is never busy).

#![cfg(feature = "aws-ssm")]
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "a real server: the clock is the real one"
)]

mod secret_support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use hafnium_core::config::Config;
use hafnium_core::secret::{
    Address, Aws, FetchError, FetchErrorKind, Fetched, Login, Material, OpenError, Provider, RefreshError,
    Secret, SecretState, Secrets, SecretsSettings, Version,
};
use hafnium_core::{Context, Deadline};
use hafnium_testkit::aws::Moto;
use secret_support::{CANARY, Settings, config, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn aws(endpoint: &str) -> Aws {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(aws_config::Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .load()
        .await;
    Aws::with_config(config)
}

fn address(reference: &str) -> Address {
    let (scheme, rest) = reference.split_once(':').unwrap();
    let (path, key) = match rest.split_once('#') {
        Some((path, key)) => (path, Some(key.to_owned())),
        None => (rest, None),
    };
    Address {
        scheme: scheme.to_owned(),
        path: path.to_owned(),
        key,
    }
}

async fn fetch(aws: &Aws, reference: &str) -> Result<Fetched, FetchError> {
    aws.fetch(&address(reference), None).await
}

fn text(fetched: &Fetched) -> String {
    use secrecy::ExposeSecret;
    match &fetched.material {
        Material::Text(text) => text.expose_secret().to_owned(),
        other => panic!("{other:?}"),
    }
}

async fn follow(aws: Aws, config: &Config, cx: &Context) -> Secrets {
    let secrets = Secrets::new(SecretsSettings::default(), vec![Arc::new(aws)]);
    secrets.open(config, soon()).await.unwrap();
    secrets.follow(cx);
    secrets
}

fn login(config: &Config) -> Login {
    config.settings::<Settings>().unwrap().login.unwrap()
}

#[tokio::test]
async fn a_secret_of_the_secrets_manager_is_read_whole_by_key_and_with_its_version() {
    let moto = Moto::start().await.unwrap();
    let aws = aws(&moto.endpoint()).await;
    let document = r#"{"username":"app","password":"hunter2","port":5432}"#;
    let version = moto.create_secret("ledger", document).await.unwrap();
    let whole = fetch(&aws, "aws-sm:ledger").await.unwrap();
    assert_eq!(
        (text(&whole).as_str(), &whole.version),
        (document, &Version(version))
    );
    assert!(whole.changed.unwrap().elapsed().unwrap() < Duration::from_secs(600));
    assert_eq!(
        text(&fetch(&aws, "aws-sm:ledger#password").await.unwrap()),
        "hunter2"
    );
    assert_eq!(text(&fetch(&aws, "aws-sm:ledger#port").await.unwrap()), "5432");
    for (reference, kind, word) in [
        (
            "aws-sm:ledger#pasword",
            FetchErrorKind::Invalid,
            "no key \"pasword\"",
        ),
        (
            "aws-sm:nothing",
            FetchErrorKind::Missing,
            "ResourceNotFoundException",
        ),
        ("aws-ssm:/nothing", FetchErrorKind::Missing, "ParameterNotFound"),
    ] {
        let error = fetch(&aws, reference).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(
            error.message.contains(word) && error.message.starts_with(reference),
            "{error}"
        );
        assert!(!error.message.contains("hunter2"));
    }
}

#[tokio::test]
async fn the_version_in_use_is_asked_for_by_its_label() {
    let moto = Moto::start().await.unwrap();
    let aws = aws(&moto.endpoint()).await;
    let first = moto.create_secret("ledger", "one").await.unwrap();
    let pending = moto.put_secret("ledger", "two", &["AWSPENDING"]).await.unwrap();
    assert_eq!(text(&fetch(&aws, "aws-sm:ledger").await.unwrap()), "one");
    moto.make_current("ledger", &first, &pending).await.unwrap();
    let fetched = fetch(&aws, "aws-sm:ledger").await.unwrap();
    assert_eq!(
        (text(&fetched).as_str(), fetched.version),
        ("two", Version(pending))
    );
}

#[tokio::test]
async fn an_encrypted_parameter_is_read_in_plain_and_counts_its_versions() {
    let moto = Moto::start().await.unwrap();
    let aws = aws(&moto.endpoint()).await;
    moto.put_parameter("/ledger/password", "one").await.unwrap();
    let fetched = fetch(&aws, "aws-ssm:/ledger/password").await.unwrap();
    let first = fetched.version.clone();
    assert_eq!(text(&fetched), "one");
    assert!(first.0.starts_with("1@"), "{first:?}");
    assert_eq!(
        fetch(&aws, "aws-ssm:/ledger/password").await.unwrap().version,
        first
    );
    assert!(fetched.changed.is_some());
    moto.put_parameter("/ledger/password", r#"{"password":"two"}"#)
        .await
        .unwrap();
    let fetched = fetch(&aws, "aws-ssm:/ledger/password#password").await.unwrap();
    assert_eq!(text(&fetched), "two");
    assert!(fetched.version.0.starts_with("2@"), "{:?}", fetched.version);
    moto.reset().await.unwrap();
    let error = fetch(&aws, "aws-ssm:/ledger/password").await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Missing);
}

#[tokio::test]
async fn a_parameter_that_was_deleted_and_made_anew_is_taken() {
    let moto = Moto::start().await.unwrap();
    moto.put_parameter("/ledger/password", "one").await.unwrap();
    let config = config(&[("settings.password", "aws-ssm:/ledger/password")]);
    let cx = Context::standalone();
    let _secrets = follow(aws(&moto.endpoint()).await, &config, &cx).await;
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    assert_eq!(password.current().expose(), "one");
    // What is shown of it is the provider's own id.
    let shown = config.entry("settings.password").unwrap().version.unwrap();
    assert_eq!(shown, password.current().version().0);
    assert!(shown.starts_with("1@"), "{shown}");
    moto.reset().await.unwrap();
    moto.put_parameter("/ledger/password", "two").await.unwrap();
    password.refresh(soon()).await.unwrap();
    assert_eq!(password.current().expose(), "two", "both count as version 1");
}

/// A database whose user has one password, as its administrator sets it.
#[derive(Default)]
struct Database {
    users: Mutex<Vec<(String, String)>>,
}

impl Database {
    fn set(&self, user: &str, password: &str) {
        let mut users = self.users.lock().unwrap();
        users.retain(|(known, _)| known != user);
        users.push((user.to_owned(), password.to_owned()));
    }

    fn accepts(&self, login: (&str, &str)) -> bool {
        let users = self.users.lock().unwrap();
        users
            .iter()
            .any(|(user, password)| (user.as_str(), password.as_str()) == login)
    }

    /// As a consumer logs in: current, and after a refusal one forced refresh, then current, then previous.
    async fn log_in(&self, login: &Login) -> bool {
        let current = login.current();
        if self.accepts(current.login().unwrap()) {
            login.secret().accepted(current.version());
            return true;
        }
        login.secret().refused(current.version());
        let _ = login
            .secret()
            .refresh(Deadline::after(Duration::from_secs(5)))
            .await;
        let current = login.current();
        if self.accepts(current.login().unwrap()) {
            login.secret().accepted(current.version());
            return true;
        }
        let previous = login.secret().previous();
        previous.is_some_and(|previous| self.accepts(previous.login().unwrap()))
    }
}

fn document(user: &str, password: &str) -> String {
    format!(r#"{{"engine":"postgres","username":"{user}","password":"{password}"}}"#)
}

#[tokio::test]
async fn through_the_rotation_of_a_single_user_a_consumer_is_out_for_its_window_alone() {
    let moto = Moto::start().await.unwrap();
    let database = Database::default();
    database.set("app", "one");
    let first = moto
        .create_secret("ledger", &document("app", "one"))
        .await
        .unwrap();
    let config = config(&[("settings.login", "aws-sm:ledger")]);
    let cx = Context::standalone();
    let secrets = follow(aws(&moto.endpoint()).await, &config, &cx).await;
    let login = login(&config);
    assert!(database.log_in(&login).await);
    // As the rotation function does it: createSecret, setSecret, finishSecret.
    let second = moto
        .put_secret("ledger", &document("app", "two"), &["AWSPENDING"])
        .await
        .unwrap();
    assert!(database.log_in(&login).await);
    database.set("app", "two");
    assert!(
        !database.log_in(&login).await,
        "the window: refused, and nothing else is labelled"
    );
    assert_eq!(secrets.report()[0].state, SecretState::Refused);
    moto.make_current("ledger", &first, &second).await.unwrap();
    let begun = Instant::now();
    assert!(
        database.log_in(&login).await,
        "one forced refresh is enough after the window"
    );
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(login.current().login(), Some(("app", "two")));
    assert_eq!(login.current().version(), &Version(second));
    assert_eq!(login.secret().previous().unwrap().login(), Some(("app", "one")));
    assert_eq!(secrets.report()[0].state, SecretState::Current);
}

#[tokio::test]
async fn a_password_that_is_labelled_before_it_is_set_leaves_the_previous_one_to_be_tried() {
    let moto = Moto::start().await.unwrap();
    let database = Database::default();
    database.set("app", "one");
    moto.create_secret("ledger", &document("app", "one"))
        .await
        .unwrap();
    let config = config(&[("settings.login", "aws-sm:ledger")]);
    let cx = Context::standalone();
    let _secrets = follow(aws(&moto.endpoint()).await, &config, &cx).await;
    let login = login(&config);
    moto.put_secret("ledger", &document("app", "two"), &[])
        .await
        .unwrap();
    login.secret().refresh(soon()).await.unwrap();
    assert_eq!(login.current().login(), Some(("app", "two")));
    assert!(database.log_in(&login).await, "current, then previous");
    database.set("app", "two");
    assert!(database.log_in(&login).await);
}

#[tokio::test]
async fn through_the_rotation_of_alternating_users_no_login_fails_and_none_is_torn() {
    let moto = Moto::start().await.unwrap();
    let database = Arc::new(Database::default());
    database.set("app", "one");
    moto.create_secret("ledger", &document("app", "one"))
        .await
        .unwrap();
    let config = config(&[("settings.login", "aws-sm:ledger")]);
    let cx = Context::standalone();
    let _secrets = follow(aws(&moto.endpoint()).await, &config, &cx).await;
    let login = login(&config);
    let consumer = tokio::spawn({
        let (database, login) = (database.clone(), login.clone());
        async move {
            let mut logins = 0;
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(5) {
                assert!(database.log_in(&login).await);
                logins += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            logins
        }
    });
    for (user, password) in [("app_clone", "two"), ("app", "three"), ("app_clone", "four")] {
        // The other user gets a new password while nobody uses it, and then the label moves.
        database.set(user, password);
        moto.put_secret("ledger", &document(user, password), &[])
            .await
            .unwrap();
        login.secret().refresh(soon()).await.unwrap();
        assert_eq!(login.current().login(), Some((user, password)));
    }
    assert!(consumer.await.unwrap() > 100);
}

/// Gives the answers it was told, one for each request, the last one for ever.
struct Peer {
    endpoint: String,
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    async fn start(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::default(),
            asked: Arc::default(),
        };
        peer.answer(answers);
        let (answers, asked) = (peer.answers.clone(), peer.asked.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answers, asked) = (answers.clone(), asked.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 16 * 1024];
                    let count = stream.read(&mut request).await.unwrap_or(0);
                    asked
                        .lock()
                        .unwrap()
                        .push(String::from_utf8_lossy(&request[..count]).into_owned());
                    let answer = {
                        let mut answers = answers.lock().unwrap();
                        match answers.len() {
                            1 => answers[0].clone(),
                            _ => answers.pop_front().unwrap(),
                        }
                    };
                    let (status, body) = answer;
                    let head = format!(
                        "HTTP/1.1 {status} Status\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        peer
    }

    fn answer(&self, answers: &[(u16, &str)]) {
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned()));
        *self.answers.lock().unwrap() = answers.collect();
    }
}

const DENIED: &str = r#"{"__type":"AccessDeniedException","Message":"User: arn:aws:sts::1:assumed-role/app is not authorized to perform: secretsmanager:GetSecretValue"}"#;
const THROTTLED: &str = r#"{"__type":"ThrottlingException","Message":"Rate exceeded"}"#;
const GOOD: &str =
    r#"{"Name":"ledger","VersionId":"v-1","SecretString":"hunter2","VersionStages":["AWSCURRENT"]}"#;

#[tokio::test]
async fn refusals_and_outages_are_told_apart_and_show_no_body_that_could_not_be_read() {
    for (status, body, kind, word) in [
        (400, DENIED, FetchErrorKind::Denied, "AccessDeniedException"),
        (400, THROTTLED, FetchErrorKind::Unavailable, "Rate exceeded"),
        (503, "", FetchErrorKind::Unavailable, "status 503"),
        (
            500,
            r#"{"__type":"InternalServiceError"}"#,
            FetchErrorKind::Unavailable,
            "InternalServiceError",
        ),
        (
            200,
            "{\"SecretString\":\"c4n4ry-v4lue\",",
            FetchErrorKind::Unavailable,
            "can't be read",
        ),
        (200, "{}", FetchErrorKind::Invalid, "no value"),
    ] {
        let peer = Peer::start(&[(status, body)]).await;
        let error = fetch(&aws(&peer.endpoint).await, "aws-sm:ledger")
            .await
            .unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(word), "{error}");
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
    }
    let error = fetch(&aws("http://127.0.0.1:1").await, "aws-sm:ledger")
        .await
        .unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("onnect"), "{error}");
}

#[tokio::test]
async fn a_denied_secret_ends_the_start_and_a_throttled_one_is_asked_for_again() {
    let peer = Peer::start(&[(400, DENIED)]).await;
    let config = config(&[("settings.password", "aws-sm:ledger")]);
    let secrets = Secrets::new(
        SecretsSettings::default(),
        vec![Arc::new(aws(&peer.endpoint).await)],
    );
    let error = secrets.open(&config, soon()).await.unwrap_err();
    assert!(matches!(error, OpenError::Refused(_)), "{error}");
    assert!(
        error.to_string().contains("is not authorized to perform"),
        "{error}"
    );
    peer.answer(&[(400, THROTTLED), (503, ""), (200, GOOD)]);
    secrets.open(&config, soon()).await.unwrap();
    let password: Secret = config.settings::<Settings>().unwrap().password.unwrap();
    assert_eq!(password.current().expose(), "hunter2");
    let asked = peer.asked.lock().unwrap().clone();
    assert!(
        asked
            .iter()
            .all(|request| request.contains(r#""VersionStage":"AWSCURRENT""#)),
        "{asked:?}"
    );
    // In service: the value stays, whatever is answered.
    secrets.follow(&Context::standalone());
    peer.answer(&[(400, DENIED)]);
    let error = password.refresh(soon()).await.unwrap_err();
    assert!(matches!(error, RefreshError::Source(error) if error.kind == FetchErrorKind::Denied));
    assert_eq!(password.current().expose(), "hunter2");
    assert_eq!(secrets.report()[0].state, SecretState::Rejected);
}
