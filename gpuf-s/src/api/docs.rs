//! The page for people: our own, without a script or a style from elsewhere.

use std::sync::LazyLock;

use axum::{
    http::{HeaderName, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::openapi;

/// Where it is shown.
pub(super) const PATH: &str = "/docs";
const SHELL: &str = include_str!("docs/page.html");
const STYLE: &str = include_str!("docs/page.css");
const SCRIPT: &str = include_str!("docs/page.js");

static PAGE: LazyLock<String> = LazyLock::new(|| {
    // Within a script element only `</` could end it.
    let document = openapi::text().replace("</", "<\\/");
    SHELL.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT).replace("{{document}}", &document)
});

/// Nothing but this style and this script, and requests to this very address.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

pub(super) async fn show() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (headers, PAGE.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_anywhere() {
        for part in [SHELL, STYLE, SCRIPT] {
            for wrong in
                ["http://", "https://", "url(", "@import", "innerHTML", "eval(", "localStorage", "cookie"]
            {
                assert!(!part.contains(wrong), "{wrong}");
            }
        }
        assert_eq!(SHELL.matches("<script").count(), 2, "the document and the one script");
        assert!(!SHELL.contains(" on") || !SHELL.contains("onclick"), "no inline handlers");
    }

    #[test]
    fn the_policy_names_what_is_in_the_page() {
        assert!(PAGE.contains(&format!("<style>{STYLE}</style>")));
        assert!(PAGE.contains(&format!("<script>{SCRIPT}</script>")));
        assert!(!PAGE.contains("{{"));
    }
}
