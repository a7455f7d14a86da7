//! A port that shows figures and nothing else, for processes that have no API.

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{listener, metrics};
use crate::telemetry::Figures;

/// Answers `/metrics` and `/health` until `shutdown`.
pub async fn serve_figures(listener: TcpListener, figures: Figures, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(async move || metrics::figures_text(&figures)))
        .route("/health", get(async || "ok\n"));
    listener::serve(listener, router, shutdown).await;
}
