//! What every store does with keys of callers.

use crate::store::{KeyRow, Store};

/// Every case on a fresh store.
pub(super) async fn run<S: Store>(fresh: &impl Fn() -> S) {
    keys_are_kept_and_taken_back(&fresh()).await;
}

fn key(id: &str, created: u64) -> KeyRow {
    KeyRow {
        id: id.into(),
        name: format!("the key {id}"),
        digest: vec![1, 2, 3],
        role: "viewer".into(),
        namespaces: None,
        created,
        expires: None,
        revoked: None,
    }
}

async fn keys_are_kept_and_taken_back(store: &impl Store) {
    assert_eq!(store.keys().await.unwrap(), []);
    let bounded = KeyRow {
        namespaces: Some(vec!["a".into(), "b \"c\"".into()]),
        expires: Some(9),
        ..key("a", 7)
    };
    assert!(store.put_key(bounded.clone()).await.unwrap());
    assert!(store.put_key(key("b", 5)).await.unwrap());
    assert!(!store.put_key(key("a", 1)).await.unwrap(), "an id is given once");
    assert_eq!(store.keys().await.unwrap(), [key("b", 5), bounded.clone()]);

    assert!(store.revoke_key("a", 8).await.unwrap());
    assert!(!store.revoke_key("a", 9).await.unwrap(), "only the first time counts");
    assert!(!store.revoke_key("c", 9).await.unwrap());
    let revoked = KeyRow { revoked: Some(8), ..bounded };
    assert_eq!(store.keys().await.unwrap(), [key("b", 5), revoked]);
}
