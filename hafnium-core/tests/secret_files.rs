//! Secrets in files, changed on disk as a kubelet, a person and a script change them.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "real files and the kernel's notice of their changes: the clock is the real one"
)]

mod secret_support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hafnium_core::Context;
use hafnium_core::config::Config;
use hafnium_core::secret::{Bundle, Secret, SecretState, Secrets};
use secret_support::{CANARY, Settings, config, follow, loader, script, soon};

/// Within this time a change must be seen by the kernel's notice alone: the poll comes each 10 s.
const NOTICED: Duration = Duration::from_secs(5);

/// A volume as a kubelet mounts one: a directory with a time in its name, `..data` that leads there, and a link for
/// each file.
struct Volume {
    directory: tempfile::TempDir,
    count: u32,
}

impl Volume {
    fn mount(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut volume = Self { directory, count: 0 };
        volume.swap(files);
        // A kubelet links the first element of each path alone.
        let first = |(name, _): &(&str, &str)| name.split('/').next().unwrap().to_owned();
        for name in files.iter().map(first).collect::<BTreeSet<_>>() {
            symlink(Path::new("..data").join(&name), volume.path(&name)).unwrap();
        }
        volume
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As `AtomicWriter` of the kubelet: a new directory, a new link beside the old one, a rename over it, and the old
    /// directory goes.
    fn swap(&mut self, files: &[(&str, &str)]) {
        self.count += 1;
        let name = format!("..2026_11_21_15_00_{:02}.{}", self.count, 1000 + self.count);
        fs::create_dir(self.path(&name)).unwrap();
        for (file, text) in files {
            let file = self.path(&name).join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let before = fs::read_link(self.path("..data")).ok();
        symlink(&name, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(self.path(before.to_str().unwrap())).unwrap();
        }
    }

    fn reference(&self, name: &str) -> String {
        format!("file:{}", self.path(name).display())
    }
}

struct Rig {
    config: Config,
    cx: Context,
    secrets: Secrets,
}

impl Rig {
    async fn new(keys: &[(&str, &str)]) -> Self {
        let config = config(keys);
        let cx = Context::standalone();
        let secrets = follow(&script(), &config, &cx).await;
        // The first reading arms the watches.
        for secret in [rig_password(&config), settings(&config).certificate]
            .into_iter()
            .flatten()
        {
            secret.refresh(soon()).await.unwrap();
        }
        Self { config, cx, secrets }
    }

    fn password(&self) -> Secret {
        rig_password(&self.config).unwrap()
    }

    fn state(&self, key: &str) -> SecretState {
        let reports = self.secrets.report();
        reports.iter().find(|one| one.key == key).unwrap().state
    }

    async fn until(&self, key: &str, state: SecretState) {
        let begun = Instant::now();
        while self.state(key) != state {
            assert!(begun.elapsed() < NOTICED, "{:?}", self.secrets.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.cx.tasks().cancelled().cancel();
    }
}

fn settings(config: &Config) -> Settings {
    config.settings::<Settings>().unwrap()
}

fn rig_password(config: &Config) -> Option<Secret> {
    settings(config).password
}

/// Waits for the next value for no longer than the kernel's notice takes.
async fn becomes(secret: &Secret, text: &str) {
    let mut watch = secret.watch();
    let changed = async {
        while watch.current().expose() != text {
            watch.changed().await;
        }
    };
    tokio::time::timeout(NOTICED, changed).await.unwrap();
}

#[tokio::test]
async fn every_swap_of_a_mounted_volume_is_seen_and_watched_again() {
    let mut volume = Volume::mount(&[("password", "one\n")]);
    let rig = Rig::new(&[("settings.password", &volume.reference("password"))]).await;
    let password = rig.password();
    assert_eq!(password.current().expose(), "one");
    for text in ["two", "three", "four", "five"] {
        volume.swap(&[("password", text)]);
        becomes(&password, text).await;
    }
    assert_eq!(password.previous().unwrap().expose(), "four");
    assert_eq!(rig.state("settings.password"), SecretState::Current);
}

#[tokio::test]
async fn a_file_that_is_rewritten_replaced_or_deleted_and_made_anew_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    fs::write(&path, "one").unwrap();
    let rig = Rig::new(&[("settings.password", &format!("file:{}", path.display()))]).await;
    let password = rig.password();
    fs::write(&path, "rewritten").unwrap();
    becomes(&password, "rewritten").await;
    fs::write(directory.path().join("new"), "renamed").unwrap();
    fs::rename(directory.path().join("new"), &path).unwrap();
    becomes(&password, "renamed").await;
    fs::remove_file(&path).unwrap();
    rig.until("settings.password", SecretState::Rejected).await;
    assert_eq!(password.current().expose(), "renamed");
    fs::write(&path, "anew").unwrap();
    becomes(&password, "anew").await;
    rig.until("settings.password", SecretState::Current).await;
}

#[tokio::test]
async fn a_directory_that_is_deleted_and_made_anew_is_watched_again() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("mounted");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("password");
    fs::write(&path, "one").unwrap();
    let rig = Rig::new(&[("settings.password", &format!("file:{}", path.display()))]).await;
    let password = rig.password();
    fs::remove_dir_all(&directory).unwrap();
    rig.until("settings.password", SecretState::Rejected).await;
    fs::create_dir(&directory).unwrap();
    fs::write(&path, "two").unwrap();
    // Nothing is left that could give a sign; the poll finds it, and arms the watch.
    let begun = Instant::now();
    while password.current().expose() != "two" {
        assert!(begun.elapsed() < Duration::from_secs(15));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fs::write(&path, "three").unwrap();
    becomes(&password, "three").await;
}

#[tokio::test]
async fn a_link_to_a_file_elsewhere_is_followed_to_where_it_changes() {
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let real = elsewhere.path().join("real");
    fs::write(&real, "one").unwrap();
    let link = here.path().join("password");
    symlink(&real, &link).unwrap();
    let rig = Rig::new(&[("settings.password", &format!("file:{}", link.display()))]).await;
    fs::write(&real, "two").unwrap();
    becomes(&rig.password(), "two").await;
}

#[tokio::test]
async fn a_bad_file_keeps_the_last_good_value_and_shows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("url");
    fs::write(&path, "postgres://host/one").unwrap();
    let config = config(&[("settings.url", &format!("file:{}", path.display()))]);
    let cx = Context::standalone();
    let secrets = follow(&script(), &config, &cx).await;
    let url = settings(&config).url.unwrap();
    for bad in [
        String::new(),
        format!("mysql://{CANARY}@host"),
        format!("{CANARY}\n"),
    ] {
        fs::write(&path, &bad).unwrap();
        let error = url.refresh(soon()).await.unwrap_err().to_string();
        assert!(
            error.contains(path.to_str().unwrap()) && !error.contains(CANARY),
            "{error}"
        );
        assert_eq!(secrets.report()[0].state, SecretState::Rejected);
        assert_eq!(url.current().expose(), "postgres://host/one");
    }
    fs::write(&path, "postgres://host/two").unwrap();
    assert_eq!(url.refresh(soon()).await.unwrap().expose(), "postgres://host/two");
    assert_eq!(secrets.report()[0].state, SecretState::Current);
}

#[tokio::test]
async fn a_volume_changes_as_a_whole_or_not_at_all() {
    let mut volume = Volume::mount(&[("tls.crt", "certificate 1"), ("tls.key", "key 1")]);
    let rig = Rig::new(&[
        ("settings.certificate", &volume.reference("tls.crt")),
        ("settings.key", &volume.reference("tls.key")),
    ])
    .await;
    let Settings { certificate, key, .. } = settings(&rig.config);
    let (certificate, key) = (certificate.unwrap(), key.unwrap());
    // The key is empty: the good certificate beside it must not be taken either.
    volume.swap(&[("tls.crt", "certificate 2"), ("tls.key", "")]);
    rig.until("settings.key", SecretState::Rejected).await;
    assert_eq!(rig.state("settings.certificate"), SecretState::Rejected);
    assert_eq!(
        (certificate.current().expose(), key.current().expose()),
        ("certificate 1", "key 1")
    );
    let report = rig.secrets.report();
    let reason = report[0].reason.as_deref().unwrap();
    assert!(reason.contains("not taken without settings.key"), "{reason}");
    volume.swap(&[("tls.crt", "certificate 3"), ("tls.key", "key 3")]);
    becomes(&certificate, "certificate 3").await;
    assert_eq!(key.current().expose(), "key 3");
    rig.until("settings.certificate", SecretState::Current).await;
}

#[tokio::test]
async fn files_in_directories_of_a_volume_change_as_a_whole_as_well() {
    let mut volume = Volume::mount(&[("tls/tls.crt", "certificate 1"), ("keys/own/tls.key", "key 1")]);
    let rig = Rig::new(&[
        ("settings.certificate", &volume.reference("tls/tls.crt")),
        ("settings.key", &volume.reference("keys/own/tls.key")),
    ])
    .await;
    let Settings { certificate, key, .. } = settings(&rig.config);
    let (certificate, key) = (certificate.unwrap(), key.unwrap());
    volume.swap(&[("tls/tls.crt", "certificate 2"), ("keys/own/tls.key", "")]);
    rig.until("settings.key", SecretState::Rejected).await;
    assert_eq!(rig.state("settings.certificate"), SecretState::Rejected);
    assert_eq!(certificate.current().expose(), "certificate 1");
    volume.swap(&[("tls/tls.crt", "certificate 3"), ("keys/own/tls.key", "key 3")]);
    becomes(&certificate, "certificate 3").await;
    assert_eq!(key.current().expose(), "key 3");
}

#[tokio::test]
async fn a_file_system_that_does_not_answer_holds_up_nothing_else_and_shows_until_it_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    fs::write(&path, "one").unwrap();
    let rig = Rig::new(&[("settings.password", &format!("file:{}", path.display()))]).await;
    let password = rig.password();
    // Nobody writes to it: who opens it waits.
    let silent = directory.path().join("silent");
    let made = std::process::Command::new("mkfifo").arg(&silent).status();
    assert!(made.unwrap().success());
    let other = directory.path().join("other");
    fs::hard_link(&silent, &other).unwrap();
    fs::rename(&silent, &path).unwrap();
    let error = password.refresh(soon()).await.unwrap_err().to_string();
    assert!(
        error.contains("not read within") && error.contains("password"),
        "{error}"
    );
    rig.until("settings.password", SecretState::Retrying).await;
    assert_eq!(password.current().expose(), "one");
    fs::write(directory.path().join("new"), "three").unwrap();
    fs::rename(directory.path().join("new"), &path).unwrap();
    // Lets the one who reads go on.
    fs::write(&other, "two").unwrap();
    becomes(&password, "three").await;
    rig.until("settings.password", SecretState::Current).await;
}

/// The number behind both texts, or why they do not belong together.
fn pair(values: &[std::sync::Arc<hafnium_core::secret::Value>]) -> Result<u32, String> {
    let number = |text: &str| text.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap();
    let (certificate, key) = (number(values[0].expose()), number(values[1].expose()));
    match certificate == key {
        true => Ok(key),
        false => Err("the key is not that of the certificate".to_owned()),
    }
}

#[tokio::test]
async fn a_bundle_is_never_torn_by_swaps_and_keeps_the_last_pair_that_fits() {
    let mut volume = Volume::mount(&[("tls.crt", "certificate 1"), ("tls.key", "key 1")]);
    let rig = Rig::new(&[
        ("settings.certificate", &volume.reference("tls.crt")),
        ("settings.key", &volume.reference("tls.key")),
    ])
    .await;
    let Settings { certificate, key, .. } = settings(&rig.config);
    let bundle = Bundle::new([certificate.unwrap(), key.unwrap()], pair).unwrap();
    assert_eq!(*bundle.current(), 1);
    for number in 2..30 {
        let (certificate, key) = (format!("certificate {number}"), format!("key {number}"));
        volume.swap(&[("tls.crt", &certificate), ("tls.key", &key)]);
        while *bundle.current() != number {
            // Every pair that comes fits, however the swap and the reading fall together.
            tokio::time::timeout(NOTICED, bundle.changed())
                .await
                .unwrap()
                .unwrap();
        }
    }
    volume.swap(&[("tls.crt", "certificate 30"), ("tls.key", "key 31")]);
    let error = tokio::time::timeout(NOTICED, bundle.changed())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.to_string(), "the key is not that of the certificate");
    assert_eq!(*bundle.current(), 29);
    assert_eq!(rig.state("settings.key"), SecretState::Rejected);
    volume.swap(&[("tls.crt", "certificate 31"), ("tls.key", "key 31")]);
    assert_eq!(
        *tokio::time::timeout(NOTICED, bundle.changed())
            .await
            .unwrap()
            .unwrap(),
        31
    );
    assert_eq!(rig.state("settings.key"), SecretState::Current);
}

#[test]
fn a_bundle_that_does_not_fit_at_first_is_refused() {
    let bundle = Bundle::new([Secret::new("certificate 1"), Secret::new("key 2")], pair);
    assert!(bundle.unwrap_err().reason.contains("not that of the certificate"));
}

#[tokio::test]
async fn the_file_form_of_a_variable_and_a_file_of_the_mounted_tree_follow_their_files() {
    let mut volume = Volume::mount(&[("settings.again", "one"), ("password", "one")]);
    let sources = hafnium_core::config::Sources::none()
        .variable("HAFNIUM__SETTINGS__PASSWORD_FILE", volume.path("password"));
    let tree = tempfile::tempdir().unwrap();
    symlink(volume.path("settings.again"), tree.path().join("settings.again")).unwrap();
    let sources = sources.variable("HAFNIUM_CONFIG_DIR", tree.path());
    let config = loader(&[]).sources(sources).load().unwrap();
    let cx = Context::standalone();
    let _secrets = follow(&script(), &config, &cx).await;
    let Settings { password, again, .. } = settings(&config);
    let (password, again) = (password.unwrap(), again.unwrap());
    password.refresh(soon()).await.unwrap();
    volume.swap(&[("settings.again", "two"), ("password", "two")]);
    becomes(&password, "two").await;
    becomes(&again, "two").await;
}

#[tokio::test]
async fn a_login_may_be_a_document_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("login");
    fs::write(&path, r#"{"username":"app","password":"one"}"#).unwrap();
    let config = config(&[("settings.login", &format!("file:{}", path.display()))]);
    let cx = Context::standalone();
    let _secrets = follow(&script(), &config, &cx).await;
    let login = settings(&config).login.unwrap();
    assert_eq!(login.current().login(), Some(("app", "one")));
    fs::write(&path, r#"{"user":"app_clone","password":"two"}"#).unwrap();
    login.secret().refresh(soon()).await.unwrap();
    assert_eq!(login.current().login(), Some(("app_clone", "two")));
    let error = loader(&[("settings.login", CANARY)])
        .load()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a JSON document with `username` and `password`"),
        "{error}"
    );
    assert!(!error.contains(CANARY), "{error}");
}
