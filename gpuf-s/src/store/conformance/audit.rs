//! The audit trail.

use super::*;

pub(super) async fn conform(store: &Store) {
    the_audit_trail_shows_the_newest_first(store).await;
    the_audit_trail_takes_any_text(store).await;
}

async fn the_audit_trail_shows_the_newest_first(store: &Store) {
    let line = |action: &str| AuditLine {
        at: NOW,
        actor: "api".into(),
        action: action.into(),
        subject: "1".into(),
        detail: None,
    };
    store.audit(&line("key.create")).await.unwrap();
    store.audit(&line("key.revoke")).await.unwrap();
    let lines = store.audit_lines(2).await.unwrap();
    assert_eq!(lines, [line("key.revoke"), line("key.create")]);
}

async fn the_audit_trail_takes_any_text(store: &Store) {
    let odd = AuditLine {
        at: UnixSeconds(i64::MIN),
        actor: "a\0b".into(),
        action: String::new(),
        subject: "\u{1f984}\u{301}'\"\\%\n".into(),
        detail: Some("\u{10ffff}".repeat(100_000)),
    };
    store.audit(&odd).await.unwrap();
    let shown = AuditLine { actor: "a\u{fffd}b".into(), ..odd };
    assert_eq!(store.audit_lines(1).await.unwrap(), [shown]);
    assert_eq!(store.audit_lines(0).await.unwrap(), []);
}
