use secrecy::ExposeSecret;

use super::super::answer;
use super::*;

fn address() -> Address {
    Address {
        scheme: "vault".to_owned(),
        path: "kv/app".to_owned(),
        key: None,
    }
}

fn document(data: &str, version: &str) -> Envelope {
    let body = format!(
        r#"{{"data":{{"data":{data},"metadata":{{"version":{version},"created_time":"2026-01-02T03:04:05.5Z"}}}}}}"#
    );
    answer::envelope(body.as_bytes()).unwrap_or_default()
}

fn text(fetched: Fetched) -> String {
    match fetched.material {
        Material::Text(text) => text.expose_secret().to_owned(),
        Material::Login { .. } => panic!("a text"),
    }
}

#[test]
fn the_key_or_the_only_key_is_the_value_and_the_version_is_the_documents() {
    let two = document(r#"{"a":"x","b":5432}"#, "7");
    let a = read(&address(), Some("a"), &two).unwrap();
    assert!(a.version.0.starts_with("7 of 2026-01-02"), "{:?}", a.version);
    assert!(a.changed.is_some());
    assert_eq!(text(a), "x");
    assert_eq!(text(read(&address(), Some("b"), &two).unwrap()), "5432");
    assert_eq!(
        text(read(&address(), None, &document(r#"{"a":"x"}"#, "1")).unwrap()),
        "x"
    );
}

#[test]
fn what_is_no_value_is_refused_without_showing_it() {
    let two = document(r#"{"a":"canary","b":{"c":"canary"}}"#, "7");
    for (envelope, key) in [
        (&two, Some("missing")),
        (&two, Some("b")),
        (&two, None),
        (&document("{}", "1"), None),
        (&document(r#"{"a":"canary"}"#, "null"), Some("a")),
        (&Envelope::default(), Some("a")),
    ] {
        let error = read(&address(), key, envelope).unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Invalid);
        assert!(!error.message.contains("canary"), "{error}");
    }
}

fn login(ttl: u64) -> Envelope {
    let body = format!(
        r#"{{"data":{{"username":"app","password":"p","last_vault_rotation":"2026-01-02T03:04:05.5Z","rotation_period":60,"ttl":{ttl}}}}}"#
    );
    answer::envelope(body.as_bytes()).unwrap_or_default()
}

#[test]
fn a_rotated_login_is_asked_for_again_when_it_is_due_and_patiently_while_it_is_late() {
    let rotation = timestamp::parse("2026-01-02T03:04:05.5Z").unwrap();
    let asked = |ttl, after| {
        rotated(&address(), &login(ttl), rotation + Duration::from_secs(after))
            .unwrap()
            .refresh_after
            .unwrap()
    };
    assert_eq!(asked(42, 18), Duration::from_secs(42));
    assert_eq!(asked(0, 60), Duration::from_millis(500));
    assert_eq!(asked(0, 80), Duration::from_secs(5));
    assert_eq!(asked(0, 6000), Duration::from_secs(10));
}

#[test]
fn the_version_of_a_rotated_login_is_its_rotation() {
    let fetched = rotated(&address(), &login(42), SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(fetched.version.0, "2026-01-02T03:04:05.5Z");
    assert_eq!(fetched.expires_after, None);
    assert!(rotated(&address(), &Envelope::default(), SystemTime::UNIX_EPOCH).is_err());
}
