//! Join tokens, and the agents that they let in.

use super::*;

pub(super) async fn conform(store: &Store) {
    a_token_lets_in_as_many_as_it_says(store).await;
    a_spent_revoked_or_expired_token_lets_nobody_in(store).await;
    a_taken_agent_id_costs_no_use(store).await;
    one_use_is_spent_by_one_of_many_at_once(store).await;
    an_agent_is_revoked(store).await;
}

async fn a_token_lets_in_as_many_as_it_says(store: &Store) {
    let row = TokenRow { owner: Some(name("lab")), ..token("two", 2) };
    store.insert_join_token(&row).await.unwrap();
    assert!(store.join_tokens().await.unwrap().contains(&row));
    let (first, second, third) = (agent(), agent(), agent());
    assert_eq!(store.enrol(&row.hash, &first).await.unwrap(), Enrolment::Done);
    assert_eq!(store.enrol(&row.hash, &second).await.unwrap(), Enrolment::Done);
    assert_eq!(store.enrol(&row.hash, &third).await.unwrap(), Enrolment::BadToken);
    let stored = AgentRow { owner: Some(name("lab")), ..first };
    assert_eq!(store.agent(stored.id).await.unwrap().as_ref(), Some(&stored));
    assert!(store.agents().await.unwrap().contains(&stored));
    assert_eq!(store.agent(third.id).await.unwrap(), None);
}

async fn a_spent_revoked_or_expired_token_lets_nobody_in(store: &Store) {
    let revoked = token("revoked token", 9);
    store.insert_join_token(&revoked).await.unwrap();
    assert!(store.revoke_join_token(revoked.id, NOW).await.unwrap());
    assert!(!store.revoke_join_token(TokenId::random().unwrap(), NOW).await.unwrap());
    let expired = TokenRow { expires: NOW, ..token("expired token", 9) };
    store.insert_join_token(&expired).await.unwrap();
    let unknown = TokenHash::of(b"unknown token");
    for hash in [revoked.hash, expired.hash, unknown] {
        assert_eq!(store.enrol(&hash, &agent()).await.unwrap(), Enrolment::BadToken);
    }
}

async fn a_taken_agent_id_costs_no_use(store: &Store) {
    let row = token("wanted", 2);
    store.insert_join_token(&row).await.unwrap();
    let first = agent();
    assert_eq!(store.enrol(&row.hash, &first).await.unwrap(), Enrolment::Done);
    assert_eq!(store.enrol(&row.hash, &first).await.unwrap(), Enrolment::IdTaken);
    assert_eq!(store.enrol(&row.hash, &agent()).await.unwrap(), Enrolment::Done);
}

async fn one_use_is_spent_by_one_of_many_at_once(store: &Store) {
    let row = token("race", 1);
    store.insert_join_token(&row).await.unwrap();
    let tries = (0..8).map(|_| {
        let (store, hash) = (store.clone(), row.hash);
        tokio::spawn(async move { store.enrol(&hash, &agent()).await.unwrap() })
    });
    let mut done = 0;
    for one in tries.collect::<Vec<_>>() {
        done += usize::from(one.await.unwrap() == Enrolment::Done);
    }
    assert_eq!(done, 1);
}

async fn an_agent_is_revoked(store: &Store) {
    let (row, machine) = (token("for one", 1), agent());
    store.insert_join_token(&row).await.unwrap();
    store.enrol(&row.hash, &machine).await.unwrap();
    assert!(store.revoke_agent(machine.id, NOW).await.unwrap());
    assert_eq!(store.agent(machine.id).await.unwrap().unwrap().revoked, Some(NOW));
    assert!(!store.revoke_agent(AgentId::random().unwrap(), NOW).await.unwrap());
}
