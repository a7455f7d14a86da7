//! F14: a model that nobody serves.

use gpuf_tests::{Dialect, Kind, Scene};

#[tokio::test]
async fn f14_an_unknown_model_is_not_found_and_never_served_by_another() {
    // llama.cpp answers any name with the model that it has: the gateway must not let it.
    let scene = Scene::new(Kind::LlamaCpp).await;
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let answer = scene.ask(&dialect.request(&scene.key, "absent", stream)).await;
            assert_eq!(answer.status(), 404, "{dialect:?}: {}", answer.text());
            let message = dialect.error_message(&answer.json());
            assert!(message.is_some_and(|text| text.contains("absent")), "{dialect:?}: {}", answer.text());
        }
    }
    assert_eq!(
        scene.ask(&Dialect::Chat.request(&scene.key, "absent", false)).await.error_code(),
        "model_not_found"
    );
    scene.assert_engine_untouched();
}
