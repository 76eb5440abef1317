//! The contract of the Vault provider: each promise against a real Vault, a scripted peer, or both.
//!
//! Without a real Vault (see `hafnium_testkit::vault`) the rows that need it are printed as *not run* and named at the
//! end; with `CI=true` that fails.

#![cfg(feature = "vault")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may end where it stands"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a real server does not know paused time"
)]

mod databases;
mod documents;
mod ground;
mod logins;
mod outages;
mod peer;
mod stores;
mod table;
mod tls;

use std::sync::Arc;

use ground::Ground;
use table::{Row, row};

fn rows() -> Vec<Row> {
    vec![
        row!("a given token reads, and is not revoked", real: logins::a_given_token),
        row!("root and batch tokens are used as they are", real: logins::a_root_or_batch_token),
        row!("a batch token of a role is replaced before it ends", real: logins::a_batch_role),
        row!("AppRole logs in; a wrong secret id is denied", real: logins::approle_works_and_a_wrong_id_is_denied),
        row!("Kubernetes logs in with the file as it is at each login", real: logins::kubernetes_reads_its_file_at_each_login),
        row!("a token is renewed, and replaced before its longest life ends", real: logins::the_token_is_replaced_before_its_longest_life, peer: logins::a_shortened_renewal_of_the_token),
        row!("a periodic token is renewed without another login", real: logins::a_periodic_token_needs_one_login),
        row!("a token revoked from outside leads to one login", real: logins::a_revoked_token_leads_to_one_login, peer: logins::one_login_for_all_who_notice),
        row!("a refusal, a seal or a gateway's word leads to no login", peer: logins::nothing_else_leads_to_a_login),
        row!("a token that is never known makes no storm of logins", peer: logins::a_token_that_is_never_known_makes_no_storm),
        row!("an outage of renewals keeps the token", peer: logins::an_outage_of_renewals_keeps_the_token),
        row!("a login that is refused backs off", peer: outages::a_refused_login_backs_off),
        row!("KV 2: value, version and age; a rotation is seen", real: documents::a_rotation_is_seen),
        row!("KV 2: deleted, destroyed, missing, no mount and denied are told apart", real: documents::what_is_not_there_says_why),
        row!("the namespace and odd paths arrive as they are meant", peer: documents::the_namespace_and_odd_paths_arrive),
        row!("a dynamic login is lent, and renewed under the same version", real: databases::a_login_is_lent_and_renewed),
        row!("another login comes before the old one ends; logins always work", real: databases::another_login_comes_before_the_old_one_ends, peer: databases::a_shortened_renewal_of_a_lease),
        row!("leases are handed over before their token ends; logins always work", real: databases::leases_are_handed_over_before_their_token_ends),
        row!("a lease that is gone is replaced", real: databases::a_lease_that_is_gone_is_replaced),
        row!("a login that is refused where it is used is replaced", real: databases::a_refused_login_is_replaced),
        row!("no other login to be had: the one in use serves on", peer: databases::no_other_login_yet_keeps_the_one_in_use),
        row!("release gives logins back", real: databases::release_gives_logins_back),
        row!("release keeps its deadline", peer: databases::release_keeps_its_deadline),
        row!("a dropped fetch leaks no lease", peer: databases::a_dropped_fetch_leaks_no_lease),
        row!("a static login follows its rotation, also a late one", real: databases::a_static_login_follows_its_rotation, peer: databases::a_late_rotation_is_waited_for_patiently),
        row!("a given token that is replaced in its file is taken", peer: stores::a_given_token_that_is_replaced_in_its_file),
        row!("the store keeps the last value while Vault is sealed", real: stores::the_last_value_serves_on_while_sealed),
        row!("the store never holds a login that ended; a refused one is replaced", real: stores::a_store_never_holds_a_login_that_ended),
        row!("TLS: a private CA is trusted where it is named, a name must fit", peer: tls::a_private_ca),
        row!("TLS: a redirect to plain text is not followed", peer: tls::no_redirect_to_plain_text),
        row!("a seal is an outage: the token and the last value stay", real: outages::a_seal_is_an_outage),
        row!("a change of leader is sat out: standby, seal, redirect", peer: outages::a_change_of_leader_is_sat_out),
        row!("a login follows a redirect to the active node", peer: outages::a_login_follows_to_the_active_node),
        row!("redirects without end are an outage", peer: outages::redirects_without_end_are_an_outage),
        row!("a quota is an outage, waited for when it says how long", real: outages::a_quota_is_an_outage, peer: outages::a_quota_is_waited_for_when_it_says_how_long),
        row!("cut, strange and endless answers are outages and show nothing", peer: outages::strange_answers_are_outages),
        row!("silence is bounded", peer: outages::silence_is_bounded),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_against_a_real_vault_and_a_scripted_peer() {
    // One row by a part of its name: HAFNIUM_VAULT_ROW.
    let wanted = std::env::var("HAFNIUM_VAULT_ROW").unwrap_or_default();
    let rows: Vec<_> = rows()
        .into_iter()
        .filter(|row| row.promise.contains(&wanted))
        .collect();
    assert!(!rows.is_empty(), "no row is called {wanted}");
    let ground = Ground::lay().await;
    let absent = ground.as_ref().err().cloned();
    let (failed, not_run) = table::run(rows, ground.ok().map(Arc::new)).await;
    if let Some(absent) = absent {
        table::say(&format!("not run: {}\n{absent}", not_run.join("; ")));
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci || not_run.is_empty(), "in CI every row is run: {absent}");
    }
    assert!(
        failed.is_empty(),
        "{} rows failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
