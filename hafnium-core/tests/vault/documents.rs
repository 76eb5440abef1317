//! Rows about documents of KV version 2.

use std::sync::Arc;

use hafnium_core::secret::{FetchErrorKind, Version};
use serde_json::json;

use super::ground::{Ground, at_peer, fetch, text, vault};
use super::peer::{Peer, document, login};

pub(crate) async fn a_rotation_is_seen(ground: Arc<Ground>) -> String {
    ground.write("rotated", "one").await;
    let vault = vault(&ground.role("documents", json!({})).await);
    let reference = "vault:secret/app/rotated#k";
    let first = fetch(&vault, reference, None).await.unwrap();
    let same = fetch(&vault, reference, Some(&first.version)).await.unwrap();
    assert_eq!(first.version, same.version);
    assert!(first.changed.is_some(), "its age is known");
    ground.write("rotated", "two").await;
    let second = fetch(&vault, reference, Some(&first.version)).await.unwrap();
    assert_ne!(first.version, second.version);
    assert_eq!(text(&vault, reference).await.unwrap(), "two");
    // Removed with its metadata and written again: the number begins anew, the version does not.
    ground
        .root("DELETE", "secret/metadata/app/rotated", json!(null))
        .await;
    ground.write("rotated", "three").await;
    let third = fetch(&vault, reference, None).await.unwrap();
    let seen: [&Version; 2] = [&first.version, &second.version];
    assert!(!seen.contains(&&third.version));
    "three values, three versions".to_owned()
}

pub(crate) async fn what_is_not_there_says_why(ground: Arc<Ground>) -> String {
    let vault = vault(&ground.role("absent", json!({})).await);
    for name in ["deleted", "destroyed", "there"] {
        ground.write(name, "canary").await;
    }
    ground
        .root("DELETE", "secret/data/app/deleted", json!(null))
        .await;
    ground
        .root("POST", "secret/destroy/app/destroyed", json!({ "versions": [1] }))
        .await;
    ground.root("POST", "kv1/old", json!({ "k": "canary" })).await;
    use FetchErrorKind::{Denied, Invalid, Missing};
    let rows = [
        ("vault:secret/app/deleted#k", Missing, "was deleted"),
        ("vault:secret/app/destroyed#k", Missing, "was destroyed"),
        ("vault:secret/app/none#k", Missing, "nothing at that path"),
        ("vault:nope/x#k", Missing, "no engine at that mount"),
        ("vault:secret/other/x#k", Denied, "no policy"),
        ("vault:secret/app/there#other", Invalid, "no key `other`"),
    ];
    for (reference, kind, why) in rows {
        let error = text(&vault, reference).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(
            error.message.starts_with(reference) && error.message.contains(why),
            "{error}"
        );
        assert!(!error.message.contains("canary"), "{error}");
    }
    let error = text(&vault, "vault:kv1/old#k").await.unwrap_err();
    assert_eq!(error.kind, Invalid, "{error}");
    assert!(error.message.contains("KV version 1"), "{error}");
    "also no key, and KV version 1".to_owned()
}

pub(crate) async fn the_namespace_and_odd_paths_arrive() -> String {
    let peer = Peer::start(|asked, _| match asked.path.as_str() {
        "auth/team/approle/login" => login("t", 3600),
        _ => document(1, "v"),
    })
    .await;
    let mut settings = at_peer(&format!("{}/", peer.address));
    settings.namespace = Some("team/a".to_owned());
    settings.mounts.kv = vec!["kv/deep".to_owned()];
    if let Some(role) = &mut settings.approle {
        role.mount = "team/approle".to_owned();
    }
    let vault = vault(&settings);
    assert_eq!(text(&vault, "vault:kv/deep/a%2F?b#k").await.unwrap(), "v");
    let asked = peer.asked();
    assert!(
        asked
            .iter()
            .all(|asked| asked.namespace.as_deref() == Some("team/a"))
    );
    assert_eq!(asked[1].path, "kv/deep/data/a%252F%3Fb");
    assert_eq!(asked[1].method, "GET");
    "X-Vault-Namespace on every request, paths encoded".to_owned()
}
