//! What pages load beside themselves: one stylesheet, a little script, an icon.

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    routing::get,
};

/// The address of the stylesheet.
pub(super) const STYLE: &str = "/console.css";
/// The address of the script.
pub(super) const SCRIPT: &str = "/console.js";
/// The address of the icon.
pub(super) const ICON: &str = "/icon.svg";

/// Browsers may keep them for a while.
const KEPT: HeaderValue = HeaderValue::from_static("max-age=300");

/// Serves them, to everybody.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(STYLE, get(asset("text/css; charset=utf-8", include_str!("console.css"))))
        .route(SCRIPT, get(asset("text/javascript; charset=utf-8", include_str!("console.js"))))
        .route(ICON, get(asset("image/svg+xml", include_str!("icon.svg"))))
}

type Asset = ([(HeaderName, HeaderValue); 2], &'static str);

fn asset(content_type: &'static str, text: &'static str) -> Asset {
    let content_type = HeaderValue::from_static(content_type);
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, KEPT)], text)
}
