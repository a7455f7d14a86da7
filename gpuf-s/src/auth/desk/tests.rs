//! What operators do with keys, tokens and agents.

use super::*;
use crate::{cache::Lookup, data_dir::DataDir};

async fn desk() -> (tempfile::TempDir, Desk) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::embedded(&DataDir::open(folder.path()).unwrap()).await.unwrap();
    let desk = Desk {
        store,
        cache: Cache::open(None).unwrap().0,
        authenticator: None,
        join: Some(JoinPoint {
            control: "gw.example:17000".into(),
            fingerprint: Fingerprint::of(b"authority"),
        }),
        actor: "test".into(),
        scope: Scope::Everything,
    };
    (folder, desk)
}

fn wish(name: &str) -> KeyWish {
    KeyWish { name: name.parse().unwrap(), models: None, expires_in_days: None, dedicated_to: None }
}

#[tokio::test]
async fn a_key_is_shown_once_and_listed_without_itself() {
    let (_folder, desk) = desk().await;
    let made = desk.make_key(KeyWish { expires_in_days: Some(30), ..wish("alice") }).await.unwrap();
    let hash = key::parse(made.key.as_bytes()).unwrap();
    assert_eq!(desk.store.key_by_hash(&hash).await.unwrap().unwrap().id, made.id);
    let listed = desk.keys().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&made.shown));
    assert!(!serde_json::to_string(&listed).unwrap().contains(&made.key));
    let days = (made.shown.expires_unix.unwrap().0 - made.shown.created_unix.0) / 86_400;
    assert_eq!(days, 30);
}

#[tokio::test]
async fn the_cache_learns_of_a_key_that_is_made_and_of_one_that_is_revoked() {
    let (_folder, desk) = desk().await;
    let key = desk.make_key(wish("alice")).await.unwrap();
    let hash = key::parse(key.key.as_bytes()).unwrap();
    let row = desk.store.key_by_hash(&hash).await.unwrap().unwrap();
    assert_eq!(desk.cache.get(&hash).await, Lookup::Row(row));
    desk.revoke_key(key.id).await.unwrap();
    assert_eq!(desk.cache.get(&hash).await, Lookup::Nobody);
}

#[tokio::test]
async fn lists_tell_the_state_of_each() {
    let (_folder, desk) = desk().await;
    let key = desk.make_key(wish("a")).await.unwrap();
    assert_eq!(desk.keys().await.unwrap()[0].state, "active");
    desk.revoke_key(key.id).await.unwrap();
    assert_eq!(desk.keys().await.unwrap()[0].state, "revoked");
    let token = desk.make_token(TokenWish::default()).await.unwrap();
    assert_eq!(desk.tokens().await.unwrap()[0].state, "active");
    desk.revoke_token(token.id).await.unwrap();
    assert_eq!(desk.tokens().await.unwrap()[0].state, "revoked");
    let now = UnixSeconds(10);
    let row = desk.store.keys().await.unwrap().remove(0);
    let expired = store::KeyRow { expires: Some(now), revoked: None, ..row };
    assert_eq!(KeyView::of(OwnedKey { row: expired, tenant: None }, now).state, "expired");
    let row = desk.store.join_tokens().await.unwrap().remove(0);
    let used = store::TokenRow { uses_left: 0, revoked: None, ..row };
    assert_eq!(TokenView::of(used, now).state, "used");
}

#[tokio::test]
async fn a_join_string_says_where_and_whom_to_trust() {
    let (_folder, desk) = desk().await;
    let made = desk.make_token(TokenWish::default()).await.unwrap();
    let join: JoinString = made.join.parse().unwrap();
    assert_eq!(join.server, "gw.example:17000");
    assert_eq!(join.fingerprint, Fingerprint::of(b"authority"));
    assert_eq!(made.shown.uses_left, 1);
    assert_eq!(made.shown.expires_unix.0 - made.shown.created_unix.0, 86_400);
}

#[tokio::test]
async fn wishes_out_of_range_are_refused_by_name() {
    let (_folder, desk) = desk().await;
    let many = vec!["m".parse().unwrap(); MODELS_PER_KEY_MAX + 1];
    let keys = [
        (KeyWish { models: Some(many), ..wish("a") }, "models"),
        (KeyWish { expires_in_days: Some(0), ..wish("a") }, "expires_in_days"),
        (KeyWish { expires_in_days: Some(99_999), ..wish("a") }, "expires_in_days"),
    ];
    for (wish, name) in keys {
        assert!(desk.make_key(wish).await.unwrap_err().to_string().starts_with(name));
    }
    let tokens = [
        (TokenWish { uses: Some(0), ..TokenWish::default() }, "uses"),
        (TokenWish { ttl_hours: Some(0), ..TokenWish::default() }, "ttl_hours"),
        (TokenWish { ttl_hours: Some(u32::MAX), ..TokenWish::default() }, "ttl_hours"),
    ];
    for (wish, name) in tokens {
        assert!(desk.make_token(wish).await.unwrap_err().to_string().starts_with(name));
    }
    assert!(desk.keys().await.unwrap().is_empty() && desk.tokens().await.unwrap().is_empty());
}

#[tokio::test]
async fn every_deed_leaves_a_line_without_a_secret() {
    let (_folder, desk) = desk().await;
    let key = desk.make_key(wish("alice")).await.unwrap();
    desk.revoke_key(key.id).await.unwrap();
    let token = desk.make_token(TokenWish::default()).await.unwrap();
    desk.revoke_token(token.id).await.unwrap();
    let lines = desk.store.audit_lines(9).await.unwrap();
    let actions: Vec<_> = lines.iter().rev().map(|line| line.action.as_str()).collect();
    assert_eq!(actions, ["key.create", "key.revoke", "join_token.create", "join_token.revoke"]);
    assert!(lines.iter().all(|line| line.actor == "test"));
    assert!(!format!("{lines:?}").contains(&key.key));
}

#[tokio::test]
async fn what_is_not_there_cannot_be_revoked() {
    let (_folder, desk) = desk().await;
    let missing = [
        desk.revoke_key(KeyId::STATIC).await,
        desk.revoke_token(TokenId::random().unwrap()).await,
        desk.revoke_agent(AgentId::random().unwrap()).await,
    ];
    assert!(missing.iter().all(|answer| matches!(answer, Err(Error::NotFound(_)))));
    assert!(desk.store.audit_lines(9).await.unwrap().is_empty());
}
